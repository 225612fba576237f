//! Rung *slack*: `.dynstr`, whole, with the new string at its end, moves into unused bytes behind a segment.
//!
//! Needs: a `PT_LOAD` that is not writable, has no `.bss`, and has zero bytes that nothing uses and free addresses
//! behind its end. Where `.dynstr` itself ends such a segment, it grows at its place. Edits: those bytes, the
//! segment's sizes, `DT_STRTAB`, `DT_STRSZ`, the tag. Safe because the grown table has every string at its old offset,
//! so that each intermediate file reads the same. The file does not grow.

use object::elf;

use super::NoFit;
use super::draft::Draft;
use super::room::{Slack, growth_in_place, may_leave_its_segment, slack_behind};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let string = draft.new_string().len() as u64;
    if let Some((index, _, growth)) = growth_in_place(image, string) {
        let room = growth == 0 || slack_behind(image, index, growth).is_some_and(|slack| slack.len >= growth);
        if room {
            return grow_in_place(draft, index, growth);
        }
    }
    may_leave_its_segment(image)?;
    let needed = draft.grown_table_len()?;
    let mut best: Option<(bool, Slack)> = None;
    let mut largest = 0;
    for (index, load) in image.loads().filter(|(_, load)| !load.has(elf::PF_W)) {
        let Some(slack) = slack_behind(image, index, needed) else { continue };
        largest = largest.max(slack.len);
        // Data in a segment without code is preferred.
        let executable = load.has(elf::PF_X);
        if slack.len >= needed && best.as_ref().is_none_or(|(found, _)| *found && !executable) {
            best = Some((executable, slack));
        }
    }
    let Some((_, slack)) = best else {
        return Err(NoFit::new(format!("{needed} bytes needed, at most {largest} unused behind a segment")));
    };
    draft.fill_table(slack.at)?;
    draft.grow_segment(slack.segment, needed)?;
    draft.switch_table(slack.at, slack.addr)?;
    draft.place_table(slack.at, slack.addr)
}

/// The new string goes behind `.dynstr`, which ends segment `index`; that grows by `growth` bytes.
pub(super) fn grow_in_place(draft: &mut Draft<'_, '_>, index: usize, growth: u64) -> Result<(), NoFit> {
    let (at, addr) = (draft.image.strings.range.start, draft.image.strings.addr);
    draft.fill_table(at)?;
    if growth > 0 {
        draft.grow_segment(index, growth)?;
    }
    draft.switch_table(at, addr)?;
    draft.place_table(at, addr)
}
