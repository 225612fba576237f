//! The resolution note of the planned file: absent, or what was meant.
//!
//! Reads notes on its own, word by word: what the editor takes for the end of a damaged row must not decide here, too.

use std::ops::Range;

use goblin::elf::program_header::{self, ProgramHeader};
use goblin::elf::section_header::{self, SectionHeader};

use super::overlay::Overlay;
use super::reading::{Reading, moved};
use crate::plan::{NoteChange, NoteOutcome, Plan};

const OWNER: &[u8] = b"NixOS\0";
const KIND: u32 = 0x63a8_6cb6;
const SECTION: &[u8] = b".note.nixos.ldcache";
/// The name of the section of a note that is gone.
const TAIL: &[u8] = b".ldcache";

/// A note in a `PT_NOTE`.
pub(super) struct Note {
    segment: ProgramHeader,
    /// Its bytes in the file, with the padding.
    range: Range<u64>,
    descriptor: Range<u64>,
    /// Whether the segment has nothing else.
    is_alone: bool,
}

/// The notes of a file, and the sections that patchelf takes for one.
pub(super) struct Notes {
    found: Vec<Note>,
    sections: Vec<usize>,
    /// The bytes of those that no program header shows.
    bare: Vec<Range<u64>>,
    /// Sections whose note is gone.
    vacant: Vec<usize>,
}

impl Notes {
    pub(super) fn of(file: &Overlay<'_>, reading: &Reading) -> Result<Self, String> {
        let mut found = Vec::new();
        for segment in reading.segments.iter().filter(|segment| segment.p_type == program_header::PT_NOTE) {
            let mut places = vec![segment.p_offset];
            places.extend(reading.offset_of(segment.p_vaddr).filter(|at| *at != segment.p_offset));
            for at in places {
                // Behind the end of the file, there is no note.
                if let Ok(window) = file.read(at, segment.p_filesz) {
                    found.extend(notes_in(&window, at, segment, reading));
                }
            }
        }
        let (mut sections, mut vacant) = (Vec::new(), Vec::new());
        let names = reading.sections.get(usize::from(reading.header.e_shstrndx));
        let names = names.filter(|names| reading.has_bytes(names));
        let names = names.and_then(|names| file.read(names.sh_offset, names.sh_size).ok()).unwrap_or_default();
        for (index, section) in reading.sections.iter().enumerate() {
            let from = names.get(section.sh_name..).unwrap_or_default();
            let Some(name) = from.iter().position(|byte| *byte == 0).and_then(|end| from.get(..end)) else { continue };
            if name == SECTION {
                sections.push(index);
            } else if name == TAIL {
                vacant.push(index);
            }
        }
        let shown = |range: &Range<u64>| {
            let mut notes = reading.segments.iter().filter(|segment| segment.p_type == program_header::PT_NOTE);
            notes.any(|note| note.p_offset < range.end && range.start < note.p_offset.saturating_add(note.p_filesz))
        };
        let named = sections.iter().filter_map(|index| reading.sections.get(*index));
        let ranges = named.filter(|section| section.sh_type == section_header::SHT_NOTE);
        let ranges = ranges.map(|section| section.sh_offset..section.sh_offset.saturating_add(section.sh_size));
        let bare = ranges.filter(|range| !shown(range)).collect();
        Ok(Self { found, sections, bare, vacant })
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty() && self.sections.is_empty()
    }

    /// What becomes zero, wherever it is afterwards.
    pub(super) fn erased(&self, plan: &Plan<'_>) -> Vec<Range<u64>> {
        if matches!(plan.note, NoteOutcome::None | NoteOutcome::Kept) {
            return Vec::new();
        }
        self.found.iter().map(|note| note.range.clone()).chain(self.bare.iter().cloned()).collect()
    }

    /// Whether this program header shows such a note and nothing else.
    pub(super) fn is_own(&self, segment: &ProgramHeader) -> bool {
        self.found.iter().any(|note| note.segment == *segment && note.is_alone)
    }

