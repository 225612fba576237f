//! Rung *append*: one new `PT_LOAD` at the end of the file holds `.dynstr`; a header slot is free. It is read-only,
//! unless `.dynamic` has to move into it, too (see `dynamic`).
//!
//! Needs: a `PT_NULL` behind the last `PT_LOAD`; or zero bytes that nothing uses behind the program header table; or
//! the `PT_NOTE` that repeats `PT_GNU_PROPERTY`, which glibc and kernels read through the latter. No payload behind
//! the ELF image. Edits: the end of the file, that header, then as in rung *slack*. Safe because the new segment is
//! mapped, or not, before anything points into it.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::free_space::{Region, may_append};
use super::packing::{Choice, Packing};
use super::{NoFit, Obstacle};

use crate::elf::{FileOffset, Image, Section, Segment, Vaddr, overlap};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    may_append(image)?;
    let slot = free_slot(image).ok_or_else(|| NoFit::new("no free program header"))?;
    let mut from = image.file_end();
    if slot == HeaderSlot::SectionTable {
        // In front of the new segment, which thus ends the file and can grow at a later run.
        let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
        let at = from.checked_round_up(u64::from(image.encoding.layout.word)).ok_or_else(past)?;
        let size = image.sections.place.as_ref().and_then(|place| place.end.checked_since(place.start));
        from = size.and_then(|size| at.checked_add(size)).ok_or_else(past)?;
        draft.move_section_table(at)?;
    }
    let segment = new_segment(image, from)?;
    let packing = Packing::choose(draft, segment.region, Vec::new(), Choice::Fewer)?;
    packing.fill(draft)?;
    match slot {
        HeaderSlot::Reuse(index) => fill_header(draft, index, &segment, &packing)?,
        HeaderSlot::Gap | HeaderSlot::SectionTable => {
            write_header(draft, image.segments.len(), &segment, &packing)?;
            grow_table(draft, 1)?;
        }
    }
    let reused = if let HeaderSlot::Reuse(index) = slot { Some(index) } else { None };
    packing.switch(draft, reused)?;
    packing.place(draft)
}

/// A header that can be had without moving anything that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderSlot {
    /// This entry means nothing to anyone.
    Reuse(usize),
    /// One more entry fits behind the table.
    Gap,
    /// It does once the section header table, which Go puts there and no loader reads, has moved to the end of the file.
    SectionTable,
}

fn free_slot(image: &Image<'_>) -> Option<HeaderSlot> {
    let last_load = image.loads().map(|(index, _)| index).next_back()?;
    let property = image.segments.iter().find(|segment| segment.kind == elf::PT_GNU_PROPERTY);
    let behind = || image.segments.iter().enumerate().filter(|(index, _)| *index > last_load);
    let null = behind().find(|(_, segment)| segment.kind == elf::PT_NULL);
    // On i386 the PT_NOTE often covers another note, too: only the same offset and size make it a repetition.
    let note = behind().find(|(_, segment)| {
        segment.kind == elf::PT_NOTE
            && property.is_some_and(|property| property.offset == segment.offset && property.filesz == segment.filesz)
    });
    if let Some((index, _)) = null {
        return Some(HeaderSlot::Reuse(index));
    }
    if gap_behind_table(image).unwrap_or(false) {
        return Some(HeaderSlot::Gap);
    }
    if let Some((index, _)) = note {
        return Some(HeaderSlot::Reuse(index));
    }
    section_table_behind(image).unwrap_or(false).then_some(HeaderSlot::SectionTable)
}

/// Whether the bytes for one more header are zero, used by nobody, and mapped where the table is.
fn gap_behind_table(image: &Image<'_>) -> Option<bool> {
    let wanted = image.segment_table_range().end.range(image.encoding.layout.phdr_size)?;
    let zero = image.bytes(&wanted)?.iter().all(|&byte| byte == 0);
    let section_table = image.sections.place.as_ref().is_some_and(|place| overlap(place, &wanted));
    Some(zero && !section_table && is_free(image, &wanted))
}

/// Whether the section header table, and nothing else, has the bytes for one more header.
fn section_table_behind(image: &Image<'_>) -> Option<bool> {
    let table_end = image.segment_table_range().end;
    let wanted = table_end.range(image.encoding.layout.phdr_size)?;
    let place = image.sections.place.clone()?;
    let gap = image.bytes(&(table_end..place.start))?;
    Some(gap.iter().all(|&byte| byte == 0) && wanted.end <= place.end && is_free(image, &wanted))
}

