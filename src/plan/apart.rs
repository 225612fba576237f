//! Files in which a write to one table would change another: nothing is planned for them.
//!
//! Linkers keep tables apart. In a damaged file one address can lead into the middle of another table, of which an edit
//! would make something else without a reader's notice.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::dynamic::EntryFor;
use super::free_space::within;
use super::liveness::{Liveness, Record, version_records};
use super::movable::{MOVABLE_SEGMENTS, NAMED, TABLES, named_places};
use super::{NoFit, Refusal};
use crate::elf::{FileOffset, Image, Section, Segment, Vaddr, merged, overlap};

/// A table that an edit may write to, with its name.
type Table = (&'static str, Option<Range<FileOffset>>);

/// Refuses a file whose tables share bytes. `entry` tells whether `.dynamic` moves.
pub(super) fn check(image: &Image<'_>, entry: EntryFor) -> Result<(), Refusal> {
    // The first byte of a string table is a NUL (gABI, "String Table").
    if image.strings.is_empty() {
        return Err(Refusal::Empty);
    }
    check_repeated(image)?;
    let tables = tables(image, entry);
    for (index, (name, range)) in tables.iter().enumerate() {
        if let Some(range) = range {
            check_free_of(tables.get(index.saturating_add(1)..).unwrap_or_default(), name, range)?;
        }
    }
    // Readers of versions follow the records from one to the next, wherever they lie.
    let mut records = Ok(());
    let others = other_sections(image);
    version_records(image, |record| {
        records.as_ref().ok()?;
        records = match record {
            Record::At(range) => {
                check_free_of(&tables, "a version record", &range).and_then(|()| match is_in(&others, &range) {
                    true => Err(Refusal::Overlap("a version record", "a section of another kind")),
                    false => Ok(()),
                })
            }
            Record::Outside(addr) => check_unmapped(image, addr),
        };
        records.is_ok().then_some(())
    });
    records?;
    if let Some(symbols) = image.symbols.as_ref().filter(|symbols| symbols.exact) {
        check_free_of(&tables, "the symbol table", &symbols.range)?;
    }
    let read_whole = image.segments.iter().filter(|segment| MOVABLE_SEGMENTS.contains(&segment.kind));
    for segment in read_whole {
        check_free_of(&tables, "a note or another segment", &segment.file_range())?;
    }
    check_read_in_memory(image)?;
    check_moving(image, &tables)
}

/// The bytes of sections that are not for versions, in order, none of them twice: a record in one of these does not move with
/// its own table, but with that section.
fn other_sections(image: &Image<'_>) -> Vec<Range<FileOffset>> {
    let is_other = |section: &&Section| !matches!(section.kind, elf::SHT_GNU_VERNEED | elf::SHT_GNU_VERDEF);
    let mut ranges: Vec<_> = image.sections.iter().filter(is_other).filter_map(Section::file_range).collect();
    ranges.retain(|range| !range.is_empty());
    merged(ranges)
}

/// Whether one of `ranges`, which are in order, has a byte of `range`.
fn is_in(ranges: &[Range<FileOffset>], range: &Range<FileOffset>) -> bool {
    let behind = ranges.partition_point(|other| other.end <= range.start);
    ranges.get(behind).is_some_and(|other| overlap(other, range))
}

/// Refuses a file in which loaders take other bytes for program headers or notes than the ones that an edit looks at.
fn check_read_in_memory(image: &Image<'_>) -> Result<(), Refusal> {
    let is_note = |kind| matches!(kind, elf::PT_NOTE | elf::PT_GNU_PROPERTY);
    if image.segments.iter().any(|segment| is_note(segment.kind) && segment.filesz != segment.memsz) {
        return Err(Refusal::NoteSize);
    }
    let table = image.segment_table_range().start;
    let leads_there = |addr: Vaddr| image.file_range_of(addr, 1).is_some_and(|place| place.start == table);
    match image.segments.iter().find(|segment| segment.kind == elf::PT_PHDR && !leads_there(segment.vaddr)) {
        Some(_) => Err(Refusal::ProgramHeaders),
        None => Ok(()),
    }
}

/// Refuses a file that names a table or a search path again and again: an edit looks at each, and changes each.
fn check_repeated(image: &Image<'_>) -> Result<(), Refusal> {
    // Editors that repeat an entry repeat it once.
    const MOST: usize = 100;
    let is_edited = |tag| matches!(tag, elf::DT_RPATH | elf::DT_RUNPATH | elf::DT_STRSZ) || NAMED.contains(&tag);
    let entries = image.dynamic.entries.iter().filter(|entry| is_edited(entry.tag)).count();
    let is_table = |section: &&Section| TABLES.iter().any(|(kind, _)| *kind == section.kind);
    if entries > MOST || image.sections.iter().filter(is_table).count() > MOST {
        return Err(Refusal::Repeated(MOST));
    }
    // glibc takes the last one (elf/rtld.c), other programs the first.
    let dynamic = image.segments.iter().filter(|segment| segment.kind == elf::PT_DYNAMIC);
    if dynamic.count() > 1 { Err(Refusal::TwoDynamic) } else { Ok(()) }
}

/// What edits write to.
fn tables(image: &Image<'_>, entry: EntryFor) -> [Table; 5] {
    let layout = image.encoding.layout;
    // With the entry that may be added and the DT_NULL behind it.
    let entries = image.dynamic.entries.len().saturating_add(2).min(image.dynamic.capacity) as u64;
    let dynamic = match entry {
        // All that is in PT_DYNAMIC moves, whatever that is.
        EntryFor::MovedTable => image.segments.get(image.dynamic.segment).map(Segment::file_range),
        _ => image.dynamic.offset.range(entries.saturating_mul(layout.dyn_size)),
    };
    [
        ("the ELF header", FileOffset(0).range(layout.ehdr_size)),
        ("the program header table", Some(image.segment_table_range())),
        ("the section header table", image.sections.place.clone()),
        (".dynamic", dynamic),
        (".dynstr", Some(image.strings.range.clone())),
    ]
}

/// What lies in the last page of a segment, behind its bytes, is in memory as well: zeros, or what the file has there. Its
/// bytes are no padding if a record is read from them.
fn check_unmapped(image: &Image<'_>, addr: Vaddr) -> Result<(), Refusal> {
    let is_mapped = image.loads().any(|(_, load)| {
        let end = load.addresses().end.checked_round_up(image.page_size_of(load)).unwrap_or(Vaddr(u64::MAX));
        (load.vaddr..end).contains(&addr)
    });
    if is_mapped { Err(Refusal::Overlap("a version record", "what lies behind a segment")) } else { Ok(()) }
}

fn check_free_of(tables: &[Table], name: &'static str, range: &Range<FileOffset>) -> Result<(), Refusal> {
    match tables.iter().find(|(_, table)| table.as_ref().is_some_and(|table| overlap(table, range))) {
        Some((other, _)) => Err(Refusal::Overlap(name, other)),
        None => Ok(()),
    }
}

/// Nothing but strings lies in `.dynstr`, and nothing but its entries in `.dynamic`: what does would not move with them.
fn check_moving(image: &Image<'_>, tables: &[Table]) -> Result<(), Refusal> {
    let strings = &image.strings.range;
    let moving = tables.iter().filter(|(name, _)| [".dynamic", ".dynstr"].contains(name));
    let moving: Vec<_> = moving.filter_map(|(name, range)| Some((*name, range.clone()?))).collect();
    let is_table = |tag, addr| tag == elf::DT_STRTAB && addr == image.strings.addr;
    for (at, ..) in named_places(image).filter(|(_, tag, addr)| !is_table(*tag, *addr)) {
        if let Some((name, _)) = moving.iter().find(|(_, range)| range.contains(&at)) {
            return Err(Refusal::Overlap("a table that an entry of the dynamic table names", name));
        }
    }
    let is_other = |kind| !matches!(kind, elf::PT_LOAD | elf::PT_PHDR | elf::PT_NULL | elf::PT_GNU_RELRO);
    let mut others = image.segments.iter().filter(|segment| is_other(segment.kind) && segment.filesz > 0);
    if others.any(|segment| strings.contains(&segment.offset)) {
        return Err(Refusal::Overlap("a segment", ".dynstr"));
    }
    Ok(())
}

/// Bytes that readers come to without a section header: where the tables start that the dynamic table names, records of
/// versions, strings behind the string table. What looks like padding is none there.
pub(super) struct InUse(Vec<Range<FileOffset>>);

impl InUse {
    pub(super) fn of(image: &Image<'_>, liveness: &Liveness) -> Self {
        let mut ranges: Vec<_> = named_places(image).filter_map(|(at, ..)| at.range(1)).collect();
        version_records(image, |record| {
            ranges.extend(if let Record::At(range) = record { Some(range) } else { None });
            Some(())
        });
        ranges.extend(liveness.outside().into_iter().flat_map(|outside| outside.places(image)));
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        ranges.dedup();
        Self(ranges)
    }

    /// Refuses to write over any of them, but where their table has moved away.
    pub(super) fn check(&self, draft: &Draft<'_, '_>) -> Result<(), NoFit> {
        let strings = &draft.image.strings.range;
        let left = |range: &Range<FileOffset>| {
            within(range, strings) || draft.moves().iter().any(|table| within(range, &table.from))
        };
        for edit in draft.edits() {
            let written = edit.range();
            // In order of their starts; the longest is a string table's rest.
            let until = self.0.partition_point(|range| range.start < written.end);
            let used = self.0.iter().take(until).find(|range| overlap(range, &written) && !left(range));
            if let Some(range) = used {
                return Err(NoFit::new(format!("the bytes at {} are in use", range.start)));
            }
        }
        Ok(())
    }
}
