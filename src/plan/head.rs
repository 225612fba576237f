//! Rung *append + head*: as *append*, but no header is free, so the program header table grows in place, over the
//! small tables behind it.
//!
//! Needs: behind the table, only things that are found through a header or a `DT_*` entry (notes, `.interp`, hash
//! tables, …), never code; a `PT_NOTE`, `PT_GNU_RELRO` or `PT_GNU_EH_FRAME` to borrow; no payload. Edits: the displaced
//! tables go to the new segment; the build ID, which core dumps and profilers expect in the first page, goes to where
//! another displaced table was. Safe because the new segment is first put into a borrowed header, one that neither kernel
//! nor loader needs; everything is pointed to its copy before the old bytes are written over; and the borrowed header
//! comes back as the last entry before `e_phnum` counts it. The table stays at its place, so `AT_PHDR` stays right on
//! kernels before 5.18.

use std::ops::Range;

use object::elf;

use super::append::{NewSegment, fill_header, grow_table, new_segment};
use super::draft::Draft;
use super::free_space::may_append;
use super::movable::{Block, blocks, moved, place_sections, redirect};
use super::new_note::NewNote;
use super::packing::{Choice, Packing};
use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Vaddr};
use crate::elf::{Image, Segment};

/// Core dumps keep the first page of a mapped file.
const FIRST_PAGE: u64 = 0x1000;

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    may_append(draft.image)?;
    let segment = new_segment(draft.image, draft.image.file_end())?;
    attempt_with(draft, &segment, None)
}

/// The same for a new resolution note, which `segment` holds: its program header is one more.
pub(super) fn attempt_with_note(draft: &mut Draft<'_, '_>, segment: &NewSegment, note: &NewNote) -> Result<(), NoFit> {
    attempt_with(draft, segment, Some(note))
}

fn attempt_with(draft: &mut Draft<'_, '_>, segment: &NewSegment, note: Option<&NewNote>) -> Result<(), NoFit> {
    let image = draft.image;
    let layout = image.encoding.layout;
    let added = if note.is_some() { 2 } else { 1 };
    if image.sections.is_empty() {
        return Err(NoFit::of(
            Obstacle::Unknown,
            "without section headers, what lies behind the program header table is not known",
        ));
    }
    let borrowed = header_to_borrow(image).ok_or_else(|| NoFit::new("no program header that can be borrowed"))?;
    let table_end = image.segment_table_range().end;
    let needed_end = table_end
        .checked_add(layout.phdr_size.saturating_mul(added))
        .ok_or_else(|| NoFit::of(Obstacle::Field, "file offset past 2^64"))?;
    let first = image.loads().find(|(_, load)| load.file_range().contains(&image.segment_table));
    let Some((_, first)) = first.filter(|(_, load)| needed_end <= load.file_range().end) else {
        return Err(NoFit::new("no segment has room for a longer program header table"));
    };
    let (stay, go) = choose(image, table_end, needed_end, first)?;
    let left: Vec<Range<FileOffset>> =
        go.iter().filter(|block| !block.is_dynamic(image)).map(|block| block.range.clone()).collect();
    let packing = match note {
        None => Packing::choose(draft, segment.region, go, Choice::Fewer)?,
        Some(note) => Packing::behind_note(draft, segment.region, note.end(), go)?,
    };
    let staying = stay.map(|block| stay_in_head(block, first, needed_end)).transpose()?;

    // The new segment, in a borrowed header.
    packing.fill(draft)?;
    fill_header(draft, borrowed, segment, &packing)?;
    // Everything to its copy, then the old bytes are free.
    packing.switch(draft, Some(borrowed))?;
    if let Some((block, (at, addr))) = &staying {
        draft.record_move(block.range.clone(), *at, *addr);
        let now = draft.bytes_now(&block.range);
        let bytes = now.unwrap_or_else(|| image.bytes(&block.range).unwrap_or_default().to_vec());
        draft.fill(*at, bytes, "a note that stays in the first page");
        redirect(draft, block, *at, *addr, Some(borrowed))?;
    }
    let left: Vec<_> = left.into_iter().chain(packing.strings_left(image)).collect();
    let stays = staying.as_ref().and_then(|(block, (at, _))| at.checked_add(block.len()));
    clear_behind(draft, stays.unwrap_or(needed_end).max(needed_end), &left);
    let header = borrowed_header(image, borrowed, staying.as_ref(), &packing)?;
    put_header(draft, image.segments.len(), &header)?;
    if let Some(note) = note {
        put_header(draft, image.segments.len() + 1, &note.header())?;
    }
    grow_table(draft, added)?;
    if let Some((block, (at, addr))) = &staying {
        place_sections(draft, block, *at, *addr)?;
    }
    packing.place(draft)
}

/// The borrowed header, which comes back as the last one, with what it describes where that is now.
fn borrowed_header(
    image: &Image<'_>,
    borrowed: usize,
    staying: Option<&(Block, (FileOffset, Vaddr))>,
    packing: &Packing,
) -> Result<Segment, NoFit> {
    let mut header = image.segments.get(borrowed).copied().ok_or_else(|| NoFit::new("no header to borrow"))?;
    let stayed = staying.filter(|(block, _)| block.segments.contains(&borrowed)).map(|(block, place)| (block, *place));
    if let Some((block, (at, addr))) = stayed.or(packing.block_of(borrowed)) {
        (header.offset, header.vaddr) = moved(block, header.offset, at, addr)?;
        header.paddr = header.vaddr;
    }
    Ok(header)
}