    /// Where edits may write: the notes, and the sections that are taken for one; and where one of them becomes `new`,
    /// what that has, but for bytes of other sections.
    pub(super) fn places(&self, reading: &Reading, new: &Self) -> Vec<Range<u64>> {
        let sections = self.sections.iter().chain(&self.vacant).filter_map(|index| reading.sections.get(*index));
        let sections = sections.filter(|section| section.sh_type != section_header::SHT_NOBITS);
        let ranges = sections.map(|section| section.sh_offset..section.sh_offset.saturating_add(section.sh_size));
        let mut places: Vec<Range<u64>> = ranges.chain(self.found.iter().map(|note| note.range.clone())).collect();
        let in_use = |range: &Range<u64>| {
            reading.sections.iter().enumerate().any(|(index, section)| {
                let end = section.sh_offset.saturating_add(section.sh_size);
                !self.sections.contains(&index)
                    && reading.has_bytes(section)
                    && section.sh_offset < range.end
                    && range.start < end
            })
        };
        places.extend(new.found.iter().map(|note| note.range.clone()).filter(|range| !in_use(range)));
        places
    }

    /// What section header `index` has to be afterwards, if it is that of a note or was that of one.
    pub(super) fn wanted_section(
        &self,
        index: usize,
        old: &SectionHeader,
        new: &SectionHeader,
        plan: &Plan<'_>,
    ) -> Option<SectionHeader> {
        let cut = SECTION.len() - TAIL.len();
        let is_note = self.sections.contains(&index);
        match plan.note {
            NoteOutcome::Dropped if is_note => {
                let kind = if new.sh_type == section_header::SHT_PROGBITS { new.sh_type } else { old.sh_type };
                Some(SectionHeader { sh_name: old.sh_name.saturating_add(cut), sh_type: kind, ..old.clone() })
            }
            // Where it is, `check` compares with the program header.
            NoteOutcome::Renewed if is_note => Some(SectionHeader {
                sh_offset: new.sh_offset,
                sh_addr: new.sh_addr,
                sh_size: new.sh_size,
                ..old.clone()
            }),
            NoteOutcome::Written if self.vacant.contains(&index) => Some(new.clone()),
            _ => None,
        }
    }
}

/// The notes of ours in a segment whose bytes are `window`, at `at` of the file.
fn notes_in(window: &[u8], at: u64, segment: &ProgramHeader, reading: &Reading) -> Vec<Note> {
    let align = if segment.p_align == 8 { 8 } else { 4 };
    let is_little = reading.header.e_ident.get(5) == Some(&1);
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().ok()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let mut found = Vec::new();
    let (mut start, mut count) = (0usize, 0);
    let mut next = || {
        let owner = start.checked_add(12)?;
        let header = window.get(start..owner)?;
        let (names, kind) = (word(header.get(..4)?)?, word(header.get(8..)?)?);
        let owner_end = owner.checked_add(usize::try_from(names).ok()?)?;
        let inside = owner_end.checked_sub(start)?.checked_next_multiple_of(align)?;
        let descriptor = start.checked_add(inside)?;
        let descriptor_end = descriptor.checked_add(usize::try_from(word(header.get(4..8)?)?).ok()?)?;
        window.get(descriptor..descriptor_end)?;
        let is_ours = window.get(owner..owner_end)? == OWNER && kind == KIND;
        let len = descriptor_end.checked_sub(start)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(len)?.min(window.len());
        let file = |range: Range<usize>| at.saturating_add(range.start as u64)..at.saturating_add(range.end as u64);
        let note = Note {
            segment: segment.clone(),
            range: file(start..end),
            descriptor: file(descriptor..descriptor_end),
            is_alone: false,
        };
        start = end;
        Some(is_ours.then_some(note))
    };
    while let Some(note) = next() {
        count += 1;
        found.extend(note);
    }
    let is_alone = count == 1 && start == window.len();
    found.into_iter().map(|note| Note { is_alone, ..note }).collect()
}

