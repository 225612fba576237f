//! Rung *slot*: the new string fits over dead bytes of `.dynstr`.
//!
//! Needs: the string is there already, or room in bytes that no reference reaches. Edits: those bytes, and one word of
//! `.dynamic`. Safe because the live string is not touched until the tag names another one; where only the live
//! string's own bytes have the room, a copy in mapped slack stands in while they are rewritten.

use std::ops::Range;

use super::draft::Draft;
use super::free_space::slack_within_page;
use super::{NoFit, Obstacle};
use crate::decide::Tag;

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let table = draft.table();
    let string = draft.new_string();
    let base = draft.image.strings.range.start;
    let at =
        |offset: usize| base.checked_add(offset as u64).ok_or_else(|| NoFit::of(Obstacle::Field, "offset past 2^64"));

    // Already in the table, as a string or as the tail of one.
    if let Some(found) = memchr::memmem::find(table, &string) {
        draft.commit(found as u64)?;
        return draft.scrub(base, &(found..found + string.len()));
    }
    if !draft.liveness.is_proven() {
        return Err(NoFit::of(
            Obstacle::Unknown,
            "the number of symbols cannot be proven, so no byte of .dynstr is known to be dead",
        ));
    }
    let old = live_string(draft);

    // The new string is how the old one starts: one NUL cuts it.
    if let Some(old) = &old {
        let cut = old.start + string.len() - 1;
        let starts = table
            .get(old.clone())
            .is_some_and(|text| text.starts_with(string.get(..string.len() - 1).unwrap_or_default()));
        if starts && cut < old.end && draft.liveness.is_dead(table, cut..cut + 1) {
            draft.store_byte(at(cut)?, 0, "the end of the search path");
            draft.commit(old.start as u64)?;
            return draft.scrub(base, &(old.start..cut + 1));
        }
    }

    let runs = draft.liveness.dead_runs(table, 0..table.len());
    let holds_old =
        |run: &&Range<usize>| old.as_ref().is_some_and(|old| run.start < old.end + 1 && old.start < run.end);
    let free = |run: &Range<usize>| match &old {
        // The live string's bytes and its NUL stay until the tag has left them.
        Some(old) if holds_old(&run) => {
            let behind = old.end + 1..run.end;
            if behind.len() >= string.len() { behind } else { run.start..old.start.max(run.start) }
        }
        _ => run.clone(),
    };
    if let Some(run) = runs.iter().map(free).find(|run| run.len() >= string.len()) {
        let found = run.start;
        draft.fill(at(found)?, string.clone(), "the new search path");
        draft.commit(found as u64)?;
        return draft.scrub(base, &(found..found + string.len()));
    }

    let run = runs.iter().filter(holds_old).find(|run| run.len() >= string.len());
    let run = run.ok_or_else(|| NoFit::new(format!("no {} dead bytes in .dynstr", string.len())))?;
    over_live_string(draft, &string, run.start)
}

/// Writes over the live string itself, at `start` of the table, while the tag refers to a copy.
fn over_live_string(draft: &mut Draft<'_, '_>, string: &[u8], start: usize) -> Result<(), NoFit> {
    let base = draft.image.strings.range.start;
    let at = base.checked_add(start as u64).ok_or_else(|| NoFit::of(Obstacle::Field, "offset past 2^64"))?;
    let parked = slack_within_page(draft.image, string.len() as u64)
        .and_then(|(place, addr)| Some((place, addr.checked_since(draft.image.strings.addr)?)))
        .ok_or_else(|| NoFit::new("no place to park a copy while the live string is rewritten"))?;
    draft.fill(parked.0, string.to_vec(), "a copy of the new search path while the old one is rewritten");
    draft.commit(parked.1)?;
    draft.fill(at, string.to_vec(), "the new search path");
    draft.commit_again(start as u64)?;
    draft.scrub(base, &(start..start + string.len()))?;
    draft.fill(parked.0, vec![0; string.len()], "the parked copy");
    Ok(())
}

/// The string of the tag that loaders go by: `DT_RUNPATH`, else `DT_RPATH`. Without its NUL.
fn live_string(draft: &Draft<'_, '_>) -> Option<Range<usize>> {
    let dynamic = &draft.image.dynamic;
    let value = dynamic.value(Tag::Runpath.dynamic_tag()).or_else(|| dynamic.value(Tag::Rpath.dynamic_tag()))?;
    let len = draft.image.string(value)?.len();
    let start = usize::try_from(value).ok()?;
    Some(start..start + len)
}
