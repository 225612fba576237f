//! What undoes an edit that did not end: kept behind the file's own end while `apply` works.
//!
//! Loaders never look behind the ELF image, so the file loads with a journal as without. The journal is complete before
//! the first byte of the file changes, and cut off after the last. A run that finds one takes the edit back, byte for
//! byte, and starts anew: however an earlier run was stopped, the result is that of a run that was not.
//!
//! A file can come from anywhere, so what a journal says is believed only as far as it proves itself ([`Journal::prove`]):
//! with the edit undone, in memory, our own planner must make, for the recorded change, exactly the edits that the journal
//! records, and every byte of the file must be what it was before or what a prefix of those edits has written. Any other
//! journal is part of the file's contents.
//!
//! The journal is a row of blocks of 4,096 bytes at multiples of 4,096, so that the death of the process cannot leave a
//! block half written. Numbers are little-endian. A block: `MAGIC`, the length of the file before the edit (8 bytes),
//! the number of the block (4), the number of blocks (4), a checksum of the rest of the block (8), the rest: a piece of
//! the record. The record: whether the edit was to outlive a power failure (1), the tag (1: 0 for `DT_RUNPATH`), whether
//! there is a search path (1), its length (8), its bytes; what becomes of the resolution note (1: 0 it goes, 1 it is
//! renewed, 2 it is written), the length of the new descriptor (8; 0 where it goes), its bytes; then for each edit, in
//! order, offset (8), length (8), 1 for zeros or 0 (1), the bytes that were there if not zeros. Mode bits and capabilities
//! are not in it: who can write the file could ask a later run, by another user, for any of them.

use std::ops::Range;

use crate::apply::Durability;
use crate::decide::Tag;
use crate::elf::{Image, merged};
use crate::plan::{Change, Content, Edit, NoteChange, Plan, plan};
use crate::verify::check_plan;

const MAGIC: [u8; 16] = *b"driver-runpath\x0b\x04";
const BLOCK: usize = 4096;
const HEADER: usize = 40;

/// What is needed to take one edit of a file back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The file's length before, in bytes.
    pub old_len: u64,
    /// What the edit was for.
    pub change: Change,
    /// What it was to be safe from.
    pub durability: Durability,
    /// What the edits write over, in their order.
    pub ranges: Vec<(u64, Old)>,
}

/// The bytes that an edit wrote over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// So many zeros.
    Zeros(u64),
    /// These.
    Bytes(Vec<u8>),
}

