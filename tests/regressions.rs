//! Files that the property tests and the fuzzer found, made small: each showed a fault of the editor once.

mod support;

use driver_runpath::decide::{Tag, entries};
use driver_runpath::fixtures::{
    Access, ByteOrder, Class, Entry, Header, Load, Need, Part, Part::*, Resolution, Sections, Spec, Start, Symbol,
};
use driver_runpath::plan::{EntryFor, NoteChange, NoteOutcome, Plan, Rung};
use support::generated::{Case, Source, Taken, Why, Wish, check};

/// Gives `spec` the search path, checks everything, and says which way was taken.
fn edited(spec: Spec, path: &str) -> Taken {
    let wish = Wish::Exactly(Tag::Runpath, path.into());
    let case = Case { spec, wish, note: NoteChange::Drop };
    check(&case).unwrap_or_else(|why| panic!("{why}"))
}

/// A library without room behind its segments, so that only a new segment serves.
fn packed(parts: &[Part], headers: &[Header]) -> Spec {
    let mut spec = Spec::default().with(|spec| spec.headers = headers.to_vec());
    spec.loads = vec![
        Load::new(Access::ReadExecute, parts.iter().copied().chain([Text(0x80), RoData])),
        Load::new(Access::ReadWrite, [Dynamic, Data(0x20)]).with(|load| load.zero_fill = 0x20),
    ];
    spec
}

const LONG: &str = "/run/opengl-driver/lib:/a/directory/more";

#[test]
fn relro_that_starts_with_dynamic_stays_when_dynamic_moves() {
    let spec = packed(&[Property, GnuHash, DynSym, DynStr], &Spec::default().headers).with(|spec| spec.spare = 0);
    let spec = spec.with(|spec| spec.dynamic = vec![Entry::SoName("libfixture.so".into()), Entry::Tables]);
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::Append, Source::MovedTable, NoteOutcome::None));
}

#[test]
fn zeros_behind_the_image_are_a_payload_and_no_slack() {
    let mut spec = packed(&[GnuHash, DynSym, DynStr], &[Header::Loads, Header::Dynamic]);
    spec.loads.push(Load::new(Access::Read, [Stray(8)]));
    (spec.sections, spec.trailing) = (Sections::Before(2), (&[0; 4096]).into());
    assert_eq!(edited(spec, LONG), Taken::Refused(Why::Payload));
}

#[test]
fn a_symbol_of_a_moved_section_is_mended_where_the_symbols_are_now() {
    let mut spec =
        packed(&[DynSym, GnuHash, DynStr, BuildId], &[Header::Loads, Header::Dynamic, Header::Note(BuildId)]);
    spec.symbols.push(Symbol::defined("_DYNAMIC", Dynamic));
    (spec.spare, spec.dynamic) = (0, vec![Entry::SoName("libfixture.so".into()), Entry::Tables]);
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::AppendHead, Source::MovedTable, NoteOutcome::None));
}

#[test]
fn without_section_headers_the_old_path_is_scrubbed() {
    let mut spec = Spec::default().with(|spec| spec.sections = Sections::Absent);
    spec.dynamic.insert(0, Entry::RunPath("/opt/vendor/lib:/opt/other".into()));
    let file = spec.build().expect("a file");
    let image = driver_runpath::elf::Image::parse(&file).expect("a library");
    let change = support::generated::change(Tag::Runpath, Some(LONG.into()));
    let plan = driver_runpath::plan::plan(&image, &change).expect("a plan");
    let after = plan.replay(plan.edits.len()).expect("edits within the file");
    for entry in entries(b"/opt/vendor/lib:/opt/other") {
        assert_eq!(memchr::memmem::find(&after, entry), None);
    }
}

#[test]
fn a_note_whose_header_is_taken_can_make_way() {
    let headers = [Header::Loads, Header::Note(Property), Header::Property, Header::Dynamic];
    let mut spec = packed(&[GnuHash, DynSym, DynStr, Property], &headers);
    // The new segment starts at a stray byte's end, the note in it at the next word.
    spec.trailing = "P".into();
    assert_eq!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::Append, Source::Spare, NoteOutcome::None));
}

