//! The bytes that can hold evidence, each byte once.
//!
//! Section headers say best what is what: GPU code, the bulk of CUDA libraries, is left out, and so are the loader's own
//! tables, whose strings are imports. Loaders do not read section headers, though, so they may be missing or lie. Where
//! they contradict the segments, the segments are read instead.

use std::ops::Range;

use object::elf;

use crate::elf::{FileOffset, Image, Section, Segment, Vaddr};

/// Part of the file that can hold evidence.
pub(crate) struct Region<'data> {
    pub(crate) bytes: &'data [u8],
    pub(crate) offset: FileOffset,
    /// The address of its first byte.
    pub(crate) addr: Vaddr,
    pub(crate) is_code: bool,
    place: Place<'data>,
}

enum Place<'data> {
    Section(&'data [u8]),
    Segment(usize),
}

impl Region<'_> {
    /// Whether the compiler may have put constants here. Segments can hold code and data.
    pub(crate) fn holds_data(&self) -> bool {
        !self.is_code || matches!(self.place, Place::Segment(_))
    }

    /// Code alone, for tests.
    #[cfg(test)]
    pub(crate) fn of_code(bytes: &[u8], offset: FileOffset, addr: Vaddr) -> Region<'_> {
        Region { bytes, offset, addr, is_code: true, place: Place::Section(b".text") }
    }

    /// The section's name; without section headers the segment.
    pub(crate) fn place(&self) -> String {
        match self.place {
            Place::Section(name) => String::from_utf8_lossy(name).into_owned(),
            Place::Segment(index) => format!("segment {index}"),
        }
    }
}

/// Which of `regions` holds the byte at `addr`, and where in it.
pub(super) fn region_of<'a, 'data>(regions: &'a [Region<'data>], addr: u64) -> Option<(usize, &'a Region<'data>)> {
    regions.iter().find_map(|region| {
        let at = usize::try_from(addr.checked_sub(region.addr.0)?).ok()?;
        (at < region.bytes.len()).then_some((at, region))
    })
}

/// The regions of a file, and what is odd about them.
#[derive(Default)]
pub(crate) struct Regions<'data> {
    pub(crate) list: Vec<Region<'data>>,
    pub(crate) warnings: Vec<String>,
    /// Whether [`LIMIT`] took something away.
    pub(crate) limited: bool,
}

/// Code and data of one object lie within 2 GiB of each other in every small code model (x86-64 psABI, "Code Models");
/// what lies behind that is no code or string of a compiler, and reading it would only take time.
const LIMIT: u64 = 1 << 31;

/// Sections with GPU code or unwind tables: large, and never a name that the host's code passes on.
const SKIPPED: [&[u8]; 5] = [b".nv_fatbin", b"__nv_relfatbin", b".eh_frame", b".eh_frame_hdr", b".gcc_except_table"];

/// Data first, code last: names are seldom in code.
pub(crate) fn regions<'data>(image: &Image<'data>) -> Regions<'data> {
    let mut warnings: Vec<String> = contradiction(image).into_iter().collect();
    // One that lies outside the file may have been the one with the strings.
    let is_damaged = image.sections.damage().is_some();
    let mut list = if image.sections.is_empty() || is_damaged || !warnings.is_empty() {
        regions_of_segments(image)
    } else {
        regions_of_sections(image, &mut warnings)
    };
    list.sort_by_key(|region| (region.offset, region.bytes.len()));
    let limited = disjoin(&mut list);
    list.sort_by_key(|region| region.is_code);
    Regions { list, warnings, limited }
}

/// The first section whose header says something else than the segments of what is loaded where.
fn contradiction(image: &Image<'_>) -> Option<String> {
    let contradicts = |section: &&Section| {
        let held = section.is_alloc().then(|| section.file_range()).flatten();
        held.is_some_and(|held| image.file_range_of(section.addr, section.size) != Some(held))
    };
    let section = image.sections.iter().find(contradicts)?;
    let name = String::from_utf8_lossy(image.section_name(section));
    Some(format!(
        "its section headers contradict its segments (section {name} at {}); the segments were read instead",
        section.offset
    ))
}

