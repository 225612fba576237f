//! Driver SONAMEs as strings in loaded sections.
//!
//! Linkers merge the tails of strings, so nothing is asked of the byte in front. Only bytes that can hold such a
//! string are read: not the GPU code that makes up the bulk of CUDA libraries, and none of the loader's own tables.

use std::ops::Range;

use memchr::memmem;
use object::elf;

use super::names::built_in;
use super::{Depth, DriverNames, Evidence, EvidenceKind};
use crate::elf::{FileOffset, Image, Section};

/// Part of the file that can hold evidence.
pub(super) struct Region<'data> {
    pub(super) bytes: &'data [u8],
    pub(super) offset: FileOffset,
    pub(super) place: String,
}

/// Sections with GPU code or unwind tables: large, and never a name that the host's code passes on.
const SKIPPED: [&[u8]; 5] = [b".nv_fatbin", b"__nv_relfatbin", b".eh_frame", b".eh_frame_hdr", b".gcc_except_table"];

/// Data first, code last: names are seldom in code.
pub(super) fn regions<'data>(image: &Image<'data>) -> Vec<Region<'data>> {
    if image.sections.is_empty() {
        return regions_of_segments(image);
    }
    let holds_names = |section: &&Section| {
        section.is_alloc() && section.kind == elf::SHT_PROGBITS && !SKIPPED.contains(&image.section_name(section))
    };
    let mut sections: Vec<&Section> = image.sections.iter().filter(holds_names).collect();
    sections.sort_by_key(|section| section.flags.0 & elf::SHF_EXECINSTR.0 != 0);
    let region = |section: &Section| {
        let bytes = image.bytes(&section.file_range()?)?;
        let place = String::from_utf8_lossy(image.section_name(section)).into_owned();
        Some(Region { bytes, offset: section.offset, place })
    };
    sections.into_iter().filter_map(region).collect()
}

/// Without section headers: the loaded segments, but for the dynamic string table, whose names are imports.
fn regions_of_segments<'data>(image: &Image<'data>) -> Vec<Region<'data>> {
    let strings = &image.strings.range;
    let parts = image.loads().flat_map(|(index, load)| {
        let held = load.file_range();
        let before = held.start..held.end.min(strings.start.max(held.start));
        let behind = held.start.max(strings.end.min(held.end))..held.end;
        let parts: Vec<Range<FileOffset>> =
            if strings.start < held.end && held.start < strings.end { vec![before, behind] } else { vec![held] };
        parts.into_iter().map(move |part| (index, part))
    });
    parts
        .filter_map(|(index, part)| {
            Some(Region { bytes: image.bytes(&part)?, offset: part.start, place: format!("segment {index}") })
        })
        .collect()
}

/// All driver SONAMEs, or the first.
pub(super) fn sonames(image: &Image<'_>, names: &DriverNames, depth: Depth) -> Vec<Evidence> {
    let mut found: Vec<Evidence> = Vec::new();
    for region in regions(image) {
        for (at, name) in names_in(region.bytes, names) {
            let what = String::from_utf8_lossy(name).into_owned();
            // One piece of evidence a name and section is enough.
            if found.iter().any(|known| known.what == what && known.place == region.place) {
                continue;
            }
            let Some(offset) = region.offset.checked_add(at as u64) else { continue };
            found.push(Evidence { kind: EvidenceKind::Soname, what, place: region.place.clone(), offset });
            if depth == Depth::First {
                return found;
            }
        }
    }
    found
}

/// The driver SONAMEs in `bytes` with their places.
fn names_in<'a>(bytes: &'a [u8], names: &'a DriverNames) -> impl Iterator<Item = (usize, &'a [u8])> {
    let known = memmem::find_iter(bytes, b"lib").filter_map(|at| Some((at, built_in(bytes.get(at..)?)?)));
    let further = names.further().iter().flat_map(move |name| {
        memmem::find_iter(bytes, name).filter_map(move |at| Some((at, bytes.get(at..at + name.len())?)))
    });
    known.chain(further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_at_the_tail_of_another_string() {
        let names = DriverNames::default();
        let found: Vec<_> = names_in(b"\0/usr/lib/libcuda.so.1\0", &names).collect();
        assert_eq!(found, [(10, &b"libcuda.so.1"[..])]);
    }

    #[test]
    fn further_names_are_found_as_given() {
        let names = DriverNames::new(["vendor-gpu.so".to_owned()]);
        let found: Vec<_> = names_in(b"open vendor-gpu.so.3", &names).collect();
        assert_eq!(found, [(5, &b"vendor-gpu.so"[..])]);
    }
}
