//! Rung *bss*: a segment with `.bss` at its end gets file bytes for that, and what has to move goes behind it.
//!
//! The last way, for files in which no program header is free nor can be borrowed (tcc, linkers made by hand, programs at
//! a fixed address that patchelf has edited). Needs: behind the segment, in the file, nothing that is loaded; free
//! addresses; no payload. Edits: non-loaded sections and the section header table go to the end of the file as far as
//! they are in the way; zeros where `.bss` is now; `p_memsz`, then `p_filesz`; then as in rung *slack*. Safe because the
//! bytes are zero before `p_filesz` counts them, so that memory is the same with them and without. The section header of
//! `.bss` stays: strip, objcopy and eu-elflint take zeros in the file for what they are.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::free_space::{Region, may_append, unused_prefix};
use super::packing::{Choice, Packing};
use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Image, Section, Segment, Vaddr, overlap};

/// A `.bss` of more bytes than this stays without file bytes.
const MOST: u64 = 16 << 20;

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    may_append(image)?;
    let mut why = NoFit::new("no segment whose end can be moved");
    let (data, rest): (Vec<_>, Vec<_>) =
        image.loads().filter(|(_, load)| load.has(elf::PF_R)).partition(|(_, load)| load.has(elf::PF_W));
    for (index, load) in rest.into_iter().chain(data).filter(|(_, load)| !(load.has(elf::PF_W) && load.has(elf::PF_X)))
    {
        match plan_for(draft, index, load) {
            Ok((packing, tail)) => return install(draft, index, load, &packing, &tail),
            Err(refused) => why = refused,
        }
    }
    Err(why)
}

/// What lies behind a segment in the file and moves to its end.
struct Tail {
    /// Sections by index, each with its new place.
    sections: Vec<(usize, FileOffset)>,
    section_table: Option<FileOffset>,
    /// The bytes that become part of the segment, or free.
    cleared_until: FileOffset,
}

fn plan_for(draft: &Draft<'_, '_>, index: usize, load: &Segment) -> Result<(Packing, Tail), NoFit> {
    let image = draft.image;
    let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
    if load.memsz.saturating_sub(load.filesz) > MOST {
        return Err(NoFit::new(".bss is too large to get bytes in the file"));
    }
    let end = load.addresses().end;
    let addresses = match image.next_load_page(end) {
        Some(next) => next.checked_since(end).ok_or_else(past)?,
        None => u64::MAX - end.0,
    };
    let region = Region {
        at: load.offset.checked_add(load.memsz).ok_or_else(past)?,
        addr: end,
        len: addresses,
        segment: Some(index),
        grows: false,
        writable: load.has(elf::PF_W),
        is_new: false,
    };
    // Where .dynstr stays in front of other tables, patchelf moves those in front of it only (tcc's .rela.got is none of
    // those that it can move).
    let packing = Packing::choose(draft, region, Vec::new(), Choice::Evicted)
        .or_else(|_| Packing::choose(draft, region, Vec::new(), Choice::Moved))?;
    let region_end = region.at.checked_add(packing.used).ok_or_else(past)?;
    let taken = load.file_range().end..region_end;
    let others = image.segments.iter().enumerate().filter(|(other, _)| *other != index);
    let is_loaded = others.map(|(_, segment)| segment.file_range()).any(|range| overlap(&range, &taken))
        || overlap(&image.segment_table_range(), &taken);
    if is_loaded {
        return Err(NoFit::new("another segment follows too close in the file"));
    }
    let tail = move_tail(image, &taken)?;
    Ok((packing, tail))
}

