//! Reads the planned file back with a second parser before anything is written.
//!
//! The editor works on `object`'s structs; this module reads with `goblin`, and only its lazy parts: its eager ones
//! refuse files that loaders accept. The planned file exists only as an overlay: the original's bytes with the edits
//! laid over the windows that are read.
//!
//! ```
//! # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
//! # let image = driver_runpath::elf::Image::parse(&file).unwrap();
//! # use driver_runpath::{decide::Tag, plan::{Change, plan}};
//! # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
//! let edited = driver_runpath::verify::verify(plan)?.into_bytes();
//! assert_eq!(edited.len(), file.len());
//! # Ok::<(), driver_runpath::Error>(())
//! ```

mod names;
mod note;
mod overlay;
mod verified;

use std::collections::HashSet;
use std::ops::Range;

use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{self, Dynamic};
use goblin::elf::program_header::{self, ProgramHeader};
use goblin::elf::section_header::{self, SectionHeader};
use goblin::elf::{Elf, Header};

use crate::Error;
use crate::decide::Tag;
use crate::elf::Malformed;
use crate::plan::{Edit, EntryFor, Move, NoteOutcome, Plan};
use note::Notes;
use overlay::Overlay;
pub use verified::Verified;

/// Unknown to goblin, like the next one.
const DT_RELR: u64 = 36;
const DT_MIPS_RLD_MAP_REL: u64 = 0x7000_0035;

