//! Rung *last*: the segment that holds `.dynstr` ends the file and is extended.
//!
//! Needs: no `.bss` in that segment, free addresses behind it, at most stray bytes behind it in the file. Edits: the
//! new end of the file, the segment's sizes, `DT_STRSZ`, the tag, and `DT_STRTAB` where something lies behind
//! `.dynstr`. Safe as in rung *slack*.

use super::NoFit;
use super::draft::Draft;
use super::room::{ends_the_file, has_no_bss, may_append, segment_of_strings};

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
    let in_place = load.file_range().end == image.strings.range.end;
    let bytes = if in_place { draft.new_string().len() as u64 } else { draft.grown_table_len()? };
    let end = load.addresses().end;
    let new_end = end.checked_add(bytes).ok_or_else(|| NoFit::new("address past 2^64"))?;
    if image.next_load_page(end).is_some_and(|next| next < new_end) {
        return Err(NoFit::new("another segment follows too close in memory"));
    }
    let (at, addr) =
        if in_place { (image.strings.range.start, image.strings.addr) } else { (load.file_range().end, end) };
    draft.fill_table(at)?;
    draft.grow_segment(index, bytes)?;
    draft.switch_table(at, addr)?;
    draft.place_table(at, addr)
}
