//! Every byte of the original: the same at the same place, or accounted for.

use super::dynamic::Dynamic;
use super::pieces::{Key, Piece, is_moved, overlap_of, overlaps, pieces};
use super::{File, Findings};
use goblin::elf::dynamic::DT_STRTAB;
use std::ops::Range;

/// More bytes than these behind the image are a payload, fewer are stray.
const STRAY: u64 = 7;

/// Compares the two files byte by byte.
pub fn compare(before: &File, after: &File, findings: &mut Findings) {
    let old = pieces(before.image, before.dynamic.as_ref());
    let new = pieces(after.image, after.dynamic.as_ref());
    let ledger = Ledger {
        before,
        after,
        dead: before.dynamic.as_ref().map(dead_strings),
        paths: before.dynamic.as_ref().map(path_bytes).unwrap_or_default(),
        old,
        new,
    };
    ledger.changed_bytes(findings);
    ledger.added_bytes(findings);
    ledger.zero_fill(findings);
    ledger.new_overlaps(findings);
    ledger.payload(findings);
}

/// Which bytes of `DT_STRTAB` nothing but a search path uses.
fn dead_strings(dynamic: &Dynamic) -> Vec<bool> {
    let live = dynamic.live_strings(false);
    live.into_iter().map(|live| !live).collect()
}

/// The file bytes of the old search paths, without their NUL.
pub fn path_bytes(dynamic: &Dynamic) -> Vec<Range<u64>> {
    let start = dynamic.extent(DT_STRTAB).map(|r| r.start);
    let place = |(_, at, path): (u64, u64, Option<&[u8]>)| {
        let from = start?.checked_add(at)?;
        Some(from..from + path?.len() as u64)
    };
    dynamic.search_paths().into_iter().filter_map(place).collect()
}

struct Ledger<'f, 'a> {
    before: &'f File<'f, 'a>,
    after: &'f File<'f, 'a>,
    dead: Option<Vec<bool>>,
    paths: Vec<Range<u64>>,
    old: Vec<Piece>,
    new: Vec<Piece>,
}

impl Ledger<'_, '_> {
    fn changed_bytes(&self, findings: &mut Findings) {
        let (a, b) = (self.before.image.bytes, self.after.image.bytes);
        if b.len() < a.len() {
            findings.object(5, format!("{} bytes are cut off", a.len() - b.len()));
        }
        for range in differences(a, b) {
            for part in self.split(range) {
                let here = part.start as usize..part.end as usize;
                if a[here.clone()] == b[here] {
                    continue;
                }
                if let Err(what) = self.excuse(&part) {
                    let rule = if self.before.image.is_mapped(part.start) { 1 } else { 5 };
                    findings.object(rule, format!("bytes {:#x}..{:#x} changed: {what}", part.start, part.end));
                }
            }
        }
    }