/// Compares the planned file's note with what the plan says of it.
pub(super) fn check(
    planned: &Overlay<'_>,
    (before, old): (&Reading, &Notes),
    (after, new): (&Reading, &Notes),
    plan: &Plan<'_>,
) -> Result<(), String> {
    match (plan.note, &plan.change.note) {
        (NoteOutcome::None, NoteChange::Drop | NoteChange::Renew(_)) if old.is_empty() => absent(new),
        (NoteOutcome::Dropped, NoteChange::Drop | NoteChange::Renew(_)) if !old.is_empty() => {
            absent(new)?;
            erased(planned, old, None, plan)
        }
        (NoteOutcome::Kept | NoteOutcome::Renewed, NoteChange::Renew(wanted)) if !old.is_empty() => {
            let place = present(planned, after, new, wanted)?;
            if plan.note == NoteOutcome::Renewed { erased(planned, old, Some(place), plan) } else { Ok(()) }
        }
        (NoteOutcome::Written, NoteChange::Write(wanted)) if old.is_empty() => {
            present(planned, after, new, wanted)?;
            let had = before.sections.len().saturating_add(usize::from(old.vacant.is_empty()));
            if after.sections.len() == had { Ok(()) } else { Err("a section too many".into()) }
        }
        _ => Err("the resolution note is not treated as meant".into()),
    }
}

fn absent(notes: &Notes) -> Result<(), String> {
    if notes.is_empty() { Ok(()) } else { Err("a resolution note is still there".into()) }
}

/// That the old notes left no bytes, but for those at `place`, where the new one is.
fn erased(planned: &Overlay<'_>, old: &Notes, place: Option<Range<u64>>, plan: &Plan<'_>) -> Result<(), String> {
    for note in &old.found {
        // With other notes it may have moved, and something else be in its place.
        let at = moved(plan, note.descriptor.start).map_or(note.descriptor.start, |(at, _)| at);
        let bytes = planned.read(at, note.descriptor.end.saturating_sub(note.descriptor.start))?;
        let is_left =
            (at..).zip(&bytes).any(|(at, byte)| *byte != 0 && !place.as_ref().is_some_and(|place| place.contains(&at)));
        if is_left {
            return Err("the old resolution note left bytes".into());
        }
    }
    Ok(())
}

/// That there is one note, and that it says `wanted`; where it is.
fn present(planned: &Overlay<'_>, after: &Reading, notes: &Notes, wanted: &[u8]) -> Result<Range<u64>, String> {
    let [note] = notes.found.as_slice() else { return Err("not one resolution note".into()) };
    let len = note.descriptor.end.saturating_sub(note.descriptor.start);
    if planned.read(note.descriptor.start, len)? != wanted {
        return Err("the resolution note does not say what was meant".into());
    }
    let segment = &note.segment;
    let end = segment.p_vaddr.checked_add(segment.p_filesz).ok_or("a note past 2^64")?;
    let mapped = after.loads().any(|load| {
        let offset = segment.p_vaddr.checked_sub(load.p_vaddr).and_then(|inside| load.p_offset.checked_add(inside));
        let load_end = load.p_vaddr.saturating_add(load.p_filesz);
        load.p_vaddr <= segment.p_vaddr && end <= load_end && offset == Some(segment.p_offset)
    });
    if !mapped || segment.p_filesz != segment.p_memsz || !note.is_alone {
        return Err("the resolution note's PT_NOTE is not mapped".into());
    }
    let is_it = |section: &SectionHeader| {
        (section.sh_offset, section.sh_addr, section.sh_size) == (segment.p_offset, segment.p_vaddr, segment.p_filesz)
            && section.sh_type == section_header::SHT_NOTE
            && section.is_alloc()
    };
    match notes.sections.as_slice() {
        [] if after.sections.is_empty() => Ok(note.range.clone()),
        [index] if after.sections.get(*index).is_some_and(is_it) => Ok(note.range.clone()),
        _ => Err("the resolution note's section does not agree with its PT_NOTE".into()),
    }
}
