//! Who owns which bytes of a file: headers, sections, tables of the loader.

use super::dynamic::{Dynamic, tag_name};
use super::image::Image;
use goblin::elf::dynamic::DT_SYMTAB;
use goblin::elf::program_header::{PT_INTERP, PT_NOTE};
use goblin::elf::section_header::{SHT_DYNAMIC, SHT_DYNSYM, SHT_SYMTAB};
use std::collections::BTreeSet;
use std::ops::Range;

/// `PT_GNU_PROPERTY`, which a `PT_NOTE` often repeats.
pub const PT_GNU_PROPERTY: u32 = 0x6474_e553;

/// Names a piece so that it is found again in the other file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Header,
    ProgramHeaders,
    SectionHeaders,
    Section(usize),
    /// A table that the dynamic table names by this tag.
    Table(u64),
    Dynamic,
    /// A program header of a kind that owns its bytes, and which of that kind.
    Segment(u32, usize),
}

/// A run of file bytes with an owner.
#[derive(Clone, Debug)]
pub struct Piece {
    pub key: Key,
    pub range: Range<u64>,
    /// Whether another check compares the content entry by entry.
    pub is_compared: bool,
}

impl Piece {
    /// A name for messages.
    pub fn name(&self, image: &Image) -> String {
        match self.key {
            Key::Header => "the ELF header".into(),
            Key::ProgramHeaders => "the program header table".into(),
            Key::SectionHeaders => "the section header table".into(),
            Key::Section(index) => image.section_name(index),
            Key::Table(tag) => format!("the table of {}", tag_name(tag)),
            Key::Dynamic => "PT_DYNAMIC".into(),
            Key::Segment(PT_INTERP, _) => "PT_INTERP".into(),
            Key::Segment(..) => "PT_NOTE".into(),
        }
    }

    /// Section headers and the dynamic table both describe the file: a section overlaps
    /// its own table rightly.
    fn is_of_view(&self, of_sections: bool) -> bool {
        match self.key {
            Key::Header | Key::ProgramHeaders => true,
            Key::SectionHeaders | Key::Section(_) => of_sections,
            Key::Table(_) | Key::Dynamic | Key::Segment(..) => !of_sections,
        }
    }
}

/// All pieces of a file that have bytes in it.
pub fn pieces(image: &Image, dynamic: Option<&Dynamic>) -> Vec<Piece> {
    let piece = |key, range, is_compared| Piece { key, range, is_compared };
    let mut all = vec![
        piece(Key::Header, 0..image.header_size(), false),
        piece(Key::ProgramHeaders, image.phdr_range(), true),
        piece(Key::SectionHeaders, image.shdr_range(), true),
    ];
    for (index, section) in image.sections.iter().enumerate() {
        if section.has_file_bytes() {
            let is_compared = matches!(section.kind, SHT_DYNAMIC | SHT_SYMTAB | SHT_DYNSYM);
            all.push(piece(Key::Section(index), section.file_range(), is_compared));
        }
    }
    if let Some(dynamic) = dynamic {
        let range = dynamic.offset..dynamic.offset + dynamic.size;
        all.push(piece(Key::Dynamic, range, true));
        for (tag, range) in dynamic.extents() {
            all.push(piece(Key::Table(tag), range, tag == DT_SYMTAB));
        }
    }
    for kind in [PT_INTERP, PT_NOTE, PT_GNU_PROPERTY] {
        let segments = image.segments.iter().filter(|s| s.kind == kind);
        for (index, segment) in segments.enumerate() {
            all.push(piece(Key::Segment(kind, index), segment.file_range(), false));
        }
    }
    all.retain(|p| !p.range.is_empty() && p.range.end <= image.bytes.len() as u64);
    all
}

/// Pairs of pieces that claim the same bytes within one view of the file.
pub fn overlaps(pieces: &[Piece]) -> BTreeSet<(Key, Key)> {
    let mut found = BTreeSet::new();
    for of_sections in [true, false] {
        let mut view = pieces.iter().filter(|p| p.is_of_view(of_sections)).collect::<Vec<_>>();
        view.sort_by_key(|p| (p.range.start, p.range.end));
        let mut open: Vec<&Piece> = Vec::new();
        for piece in view {
            open.retain(|o| o.range.end > piece.range.start);
            // Enough to object; all pairs of a hostile file would be too many.
            for other in open.iter().take(16) {
                let (a, b) = (other.key.min(piece.key), other.key.max(piece.key));
                found.insert((a, b));
            }
            open.push(piece);
        }
    }
    found
}

/// Such a pair in words.
pub fn overlap_of(pieces: &[Piece], (a, b): (Key, Key), image: &Image) -> String {
    let name = |key| pieces.iter().find(|p| p.key == key).map_or_else(String::new, |p| p.name(image));
    format!("{} and {} overlap", name(a), name(b))
}

/// Whether a piece of the original is at another place afterwards.
pub fn is_moved(piece: &Piece, before: &Image, after: &Image, after_pieces: &[Piece]) -> bool {
    match piece.key {
        // Notes have no names: the same place counts, whatever program header names it.
        Key::Segment(..) => !after_pieces.iter().any(|p| matches!(p.key, Key::Segment(..)) && p.range == piece.range),
        Key::Section(index) => match (before.sections.get(index), after.sections.get(index)) {
            (Some(a), Some(b)) => a.offset != b.offset,
            _ => false,
        },
        key => after_pieces.iter().find(|p| p.key == key).is_some_and(|p| p.range.start != piece.range.start),
    }
}
