//! What goes to a new place, and in which order: `.dynstr` with the new string, or, where that is fewer bytes, the tables
//! behind it, over whose old place it grows; `.dynamic`, where it has to move; and what makes way for other reasons.
//!
//! The order is for the editors that come afterwards. llvm-objcopy takes the earlier of two program headers with the same
//! file offset for the parent of the other, and lays the file out by its alignment: nothing that an earlier header names
//! comes first in a new segment. patchelf ends with an assertion where, in an executable at a fixed address, one of the
//! sections that it writes anew is the last one of the file: a small table follows them.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::dynamic::{copy_for, copy_len};
use super::evict;
use super::free_space::{Region, may_leave_its_segment, segment_of_strings, within};
use super::movable::{Block, blocks, place_sections, redirect};
use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Image, Section, Segment, Vaddr};

/// What makes room for the new string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// `.dynstr`, whole, moves.
    Moved,
    /// The tables behind it move.
    Evicted,
    /// Whichever has fewer bytes.
    Fewer,
}

/// What becomes of `.dynstr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strings {
    /// Nothing: the search path stays what it is.
    Kept,
    /// It grows at its place.
    Grows,
    /// It is here, grown.
    Moved(Place),
}

/// Bytes that a file may grow by for the sake of patchelf.
const SOME: u64 = 0x1000;

/// One piece.
#[derive(Debug)]
enum Piece {
    Strings,
    Dynamic,
    Table(Block),
}

impl Piece {
    /// Whether a program header names it.
    fn has_header(&self) -> bool {
        match self {
            Self::Strings => false,
            Self::Dynamic => true,
            Self::Table(block) => !block.segments.is_empty(),
        }
    }

    /// Bytes, and the alignment of their address.
    fn size(&self, draft: &Draft<'_, '_>) -> Result<(u64, u64), NoFit> {
        Ok(match self {
            Self::Strings => (draft.grown_table_len()?, alignment_of_strings(draft.image)),
            Self::Dynamic => (copy_len(draft.image), u64::from(draft.image.encoding.layout.word)),
            Self::Table(block) => (block.len(), block.align),
        })
    }
}

/// What its section header asks for: 1 from linkers, 8 from patchelf.
fn alignment_of_strings(image: &Image<'_>) -> u64 {
    const LARGEST: u64 = 0x1000;
    let section = image.strings.section.and_then(|index| image.sections.get(index));
    section.map_or(1, |section| section.align).clamp(1, LARGEST)
}

type Place = (FileOffset, Vaddr);

/// The pieces with their places in a region.
pub(super) struct Packing {
    pub(super) region: Region,
    /// Bytes of the region that are used.
    pub(super) used: u64,
    strings: Strings,
    pub(super) dynamic: Option<Place>,
    tables: Vec<(Block, Place)>,
    /// Where `.dynstr` stays: the end of what made way behind it.
    freed_until: FileOffset,
}

impl Packing {
    /// Chooses what goes into `region`, together with `displaced`, and where each piece lies.
    pub(super) fn choose(
        draft: &Draft<'_, '_>,
        region: Region,
        mut displaced: Vec<Block>,
        choice: Choice,
    ) -> Result<Self, NoFit> {
        let image = draft.image;
        let evicted = evicted(draft, &region, &displaced, choice)?;
        // .dynstr is displaced by moving, as it would be anyway.
        displaced.retain(|block| block.range != image.strings.range);
        let freed_until = evicted.as_ref().and_then(|blocks| blocks.last()).map(|block| block.range.end);
        let stays = freed_until.is_some();
        if !stays && segment_of_strings(image).map(|(index, _)| index) != region.segment {
            may_leave_its_segment(image)?;
        }
        let mut pieces: Vec<Piece> = if stays { Vec::new() } else { vec![Piece::Strings] };
        for block in displaced.into_iter().chain(evicted.into_iter().flatten()) {
            pieces.push(if block.is_dynamic(image) { Piece::Dynamic } else { Piece::Table(block) });
        }
        if draft.moves_dynamic() && !pieces.iter().any(|piece| matches!(piece, Piece::Dynamic)) {
            pieces.push(Piece::Dynamic);
        }
        if !region.writable && pieces.iter().any(|piece| matches!(piece, Piece::Dynamic)) {
            return Err(NoFit::new(".dynamic must lie in a writable segment"));
        }
        let freed_until = freed_until.unwrap_or(FileOffset(0));
        // Padding behind .dynstr may be what the new string grows over.
        let grown = image.strings.range.start.checked_add(draft.grown_table_len()?).filter(|_| stays);
        let is_behind = region.at >= image.strings.range.end;
        let used = grown.filter(|_| is_behind).and_then(|end| end.checked_since(region.at)).unwrap_or(0);
        let mut packing =
            Self { region, used, strings: Strings::Grows, dynamic: None, tables: Vec::new(), freed_until };
        packing.lay_out(draft, in_order(draft, &region, pieces))?;
        Ok(packing)
    }

