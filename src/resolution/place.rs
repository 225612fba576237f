//! Where the note lies in a file, by both ways in which it is found: the loader goes by `PT_NOTE`, patchelf by the name of
//! the section.

use std::ops::Range;

use object::elf;

use super::{KIND, OWNER, SECTION};
use crate::elf::{FileOffset, Image, Notes as Row, Section, Segment, overlap};

/// A note that a loader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Index of the `PT_NOTE`.
    pub segment: usize,
    /// Whether that has this note and nothing else, and no other header names any of its bytes.
    pub is_alone: bool,
    /// Whether the `PT_NOTE`'s address and file offset name the same bytes.
    pub is_mapped: bool,
    /// Where its bytes are.
    pub place: Place,
}

/// The bytes of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// All of it, with its padding.
    pub range: Range<FileOffset>,
    /// `n_type`.
    pub kind: FileOffset,
    /// The owner's name.
    pub owner: Range<FileOffset>,
    /// The descriptor.
    pub descriptor: Range<FileOffset>,
}

/// All that a loader or patchelf takes for the note.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// In the order of the program headers; a loader takes the first.
    pub found: Vec<Found>,
    /// Sections of the name [`SECTION`], whatever they hold.
    pub sections: Vec<usize>,
}

impl Notes {
    /// Whether the file has none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.sections.is_empty()
    }

    /// The descriptor that a loader reads.
    pub fn descriptor<'data>(&self, image: &Image<'data>) -> Option<&'data [u8]> {
        image.bytes(&self.found.first()?.place.descriptor)
    }

    /// The one note of a file in which nothing is out of the ordinary: alone in its `PT_NOTE`, and one section, if there
    /// are any, that is just the note: `SHT_NOTE`, in memory.
    pub fn ordinary(&self, image: &Image<'_>) -> Option<&Found> {
        let [found] = self.found.as_slice() else { return None };
        let section = match self.sections.as_slice() {
            [] => image.sections.is_empty(),
            [index] => {
                let section = image.sections.get(*index)?;
                section.kind == elf::SHT_NOTE
                    && section.is_alloc()
                    && section.file_range().as_ref() == Some(&found.place.range)
                    && image.segments.get(found.segment).is_some_and(|segment| segment.vaddr == section.addr)
            }
            _ => false,
        };
        (section && found.is_alone && found.is_mapped).then_some(found)
    }
}

/// Finds the notes of `image`.
pub fn find(image: &Image<'_>) -> Notes {
    let named = |section: &Section| image.section_name(section) == SECTION;
    let sections = image.sections.iter().enumerate().filter(|(_, section)| named(section)).map(|(index, _)| index);
    let segments = image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == elf::PT_NOTE);
    Notes {
        found: segments.flat_map(|(index, segment)| notes_of(image, index, segment)).collect(),
        sections: sections.collect(),
    }
}

fn notes_of(image: &Image<'_>, index: usize, segment: &Segment) -> Vec<Found> {
    let by_offset = segment.file_range();
    let by_address = image.file_range_of(segment.vaddr, segment.filesz);
    let is_mapped = by_address.as_ref() == Some(&by_offset);
    let ranges = [by_address.filter(|_| !is_mapped), Some(by_offset)];
    ranges.into_iter().flatten().flat_map(|range| notes_in(image, index, segment.align, range, is_mapped)).collect()
}

fn notes_in(image: &Image<'_>, segment: usize, align: u64, range: Range<FileOffset>, is_mapped: bool) -> Vec<Found> {
    let Some(bytes) = image.bytes(&range) else { return Vec::new() };
    let mut row = Row::new(&image.encoding, bytes, align);
    let notes: Vec<_> = row.by_ref().collect();
    let is_shared = notes.len() > 1 || !row.rest().is_empty() || is_named_elsewhere(image, segment, &range);
    let ours = notes.iter().filter(|note| note.owner == OWNER && note.kind == u64::from(KIND));
    let place = |note: &crate::elf::Note<'_>| {
        let at = |inside: usize| range.start.checked_add(inside as u64);
        let owner = at(note.at.checked_add(12)?)?;
        let descriptor = at(note.desc_at)?.range(note.desc.len() as u64)?;
        Some(Place {
            range: at(note.at)?..at(note.end)?,
            kind: at(note.at.checked_add(8)?)?,
            owner: owner.range(note.owner.len() as u64)?,
            descriptor,
        })
    };
    ours.filter_map(place).map(|place| Found { segment, is_alone: !is_shared, is_mapped, place }).collect()
}

/// Whether a program header other than a `PT_LOAD` and that of the note has any of these bytes.
fn is_named_elsewhere(image: &Image<'_>, own: usize, range: &Range<FileOffset>) -> bool {
    let others = image.segments.iter().enumerate().filter(|(index, segment)| *index != own && !segment.is_load());
    others.filter(|(_, segment)| segment.kind != elf::PT_NULL).any(|(_, segment)| overlap(&segment.file_range(), range))
}
