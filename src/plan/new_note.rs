//! A resolution note for a file that has none, and keeps its search path.
//!
//! Needs: section headers; a `PT_NOTE`, from a program header that means nothing, from a gap behind the table, or as in
//! rung *append + head*; a place for the note: unused bytes behind a segment that is not writable, or the segment that
//! ends the file, or a new one. A section header with the note's name, by which patchelf finds it: its own one if a note
//! was there before, else a new one at the end of the table, for which the names, and often the table, move to the end of
//! the file. Edits: those. Safe because a loader sees the note when all of it is there.

use std::ops::Range;

use object::elf;

use super::append::{grow_table, is_free, new_segment};
use super::draft::Draft;
use super::free_space::{can_grow, ends_the_file, may_append, slack_behind};
use super::head;
use super::resolution_note::{TAIL, TAIL_AT};
use super::{NoFit, Obstacle};
use crate::elf::class::Field;
use crate::elf::{FileOffset, Image, Segment, Vaddr, overlap};
use crate::resolution::{self, SECTION};

const WHY: &str = "the resolution note";

/// The note's place and bytes.
pub(super) struct NewNote {
    pub(super) at: FileOffset,
    pub(super) addr: Vaddr,
    pub(super) bytes: Vec<u8>,
}

impl NewNote {
    pub(super) fn end(&self) -> FileOffset {
        FileOffset(self.at.0.saturating_add(self.bytes.len() as u64))
    }

    /// Its program header.
    pub(super) fn header(&self) -> Segment {
        let size = self.bytes.len() as u64;
        Segment {
            kind: elf::PT_NOTE,
            flags: elf::PF_R,
            offset: self.at,
            vaddr: self.addr,
            paddr: self.addr,
            filesz: size,
            memsz: size,
            align: resolution::ALIGN,
        }
    }
}

fn past() -> NoFit {
    NoFit::of(Obstacle::Field, "file offset past 2^64")
}

/// Writes a note with this descriptor.
pub(super) fn write(draft: &mut Draft<'_, '_>, descriptor: &[u8]) -> Result<(), NoFit> {
    let image = draft.image;
    may_append(image)?;
    if image.sections.is_empty() {
        return Err(NoFit::of(Obstacle::Unknown, "without section headers, nobody but a loader would find the note"));
    }
    let bytes =
        resolution::encode(&image.encoding, descriptor).ok_or_else(|| NoFit::of(Obstacle::Field, "n_descsz"))?;
    let header = SectionHeader::choose(image)?;
    let slots = Slots::of(image, &header);
    let one = slots.as_ref().filter(|slots| slots.count() >= 1);
    if let Some((place, slots)) = place(image, bytes.len() as u64).zip(one) {
        let note = NewNote { at: place.at, addr: place.addr, bytes };
        draft.fill(note.at, note.bytes.clone(), WHY);
        draft.grow_segment(place.segment, place.growth)?;
        let layout = header.lay_out(draft, draft.file_end())?;
        header.write(draft, &layout, &note)?;
        return slots.take(draft, &[note.header()]);
    }
    // In front of the new segment, which thus ends the file and can grow at a later run.
    let layout = header.lay_out(draft, draft.file_end())?;
    let segment = new_segment(image, layout.end)?;
    let addr = segment.region.addr.checked_round_up(resolution::ALIGN).ok_or_else(past)?;
    let pad = addr.checked_since(segment.region.addr).ok_or_else(past)?;
    let note = NewNote { at: layout.end.checked_add(pad).ok_or_else(past)?, addr, bytes };
    header.write(draft, &layout, &note)?;
    draft.fill(note.at, note.bytes.clone(), WHY);
    match slots.filter(|slots| slots.count() >= 2) {
        Some(slots) => {
            let size = note.end().checked_since(layout.end).ok_or_else(past)?;
            slots.take(draft, &[segment.header(size), note.header()])
        }
        None => head::attempt_with_note(draft, &segment, &note),
    }
}

/// A place in a segment that is there, and by how much that has to grow.
struct Place {
    segment: usize,
    at: FileOffset,
    addr: Vaddr,
    growth: u64,
}

fn place(image: &Image<'_>, len: u64) -> Option<Place> {
    let candidate = |index: usize, load: &Segment| {
        let (end, end_addr) = (load.file_range().end, load.addresses().end);
        let pad = end_addr.checked_round_up(resolution::ALIGN)?.checked_since(end_addr)?;
        let growth = pad.checked_add(len)?;
        // p_align of the PT_NOTE asks for the same of the file offset.
        let at = end.checked_add(pad).filter(|at| at.0 % resolution::ALIGN == 0)?;
        let in_slack = slack_behind(image, index, growth).is_some_and(|slack| slack.len >= growth);
        let room = image.next_load_page(end_addr).is_none_or(|next| next.0.saturating_sub(end_addr.0) >= growth);
        let at_end = can_grow(load) && room && ends_the_file(image, load);
        let addr = end_addr.checked_add(pad)?;
        (in_slack || at_end).then_some(Place { segment: index, at, addr, growth })
    };
    let readable = |executable: bool| {
        let mut loads =
            image.loads().filter(move |(_, load)| !load.has(elf::PF_W) && load.has(elf::PF_X) == executable);
        loads.find_map(|(index, load)| candidate(index, load))
    };
    readable(false).or_else(|| readable(true))
}

