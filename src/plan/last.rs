//! Rung *last*: the segment that holds `.dynstr` ends the file and is extended.
//!
//! Needs: no `.bss` in that segment, free addresses behind it, at most stray bytes behind it in the file. Edits: the
//! new end of the file, the segment's sizes, `DT_STRSZ`, the tag, and `DT_STRTAB` where something lies behind
//! `.dynstr`. Safe as in rung *slack*.

use super::NoFit;
use super::draft::Draft;
use super::room::{ends_the_file, growth_in_place, has_no_bss, may_append, segment_of_strings};
use super::slack::grow_in_place;

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let Some((index, load)) = segment_of_strings(image) else {
        return Err(NoFit::new("no segment maps .dynstr"));
    };
    may_append(image)?;
    if !ends_the_file(image, &load) {
        return Err(NoFit::new("the segment of .dynstr does not end the file"));
    }
    if !has_no_bss(&load) {
        return Err(NoFit::new("the segment of .dynstr ends in .bss"));
    }
    let end = load.addresses().end;
    let has_addresses = |bytes: u64| {
        let new_end = end.checked_add(bytes).ok_or_else(|| NoFit::new("address past 2^64"))?;
        match image.next_load_page(end) {
            Some(next) if next < new_end => Err(NoFit::new("another segment follows too close in memory")),
            _ => Ok(()),
        }
    };
    if let Some((_, _, growth)) = growth_in_place(image, draft.new_string().len() as u64) {
        has_addresses(growth)?;
        return grow_in_place(draft, index, growth);
    }
    let bytes = draft.grown_table_len()?;
    has_addresses(bytes)?;
    let at = load.file_range().end;
    draft.fill_table(at)?;
    draft.grow_segment(index, bytes)?;
    draft.switch_table(at, end)?;
    draft.place_table(at, end)
}