impl Old {
    fn of(bytes: Vec<u8>) -> Self {
        if is_zero(&bytes) { Self::Zeros(bytes.len() as u64) } else { Self::Bytes(bytes) }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Zeros(len) => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Zeros(len) => vec![0; usize::try_from(*len).unwrap_or(0)],
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl Undo {
    /// What undoes `plan` on a file of `old_len` bytes, of which `read` gives a range.
    ///
    /// # Errors
    /// What `read` answers.
    pub fn of<E>(
        old_len: u64,
        plan: &Plan<'_>,
        durability: Durability,
        mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut ranges = Vec::new();
        for (number, edit) in plan.edits.iter().enumerate() {
            let range = edit.at.0..edit.range().end.0.min(old_len);
            if range.is_empty() {
                continue;
            }
            let mut there = read(range.clone())?;
            for earlier in plan.edits.iter().take(number) {
                let (from, to) = (range.start.max(earlier.at.0), range.end.min(earlier.range().end.0));
                if from < to {
                    let skip = from.saturating_sub(earlier.at.0);
                    let wrote = written(earlier, skip..skip.saturating_add(to.saturating_sub(from)), &mut read)?;
                    let at = usize::try_from(from.saturating_sub(range.start)).unwrap_or(usize::MAX);
                    there.iter_mut().skip(at).zip(wrote).for_each(|(there, wrote)| *there = wrote);
                }
            }
            ranges.push((range.start, Old::of(there)));
        }
        Ok(Self { old_len, change: plan.change.clone(), durability, ranges })
    }

    /// The same for a file whose bytes are in memory. `None` where an edit lies outside it, which none does.
    pub fn of_bytes(original: &[u8], plan: &Plan<'_>, durability: Durability) -> Option<Self> {
        let read = |range: Range<u64>| {
            let bytes = original.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?);
            bytes.map(<[u8]>::to_vec)
        };
        Self::of(original.len() as u64, plan, durability, |range| read(range).ok_or(())).ok()
    }

    /// Where the journal of a file of `new_len` bytes starts.
    pub fn place(new_len: u64) -> Option<u64> {
        new_len.checked_next_multiple_of(BLOCK as u64)
    }

    /// The blocks.
    pub fn encode(&self) -> Vec<u8> {
        let record = self.record();
        let pieces = record.chunks(BLOCK - HEADER);
        let count = pieces.len() as u32;
        let mut blocks = Vec::with_capacity(pieces.len() * BLOCK);
        for (number, piece) in (0u32..).zip(pieces) {
            let mut rest = piece.to_vec();
            rest.resize(BLOCK - HEADER, 0);
            blocks.extend(MAGIC);
            blocks.extend(self.old_len.to_le_bytes());
            blocks.extend(number.to_le_bytes());
            blocks.extend(count.to_le_bytes());
            blocks.extend(checksum(&rest).to_le_bytes());
            blocks.extend(rest);
        }
        blocks
    }

    fn record(&self) -> Vec<u8> {
        let path = self.change.path.as_deref();
        let mut record = vec![
            u8::from(self.durability == Durability::Power),
            u8::from(self.change.tag == Tag::Rpath),
            u8::from(path.is_some()),
        ];
        record.extend((path.map_or(0, <[u8]>::len) as u64).to_le_bytes());
        record.extend(path.unwrap_or_default());
        let (kind, descriptor) = match &self.change.note {
            NoteChange::Drop => (0, &[][..]),
            NoteChange::Renew(descriptor) => (1, descriptor.as_slice()),
            NoteChange::Write(descriptor) => (2, descriptor.as_slice()),
        };
        record.push(kind);
        record.extend((descriptor.len() as u64).to_le_bytes());
        record.extend(descriptor);
        for (at, old) in &self.ranges {
            record.extend(at.to_le_bytes());
            record.extend(old.len().to_le_bytes());
            match old {
                Old::Zeros(_) => record.push(1),
                Old::Bytes(bytes) => {
                    record.push(0);
                    record.extend(bytes);
                }
            }
        }
        record
    }
}

/// A part of the bytes that an edit writes.
fn written<E>(
    edit: &Edit,
    part: Range<u64>,
    read: &mut impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    match &edit.content {
        Content::Bytes(bytes) => {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            Ok(bytes.get(index(part.start)..index(part.end)).unwrap_or_default().to_vec())
        }
        Content::CopyOf(from) => {
            let at = |offset: u64| from.start.0.saturating_add(offset);
            read(at(part.start)..at(part.end))
        }
    }
}

/// A journal as it stands in a file. Nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    start: usize,
    is_complete: bool,
    undo: Undo,
}

impl Journal {
    /// The journal at the end of `file`, if there is one.
    ///
    /// It may lack its last blocks: then the file has its old bytes still, and all that needs to be taken back is growth.
    pub fn find(file: &[u8]) -> Option<Self> {
        let last_start = file.len().checked_sub(BLOCK).filter(|start| start % BLOCK == 0)?;
        let last = Block::read(file.get(last_start..)?)?;
        let start = last_start.checked_sub(usize::try_from(last.number).ok()?.checked_mul(BLOCK)?)?;
        if last.old_len > start as u64 || last.number >= last.count {
            return None;
        }
        let mut record = Vec::new();
        for (number, block) in (0..=last.number).zip(file.get(start..)?.chunks(BLOCK)) {
            let block = Block::read(block)?;
            if (block.number, block.count, block.old_len) != (number, last.count, last.old_len) {
                return None;
            }
            record.extend_from_slice(block.piece);
        }
        let is_complete = last.number.checked_add(1) == Some(last.count);
        Some(Self { start, is_complete, undo: decode(&record, &last, is_complete)? })
    }

