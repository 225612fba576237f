//! Rung *dynamic*, beside another rung: where a first search path gets its entry in `.dynamic`.
//!
//! Most linkers leave spare `DT_NULL` entries. lld and Go leave none: then `DT_RELACOUNT`, a hint, is given up; or, where
//! there is no such hint, `.dynamic` moves into a new segment, which must be writable: ld.so stores into `DT_DEBUG`, and
//! older ones relocate the entries in place. The old bytes stay as they are for code that reaches them by `_DYNAMIC` or
//! the first word of the GOT. RELRO does not cover the new place. Safe because the new table is complete before
//! `PT_DYNAMIC` names it, with one store of `p_vaddr`.

use std::ops::Range;

use object::elf;

use super::NoFit;
use crate::elf::{DynamicEntry, FileOffset, Image, Vaddr};

/// Where the entry for a first search path comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryFor {
    /// There is one already, or a spare `DT_NULL`.
    Spare,
    /// This entry, a hint that loaders can do without.
    GivenUp(usize),
    /// A longer table at another place.
    MovedTable,
}

/// Chooses for `image`.
pub(super) fn choose(image: &Image<'_>) -> EntryFor {
    let has_tag = [elf::DT_RUNPATH, elf::DT_RPATH].iter().any(|&tag| image.dynamic.position(tag).is_some());
    if has_tag || image.dynamic.has_spare() {
        return EntryFor::Spare;
    }
    // glibc, elf/do-rel.h: how many relocations at the start are relative; without it each is looked at.
    let hint = [elf::DT_RELACOUNT, elf::DT_RELCOUNT].into_iter().find_map(|tag| image.dynamic.position(tag));
    match hint.filter(|&index| neutral_tag(image, index).is_ok()) {
        Some(index) => EntryFor::GivenUp(index),
        None => EntryFor::MovedTable,
    }
}

/// A tag that entry `index` can have for a moment whatever its value is: one that a later entry has as well. Loaders
/// fill an array by tag, so that the later one counts (glibc, elf/get-dynamic-info.h; musl, ldso/dynlink.c).
pub(super) fn neutral_tag(image: &Image<'_>, index: usize) -> Result<elf::DynamicTag, NoFit> {
    // Those that loaders go through one by one, or that are search paths themselves.
    const NOT_NEUTRAL: [elf::DynamicTag; 6] =
        [elf::DT_NULL, elf::DT_NEEDED, elf::DT_RPATH, elf::DT_RUNPATH, elf::DT_AUXILIARY, elf::DT_FILTER];
    let entries = &image.dynamic.entries;
    let later = entries.iter().skip(index.saturating_add(1)).map(|entry| entry.tag);
    if let Some(tag) = later.rev().find(|tag| !NOT_NEUTRAL.contains(tag)) {
        return Ok(tag);
    }
    // The hint for the kind of relocations that the file does not have is read by nobody.
    let unused = if image.dynamic.value(elf::DT_RELA).is_some() { elf::DT_RELCOUNT } else { elf::DT_RELACOUNT };
    let has_relocations = image.dynamic.value(elf::DT_RELA).is_some() != image.dynamic.value(elf::DT_REL).is_some();
    match image.dynamic.position(unused) {
        None if has_relocations => Ok(unused),
        _ => Err(NoFit::new("no entry behind the search path's to stand in for it")),
    }
}

/// `.dynamic` at its new place.
pub(super) struct NewDynamic {
    pub(super) at: FileOffset,
    pub(super) addr: Vaddr,
    pub(super) old_range: Range<FileOffset>,
    /// The number of edits before the one that writes it.
    pub(super) written_at: usize,
    entries: Vec<DynamicEntry>,
}

/// Entries that the new table has at its end: the terminator, and spare ones so that it need not move again.
const NULLS: usize = 4;

impl NewDynamic {
    pub(super) fn of(image: &Image<'_>, at: FileOffset, addr: Vaddr, written_at: usize) -> Result<Self, NoFit> {
        let past = || NoFit::new("address past 2^64");
        let segment = image.segments.get(image.dynamic.segment).ok_or_else(past)?;
        let mut entries = image.dynamic.entries.clone();
        for entry in entries.iter_mut().filter(|entry| entry.tag == elf::DT_MIPS_RLD_MAP_REL) {
            // Relative to its own entry, which goes by the same distance as the table.
            let value = entry.value.wrapping_add(image.dynamic.addr.0).wrapping_sub(addr.0);
            entry.value = image.encoding.word(value as i64);
        }
        let null = DynamicEntry { tag: elf::DT_NULL, value: 0 };
        entries.extend(std::iter::repeat_n(null, NULLS + 1));
        Ok(Self { at, addr, old_range: segment.file_range(), written_at, entries })
    }

    /// Bytes of the table.
    pub(super) fn len(&self, image: &Image<'_>) -> u64 {
        (self.entries.len() as u64).saturating_mul(image.encoding.layout.dyn_size)
    }

    pub(super) fn set(&mut self, index: usize, change: impl FnOnce(&mut DynamicEntry)) -> Result<(), NoFit> {
        self.entries.get_mut(index).map(change).ok_or_else(|| NoFit::new("no such entry in .dynamic"))
    }

    pub(super) fn bytes(&self, image: &Image<'_>) -> Result<Vec<u8>, NoFit> {
        let encoding = &image.encoding;
        let word =
            |value: u64| encoding.bytes(value, encoding.layout.word).ok_or_else(|| NoFit::new("d_val is too large"));
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend(word(encoding.word(entry.tag.0))?);
            bytes.extend(word(entry.value)?);
        }
        Ok(bytes)
    }
}