/// Gives everything in `taken` a place at the end of the file.
fn move_tail(image: &Image<'_>, taken: &Range<FileOffset>) -> Result<Tail, NoFit> {
    let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
    let mut tail = Tail { sections: Vec::new(), section_table: None, cleared_until: taken.end };
    let mut end = image.file_end().max(taken.end);
    for (index, section) in image.sections.iter().enumerate() {
        let Some(range) = section.file_range().filter(|range| overlap(range, taken)) else { continue };
        if section.is_alloc() {
            return Err(NoFit::new("a loaded section follows too close in the file"));
        }
        let at = end.checked_round_up(section.align.clamp(1, 0x1000)).ok_or_else(past)?;
        end = at.checked_add(section.size).ok_or_else(past)?;
        tail.cleared_until = tail.cleared_until.max(range.end);
        tail.sections.push((index, at));
    }
    if let Some(place) = image.sections.place.clone().filter(|place| overlap(place, taken)) {
        tail.cleared_until = tail.cleared_until.max(place.end);
        tail.section_table = Some(end.checked_round_up(u64::from(image.encoding.layout.word)).ok_or_else(past)?);
    }
    // What shares bytes with these would be cleared with them.
    let cleared = taken.start..tail.cleared_until;
    let moves = |index: usize| tail.sections.iter().any(|(moved, _)| *moved == index);
    let stays = image.sections.iter().enumerate().filter(|(index, _)| !moves(*index));
    let mut staying = stays.filter_map(|(_, section)| section.file_range());
    let table_stays = tail.section_table.is_none().then(|| image.sections.place.clone()).flatten();
    let segments = image.segments.iter().map(Segment::file_range).chain([image.segment_table_range()]);
    if staying.any(|range| overlap(&range, &cleared))
        || segments.chain(table_stays).any(|range| overlap(&range, &cleared))
    {
        return Err(NoFit::new("sections behind the segment share bytes"));
    }
    check_gaps(image, &cleared, &tail)?;
    Ok(tail)
}

/// What belongs to no section must be padding.
fn check_gaps(image: &Image<'_>, cleared: &Range<FileOffset>, tail: &Tail) -> Result<(), NoFit> {
    let sections = tail.sections.iter().filter_map(|(index, _)| image.sections.get(*index)?.file_range());
    let mut claimed: Vec<Range<FileOffset>> = sections.collect();
    claimed.extend(tail.section_table.and_then(|_| image.sections.place.clone()));
    claimed.push(cleared.end..cleared.end);
    claimed.sort_by_key(|range| range.start);
    let mut from = cleared.start;
    for range in claimed {
        let gap = range.start.min(image.file_end()).checked_since(from).unwrap_or(0);
        if unused_prefix(image, from, gap) != Some(gap) {
            return Err(NoFit::of(Obstacle::Unknown, "bytes behind the segment belong to no section"));
        }
        from = from.max(range.end);
    }
    Ok(())
}

fn install(
    draft: &mut Draft<'_, '_>,
    index: usize,
    load: &Segment,
    packing: &Packing,
    tail: &Tail,
) -> Result<(), NoFit> {
    let image = draft.image;
    let layout = image.encoding.layout;
    let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
    for (section, at) in &tail.sections {
        let range = image.sections.get(*section).and_then(Section::file_range).ok_or_else(past)?;
        draft.copy(range.clone(), *at, "a section that no loader reads");
        draft.record_move(range, *at, Vaddr(0));
    }
    if let Some(at) = tail.section_table {
        draft.move_section_table(at)?;
    }
    for (section, at) in &tail.sections {
        draft.store_section(*section, layout.sh_offset, at.0, "sh_offset of a moved section")?;
    }
    let start = load.file_range().end;
    let cleared = tail.cleared_until.min(image.file_end()).checked_since(start).unwrap_or(0);
    let zeros = vec![0; usize::try_from(cleared).map_err(|_| past())?];
    draft.fill(start, zeros, "the bytes of .bss");
    packing.fill(draft)?;
    let size = load.memsz.checked_add(packing.used).ok_or_else(past)?;
    draft.store_segment(index, layout.p_memsz, size, "p_memsz of the segment that grows")?;
    draft.store_segment(index, layout.p_filesz, size, "p_filesz of the segment that grows")?;
    packing.switch(draft, None)?;
    packing.place(draft)
}
