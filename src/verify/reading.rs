//! The header tables as goblin reads them: of what is there, and of what is planned.

use std::ops::Range;

use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{self, Dynamic};
use goblin::elf::program_header::{self, ProgramHeader};
use goblin::elf::section_header::{self, SectionHeader};
use goblin::elf::{Elf, Header};

use super::overlay::Overlay;
use crate::plan::{Move, Plan};

/// The header tables of one file.
pub(super) struct Reading {
    pub(super) header: Header,
    pub(super) segments: Vec<ProgramHeader>,
    pub(super) dynamic: Vec<(u64, u64)>,
    pub(super) dynamic_range: Range<u64>,
    pub(super) sections: Vec<SectionHeader>,
    /// Bytes of the file.
    pub(super) len: u64,
}

impl Reading {
    pub(super) fn of(file: &Overlay<'_>) -> Result<Self, String> {
        let failed = |error: goblin::error::Error| error.to_string();
        let header = Elf::parse_header(&file.read(0, file.len().min(64))?).map_err(failed)?;
        let container = header.container().map_err(failed)?;
        let ctx = Ctx::new(container, header.endianness().map_err(failed)?);
        let (phdr_size, shdr_size): (u64, u64) = if container == Container::Big { (56, 64) } else { (32, 40) };

        let count = usize::from(header.e_phnum);
        let table = file.read(header.e_phoff, phdr_size.saturating_mul(count as u64))?;
        let segments = ProgramHeader::parse(&table, 0, count, ctx).map_err(failed)?;

        let place = segments.iter().find(|segment| segment.p_type == program_header::PT_DYNAMIC);
        let place = place.ok_or("no PT_DYNAMIC")?;
        let window = file.read(place.p_offset, place.p_filesz)?;
        // goblin looks for the table at p_offset; the window starts at 0.
        let in_window = ProgramHeader { p_offset: 0, ..place.clone() };
        let dynamic = Dynamic::parse(&window, &[in_window], ctx).map_err(failed)?.ok_or("no dynamic table")?;
        let dynamic = dynamic.dyns.iter().map(|entry| (entry.d_tag, entry.d_val));
        let mut dynamic: Vec<(u64, u64)> = dynamic.collect();
        let end = dynamic.iter().position(|(tag, _)| *tag == dynamic::DT_NULL);
        dynamic.truncate(end.ok_or("a dynamic table without a DT_NULL at its end")?);

        let count = u64::from(header.e_shnum);
        let size = shdr_size.saturating_mul(count);
        let inside = header.e_shoff.checked_add(size).is_some_and(|end| {
            // Some versions of patchelf write the program headers over the section headers.
            let segments_end = header.e_phoff.saturating_add(phdr_size.saturating_mul(u64::from(header.e_phnum)));
            end <= file.len() && (end <= header.e_phoff || segments_end <= header.e_shoff)
        });
        // Headers of another size are no table that anybody can read.
        let is_readable = inside && u64::from(header.e_shentsize).saturating_mul(count) == size;
        let sections = if header.e_shoff == 0 || count == 0 || !is_readable {
            Vec::new()
        } else {
            let table = file.read(header.e_shoff, size)?;
            SectionHeader::parse_from(&table, 0, usize::from(header.e_shnum), ctx).map_err(failed)?
        };
        let dynamic_range = place.p_offset..place.p_offset.saturating_add(place.p_filesz);
        Ok(Self { header, segments, dynamic, dynamic_range, sections, len: file.len() })
    }

    pub(super) fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == program_header::PT_LOAD)
    }

    /// Whether a section has bytes, and has them in the file. Of a broken header nothing is expected but that it stays.
    pub(super) fn has_bytes(&self, section: &SectionHeader) -> bool {
        !matches!(section.sh_type, section_header::SHT_NOBITS | section_header::SHT_NULL)
            && section.sh_size > 0
            && section.sh_offset.checked_add(section.sh_size).is_some_and(|end| end <= self.len)
    }

    pub(super) fn value(&self, tag: u64) -> Option<u64> {
        self.dynamic.iter().rev().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    pub(super) fn offset_of(&self, addr: u64) -> Option<u64> {
        self.loads().find_map(|load| {
            let inside = addr.checked_sub(load.p_vaddr)?;
            (inside < load.p_filesz).then(|| load.p_offset.checked_add(inside))?
        })
    }
}

/// The table that took the byte at file offset `before` to another place.
pub(super) fn move_of<'p>(plan: &'p Plan<'_>, before: u64) -> Option<&'p Move> {
    plan.moves.iter().find(|table| table.from.start.0 <= before && before < table.from.end.0)
}

/// Where the byte that was at file offset `before` is afterwards, and its address there, if a table moved it.
pub(super) fn moved(plan: &Plan<'_>, before: u64) -> Option<(u64, u64)> {
    let table = move_of(plan, before)?;
    let inside = before - table.from.start.0;
    Some((table.to.0.checked_add(inside)?, table.addr.0.checked_add(inside)?))
}
