//! Where the new string goes once there is a new segment: `.dynstr` moves into it, or, where that is fewer bytes, the
//! tables behind `.dynstr` do and it grows over their old place.

use super::NoFit;
use super::append::Contents;
use super::draft::Draft;
use super::evict;
use super::movable::{Block, place_sections, redirect};
use super::room::may_leave_its_segment;
use crate::elf::{FileOffset, Vaddr};

/// The choice, with places in the new segment.
pub(super) enum Home {
    /// `.dynstr`, whole, goes to this place.
    Moved(FileOffset, Vaddr),
    /// These go; `.dynstr` stays.
    Evicted(Vec<(Block, FileOffset, Vaddr)>),
}

impl Home {
    /// Chooses, and takes the room in `segment`. What already goes to the segment for another reason is `taken`.
    pub(super) fn choose(
        draft: &Draft<'_, '_>,
        segment: &mut Contents,
        taken: impl Fn(&Block) -> bool,
    ) -> Result<Self, NoFit> {
        let strings = draft.image.strings.len();
        let evicted = evict::choose(draft).ok().filter(|blocks| {
            let size = blocks.iter().fold(0u64, |sum, block| sum.saturating_add(block.len()));
            // The old table names those blocks until it is replaced as a whole.
            size < strings && !draft.moves_dynamic() && !blocks.iter().any(&taken)
        });
        if let Some(blocks) = evicted {
            let place = |block: Block| {
                let (at, addr) = segment.take(block.len(), block.align)?;
                Ok((block, at, addr))
            };
            return Ok(Self::Evicted(blocks.into_iter().map(place).collect::<Result<_, NoFit>>()?));
        }
        may_leave_its_segment(draft.image)?;
        let (at, addr) = segment.take(draft.grown_table_len()?, 1)?;
        Ok(Self::Moved(at, addr))
    }

    /// Writes the copies; nothing names them yet.
    pub(super) fn fill(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        match self {
            Self::Moved(at, _) => draft.fill_table(*at),
            Self::Evicted(blocks) => {
                blocks.iter().for_each(|(block, at, _)| draft.copy(block.range.clone(), *at, "a table that makes way"));
                Ok(())
            }
        }
    }

    /// Puts the new string in force; the new segment is mapped by now, by the program header `borrowed`.
    pub(super) fn switch(&self, draft: &mut Draft<'_, '_>, borrowed: Option<usize>) -> Result<(), NoFit> {
        match self {
            Self::Moved(at, addr) => draft.switch_table(*at, *addr),
            Self::Evicted(blocks) => {
                for (block, at, addr) in blocks {
                    redirect(draft, block, *at, *addr, borrowed)?;
                    draft.record_move(block.range.clone(), *at, *addr);
                }
                let strings = draft.image.strings.range.start;
                draft.fill_table(strings)?;
                draft.switch_table(strings, draft.image.strings.addr)
            }
        }
    }

    /// The block that program header `index` describes, if it moves, and its new place.
    pub(super) fn block_of(&self, index: usize) -> Option<&(Block, FileOffset, Vaddr)> {
        match self {
            Self::Moved(..) => None,
            Self::Evicted(blocks) => blocks.iter().find(|(block, ..)| block.segments.contains(&index)),
        }
    }

    /// The section headers, last.
    pub(super) fn place(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        match self {
            Self::Moved(at, addr) => draft.place_table(*at, *addr),
            Self::Evicted(blocks) => {
                for (block, at, addr) in blocks {
                    place_sections(draft, block, *at, *addr)?;
                }
                draft.place_table(draft.image.strings.range.start, draft.image.strings.addr)
            }
        }
    }
}
