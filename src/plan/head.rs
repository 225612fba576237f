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

use object::elf;

use super::NoFit;
use super::append::{Contents, fill_header, grow_table, new_segment};
use super::draft::Draft;
use super::home::Home;
use super::movable::{Block, blocks, moved, place_sections, redirect};
use super::new_note::NewNote;
use super::room::may_append;
use crate::elf::{FileOffset, Vaddr};
use crate::elf::{Image, Segment};

/// Core dumps keep the first page of a mapped file.
const FIRST_PAGE: u64 = 0x1000;

/// A displaced block and its new place.
struct Displaced {
    block: Block,
    at: FileOffset,
    addr: Vaddr,
    /// Whether it stays in the first page, where another block was.
    in_head: bool,
}

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    may_append(draft.image)?;
    let segment = Contents::at(new_segment(draft.image, draft, draft.image.file_end())?);
    attempt_with(draft, segment, None)
}

/// The same for a new resolution note, which `segment` holds: its program header is one more.
pub(super) fn attempt_with_note(draft: &mut Draft<'_, '_>, segment: Contents, note: &NewNote) -> Result<(), NoFit> {
    attempt_with(draft, segment, Some(note))
}

fn attempt_with(draft: &mut Draft<'_, '_>, mut segment: Contents, note: Option<&NewNote>) -> Result<(), NoFit> {
    let image = draft.image;
    let layout = image.encoding.layout;
    let added = if note.is_some() { 2 } else { 1 };
    if image.sections.is_empty() {
        return Err(NoFit::new("without section headers, what lies behind the program header table is not known"));
    }
    let borrowed = header_to_borrow(image).ok_or_else(|| NoFit::new("no program header that can be borrowed"))?;
    let table_end = image.segment_table_range().end;
    let needed_end = table_end
        .checked_add(layout.phdr_size.saturating_mul(added))
        .ok_or_else(|| NoFit::new("file offset past 2^64"))?;
    let first = image.loads().find(|(_, load)| load.file_range().contains(&image.segment_table));
    let Some((_, first)) = first.filter(|(_, load)| needed_end <= load.file_range().end) else {
        return Err(NoFit::new("no segment has room for a longer program header table"));
    };
    let chosen = choose(image, table_end, needed_end, first)?;
    let flags = segment.take_dynamic(draft)?;
    let strings_displaced = chosen.1.iter().any(|block| block.range == image.strings.range);
    let displaced = lay_out(image, first, &mut segment, chosen, needed_end)?;
    let is_taken =
        |block: &Block| strings_displaced || displaced.iter().any(|moving| moving.block.range == block.range);
    let home = match note {
        None => Home::choose(draft, &mut segment, is_taken)?,
        Some(_) if strings_displaced => return Err(NoFit::new(".dynstr is in the way, and the search path stays")),
        Some(_) => Home::Evicted(Vec::new()),
    };

    // The new segment, in a borrowed header.
    for moving in displaced.iter().filter(|moving| !moving.in_head) {
        draft.copy(moving.block.range.clone(), moving.at, "a displaced table");
    }
    if note.is_none() {
        home.fill(draft)?;
    }
    fill_header(draft, borrowed, &segment, flags)?;

    // Everything to its copy, then the old bytes are free.
    for moving in displaced.iter().filter(|moving| !moving.in_head) {
        redirect(draft, &moving.block, moving.at, moving.addr, Some(borrowed))?;
    }
    if note.is_none() {
        home.switch(draft, Some(borrowed))?;
    }
    for moving in &displaced {
        draft.record_move(moving.block.range.clone(), moving.at, moving.addr);
    }
    draft.switch_dynamic()?;
    for moving in &displaced {
        if moving.in_head {
            let now = draft.bytes_now(&moving.block.range);
            let bytes = now.unwrap_or_else(|| image.bytes(&moving.block.range).unwrap_or_default().to_vec());
            draft.fill(moving.at, bytes, "a note that stays in the first page");
            redirect(draft, &moving.block, moving.at, moving.addr, Some(borrowed))?;
        }
    }
    clear_behind(draft, needed_end, &displaced, matches!(home, Home::Moved(..)))?;
    // The borrowed header comes back as the last one.
    let mut header = image.segments.get(borrowed).copied().ok_or_else(|| NoFit::new("no header to borrow"))?;
    let displaced_by = displaced.iter().find(|moving| moving.block.segments.contains(&borrowed));
    let displaced_by = displaced_by.map(|moving| (&moving.block, moving.at, moving.addr));
    let evicted_by = home.block_of(borrowed).map(|(block, at, addr)| (block, *at, *addr));
    if let Some((block, at, addr)) = displaced_by.or(evicted_by) {
        (header.offset, header.vaddr) = moved(block, header.offset, at, addr)?;
        header.paddr = header.vaddr;
    }
    put_header(draft, image.segments.len(), &header)?;
    if let Some(note) = note {
        put_header(draft, image.segments.len() + 1, &note.header())?;
    }
    grow_table(draft, added)?;
    for moving in &displaced {
        place_sections(draft, &moving.block, moving.at, moving.addr)?;
    }
    if note.is_some() { Ok(()) } else { home.place(draft) }
}

