//! Rule 11: a resolution note is absent, or says what the new search path means.
//!
//! The other rules judge both files without their notes: [`masked`].

use super::image::Image;
use super::{Findings, Objection};
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::{SHT_DYNSYM, SHT_NOTE, SHT_SYMTAB};
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

const SECTION: &[u8] = b".note.nixos.ldcache";
const TAIL: &[u8] = b".ldcache";
const OWNER: &[u8] = b"NixOS\0";
const KIND: u64 = 0x63a8_6cb6;

/// A note that a loader or patchelf finds.
struct Note {
    header: usize,
    all: Range<u64>,
    descriptor: Range<u64>,
    is_alone: bool,
}

/// The notes of all `PT_NOTE`, by address and by offset.
fn notes(image: &Image) -> Vec<Note> {
    let mut found = Vec::new();
    for (header, segment) in image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == PT_NOTE) {
        let mut starts = vec![segment.offset];
        starts.extend(image.offset_of(segment.vaddr, segment.filesz).filter(|at| *at != segment.offset));
        for start in starts {
            let Some(bytes) = image.slice(start, segment.filesz) else { continue };
            let align = if segment.align == 8 { 8 } else { 4 };
            let mut row = Vec::new();
            let mut at = 0;
            while let Some(end) = read(image, bytes, at, align, &mut row) {
                at = end;
            }
            let is_named = |other: &(usize, &super::Segment)| {
                let range = other.1.file_range();
                other.0 != header && range.start < start + segment.filesz && start < range.end
            };
            let others = image.segments.iter().enumerate().filter(|(_, s)| s.kind != 0 && s.kind != 1);
            let is_alone = row.len() == 1 && at == bytes.len() && !others.into_iter().any(|other| is_named(&other));
            for (all, descriptor) in row.into_iter().flatten() {
                let place = |range: Range<usize>| start + range.start as u64..start + range.end as u64;
                found.push(Note { header, all: place(all), descriptor: place(descriptor), is_alone });
            }
        }
    }
    found
}

/// Reads one note at `at`; its end. Puts it into `row` if it is one of ours, else a gap.
#[allow(clippy::type_complexity)]
fn read(
    image: &Image,
    bytes: &[u8],
    at: usize,
    align: usize,
    row: &mut Vec<Option<(Range<usize>, Range<usize>)>>,
) -> Option<usize> {
    let number = |inside: usize| Some(image.number(bytes.get(at + inside..at + inside + 4)?));
    let (owner, descriptor) = (number(0)? as usize, number(4)? as usize);
    let kind = number(8)?;
    let start = at + (12 + owner).next_multiple_of(align);
    let end = start + descriptor;
    bytes.get(start..end)?;
    let is_ours = bytes.get(at + 12..at + 12 + owner)? == OWNER && kind == KIND;
    let behind = (at + (end - at).next_multiple_of(align)).min(bytes.len());
    row.push(is_ours.then_some((at..behind, start..end)));
    Some(behind)
}

/// Whether a section only has the note's name, or had it: no row of resolution notes, nor the zeros that are left of one.
fn is_other(image: &Image, index: usize) -> bool {
    let section = image.sections[index];
    let Some(bytes) = image.slice(section.offset, section.size).filter(|_| section.has_file_bytes()) else {
        return false;
    };
    let (mut row, mut at) = (Vec::new(), 0);
    while let Some(end) = read(image, bytes, at, 4, &mut row) {
        at = end;
    }
    let is_ours = section.kind == SHT_NOTE && at == bytes.len() && !row.is_empty() && row.iter().all(Option::is_some);
    !is_ours && bytes.iter().any(|byte| *byte != 0)
}

fn sections(image: &Image, name: &[u8]) -> Vec<usize> {
    let all = image.sections.iter().enumerate();
    all.filter(|(index, _)| image.section_name(*index).as_bytes() == name).map(|(index, _)| index).collect()
}

