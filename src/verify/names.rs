//! What the dynamic table, versions and symbols are called must stay: every string that a reader reaches, read as loaders
//! read it, by address and whatever `DT_STRSZ` and the counts say.

use std::collections::BTreeSet;
use std::ops::Range;

use goblin::container::Container;
use goblin::elf::dynamic::{self, DT_VERDEF, DT_VERNEED};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB};

use super::overlay::Overlay;
use super::reading::Reading;
use crate::plan::{Content, Move, Plan};

/// Unknown to goblin (glibc, elf/elf.h).
const DT_DEPAUDIT: u64 = 0x6fff_fefb;
const DT_AUDIT: u64 = 0x6fff_fefc;
const DT_CONFIG: u64 = 0x6fff_fefa;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// Tags whose value is an offset of a string.
const STRING_TAGS: [u64; 7] =
    [dynamic::DT_NEEDED, dynamic::DT_SONAME, DT_AUXILIARY, DT_FILTER, DT_AUDIT, DT_DEPAUDIT, DT_CONFIG];

/// Compares what two states of a file say.
pub(super) fn check(
    (original, before): (&Overlay<'_>, &Reading),
    (planned, after): (&Overlay<'_>, &Reading),
    erased: &[Range<u64>],
    plan: &Plan<'_>,
) -> Result<(), String> {
    let (was, is) = (Side { file: original, tables: before }, Side { file: planned, tables: after });
    for table in &plan.moves {
        check_moved(&was, &is, erased, table)?;
    }
    let mut offsets: BTreeSet<u64> = BTreeSet::new();
    offsets.extend(before.dynamic.iter().filter(|(tag, _)| STRING_TAGS.contains(tag)).map(|(_, value)| *value));
    let whole = was.whole_strings();
    for (tag, chain) in [(DT_VERNEED, &NEEDED), (DT_VERDEF, &DEFINED)] {
        let (old, new) = (was.versions(tag, chain), is.versions(tag, chain));
        // A chain that breaks says what it says up to there; what lay behind is not read, whatever lies there now.
        let same = if old.is_whole { old == new } else { new.bytes.starts_with(&old.bytes) };
        if !same {
            return Err("the versions changed".into());
        }
        // No loader survives a chain that breaks; others read of its names those that are in the table.
        let is_read = |name: &u64| old.is_whole || *name < whole;
        offsets.extend(old.names.iter().filter(|name| is_read(name)));
    }
    offsets.extend(was.symbols_in(&changed_strings(&was, &is, plan)));
    for offset in offsets {
        // Where nothing can be read there was nothing to break.
        let Ok(name) = was.string(offset) else { continue };
        if is.string(offset).as_ref() != Ok(&name) {
            return Err(format!("the name {:?} changed", String::from_utf8_lossy(&name)));
        }
    }
    Ok(())
}

/// Whether all chains of versions have an end, and their names one: of others nothing can be said after an edit.
pub(super) fn check_ends((file, tables): (&Overlay<'_>, &Reading)) -> Result<(), String> {
    let side = Side { file, tables };
    let size = tables.value(dynamic::DT_STRSZ).unwrap_or(0);
    for (tag, chain, name) in [(DT_VERNEED, &NEEDED, "DT_VERNEED"), (DT_VERDEF, &DEFINED, "DT_VERDEF")] {
        let mut found = Versions::default();
        let ends = tables.value(tag).is_none_or(|addr| side.follow(addr, chain, &mut found).is_some());
        if !ends {
            return Err(format!("the chain of {name} leads out of the file"));
        }
        if found.names.iter().any(|name| *name >= size) {
            return Err(format!("{name} has a name behind DT_STRSZ"));
        }
    }
    Ok(())
}

/// A file with its tables.
struct Side<'s, 'a> {
    file: &'s Overlay<'a>,
    tables: &'s Reading,
}

/// The fields of a version record and of those that hang from it, by their place in bytes (LSB Core, "Symbol Versioning").
struct Chain {
    size: u64,
    file: Option<usize>,
    aux: usize,
    next: usize,
    aux_size: u64,
    aux_name: usize,
    aux_next: usize,
}

const NEEDED: Chain = Chain { size: 16, file: Some(4), aux: 8, next: 12, aux_size: 16, aux_name: 8, aux_next: 12 };
const DEFINED: Chain = Chain { size: 20, file: None, aux: 12, next: 16, aux_size: 8, aux_name: 0, aux_next: 4 };

/// The records of a chain, up to its end or to the first that cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Versions {
    /// All of them, one behind the other.
    bytes: Vec<u8>,
    names: Vec<u64>,
    /// Whether the last one says that it is.
    is_whole: bool,
}

impl Side<'_, '_> {
    fn at(&self, addr: u64, len: u64) -> Result<Vec<u8>, String> {
        let offset = self.tables.offset_of(addr).ok_or("an address that no segment maps")?;
        // All of it: what follows a segment in the file does not follow it in memory.
        let last = len.checked_sub(1).and_then(|last| Some((addr.checked_add(last)?, offset.checked_add(last)?)));
        if last.is_none_or(|(addr, offset)| self.tables.offset_of(addr) != Some(offset)) {
            return Err("a record that goes on behind its segment".into());
        }
        self.file.read(offset, len)
    }

    fn string(&self, offset: u64) -> Result<Vec<u8>, String> {
        let table = self.tables.value(dynamic::DT_STRTAB).ok_or("no DT_STRTAB")?;
        let addr = table.checked_add(offset).ok_or("a string past 2^64")?;
        self.file.string(self.tables.offset_of(addr).ok_or("a string that no segment maps")?)
    }

    /// Where the last string that ends within `DT_STRSZ` bytes ends.
    fn whole_strings(&self) -> u64 {
        let place = self.tables.value(dynamic::DT_STRTAB).and_then(|addr| self.tables.offset_of(addr));
        let size = self.tables.value(dynamic::DT_STRSZ).unwrap_or(0);
        let table = place.and_then(|place| self.file.read(place, size).ok()).unwrap_or_default();
        memchr::memrchr(0, &table).map_or(0, |nul| nul as u64 + 1)
    }

    fn number(&self, record: &[u8], at: usize) -> Option<u64> {
        let bytes: [u8; 4] = record.get(at..)?.get(..4)?.try_into().ok()?;
        let is_little = self.tables.header.endianness().is_ok_and(|endian| endian.is_little());
        Some(u64::from(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }))
    }

    fn versions(&self, tag: u64, chain: &Chain) -> Versions {
        let mut found = Versions::default();
        if let Some(addr) = self.tables.value(tag) {
            found.is_whole = self.follow(addr, chain, &mut found).is_some();
        }
        found
    }

    /// `None` where the chain breaks.
    fn follow(&self, mut addr: u64, chain: &Chain, found: &mut Versions) -> Option<()> {
        // Records that do not overlap; a hostile chain must end as well.
        let mut budget = self.tables.len / chain.aux_size;
        loop {
            budget = budget.checked_sub(1)?;
            let record = self.at(addr, chain.size).ok()?;
            found.names.extend(chain.file.and_then(|at| self.number(&record, at)));
            let (aux, next) = (self.number(&record, chain.aux)?, self.number(&record, chain.next)?);
            found.bytes.extend(record);
            let mut aux_addr = addr.checked_add(aux)?;
            loop {
                budget = budget.checked_sub(1)?;
                let record = self.at(aux_addr, chain.aux_size).ok()?;
                let next = self.number(&record, chain.aux_next)?;
                found.names.extend(self.number(&record, chain.aux_name));
                found.bytes.extend(record);
                if next == 0 {
                    break;
                }
                aux_addr = aux_addr.checked_add(next)?;
            }
            if next == 0 {
                return Some(());
            }
            addr = addr.checked_add(next)?;
        }
    }

    /// Where a symbol is and how many bytes it has.
    fn symbol_size(&self) -> u64 {
        if self.tables.header.container().is_ok_and(Container::is_big) { 24 } else { 16 }
    }

    /// The names of symbols that touch one of `changed`, ranges of the string table.
    fn symbols_in(&self, changed: &[Range<u64>]) -> Vec<u64> {
        let addr = self.tables.value(dynamic::DT_SYMTAB);
        let section =
            self.tables.sections.iter().find(|section| section.sh_type == SHT_DYNSYM && Some(section.sh_addr) == addr);
        let Some(section) = section.filter(|_| !changed.is_empty()) else { return Vec::new() };
        let Ok(table) = self.file.read(section.sh_offset, section.sh_size) else { return Vec::new() };
        let size = usize::try_from(self.symbol_size()).unwrap_or(usize::MAX);
        let names = table.chunks_exact(size).filter_map(|symbol| self.number(symbol, 0));
        names.filter(|name| changed.iter().any(|range| range.contains(name))).collect()
    }
}

/// The strings of the old table, as ranges, that have a byte which an edit writes over. One that begins in the middle of
/// another ends with it.
fn changed_strings(was: &Side<'_, '_>, is: &Side<'_, '_>, plan: &Plan<'_>) -> Vec<Range<u64>> {
    let place = |side: &Side<'_, '_>| side.tables.offset_of(side.tables.value(dynamic::DT_STRTAB)?);
    let (Some(old), Some(new)) = (place(was), place(is)) else { return Vec::new() };
    let size = was.tables.value(dynamic::DT_STRSZ).unwrap_or(0);
    let table = was.file.read(old, size).unwrap_or_default();
    let mut ranges = Vec::new();
    for edit in &plan.edits {
        let whole_copy = matches!(&edit.content, Content::CopyOf(from) if from.start.0 == old && edit.at.0 == new);
        let start = edit.at.0.max(new).saturating_sub(new);
        let end = edit.range().end.0.saturating_sub(new).min(size);
        if whole_copy || start >= end {
            continue;
        }
        let head = usize::try_from(start).ok().and_then(|start| table.get(..start)).unwrap_or_default();
        let string_start = memchr::memrchr(0, head).map_or(0, |nul| nul as u64 + 1);
        ranges.push(string_start..end);
    }
    ranges
}

/// A table that moved has the same bytes, but for values of symbols and for what has been `erased`.
fn check_moved(was: &Side<'_, '_>, is: &Side<'_, '_>, erased: &[Range<u64>], table: &Move) -> Result<(), String> {
    let strings = was.tables.value(dynamic::DT_STRTAB).and_then(|addr| was.tables.offset_of(addr));
    let is_compared_otherwise =
        Some(table.from.start.0) == strings || table.from.start.0 == was.tables.dynamic_range.start;
    let len = table.from.end.0.saturating_sub(table.from.start.0);
    if is_compared_otherwise {
        return Ok(());
    }
    let (mut old, new) = (was.file.read(table.from.start.0, len)?, is.file.read(table.to.0, len)?);
    for ((at, old), new) in (table.from.start.0..).zip(&mut old).zip(&new) {
        if *new == 0 && erased.iter().any(|range| range.contains(&at)) {
            *old = 0;
        }
    }
    let symbols = was.tables.value(dynamic::DT_SYMTAB).and_then(|addr| was.tables.offset_of(addr));
    let sections = was.tables.sections.iter().filter(|section| matches!(section.sh_type, SHT_DYNSYM | SHT_SYMTAB));
    let mut symbols = symbols.into_iter().chain(sections.map(|section| section.sh_offset));
    let inside = symbols.find_map(|at| at.checked_sub(table.from.start.0).filter(|inside| *inside < len));
    let same = match inside.and_then(|inside| usize::try_from(inside).ok()) {
        None => old == new,
        Some(inside) => {
            let size = usize::try_from(was.symbol_size()).unwrap_or(usize::MAX);
            // st_value: bytes 8 to 16 of an Elf64_Sym, 4 to 8 of an Elf32_Sym.
            let value = if size == 24 { 8..16 } else { 4..8 };
            let differs = |(at, (a, b)): (usize, (&u8, &u8))| {
                a != b && at.checked_sub(inside).is_none_or(|at| !value.contains(&(at % size)))
            };
            old.len() == new.len() && !old.iter().zip(&new).enumerate().any(differs)
        }
    };
    if same {
        Ok(())
    } else {
        Err(format!("the table from {:#x} says something else at its new place", table.from.start.0))
    }
}
