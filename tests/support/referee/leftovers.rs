//! Rule 8: the old search path is gone; rule 10: the build-id note is in the first page.

use super::bytes::{overlap, path_bytes};
use super::dynamic::Dynamic;
use super::image::{Image, text};
use super::pieces::{Piece, pieces};
use super::segments::{Note, segment_notes};
use super::tables::is_filler;
use super::{File, Findings};
use goblin::elf::dynamic::DT_STRTAB;
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::program_header::PT_NOTE;
use std::ops::Range;

/// Shorter strings than this are found by chance.
const SHORTEST: usize = 8;

/// Looks for what should be gone, and for what should be in front.
pub fn compare(before: &File, after: &File, findings: &mut Findings) {
    build_id(before.image, after.image, findings);
    let (Some(old), Some(new)) = (&before.dynamic, &after.dynamic) else {
        return;
    };
    let (was, is) = (strings_of(old), strings_of(new));
    let (Some(was), Some(is)) = (was, is) else {
        return;
    };
    let hunt = Hunt {
        before,
        after,
        old,
        new,
        was,
        is,
        live_before: old.live_strings(false),
        live_after: new.live_strings(true),
        pieces: pieces(after.image, Some(new)),
    };
    hunt.old_bytes(findings);
    hunt.old_entries(findings);
}

/// The file bytes of `DT_STRTAB`.
fn strings_of(dynamic: &Dynamic) -> Option<Range<u64>> {
    dynamic.extent(DT_STRTAB)
}

struct Hunt<'f, 'a> {
    before: &'f File<'f, 'a>,
    after: &'f File<'f, 'a>,
    old: &'f Dynamic<'f, 'a>,
    new: &'f Dynamic<'f, 'a>,
    was: Range<u64>,
    is: Range<u64>,
    live_before: Vec<bool>,
    live_after: Vec<bool>,
    pieces: Vec<Piece>,
}

impl Hunt<'_, '_> {
    /// The very bytes of each old search path, in both copies of the string table.
    fn old_bytes(&self, findings: &mut Findings) {
        for (tag, at, path) in self.old.search_paths() {
            let Some(path) = path else { continue };
            // A path that stays stays where it is.
            let is_kept = |p: &(u64, u64, Option<&[u8]>)| (p.1, p.2) == (at, Some(path));
            if self.new.search_paths().iter().any(is_kept) {
                continue;
            }
            let range = at..at + path.len() as u64;
            let name = super::dynamic::tag_name(tag);
            let stays = |start: u64, is_used: &dyn Fn(u64) -> bool| {
                range.clone().find(|&index| {
                    let byte = self.after.image.uint(start + index, 1).unwrap_or(0);
                    !is_filler(byte as u8) && !is_used(index)
                })
            };
            let is_live = |live: &[bool], at: u64| live.get(at as usize) == Some(&true);
            let in_use = |index| is_live(&self.live_after, index);
            if let Some(index) = stays(self.is.start, &in_use) {
                let what = format!("the old {name} stays in .dynstr, offset {index:#x}");
                findings.object(8, what);
            }
            if self.was.start == self.is.start {
                continue;
            }
            let in_use = |index| {
                let place = self.was.start + index;
                is_live(&self.live_before, index) || self.pieces.iter().any(|p| p.range.contains(&place))
            };
            if let Some(index) = stays(self.was.start, &in_use) {
                let what = format!("the old {name} stays where .dynstr was, offset {index:#x}");
                findings.object(8, what);
            }
        }
    }

    /// Dropped directories, anywhere in the file.
    fn old_entries(&self, findings: &mut Findings) {
        let is_new = |entry: &[u8]| {
            let paths = self.new.search_paths();
            let mut all = paths.iter().filter_map(|p| p.2);
            all.any(|path| path == entry || path.split(|b| *b == b':').any(|e| e == entry))
        };
        let old_places = path_bytes(self.old);
        for (_, _, path) in self.old.search_paths() {
            let Some(path) = path else { continue };
            let entries = path.split(|b| *b == b':').filter(|e| e.starts_with(b"/"));
            for needle in entries.chain([path]) {
                if needle.len() < SHORTEST || is_new(needle) {
                    continue;
                }
                for at in memchr::memmem::find_iter(self.after.image.bytes, needle) {
                    let place = at as u64..(at + needle.len()) as u64;
                    if !self.is_excused(&place, needle, &old_places) {
                        let what = format!("\"{}\" is left at {at:#x}", text(needle));
                        findings.object(8, what);
                    }
                }
            }
        }
    }