fn regions_of_sections<'data>(image: &Image<'data>, warnings: &mut Vec<String>) -> Vec<Region<'data>> {
    let holds_names = |section: &&Section| {
        section.is_alloc() && section.kind == elf::SHT_PROGBITS && !SKIPPED.contains(&image.section_name(section))
    };
    let mut list = Vec::new();
    for section in image.sections.iter().filter(holds_names) {
        let name = image.section_name(section);
        if section.flags.0 & elf::SHF_COMPRESSED.0 != 0 {
            // gABI: not together with SHF_ALLOC. No loader unpacks it.
            let name = String::from_utf8_lossy(name);
            warnings.push(format!("its section {name} is loaded, but marked compressed; it was read as it is"));
        }
        let bytes = section.file_range().and_then(|range| image.bytes(&range));
        list.extend(bytes.map(|bytes| Region {
            bytes,
            offset: section.offset,
            addr: section.addr,
            is_code: section.flags.0 & elf::SHF_EXECINSTR.0 != 0,
            place: Place::Section(name),
        }));
    }
    list
}

/// The loaded segments, but for the dynamic string table, whose names are imports.
fn regions_of_segments<'data>(image: &Image<'data>) -> Vec<Region<'data>> {
    let strings = &image.strings.range;
    let around_strings = |load: &Segment| -> [Range<FileOffset>; 2] {
        let held = load.file_range();
        [held.start..held.end.min(strings.start), held.start.max(strings.end)..held.end]
    };
    let parts = image.loads().flat_map(|(index, load)| around_strings(load).map(|part| (index, load, part)));
    let region = |(index, load, part): (usize, &Segment, Range<FileOffset>)| {
        let bytes = image.bytes(&part).filter(|bytes| !bytes.is_empty())?;
        let addr = load.vaddr.checked_add(part.start.checked_since(load.offset)?)?;
        Some(Region { bytes, offset: part.start, addr, is_code: load.has(elf::PF_X), place: Place::Segment(index) })
    };
    parts.filter_map(region).collect()
}

/// Cuts regions, sorted by offset, so that no byte is in two of them, and in all no more than [`LIMIT`] bytes; whether
/// that limit took something away.
fn disjoin(list: &mut Vec<Region<'_>>) -> bool {
    let mut end = FileOffset(0);
    let mut left = LIMIT;
    let mut limited = false;
    for region in list.iter_mut() {
        let skip = end.checked_since(region.offset).unwrap_or(0).min(region.bytes.len() as u64);
        let rest = usize::try_from(skip).ok().and_then(|skip| region.bytes.get(skip..)).unwrap_or_default();
        region.offset = FileOffset(region.offset.0.saturating_add(skip));
        region.addr = Vaddr(region.addr.0.saturating_add(skip));
        region.bytes = usize::try_from(left).ok().and_then(|left| rest.get(..left)).unwrap_or(rest);
        limited |= region.bytes.len() < rest.len();
        left = left.saturating_sub(region.bytes.len() as u64);
        end = end.max(FileOffset(region.offset.0.saturating_add(region.bytes.len() as u64)));
    }
    list.retain(|region| !region.bytes.is_empty());
    limited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_regions_are_read_once() {
        let file: Vec<u8> = (0..100).collect();
        let region = |range: Range<usize>| Region {
            offset: FileOffset(range.start as u64),
            addr: Vaddr(range.start as u64),
            bytes: file.get(range).expect("in the file"),
            is_code: false,
            place: Place::Segment(0),
        };
        let mut list = vec![region(0..50), region(10..20), region(10..60), region(60..70), region(90..100)];
        assert!(!disjoin(&mut list));
        let read: Vec<_> = list.iter().map(|region| (region.offset.0, region.bytes.to_vec())).collect();
        let expected = [(0, 0..50), (50, 50..60), (60, 60..70), (90, 90..100)];
        assert_eq!(read, expected.map(|(offset, bytes)| (offset, bytes.collect::<Vec<u8>>())));
    }
}
