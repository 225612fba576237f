//! The small tables behind the program header table, and who names them.

use std::ops::Range;

use object::elf;

use super::draft::Draft;
use super::dynamic::is_detached;
use super::free_space::within;
use super::liveness::holds_its_versions;
use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Image, Section, Vaddr, has_build_id, overlap};

/// Sections and segments that lie upon the same bytes and therefore move as one.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) range: Range<FileOffset>,
    /// The strictest alignment of its parts, in bytes.
    pub(super) align: u64,
    sections: Vec<usize>,
    pub(super) segments: Vec<usize>,
    /// The note that debuggers look for in the first page of the file.
    pub(super) build_id: bool,
    /// Why it cannot move.
    fixed: Option<String>,
}

impl Block {
    pub(super) fn len(&self) -> u64 {
        self.range.end.0 - self.range.start.0
    }

    /// Refuses a block that something without a name refers to.
    pub(super) fn check_movable(&self) -> Result<(), NoFit> {
        match &self.fixed {
            // A part that is aligned further in would not be so at another place.
            None if self.range.start.0.checked_rem(self.align) != Some(0) => {
                Err(NoFit::new("a table whose parts are aligned and whose start is not cannot move"))
            }
            None => Ok(()),
            Some(what) => Err(NoFit::new(format!("{what} is in the way and cannot move"))),
        }
    }

    /// Whether it is a table that only the dynamic table names.
    pub(super) fn is_table(&self) -> bool {
        !self.sections.is_empty() && self.segments.is_empty() && !self.build_id
    }

    /// Whether it is `.dynamic`.
    pub(super) fn is_dynamic(&self, image: &Image<'_>) -> bool {
        self.segments.contains(&image.dynamic.segment)
    }

    fn absorb(&mut self, other: Self) {
        self.range.end = self.range.end.max(other.range.end);
        self.align = self.align.max(other.align);
        self.sections.extend(other.sections);
        self.segments.extend(other.segments);
        self.build_id |= other.build_id;
        self.fixed = self.fixed.take().or(other.fixed);
    }
}

/// The blocks from `start` on, in file order, as far as `until`.
pub(super) fn blocks(image: &Image<'_>, start: FileOffset, until: FileOffset) -> Vec<Block> {
    // A note that starts within reach may hold sections that do not, so what is out of reach goes last.
    let in_reach = |range: &Range<FileOffset>| range.end > start;
    let mut found = Vec::new();
    let tables = [
        (Some(image.segment_table_range()), "the program header table"),
        (image.sections.place.clone(), "the section header table"),
    ];
    for (range, name) in tables {
        let Some(range) = range.filter(in_reach) else { continue };
        let (sections, segments) = (Vec::new(), Vec::new());
        found.push(Block { range, align: 1, sections, segments, build_id: false, fixed: Some(name.into()) });
    }
    for (index, section) in image.sections.iter().enumerate() {
        let Some(range) = section.file_range().filter(in_reach) else { continue };
        found.push(Block {
            range,
            align: section.align.max(1),
            sections: vec![index],
            segments: Vec::new(),
            build_id: section.kind == elf::SHT_NOTE && holds_build_id(image, section),
            fixed: why_fixed(image, index, section),
        });
    }
    for (index, segment) in image.segments.iter().enumerate() {
        if matches!(segment.kind, elf::PT_LOAD | elf::PT_PHDR | elf::PT_NULL) || segment.filesz == 0 {
            continue;
        }
        let range = segment.file_range();
        if in_reach(&range) {
            let is_dynamic = index == image.dynamic.segment && is_detached(image);
            let movable = (MOVABLE_SEGMENTS.contains(&segment.kind) || is_dynamic) && segment.filesz == segment.memsz;
            found.push(Block {
                range,
                align: segment.align.max(1),
                sections: Vec::new(),
                segments: vec![index],
                build_id: false,
                fixed: (!movable).then(|| format!("segment {index}")),
            });
        }
    }
    found.sort_by_key(|block| (block.range.start, std::cmp::Reverse(block.range.end)));
    let mut merged: Vec<Block> = Vec::new();
    for block in found {
        match merged.last_mut() {
            Some(last) if overlap(&last.range, &block.range) => last.absorb(block),
            _ => merged.push(block),
        }
    }
    merged.retain(|block| block.range.start < until);
    fix_named_inside(image, &mut merged);
    merged
}