/// Compares what `plan` makes of its file with what it means to make.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// let verified = driver_runpath::verify::verify(plan)?;
/// # Ok::<(), driver_runpath::Error>(())
/// ```
///
/// # Errors
/// [`Error::Malformed`] where the original itself cannot be read in this way, so that nothing can be said of an edit of
/// it; otherwise [`Error::Unverified`] with the first difference, a defect of this program.
pub fn verify(plan: Plan<'_>) -> Result<Verified<'_>, Error> {
    check_plan(&plan)?;
    Ok(Verified(plan))
}

/// See [`verify`].
pub(crate) fn check_plan(plan: &Plan<'_>) -> Result<(), Error> {
    let original = plan.original();
    check(original, plan).map_err(|why| match check_original(original) {
        Ok(()) => Error::Unverified(why),
        Err(damage) => Error::Malformed(Malformed::Unverifiable(damage)),
    })
}

/// Whether the edits end where the file will, and copy only what there is.
fn check_extent(original: &[u8], plan: &Plan<'_>) -> Result<(), String> {
    let ends = plan.edits.iter().map(|edit| edit.range().end.0);
    let end = ends.max().unwrap_or(0).max(original.len() as u64);
    if plan.new_len != end || usize::try_from(end).is_err() {
        return Err("the file would have another size than its edits give it".into());
    }
    let is_there = |edit: &Edit| edit.content.resolve(original).is_some();
    if plan.edits.iter().all(is_there) { Ok(()) } else { Err("an edit copies from outside the file".into()) }
}

/// The same, of a file that nothing is done with: what goes wrong here is the file's fault.
fn check_original(original: &[u8]) -> Result<(), String> {
    let file = Overlay { original, plan: None };
    let found = Reading::of(&file)?;
    let nothing = Plan::of_nothing(original);
    check_loads(&found, (&file, &found), &nothing)?;
    check_dynamic(&found, &found, &nothing)?;
    check_sections(&found, &Notes::of(&file, &found)?, &found, &nothing)?;
    check_string_section(&found)?;
    check_overlaps(&found)?;
    names::check_ends((&file, &found))?;
    names::check((&file, &found), (&file, &found), &[], &nothing)
}

fn check(original: &[u8], plan: &Plan<'_>) -> Result<(), String> {
    check_extent(original, plan)?;
    let untouched = Overlay { original, plan: None };
    let before = Reading::of(&untouched)?;
    let planned = Overlay { original, plan: Some(plan) };
    let after = Reading::of(&planned)?;
    let old_notes = Notes::of(&untouched, &before)?;
    let new_notes = Notes::of(&planned, &after)?;
    check_header(&before, &after, plan)?;
    check_loads(&before, (&planned, &after), plan)?;
    check_readable(&before, &after, plan)?;
    check_other_segments((&before, &old_notes), (&after, &new_notes), plan)?;
    check_dynamic(&before, &after, plan)?;
    check_sections(&before, &old_notes, &after, plan)?;
    names::check((&untouched, &before), (&planned, &after), &old_notes.erased(plan), plan)?;
    check_search_path(&planned, &after, plan)?;
    note::check(&planned, (&before, &old_notes), (&after, &new_notes), plan)?;
    check_places(original, &before, old_notes.places(&before, &new_notes), plan)
}

/// The header tables as goblin reads them.
struct Reading {
    header: Header,
    segments: Vec<ProgramHeader>,
    dynamic: Vec<(u64, u64)>,
    dynamic_range: Range<u64>,
    sections: Vec<SectionHeader>,
    /// Bytes of the file.
    len: u64,
}

impl Reading {
    fn of(file: &Overlay<'_>) -> Result<Self, String> {
        let failed = |error: goblin::error::Error| error.to_string();
        let header = Elf::parse_header(&file.read(0, file.len().min(64))?).map_err(failed)?;
        let container = header.container().map_err(failed)?;
        let ctx = Ctx::new(container, header.endianness().map_err(failed)?);
        let (phdr_size, shdr_size): (u64, u64) = if container == Container::Big { (56, 64) } else { (32, 40) };

        let count = usize::from(header.e_phnum);
        let table = file.read(header.e_phoff, phdr_size.saturating_mul(count as u64))?;
        let segments = ProgramHeader::parse(&table, 0, count, ctx).map_err(failed)?;

        let place = segments.iter().find(|segment| segment.p_type == program_header::PT_DYNAMIC);
        let place = place.ok_or("no PT_DYNAMIC")?;
        let window = file.read(place.p_offset, place.p_filesz)?;
        // goblin looks for the table at p_offset; the window starts at 0.
        let in_window = ProgramHeader { p_offset: 0, ..place.clone() };
        let dynamic = Dynamic::parse(&window, &[in_window], ctx).map_err(failed)?.ok_or("no dynamic table")?;
        let dynamic = dynamic.dyns.iter().map(|entry| (entry.d_tag, entry.d_val));
        let mut dynamic: Vec<(u64, u64)> = dynamic.collect();
        let end = dynamic.iter().position(|(tag, _)| *tag == dynamic::DT_NULL);
        dynamic.truncate(end.ok_or("a dynamic table without a DT_NULL at its end")?);

        let count = u64::from(header.e_shnum);
        let size = shdr_size.saturating_mul(count);
        let inside = header.e_shoff.checked_add(size).is_some_and(|end| {
            // Some versions of patchelf write the program headers over the section headers.
            let segments_end = header.e_phoff.saturating_add(phdr_size.saturating_mul(u64::from(header.e_phnum)));
            end <= file.len() && (end <= header.e_phoff || segments_end <= header.e_shoff)
        });
        // Headers of another size are no table that anybody can read.
        let is_readable = inside && u64::from(header.e_shentsize).saturating_mul(count) == size;
        let sections = if header.e_shoff == 0 || count == 0 || !is_readable {
            Vec::new()
        } else {
            let table = file.read(header.e_shoff, size)?;
            SectionHeader::parse_from(&table, 0, usize::from(header.e_shnum), ctx).map_err(failed)?
        };
        let dynamic_range = place.p_offset..place.p_offset.saturating_add(place.p_filesz);
        Ok(Self { header, segments, dynamic, dynamic_range, sections, len: file.len() })
    }

    fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == program_header::PT_LOAD)
    }

    /// Whether a section has bytes, and has them in the file. Of a broken header nothing is expected but that it stays.
    fn has_bytes(&self, section: &SectionHeader) -> bool {
        !matches!(section.sh_type, section_header::SHT_NOBITS | section_header::SHT_NULL)
            && section.sh_size > 0
            && section.sh_offset.checked_add(section.sh_size).is_some_and(|end| end <= self.len)
    }

    fn value(&self, tag: u64) -> Option<u64> {
        self.dynamic.iter().rev().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    fn offset_of(&self, addr: u64) -> Option<u64> {
        self.loads().find_map(|load| {
            let inside = addr.checked_sub(load.p_vaddr)?;
            (inside < load.p_filesz).then(|| load.p_offset.checked_add(inside))?
        })
    }
}

