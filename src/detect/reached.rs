//! Whatever else may lead to a name, or into the few instructions before a call, than what [`super::calls`] follows.
//!
//! All of it errs on one side: bytes that only look like a pointer, a distance or a jump count as one.

use std::collections::HashSet;
use std::ops::Range;

use object::elf;

use super::calls::{CALL, JUMP};
use super::numbers::Wanted;
use super::references::referred;
use super::regions::{Region, region_of};
use crate::elf::{Image, Vaddr};

/// Bytes of a table of distances up to the one that counts. Those of names have a few entries.
const TABLE: u64 = 1 << 10;

/// No file has so many numbers that look like distances to a name.
const MOST_TABLES: usize = 1000;

/// Whether something may lead to an address in `watched` or into one of `landings`: a pointer, in the data or made by the
/// loader; a symbol; a distance in a table, or from the distance itself; for `landings` a jump.
pub(super) fn is_reached(
    image: &Image<'_>,
    data: &[Region<'_>],
    code: &[Region<'_>],
    watched: &[Range<u64>],
    landings: &[Range<u64>],
) -> bool {
    let targets = [watched, landings].concat();
    let Some(tables) = tables(data, &targets) else { return true };
    has_pointer(image, &targets)
        || !referred(image.machine, code, &tables).is_empty()
        || has_jump(image, code, landings)
}

/// Whether some bytes of the code are a jump into one of `landings`; of those that do not leave a function, of its own.
fn has_jump(image: &Image<'_>, code: &[Region<'_>], landings: &[Range<u64>]) -> bool {
    let is_far = |region: &Region<'_>, at: usize| {
        let front = region.bytes.get(at.saturating_sub(2)..at).unwrap_or_default();
        matches!(front, [.., CALL | JUMP] | [0x0f, 0x80..=0x8f])
    };
    let wanted = Wanted::new(landings);
    let has_far = || code.iter().any(|region| wanted.distances(region).any(|(at, _)| is_far(region, at)));
    landings.iter().any(|landing| has_near_jump(image, code, landing)) || has_far()
}

/// The same of jumps with a distance of one byte.
fn has_near_jump(image: &Image<'_>, code: &[Region<'_>], landing: &Range<u64>) -> bool {
    let Some((at, region)) = region_of(code, landing.start) else { return true };
    let function = function_around(image, landing.start);
    let mut around = at.saturating_sub(0x82)..at.saturating_add(0x90);
    around.any(|from| {
        let addr = region.addr.0.wrapping_add(from as u64);
        let Some(&[opcode, distance]) = region.bytes.get(from..).and_then(|code| code.first_chunk()) else {
            return false;
        };
        matches!(opcode, 0x70..=0x7f | 0xe0..=0xe3 | 0xeb)
            && landing.contains(&addr.wrapping_add(2).wrapping_add_signed((distance as i8).into()))
            && function.as_ref().is_none_or(|function| function.contains(&addr))
    })
}

/// The function around an address, from its start to that of the next one, as the table for unwinders has them in the form
/// that linkers write (LSB Core, "The .eh_frame_hdr section").
fn function_around(image: &Image<'_>, addr: u64) -> Option<Range<u64>> {
    /// Version 1; relative to the field, a plain number, and relative to the section, each in four bytes.
    const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
    const ENTRY: usize = 8;
    let segment = image.segments.iter().find(|segment| segment.kind == elf::PT_GNU_EH_FRAME)?;
    let table = image.bytes(&segment.file_range())?.strip_prefix(&USUAL)?.get(8..)?;
    let start = |entry: &[u8]| {
        let distance = i32::from_le_bytes(*entry.first_chunk()?);
        Some(segment.vaddr.0.wrapping_add_signed(distance.into()))
    };
    let starts = || table.chunks_exact(ENTRY).filter_map(start);
    let end = starts().filter(|start| *start > addr).min().unwrap_or(u64::MAX);
    Some(starts().filter(|start| *start <= addr).max()?..end)
}

/// Whether the loaded bytes have one of the addresses as a word: a pointer, what a relocation adds, or a symbol's value.
fn has_pointer(image: &Image<'_>, targets: &[Range<u64>]) -> bool {
    let wanted = Wanted::new(targets);
    image
        .loads()
        .any(|(_, load)| image.bytes(&load.file_range()).is_some_and(|bytes| wanted.has_pointer(bytes, load.vaddr.0)))
}

/// Whether a table at `start` has a first distance that leads into the same region as `target`, or as that out of all.
fn starts_alike(data: &[Region<'_>], start: u64, target: u64) -> bool {
    let offset = |addr: u64| region_of(data, addr).map(|(_, region)| region.offset);
    let first = || {
        let (at, region) = region_of(data, start)?;
        let distance = i32::from_le_bytes(*region.bytes.get(at..)?.first_chunk()?);
        Some(start.wrapping_add_signed(distance.into()))
    };
    first().is_some_and(|first| offset(first) == offset(target))
}

/// Where tables would start in which some distance leads to a target. `None` where they are too many, or where one leads
/// there from its own place.
fn tables(data: &[Region<'_>], targets: &[Range<u64>]) -> Option<HashSet<Vaddr>> {
    let mut tables = HashSet::new();
    let reached = |range: &Range<u64>| range.start..range.end.saturating_add(TABLE);
    let reached = Wanted::new(&targets.iter().map(reached).collect::<Vec<_>>());
    for (place, target) in data.iter().flat_map(|region| reached.distances_from_themselves(region.bytes, region.addr.0))
    {
        let distance = target.wrapping_sub(place);
        for target in targets.iter().flat_map(Range::clone) {
            let start = target.wrapping_sub(distance);
            let is_in_reach = place.checked_sub(start).is_some_and(|behind| behind < TABLE);
            // The target does not lie in the table, whose first distance leads to something like it.
            let is_outside = target > place || target < start;
            if start % 4 == 0 && is_in_reach && is_outside && starts_alike(data, start, target) {
                (start != place && tables.len() < MOST_TABLES).then(|| tables.insert(Vaddr(start)))?;
            }
        }
    }
    Some(tables)
}
