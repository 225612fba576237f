//! Files in which a write to one table would change another: nothing is planned for them.
//!
//! Linkers keep tables apart. In a damaged file one address can lead into the middle of another table, of which an edit
//! would make something else without a reader's notice.

use std::ops::Range;

use object::elf;

use super::Refusal;
use super::liveness::{Record, version_records};
use super::movable::{MOVABLE_SEGMENTS, named_places};
use crate::elf::{FileOffset, Image, Vaddr, overlap};

/// A table that an edit may write to, with its name.
type Table = (&'static str, Option<Range<FileOffset>>);

/// Refuses a file whose tables share bytes.
pub(super) fn check(image: &Image<'_>) -> Result<(), Refusal> {
    let tables = tables(image);
    for (index, (name, range)) in tables.iter().enumerate() {
        if let Some(range) = range {
            check_free_of(tables.get(index.saturating_add(1)..).unwrap_or_default(), name, range)?;
        }
    }
    // Whoever reads versions goes from record to record, wherever they are.
    let mut records = Ok(());
    version_records(image, |record| {
        records.as_ref().ok()?;
        records = match record {
            Record::At(range) => check_free_of(&tables, "a version record", &range),
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
    check_strings(image)
}

/// What edits write to.
fn tables(image: &Image<'_>) -> [Table; 5] {
    let layout = image.encoding.layout;
    // With the entry that may be added and the DT_NULL behind it.
    let entries = image.dynamic.entries.len().saturating_add(2).min(image.dynamic.capacity) as u64;
    let dynamic = image.dynamic.offset.range(entries.saturating_mul(layout.dyn_size));
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

/// Nothing but strings lies in `.dynstr`: what does would not move with it, and would be scrubbed with an old path.
fn check_strings(image: &Image<'_>) -> Result<(), Refusal> {
    let strings = &image.strings.range;
    let is_table = |tag, addr| tag == elf::DT_STRTAB && addr == image.strings.addr;
    if named_places(image).any(|(at, tag, addr)| strings.contains(&at) && !is_table(tag, addr)) {
        return Err(Refusal::Overlap("a table that an entry of the dynamic table names", ".dynstr"));
    }
    let is_other = |kind| !matches!(kind, elf::PT_LOAD | elf::PT_PHDR | elf::PT_NULL | elf::PT_GNU_RELRO);
    let mut others = image.segments.iter().filter(|segment| is_other(segment.kind) && segment.filesz > 0);
    if others.any(|segment| strings.contains(&segment.offset)) {
        return Err(Refusal::Overlap("a segment", ".dynstr"));
    }
    Ok(())
}