#[test]
fn a_note_whose_header_is_borrowed_can_make_way() {
    let headers = [Header::Loads, Header::Dynamic, Header::Note(AbiTag)];
    let spec = packed(&[GnuHash, DynSym, DynStr, AbiTag, VerSym, VerNeed], &headers);
    assert_eq!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::AppendHead, Source::Spare, NoteOutcome::None));
}

#[test]
fn notes_move_only_as_far_as_all_of_them_stay_aligned() {
    let headers = [Header::Loads, Header::Dynamic, Header::Notes];
    let mut spec = packed(&[AbiTag, BuildId, Property, GnuHash, DynSym, DynStr], &headers);
    spec.loads[0].parts.insert(0, Zeros(4));
    assert!(matches!(edited(spec, LONG), Taken::Refused(_) | Taken::Planned(..)));
}

#[test]
fn a_build_id_that_shares_its_header_with_a_note_nearby_stays_in_the_first_page() {
    let headers = [Header::Loads, Header::Dynamic, Header::Notes, Header::Null];
    let mut spec = packed(&[GnuHash, DynSym, DynStr, AbiTag, BuildId, VerSym, VerNeed], &headers);
    spec.loads[0].parts.push(Zeros(4096));
    assert!(matches!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::Append, Source::Spare, NoteOutcome::None)));
}

#[test]
fn without_section_headers_zeros_behind_the_strings_are_not_padding() {
    let headers = [Header::Loads, Header::Dynamic, Header::Note(AbiTag), Header::Null];
    let mut spec = packed(&[GnuHash, DynStr, AbiTag, DynSym], &headers);
    spec.sections = Sections::Absent;
    assert_eq!(edited(spec, &"/a".repeat(20)), Taken::Planned(Rung::Append, Source::Spare, NoteOutcome::None));
}

#[test]
fn strings_never_grow_over_the_first_bytes_of_the_program_headers() {
    let headers = [Header::Loads, Header::Dynamic, Header::Null];
    let mut spec = packed(&[GnuHash, DynSym, DynStr, VerSym, ProgramHeaders, VerNeed], &headers);
    // The first bytes of a big-endian PT_LOAD are zero.
    (spec.class, spec.order, spec.machine) = (Class::Elf32, ByteOrder::Big, 8);
    spec.loads[0].file_gap = 64;
    for len in 1..16 {
        edited(spec.clone(), &"/".repeat(len));
    }
}

#[test]
fn strings_never_grow_over_the_first_section_header() {
    let headers = [Header::Loads, Header::Dynamic, Header::Null];
    let mut spec = packed(&[GnuHash, DynSym, DynStr, VerSym, SectionHeaders, VerNeed], &headers);
    spec.loads[0].file_gap = 64;
    for len in 1..40 {
        edited(spec.clone(), &"/".repeat(len));
    }
}

#[test]
fn an_empty_section_takes_no_room() {
    let mut spec = Spec::default().with(|spec| spec.symtab = false);
    // It lies within the room that .dynstr takes.
    spec.loads[1].parts = vec![Text(0)];
    (spec.loads[0].file_gap, spec.loads[1].file_gap) = (24, 0x400);
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::Slack, Source::Spare, NoteOutcome::None));
}

#[test]
fn a_last_entry_that_takes_a_dropped_ones_place_has_its_new_value() {
    let mut spec = packed(&[GnuHash, DynSym, DynStr, PltRelocations], &[Header::Loads, Header::Dynamic]);
    // DT_JMPREL comes last, and its table makes way for the new path.
    let soname = Entry::SoName("libfixture_with_a_name_that_needs_more_room_than_there_is.so".into());
    spec.dynamic = vec![soname, Entry::RPath("/old".into()), Entry::RunPath("/old".into()), Entry::Tables];
    spec.loads[0].file_gap = 40;
    assert_eq!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::Evict, Source::Spare, NoteOutcome::None));
}

#[test]
fn strings_do_not_grow_into_the_page_of_an_empty_segment() {
    let mut spec = Spec::default().with(|spec| spec.symtab = false);
    // Empty, at the end of a page that holds nothing else.
    spec.loads[1].parts = vec![];
    spec.symbols[1].defined_in = Some(RoData);
    (spec.loads[0].file_gap, spec.loads[1].file_gap) = (0xff0 - 0x3e8, 0x1000);
    assert_ne!(edited(spec, &"/".repeat(0xd00)), Taken::Planned(Rung::Slack, Source::Spare, NoteOutcome::None));
}

