//! Rung *last*: a segment ends the file and is extended: the one that holds `.dynstr`, else another.
//!
//! Needs: no `.bss` in that segment, free addresses behind it, at most stray bytes behind it in the file. Edits: the
//! new end of the file, the segment's sizes, `DT_STRSZ`, the tag, and `DT_STRTAB` where `.dynstr` does not end that
//! segment. Safe as in rung *slack*.

use super::NoFit;
use super::draft::Draft;
use super::room::{ends_the_file, growth_in_place, has_no_bss, may_append, may_leave_its_segment, segment_of_strings};
use super::slack::grow_in_place;

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let Some((home, held)) = segment_of_strings(image) else {
        return Err(NoFit::new("no segment maps .dynstr"));
    };
    may_append(image)?;
    // An earlier run may have put other tables than .dynstr into a segment of their own: writable where .dynamic is one.
    let other = || image.loads().find(|(_, load)| ends_the_file(image, load));
    let (index, load) = match other().filter(|_| !ends_the_file(image, &held)) {
        Some((index, load)) => (index, *load),
        None => (home, held),
    };
    if !ends_the_file(image, &load) {
        return Err(NoFit::new("no segment ends the file"));
    }
    if !has_no_bss(&load) {
        return Err(NoFit::new("the segment that ends the file ends in .bss"));
    }
    let end = load.addresses().end;
    let has_addresses = |bytes: u64| {
        let new_end = end.checked_add(bytes).ok_or_else(|| NoFit::new("address past 2^64"))?;
        match image.next_load_page(end) {
            Some(next) if next < new_end => Err(NoFit::new("another segment follows too close in memory")),
            _ => Ok(()),
        }
    };
    let in_place = || growth_in_place(image, draft.new_string().len() as u64);
    if let Some((_, _, growth)) = Some(home).filter(|home| *home == index).and_then(|_| in_place()) {
        has_addresses(growth)?;
        return grow_in_place(draft, index, growth);
    }
    if home != index {
        may_leave_its_segment(image)?;
    }
    let bytes = draft.grown_table_len()?;
    has_addresses(bytes)?;
    let at = load.file_range().end;
    draft.fill_table(at)?;
    draft.grow_segment(index, bytes)?;
    draft.switch_table(at, end)?;
    draft.place_table(at, end)
}
