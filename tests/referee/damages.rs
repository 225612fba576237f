//! Damage that the referee must see, done to a right edit.

use super::support::hand::*;
use super::{OLD, fixture};
use goblin::elf::dynamic::*;
use goblin::elf::program_header::*;

/// Damage done to a library whose strings were moved rightly: a name, the rule it breaks,
/// a word of the objection.
pub type Damage = (&'static str, u8, &'static str, Edit);
/// A change made by hand.
pub type Edit = fn(&mut Draft);

/// One row a kind of damage.
pub const DAMAGES: &[Damage] = &[
    ("a_byte_in_rodata", 1, ".rodata", |d| d.flip(d.section_offset(".rodata") + 3)),
    ("a_byte_in_text", 1, ".text", |d| d.flip(d.section_offset(".text") + 5)),
    ("a_byte_in_data", 1, ".data", |d| d.flip(d.section_offset(".data"))),
    ("a_byte_in_comment", 5, ".comment", |d| d.flip(d.section_offset(".comment"))),
    ("a_byte_in_symtab", 5, ".symtab", |d| d.flip(d.symbol_value("one") - 3)),
    ("a_changed_symbol_value", 4, ".symtab", |d| d.flip(d.symbol_value("one"))),
    ("a_stale_dynamic_symbol", 4, "_DYNAMIC", |d| d.flip(d.symbol_value("_DYNAMIC"))),
    ("a_byte_of_padding", 1, "padding", |d| {
        let load = d.image().segments[d.load(PF_R | PF_X)];
        let growth = load.filesz + 64;
        d.set_segment(d.load(PF_R | PF_X), Phdr::Filesz, growth);
        d.set_segment(d.load(PF_R | PF_X), Phdr::Memsz, growth);
        d.flip(d.section_offset(".text") - 1);
    }),
    ("an_unowned_byte_in_the_file", 5, "padding", |d| {
        let load = d.image().segments[d.load(PF_R | PF_X)];
        d.flip(load.file_range().end + 8);
    }),
    ("bytes_appended_without_owner", 5, "without owner", |d| d.bytes.push(1)),
    ("a_cut_file", 5, "cut off", |d| d.bytes.truncate(d.bytes.len() - 1)),
    ("another_entry_point", 1, "ELF header", |d| d.flip(24)),
    ("a_shifted_byte", 1, ".text", |d| {
        let at = d.section_offset(".text") as usize;
        let byte = d.bytes.remove(at);
        d.bytes.insert(at + 40, byte);
    }),
    ("a_stale_dynstr_address", 4, ".dynstr", |d| {
        let stale = d.image().sections[d.section(".dynsym")].addr;
        d.set_section(".dynstr", Shdr::Addr, stale);
    }),
    ("a_stale_dynstr_size", 4, "DT_STRSZ", |d| {
        let size = d.image().sections[d.section(".dynstr")].size;
        d.set_section(".dynstr", Shdr::Size, size - 1);
    }),
    ("a_stale_dynamic_section", 4, ".dynamic", |d| {
        let section = d.image().sections[d.section(".dynamic")];
        d.set_section(".dynamic", Shdr::Addr, section.addr + 16);
        d.set_section(".dynamic", Shdr::Offset, section.offset + 16);
    }),
    ("sections_that_overlap", 4, "overlap", |d| {
        let section = d.image().sections[d.section(".gnu.version_r")];
        d.set_section(".gnu.version_r", Shdr::Addr, section.addr - 16);
        d.set_section(".gnu.version_r", Shdr::Offset, section.offset - 16);
    }),
    ("a_moved_section_without_alloc", 1, ".comment moved, and its content differs", |d| {
        let offset = d.section_offset(".comment");
        d.set_section(".comment", Shdr::Offset, offset + 1);
    }),
    ("a_symbol_name_overwritten", 2, "symbol", |d| {
        let names = d.dynamic(|d| d.strings.to_vec());
        let at = memchr::memmem::find(&names, b"\0two\0").expect("a symbol two") as u64;
        d.flip(d.strings_offset() + at + 1);
    }),
    ("a_changed_needed", 2, "DT_NEEDED", |d| {
        let value = d.dynamic(|d| d.value(DT_NEEDED)).expect("DT_NEEDED");
        d.set_value(DT_NEEDED, value + 1);
    }),
    ("a_changed_soname", 2, "DT_SONAME", |d| {
        let value = d.dynamic(|d| d.value(DT_SONAME)).expect("DT_SONAME");
        d.set_value(DT_SONAME, value + 1);
    }),
    ("a_stale_verdef", 2, "DT_VERDEF", |d| {
        let value = d.dynamic(|d| d.value(DT_VERDEF)).expect("DT_VERDEF");
        d.set_value(DT_VERDEF, value + 0x1c);
    }),
    ("another_version_of_a_symbol", 2, "DT_VERSYM", |d| {
        d.flip(d.section_offset(".gnu.version") + 4);
    }),
    ("a_stale_gnu_hash", 2, "DT_GNU_HASH", |d| {
        let value = d.dynamic(|d| d.value(DT_GNU_HASH)).expect("DT_GNU_HASH");
        d.set_value(DT_GNU_HASH, value + 8);
    }),
    ("a_changed_init", 2, "DT_INIT_ARRAY", |d| {
        let value = d.dynamic(|d| d.value(DT_INIT_ARRAY)).expect("DT_INIT_ARRAY");
        d.set_value(DT_INIT_ARRAY, value + 8);
    }),
    ("entries_in_another_order", 2, "stands for", |d| {
        let (a, b) = d.dynamic(|d| (d.entries[0], d.entries[1]));
        d.set_entry(0, b.0, b.1);
        d.set_entry(1, a.0, a.1);
    }),
    ("a_lost_entry", 2, "stands for", |d| {
        let (slot, last) = (d.slot(DT_SONAME), d.slot(DT_NULL) - 1);
        let entry = d.dynamic(|d| d.entries[last as usize]);
        d.set_entry(slot, entry.0, entry.1);
        d.set_entry(last, DT_NULL, 0);
    }),
    ("an_entry_behind_the_end", 2, "behind DT_NULL", |d| {
        d.set_entry(d.slot(DT_NULL) + 1, DT_SONAME, 1);
    }),
    ("a_dynamic_table_without_end", 2, "DT_NULL", |d| {
        let (first, count) = d.dynamic(|d| (d.entries.len(), d.spare.len()));
        for slot in first..first + count {
            d.set_entry(slot as u64, DT_DEBUG, 0);
        }
    }),
    ("two_search_paths", 2, "2 search paths", |d| {
        d.set_entry(d.slot(DT_NULL), DT_RPATH, 0);
    }),
    ("another_search_path", 2, "the search path is", |d| {
        let (tag, at, _) = d.search_path().expect("a search path");
        d.set_value(tag, at + 1);
    }),
    ("another_tag", 2, "DT_RPATH", |d| {
        let (tag, at, _) = d.search_path().expect("a search path");
        d.set_entry(d.slot(tag), DT_RPATH, at);
    }),
    ("loads_out_of_order", 3, "out of order", |d| {
        d.swap_segments(d.load(PF_R | PF_X), d.load(PF_R | PF_W));
    }),
    ("more_file_than_memory", 3, "p_filesz", |d| {
        let load = d.image().segments[d.load(PF_R)];
        d.set_segment(d.load(PF_R), Phdr::Memsz, load.filesz - 1);
    }),
    ("a_writable_and_executable_segment", 3, "writable and executable", |d| {
        d.set_segment(d.load(PF_R | PF_X), Phdr::Flags, u64::from(PF_R | PF_W | PF_X));
    }),
    ("a_segment_without_permission_to_run", 3, "changed", |d| {
        d.set_segment(d.load(PF_R | PF_X), Phdr::Flags, u64::from(PF_R));
    }),
    ("segments_that_share_a_page", 3, "share a page", |d| {
        d.set_segment(d.load(PF_R), Phdr::Filesz, 0x1001);
        d.set_segment(d.load(PF_R), Phdr::Memsz, 0x1001);
    }),
    ("a_segment_that_is_not_congruent", 3, "not congruent", |d| {
        let load = d.image().segments[d.load(PF_R | PF_X)];
        d.set_segment(d.load(PF_R | PF_X), Phdr::Offset, load.offset + 16);
    }),
    ("a_segment_outside_the_file", 3, "outside the file", |d| {
        let len = d.bytes.len() as u64;
        let load = d.image().segments[d.load(PF_R | PF_W)];
        d.set_segment(d.load(PF_R | PF_W), Phdr::Filesz, len);
        d.set_segment(d.load(PF_R | PF_W), Phdr::Memsz, load.memsz + len);
    }),
    ("file_bytes_over_zero_fill", 1, "zero-filled", |d| {
        let load = d.image().segments[d.load(PF_R | PF_W)];
        d.set_segment(d.load(PF_R | PF_W), Phdr::Filesz, load.memsz);
    }),
    ("more_zero_fill", 3, "zero fill", |d| {
        let load = d.image().segments[d.load(PF_R | PF_W)];
        d.set_segment(d.load(PF_R | PF_W), Phdr::Memsz, load.memsz + 8);
    }),
    ("an_executable_stack", 3, "PT_GNU_STACK", |d| {
        d.set_segment(d.segment(PT_GNU_STACK), Phdr::Flags, 7);
    }),
    ("a_lost_program_header", 3, "PT_GNU_RELRO", |d| {
        d.set_segment(d.segment(PT_GNU_RELRO), Phdr::Kind, u64::from(PT_NULL));
    }),
    ("a_note_that_nothing_maps", 3, "PT_NOTE", |d| {
        let note = d.image().segments[d.segment(PT_NOTE)];
        d.set_segment(d.segment(PT_NOTE), Phdr::Vaddr, note.vaddr + 4);
    }),
    ("an_old_path_in_the_new_strings", 8, ".dynstr", |d| put_back(d, true)),
    ("an_old_path_where_the_strings_were", 8, "where .dynstr was", |d| put_back(d, false)),
    ("a_dropped_directory_that_stays", 8, "/old/toolkit/lib/stubs", |d| put_back(d, true)),
];

/// Undoes the scrubbing in one of the two string tables.
fn put_back(d: &mut Draft, in_new: bool) {
    let old = &fixture().before;
    let at = memchr::memmem::find(old, OLD.as_bytes()).expect("the old search path") as u64;
    let table = Draft::new(old).strings_offset();
    let start = if in_new { d.strings_offset() } else { table };
    d.put_bytes(start + (at - table), OLD.as_bytes());
}