/// Zeroes what the displaced tables leave right behind the longer table, so that a later run finds room for another entry:
/// bytes that are not zero could be anybody's.
fn clear_behind(
    draft: &mut Draft<'_, '_>,
    needed_end: FileOffset,
    displaced: &[Displaced],
    strings_moved: bool,
) -> Result<(), NoFit> {
    /// Four more entries of the larger class.
    const ROOM: u64 = 224;
    let stays = displaced.iter().filter(|moving| moving.in_head);
    let stays = stays.filter_map(|moving| moving.at.checked_add(moving.block.len()));
    let start = stays.max().unwrap_or(needed_end).max(needed_end);
    let end = start.checked_add(ROOM).unwrap_or(start);
    let left = displaced.iter().map(|moving| &moving.block.range);
    let strings = strings_moved.then(|| draft.image.strings.range.clone());
    for range in left.chain(strings.as_ref()) {
        let part = range.start.max(start)..range.end.min(end);
        let len = part.end.checked_since(part.start).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        draft.fill(part.start, vec![0; len], "what a displaced table leaves");
    }
    Ok(())
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
        let home_end = match &stay {
            Some(block) => home(block, needed_end).and_then(|at| at.checked_add(block.len())),
            None => Some(needed_end),
        };
        let near_enough = stay.is_none() || home_end.is_some_and(|end| end.0 <= FIRST_PAGE);
        let enough = home_end.filter(|end| near_enough && *end <= room_end);
        // What is written over must be padding; .dynstr may have left bytes behind it at an earlier run.
        let written_end = enough.unwrap_or(room_end).max(unclaimed_from);
        if !image.bytes(&(unclaimed_from..written_end)).is_some_and(is_padding) {
            return Err(NoFit::new("bytes behind the program header table belong to no section"));
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
fn home(block: &Block, needed_end: FileOffset) -> Option<FileOffset> {
    needed_end.checked_round_up(block.align)
}

/// Gives each displaced block its place. `.dynstr` is none of them: it moves in any case.
fn lay_out(
    image: &Image<'_>,
    first: &Segment,
    segment: &mut Contents,
    (stay, go): (Option<Block>, Vec<Block>),
    needed_end: FileOffset,
) -> Result<Vec<Displaced>, NoFit> {
    let past = || NoFit::new("file offset past 2^64");
    let mut displaced = Vec::new();
    if let Some(block) = stay {
        let at = home(&block, needed_end).ok_or_else(past)?;
        let addr =
            at.checked_since(first.offset).and_then(|inside| first.vaddr.checked_add(inside)).ok_or_else(past)?;
        displaced.push(Displaced { block, at, addr, in_head: true });
    }
    for block in go.into_iter().filter(|block| block.range != image.strings.range) {
        let (at, addr) = segment.take(block.len(), block.align)?;
        displaced.push(Displaced { block, at, addr, in_head: false });
    }
    Ok(displaced)
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