    /// Cuts a range where an owner begins or ends, so that each part has one answer.
    fn split(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let (phnum, shoff) = (self.before.image.phnum_field(), self.before.image.shoff_field());
        let owners = self.old.iter().chain(&self.new).map(|p| &p.range);
        let mut cuts = owners
            .chain(&self.paths)
            .chain([&phnum, &shoff])
            .flat_map(|r| [r.start, r.end])
            .chain([self.before.image.image_end(), range.start, range.end])
            .filter(|cut| range.start <= *cut && *cut <= range.end)
            .collect::<Vec<_>>();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|w| w[0]..w[1]).collect()
    }

    /// Why the bytes may differ, or who is damaged.
    fn excuse(&self, part: &Range<u64>) -> Result<(), String> {
        let mut owners = self.old.iter().filter(|p| covers(p, part)).peekable();
        if owners.peek().is_none() {
            return self.excuse_unowned(part);
        }
        owners.try_for_each(|owner| self.excuse_owned(owner, part))
    }

    fn excuse_owned(&self, owner: &Piece, part: &Range<u64>) -> Result<(), String> {
        let image = &self.before.image;
        let name = owner.name(image);
        let moved = is_moved(owner, image, self.after.image, &self.new);
        if owner.key == Key::Header {
            let phnum = image.phnum_field();
            let is_count = phnum.start <= part.start && part.end <= phnum.end;
            // The section headers, which no loader reads, make way for a program header or a segment that grows; they
            // are compared one by one.
            let old = image.shdr_range();
            let made_way = self.new.iter().any(|p| {
                p.key == Key::ProgramHeaders && old.start < p.range.end && image.phdr_range().end < p.range.end
            });
            let made_way = made_way || self.after.image.loads().any(|l| overlap(&l.file_range(), &old));
            let shoff = image.shoff_field();
            let is_section_table = shoff.start <= part.start && part.end <= shoff.end && made_way;
            return (is_count || is_section_table).then_some(()).ok_or(name);
        }
        if self.is_string_table(owner) {
            return self.excuse_string(part, moved);
        }
        if !moved && owner.is_compared {
            return Ok(());
        }
        if !moved {
            return Err(name);
        }
        // Code may reach the dynamic table at the place that the linker gave it; all else is read there by nobody any more.
        let is_dynamic = self.before.dynamic.as_ref().is_some_and(|d| d.offset == owner.range.start);
        let is_left = !is_dynamic && self.is_zeroed(part);
        if self.is_newcomer(part) || self.is_padding_now(owner, part) || is_left {
            return Ok(());
        }
        Err(format!("the old place of {name}, and nothing moved there"))
    }

    /// What made way for a growing `.dynstr` leaves zeros behind the string table's new end.
    fn is_padding_now(&self, owner: &Piece, part: &Range<u64>) -> bool {
        let extent = |file: &File| file.dynamic.as_ref().and_then(|d| d.extent(DT_STRTAB));
        let (Some(was), Some(is)) = (extent(self.before), extent(self.after)) else { return false };
        let is_behind = was.start == is.start && was.end <= owner.range.start;
        // Code may reach the dynamic table at the place that the linker gave it.
        let is_dynamic = self.before.dynamic.as_ref().is_some_and(|d| d.offset == owner.range.start);
        let is_over = !is_dynamic || owner.range.start < is.end;
        let bytes = self.after.image.slice(part.start, part.end - part.start);
        is_behind && is_over && bytes.is_some_and(|bytes| bytes.iter().all(|b| *b == 0))
    }

    /// A byte of `.dynstr` may change when no string but the search path uses it.
    fn excuse_string(&self, part: &Range<u64>, moved: bool) -> Result<(), String> {
        let is_path = self.paths.iter().any(|p| p.start <= part.start && part.end <= p.end);
        // The abandoned copy is read by nobody.
        if moved && (is_path || self.is_zeroed(part) || self.is_newcomer(part)) {
            return Ok(());
        }
        if moved {
            return Err("the old place of .dynstr, and nothing moved there".into());
        }
        let dynamic = self.before.dynamic.as_ref();
        let table = dynamic.and_then(|d| d.extent(DT_STRTAB));
        let (Some(table), Some(dead)) = (table, &self.dead) else {
            return Err("a string table".into());
        };
        let is_dead = |at: u64| {
            let index = at.checked_sub(table.start).map(|i| i as usize);
            index.and_then(|i| dead.get(i)) == Some(&true)
        };
        let (a, b) = (self.before.image.bytes, self.after.image.bytes);
        let has_changed = |at: u64| a.get(at as usize) != b.get(at as usize);
        match part.clone().find(|&at| has_changed(at) && !is_dead(at)) {
            None => Ok(()),
            Some(at) => Err(format!(".dynstr, a live string at {at:#x}")),
        }
    }

    fn excuse_unowned(&self, part: &Range<u64>) -> Result<(), String> {
        let image = &self.before.image;
        let end = image.image_end();
        let len = image.bytes.len() as u64;
        if part.start >= end && len - end <= STRAY {
            return Ok(());
        }
        let bytes = image.slice(part.start, part.end - part.start);
        // Without section headers nobody can say what a segment's bytes are, but for the
        // few zeros that align one table behind another.
        let is_gap = bytes.is_some_and(|b| b.len() < 16 && b.iter().all(|c| *c == 0));
        if image.sections.is_empty() && image.is_mapped(part.start) && !is_gap {
            return Err("a segment, and no section header says what it is".into());
        }
        if !self.is_newcomer(part) {
            return Err("padding, and nothing moved there".into());
        }
        // patchelf fills what it leaves with X or Z.
        let is_fill = |b: &[u8]| b.iter().all(|c| [0, b'X', b'Z'].contains(c));
        if bytes.is_some_and(is_fill) {
            Ok(())
        } else {
            Err("bytes that no header owns, but which are not empty".into())
        }
    }

    /// Whether all that changed here is zero now.
    fn is_zeroed(&self, part: &Range<u64>) -> bool {
        let byte = |file: &File, at: u64| file.image.bytes.get(at as usize).copied();
        part.clone().all(|at| byte(self.after, at) == Some(0) || byte(self.after, at) == byte(self.before, at))
    }

    /// Whether something lives here now that did not before.
    fn is_newcomer(&self, part: &Range<u64>) -> bool {
        self.new.iter().filter(|p| covers(p, part)).any(|p| {
            // A table that moved by less than its length lies partly over its own old place.
            let was_here = |o: &Piece| o.key == p.key && o.range.start == p.range.start && covers(o, part);
            !self.old.iter().any(was_here)
        })
    }

    fn is_string_table(&self, owner: &Piece) -> bool {
        match owner.key {
            Key::Table(DT_STRTAB) => true,
            Key::Section(index) => self.before.string_section() == Some(index),
            _ => false,
        }
    }

    /// Bytes behind the end of the original: owned, or zero.
    fn added_bytes(&self, findings: &mut Findings) {
        let bytes = self.after.image.bytes;
        let start = self.before.image.bytes.len() as u64;
        let mut at = start;
        while at < bytes.len() as u64 {
            let owner_end = self.new.iter().filter(|p| p.range.contains(&at));
            if let Some(end) = owner_end.map(|p| p.range.end).max() {
                at = end;
                continue;
            }
            let next = self.new.iter().map(|p| p.range.start).filter(|s| *s > at);
            let next = next.min().unwrap_or(bytes.len() as u64);
            if bytes[at as usize..next as usize].iter().any(|b| *b != 0) {
                findings.object(5, format!("bytes {at:#x}..{next:#x} are new, without owner"));
            }
            at = next;
        }
    }

    /// A segment whose file bytes grow over its zero fill must go on to read as zero.
    fn zero_fill(&self, findings: &mut Findings) {
        for load in self.before.image.loads() {
            let same = |s: &&super::image::Segment| s.vaddr == load.vaddr;
            let Some(grown) = self.after.image.loads().find(same) else {
                continue;
            };
            let end = grown.filesz.min(load.memsz);
            if end <= load.filesz {
                continue;
            }
            let at = grown.offset.saturating_add(load.filesz);
            let fill = self.after.image.slice(at, end - load.filesz);
            if fill.is_none_or(|fill| fill.iter().any(|b| *b != 0)) {
                let addr = load.vaddr.saturating_add(load.filesz);
                findings.object(1, format!("zero-filled memory from {addr:#x} is not zero now"));
            }
        }
    }

    fn new_overlaps(&self, findings: &mut Findings) {
        let excused = overlaps(&self.old);
        // Notes have no names: two at one place are the same two, whatever their numbers.
        let place = |pieces: &[Piece], key| pieces.iter().find(|p| p.key == key).map(|p| (p.range.start, p.range.end));
        let places = |pieces: &[Piece], (a, b)| match (a, b) {
            (Key::Segment(..), Key::Segment(..)) => Some((place(pieces, a)?, place(pieces, b)?)),
            _ => None,
        };
        let known: Vec<_> = excused.iter().filter_map(|pair| places(&self.old, *pair)).collect();
        for (a, b) in overlaps(&self.new) {
            let is_known = places(&self.new, (a, b)).is_some_and(|place| known.contains(&place));
            if excused.contains(&(a, b)) || is_known {
                continue;
            }
            findings.object(4, overlap_of(&self.new, (a, b), self.after.image));
        }
    }

    fn payload(&self, findings: &mut Findings) {
        let (a, b) = (self.before.image.bytes, self.after.image.bytes);
        let payload = &a[self.before.image.image_end() as usize..];
        if payload.len() as u64 <= STRAY {
            return;
        }
        if !b.ends_with(payload) {
            findings.object(5, "the payload is not at the end of the file".into());
        }
        // A payload that knows its own offset must stay there, too.
        if a.len() != b.len() {
            findings.object(5, "the size of a file with a payload changed".into());
        }
    }
}

pub fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

fn covers(piece: &Piece, part: &Range<u64>) -> bool {
    piece.range.start <= part.start && part.end <= piece.range.end
}

/// Runs of bytes that differ, as far as both files reach. A short stretch of equal bytes
/// does not end a run: a table laid over another one would give thousands.
fn differences(a: &[u8], b: &[u8]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for (index, (x, y)) in a.chunks(4096).zip(b.chunks(4096)).enumerate() {
        if x == y {
            continue;
        }
        for (i, _) in x.iter().zip(y).enumerate().filter(|(_, (x, y))| x != y) {
            let at = (index * 4096 + i) as u64;
            match found.last_mut() {
                Some(last) if at - last.end < 64 => last.end = at + 1,
                _ => found.push(at..at + 1),
            }
        }
    }
    found
}