    /// Whether an occurrence is somebody else's.
    fn is_excused(&self, place: &Range<u64>, needle: &[u8], old: &[Range<u64>]) -> bool {
        let all_live = |table: &Range<u64>, live: &[bool]| {
            place.clone().all(|at| {
                let index = at.checked_sub(table.start);
                index.and_then(|i| live.get(i as usize)) == Some(&true)
            })
        };
        if all_live(&self.is, &self.live_after) || all_live(&self.was, &self.live_before) {
            return true;
        }
        // The same words at the same place, but not in the search path: never ours.
        let is_old = |at: u64| {
            let here = at..at + needle.len() as u64;
            let bytes = self.before.image.slice(here.start, needle.len() as u64);
            bytes == Some(needle) && !old.iter().any(|o| o.start < here.end && here.start < o.end)
        };
        let in_table = (place.start.checked_sub(self.is.start))
            .filter(|_| place.end <= self.is.end)
            .and_then(|index| self.was.start.checked_add(index));
        is_old(place.start)
            || in_table.is_some_and(is_old)
            || self.is_in_a_note_that_stays(place)
            || self.is_in_a_section_that_stays(place)
    }

    /// Whether it is part of a section, not of strings, that is the one it was, maybe at another place.
    fn is_in_a_section_that_stays(&self, place: &Range<u64>) -> bool {
        let (before, after) = (self.before.image, self.after.image);
        let mut pairs = before.sections.iter().zip(&after.sections);
        pairs.any(|(was, is)| {
            let (old, new) = (was.file_range(), is.file_range());
            let bytes = |image: &Image, range: &Range<u64>| {
                image.slice(range.start, range.end - range.start).map(<[u8]>::to_vec)
            };
            is.has_file_bytes()
                && new.start <= place.start
                && place.end <= new.end
                && !overlap(&new, &self.is)
                && !overlap(&old, &self.was)
                && bytes(before, &old).is_some_and(|bytes_before| Some(bytes_before) == bytes(after, &new))
        })
    }

    /// Whether it is part of a note that is the one it was, maybe at another place. Ours are taken out of both files before
    /// (rule 11).
    fn is_in_a_note_that_stays(&self, place: &Range<u64>) -> bool {
        let notes = |image: &Image| {
            let segments = image.segments.iter().filter(|s| s.kind == PT_NOTE);
            segments.flat_map(|s| segment_notes(image, s)).collect::<Vec<_>>()
        };
        let was = notes(self.before.image);
        let holds = |(note, end): &(Note, u64)| end - note.2.len() as u64 <= place.start && place.end <= *end;
        notes(self.after.image).iter().any(|found| holds(found) && was.iter().any(|(note, _)| *note == found.0))
    }
}

/// Tools that see a core dump read the first page only.
fn build_id(old: &Image, new: &Image, findings: &mut Findings) {
    let early = |image: &Image| {
        let segments = image.segments.iter().filter(|s| s.kind == PT_NOTE);
        let all = segments.flat_map(|s| segment_notes(image, s));
        all.filter(|(note, end)| is_build_id(note) && *end <= 4096).map(|(note, _)| note).collect::<Vec<_>>()
    };
    let (was, is) = (early(old), early(new));
    if was.iter().any(|note| !is.contains(note)) {
        findings.object(10, "the build-id note left the first page".into());
    }
}

fn is_build_id(note: &Note) -> bool {
    note.0 == b"GNU\0" && note.1 == u64::from(NT_GNU_BUILD_ID)
}