/// The file without its notes, and without the sections that are or were one.
pub fn masked(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Ok(image) = Image::read(bytes) else { return Cow::Borrowed(bytes) };
    let notes = notes(&image);
    let named = [sections(&image, SECTION), sections(&image, TAIL)].concat();
    if notes.is_empty() && named.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let mut file = bytes.to_vec();
    let mut zero = |range: Range<u64>| {
        if let Some(bytes) = file.get_mut(range.start as usize..range.end as usize) {
            bytes.fill(0);
        }
    };
    for note in &notes {
        if note.is_alone {
            let header = image.phoff + note.header as u64 * image.phentsize;
            zero(header..header + image.phentsize);
            zero(note.all.clone());
        } else {
            // n_type and the owner, and the descriptor; the sizes are needed to read on.
            zero(note.all.start + 8..note.descriptor.end);
        }
    }
    for index in named {
        let section = image.sections[index];
        let header = image.shoff + index as u64 * image.shentsize;
        // Where a PT_NOTE shows it, the notes in it are others'.
        let overlaps = |range: Range<u64>| range.start < section.file_range().end && section.offset < range.end;
        let is_shown = image.segments.iter().any(|segment| segment.kind == PT_NOTE && overlaps(segment.file_range()));
        let in_note = notes.iter().any(|note| overlaps(note.all.clone()));
        if !is_shown && !in_note && is_other(&image, index) {
            // It loses its name alone.
            zero(header..header + 4);
            continue;
        }
        for value in symbols_in(&image, index) {
            zero(value);
        }
        // Zeroed within a row of other notes, it goes on to say how long it was.
        let in_row = section.kind == SHT_NOTE && image.section_name(index).as_bytes() == TAIL;
        if section.has_file_bytes()
            && !in_note
            && !in_row
            && !is_shown
            && section.file_range().end <= bytes.len() as u64
        {
            zero(section.file_range());
        }
        zero(header..header + image.shentsize);
    }
    Cow::Owned(file)
}

/// Both files without their notes. Where the section headers have moved, the bytes of the old table stay.
pub fn masked_pair<'a>(before: &'a [u8], after: &'a [u8]) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
    let (old, mut new) = (masked(before), masked(after));
    if let (Ok(was), Ok(is)) = (Image::read(before), Image::read(after))
        && was.shoff != is.shoff
        && matches!(old, Cow::Owned(_))
    {
        let holds = |image: &Image, at: u64| {
            image.loads().any(|load| load.file_range().contains(&at))
                || image.sections.iter().any(|s| s.has_file_bytes() && s.file_range().contains(&at))
        };
        for at in was.shdr_range() {
            // What something else has by now is the same by chance alone.
            let is_taken = holds(&is, at) && !holds(&was, at);
            let index = at as usize;
            let is_left = before.get(index) == after.get(index) && !is_taken;
            if is_left && new.get(index) != old.get(index) && index < new.len() {
                new.to_mut()[index] = old[index];
            }
        }
    }
    if let (Ok(was), Ok(is)) = (Image::read(before), Image::read(after)) {
        without_new_section(&was, &is, &mut new);
        let is_written = is.sections.len() == was.sections.len() + 1;
        let table = was.shdr_range();
        let made_way = is.phdr_range().end > table.start && is.phdr_range().start < table.end;
        if is_written && was.shoff != is.shoff && !made_way {
            // The longer table is at another place: back with what is the old one's.
            let new = new.to_mut();
            let at = is.shoff as usize;
            let len = (table.end - table.start) as usize;
            new.copy_within(at..at + len, table.start as usize);
            new[at..is.shdr_range().end as usize].fill(0);
            let field = was.shoff_field();
            let field = field.start as usize..field.end as usize;
            new[field.clone()].copy_from_slice(&before[field]);
        }
    }
    (old, new)
}

/// Takes the section header of a new note out of the edited file, and puts the names of the sections back, which have
/// moved to get one more.
fn without_new_section(was: &Image, is: &Image, new: &mut Cow<'_, [u8]>) {
    let last = is.sections.len().wrapping_sub(1);
    if is.sections.len() != was.sections.len() + 1 || sections(is, SECTION) != [last] {
        return;
    }
    let count = if is.wide { 60 } else { 48 };
    new.to_mut()[count..count + 2].copy_from_slice(&was.bytes[count..count + 2]);
    let names = (was.names_section(), is.names_section());
    let (Some((index, old)), Some((other, now))) = names else { return };
    if (index, old.size + SECTION.len() as u64 + 1) != (other, now.size) || old.offset == now.offset {
        return;
    }
    let bytes = (was.content(&old), is.content(&now));
    if let (Some(old_names), Some(new_names)) = bytes
        && new_names.strip_prefix(old_names) == Some(&[SECTION, b"\0"].concat())
    {
        new.to_mut()[now.offset as usize..(now.offset + now.size) as usize].fill(0);
        let width = is.word_size() as usize;
        let (offset, size) = if is.wide { (24, 32) } else { (16, 20) };
        let header = |image: &Image| (image.shoff + index as u64 * image.shentsize) as usize;
        for field in [offset, size] {
            let from = header(was) + field;
            let to = header(is) + field;
            new.to_mut()[to..to + width].copy_from_slice(&was.bytes[from..from + width]);
        }
    }
}

