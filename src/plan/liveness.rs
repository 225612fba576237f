//! Which bytes of the dynamic string table are dead: no symbol, version, library or other name reaches them.
//!
//! Linkers merge tails, so a string can begin in the middle of another. A byte is live if some reference starts at it
//! or before it with no NUL between.

use std::collections::BTreeSet;
use std::ops::Range;

use object::elf;

use super::free_space::within;
use crate::elf::{FileOffset, Image, Section, Vaddr};

/// Tags whose value is an offset into the dynamic string table (gABI, "Dynamic Section"; glibc elf.h for the OS range).
pub(super) const STRING_TAGS: [elf::DynamicTag; 10] = [
    elf::DT_NEEDED,
    elf::DT_SONAME,
    elf::DT_RPATH,
    elf::DT_RUNPATH,
    elf::DT_AUXILIARY,
    elf::DT_FILTER,
    elf::DT_AUDIT,
    elf::DT_DEPAUDIT,
    elf::DT_CONFIG,
    elf::DT_MIPS_IVERSION,
];

/// What is known about the table's bytes, the search paths' own references left out.
pub(super) struct Liveness {
    /// One bit for each byte at which a reference starts; `None` where not all references are known.
    starts: Option<Vec<u64>>,
    size: usize,
    outside: Option<Outside>,
}

/// Strings that do not end within the table. Loaders do not look at `DT_STRSZ` (glibc), so the bytes behind the table count
/// as long as it stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outside {
    /// Who names one.
    pub(super) who: &'static str,
    /// Offsets from the start of the table: the first and the last one named.
    first: u64,
    last: u64,
}

impl Outside {
    /// Where the bytes of these strings are, and perhaps some between them.
    pub(super) fn places(&self, image: &Image<'_>) -> Vec<Range<FileOffset>> {
        let addr = |offset: u64| image.strings.addr.checked_add(offset).unwrap_or(Vaddr(u64::MAX));
        let last = image.file_range_of(addr(self.last), 1);
        let rest = last.and_then(|at| image.bytes(&(at.start..image.file_end()))).unwrap_or_default();
        let len = memchr::memchr(0, rest).unwrap_or(rest.len()) as u64;
        let (start, end) = (addr(self.first), addr(self.last.saturating_add(len).saturating_add(1)));
        let mapped = image.loads().filter_map(|(_, load)| {
            let held = load.file_addresses();
            let (start, end) = (start.max(held.start), end.min(held.end));
            load.offset.checked_add(start.checked_since(load.vaddr)?)?.range(end.checked_since(start)?)
        });
        mapped.filter(|range| !range.is_empty()).collect()
    }
}

impl Liveness {
    /// Collects every reference. One linear pass over the symbols.
    pub(super) fn of(image: &Image<'_>) -> Self {
        let table = image.strings.bytes(image.data);
        // Where the last string has no terminator, it goes on behind the table.
        let whole = memchr::memrchr(0, table).map_or(0, |nul| nul + 1);
        let mut marks = Marks { bits: vec![0; table.len().div_ceil(64)], size: table.len(), whole, outside: None };
        let is_complete = collect(image, &mut marks).is_some();
        Self { starts: is_complete.then_some(marks.bits), size: table.len(), outside: marks.outside }
    }

    /// Strings that lie, or end, outside the table.
    pub(super) fn outside(&self) -> Option<&Outside> {
        self.outside.as_ref()
    }

    /// Whether every reference is known. If not, no byte counts as dead.
    pub(super) fn is_proven(&self) -> bool {
        self.starts.is_some()
    }