    /// The length that the file had, in bytes: not more than it has now.
    pub fn old_len(&self) -> u64 {
        self.undo.old_len
    }

    /// Whether our own `apply` wrote this journal, and nobody has written to the file since.
    ///
    /// `undone` must be a copy of the first [`Self::old_len`] bytes of `file`; where the answer is yes, it then is the
    /// file as it was before the edit.
    pub fn prove(self, file: &[u8], undone: &mut [u8]) -> Option<Undo> {
        if self.is_complete {
            for (at, old) in self.undo.ranges.iter().rev() {
                put_back(undone, *at, old)?;
            }
        }
        let undone = &*undone;
        let image = Image::read(undone).ok()?;
        let plan = plan(&image, &self.undo.change).ok()?;
        if usize::try_from(Undo::place(plan.new_len)?) != Ok(self.start) {
            return None;
        }
        let undo = Undo::of_bytes(undone, &plan, self.undo.durability)?;
        let blocks = undo.encode();
        let there = file.get(self.start..)?;
        if !blocks.starts_with(there) || self.is_complete != (blocks.len() == there.len()) {
            return None;
        }
        // No edit begins before its journal is complete.
        let edits = if self.is_complete { plan.edits.as_slice() } else { &[] };
        let order = match self.undo.durability {
            Durability::Process => Order::Kept,
            // Between two syncs, pages reach the disk in any order.
            Durability::Power => Order::Any,
        };
        let explained = is_explained(file.get(..self.start)?, undone, edits, order)?;
        check_plan(&plan).ok()?;
        explained.then_some(undo)
    }
}

/// Writes `old` back. Pages that have these bytes already are not touched: a private map need not copy them.
fn put_back(undone: &mut [u8], at: u64, old: &Old) -> Option<()> {
    let start = usize::try_from(at).ok()?;
    let end = start.checked_add(usize::try_from(old.len()).ok()?)?;
    for (index, window) in undone.get_mut(start..end)?.chunks_mut(BLOCK).enumerate() {
        match old {
            Old::Zeros(_) if is_zero(window) => {}
            Old::Zeros(_) => window.fill(0),
            Old::Bytes(bytes) => {
                let from = index.checked_mul(BLOCK)?;
                let bytes = bytes.get(from..from.checked_add(window.len())?)?;
                if window != bytes {
                    window.copy_from_slice(bytes);
                }
            }
        }
    }
    Some(())
}

/// Whether edits were written in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
    Any,
}

/// Whether each byte of `file`, journal excluded, comes from `undone` or from a prefix of the edits; with [`Order::Any`],
/// each sector from a prefix of its own. `undone` differs from the start of `file` nowhere but in the ranges of the edits.
fn is_explained(file: &[u8], undone: &[u8], edits: &[Edit], order: Order) -> Option<bool> {
    let old_len = undone.len();
    let mut windows: Vec<Range<usize>> = Vec::new();
    for edit in edits {
        let (start, end) = (usize::try_from(edit.at.0).ok()?, usize::try_from(edit.range().end.0).ok()?);
        windows.push(start..end.min(old_len));
        windows.push(start.max(old_len)..end);
    }
    windows.retain(|window| !window.is_empty());
    let (within, behind): (Vec<_>, Vec<_>) = merged(windows).into_iter().partition(|window| window.end <= old_len);
    // What lies behind the old end and no edit writes to is the zeros that the file grew by.
    let mut rest = old_len;
    for window in &behind {
        if !is_zero(file.get(rest..window.start)?) {
            return Some(false);
        }
        rest = window.end;
    }
    if !is_zero(file.get(rest..)?) {
        return Some(false);
    }
    Some(match order {
        // An edit that is taken back leaves what it wrote behind the old end: the cut comes last.
        Order::Kept => {
            let (mut within, mut behind) = (States::new(within, file, undone)?, States::new(behind, file, undone)?);
            within.follow(edits, undone)?;
            behind.follow(edits, undone)?;
            within.together.zip(behind.together).is_some_and(|(within, behind)| within.first <= behind.last)
        }
        Order::Any => {
            let sectors = within.into_iter().chain(behind).flat_map(sectors).collect();
            let mut states = States::new(sectors, file, undone)?;
            states.follow(edits, undone)?;
            states.windows.iter().all(|window| window.was_the_same)
        }
    })
}

