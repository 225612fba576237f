//! Rung *dynamic*, beside another rung: where a first search path gets its entry in `.dynamic`.
//!
//! Most linkers leave spare `DT_NULL` entries. lld and Go leave none: then `DT_RELACOUNT`, a hint, is given up; or, where
//! there is no such hint, `.dynamic` moves to a place in a writable segment: ld.so stores into `DT_DEBUG`, and older ones
//! relocate the entries in place. The old bytes stay as they are for code that reaches them by `_DYNAMIC` or the first
//! word of the GOT. RELRO does not cover the new place. Safe because the new table is complete, and says what the old one
//! says, before `PT_DYNAMIC` names it, with one store of `p_vaddr`.

use object::elf;

use super::free_space::{segment_of_strings, within};
use super::{NoFit, Obstacle};
use crate::elf::{Image, Vaddr, overlap};

/// Where the entry for a first search path comes from.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// assert_eq!(plan.entry, driver_runpath::plan::EntryFor::Spare);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

/// Entries that a table at a new place has at its end: the terminator, and spare ones so that it need not move again.
const NULLS: usize = 5;

/// The bytes of `.dynamic` for a new place: the same entries, and `DT_NULL` ones behind them. Never shorter than it was.
pub(super) fn copy_for(image: &Image<'_>, addr: Vaddr) -> Result<Vec<u8>, NoFit> {
    let encoding = &image.encoding;
    let word = |value: u64| {
        encoding.bytes(value, encoding.layout.word).ok_or_else(|| NoFit::of(Obstacle::Field, "d_val is too large"))
    };
    let mut bytes = Vec::new();
    for entry in &image.dynamic.entries {
        // Relative to its own entry, which goes by the same distance as the table.
        let value = match entry.tag {
            elf::DT_MIPS_RLD_MAP_REL => {
                encoding.word(entry.value.wrapping_add(image.dynamic.addr.0).wrapping_sub(addr.0) as i64)
            }
            _ => entry.value,
        };
        bytes.extend(word(encoding.word(entry.tag.0))?);
        bytes.extend(word(value)?);
    }
    let len = usize::try_from(copy_len(image)).map_err(|_| NoFit::of(Obstacle::Field, ".dynamic is too large"))?;
    bytes.resize(len.max(bytes.len()), 0);
    Ok(bytes)
}

/// The size in bytes of [`copy_for`]'s table.
pub(super) fn copy_len(image: &Image<'_>) -> u64 {
    let needed =
        (image.dynamic.entries.len().saturating_add(NULLS) as u64).saturating_mul(image.encoding.layout.dyn_size);
    let old = image.segments.get(image.dynamic.segment).map_or(0, |segment| segment.filesz);
    needed.max(old)
}

/// Whether an editor such as patchelf has taken `.dynamic` from where the linker had put it, so that no code reaches it
/// by an address of its own: it lies behind `.dynstr` in a writable segment, RELRO does not cover it, and the first word
/// of the GOT, the address of `_DYNAMIC` (psABIs), names another place.
pub(super) fn is_detached(image: &Image<'_>) -> bool {
    let Some(place) = image.segments.get(image.dynamic.segment) else { return false };
    let addresses = place.addresses();
    let beside_strings = segment_of_strings(image).is_some_and(|(_, load)| {
        load.has(elf::PF_W)
            && !load.has(elf::PF_X)
            && within(&addresses, &load.file_addresses())
            && image.strings.addr < addresses.start
    });
    let relro = image.segments.iter().filter(|segment| segment.kind == elf::PT_GNU_RELRO);
    let is_protected = relro.into_iter().any(|segment| overlap(&segment.addresses(), &addresses));
    let word = image.encoding.layout.word;
    let got = image.dynamic.value(elf::DT_PLTGOT).and_then(|addr| {
        let range = image.file_range_of(Vaddr(addr), u64::from(word))?;
        image.encoding.value(image.bytes(&range)?, word)
    });
    beside_strings && !is_protected && got != Some(addresses.start.0)
}
