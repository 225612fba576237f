//! Rung *slack*: `.dynstr`, whole, with the new string at its end, moves into unused bytes behind a segment.
//!
//! Needs: a `PT_LOAD` that has no `.bss` and has zero bytes that nothing uses and free addresses behind its end; or
//! padding in a page that patchelf has added. It is not writable, unless `.dynstr` lies in such a segment today,
//! `.dynamic` has to come along, or no other rung fits. Where padding follows `.dynstr` itself, it grows at its place.
//! Edits: those bytes, the segment's sizes, `DT_STRTAB`, `DT_STRSZ`, the tag. Safe because the grown table has every
//! string at its old offset, so that each intermediate file reads the same. The file does not grow.

use object::elf;

use super::NoFit;
use super::draft::Draft;
use super::dynamic::copy_len;
use super::evict;
use super::free_space::{Region, growth_in_place, read_only_slack, segment_of_strings, slack_behind, writable_room};
use super::packing::{Choice, Packing};

pub(super) fn attempt(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let image = draft.image;
    let string = draft.new_string().len() as u64;
    if let Some((index, growth)) = growth_in_place(image, string).filter(|_| !draft.moves_dynamic()) {
        let fits = growth == 0 || slack_behind(image, index, growth).is_some_and(|slack| slack.len >= growth);
        if fits {
            return grow_in_place(draft, index, growth);
        }
    }
    // patchelf moves the tables of an executable at a fixed address as far as .dynstr. Where that is not among them, it
    // moves all of them, and 0.14 makes no segment for them.
    if image.file_type == elf::ET_EXEC && evict::find(draft).is_ok() {
        return Err(NoFit::new("patchelf expects .dynstr in front of other tables, and those can move"));
    }
    let mut regions = Vec::new();
    let wanted = most_bytes(draft)?;
    if !draft.moves_dynamic() {
        regions.extend(read_only_slack(image, wanted));
        if is_writable_today(draft) {
            regions.extend(writable_room(image, wanted));
        }
    }
    move_into(draft, &regions)
}

/// The same in a writable segment, whatever `.dynstr` lies in today: rather that than no search path.
pub(super) fn attempt_writable(draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
    let regions = writable_room(draft.image, most_bytes(draft)?);
    move_into(draft, &regions)
}

fn move_into(draft: &mut Draft<'_, '_>, regions: &[Region]) -> Result<(), NoFit> {
    let mut why = NoFit::new("no bytes unused behind a segment");
    for region in regions {
        match Packing::choose(draft, *region, Vec::new(), Choice::Moved) {
            Ok(packing) => return packing.install(draft),
            Err(refused) => why = refused,
        }
    }
    Err(why)
}

/// Whether `.dynstr` can be written to at run time as it is: patchelf puts it there.
pub(super) fn is_writable_today(draft: &Draft<'_, '_>) -> bool {
    segment_of_strings(draft.image).is_some_and(|(_, load)| load.has(elf::PF_W))
}

/// More than the grown table, a moved `.dynamic` and their alignment take.
fn most_bytes(draft: &Draft<'_, '_>) -> Result<u64, NoFit> {
    const ALIGNMENT: u64 = 0x40;
    let dynamic = if draft.moves_dynamic() { copy_len(draft.image) } else { 0 };
    Ok(draft.grown_table_len()?.saturating_add(dynamic).saturating_add(ALIGNMENT))
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