/// The table that took the byte at file offset `before` to another place.
fn move_of<'p>(plan: &'p Plan<'_>, before: u64) -> Option<&'p Move> {
    plan.moves.iter().find(|table| table.from.start.0 <= before && before < table.from.end.0)
}

/// Where the byte that was at file offset `before` is afterwards, and its address there, if a table moved it.
fn moved(plan: &Plan<'_>, before: u64) -> Option<(u64, u64)> {
    let table = move_of(plan, before)?;
    let inside = before - table.from.start.0;
    Some((table.to.0.checked_add(inside)?, table.addr.0.checked_add(inside)?))
}

/// Of the ELF header, only the number of program headers and the place of the section headers may change; for a new
/// resolution note, their number, too.
fn check_header(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let mut wanted = Header { e_phnum: after.header.e_phnum, e_shoff: after.header.e_shoff, ..before.header };
    if plan.note == NoteOutcome::Written {
        wanted.e_shnum = after.header.e_shnum;
    }
    if after.header == wanted { Ok(()) } else { Err("the ELF header changed".into()) }
}

fn check_loads(before: &Reading, (planned, after): (&Overlay<'_>, &Reading), plan: &Plan<'_>) -> Result<(), String> {
    let (page, wide_page) = (0x1000, 0x1_0000);
    let page = match before.header.e_machine {
        goblin::elf::header::EM_386
        | goblin::elf::header::EM_X86_64
        | goblin::elf::header::EM_ARM
        | goblin::elf::header::EM_RISCV
        | goblin::elf::header::EM_S390 => page,
        _ => wide_page,
    };
    let mut last_end = 0u64;
    for load in after.loads() {
        let name = format!("the segment at {:#x}", load.p_vaddr);
        let end = load.p_offset.checked_add(load.p_filesz).filter(|end| *end <= plan.new_len);
        end.ok_or_else(|| format!("{name} ends behind the file"))?;
        if load.p_filesz > load.p_memsz {
            return Err(format!("{name} has p_filesz > p_memsz"));
        }
        let is_from = |old: &&ProgramHeader| {
            let grown = load.p_filesz >= old.p_filesz && load.p_memsz >= old.p_memsz;
            let bss = old.p_memsz.saturating_sub(old.p_filesz);
            let has_bytes = || {
                let zeros = load.p_offset.checked_add(old.p_filesz).map(|at| planned.read(at, bss));
                load.p_filesz == load.p_memsz && zeros.is_some_and(|read| read.is_ok_and(|b| b.iter().all(|&b| b == 0)))
            };
            let bss_kept = load.p_memsz - load.p_filesz == bss || has_bytes();
            grown && bss_kept && load.p_flags == old.p_flags && load.p_align == old.p_align
        };
        // An empty segment can lie where the next one starts.
        let mut there =
            before.loads().filter(|old| old.p_vaddr == load.p_vaddr && old.p_offset == load.p_offset).peekable();
        let is_new = there.peek().is_none();
        let known = there.find(is_from);
        if known.is_none() && !is_new {
            return Err(format!("{name} is not the one that it was"));
        }
        if is_new && load.is_write() && load.is_executable() {
            return Err(format!("{name} is new, writable and executable"));
        }
        let align = load.p_align.max(1);
        if load.p_vaddr % align != load.p_offset % align {
            return Err(format!("{name} has an address and an offset that are not congruent"));
        }
        let new = known.is_none_or(|old| old.p_memsz != load.p_memsz);
        let near = load.p_align.clamp(0x1000, page);
        if load.p_vaddr < last_end || (new && load.p_vaddr / near * near < last_end && known.is_none()) {
            return Err(format!("{name} is too close to the one before it"));
        }
        last_end = load.p_vaddr.checked_add(load.p_memsz).ok_or_else(|| format!("{name} ends past 2^64"))?;
    }
    let kept = before.loads().all(|old| after.loads().any(|load| load.p_vaddr == old.p_vaddr));
    if !kept {
        return Err("a segment is gone".into());
    }
    Ok(())
}

/// What moves stays readable, for loaders read it: there is memory that can be executed only.
fn check_readable(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let readable = |reading: &Reading, at: &dyn Fn(&ProgramHeader) -> Range<u64>, place: u64| {
        let mut loads = reading.loads().filter(|load| load.is_read());
        loads.any(|load| at(load).contains(&place))
    };
    let in_file = |load: &ProgramHeader| load.p_offset..load.p_offset.saturating_add(load.p_filesz);
    let in_memory = |load: &ProgramHeader| load.p_vaddr..load.p_vaddr.saturating_add(load.p_memsz);
    // A damaged segment can cover sections that are for no loader.
    let is_loaded = |start: u64| {
        let mut here = before.sections.iter().filter(|section| section.sh_offset == start && section.sh_size > 0);
        here.all(SectionHeader::is_alloc)
    };
    let is_lost = |table: &&Move| {
        is_loaded(table.from.start.0)
            && readable(before, &in_file, table.from.start.0)
            && !readable(after, &in_memory, table.addr.0)
    };
    match plan.moves.iter().find(is_lost) {
        Some(table) => Err(format!("the table at {:#x} moves to memory that cannot be read", table.from.start.0)),
        None => Ok(()),
    }
}

fn check_other_segments(
    (before, old_notes): (&Reading, &Notes),
    (after, new_notes): (&Reading, &Notes),
    plan: &Plan<'_>,
) -> Result<(), String> {
    let others = |reading: &Reading| -> Vec<ProgramHeader> {
        let wanted = |segment: &&ProgramHeader| {
            !matches!(segment.p_type, program_header::PT_LOAD | program_header::PT_NULL | program_header::PT_PHDR)
        };
        reading.segments.iter().filter(wanted).cloned().collect()
    };
    let mut remaining = others(after);
    // That of a resolution note which changes is `note::check`'s.
    let changes = !matches!(plan.note, NoteOutcome::None | NoteOutcome::Kept);
    remaining.retain(|segment| !(changes && new_notes.is_own(segment)));
    let properties: Vec<_> =
        before.segments.iter().filter(|segment| segment.p_type == program_header::PT_GNU_PROPERTY).collect();
    for mut wanted in others(before) {
        let is_note = changes && old_notes.is_own(&wanted);
        let repeats_property = wanted.p_type == program_header::PT_NOTE
            && properties.iter().any(|found| found.p_offset == wanted.p_offset && found.p_filesz == wanted.p_filesz);
        // What PT_GNU_RELRO or a header of another kind says of .dynamic's old place stays: those bytes stay, too.
        let is_other = wanted.p_type != program_header::PT_DYNAMIC && before.dynamic_range.contains(&wanted.p_offset);
        let may_move = wanted.p_filesz > 0 && wanted.p_type != program_header::PT_GNU_RELRO && !is_other;
        if let Some((offset, addr)) = moved(plan, wanted.p_offset).filter(|_| may_move) {
            (wanted.p_offset, wanted.p_vaddr, wanted.p_paddr) = (offset, addr, addr);
            if wanted.p_type == program_header::PT_DYNAMIC {
                let grown = after.dynamic_range.end.saturating_sub(after.dynamic_range.start).max(wanted.p_filesz);
                (wanted.p_filesz, wanted.p_memsz) = (grown, grown);
            }
        }
        match remaining.iter().position(|found| *found == wanted) {
            Some(index) => {
                remaining.remove(index);
            }
            None if repeats_property || is_note => {}
            None => return Err(format!("the program header of type {:#x} is not the one meant", wanted.p_type)),
        }
    }
    if remaining.is_empty() { Ok(()) } else { Err("a program header too many".into()) }
}

fn check_dynamic(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let is_path = |tag: u64| tag == dynamic::DT_RPATH || tag == dynamic::DT_RUNPATH;
    let others = |reading: &Reading| -> Vec<(u64, u64)> {
        reading.dynamic.iter().copied().filter(|(tag, _)| !is_path(*tag) && *tag != dynamic::DT_STRSZ).collect()
    };
    let tables = [
        dynamic::DT_STRTAB,
        dynamic::DT_SYMTAB,
        dynamic::DT_HASH,
        dynamic::DT_GNU_HASH,
        dynamic::DT_VERSYM,
        dynamic::DT_VERDEF,
        dynamic::DT_VERNEED,
        dynamic::DT_RELA,
        dynamic::DT_REL,
        dynamic::DT_JMPREL,
        DT_RELR,
    ];
    let mut wanted = others(before);
    if let EntryFor::GivenUp(index) = plan.entry {
        let given_up = before.dynamic.get(index).copied();
        let hints = [dynamic::DT_RELACOUNT, dynamic::DT_RELCOUNT];
        if !given_up.is_some_and(|(tag, _)| hints.contains(&tag)) {
            return Err("the entry that is given up is no hint".into());
        }
        wanted.retain(|entry| Some(*entry) != given_up);
    }
    for (tag, value) in &mut wanted {
        let new_place = before.offset_of(*value).and_then(|offset| moved(plan, offset));
        if let Some((_, addr)) = new_place.filter(|_| tables.contains(tag)) {
            *value = addr;
        }
    }
    let found = others(after);
    // A library that is named twice is loaded once.
    let needed = |list: &[(u64, u64)]| -> Vec<u64> {
        let mut seen = HashSet::new();
        let all = list.iter().filter(|(tag, _)| *tag == dynamic::DT_NEEDED).map(|(_, value)| *value);
        all.filter(|value| seen.insert(*value)).collect()
    };
    if needed(&wanted) != needed(&found) {
        return Err("DT_NEEDED has another order".into());
    }
    let sorted = |mut list: Vec<(u64, u64)>| {
        // Its value is relative to its own entry, which may have moved.
        list.retain(|(tag, _)| *tag != DT_MIPS_RLD_MAP_REL);
        list.sort_unstable();
        list.dedup_by(|a, b| a == b && a.0 == dynamic::DT_NEEDED);
        list
    };
    if sorted(wanted) != sorted(found) {
        return Err("an entry of the dynamic table changed that should not".into());
    }
    Ok(())
}

fn check_sections(before: &Reading, old_notes: &Notes, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    // `note::check` counts them where a note is new.
    if before.sections.len() != after.sections.len() && plan.note != NoteOutcome::Written {
        return Err("the number of sections changed".into());
    }
    let strings = (after.value(dynamic::DT_STRTAB), after.value(dynamic::DT_STRSZ));
    let old_strings = (before.value(dynamic::DT_STRTAB), before.value(dynamic::DT_STRSZ));
    for (index, (old, new)) in before.sections.iter().zip(&after.sections).enumerate() {
        let mut wanted = old.clone();
        let has_bytes = before.has_bytes(old);
        // Of .dynamic, the old bytes stay, and with them what another header says of them.
        let start = before.dynamic_range.start;
        let is_dynamic_table = (old.sh_type, old.sh_offset) == (section_header::SHT_DYNAMIC, start);
        let stays = !is_dynamic_table && move_of(plan, old.sh_offset).is_some_and(|table| table.from.start.0 == start);
        if let Some((offset, addr)) = moved(plan, old.sh_offset).filter(|_| has_bytes && !stays) {
            wanted.sh_offset = offset;
            let is_its_address = old.is_alloc() || before.offset_of(old.sh_addr) == Some(old.sh_offset);
            wanted.sh_addr = if is_its_address { addr } else { old.sh_addr };
        }
        if let Some(meant) = old_notes.wanted_section(index, &wanted, new, plan) {
            wanted = meant;
        }
        if plan.note == NoteOutcome::Written && index == usize::from(before.header.e_shstrndx) {
            // The name of the note's section is new, and only that: `note::check` has read the names.
            (wanted.sh_offset, wanted.sh_size) = (new.sh_offset, new.sh_size);
        }
        let is_strings = old.sh_type == section_header::SHT_STRTAB
            && has_bytes
            && (Some(old.sh_addr), Some(old.sh_size)) == old_strings;
        if is_dynamic_table && wanted.sh_offset != old.sh_offset {
            wanted.sh_size = after.dynamic_range.end.saturating_sub(after.dynamic_range.start);
        }
        if is_strings {
            wanted.sh_size = strings.1.unwrap_or(0);
            if (Some(new.sh_addr), Some(new.sh_size)) != strings || after.offset_of(new.sh_addr) != Some(new.sh_offset)
            {
                return Err("the section header of .dynstr does not agree with DT_STRTAB".into());
            }
        }
        if *new != wanted {
            return Err(format!("section header {index} is not the one meant"));
        }
    }
    Ok(())
}

/// Neither sections nor the tables of headers share bytes, and what a segment is in the file it is in memory.
fn check_overlaps(found: &Reading) -> Result<(), String> {
    let of = |section: &SectionHeader| section.sh_offset..section.sh_offset.saturating_add(section.sh_size);
    let sections = found.sections.iter().enumerate().filter(|(_, section)| found.has_bytes(section));
    let mut ranges: Vec<(std::ops::Range<u64>, String)> =
        sections.map(|(index, section)| (of(section), format!("section {index}"))).collect();
    let header = &found.header;
    let program_headers = u64::from(header.e_phnum).saturating_mul(header.e_phentsize.into());
    let section_headers = (found.sections.len() as u64).saturating_mul(header.e_shentsize.into());
    let table = |at: u64, size: u64| at..at.saturating_add(size);
    ranges.push((table(0, header.e_ehsize.into()), "the ELF header".to_owned()));
    ranges.push((table(header.e_phoff, program_headers), "the program header table".to_owned()));
    ranges.push((table(header.e_shoff, section_headers), "the section header table".to_owned()));
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    for pair in ranges.windows(2) {
        if let [(first, name), (second, other)] = pair {
            if second.start < first.end && !second.is_empty() {
                return Err(format!("{name} and {other} share bytes"));
            }
        }
    }
    for (index, segment) in found.segments.iter().enumerate().filter(|(_, segment)| segment.p_filesz > 0) {
        let is_mapped = segment.p_type != program_header::PT_NULL && segment.p_vaddr != 0;
        if is_mapped && found.offset_of(segment.p_vaddr).is_some_and(|offset| offset != segment.p_offset) {
            return Err(format!("segment {index} is not the same bytes in memory as in the file"));
        }
    }
    Ok(())
}

/// A section that shares bytes with the string table is the string table.
fn check_string_section(found: &Reading) -> Result<(), String> {
    let (Some(addr), Some(size)) = (found.value(dynamic::DT_STRTAB), found.value(dynamic::DT_STRSZ)) else {
        return Err("no DT_STRTAB or no DT_STRSZ".into());
    };
    let at = found.offset_of(addr).ok_or("DT_STRTAB lies in no segment")?;
    let end = at.saturating_add(size);
    if found.dynamic.iter().any(|(tag, value)| *tag == dynamic::DT_GNU_HASH && *value == addr) {
        return Err("DT_GNU_HASH and DT_STRTAB have one address".into());
    }
    for (index, section) in found.sections.iter().enumerate().filter(|(_, section)| found.has_bytes(section)) {
        let is_it = section.sh_type == section_header::SHT_STRTAB
            && section.is_alloc()
            && (section.sh_addr, section.sh_offset, section.sh_size) == (addr, at, size);
        let touches = section.sh_offset < end && at < section.sh_offset.saturating_add(section.sh_size);
        if touches && !is_it {
            return Err(format!("section header {index} does not agree with DT_STRTAB and DT_STRSZ"));
        }
    }
    Ok(())
}

fn check_search_path(planned: &Overlay<'_>, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let (tag, other) = match plan.change.tag {
        Tag::Runpath => (dynamic::DT_RUNPATH, dynamic::DT_RPATH),
        Tag::Rpath => (dynamic::DT_RPATH, dynamic::DT_RUNPATH),
    };
    let Some(path) = &plan.change.path else {
        return if after.value(tag).is_some() { Err("the search path's tag is still there".into()) } else { Ok(()) };
    };
    let value = after.value(tag).ok_or("the search path's tag is missing")?;
    if after.value(other).is_some() && plan.note != NoteOutcome::Written {
        return Err("the other search path tag is still there".into());
    }
    let size = after.value(dynamic::DT_STRSZ).ok_or("no DT_STRSZ")?;
    let table = after.value(dynamic::DT_STRTAB).and_then(|addr| after.offset_of(addr)).ok_or("no DT_STRTAB")?;
    if value.checked_add(path.len() as u64).is_none_or(|end| end >= size) {
        return Err("the search path lies outside the string table".into());
    }
    let found = planned.string(table.checked_add(value).ok_or("a string past 2^64")?)?;
    if found != *path {
        return Err("the search path is not the one meant".into());
    }
    Ok(())
}

