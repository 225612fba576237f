//! The resolution note, beside every rung: it must not say what the new search path does not mean.
//!
//! Before anything else the note goes out of the loader's sight: its `PT_NOTE` becomes a `PT_NULL`, or, where that has
//! other notes as well, `n_type` becomes 0; one store. Then its bytes are zeroed: it holds store paths. Then the rung
//! works as for a file without a note. Last, if the note's own segment has the room, the new descriptor is written, and
//! `PT_NOTE` comes back, its type last. Each file between has the old path and the old note, or any path and no note.
//!
//! A note that is gone leaves its bytes, zero, and its section, by another name: patchelf takes any section of the
//! note's name for a note that is out of date. The `PT_LOAD` stays mapped.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::free_space::{can_grow, ends_the_file, may_append, slack_behind, within};
use super::new_note;
use super::{Change, NoFit, NoteChange, NoteOutcome, Obstacle, Refusal, Step};
use crate::elf::{FileOffset, Image, Note, Notes as Row, Section, Vaddr, overlap};
use crate::resolution::{self, Found, Notes};

/// The name that a section has without its note: a tail of [`resolution::SECTION`], so that it need not be written.
pub(super) const TAIL: &[u8] = b".ldcache";
/// Where [`TAIL`] starts in [`resolution::SECTION`].
pub(super) const TAIL_AT: u64 = (resolution::SECTION.len() - TAIL.len()) as u64;

const WHY: &str = "the resolution note";

/// The notes of a file and what is done about them, the same for every rung.
pub(super) struct Opening<'data> {
    /// The file without them, where it has any that must go.
    pub(super) image: Option<Image<'data>>,
    wanted: NoteChange,
    notes: Notes,
    /// The one that can be renewed.
    ordinary: Option<Found>,
    /// It says already what it shall say.
    is_right: bool,
}

impl<'data> Opening<'data> {
    pub(super) fn of(image: &Image<'data>, change: &Change) -> Result<Self, Refusal> {
        let notes = resolution::find(image);
        let ordinary = notes.ordinary(image).cloned();
        let now = ordinary.as_ref().and_then(|note| image.bytes(&note.place.descriptor));
        let is_right = match &change.note {
            NoteChange::Renew(wanted) => now == Some(wanted),
            NoteChange::Drop => false,
            NoteChange::Write(_) if notes.is_empty() => false,
            NoteChange::Write(_) => return Err(Refusal::HasNote),
        };
        let must_go = !notes.is_empty() && !is_right;
        let image = if must_go { Some(hidden(image, &notes)?) } else { None };
        Ok(Self { image, wanted: change.note.clone(), notes, ordinary, is_right })
    }

    /// The first edits.
    pub(super) fn open(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        if self.image.is_none() {
            return Ok(());
        }
        let image = draft.image;
        let p_type = image.encoding.layout.p_type;
        // All out of sight, and last the one that counts, by whatever headers it is found; then the bytes.
        let counts = |note: &&Found| self.notes.found.first().is_some_and(|first| first.place == note.place);
        let (last, first): (Vec<&Found>, Vec<&Found>) = self.notes.found.iter().partition(counts);
        for note in first.into_iter().chain(last) {
            if note.is_alone {
                draft.store_segment(note.segment, p_type, u64::from(elf::PT_NULL.0), WHY)?;
            } else {
                draft.write_first(note.place.kind, vec![0; 4], Step::Store, WHY);
            }
        }
        for note in &self.notes.found {
            let place = &note.place;
            let ranges = if note.is_alone { vec![&place.range] } else { vec![&place.owner, &place.descriptor] };
            for range in ranges {
                draft.write_first(range.start, zeros(range), Step::Fill, WHY);
            }
        }
        // A section of that name whose notes a program header shows are others' notes.
        let is_shown = |range: &Range<FileOffset>| {
            let mut notes = image.segments.iter().filter(|segment| segment.kind == elf::PT_NOTE);
            notes.any(|segment| overlap(&segment.file_range(), range))
                || self.notes.found.iter().any(|note| overlap(&note.place.range, range))
        };
        let bare = self.notes.sections.iter().filter_map(|index| {
            let section = image.sections.get(*index).filter(|section| section.kind == elf::SHT_NOTE)?;
            section.file_range().filter(|range| has_resolution_notes_alone(image, range))
        });
        for range in bare.filter(|range| !is_shown(range)).collect::<Vec<_>>() {
            if check_own(image, &range, None).is_ok() {
                draft.write_first(range.start, zeros(&range), Step::Fill, WHY);
            }
        }
        Ok(())
    }

