//! What may become of the section headers.

use std::ops::Range;

use goblin::elf::dynamic;
use goblin::elf::program_header;
use goblin::elf::section_header::{self, SectionHeader};

use super::note::Notes;
use super::reading::{Reading, move_of, moved};
use crate::plan::{NoteOutcome, Plan};

/// Section headers say of each moved table where it is now, and nothing else that is new.
pub(super) fn check(before: &Reading, old_notes: &Notes, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    // `note::check` counts them where a note is new.
    if before.sections.len() != after.sections.len() && plan.note != NoteOutcome::Written {
        return Err("the number of sections changed".into());
    }
    let strings = (after.value(dynamic::DT_STRTAB), after.value(dynamic::DT_STRSZ));
    let old_strings = (before.value(dynamic::DT_STRTAB), before.value(dynamic::DT_STRSZ));
    for (index, (old, new)) in before.sections.iter().zip(&after.sections).enumerate() {
        let mut wanted = old.clone();
        let has_bytes = before.has_bytes(old);
        // Of .dynamic, the old bytes stay, and with them what another header says of them.
        let start = before.dynamic_range.start;
        let is_dynamic_table = (old.sh_type, old.sh_offset) == (section_header::SHT_DYNAMIC, start);
        let stays = !is_dynamic_table && move_of(plan, old.sh_offset).is_some_and(|table| table.from.start.0 == start);
        if let Some((offset, addr)) = moved(plan, old.sh_offset).filter(|_| has_bytes && !stays) {
            wanted.sh_offset = offset;
            let is_its_address = old.is_alloc() || before.offset_of(old.sh_addr) == Some(old.sh_offset);
            wanted.sh_addr = if is_its_address { addr } else { old.sh_addr };
        }
        if let Some(meant) = old_notes.wanted_section(index, &wanted, new, plan) {
            wanted = meant;
        }
        if plan.note == NoteOutcome::Written && index == usize::from(before.header.e_shstrndx) {
            // The name of the note's section is new, and only that: `note::check` has read the names.
            (wanted.sh_offset, wanted.sh_size) = (new.sh_offset, new.sh_size);
        }
        let is_strings = old.sh_type == section_header::SHT_STRTAB
            && has_bytes
            && (Some(old.sh_addr), Some(old.sh_size)) == old_strings;
        if is_dynamic_table && wanted.sh_offset != old.sh_offset {
            wanted.sh_size = after.dynamic_range.end.saturating_sub(after.dynamic_range.start);
        }
        if is_strings {
            wanted.sh_size = strings.1.unwrap_or(0);
            if (Some(new.sh_addr), Some(new.sh_size)) != strings || after.offset_of(new.sh_addr) != Some(new.sh_offset)
            {
                return Err("the section header of .dynstr does not agree with DT_STRTAB".into());
            }
        }
        if *new != wanted {
            return Err(format!("section header {index} is not the one meant"));
        }
    }
    Ok(())
}

/// Neither sections nor the tables of headers share bytes, and what a segment is in the file it is in memory.
pub(super) fn check_overlaps(found: &Reading) -> Result<(), String> {
    let of = |section: &SectionHeader| section.sh_offset..section.sh_offset.saturating_add(section.sh_size);
    let sections = found.sections.iter().enumerate().filter(|(_, section)| found.has_bytes(section));
    let mut ranges: Vec<(Range<u64>, String)> =
        sections.map(|(index, section)| (of(section), format!("section {index}"))).collect();
    let header = &found.header;
    let program_headers = u64::from(header.e_phnum).saturating_mul(header.e_phentsize.into());
    let section_headers = (found.sections.len() as u64).saturating_mul(header.e_shentsize.into());
    let table = |at: u64, size: u64| at..at.saturating_add(size);
    ranges.push((table(0, header.e_ehsize.into()), "the ELF header".to_owned()));
    ranges.push((table(header.e_phoff, program_headers), "the program header table".to_owned()));
    ranges.push((table(header.e_shoff, section_headers), "the section header table".to_owned()));
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    for pair in ranges.windows(2) {
        if let [(first, name), (second, other)] = pair {
            if second.start < first.end && !second.is_empty() {
                return Err(format!("{name} and {other} share bytes"));
            }
        }
    }
    for (index, segment) in found.segments.iter().enumerate().filter(|(_, segment)| segment.p_filesz > 0) {
        let is_mapped = segment.p_type != program_header::PT_NULL && segment.p_vaddr != 0;
        if is_mapped && found.offset_of(segment.p_vaddr).is_some_and(|offset| offset != segment.p_offset) {
            return Err(format!("segment {index} is not the same bytes in memory as in the file"));
        }
    }
    Ok(())
}

/// A section that shares bytes with the string table is the string table.
pub(super) fn check_strings(found: &Reading) -> Result<(), String> {
    let (Some(addr), Some(size)) = (found.value(dynamic::DT_STRTAB), found.value(dynamic::DT_STRSZ)) else {
        return Err("no DT_STRTAB or no DT_STRSZ".into());
    };
    let at = found.offset_of(addr).ok_or("DT_STRTAB lies in no segment")?;
    let end = at.saturating_add(size);
    if found.dynamic.iter().any(|(tag, value)| *tag == dynamic::DT_GNU_HASH && *value == addr) {
        return Err("DT_GNU_HASH and DT_STRTAB have one address".into());
    }
    for (index, section) in found.sections.iter().enumerate().filter(|(_, section)| found.has_bytes(section)) {
        let is_it = section.sh_type == section_header::SHT_STRTAB
            && section.is_alloc()
            && (section.sh_addr, section.sh_offset, section.sh_size) == (addr, at, size);
        let touches = section.sh_offset < end && at < section.sh_offset.saturating_add(section.sh_size);
        if touches && !is_it {
            return Err(format!("section header {index} does not agree with DT_STRTAB and DT_STRSZ"));
        }
    }
    Ok(())
}