/// Zeroes what the tables that have made way leave right behind the longer table, so that a later run finds room for
/// another entry: bytes that are not zero could be anybody's.
fn clear_behind(draft: &mut Draft<'_, '_>, from: FileOffset, left: &[Range<FileOffset>]) {
    /// Four more entries of the larger class.
    const ROOM: u64 = 224;
    let end = from.checked_add(ROOM).unwrap_or(from);
    for range in left {
        let part = range.start.max(from)..range.end.min(end);
        let len = part.end.checked_since(part.start).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        draft.fill(part.start, vec![0; len], "what a table leaves that has made way");
    }
}

/// An entry behind the last `PT_LOAD` that can be absent for a moment. Never `PT_GNU_STACK`: without it the stack
/// becomes executable.
fn header_to_borrow(image: &Image<'_>) -> Option<usize> {
    // In the order of what the absence costs a process that starts at that moment: a note; a protection; catching C++
    // exceptions. Neither kernel nor loader needs any of them.
    const KINDS: [elf::ProgramType; 4] = [elf::PT_NOTE, elf::PT_GNU_PROPERTY, elf::PT_GNU_RELRO, elf::PT_GNU_EH_FRAME];
    let last_load = image.loads().map(|(index, _)| index).next_back()?;
    let last_of = |kind: &elf::ProgramType| image.segments.iter().rposition(|segment| segment.kind == *kind);
    KINDS.iter().filter_map(last_of).find(|index| *index > last_load)
}

/// The blocks that make way: the one that holds the build ID (it stays in the first page), and the others.
fn choose(
    image: &Image<'_>,
    table_end: FileOffset,
    needed_end: FileOffset,
    first: &Segment,
) -> Result<(Option<Block>, Vec<Block>), NoFit> {
    let until = first.file_range().end.min(FileOffset(needed_end.0.max(FIRST_PAGE)));
    let mut rest = blocks(image, table_end, until).into_iter().peekable();
    let (mut stay, mut go): (Option<Block>, Vec<Block>) = (None, Vec::new());
    let mut unclaimed_from = table_end;
    loop {
        let next = rest.peek().map(|block| block.range.start);
        let room_end = next.unwrap_or(until);
        let stay_end = match &stay {
            Some(block) => new_place(block, needed_end).and_then(|at| at.checked_add(block.len())),
            None => Some(needed_end),
        };
        let near_enough = stay.is_none() || stay_end.is_some_and(|end| end.0 <= FIRST_PAGE);
        let enough = stay_end.filter(|end| near_enough && *end <= room_end);
        // What is written over must be padding; .dynstr may have left bytes behind it at an earlier run.
        let written_end = enough.unwrap_or(room_end).max(unclaimed_from);
        if !image.bytes(&(unclaimed_from..written_end)).is_some_and(is_padding) {
            return Err(NoFit::of(Obstacle::Unknown, "bytes behind the program header table belong to no section"));
        }
        if enough.is_some() {
            return Ok((stay, go));
        }
        let Some(block) = rest.next() else {
            return Err(NoFit::new("no room in the first page for the build ID"));
        };
        block.check_movable()?;
        if block.range.start < table_end {
            return Err(NoFit::new("the program header table overlaps another table"));
        }
        unclaimed_from = block.range.end;
        match (block.build_id, &stay) {
            (true, None) => stay = Some(block),
            (true, Some(_)) => return Err(NoFit::new("two build IDs lie behind the program header table")),
            (false, _) => go.push(block),
        }
    }
}

/// Zeros, or what patchelf fills the place of a table with that it has moved.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, 0 | b'X' | b'Z'))
}

/// Where a block that stays in the first page goes: right behind the longer table.
fn new_place(block: &Block, needed_end: FileOffset) -> Option<FileOffset> {
    needed_end.checked_round_up(block.align)
}

/// The place of the block that stays in the first page.
fn stay_in_head(block: Block, first: &Segment, needed_end: FileOffset) -> Result<(Block, (FileOffset, Vaddr)), NoFit> {
    let place = new_place(&block, needed_end)
        .and_then(|at| Some((at, first.vaddr.checked_add(at.checked_since(first.offset)?)?)))
        .ok_or_else(|| NoFit::of(Obstacle::Field, "file offset past 2^64"))?;
    Ok((block, place))
}

/// Writes `header` as entry `index`, which nobody reads yet; its type last.
pub(super) fn put_header(draft: &mut Draft<'_, '_>, index: usize, header: &Segment) -> Result<(), NoFit> {
    let layout = draft.image.encoding.layout;
    const WHY: &str = "a field of the header";
    draft.store_segment(index, layout.p_flags, u64::from(header.flags.0), WHY)?;
    draft.store_segment(index, layout.p_offset, header.offset.0, WHY)?;
    draft.store_segment(index, layout.p_vaddr, header.vaddr.0, WHY)?;
    draft.store_segment(index, layout.p_paddr, header.paddr.0, WHY)?;
    draft.store_segment(index, layout.p_filesz, header.filesz, WHY)?;
    draft.store_segment(index, layout.p_memsz, header.memsz, WHY)?;
    draft.store_segment(index, layout.p_align, header.align, WHY)?;
    draft.store_segment(index, layout.p_type, u64::from(header.kind.0), WHY)
}
