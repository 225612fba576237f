//! Rung *evict*: the tables behind `.dynstr` move into slack elsewhere, and `.dynstr` grows over their old place.
//!
//! Needs: section headers; behind `.dynstr`, tables that are found through `DT_*` entries (`.gnu.version`, …), or
//! `.dynamic` where patchelf has put it; slack that has no room for `.dynstr` but for those. Edits: the slack and its
//! segment's sizes, the `DT_*` entries, then the bytes behind `.dynstr`, `DT_STRSZ`, the tag. Safe because the tables are
//! named at their new place before their old bytes are written over. The file does not grow.

use super::draft::Draft;
use super::dynamic::copy_len;
use super::free_space::{read_only_slack, segment_of_strings, writable_room};
use super::movable::{Block, blocks};
use super::packing::{Choice, Packing};
use super::slack::is_writable_today;
use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Image};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    find(draft)?.install(draft)
}

/// The tables and their new places.
pub(super) fn find(draft: &Draft<'_, '_>) -> Result<Packing, NoFit> {
    let image = draft.image;
    let evicted = choose(draft)?;
    let moves_dynamic = draft.moves_dynamic() || evicted.iter().any(|block| block.is_dynamic(image));
    let wanted = evicted.iter().fold(0u64, |sum, block| sum.saturating_add(block.len()).saturating_add(block.align));
    let wanted = wanted.saturating_add(if moves_dynamic { copy_len(image).saturating_mul(2) } else { 0 });
    let mut regions = if moves_dynamic { Vec::new() } else { read_only_slack(image, wanted) };
    if moves_dynamic || is_writable_today(draft) {
        regions.extend(writable_room(image, wanted));
    }
    let mut packings = regions.into_iter().map(|region| Packing::choose(draft, region, Vec::new(), Choice::Evicted));
    packings.find_map(Result::ok).ok_or_else(|| NoFit::new("no slack for the tables behind .dynstr"))
}

/// The blocks behind `.dynstr` that make room for the new string.
pub(super) fn choose(draft: &Draft<'_, '_>) -> Result<Vec<Block>, NoFit> {
    let image = draft.image;
    if image.strings.section.is_none() {
        return Err(NoFit::of(Obstacle::Unknown, "no section header says what lies behind .dynstr"));
    }
    let strings_end = image.strings.range.end;
    let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
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
        _ => Err(NoFit::of(Obstacle::Unknown, "bytes behind .dynstr belong to no section")),
    }
}