/// Whether no section and no segment but the one that maps the program headers has these bytes behind them.
pub(super) fn is_free(image: &Image<'_>, wanted: &Range<FileOffset>) -> bool {
    let table = image.segment_table_range();
    let sections = image.sections.iter().filter_map(Section::file_range);
    let others = image.segments.iter().filter(|segment| !segment.is_load() && segment.kind != elf::PT_PHDR);
    let in_use = sections
        .chain(others.map(Segment::file_range))
        .chain([image.strings.range.clone()])
        .any(|used| overlap(&used, wanted));
    let mapped = image.loads().any(|(_, load)| {
        let held = load.file_range();
        held.start <= table.start && wanted.end <= held.end
    });
    // Without section headers, zero bytes inside a segment can be anybody's.
    !in_use && mapped && !image.sections.is_empty()
}

/// Where a new segment at the end of the file goes.
pub(super) struct NewSegment {
    pub(super) region: Region,
    align: u64,
}

impl NewSegment {
    /// Its program header, where it holds `size` bytes that nobody writes to.
    pub(super) fn header(&self, size: u64) -> Segment {
        let Region { at, addr, .. } = self.region;
        Segment {
            kind: elf::PT_LOAD,
            flags: elf::PF_R,
            offset: at,
            vaddr: addr,
            paddr: addr,
            filesz: size,
            memsz: size,
            align: self.align,
        }
    }
}

/// The file offset `from`, behind all else, and the first free address behind all segments that is congruent to it. The
/// file needs no padding to a page: a loader maps the page around.
pub(super) fn new_segment(image: &Image<'_>, from: FileOffset) -> Result<NewSegment, NoFit> {
    let past = || NoFit::of(Obstacle::Field, "no address left behind the last segment");
    let align = image.loads().map(|(_, load)| image.page_size_of(load).max(load.align)).max().unwrap_or(0x1000);
    if !align.is_power_of_two() {
        return Err(NoFit::new("a p_align that is no power of two"));
    }
    let end = image.loads().map(|(_, load)| load.addresses().end).max().unwrap_or(Vaddr(0));
    let page = end.checked_round_up(align).ok_or_else(past)?;
    let addr = page.checked_add(from.0 % align).ok_or_else(past)?;
    let len = u64::MAX - addr.0;
    let region = Region { at: from, addr, len, segment: None, grows: false, writable: true, is_new: true };
    Ok(NewSegment { region, align })
}

/// Turns entry `index`, which nobody reads, into the new `PT_LOAD`. `PT_NULL` while its fields change.
pub(super) fn fill_header(
    draft: &mut Draft<'_, '_>,
    index: usize,
    segment: &NewSegment,
    packing: &Packing,
) -> Result<(), NoFit> {
    let p_type = draft.image.encoding.layout.p_type;
    draft.store_segment(index, p_type, u64::from(elf::PT_NULL.0), "p_type of the header that is reused")?;
    write_header(draft, index, segment, packing)
}

/// Writes a header that nobody reads yet; its type last.
fn write_header(draft: &mut Draft<'_, '_>, index: usize, segment: &NewSegment, packing: &Packing) -> Result<(), NoFit> {
    let layout = draft.image.encoding.layout;
    const WHY: &str = "a field of the new segment's header";
    // Writable for .dynamic only.
    let flags = if packing.dynamic.is_some() { elf::PF_R.0 | elf::PF_W.0 } else { elf::PF_R.0 };
    let Region { at, addr, .. } = segment.region;
    draft.store_segment(index, layout.p_flags, u64::from(flags), WHY)?;
    draft.store_segment(index, layout.p_offset, at.0, WHY)?;
    draft.store_segment(index, layout.p_vaddr, addr.0, WHY)?;
    draft.store_segment(index, layout.p_paddr, addr.0, WHY)?;
    draft.store_segment(index, layout.p_filesz, packing.used, WHY)?;
    draft.store_segment(index, layout.p_memsz, packing.used, WHY)?;
    draft.store_segment(index, layout.p_align, segment.align, WHY)?;
    draft.store_segment(index, layout.p_type, u64::from(elf::PT_LOAD.0), "p_type of the new segment")
}

/// Counts `added` more program headers: in `PT_PHDR`, then in the file header.
pub(super) fn grow_table(draft: &mut Draft<'_, '_>, added: u64) -> Result<(), NoFit> {
    let image = draft.image;
    let layout = image.encoding.layout;
    let count = (image.segments.len() as u64).saturating_add(added);
    if count >= u64::from(elf::PN_XNUM) {
        return Err(NoFit::new("the program header table is full"));
    }
    for (index, _) in image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == elf::PT_PHDR) {
        draft.grow_segment(index, layout.phdr_size.saturating_mul(added))?;
    }
    draft.store_header(layout.e_phnum, count, "e_phnum")
}