    /// The dead runs of `table` that lie within `within`, in order, terminators included.
    pub(super) fn dead_runs(&self, table: &[u8], within: Range<usize>) -> Vec<Range<usize>> {
        let Some(starts) = &self.starts else { return Vec::new() };
        let mut runs: Vec<Range<usize>> = Vec::new();
        let end = within.end.min(self.size).min(table.len());
        // Start where the string around `within.start` starts.
        let mut at =
            table.get(..within.start.min(end)).and_then(|head| memchr::memrchr(0, head)).map_or(0, |nul| nul + 1);
        while at < end {
            let Some(rest) = table.get(at..) else { break };
            // A last string without a terminator is nothing to write over.
            let Some(nul) = memchr::memchr(0, rest) else { break };
            let next = at + nul + 1;
            let dead = at..first_start(starts, at..next).unwrap_or(next);
            let dead = dead.start.max(within.start)..dead.end.min(end);
            if dead.start < dead.end {
                match runs.last_mut() {
                    Some(last) if last.end == dead.start => last.end = dead.end,
                    _ => runs.push(dead),
                }
            }
            at = next;
        }
        runs
    }

    /// Whether every byte of `range` is dead.
    pub(super) fn is_dead(&self, table: &[u8], range: Range<usize>) -> bool {
        !range.is_empty() && self.dead_runs(table, range.clone()) == [range]
    }
}

/// The first set bit in `range`.
fn first_start(starts: &[u64], range: Range<usize>) -> Option<usize> {
    let mut at = range.start;
    while at < range.end {
        let word = starts.get(at / 64)? >> (at % 64);
        if word != 0 {
            let found = at + word.trailing_zeros() as usize;
            return (found < range.end).then_some(found);
        }
        at = (at / 64 + 1) * 64;
    }
    None
}

/// The references found so far.
struct Marks {
    bits: Vec<u64>,
    size: usize,
    /// The end of the last string that has a terminator.
    whole: usize,
    outside: Option<Outside>,
}

impl Marks {
    /// A reference that may be none: an entry too many.
    fn may_start(&mut self, offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(word) = self.bits.get_mut(offset / 64).filter(|_| offset < self.size) {
            *word |= 1 << (offset % 64);
        }
    }

    /// A reference that loaders follow.
    fn starts(&mut self, offset: u64, by: &'static str) {
        if offset >= self.whole as u64 {
            let known = self.outside.take().unwrap_or(Outside { who: by, first: offset, last: offset });
            let (first, last) = (known.first.min(offset), known.last.max(offset));
            self.outside = Some(Outside { who: by, first, last });
        }
        self.may_start(offset);
    }
}

fn collect(image: &Image<'_>, marks: &mut Marks) -> Option<()> {
    // The empty string at 0 serves every symbol without a name.
    marks.may_start(0);
    for entry in &image.dynamic.entries {
        let is_path = entry.tag == elf::DT_RPATH || entry.tag == elf::DT_RUNPATH;
        if STRING_TAGS.contains(&entry.tag) && !is_path {
            marks.starts(entry.value, "an entry of the dynamic table");
        }
    }
    let named = marks.outside.clone();
    let versions = version_names(image, marks);
    // A chain that breaks is followed by no loader that survives it; what its records say is chance.
    if versions.is_none() {
        marks.outside = named;
    }
    symbol_names(image, marks)?;
    versions?;
    // Of two entries loaders take the last one; whoever takes the first reads other strings.
    let differ = |tag| image.dynamic.entries.iter().any(|e| e.tag == tag && Some(e.value) != image.dynamic.value(tag));
    if [elf::DT_STRTAB, elf::DT_SYMTAB].into_iter().any(differ) {
        return None;
    }
    section_names(image, marks)
}

fn symbol_names(image: &Image<'_>, marks: &mut Marks) -> Option<()> {
    match &image.symbols {
        Some(symbols) if symbols.exact => {
            // An empty name is at 0 even where there is no table at all.
            let names = image.symbol_names().filter(|name| *name != 0);
            names.for_each(|name| marks.starts(name, "a symbol"));
        }
        Some(symbols) if symbols.complete => image.symbol_names().for_each(|name| marks.may_start(name)),
        Some(_) => return None,
        // A file may have no symbols; those that cannot be found may have any name.
        None if image.dynamic.value(elf::DT_SYMTAB).is_some() => return None,
        None => {}
    }
    Some(())
}