/// Program headers that can be had without moving anything that is loaded.
struct Slots {
    /// Those that mean nothing to anyone, behind the last `PT_LOAD`.
    reused: Vec<usize>,
    /// How many more fit behind the table.
    behind: u64,
}

impl Slots {
    fn of(image: &Image<'_>, headers: &SectionHeader) -> Option<Self> {
        let last_load = image.loads().map(|(index, _)| index).next_back()?;
        let property = image.segments.iter().find(|segment| segment.kind == elf::PT_GNU_PROPERTY);
        let is_spare = |segment: &Segment| {
            let repeats = |property: &Segment| {
                (property.offset, property.filesz) == (segment.offset, segment.filesz) && segment.kind == elf::PT_NOTE
            };
            segment.kind == elf::PT_NULL || property.is_some_and(repeats)
        };
        let all = image.segments.iter().enumerate().filter(|(index, segment)| *index > last_load && is_spare(segment));
        let reused = all.map(|(index, _)| index).collect();
        let fits = |count: &u64| {
            let size = count.checked_mul(image.encoding.layout.phdr_size)?;
            let wanted = image.segment_table_range().end.range(size)?;
            let old_table = image.sections.place.clone().filter(|place| overlap(place, &wanted));
            let clear = match &old_table {
                // Its bytes are free once it has moved.
                Some(place) => headers.moves_table && image.bytes(&(wanted.start..place.start)).is_some_and(is_zero),
                None => image.bytes(&wanted).is_some_and(is_zero),
            };
            let within = old_table.is_none_or(|place| wanted.end <= place.end);
            (clear && within && is_free(image, &wanted)).then_some(*count)
        };
        let behind = [2, 1].iter().find_map(fits).unwrap_or(0);
        Some(Self { reused, behind })
    }

    fn count(&self) -> u64 {
        (self.reused.len() as u64).saturating_add(self.behind)
    }

