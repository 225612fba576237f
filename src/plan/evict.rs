//! Rung *evict*: the tables behind `.dynstr` move into slack elsewhere, and `.dynstr` grows over their old place.
//!
//! Needs: section headers; behind `.dynstr`, tables that are found through `DT_*` entries (`.gnu.version`, …); slack that
//! has no room for `.dynstr` but for those. Edits: the slack and its segment's sizes, the `DT_*` entries, then the bytes
//! behind `.dynstr`, `DT_STRSZ`, the tag. Safe because the tables are named at their new place before their old bytes
//! are written over. The file does not grow.

use object::elf;

use super::NoFit;
use super::draft::Draft;
use super::movable::{Block, blocks, place_sections, redirect};
use super::room::{Slack, segment_of_strings, slack_behind};
use crate::elf::{FileOffset, Image, Vaddr};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let evicted = choose(draft)?;
    let slack = slack_for(image, &evicted)?;
    let past = || NoFit::new("file offset past 2^64");
    let mut moves: Vec<(&Block, FileOffset, Vaddr)> = Vec::new();
    let mut at = slack.at;
    for block in &evicted {
        let (place, addr) = aligned(&slack, at, block.align).ok_or_else(past)?;
        moves.push((block, place, addr));
        at = place.checked_add(block.len()).ok_or_else(past)?;
    }
    for (block, at, _) in &moves {
        draft.copy(block.range.clone(), *at, "a table that makes way");
    }
    draft.grow_segment(slack.segment, at.checked_since(slack.at).ok_or_else(past)?)?;
    for (block, at, addr) in &moves {
        redirect(draft, block, *at, *addr, None)?;
        draft.record_move(block.range.clone(), *at, *addr);
    }
    let strings = image.strings.range.start;
    draft.fill_table(strings)?;
    draft.switch_table(strings, image.strings.addr)?;
    for (block, at, addr) in &moves {
        place_sections(draft, block, *at, *addr)?;
    }
    draft.place_table(strings, image.strings.addr)
}

/// The blocks behind `.dynstr` that make room for the new string.
pub(super) fn choose(draft: &Draft<'_, '_>) -> Result<Vec<Block>, NoFit> {
    let image = draft.image;
    if image.strings.section.is_none() {
        return Err(NoFit::new("no section header says what lies behind .dynstr"));
    }
    let strings_end = image.strings.range.end;
    let past = || NoFit::new("file offset past 2^64");
    let needed_end = strings_end.checked_add(draft.new_string().len() as u64).ok_or_else(past)?;
    let (_, load) = segment_of_strings(image).ok_or_else(|| NoFit::new("no segment maps .dynstr"))?;
    let held_end = load.file_range().end;
    let mut evicted: Vec<Block> = Vec::new();
    let mut unclaimed_from = strings_end;
    for block in blocks(image, strings_end, needed_end.min(held_end)) {
        block.check_movable()?;
        if block.range.start < strings_end || block.build_id {
            return Err(NoFit::new("what lies behind .dynstr must stay there"));
        }
        check_unclaimed(image, unclaimed_from, block.range.start)?;
        unclaimed_from = block.range.end;
        evicted.push(block);
    }
    check_unclaimed(image, unclaimed_from, needed_end)?;
    if needed_end > held_end || evicted.is_empty() {
        return Err(NoFit::new("no movable table behind .dynstr"));
    }
    Ok(evicted)
}

/// Bytes between tables are padding only if they are zero.
fn check_unclaimed(image: &Image<'_>, from: FileOffset, to: FileOffset) -> Result<(), NoFit> {
    let padding = if from < to { image.bytes(&(from..to)) } else { Some(&[][..]) };
    match padding {
        Some(bytes) if bytes.iter().all(|&byte| byte == 0) => Ok(()),
        _ => Err(NoFit::new("bytes behind .dynstr belong to no section")),
    }
}

/// Slack that holds all of `evicted`.
fn slack_for(image: &Image<'_>, evicted: &[Block]) -> Result<Slack, NoFit> {
    let wanted = evicted.iter().fold(0u64, |sum, block| sum.saturating_add(block.len()).saturating_add(block.align));
    let fits = |slack: &Slack| {
        let end =
            evicted.iter().try_fold(slack.at, |at, block| aligned(slack, at, block.align)?.0.checked_add(block.len()));
        end.and_then(|end| end.checked_since(slack.at)).is_some_and(|used| used <= slack.len)
    };
    let readable = image.loads().filter(|(_, load)| !load.has(elf::PF_W));
    let found = readable.filter_map(|(index, _)| slack_behind(image, index, wanted)).find(fits);
    found.ok_or_else(|| NoFit::new("no slack for the tables behind .dynstr"))
}

/// The next place at or behind `at` whose address has this alignment.
fn aligned(slack: &Slack, at: FileOffset, align: u64) -> Option<(FileOffset, Vaddr)> {
    let addr = slack.addr.checked_add(at.checked_since(slack.at)?)?;
    let place = addr.checked_round_up(align)?;
    Some((at.checked_add(place.checked_since(addr)?)?, place))
}
