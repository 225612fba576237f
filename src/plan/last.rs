//! Rung *last*: a segment ends the file and is extended: the one that holds `.dynstr`, else another.
//!
//! Needs: no `.bss` in that segment, free addresses behind it, at most stray bytes behind it in the file. Edits: the
//! new end of the file, the segment's sizes, `DT_STRSZ`, the tag. Where `.dynstr` does not end that segment, it moves
//! there, or, where that is fewer bytes, the tables behind it do, as in rung *evict*. Safe as in rungs *slack* and
//! *evict*.

use object::elf;

use super::NoFit;
use super::draft::Draft;
use super::free_space::{Region, can_grow, ends_the_file, growth_in_place, may_append, segment_of_strings};
use super::packing::{Choice, Packing};
use super::slack::grow_in_place;
use crate::elf::{Image, Segment};

/// `.dynstr` grows at its place.
pub(super) fn attempt_in_place(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let (index, load) = find(draft.image)?;
    let (strings_in, growth) = growth_in_place(draft.image, draft.new_string().len() as u64)
        .filter(|(strings_in, _)| *strings_in == index && !draft.moves_dynamic())
        .ok_or_else(|| NoFit::new(".dynstr does not end the file"))?;
    if growth > addresses_behind(draft.image, &load) {
        return Err(NoFit::new("another segment follows too close in memory"));
    }
    grow_in_place(draft, strings_in, growth)
}

/// Something moves to the new end of the file.
pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let (index, load) = find(image)?;
    let region = Region {
        at: load.file_range().end,
        addr: load.addresses().end,
        len: addresses_behind(image, &load),
        segment: Some(index),
        grows: true,
        writable: load.has(elf::PF_W) && !load.has(elf::PF_X),
        is_new: false,
    };
    Packing::choose(draft, region, Vec::new(), Choice::Fewer)?.install(draft)
}

/// The segment to extend.
fn find(image: &Image<'_>) -> Result<(usize, Segment), NoFit> {
    let (strings_in, held) = segment_of_strings(image).ok_or_else(|| NoFit::new("no segment maps .dynstr"))?;
    may_append(image)?;
    // An earlier run may have put other tables than .dynstr into a segment of their own: writable where .dynamic is one.
    let other = || image.loads().find(|(_, load)| ends_the_file(image, load));
    let (index, load) = match other().filter(|_| !ends_the_file(image, &held)) {
        Some((index, load)) => (index, *load),
        None => (strings_in, held),
    };
    if !ends_the_file(image, &load) {
        return Err(NoFit::new("no segment ends the file"));
    }
    if !can_grow(&load) {
        return Err(NoFit::new("the segment that ends the file ends in .bss, or cannot be read"));
    }
    Ok((index, load))
}

/// Bytes of memory behind a segment, as far as the next one's page.
fn addresses_behind(image: &Image<'_>, load: &Segment) -> u64 {
    let end = load.addresses().end;
    match image.next_load_page(end) {
        Some(next) => next.checked_since(end).unwrap_or(0),
        None => u64::MAX - end.0,
    }
}