    /// Places for `displaced` in a new segment that starts with a resolution note, up to `note_end`. The search path stays.
    pub(super) fn behind_note(
        draft: &Draft<'_, '_>,
        region: Region,
        note_end: FileOffset,
        displaced: Vec<Block>,
    ) -> Result<Self, NoFit> {
        let image = draft.image;
        let used =
            note_end.checked_since(region.at).ok_or_else(|| NoFit::of(Obstacle::Field, "file offset past 2^64"))?;
        if displaced.iter().any(|block| block.range == image.strings.range) {
            return Err(NoFit::new(".dynstr is in the way, and the search path stays"));
        }
        let piece = |block: Block| if block.is_dynamic(image) { Piece::Dynamic } else { Piece::Table(block) };
        let pieces: Vec<Piece> = displaced.into_iter().map(piece).collect();
        let (tables, freed_until) = (Vec::new(), FileOffset(0));
        let mut packing = Self { region, used, strings: Strings::Kept, dynamic: None, tables, freed_until };
        packing.lay_out(draft, in_order(draft, &region, pieces))?;
        Ok(packing)
    }

    fn lay_out(&mut self, draft: &Draft<'_, '_>, pieces: Vec<Piece>) -> Result<(), NoFit> {
        if self.region.is_new && self.used == 0 && pieces.first().is_some_and(Piece::has_header) {
            self.used = u64::from(draft.image.encoding.layout.word);
        }
        for piece in pieces {
            let (len, align) = piece.size(draft)?;
            let place = self.take(len, align)?;
            match piece {
                Piece::Strings => self.strings = Strings::Moved(place),
                Piece::Dynamic => self.dynamic = Some(place),
                Piece::Table(block) => self.tables.push((block, place)),
            }
        }
        Ok(())
    }

    /// The place of the next `len` bytes. A file offset need not be as aligned as its address.
    fn take(&mut self, len: u64, align: u64) -> Result<Place, NoFit> {
        let past = || NoFit::of(Obstacle::Field, "file offset past 2^64");
        let end = self.region.addr.checked_add(self.used).ok_or_else(past)?;
        let addr = end.checked_round_up(align).ok_or_else(past)?;
        let inside = addr.checked_since(self.region.addr).ok_or_else(past)?;
        let at = self.region.at.checked_add(inside).ok_or_else(past)?;
        self.used = inside.checked_add(len).ok_or_else(past)?;
        if self.used > self.region.len {
            return Err(NoFit::new(format!("{} bytes unused, {} needed", self.region.len, self.used)));
        }
        Ok((at, addr))
    }

    /// Everything, for a region whose segment is there already.
    pub(super) fn install(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        self.fill(draft)?;
        if let Some(segment) = self.region.segment.filter(|_| self.region.grows) {
            draft.grow_segment(segment, self.used)?;
        }
        self.switch(draft, None)?;
        self.place(draft)
    }

    /// Writes the copies; nothing names them yet.
    pub(super) fn fill(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        for (block, (at, _)) in &self.tables {
            draft.copy(block.range.clone(), *at, "a table that makes way");
        }
        if let Some((at, addr)) = self.dynamic {
            draft.fill(at, copy_for(draft.image, addr)?, ".dynamic");
        }
        match self.strings {
            Strings::Moved((at, _)) => draft.fill_table(at),
            Strings::Grows | Strings::Kept => Ok(()),
        }
    }

    /// Points everything to the copies and puts the new string in force. The region is mapped by now; program header
    /// `borrowed`, if any, serves for that.
    pub(super) fn switch(&self, draft: &mut Draft<'_, '_>, borrowed: Option<usize>) -> Result<(), NoFit> {
        if let Some((at, addr)) = self.dynamic {
            draft.switch_dynamic(at, addr)?;
        }
        for (block, (at, addr)) in &self.tables {
            redirect(draft, block, *at, *addr, borrowed)?;
            draft.record_move(block.range.clone(), *at, *addr);
        }
        match self.strings {
            Strings::Moved((at, addr)) => draft.switch_table(at, addr),
            Strings::Grows => {
                let (at, addr) = (draft.image.strings.range.start, draft.image.strings.addr);
                draft.fill_table(at)?;
                draft.clear_behind_table(self.freed_until)?;
                draft.switch_table(at, addr)
            }
            Strings::Kept => Ok(()),
        }
    }

    /// The old place of `.dynstr`, if it moves.
    pub(super) fn strings_left(&self, image: &Image<'_>) -> Option<Range<FileOffset>> {
        matches!(self.strings, Strings::Moved(_)).then(|| image.strings.range.clone())
    }