#[test]
fn strings_that_share_bytes_with_the_elf_header_are_left_alone() {
    let mut spec = packed(&[GnuHash, DynSym, DynStr], &[Header::Loads, Header::Dynamic, Header::Null]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    let mut file = spec.build().expect("a file");
    let address = goblin::elf::Elf::parse(&file).expect("an ELF file").dynamic.expect("a table").info.strtab as u64;
    let entry = [5u64.to_le_bytes(), address.to_le_bytes()].concat();
    let at = memchr::memmem::find(&file, &entry).expect("DT_STRTAB");
    file[at + 8..at + 16].fill(0);
    let image = driver_runpath::elf::Image::parse(&file).expect("a library");
    let change = support::generated::change(Tag::Runpath, Some(LONG.into()));
    let refusal = driver_runpath::plan::plan(&image, &change).expect_err("a refusal");
    assert_eq!(refusal.to_string(), "the ELF header and .dynstr share bytes");
}

#[test]
fn a_spare_entry_with_another_tag_behind_it_is_none() {
    let mut file = Spec::default().with(|spec| spec.spare = 1).build().expect("a file");
    let wanted = support::generated::change(Tag::Runpath, Some(LONG.into()));
    let entry_from = |file: &[u8]| {
        let image = driver_runpath::elf::Image::parse(file).expect("a library");
        let end = image.dynamic.offset.0 as usize + 16 * (image.dynamic.entries.len() + 1);
        (driver_runpath::plan::plan(&image, &wanted).map(|plan| plan.entry), end)
    };
    let (entry, behind) = entry_from(&file);
    assert_eq!(entry, Ok(EntryFor::Spare));
    // It ends the table as soon as the first DT_NULL is a search path.
    file[behind] = 1;
    assert_ne!(entry_from(&file).0, Ok(EntryFor::Spare));
}

#[test]
fn an_empty_segment_where_the_next_one_starts_is_told_apart() {
    let mut spec = Spec::default().with(|spec| {
        spec.symtab = false;
        spec.unused_strings = vec!["X".repeat(200).as_str().into()];
    });
    spec.loads[0].file_gap = 0x1000 - 0x4b0;
    spec.loads[1] = Load::new(Access::ReadExecute, [Text(0)]);
    let file = spec.build().expect("a file");
    let segments = goblin::elf::Elf::parse(&file).expect("an ELF file").program_headers;
    let places: Vec<_> = segments.iter().skip(1).take(2).map(|segment| (segment.p_vaddr, segment.p_offset)).collect();
    assert_eq!(places[0], places[1], "{places:x?}");
    assert_eq!(edited(spec, "/opt/driver/lib"), Taken::Planned(Rung::Slot, Source::Spare, NoteOutcome::None));
}

/// The plan for damaged bytes, once `verify` has agreed to it; else what is said about the file.
fn planned(file: &[u8]) -> Result<Plan<'_>, String> {
    let image = driver_runpath::elf::Image::parse(file).expect("a library");
    let change = support::generated::change(Tag::Runpath, Some(LONG.into()));
    let plan = driver_runpath::plan::plan(&image, &change).map_err(|refusal| refusal.to_string())?;
    driver_runpath::verify::verify(plan.clone()).map_err(|error| error.to_string())?;
    Ok(plan)
}

