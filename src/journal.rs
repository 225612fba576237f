//! What undoes an edit that did not end: kept behind the file's own end while `apply` works.
//!
//! Loaders never look behind the ELF image, so the file loads with a journal as without. The journal is complete before
//! the first byte of the file changes, and cut off after the last. A run that finds one takes the edit back, byte for
//! byte, and starts anew: however an earlier run was stopped, the result is that of a run that was not.
//!
//! The journal is a row of blocks of 4,096 bytes at multiples of 4,096, so that the death of the process cannot leave a
//! block half written. Numbers are little-endian. A block: `MAGIC`, the length of the file before the edit (8 bytes),
//! the number of the block (4), the number of blocks (4), a checksum of the rest of the block (8), the rest: a piece of
//! the undo list. Mode bits and capabilities are not in it: who can write the file could ask a later run, by another
//! user, for any of them. The list: for each edit, in order, offset (8), length (8), 1 for zeros or 0 (1), the bytes if not zeros.

use crate::plan::Plan;

const MAGIC: [u8; 16] = *b"driver-runpath\x0b\x01";
const BLOCK: usize = 4096;
const HEADER: usize = 40;

/// How to get back to the file as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// Its length, in bytes.
    pub old_len: u64,
    /// What the edits wrote over, in their order.
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
    /// The bytes themselves.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Zeros(len) => vec![0; usize::try_from(*len).unwrap_or(0)],
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl Undo {
    /// What undoes `plan` on `original`.
    pub fn of(original: &[u8], plan: &Plan) -> Self {
        let old_len = original.len() as u64;
        let ranges = plan.edits.iter().filter_map(|edit| {
            let end = usize::try_from(edit.range().end.0.min(old_len)).ok()?;
            let bytes = original.get(usize::try_from(edit.at.0).ok()?..end).filter(|bytes| !bytes.is_empty())?;
            let zeros = bytes.iter().all(|&byte| byte == 0);
            let old = if zeros { Old::Zeros(bytes.len() as u64) } else { Old::Bytes(bytes.to_vec()) };
            Some((edit.at.0, old))
        });
        Self { old_len, ranges: ranges.collect() }
    }

    /// Where the journal of a file of `new_len` bytes starts.
    pub fn place(new_len: u64) -> Option<u64> {
        new_len.checked_next_multiple_of(BLOCK as u64)
    }

    /// The blocks.
    pub fn encode(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for (at, old) in &self.ranges {
            list.extend(at.to_le_bytes());
            match old {
                Old::Zeros(len) => {
                    list.extend(len.to_le_bytes());
                    list.push(1);
                }
                Old::Bytes(bytes) => {
                    list.extend((bytes.len() as u64).to_le_bytes());
                    list.push(0);
                    list.extend(bytes);
                }
            }
        }
        let pieces: Vec<&[u8]> = if list.is_empty() { vec![&[]] } else { list.chunks(BLOCK - HEADER).collect() };
        let count = pieces.len() as u32;
        let mut blocks = Vec::with_capacity(pieces.len() * BLOCK);
        for (number, piece) in (0u32..).zip(&pieces) {
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

    /// The journal at the end of `file`, if there is one. One that is not complete undoes nothing but the growth:
    /// nothing else was written before it was.
    pub fn find(file: &[u8]) -> Option<Self> {
        let last_start = file.len().checked_sub(1)? / BLOCK * BLOCK;
        let last = Block::read(file.get(last_start..)?)?;
        let first_start = last_start.checked_sub(usize::try_from(last.number).ok()?.checked_mul(BLOCK)?)?;
        let old_len = last.old_len;
        if old_len > first_start as u64 {
            return None;
        }
        let growth_alone = Self { old_len, ranges: Vec::new() };
        let mut list = Vec::new();
        for number in 0..last.count {
            let start = usize::try_from(number).ok()?.checked_mul(BLOCK).and_then(|at| at.checked_add(first_start))?;
            match file.get(start..).and_then(Block::read) {
                Some(block) if (block.number, block.count, block.old_len) == (number, last.count, old_len) => {
                    list.extend_from_slice(block.piece);
                }
                _ => return Some(growth_alone),
            }
        }
        Some(Self { old_len, ranges: decode(&list, old_len)? })
    }

    /// Takes the edit back on a copy of the file in memory.
    pub fn roll_back(&self, mut file: Vec<u8>) -> Vec<u8> {
        for (at, old) in self.ranges.iter().rev() {
            let bytes = old.bytes();
            let target = usize::try_from(*at).ok().and_then(|at| file.get_mut(at..at.checked_add(bytes.len())?));
            if let Some(target) = target {
                target.copy_from_slice(&bytes);
            }
        }
        file.truncate(usize::try_from(self.old_len).unwrap_or(usize::MAX));
        file
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

/// The entries of an undo list, as far as they go; the rest of the last block is zero. `None` where one does not lie in
/// the file as it was.
fn decode(list: &[u8], old_len: u64) -> Option<Vec<(u64, Old)>> {
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

/// FNV-1a: enough to tell a block that was written from bytes that happen to start with the magic.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(bytes: usize) -> Undo {
        let ranges = vec![(3, Old::Bytes(vec![7; bytes])), (100, Old::Zeros(50)), (0, Old::Bytes(vec![1, 0]))];
        Undo { old_len: 30_000, ranges }
    }

    fn with_journal(undo: &Undo) -> Vec<u8> {
        let mut file = vec![9; 30_000];
        file.resize(usize::try_from(Undo::place(30_000).expect("a place")).expect("small"), 0);
        file.extend(undo.encode());
        file
    }

    #[test]
    fn a_journal_of_any_length_is_read_back() {
        for bytes in [1, 4000, 4056, 4057, 20_000] {
            let undo = undo(bytes);
            assert_eq!(Undo::find(&with_journal(&undo)), Some(undo), "{bytes} bytes");
        }
    }

    #[test]
    fn a_file_without_a_journal_has_none() {
        assert_eq!(Undo::find(&[]), None);
        assert_eq!(Undo::find(&[0; 5000]), None);
        let mut file = with_journal(&undo(10));
        file.truncate(30_000);
        assert_eq!(Undo::find(&file), None);
    }

    #[test]
    fn a_journal_that_is_not_complete_undoes_the_growth_alone() {
        let mut file = with_journal(&undo(20_000));
        file.truncate(file.len() - 2 * BLOCK);
        assert_eq!(Undo::find(&file), Some(Undo { old_len: 30_000, ranges: Vec::new() }));
    }

    #[test]
    fn a_damaged_journal_is_none() {
        let mut file = with_journal(&undo(10));
        let last = file.len() - 1;
        file[last] ^= 1;
        assert_eq!(Undo::find(&file), None);
    }

    #[test]
    fn rolling_back_gives_the_file_as_it_was() {
        let original: Vec<u8> = (0..30_000u32).map(|n| n as u8).collect();
        let undo = Undo {
            old_len: 30_000,
            ranges: vec![(5, Old::Bytes(original[5..9].to_vec())), (7, Old::Bytes(vec![0xaa, 0xaa]))],
        };
        // The second edit wrote over a part of what the first had written.
        let mut file = original.clone();
        file[5..9].fill(0xaa);
        file[7..9].fill(0xbb);
        file.extend([1; 5000]);
        assert_eq!(undo.roll_back(file), original);
    }
}