/// When the edits had made all windows what they are in the file: numbers of bytes that were written by then.
#[derive(Debug, Clone, Copy)]
struct Moments {
    first: u64,
    last: u64,
}

/// The pieces of a window that reach the disk whole or not at all.
fn sectors(window: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    const SECTOR: usize = 512;
    let mut at = window.start;
    std::iter::from_fn(move || {
        let start = at;
        at = (start / SECTOR).checked_add(1)?.checked_mul(SECTOR)?.min(window.end);
        (start < window.end).then_some(start..at)
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Windows of the file, and what the edits so far have made of the same windows of the file before.
struct States<'f> {
    windows: Vec<Window<'f>>,
    /// How many bytes of all windows are not what they are in the file.
    different: usize,
    written: u64,
    /// When all windows were what they are in the file; `None`: never so far.
    together: Option<Moments>,
}

struct Window<'f> {
    start: usize,
    file: &'f [u8],
    now: Vec<u8>,
    different: usize,
    /// Whether the window was what it is in the file, at some moment.
    was_the_same: bool,
}

impl<'f> States<'f> {
    fn new(ranges: Vec<Range<usize>>, file: &'f [u8], undone: &[u8]) -> Option<Self> {
        let mut windows = Vec::new();
        for range in ranges {
            let there = undone.get(range.start.min(undone.len())..range.end.min(undone.len()))?;
            let (start, file, mut now) = (range.start, file.get(range)?, there.to_vec());
            now.resize(file.len(), 0);
            let different = file.iter().zip(&now).filter(|(file, now)| file != now).count();
            windows.push(Window { start, file, now, different, was_the_same: different == 0 });
        }
        let different = windows.iter().map(|window| window.different).sum();
        let together = (different == 0).then_some(Moments { first: 0, last: 0 });
        Some(Self { windows, different, written: 0, together })
    }

    /// Makes the edits, byte by byte.
    fn follow(&mut self, edits: &[Edit], undone: &[u8]) -> Option<()> {
        for edit in edits {
            let start = usize::try_from(edit.at.0).ok()?;
            for (at, byte) in (start..).zip(edit.content.resolve(undone)?) {
                self.write(at, *byte)?;
                self.written = self.written.checked_add(1)?;
                if self.different == 0 {
                    let now = Moments { first: self.written, last: self.written };
                    self.together.get_or_insert(now).last = self.written;
                }
            }
        }
        Some(())
    }

    /// Writes one byte, if it lies in a window.
    fn write(&mut self, at: usize, byte: u8) -> Option<()> {
        let index = self.windows.partition_point(|window| window.start <= at);
        let Some(window) = index.checked_sub(1).and_then(|index| self.windows.get_mut(index)) else { return Some(()) };
        let offset = at.checked_sub(window.start)?;
        let (Some(file), Some(now)) = (window.file.get(offset), window.now.get_mut(offset)) else { return Some(()) };
        let (was, is) = (usize::from(*now != *file), usize::from(byte != *file));
        *now = byte;
        window.different = window.different.checked_sub(was)?.checked_add(is)?;
        window.was_the_same |= window.different == 0;
        self.different = self.different.checked_sub(was)?.checked_add(is)?;
        Some(())
    }
}

struct Block<'a> {
    old_len: u64,
    number: u32,
    count: u32,
    piece: &'a [u8],
}