    /// The last edits.
    pub(super) fn close(&self, draft: &mut Draft<'_, '_>) -> Result<NoteOutcome, NoFit> {
        match &self.wanted {
            NoteChange::Write(descriptor) => {
                new_note::write(draft, descriptor)?;
                return Ok(NoteOutcome::Written);
            }
            _ if self.notes.is_empty() => return Ok(NoteOutcome::None),
            _ if self.is_right => return Ok(NoteOutcome::Kept),
            NoteChange::Renew(descriptor) => {
                let room = self.ordinary.as_ref().and_then(|note| Some((note, room_for(draft, note, descriptor)?)));
                if let Some((note, (at, growth))) = room {
                    self.put_back(draft, note, descriptor, at, growth)?;
                    return Ok(NoteOutcome::Renewed);
                }
            }
            NoteChange::Drop => {}
        }
        let (sh_name, sh_type) = (draft.image.encoding.layout.sh_name, draft.image.encoding.layout.sh_type);
        for &index in &self.notes.sections {
            let Some(section) = draft.image.sections.get(index).copied() else { continue };
            let name = u64::from(section.name).saturating_add(TAIL_AT);
            draft.store_section(index, sh_name, name, WHY)?;
            // Zeros are no row of notes.
            if section.kind == elf::SHT_PROGBITS {
                draft.store_section(index, sh_type, u64::from(elf::SHT_PROGBITS.0), WHY)?;
            }
        }
        Ok(NoteOutcome::Dropped)
    }

    fn put_back(
        &self,
        draft: &mut Draft<'_, '_>,
        note: &Found,
        descriptor: &[u8],
        (at, addr): (FileOffset, Vaddr),
        growth: (usize, u64),
    ) -> Result<(), NoFit> {
        let layout = draft.image.encoding.layout;
        let bytes = resolution::encode(&draft.image.encoding, descriptor)
            .ok_or_else(|| NoFit::of(Obstacle::Field, "n_descsz"))?;
        let len = bytes.len() as u64;
        draft.fill(at, bytes, WHY);
        if growth.1 > 0 {
            draft.grow_segment(growth.0, growth.1)?;
        }
        let fields = [
            (layout.p_offset, at.0),
            (layout.p_vaddr, addr.0),
            (layout.p_paddr, addr.0),
            (layout.p_memsz, len),
            (layout.p_filesz, len),
            (layout.p_type, u64::from(elf::PT_NOTE.0)),
        ];
        for (field, value) in fields {
            draft.store_segment(note.segment, field, value, WHY)?;
        }
        for &index in &self.notes.sections {
            draft.place_section(index, at, addr)?;
            draft.store_section(index, layout.sh_size, len, WHY)?;
        }
        Ok(())
    }
}

fn zeros(range: &Range<FileOffset>) -> Vec<u8> {
    vec![0; usize::try_from(range.end.0.saturating_sub(range.start.0)).unwrap_or(0)]
}

/// Whether `range` is a row of resolution notes, whole, and of nothing else: a damaged header may say so of any table.
fn has_resolution_notes_alone(image: &Image<'_>, range: &Range<FileOffset>) -> bool {
    let bytes = image.bytes(range).unwrap_or_default();
    let mut row = Row::new(&image.encoding, bytes, resolution::ALIGN);
    let is_ours = |note: Note<'_>| note.owner == resolution::OWNER && note.kind == u64::from(resolution::KIND);
    !bytes.is_empty() && row.by_ref().all(is_ours) && row.rest().is_empty()
}

/// The file without its notes, for the rungs; refused where a note shares bytes with something else.
fn hidden<'data>(image: &Image<'data>, notes: &Notes) -> Result<Image<'data>, Refusal> {
    let mut segments = Vec::new();
    let mut sections = Vec::new();
    for note in &notes.found {
        check_own(image, &note.place.range, Some(&notes.sections))?;
        if note.is_alone {
            segments.push(note.segment);
            let range = &note.place.range;
            let held = |index: &&usize| {
                let section = image.sections.get(**index).and_then(Section::file_range);
                section.is_some_and(|section| overlap(&section, range))
            };
            sections.extend(notes.sections.iter().filter(held).copied());
        }
    }
    Ok(image.without_notes(&segments, &sections))
}

