//! Where edits may lie.

use std::ops::Range;

use goblin::container::Container;
use goblin::elf::dynamic;
use goblin::elf::section_header;

use super::overlay::Overlay;
use super::reading::Reading;
use crate::plan::{Edit, Plan};

/// Whether the edits end where the file will, and copy only what there is.
pub(super) fn check_extent(original: &[u8], plan: &Plan<'_>) -> Result<(), String> {
    let ends = plan.edits.iter().map(|edit| edit.range().end.0);
    let end = ends.max().unwrap_or(0).max(original.len() as u64);
    if plan.new_len != end || usize::try_from(end).is_err() {
        return Err("the file would have another size than its edits give it".into());
    }
    let is_there = |edit: &Edit| edit.content.resolve(original).is_some();
    if plan.edits.iter().all(is_there) { Ok(()) } else { Err("an edit copies from outside the file".into()) }
}

/// Every edit must lie where an edit may: in the tables that change, in a place that a moved table left, in the old
/// string table, or in bytes that no section had.
pub(super) fn check(original: &[u8], before: &Reading, notes: Vec<Range<u64>>, plan: &Plan<'_>) -> Result<(), String> {
    let range = |at: u64, size: u64| at..at.saturating_add(size);
    let big = before.header.container().is_ok_and(Container::is_big);
    let (phdr_size, shdr_size): (u64, u64) = if big { (56, 64) } else { (32, 40) };
    let header = range(0, if big { 64 } else { 52 });
    let segment_table = range(before.header.e_phoff, phdr_size.saturating_mul(before.segments.len() as u64));
    let section_table = range(before.header.e_shoff, shdr_size.saturating_mul(before.sections.len() as u64));
    let symbols = before
        .sections
        .iter()
        .filter(|section| matches!(section.sh_type, section_header::SHT_SYMTAB | section_header::SHT_DYNSYM));
    let mut allowed = vec![header, segment_table, section_table, before.dynamic_range.clone()];
    allowed.extend(symbols.map(|section| range(section.sh_offset, section.sh_size)));
    allowed.extend(notes);
    allowed.extend(plan.moves.iter().map(|table| table.from.start.0..table.from.end.0));
    let strings = before.value(dynamic::DT_STRTAB).and_then(|addr| before.offset_of(addr));
    let strings = strings.map(|at| range(at, before.value(dynamic::DT_STRSZ).unwrap_or(0)));
    allowed.extend(strings);
    let used: Vec<Range<u64>> = before
        .sections
        .iter()
        .filter(|section| before.has_bytes(section))
        .map(|section| range(section.sh_offset, section.sh_size))
        .collect();
    for edit in &plan.edits {
        let edit_range = edit.at.0..edit.range().end.0;
        let inside = |place: &Range<u64>| place.start <= edit_range.start && edit_range.end <= place.end;
        let touches = |place: &&Range<u64>| place.start < edit_range.end && edit_range.start < place.end;
        if allowed.iter().any(inside) {
            continue;
        }
        let hits_moved_only = used.iter().filter(touches).all(|section| {
            plan.moves.iter().any(|table| table.from.start.0 <= section.start && section.end <= table.from.end.0)
        });
        if !hits_moved_only {
            return Err(format!("the edit at {:#x} ({}) lies in a section", edit.at.0, edit.why));
        }
        let in_file = edit_range.start.min(original.len() as u64)..edit_range.end.min(original.len() as u64);
        if in_file.start < in_file.end && before.sections.is_empty() {
            let window = Overlay { original, plan: None }.read(in_file.start, in_file.end - in_file.start)?;
            if window.len() > 7 && window.iter().any(|&byte| byte != 0) {
                return Err(format!("the edit at {:#x} ({}) lies on bytes that may be in use", edit.at.0, edit.why));
            }
        }
    }
    Ok(())
}