/// Where the values of the symbols are that lie in section `index`.
fn symbols_in(image: &Image, index: usize) -> Vec<Range<u64>> {
    let (size, value, number) = if image.wide { (24, 8, 6) } else { (16, 4, 14) };
    let tables = image.sections.iter().filter(|s| matches!(s.kind, SHT_SYMTAB | SHT_DYNSYM));
    let entries = tables.flat_map(|table| (0..table.size / size).map(|entry| table.offset + entry * size));
    let here = entries.filter(|entry| image.uint(entry + number, 2) == Some(index as u64));
    here.map(|entry| entry + value..entry + value + image.word_size()).collect()
}

/// The descriptor that a loader reads.
pub fn descriptor<'a>(image: &Image<'a>) -> Option<&'a [u8]> {
    let found = notes(image);
    let first = found.first()?;
    image.slice(first.descriptor.start, first.descriptor.end - first.descriptor.start)
}

/// Judges the note of the edited file; `wanted` is what a right one says.
pub fn judge_note(before: &[u8], after: &[u8], wanted: Option<&[u8]>) -> Vec<Objection> {
    let mut findings = Findings::default();
    let (Ok(old), Ok(new)) = (Image::read(before), Image::read(after)) else { return findings.objections };
    let found = notes(&new);
    let named = sections(&new, SECTION);
    if found.is_empty() && named.is_empty() {
        leftovers(&old, after, &mut findings);
        return findings.objections;
    }
    let [note] = found.as_slice() else {
        findings.object(11, format!("{} resolution notes and {} sections of one", found.len(), named.len()));
        return findings.objections;
    };
    let says = new.slice(note.descriptor.start, note.descriptor.end - note.descriptor.start);
    if says != wanted {
        findings.object(11, "the resolution note says something else".into());
    }
    let segment = new.segments[note.header];
    if new.offset_of(segment.vaddr, segment.memsz) != Some(segment.offset) {
        findings.object(11, "the resolution note is not mapped".into());
    }
    for index in &named {
        let section = new.sections[*index];
        let is_outside = |value: Range<u64>| {
            new.word(value.start).is_none_or(|at| at < section.addr || section.addr + section.size < at)
        };
        if symbols_in(&new, *index).into_iter().any(is_outside) {
            findings.object(11, "a symbol of the resolution note's section lies outside it".into());
        }
    }
    let agrees = |index: &usize| {
        let section = new.sections[*index];
        section.kind == SHT_NOTE
            && section.is_alloc()
            && section.file_range() == segment.file_range()
            && section.addr == segment.vaddr
    };
    let is_right = named.len() == 1 && named.iter().all(agrees);
    if !new.sections.is_empty() && !is_right {
        findings.object(11, "the section of the resolution note does not agree with its PT_NOTE".into());
    }
    findings.objections
}

/// The places that the old notes named, anywhere in the new file: a store path keeps its package in the closure.
fn leftovers(old: &Image, after: &[u8], findings: &mut Findings) {
    const SHORTEST: usize = 8;
    let before = masked(old.bytes);
    for note in notes(old) {
        let Some(bytes) = old.slice(note.descriptor.start, note.descriptor.end - note.descriptor.start) else {
            continue;
        };
        for place in bytes.split(|byte| matches!(byte, 0 | b':')).filter(|place| place.len() >= SHORTEST) {
            // Without the mark, it can be the search path, which is another rule's.
            if memmem::find(after, place).is_some() && memmem::find(&before, place).is_none() && place.starts_with(b"=")
            {
                findings.object(11, format!("{} is left of the old resolution note", super::image::text(place)));
            }
        }
    }
}