/// Names in `DT_VERNEED` and `DT_VERDEF` (LSB Core, "Symbol Versioning"). `None` where a chain breaks.
fn version_names(image: &Image<'_>, marks: &mut Marks) -> Option<()> {
    for (table, layout) in [(elf::DT_VERNEED, &VERNEED), (elf::DT_VERDEF, &VERDEF)] {
        // Of two entries loaders take the last one.
        let counts = image.dynamic.value(table);
        let entries = image.dynamic.entries.iter().filter(|entry| entry.tag == table);
        for addr in entries.map(|entry| entry.value).collect::<BTreeSet<_>>() {
            walk_chain(image, Vaddr(addr), layout, &mut None, |_, name| {
                match name {
                    Some(name) if Some(addr) == counts => marks.starts(name, "a version"),
                    Some(name) => marks.may_start(name),
                    None => {}
                }
                Some(())
            })?;
        }
    }
    Some(())
}

/// A version record that loaders come to.
pub(super) enum Record {
    /// At this place of the file.
    At(Range<FileOffset>),
    /// At this address, where no segment has bytes for all of it. Nothing is known of those behind it.
    Outside(Vaddr),
}

/// Visits every version record that loaders follow.
pub(super) fn version_records(image: &Image<'_>, mut visit: impl FnMut(Record) -> Option<()>) {
    for (table, layout) in [(elf::DT_VERNEED, &VERNEED), (elf::DT_VERDEF, &VERDEF)] {
        let Some(addr) = image.dynamic.value(table) else { continue };
        let mut next = Some(Vaddr(addr));
        let whole = walk_chain(image, Vaddr(addr), layout, &mut next, |record, _| {
            visit(Record::At(image.file_range_of(record.start, record.end.checked_since(record.start)?)?))
        });
        if let (None, Some(next)) = (whole, next) {
            let _ = visit(Record::Outside(next));
        }
    }
}

/// Whether all records of the version table at the start of `section` lie in it, so that they move with it.
pub(super) fn holds_its_versions(image: &Image<'_>, section: &Section) -> bool {
    let layout = match section.kind {
        elf::SHT_GNU_VERNEED => &VERNEED,
        elf::SHT_GNU_VERDEF => &VERDEF,
        _ => return true,
    };
    let Some(held) = section.addr.range(section.size) else { return false };
    walk_chain(image, section.addr, layout, &mut None, |record, _| within(&record, &held).then_some(())).is_some()
}

/// Where the two kinds of version chain keep their links and names; all in bytes.
struct ChainLayout {
    size: u64,
    name_at: Option<u64>,
    aux_at: u64,
    next_at: u64,
    aux_size: u64,
    aux_name_at: u64,
    aux_next_at: u64,
}

/// `Elf_Verneed`: version, cnt (halves), file, aux, next (words); `Elf_Vernaux`: hash, flags, other (halves), name, next.
const VERNEED: ChainLayout =
    ChainLayout { size: 16, name_at: Some(4), aux_at: 8, next_at: 12, aux_size: 16, aux_name_at: 8, aux_next_at: 12 };

/// `Elf_Verdef`: version, flags, ndx, cnt (halves), hash, aux, next (words); `Elf_Verdaux`: name, next.
const VERDEF: ChainLayout =
    ChainLayout { size: 20, name_at: None, aux_at: 12, next_at: 16, aux_size: 8, aux_name_at: 0, aux_next_at: 4 };

/// Follows a chain to its end. glibc and musl go by `vn_next` and `vna_next` and read no count, neither that of the
/// dynamic table nor `vn_cnt` (glibc, elf/dl-version.c); readers that do stop earlier.
///
/// `visit` gets the addresses of each record and the name in it, if it has one. `read_at` is the address of the record
/// that was read last, or could not be.
fn walk_chain(
    image: &Image<'_>,
    mut addr: Vaddr,
    layout: &ChainLayout,
    read_at: &mut Option<Vaddr>,
    mut visit: impl FnMut(Range<Vaddr>, Option<u64>) -> Option<()>,
) -> Option<()> {
    // Real files have thousands of version names; a hostile chain must end as well.
    let mut budget = 1u32 << 20;
    let mut read = |addr: Vaddr, size: u64| {
        *read_at = Some(addr);
        budget = budget.checked_sub(1)?;
        image.file_range_of(addr, size).and_then(|range| image.bytes(&range))
    };
    loop {
        let entry = read(addr, layout.size)?;
        visit(addr.range(layout.size)?, layout.name_at.and_then(|at| field(image, entry, at, 4)))?;
        let mut aux_addr = addr.checked_add(field(image, entry, layout.aux_at, 4)?)?;
        loop {
            let aux_entry = read(aux_addr, layout.aux_size)?;
            visit(aux_addr.range(layout.aux_size)?, Some(field(image, aux_entry, layout.aux_name_at, 4)?))?;
            match field(image, aux_entry, layout.aux_next_at, 4)? {
                0 => break,
                next => aux_addr = aux_addr.checked_add(next)?,
            }
        }
        match field(image, entry, layout.next_at, 4)? {
            0 => return Some(()),
            next => addr = addr.checked_add(next)?,
        }
    }
}