    /// The block that program header `index` describes, if it moves, and its new place.
    pub(super) fn block_of(&self, index: usize) -> Option<(&Block, Place)> {
        let found = self.tables.iter().find(|(block, _)| block.segments.contains(&index));
        found.map(|(block, place)| (block, *place))
    }

    /// The section headers, last.
    pub(super) fn place(&self, draft: &mut Draft<'_, '_>) -> Result<(), NoFit> {
        for (block, (at, addr)) in &self.tables {
            place_sections(draft, block, *at, *addr)?;
        }
        if self.dynamic.is_some() {
            draft.place_dynamic()?;
        }
        match self.strings {
            Strings::Moved((at, addr)) => draft.place_table(at, addr),
            Strings::Grows => draft.place_table(draft.image.strings.range.start, draft.image.strings.addr),
            Strings::Kept => Ok(()),
        }
    }
}

/// The tables behind `.dynstr`, where they go rather than the table itself.
fn evicted(
    draft: &Draft<'_, '_>,
    region: &Region,
    displaced: &[Block],
    choice: Choice,
) -> Result<Option<Vec<Block>>, NoFit> {
    let strings = &draft.image.strings;
    let dynamic = draft.image.dynamic.segment;
    // A data segment without data is a finding of eu-elflint.
    let leaves_data = || {
        let place = draft.image.segments.get(dynamic).map(Segment::addresses);
        let holder = draft.image.loads().find(|(_, load)| place.as_ref().is_some_and(|p| within(p, &load.addresses())));
        let Some((holder, load)) = holder else { return false };
        let data = draft.image.sections.iter().filter(|section| {
            section.is_alloc() && section.flags.0 & elf::SHF_WRITE.0 != 0 && load.addresses().contains(&section.addr)
        });
        region.segment == Some(holder) || data.filter(|section| section.kind != elf::SHT_DYNAMIC).count() > 0
    };
    let fits = |blocks: &Vec<Block>| {
        let size = blocks.iter().fold(0u64, |sum, block| sum.saturating_add(block.len()));
        let taken = |range: &Range<FileOffset>| displaced.iter().any(|other| other.range == *range);
        let has_dynamic = blocks.iter().any(|block| block.is_dynamic(draft.image));
        let may_lie_here = !has_dynamic || region.writable && leaves_data();
        // patchelf wants the .dynstr of an executable at a fixed address where it is (see `slack`).
        let most =
            if draft.image.file_type == elf::ET_EXEC { strings.len().saturating_add(SOME) } else { strings.len() };
        size < most && may_lie_here && !taken(&strings.range) && !blocks.iter().any(|block| taken(&block.range))
    };
    match choice {
        Choice::Moved => Ok(None),
        Choice::Evicted => {
            let blocks = evict::choose(draft)?;
            let has_dynamic = blocks.iter().any(|block| block.is_dynamic(draft.image));
            if has_dynamic && !leaves_data() {
                return Err(NoFit::new(".dynamic is the only data of its segment"));
            }
            Ok(Some(blocks))
        }
        Choice::Fewer => Ok(evict::choose(draft).ok().filter(fits)),
    }
}

/// The pieces in the order in which they lie in `region`.
fn in_order(draft: &Draft<'_, '_>, region: &Region, pieces: Vec<Piece>) -> Vec<Piece> {
    let image = draft.image;
    let (mut strings, mut named, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Strings => strings.push(piece),
            _ if piece.has_header() => named.push(piece),
            _ => plain.push(piece),
        }
    }
    let is_last = image.sections.iter().filter_map(Section::file_range).all(|range| range.start < region.at);
    if image.file_type == elf::ET_EXEC && is_last {
        if plain.is_empty() {
            plain.extend(companion(image, &named).map(Piece::Table));
        }
        // One in front where .dynstr is not.
        let front = if strings.is_empty() && plain.len() > 1 { plain.split_off(1) } else { Vec::new() };
        let (front, back) = if front.is_empty() { (front, plain) } else { (plain, front) };
        return front.into_iter().chain(strings).chain(named).chain(back).collect();
    }
    // .dynstr last, so that it can grow at its place.
    if plain.is_empty() && region.is_new {
        return strings.into_iter().chain(named).collect();
    }
    plain.into_iter().chain(named).chain(strings).collect()
}

/// The smallest table that only a `DT_*` entry names.
fn companion(image: &Image<'_>, taken: &[Piece]) -> Option<Block> {
    let taken =
        |block: &Block| taken.iter().any(|piece| matches!(piece, Piece::Table(other) if other.range == block.range));
    blocks(image, FileOffset(0), image.file_end())
        .into_iter()
        .filter(|block| block.is_table() && block.check_movable().is_ok() && block.range != image.strings.range)
        .filter(|block| !taken(block))
        .min_by_key(Block::len)
}