/// Whether `range` can be zeroed: no header table, no table that a loader reads and no section but one of notes has it.
fn check_own(image: &Image<'_>, range: &Range<FileOffset>, named: Option<&[usize]>) -> Result<(), Refusal> {
    const NOTE: &str = "the resolution note";
    let entries = (image.dynamic.capacity as u64).saturating_mul(image.encoding.layout.dyn_size);
    let tables = [
        ("the ELF header", FileOffset(0).range(image.encoding.layout.ehdr_size)),
        ("the program header table", Some(image.segment_table_range())),
        ("the section header table", image.sections.place.clone()),
        (".shstrtab", image.sections.names.clone()),
        (".dynamic", image.dynamic.offset.range(entries)),
        (".dynstr", Some(image.strings.range.clone())),
    ];
    for (name, table) in tables {
        if table.is_some_and(|table| overlap(&table, range)) {
            return Err(Refusal::Overlap(NOTE, name));
        }
    }
    let others = image.sections.iter().enumerate().filter(|(index, section)| {
        let is_named = match named {
            Some(named) => named.contains(index),
            None => image.section_name(section) == resolution::SECTION,
        };
        !is_named && section.kind != elf::SHT_NOTE
    });
    if others.filter_map(|(_, section)| section.file_range()).any(|section| overlap(&section, range)) {
        return Err(Refusal::Overlap(NOTE, "a section"));
    }
    let is_other = |kind| !matches!(kind, elf::PT_LOAD | elf::PT_NOTE | elf::PT_NULL | elf::PT_GNU_RELRO);
    let mut others = image.segments.iter().filter(|segment| is_other(segment.kind));
    match others.any(|segment| overlap(&segment.file_range(), range)) {
        true => Err(Refusal::Overlap(NOTE, "a segment")),
        false => Ok(()),
    }
}

/// A place for the new descriptor in the segment that holds the note: where the note was, or behind all that the segment
/// holds by now. With it, the segment and by how much it has to grow.
#[allow(clippy::type_complexity)]
fn room_for(draft: &Draft<'_, '_>, note: &Found, descriptor: &[u8]) -> Option<((FileOffset, Vaddr), (usize, u64))> {
    let image = draft.image;
    let header = image.segment_field(note.segment, image.encoding.layout.p_offset)?;
    // The rung may have taken the program header for its new segment; p_type, in front, is what the first edit wrote.
    let taken = header.range(image.encoding.layout.phdr_size.checked_sub(image.encoding.layout.p_offset.at)?)?;
    if draft.has_written(&taken) {
        return None;
    }
    let len = resolution::encode(&image.encoding, descriptor)?.len() as u64;
    let place = &note.place.range;
    let addr = image.segments.get(note.segment)?.vaddr;
    let old_len = place.end.checked_since(place.start)?;
    let (index, load) = image.loads().find(|(_, load)| within(place, &load.file_range()))?;
    if len <= old_len {
        return Some(((place.start, addr), (index, 0)));
    }
    if !can_grow(load) {
        return None;
    }
    let grown = draft.growth_of(index);
    let end = load.file_range().end.checked_add(grown)?;
    let end_addr = load.addresses().end.checked_add(grown)?;
    // A segment that the rung has added begins with the page of what lies in it.
    let added = draft.moves().iter().map(|table| table.addr).filter(|addr| *addr >= end_addr).min();
    let added = added.map(|addr| addr.round_down(image.largest_page()));
    let is_free = |growth: u64| {
        let wanted = grown.checked_add(growth)?;
        let new_end = end_addr.checked_add(growth)?;
        added.is_none_or(|start| new_end <= start).then_some(())?;
        let in_slack = slack_behind(image, index, wanted).is_some_and(|slack| slack.len >= wanted);
        let addresses = match image.next_load_page(load.addresses().end) {
            Some(next) => next.checked_since(load.addresses().end)? >= wanted,
            None => true,
        };
        let at_end = addresses && ends_the_file(image, load) && may_append(image).is_ok();
        let nothing_behind = draft.file_end().0 <= end.0.max(image.file_end().0);
        // What rung *slot* parks in the slack is not in use any more.
        (in_slack || at_end && nothing_behind).then_some(())
    };
    if grown == 0 && place.end == load.file_range().end {
        let growth = len.checked_sub(old_len)?;
        is_free(growth)?;
        return Some(((place.start, addr), (index, growth)));
    }
    let pad = end_addr.checked_round_up(resolution::ALIGN)?.checked_since(end_addr)?;
    let growth = pad.checked_add(len)?;
    is_free(growth)?;
    Some(((end.checked_add(pad)?, end_addr.checked_add(pad)?), (index, growth)))
}