fn field(image: &Image<'_>, bytes: &[u8], at: u64, size: u8) -> Option<u64> {
    image.encoding.value(bytes.get(usize::try_from(at).ok()?..)?, size)
}

/// Sections that name the table by `sh_link`, and the section names themselves where `.dynstr` serves as `.shstrtab`.
/// `None` where a section of an unknown type uses the table.
fn section_names(image: &Image<'_>, marks: &mut Marks) -> Option<()> {
    let Some(table) = image.strings.section else {
        // Section headers that place .dynstr elsewhere: whose strings these bytes are is not known.
        return image.sections.is_empty().then_some(());
    };
    for section in image.sections.iter() {
        if image.sections.names_index == Some(table) {
            marks.may_start(u64::from(section.name));
        }
        if usize::try_from(section.link) != Ok(table) || section.size == 0 {
            continue;
        }
        match section.kind {
            // Followed through DT_*, which is what loaders do.
            elf::SHT_DYNAMIC | elf::SHT_GNU_VERDEF | elf::SHT_GNU_VERNEED => {}
            elf::SHT_DYNSYM | elf::SHT_SYMTAB => {
                let known: &Range<FileOffset> = match &image.symbols {
                    Some(symbols) => &symbols.range,
                    None => &(FileOffset(0)..FileOffset(0)),
                };
                let range = section.file_range()?;
                if known.start <= range.start && range.end <= known.end {
                    continue;
                }
                let size = usize::try_from(image.encoding.layout.sym_size).ok()?;
                for symbol in image.bytes(&range)?.chunks_exact(size) {
                    marks.may_start(field(image, symbol, image.encoding.layout.st_name.at, 4)?);
                }
            }
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Liveness, first_start};

    fn liveness(size: usize, starts: &[usize]) -> Liveness {
        let mut bits = vec![0u64; size.div_ceil(64)];
        for &at in starts {
            bits[at / 64] |= 1 << (at % 64);
        }
        Liveness { starts: Some(bits), size, outside: None }
    }

    #[test]
    fn a_reference_into_the_middle_keeps_the_tail_alive() {
        let table = b"\0/dir/lib\0name\0XXXX\0";
        let live = liveness(table.len(), &[0, 6, 10]);
        assert_eq!(live.dead_runs(table, 0..table.len()), [1..6, 15..20]);
        assert!(live.is_dead(table, 1..6));
        assert!(!live.is_dead(table, 1..7));
    }

    #[test]
    fn neighbouring_dead_strings_are_one_run() {
        let table = b"\0aa\0bb\0cc\0";
        assert!(liveness(table.len(), &[0, 7]).is_dead(table, 1..7));
    }

    #[test]
    fn a_last_string_without_terminator_is_not_dead() {
        let table = b"\0aa\0bb";
        let live = liveness(table.len(), &[0]);
        assert!(live.is_dead(table, 1..4));
        assert!(!live.is_dead(table, 1..6));
    }

    #[test]
    fn bits_are_found_across_words() {
        let mut bits = vec![0u64; 4];
        bits[2] = 1 << 5;
        assert_eq!(first_start(&bits, 0..256), Some(133));
        assert_eq!(first_start(&bits, 0..133), None);
        assert_eq!(first_start(&bits, 134..256), None);
    }
}
