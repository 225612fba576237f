//! Fat binaries that the CUDA runtime is given by a pointer, wherever they lie.
//!
//! `__cudaRegisterFatBinary` takes a struct that nvcc and clang put into `.nvFatBinSegment` (CUDA, fatbinary_section.h):
//! a magic number, a version, the address of the fat binary, and one more pointer.

use std::collections::{BTreeMap, BTreeSet};

use object::elf;

use super::fatbin::{u32_at, u64_at};
use super::places::slice;
use crate::elf::{Headers, Section, Vaddr};

const SECTION: &[u8] = b".nvFatBinSegment";
const MAGIC: u32 = 0x4662_43b1;

/// Bytes of the struct on 64-bit hosts, where its pointer lies, and of a relocation with addend.
const SIZE: usize = 24;
const POINTER: usize = 8;
const RELA: usize = 24;

/// Bytes of a fat binary's header.
const HEADER: u64 = 16;

/// Where in the file the fat binaries lie that are pointed to; `None` where that is not known: the pointers of an object
/// file have no values yet, those of a file without section headers are not found.
pub(super) fn pointers(bytes: &[u8], headers: &Headers) -> Option<BTreeSet<u64>> {
    // CUDA has no 32-bit hosts any more.
    if headers.encoding.layout.word != 8 || headers.file_type == elf::ET_REL {
        return None;
    }
    let named = headers.sections.iter().filter(|section| headers.section_name(bytes, section) == SECTION);
    // Headers can say what they like: one such section is enough.
    let Some((section, range)) = named.take(1).find_map(|section| Some((section, section.file_range()?))) else {
        return Some(BTreeSet::new());
    };
    let wrappers = slice(bytes, &(range.start.0..range.end.0)).unwrap_or_default();
    let mut relocated = None;
    let mut offsets = BTreeSet::new();
    for (index, wrapper) in wrappers.chunks_exact(SIZE).enumerate() {
        if u32_at(wrapper, 0) != Some(MAGIC) {
            continue;
        }
        let place = index.checked_mul(SIZE)?.checked_add(POINTER)? as u64;
        let address = match (u64_at(wrapper, POINTER)?, section.addr.checked_add(place)) {
            // lld leaves the value to the relocation, and so does GNU ld for some architectures.
            (0, Some(place)) => {
                let addends = relocated.get_or_insert_with(|| addends(bytes, headers, section));
                addends.get(&place.0).copied()
            }
            (value, _) => Some(value),
        };
        let header = address.and_then(|address| headers.file_range_of(Vaddr(address), HEADER));
        offsets.extend(header.map(|range| range.start.0));
    }
    Some(offsets)
}

/// The addends of the relocations within `section`, by address. Of the formats, `Elf64_Rela` is the one that leaves the
/// place itself empty.
fn addends(bytes: &[u8], headers: &Headers, section: &Section) -> BTreeMap<u64, u64> {
    let within = section.addr.0..section.addr.0.saturating_add(section.size);
    let tables = headers.sections.iter().filter(|table| table.kind == elf::SHT_RELA && table.is_alloc());
    let mut addends = BTreeMap::new();
    for range in tables.filter_map(Section::file_range) {
        let table = slice(bytes, &(range.start.0..range.end.0)).unwrap_or_default();
        for entry in table.chunks_exact(RELA) {
            let fields = u64_at(entry, 0).zip(u64_at(entry, 16));
            addends.extend(fields.filter(|(place, _)| within.contains(place)));
        }
    }
    addends
}