impl<'a> Block<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let block = bytes.get(..BLOCK)?;
        let rest = block.strip_prefix(&MAGIC)?;
        let (old_len, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (sum, piece) = rest.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*sum) == checksum(piece)).then_some(Self {
            old_len: u64::from_le_bytes(*old_len),
            number: u32::from_le_bytes(*number),
            count: u32::from_le_bytes(*count),
            piece,
        })
    }
}

/// The record of a journal; the rest of the last block is zero. `None` where an entry does not lie in the file as it was.
fn decode(record: &[u8], last: &Block<'_>, is_complete: bool) -> Option<Undo> {
    let old_len = last.old_len;
    let (&[power, rpath, has_path], rest) = record.split_first_chunk::<3>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let tag = if rpath == 0 { Tag::Runpath } else { Tag::Rpath };
    // A whole journal has all of its bytes; of another one the last block's count says how many there are at most.
    let most = if is_complete { 0 } else { (last.count as usize).checked_mul(BLOCK)? };
    let (path, rest) = bytes_of(rest, len, most, b'/')?;
    let (note, rest) = decode_note(rest, most)?;
    Some(Undo {
        old_len,
        change: Change { tag, path: (has_path != 0).then_some(path), note },
        durability: if power == 0 { Durability::Process } else { Durability::Power },
        ranges: if is_complete { decode_ranges(rest, old_len)? } else { Vec::new() },
    })
}

/// The next `len` bytes, and what follows. A journal that was cut off within them, of at most `most` bytes, says no more
/// than how many there were: where a plan puts a string or a note depends on its length alone, and no edit has begun.
fn bytes_of(record: &[u8], len: usize, most: usize, filler: u8) -> Option<(Vec<u8>, &[u8])> {
    match record.split_at_checked(len) {
        Some((bytes, rest)) => Some((bytes.to_vec(), rest)),
        None if len <= most => {
            let mut bytes = record.to_vec();
            bytes.resize(len, filler);
            Some((bytes, &[]))
        }
        None => None,
    }
}

/// What becomes of the resolution note, and what follows. Cut off in front of it, a journal of at most `most` bytes is
/// taken for one of a file without a note.
fn decode_note(record: &[u8], most: usize) -> Option<(NoteChange, &[u8])> {
    let Some((kind, rest)) = record.split_first_chunk::<9>() else {
        return (most > 0).then_some((NoteChange::Drop, &[]));
    };
    let (kind, len) = kind.split_first()?;
    let len = u64::from_le_bytes(len.try_into().ok()?);
    let (descriptor, rest) = bytes_of(rest, usize::try_from(len).ok()?, most, 0)?;
    let note = match kind {
        0 => NoteChange::Drop,
        1 => NoteChange::Renew(descriptor),
        2 => NoteChange::Write(descriptor),
        _ => return None,
    };
    Some((note, rest))
}

fn decode_ranges(list: &[u8], old_len: u64) -> Option<Vec<(u64, Old)>> {
    let mut ranges = Vec::new();
    let mut rest = list;
    while let Some((at, tail)) = rest.split_first_chunk::<8>() {
        let Some((len, tail)) = tail.split_first_chunk::<8>() else { break };
        let (at, len) = (u64::from_le_bytes(*at), u64::from_le_bytes(*len));
        if len == 0 {
            break;
        }
        at.checked_add(len).filter(|end| *end <= old_len)?;
        let (zeros, tail) = tail.split_first()?;
        if *zeros == 1 {
            ranges.push((at, Old::Zeros(len)));
            rest = tail;
        } else {
            let (bytes, tail) = tail.split_at_checked(usize::try_from(len).ok()?)?;
            ranges.push((at, Old::Bytes(bytes.to_vec())));
            rest = tail;
        }
    }
    Some(ranges)
}

/// FNV-1a over words of 8 bytes: enough to tell a block that was written from bytes that happen to start with the magic.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