/// Fixes blocks that an entry of the dynamic table leads into otherwise than by the start of its own table: nothing would
/// point that entry to the new place.
fn fix_named_inside(image: &Image<'_>, blocks: &mut [Block]) {
    let mut places: Vec<_> = named_places(image).collect();
    places.sort_unstable();
    places.dedup();
    for block in blocks.iter_mut().filter(|block| block.fixed.is_none()) {
        let sections = || block.sections.iter().filter_map(|&index| image.sections.get(index));
        let mut own: Vec<_> =
            sections().filter_map(|section| Some((section.offset, table_tag(image, section)?, section.addr))).collect();
        if block.range == image.strings.range {
            own.push((image.strings.range.start, elf::DT_STRTAB, image.strings.addr));
        }
        let from = places.partition_point(|(at, ..)| *at < block.range.start);
        let inside = places.iter().skip(from).take_while(|(at, ..)| *at < block.range.end);
        if inside.into_iter().any(|place| !own.contains(place)) {
            block.fixed = Some("a table that a second entry of the dynamic table leads into".to_owned());
        }
    }
}

/// Where the entries of the dynamic table that name a table with an address lead to in the file, with tag and address;
/// also those that do not count, since other readers take the first of two.
pub(super) fn named_places<'i>(
    image: &'i Image<'_>,
) -> impl Iterator<Item = (FileOffset, elf::DynamicTag, Vaddr)> + 'i {
    let named = image.dynamic.entries.iter().filter(|entry| NAMED.contains(&entry.tag));
    named.filter_map(|entry| Some((image.file_range_of(Vaddr(entry.value), 1)?.start, entry.tag, Vaddr(entry.value))))
}

/// Entries with the address of a table.
pub(super) const NAMED: [elf::DynamicTag; 11] = [
    elf::DT_STRTAB,
    elf::DT_SYMTAB,
    elf::DT_HASH,
    elf::DT_GNU_HASH,
    elf::DT_VERSYM,
    elf::DT_VERDEF,
    elf::DT_VERNEED,
    elf::DT_RELA,
    elf::DT_REL,
    elf::DT_JMPREL,
    elf::DT_RELR,
];

/// Segments that only describe bytes: a reader finds the bytes through the header, wherever they are.
pub(super) const MOVABLE_SEGMENTS: [elf::ProgramType; 6] = [
    elf::PT_NOTE,
    elf::PT_INTERP,
    elf::PT_GNU_PROPERTY,
    elf::PT_MIPS_REGINFO,
    elf::PT_MIPS_OPTIONS,
    elf::PT_MIPS_ABIFLAGS,
];

/// Tables that are found through one `DT_*` entry with their address.
pub(super) const TABLES: [(elf::SectionType, elf::DynamicTag); 6] = [
    (elf::SHT_GNU_HASH, elf::DT_GNU_HASH),
    (elf::SHT_HASH, elf::DT_HASH),
    (elf::SHT_DYNSYM, elf::DT_SYMTAB),
    (elf::SHT_GNU_VERSYM, elf::DT_VERSYM),
    (elf::SHT_GNU_VERDEF, elf::DT_VERDEF),
    (elf::SHT_GNU_VERNEED, elf::DT_VERNEED),
];

/// Relocation tables: the type, the entries with address and size. A table whose section has another size than the
/// entry says is one of two that the entry spans.
const RELOCATIONS: [(elf::SectionType, elf::DynamicTag, elf::DynamicTag); 5] = [
    (elf::SHT_RELA, elf::DT_RELA, elf::DT_RELASZ),
    (elf::SHT_REL, elf::DT_REL, elf::DT_RELSZ),
    (elf::SHT_RELA, elf::DT_JMPREL, elf::DT_PLTRELSZ),
    (elf::SHT_REL, elf::DT_JMPREL, elf::DT_PLTRELSZ),
    (elf::SHT_RELR, elf::DT_RELR, elf::DT_RELRSZ),
];

/// The `DT_*` entry by which loaders find `section`.
fn table_tag(image: &Image<'_>, section: &Section) -> Option<elf::DynamicTag> {
    let value = |tag| image.dynamic.value(tag);
    let here = |tag| value(tag) == Some(section.addr.0);
    let table = TABLES.iter().find(|(kind, tag)| *kind == section.kind && here(*tag)).map(|(_, tag)| *tag);
    table.or_else(|| {
        let whole = RELOCATIONS
            .iter()
            .find(|(kind, tag, size)| *kind == section.kind && here(*tag) && value(*size) == Some(section.size));
        // DT_RELASZ may span DT_JMPREL (glibc, elf/dynamic-link.h).
        let spanned =
            [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_REL, elf::DT_RELSZ)].into_iter().any(|(table, size)| {
                let (Some(start), Some(size)) = (value(table), value(size)) else { return false };
                !here(table) && (start..start.saturating_add(size)).contains(&section.addr.0)
            });
        whole.filter(|_| !spanned).map(|(_, tag, _)| *tag)
    })
}

