//! Rung *append*: one new read-only `PT_LOAD` at the end of the file holds `.dynstr`; a header slot is free.
//!
//! Needs: a `PT_NULL` behind the last `PT_LOAD`; or zero bytes that nothing uses behind the program header table; or
//! the `PT_NOTE` that repeats `PT_GNU_PROPERTY`, which glibc and kernels read through the latter. No payload behind
//! the ELF image. Edits: the end of the file, that header, then as in rung *slack*. Safe because the new segment is
//! mapped, or not, before anything points into it.

use object::elf;

use super::NoFit;
use super::draft::Draft;
use super::room::{may_append, may_leave_its_segment};

use crate::elf::{FileOffset, Image, Section, Segment, Vaddr, overlap};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    may_append(image)?;
    may_leave_its_segment(image)?;
    let slot = free_slot(image).ok_or_else(|| NoFit::new("no free program header"))?;
    let place = new_segment(image, 1)?;
    let size = draft.grown_table_len()?;
    draft.fill_table(place.at)?;
    match slot {
        HeaderSlot::Reuse(index) => fill_header(draft, index, &place, size, elf::PF_R)?,
        HeaderSlot::Gap => {
            let index = image.segments.len();
            write_header(draft, index, &place, size, elf::PF_R)?;
            grow_table(draft)?;
        }
    }
    draft.switch_table(place.at, place.addr)?;
    draft.place_table(place.at, place.addr)
}

/// A header that can be had without moving anything.
enum HeaderSlot {
    /// This entry means nothing to anyone.
    Reuse(usize),
    /// One more entry fits behind the table.
    Gap,
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
    note.map(|(index, _)| HeaderSlot::Reuse(index))
}

/// Whether the bytes for one more header are zero, used by nobody, and mapped where the table is.
fn gap_behind_table(image: &Image<'_>) -> Option<bool> {
    let table = image.segment_table_range();
    let wanted = table.end.range(image.encoding.layout.phdr_size)?;
    let zero = image.bytes(&wanted)?.iter().all(|&byte| byte == 0);
    let sections = image.sections.iter().filter_map(Section::file_range);
    let others = image.segments.iter().filter(|segment| !segment.is_load() && segment.kind != elf::PT_PHDR);
    let tables = image.sections.place.clone().into_iter().chain([image.strings.range.clone()]);
    let in_use = sections.chain(others.map(Segment::file_range)).chain(tables).any(|used| overlap(&used, &wanted));
    // Without section headers, zero bytes inside a segment can be anybody's.
    let mapped = image.loads().any(|(_, load)| {
        let held = load.file_range();
        held.start <= table.start && wanted.end <= held.end
    });
    Some(zero && !in_use && mapped && !image.sections.is_empty())
}

/// Where a new segment at the end of the file goes.
pub(super) struct NewSegment {
    pub(super) at: FileOffset,
    pub(super) addr: Vaddr,
    pub(super) align: u64,
}

/// The end of the file, at the next multiple of `align` bytes, and the first free address behind all segments that is
/// congruent to it. The file needs no padding to a page: a loader maps the page around.
pub(super) fn new_segment(image: &Image<'_>, align: u64) -> Result<NewSegment, NoFit> {
    let past = || NoFit::new("no address left behind the last segment");
    let at = image.file_end().checked_round_up(align).ok_or_else(past)?;
    let p_align = image.loads().map(|(_, load)| image.page_size_of(load).max(load.align)).max().unwrap_or(0x1000);
    if !p_align.is_power_of_two() {
        return Err(NoFit::new("a p_align that is no power of two"));
    }
    let end = image.loads().map(|(_, load)| load.addresses().end).max().unwrap_or(Vaddr(0));
    let page = end.checked_round_up(p_align).ok_or_else(past)?;
    let addr = page.checked_add(at.0 % p_align).ok_or_else(past)?;
    Ok(NewSegment { at, addr, align: p_align })
}

/// Turns entry `index`, which nobody reads, into the new `PT_LOAD`. `PT_NULL` while its fields change.
pub(super) fn fill_header(
    draft: &mut Draft<'_, '_>,
    index: usize,
    place: &NewSegment,
    size: u64,
    flags: elf::ProgramFlags,
) -> Result<(), NoFit> {
    let p_type = draft.image.encoding.layout.p_type;
    draft.store_segment(index, p_type, u64::from(elf::PT_NULL.0), "p_type of the header that is reused")?;
    write_fields(draft, index, place, size, flags)?;
    draft.store_segment(index, p_type, u64::from(elf::PT_LOAD.0), "p_type of the new segment")
}

/// Writes a header that is not counted yet.
fn write_header(
    draft: &mut Draft<'_, '_>,
    index: usize,
    place: &NewSegment,
    size: u64,
    flags: elf::ProgramFlags,
) -> Result<(), NoFit> {
    let p_type = draft.image.encoding.layout.p_type;
    write_fields(draft, index, place, size, flags)?;
    draft.store_segment(index, p_type, u64::from(elf::PT_LOAD.0), "p_type of the new segment")
}

fn write_fields(
    draft: &mut Draft<'_, '_>,
    index: usize,
    place: &NewSegment,
    size: u64,
    flags: elf::ProgramFlags,
) -> Result<(), NoFit> {
    let layout = draft.image.encoding.layout;
    const WHY: &str = "a field of the new segment's header";
    draft.store_segment(index, layout.p_flags, u64::from(flags.0), WHY)?;
    draft.store_segment(index, layout.p_offset, place.at.0, WHY)?;
    draft.store_segment(index, layout.p_vaddr, place.addr.0, WHY)?;
    draft.store_segment(index, layout.p_paddr, place.addr.0, WHY)?;
    draft.store_segment(index, layout.p_filesz, size, WHY)?;
    draft.store_segment(index, layout.p_memsz, size, WHY)?;
    draft.store_segment(index, layout.p_align, place.align, WHY)
}

/// Counts one more program header: in `PT_PHDR`, then in the file header.
pub(super) fn grow_table(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let layout = image.encoding.layout;
    let count = image.segments.len() as u64 + 1;
    if count >= u64::from(elf::PN_XNUM) {
        return Err(NoFit::new("the program header table is full"));
    }
    for (index, _) in image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == elf::PT_PHDR) {
        draft.grow_segment(index, layout.phdr_size)?;
    }
    draft.store_header(layout.e_phnum, count, "e_phnum")
}