/// A little-endian 64-bit library with everything that linkers make, and its tables.
fn library() -> (Vec<u8>, Elf64) {
    let mut spec =
        packed(&[GnuHash, Hash, DynSym, DynStr, VerSym, VerNeed], &[Header::Loads, Header::Dynamic, Header::Null]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    let file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    (file, tables)
}

/// Where fields that the tests damage are in the file.
struct Elf64 {
    /// The tag, and where its value is.
    dynamic: Vec<(u64, usize)>,
    sections: Vec<goblin::elf::SectionHeader>,
    segments: Vec<goblin::elf::ProgramHeader>,
    header: goblin::elf::Header,
}

impl Elf64 {
    fn of(file: &[u8]) -> Self {
        let elf = goblin::elf::Elf::parse(file).expect("an ELF file");
        let place =
            elf.program_headers.iter().find(|segment| segment.p_type == goblin::elf::program_header::PT_DYNAMIC);
        let start = place.expect("PT_DYNAMIC").p_offset as usize;
        let entries = elf.dynamic.expect("a table").dyns;
        let dynamic = entries.iter().enumerate().map(|(index, entry)| (entry.d_tag, start + 16 * index + 8)).collect();
        Self { dynamic, sections: elf.section_headers, segments: elf.program_headers, header: elf.header }
    }

    fn section(&self, kind: u32) -> (usize, &goblin::elf::SectionHeader) {
        self.sections.iter().enumerate().find(|(_, section)| section.sh_type == kind).expect("a section")
    }

    fn value_at(&self, tag: u64) -> usize {
        self.dynamic.iter().find(|(found, _)| *found == tag).expect("the tag").1
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_STRSZ, DT_SYMTAB, DT_VERNEED, DT_VERSYM};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_GNU_VERNEED, SHT_GNU_VERSYM, SHT_HASH, SHT_NOTE, SHT_STRTAB};

#[test]
fn an_entry_that_leads_into_the_strings_is_no_table_to_go_by() {
    for tag in [DT_SYMTAB, DT_HASH, DT_GNU_HASH, DT_VERSYM, DT_VERNEED] {
        let (mut file, tables) = library();
        assert!(planned(&file).is_ok());
        let (_, strings) = tables.section(SHT_STRTAB);
        put(&mut file, tables.value_at(tag), &(strings.sh_addr + 4).to_le_bytes());
        let said = planned(&file).expect_err("a refusal");
        assert!(said.ends_with("share bytes") && said.contains(".dynstr"), "{tag:#x}: {said}");
    }
}

#[test]
fn versions_are_not_read_from_what_an_edit_changes() {
    let (file, tables) = library();
    let (_, versions) = tables.section(SHT_GNU_VERNEED);
    let (addr, at) = (versions.sh_addr, versions.sh_offset as usize);
    let text_end = tables.segments.iter().find(|segment| segment.p_type == 1).map(|load| load.p_vaddr + load.p_memsz);
    for (target, what) in [
        (tables.header.e_phoff, "the program header table"),
        (tables.section(SHT_STRTAB).1.sh_addr, ".dynstr"),
        (text_end.expect("a segment") + 4, "what lies behind a segment"),
    ] {
        let mut start = file.clone();
        put(&mut start, tables.value_at(DT_VERNEED), &target.to_le_bytes());
        let mut damaged = vec![start];
        if let Some(distance) = target.checked_sub(addr) {
            let mut link = file.clone();
            // vn_aux of the first record.
            put(&mut link, at + 8, &(distance as u32).to_le_bytes());
            damaged.push(link);
        }
        for file in damaged {
            let said = planned(&file).expect_err(what);
            assert_eq!(said, format!("a version record and {what} share bytes"));
        }
    }
}

#[test]
fn names_in_a_version_chain_that_breaks_count_only_within_the_strings() {
    let (mut file, tables) = library();
    let at = tables.section(SHT_GNU_VERNEED).1.sh_offset as usize;
    // The first record's file name lies outside; its next one is where no segment is.
    put(&mut file, at + 4, &0x400u32.to_le_bytes());
    put(&mut file, at + 12, &0x7000_0000u32.to_le_bytes());
    assert_eq!(planned(&file).map(|plan| plan.rung), Ok(Rung::Append));
}

#[test]
fn sections_whose_flags_are_lost_move_with_their_bytes() {
    for kind in [SHT_STRTAB, SHT_GNU_VERSYM, SHT_GNU_VERNEED] {
        let (mut file, tables) = library();
        let (index, section) = tables.section(kind);
        let field = tables.header.e_shoff as usize + 64 * index;
        // sh_flags.
        put(&mut file, field + 8, &0u64.to_le_bytes());
        let plan = planned(&file).expect("a plan");
        let after = plan.replay(plan.edits.len()).expect("edits within the file");
        let moved = plan.moves.iter().find(|table| table.from.start.0 == section.sh_offset);
        let now = &Elf64::of(&after).sections[index];
        let place = moved.map_or((section.sh_offset, section.sh_addr), |table| (table.to.0, table.addr.0));
        assert_eq!((now.sh_offset, now.sh_addr), place, "{kind:#x}");
    }
}

#[test]
fn a_note_that_shares_bytes_with_the_strings_is_left_alone() {
    let (mut file, tables) = library();
    let null = tables.segments.iter().position(|segment| segment.p_type == 0).expect("PT_NULL");
    let strings = tables.section(SHT_STRTAB).1;
    let at = tables.header.e_phoff as usize + 56 * null;
    put(&mut file, at, &4u32.to_le_bytes());
    let words = [strings.sh_offset + 8, strings.sh_addr + 8, strings.sh_addr + 8, 16, 16, 4];
    put(&mut file, at + 8, &words.map(u64::to_le_bytes).concat());
    assert_eq!(planned(&file).expect_err("a refusal"), "a note or another segment and .dynstr share bytes");
}

#[test]
fn a_header_of_an_unknown_kind_over_dynamic_stays_when_dynamic_moves() {
    let headers = [Header::Loads, Header::Dynamic, Header::Relro, Header::Null];
    let mut spec = packed(&[GnuHash, DynSym, DynStr], &headers);
    (spec.spare, spec.dynamic) = (0, vec![Entry::SoName("libfixture.so".into()), Entry::Tables]);
    let mut file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    let relro = goblin::elf::program_header::PT_GNU_RELRO;
    let index = tables.segments.iter().position(|segment| segment.p_type == relro).expect("PT_GNU_RELRO");
    put(&mut file, tables.header.e_phoff as usize + 56 * index, &u32::MAX.to_le_bytes());
    assert_eq!(planned(&file).map(|plan| plan.entry), Ok(EntryFor::MovedTable));
}

#[test]
fn a_table_that_a_second_entry_leads_into_does_not_make_way() {
    // .gnu.version would make way for the longer .dynstr.
    let mut spec = packed(&[GnuHash, Hash, DynSym, DynStr, VerSym, VerNeed], &[Header::Loads, Header::Dynamic]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    (spec.loads[0].file_gap, spec.trailing) = (64, (&[1; 64]).into());
    let mut file = spec.build().expect("a file");
    assert_eq!(planned(&file).map(|plan| plan.rung), Ok(Rung::Evict));
    let tables = Elf64::of(&file);
    let versions = tables.section(SHT_GNU_VERSYM).1.sh_addr;
    put(&mut file, tables.value_at(DT_GNU_HASH), &(versions + 2).to_le_bytes());
    let said = planned(&file).expect_err("a refusal");
    assert!(said.contains("a second entry of the dynamic table leads into"), "{said}");
}

#[test]
fn a_damaged_file_is_refused_with_what_is_wrong_with_it() {
    let (file, tables) = library();
    let field = |section: u32, at: usize| tables.header.e_shoff as usize + 64 * tables.section(section).0 + at;
    // What the damage is, where a number is stored, and what is said.
    let null = tables.segments.iter().position(|segment| segment.p_type == 0).expect("PT_NULL");
    let null = tables.header.e_phoff as usize + 56 * null;
    let cases: [(usize, &[u8], &str); 2] = [
        (tables.value_at(DT_STRSZ), &0u64.to_le_bytes(), "DT_STRSZ is 0"),
        (null, &2u32.to_le_bytes(), "more than one PT_DYNAMIC"),
    ];
    for (at, bytes, says) in cases {
        let mut file = file.clone();
        put(&mut file, at, bytes);
        let said = planned(&file).expect_err("a refusal");
        assert!(said.contains(says), "{said}");
    }
    // A second header that calls itself .dynamic is none, and stays.
    let mut file = file.clone();
    put(&mut file, field(SHT_GNU_VERSYM, 4), &6u32.to_le_bytes());
    assert!(planned(&file).is_ok());
}

#[test]
fn versions_in_what_looks_like_padding_are_not_written_over() {
    let mut spec = packed(&[GnuHash, DynSym, DynStr, Zeros(0x100), VerSym, VerNeed], &[Header::Loads, Header::Dynamic]);
    spec.loads[0].file_gap = 0x400;
    let mut file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    let strings = tables.section(SHT_STRTAB).1;
    assert_eq!(planned(&file).map(|plan| plan.moves.len()), Ok(0));
    // A record of zeros is one, and the last.
    let middle = strings.sh_addr + strings.sh_size + 16;
    put(&mut file, tables.value_at(DT_VERNEED), &middle.to_le_bytes());
    let plan = planned(&file).expect("another place");
    let at = strings.sh_offset + strings.sh_size + 16;
    assert!(plan.edits.iter().all(|edit| edit.range().end.0 <= at || edit.at.0 > at), "{:?}", plan.edits);
}

/// A library with a resolution note beside its other notes, named by two headers.
/// A record that lies in another table would move with that one, and not with its own.
#[test]
fn a_record_of_versions_in_a_section_of_another_kind_is_not_moved_with_that() {
    let mut spec = packed(&[DynSym, VerNeed, DynStr, Hash, GnuHash, VerSym], &[Header::Loads, Header::Dynamic]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    (spec.loads[0].file_gap, spec.trailing) = (64, (&[1; 64]).into());
    let mut file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    let hash = tables.section(SHT_HASH).1;
    let before = planned(&file).expect("a plan");
    assert!(before.moves.iter().any(|table| table.from.start.0 == hash.sh_offset), "{:?}", before.moves);
    // The one Verneed has 16 bytes, a Vernaux behind it: vna_next.
    let record = tables.section(SHT_GNU_VERNEED).1.sh_offset + 16;
    put(&mut file, record as usize + 12, &((hash.sh_offset - record) as u32).to_le_bytes());
    let said = planned(&file).expect_err("a refusal");
    assert_eq!(said, "a version record and a section of another kind share bytes");
}

/// The address of a hash table, damaged, does not cut off the symbols.
#[test]
fn a_hash_table_that_leads_into_the_symbols_does_not_hide_them() {
    let (mut file, tables) = library();
    let (index, symbols) = tables.section(SHT_DYNSYM);
    // Where nchain, the second word there, is more than the file can hold.
    let start = symbols.sh_offset as usize;
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    let large = (start + 1..).find(|at| word(at + 4) > 1 << 20).expect("a large number") - start;
    assert!((large as u64) < symbols.sh_size - 24, "in front of the last symbol");
    put(&mut file, tables.value_at(DT_HASH), &(symbols.sh_addr + large as u64).to_le_bytes());
    let image = driver_runpath::elf::Image::parse(&file).expect("a library");
    assert_eq!(image.symbol_names().count() as u64, symbols.sh_size / 24, "section {index}");
}

#[test]
fn a_note_that_two_headers_name_goes_and_its_neighbours_stay() {
    let mut spec = Spec::default().with(|spec| spec.resolution = vec![note("a\0=/b\0\0")]);
    spec.loads[0].parts.insert(0, ResolutionNote(0));
    spec.headers.extend([Header::Notes, Header::Note(ResolutionNote(0))]);
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::Slack, Source::Spare, NoteOutcome::Dropped));
}

/// The loader reads the first of two; with the old path it must not see the second alone.
#[test]
fn of_two_notes_the_one_that_counts_goes_out_of_sight_last() {
    let mut spec = Spec::default().with(|spec| spec.resolution = vec![note("a\0=/b\0\0"), note("a\0=/c\0\0")]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    for number in 0..2 {
        spec.loads.push(Load::new(Access::Read, [ResolutionNote(number)]));
        spec.headers.push(Header::Note(ResolutionNote(number)));
    }
    let taken = edited(spec, LONG);
    assert!(matches!(taken, Taken::Planned(_, _, NoteOutcome::Dropped)), "{taken:?}");
}

fn note(descriptor: &str) -> Resolution {
    Resolution::new(descriptor)
}

/// The search path gets a segment of its own, a page behind the one that holds the note, which has room for more in the file.
#[test]
fn a_longer_note_does_not_reach_the_segment_that_the_search_path_got() {
    let parts = [
        Interp,
        ResolutionNote(0),
        AbiTag,
        GnuHash,
        VerNeed,
        DynSym,
        DynStr,
        VerSym,
        VerDef,
        Hash,
        Text(345),
        RoData,
        Dynamic,
        Data(165),
    ];
    let mut spec = Spec::default().with(|spec| {
        spec.loads = vec![Load::new(Access::All, parts).with(|load| {
            (load.file_gap, load.start) = (2448, Start::Packed);
        })];
        spec.resolution = vec![note("libcuda.so.1\0=/cut/off")];
        spec.defines = vec!["VERS_0".into(), "VERS_1".into(), "VERS_2".into()];
        (spec.spare, spec.relocations, spec.trailing) = (0, 0, "P".into());
    });
    spec.headers = vec![
        Header::Interp,
        Header::Loads,
        Header::Dynamic,
        Header::Note(AbiTag),
        Header::Stack,
        Header::Null,
        Header::Note(ResolutionNote(0)),
    ];
    spec.dynamic = vec![Entry::Needed("libc.so.6".into()), Entry::Needed("libcuda.so.1".into()), Entry::Tables];
    spec.needs.push(Need::new("libcuda.so.1", ["VERS_2.0".into(), "VERS_2.1".into(), "VERS_2.2".into()]));
    let file = spec.build().expect("a file");
    let image = driver_runpath::elf::Image::parse(&file).expect("a library");
    let mut outcomes = std::collections::HashSet::new();
    for len in (10..4000).step_by(10) {
        let change = support::generated::change(Tag::Runpath, Some("/".into()));
        let change = change.with_note(NoteChange::Renew([&b"a\0=/"[..], &vec![b'n'; len], b"\0\0"].concat()));
        let plan = driver_runpath::plan::plan(&image, &change).expect("a plan");
        assert_eq!(plan.rung, Rung::Append);
        outcomes.insert(plan.note);
        driver_runpath::verify::verify(plan).unwrap_or_else(|error| panic!("{len} more bytes: {error}"));
    }
    assert_eq!(outcomes, [NoteOutcome::Renewed, NoteOutcome::Dropped].into());
}

/// Some processors can execute memory that they cannot read; `lld --execute-only` writes such segments.
#[test]
fn what_loaders_read_does_not_move_to_memory_that_can_be_executed_only() {
    const PF_X: u32 = 1;
    let parts = [Load::new(Access::Read, [GnuHash, DynSym, DynStr]), Load::new(Access::ReadExecute, [Text(0x80)])];
    let mut spec = Spec::default().with(|spec| spec.headers = vec![Header::Loads, Header::Dynamic]);
    spec.loads = parts.into_iter().chain([Load::new(Access::ReadWrite, [Dynamic, Data(0x20)])]).collect();
    (spec.loads[0].start, spec.loads[1].file_gap) = (spec.loads[1].start, 0x400);
    let mut file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    let is_code = |segment: &goblin::elf::ProgramHeader| segment.is_executable();
    let code = tables.segments.iter().position(is_code).expect("code");
    let before = planned(&file).expect("a plan");
    let held = |plan: &Plan<'_>| {
        let range = tables.segments[code].p_vaddr..tables.segments[code].p_vaddr + 0x1000;
        plan.moves.iter().any(|table| range.contains(&table.addr.0))
    };
    assert!(held(&before), "the slack behind code is the nearest place: {:?}", before.moves);
    put(&mut file, tables.header.e_phoff as usize + 56 * code + 4, &PF_X.to_le_bytes());
    let after = planned(&file).expect("another place");
    assert!(!held(&after), "{:?}", after.moves);
}

#[test]
fn a_file_whose_program_headers_or_notes_are_not_what_loaders_read_is_left_alone() {
    let spec = packed(
        &[GnuHash, DynSym, DynStr, BuildId],
        &[Header::Table, Header::Loads, Header::Dynamic, Header::Note(BuildId), Header::Null],
    );
    let file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    assert!(planned(&file).is_ok());
    let field = |kind: u32, at: usize| {
        let index = tables.segments.iter().position(|segment| segment.p_type == kind).expect("a header");
        tables.header.e_phoff as usize + 56 * index + at
    };
    const P_VADDR: usize = 16;
    const P_MEMSZ: usize = 40;
    const PT_NOTE: u32 = 4;
    const PT_PHDR: u32 = 6;
    let strings = tables.section(SHT_STRTAB).1.sh_addr;
    for (at, value, says) in [
        (field(PT_PHDR, P_VADDR), strings, "PT_PHDR does not lead to its program header table"),
        (field(PT_NOTE, P_MEMSZ), 1 << 44, "loaders read on behind the notes"),
    ] {
        let mut file = file.clone();
        put(&mut file, at, &value.to_le_bytes());
        let said = planned(&file).expect_err("a refusal");
        assert!(said.contains(says), "{said}");
    }
}

/// A library with a resolution note, and where its section header is.
fn library_with_note() -> (Vec<u8>, Elf64, usize) {
    let mut spec = packed(&[GnuHash, Hash, DynSym, DynStr, VerSym, VerNeed], &[Header::Loads, Header::Dynamic]);
    spec.dynamic.insert(0, Entry::RunPath("/old".into()));
    spec.resolution = vec![note("a\0=/b\0\0")];
    spec.loads.push(Load::new(Access::Read, [ResolutionNote(0)]).with(|load| load.file_gap = 0x100));
    spec.headers.push(Header::Note(ResolutionNote(0)));
    let file = spec.build().expect("a file");
    let tables = Elf64::of(&file);
    let (index, _) = tables.section(SHT_NOTE);
    let at = tables.header.e_shoff as usize + 64 * index;
    (file, tables, at)
}

/// What becomes of a note when its new descriptor is a little longer.
fn renewed(file: &[u8]) -> Result<NoteOutcome, String> {
    let image = driver_runpath::elf::Image::parse(file).expect("a library");
    let change = support::generated::change(Tag::Runpath, Some("/d".into()));
    let change = change.with_note(NoteChange::Renew(b"a\0=/b:?/run/opengl-driver/lib\0\0".to_vec()));
    let plan = driver_runpath::plan::plan(&image, &change).map_err(|refusal| refusal.to_string())?;
    let outcome = plan.note;
    driver_runpath::verify::verify(plan).map(|_| outcome).map_err(|error| error.to_string())
}

#[test]
fn a_note_whose_section_is_none_of_notes_in_memory_goes_and_no_new_one_comes() {
    let (file, _, header) = library_with_note();
    assert_eq!(renewed(&file), Ok(NoteOutcome::Renewed));
    // sh_type, sh_flags.
    for (at, bytes) in [(header + 4, &11u32.to_le_bytes()[..]), (header + 8, &0u64.to_le_bytes())] {
        let mut file = file.clone();
        put(&mut file, at, bytes);
        assert_eq!(renewed(&file), Ok(NoteOutcome::Dropped));
    }
}

#[test]
fn a_note_beside_a_section_that_is_not_in_the_file_is_renewed() {
    let (mut file, tables, _) = library_with_note();
    let text = tables.sections.iter().position(|section| section.is_executable()).expect("code");
    put(&mut file, tables.header.e_shoff as usize + 64 * text + 32, &0x10_0000u64.to_le_bytes());
    assert_eq!(renewed(&file), Ok(NoteOutcome::Renewed));
}

#[test]
fn a_table_whose_section_has_the_note_s_name_keeps_its_bytes() {
    let (mut file, tables, header) = library_with_note();
    let name = file[header..header + 4].to_vec();
    for kind in [SHT_GNU_VERNEED, SHT_GNU_VERSYM] {
        put(&mut file, tables.header.e_shoff as usize + 64 * tables.section(kind).0, &name);
    }
    assert_eq!(renewed(&file), Ok(NoteOutcome::Dropped));
}

/// The referee's eleventh rule, on a file whose note an edit has forgotten, and on one where only `PT_NOTE` went.
#[test]
fn the_referee_objects_to_a_note_that_stays_and_to_bytes_that_it_leaves() {
    use support::referee::judge_note;
    let stub = "libcuda.so.1\0=/nix/store/h-stubs/lib/stubs/libcuda.so.1\0\0";
    let mut spec = Spec::default().with(|spec| spec.resolution = vec![note(stub)]);
    spec.loads.push(Load::new(Access::Read, [ResolutionNote(0)]));
    spec.headers.push(Header::Note(ResolutionNote(0)));
    let file = spec.build().expect("a file");
    let says = |after: &[u8], wanted: Option<&[u8]>| {
        judge_note(&file, after, wanted).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(says(&file, Some(stub.as_bytes())), "");
    assert!(says(&file, Some(b"libcuda.so.1\0?/d\0\0")).contains("says something else"));
    assert!(says(&file, None).contains("says something else"));
    // Out of the loader's sight, but for patchelf and Nix it is there.
    let image = driver_runpath::elf::Image::parse(&file).expect("a library");
    let index = driver_runpath::resolution::find(&image).found[0].segment;
    let field = image.segment_field(index, image.encoding.layout.p_type).expect("a header").0 as usize;
    let mut hidden = file.clone();
    hidden[field..field + 4].fill(0);
    assert!(says(&hidden, None).contains("0 resolution notes and 1 sections"));
}