fn why_fixed(image: &Image<'_>, index: usize, section: &Section) -> Option<String> {
    let spanned_by = |kinds: &[elf::ProgramType]| {
        let range = section.file_range().unwrap_or(FileOffset(0)..FileOffset(0));
        image.segments.iter().any(|segment| kinds.contains(&segment.kind) && within(&range, &segment.file_range()))
    };
    let movable = Some(index) == image.strings.section
        || section.kind == elf::SHT_NOTE
        || spanned_by(&MOVABLE_SEGMENTS)
        || section.kind == elf::SHT_DYNAMIC && spanned_by(&[elf::PT_DYNAMIC]) && is_detached(image)
        || table_tag(image, section).is_some();
    let consistent =
        image.file_range_of(section.addr, section.size) == section.file_range() && is_whole(image, section);
    (!movable || !consistent).then(|| String::from_utf8_lossy(image.section_name(section)).into_owned())
}

/// Whether a table ends where its section does, whatever its own links and counts say.
fn is_whole(image: &Image<'_>, section: &Section) -> bool {
    let symbols = image.symbols.as_ref();
    match section.kind {
        elf::SHT_DYNSYM => symbols.is_none_or(|symbols| symbols.exact),
        elf::SHT_GNU_VERSYM => symbols.is_none_or(|symbols| {
            let count =
                symbols.range.end.0.saturating_sub(symbols.range.start.0) / image.encoding.layout.sym_size.max(1);
            section.size / 2 >= count
        }),
        _ => holds_its_versions(image, section),
    }
}

fn holds_build_id(image: &Image<'_>, section: &Section) -> bool {
    let bytes = section.file_range().and_then(|range| image.bytes(&range));
    bytes.is_some_and(|bytes| has_build_id(&image.encoding, bytes, section.align))
}

/// Points everything that names `block`, but for the program header `borrowed` and the section headers, to its new place.
pub(super) fn redirect(
    draft: &mut Draft<'_, '_>,
    block: &Block,
    at: FileOffset,
    addr: Vaddr,
    borrowed: Option<usize>,
) -> Result<(), NoFit> {
    for &section in &block.sections {
        let Some(header) = draft.image.sections.get(section).copied() else { continue };
        let (_, addr) = moved(block, header.offset, at, addr)?;
        if let Some(tag) = table_tag(draft.image, &header) {
            draft.store_dynamic(tag, addr.0, "the address of a moved table")?;
        }
    }
    for &index in block.segments.iter().filter(|index| Some(**index) != borrowed) {
        let Some(header) = draft.image.segments.get(index).copied() else { continue };
        let (at, addr) = moved(block, header.offset, at, addr)?;
        let layout = draft.image.encoding.layout;
        const WHY: &str = "the place of a moved segment";
        draft.store_segment(index, layout.p_offset, at.0, WHY)?;
        draft.store_segment(index, layout.p_vaddr, addr.0, WHY)?;
        draft.store_segment(index, layout.p_paddr, addr.0, WHY)?;
    }
    Ok(())
}

/// Writes the new place of the block's sections into their headers.
pub(super) fn place_sections(
    draft: &mut Draft<'_, '_>,
    block: &Block,
    at: FileOffset,
    addr: Vaddr,
) -> Result<(), NoFit> {
    for &section in block.sections.iter().filter(|section| Some(**section) != draft.image.strings.section) {
        let Some(header) = draft.image.sections.get(section).copied() else { continue };
        let (at, addr) = moved(block, header.offset, at, addr)?;
        draft.place_section(section, at, addr)?;
    }
    Ok(())
}

/// Where a part of `block` that was at `part` is when the block is at `at` and `addr`.
pub(super) fn moved(
    block: &Block,
    part: FileOffset,
    at: FileOffset,
    addr: Vaddr,
) -> Result<(FileOffset, Vaddr), NoFit> {
    let inside = part.checked_since(block.range.start);
    inside
        .and_then(|inside| Some((at.checked_add(inside)?, addr.checked_add(inside)?)))
        .ok_or_else(|| NoFit::of(Obstacle::Field, "a moved table lies past 2^64"))
}
