//! What may become of the program headers.

use std::ops::Range;

use goblin::elf::program_header::{self, ProgramHeader};
use goblin::elf::section_header::SectionHeader;

use super::note::Notes;
use super::overlay::Overlay;
use super::reading::{Reading, moved};
use crate::plan::{Move, NoteOutcome, Plan};

/// Loadable segments stay where they are, and may grow; a new one is apart from all others.
pub(super) fn check_loads(
    before: &Reading,
    (planned, after): (&Overlay<'_>, &Reading),
    plan: &Plan<'_>,
) -> Result<(), String> {
    let (page, wide_page) = (0x1000, 0x1_0000);
    let page = match before.header.e_machine {
        goblin::elf::header::EM_386
        | goblin::elf::header::EM_X86_64
        | goblin::elf::header::EM_ARM
        | goblin::elf::header::EM_RISCV
        | goblin::elf::header::EM_S390 => page,
        _ => wide_page,
    };
    let mut last_end = 0u64;
    for load in after.loads() {
        let name = format!("the segment at {:#x}", load.p_vaddr);
        let end = load.p_offset.checked_add(load.p_filesz).filter(|end| *end <= plan.new_len);
        end.ok_or_else(|| format!("{name} ends behind the file"))?;
        if load.p_filesz > load.p_memsz {
            return Err(format!("{name} has p_filesz > p_memsz"));
        }
        let is_from = |old: &&ProgramHeader| {
            let grown = load.p_filesz >= old.p_filesz && load.p_memsz >= old.p_memsz;
            let bss = old.p_memsz.saturating_sub(old.p_filesz);
            let has_bytes = || {
                let zeros = load.p_offset.checked_add(old.p_filesz).map(|at| planned.read(at, bss));
                load.p_filesz == load.p_memsz && zeros.is_some_and(|read| read.is_ok_and(|b| b.iter().all(|&b| b == 0)))
            };
            let bss_kept = load.p_memsz - load.p_filesz == bss || has_bytes();
            grown && bss_kept && load.p_flags == old.p_flags && load.p_align == old.p_align
        };
        // An empty segment can lie where the next one starts.
        let mut there =
            before.loads().filter(|old| old.p_vaddr == load.p_vaddr && old.p_offset == load.p_offset).peekable();
        let is_new = there.peek().is_none();
        let known = there.find(is_from);
        if known.is_none() && !is_new {
            return Err(format!("{name} is not the one that it was"));
        }
        if is_new && load.is_write() && load.is_executable() {
            return Err(format!("{name} is new, writable and executable"));
        }
        let align = load.p_align.max(1);
        if load.p_vaddr % align != load.p_offset % align {
            return Err(format!("{name} has an address and an offset that are not congruent"));
        }
        let new = known.is_none_or(|old| old.p_memsz != load.p_memsz);
        let near = load.p_align.clamp(0x1000, page);
        if load.p_vaddr < last_end || (new && load.p_vaddr / near * near < last_end && known.is_none()) {
            return Err(format!("{name} is too close to the one before it"));
        }
        last_end = load.p_vaddr.checked_add(load.p_memsz).ok_or_else(|| format!("{name} ends past 2^64"))?;
    }
    let kept = before.loads().all(|old| after.loads().any(|load| load.p_vaddr == old.p_vaddr));
    if !kept {
        return Err("a segment is gone".into());
    }
    Ok(())
}

/// What moves stays readable, for loaders read it: there is memory that can be executed only.
pub(super) fn check_readable(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let readable = |reading: &Reading, at: &dyn Fn(&ProgramHeader) -> Range<u64>, place: u64| {
        let mut loads = reading.loads().filter(|load| load.is_read());
        loads.any(|load| at(load).contains(&place))
    };
    let in_file = |load: &ProgramHeader| load.p_offset..load.p_offset.saturating_add(load.p_filesz);
    let in_memory = |load: &ProgramHeader| load.p_vaddr..load.p_vaddr.saturating_add(load.p_memsz);
    // A damaged segment can cover sections that are for no loader.
    let is_loaded = |start: u64| {
        let mut here = before.sections.iter().filter(|section| section.sh_offset == start && section.sh_size > 0);
        here.all(SectionHeader::is_alloc)
    };
    let is_lost = |table: &&Move| {
        is_loaded(table.from.start.0)
            && readable(before, &in_file, table.from.start.0)
            && !readable(after, &in_memory, table.addr.0)
    };
    match plan.moves.iter().find(is_lost) {
        Some(table) => Err(format!("the table at {:#x} moves to memory that cannot be read", table.from.start.0)),
        None => Ok(()),
    }
}

/// Program headers of other kinds are those that they were, or say where their table is now.
pub(super) fn check_others(
    (before, old_notes): (&Reading, &Notes),
    (after, new_notes): (&Reading, &Notes),
    plan: &Plan<'_>,
) -> Result<(), String> {
    let others = |reading: &Reading| -> Vec<ProgramHeader> {
        let wanted = |segment: &&ProgramHeader| {
            !matches!(segment.p_type, program_header::PT_LOAD | program_header::PT_NULL | program_header::PT_PHDR)
        };
        reading.segments.iter().filter(wanted).cloned().collect()
    };
    let mut remaining = others(after);
    // That of a resolution note which changes is `note::check`'s.
    let changes = !matches!(plan.note, NoteOutcome::None | NoteOutcome::Kept);
    remaining.retain(|segment| !(changes && new_notes.is_own(segment)));
    let properties: Vec<_> =
        before.segments.iter().filter(|segment| segment.p_type == program_header::PT_GNU_PROPERTY).collect();
    for mut wanted in others(before) {
        let is_note = changes && old_notes.is_own(&wanted);
        let repeats_property = wanted.p_type == program_header::PT_NOTE
            && properties.iter().any(|found| found.p_offset == wanted.p_offset && found.p_filesz == wanted.p_filesz);
        // What PT_GNU_RELRO or a header of another kind says of .dynamic's old place stays: those bytes stay, too.
        let is_other = wanted.p_type != program_header::PT_DYNAMIC && before.dynamic_range.contains(&wanted.p_offset);
        let may_move = wanted.p_filesz > 0 && wanted.p_type != program_header::PT_GNU_RELRO && !is_other;
        if let Some((offset, addr)) = moved(plan, wanted.p_offset).filter(|_| may_move) {
            (wanted.p_offset, wanted.p_vaddr, wanted.p_paddr) = (offset, addr, addr);
            if wanted.p_type == program_header::PT_DYNAMIC {
                let grown = after.dynamic_range.end.saturating_sub(after.dynamic_range.start).max(wanted.p_filesz);
                (wanted.p_filesz, wanted.p_memsz) = (grown, grown);
            }
        }
        match remaining.iter().position(|found| *found == wanted) {
            Some(index) => {
                remaining.remove(index);
            }
            None if repeats_property || is_note => {}
            None => return Err(format!("the program header of type {:#x} is not the one meant", wanted.p_type)),
        }
    }
    if remaining.is_empty() { Ok(()) } else { Err("a program header too many".into()) }
}