    /// Writes `headers`, in their order.
    fn take(&self, draft: &mut Draft<'_, '_>, headers: &[Segment]) -> Result<(), NoFit> {
        let appended = (draft.image.segments.len()..).take(usize::try_from(self.behind).unwrap_or(0));
        let mut indices = self.reused.iter().copied().chain(appended);
        let mut added = 0;
        for header in headers {
            let index = indices.next().ok_or_else(|| NoFit::new("no free program header"))?;
            let p_type = draft.image.encoding.layout.p_type;
            if index < draft.image.segments.len() {
                draft.store_segment(index, p_type, u64::from(elf::PT_NULL.0), "p_type of the header that is reused")?;
            } else {
                added += 1;
            }
            head::put_header(draft, index, header)?;
        }
        if added > 0 { grow_table(draft, added) } else { Ok(()) }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The section header that the note gets.
struct SectionHeader {
    /// One whose note is gone.
    vacant: Option<(usize, u64)>,
    /// The note's name in the names of the sections, where it is there already.
    name: Option<u64>,
    /// Whether the table has no room behind it.
    moves_table: bool,
}

impl SectionHeader {
    fn choose(image: &Image<'_>) -> Result<Self, NoFit> {
        let names = image.sections.names.as_ref().and_then(|names| image.bytes(names));
        let names = names.filter(|names| names.last() == Some(&0));
        let names = names.ok_or_else(|| NoFit::new("no names of sections"))?;
        let full = [SECTION, b"\0"].concat();
        let name = memchr::memmem::find(names, &full).map(|at| at as u64);
        let is_vacant = |section: &crate::elf::Section| {
            let start = u64::from(section.name).checked_sub(TAIL_AT);
            image.section_name(section) == TAIL
                && start.is_some_and(|start| crate::elf::string_at(names, start) == Some(SECTION))
                && section.kind == elf::SHT_PROGBITS
        };
        let vacant = image.sections.iter().position(is_vacant);
        let vacant =
            vacant.and_then(|index| Some((index, u64::from(image.sections.get(index)?.name).checked_sub(TAIL_AT)?)));
        let place = image.sections.place.as_ref().ok_or_else(|| NoFit::new("no section header table"))?;
        if image.sections.len() as u64 >= u64::from(elf::SHN_LORESERVE).saturating_sub(1) {
            return Err(NoFit::new("the section header table is full"));
        }
        let is_loaded = image.loads().any(|(_, load)| overlap(&load.file_range(), place));
        let moves_table = vacant.is_none() && (place.end != image.file_end() || is_loaded);
        Ok(Self { vacant, name, moves_table })
    }

    /// Chooses places for the names and the table, from the end of the file on.
    fn lay_out(&self, draft: &Draft<'_, '_>, from: FileOffset) -> Result<Layout, NoFit> {
        let image = draft.image;
        let sizes = image.encoding.layout;
        let mut layout = Layout { names: None, table: None, end: from };
        if self.vacant.is_some() {
            return Ok(layout);
        }
        let table = image.sections.place.clone().ok_or_else(past)?;
        if !self.moves_table {
            layout.end = table.end.checked_add(sizes.shdr_size).ok_or_else(past)?;
        }
        if self.name.is_none() {
            let names = image.sections.names.clone().ok_or_else(past)?;
            layout.names = Some((names.clone(), layout.end));
            let size = names.end.0.saturating_sub(names.start.0).saturating_add(SECTION.len() as u64 + 1);
            layout.end = layout.end.checked_add(size).ok_or_else(past)?;
        }
        if self.moves_table {
            let at = layout.end.checked_round_up(u64::from(sizes.word)).ok_or_else(past)?;
            let size = table.end.0.saturating_sub(table.start.0).saturating_add(sizes.shdr_size);
            (layout.table, layout.end) = (Some(at), at.checked_add(size).ok_or_else(past)?);
        }
        Ok(layout)
    }

    fn write(&self, draft: &mut Draft<'_, '_>, layout: &Layout, note: &NewNote) -> Result<(), NoFit> {
        let sizes = draft.image.encoding.layout;
        let name_at = layout.names.as_ref().map(|(old, _)| old.end.0.saturating_sub(old.start.0));
        let name = match (self.vacant, self.name.or(name_at)) {
            (Some((_, name)), _) | (None, Some(name)) => name,
            (None, None) => return Err(past()),
        };
        let fields = [
            (sizes.sh_name, name),
            (sizes.sh_type, u64::from(elf::SHT_NOTE.0)),
            (sizes.sh_flags, elf::SHF_ALLOC.0),
            (sizes.sh_addr, note.addr.0),
            (sizes.sh_offset, note.at.0),
            (sizes.sh_size, note.bytes.len() as u64),
            (sizes.sh_addralign, resolution::ALIGN),
        ];
        if let Some((index, _)) = self.vacant {
            return fields.iter().try_for_each(|(field, value)| draft.store_section(index, *field, *value, WHY));
        }
        if let Some((old, at)) = &layout.names {
            draft.copy(old.clone(), *at, "the names of the sections");
            let end = at.checked_add(name).ok_or_else(past)?;
            draft.fill(end, [SECTION, b"\0"].concat(), "the names of the sections");
        }
        if let Some(at) = layout.table {
            draft.move_section_table(at)?;
        }
        let count = draft.image.sections.len() as u64;
        let table = layout.table.or(draft.image.sections.place.as_ref().map(|place| place.start)).ok_or_else(past)?;
        let entry = count.checked_mul(sizes.shdr_size).and_then(|size| table.checked_add(size)).ok_or_else(past)?;
        let bytes = encoded(draft, sizes.shdr_size, &fields)?;
        draft.fill(entry, bytes, "the section header of the resolution note");
        if let (Some((_, at)), Some(index)) = (&layout.names, draft.image.sections.names_index) {
            let size = name.saturating_add(SECTION.len() as u64 + 1);
            draft.store_section(index, sizes.sh_offset, at.0, "the names of the sections")?;
            draft.store_section(index, sizes.sh_size, size, "the names of the sections")?;
        }
        draft.store_header(sizes.e_shnum, count.saturating_add(1), "e_shnum")
    }
}

/// Where the names of the sections move from and to, where the table moves to, and the end of both.
struct Layout {
    names: Option<(Range<FileOffset>, FileOffset)>,
    table: Option<FileOffset>,
    end: FileOffset,
}

/// The bytes of a struct of `size` bytes with these fields.
fn encoded(draft: &Draft<'_, '_>, size: u64, fields: &[(Field, u64)]) -> Result<Vec<u8>, NoFit> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    for (field, value) in fields {
        let value = draft
            .image
            .encoding
            .bytes(*value, field.size)
            .ok_or_else(|| NoFit::of(Obstacle::Field, "a field of the section header"))?;
        let place = usize::try_from(field.at).ok().and_then(|at| bytes.get_mut(at..at.checked_add(value.len())?));
        place.ok_or_else(past)?.copy_from_slice(&value);
    }
    Ok(bytes)
}