/// Every edit must lie where an edit may: in the tables that change, in a place that a moved table left, in the old
/// string table, or in bytes that no section had.
fn check_places(original: &[u8], before: &Reading, notes: Vec<Range<u64>>, plan: &Plan<'_>) -> Result<(), String> {
    let range = |at: u64, size: u64| at..at.saturating_add(size);
    let big = before.header.container().is_ok_and(Container::is_big);
    let (phdr_size, shdr_size): (u64, u64) = if big { (56, 64) } else { (32, 40) };
    let header = range(0, if big { 64 } else { 52 });
    let segment_table = range(before.header.e_phoff, phdr_size.saturating_mul(before.segments.len() as u64));
    let section_table = range(before.header.e_shoff, shdr_size.saturating_mul(before.sections.len() as u64));
    let symbols = before
        .sections
        .iter()
        .filter(|section| matches!(section.sh_type, section_header::SHT_SYMTAB | section_header::SHT_DYNSYM));
    let mut allowed = vec![header, segment_table, section_table, before.dynamic_range.clone()];
    allowed.extend(symbols.map(|section| range(section.sh_offset, section.sh_size)));
    allowed.extend(notes);
    allowed.extend(plan.moves.iter().map(|table| table.from.start.0..table.from.end.0));
    let strings = before.value(dynamic::DT_STRTAB).and_then(|addr| before.offset_of(addr));
    let strings = strings.map(|at| range(at, before.value(dynamic::DT_STRSZ).unwrap_or(0)));
    allowed.extend(strings);
    let used: Vec<Range<u64>> = before
        .sections
        .iter()
        .filter(|section| before.has_bytes(section))
        .map(|section| range(section.sh_offset, section.sh_size))
        .collect();
    for edit in &plan.edits {
        let edit_range = edit.at.0..edit.range().end.0;
        let inside = |place: &Range<u64>| place.start <= edit_range.start && edit_range.end <= place.end;
        let touches = |place: &&Range<u64>| place.start < edit_range.end && edit_range.start < place.end;
        if allowed.iter().any(inside) {
            continue;
        }
        let hits_moved_only = used.iter().filter(touches).all(|section| {
            plan.moves.iter().any(|table| table.from.start.0 <= section.start && section.end <= table.from.end.0)
        });
        if !hits_moved_only {
            return Err(format!("the edit at {:#x} ({}) lies in a section", edit.at.0, edit.why));
        }
        let in_file = edit_range.start.min(original.len() as u64)..edit_range.end.min(original.len() as u64);
        if in_file.start < in_file.end && before.sections.is_empty() {
            let window = Overlay { original, plan: None }.read(in_file.start, in_file.end - in_file.start)?;
            if window.len() > 7 && window.iter().any(|&byte| byte != 0) {
                return Err(format!("the edit at {:#x} ({}) lies on bytes that may be in use", edit.at.0, edit.why));
            }
        }
    }
    Ok(())
}
