//! Code for GPUs in a run of bytes: one fat binary or bundle behind another, or anywhere.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::fatbin::{u16_at, u64_at};
use super::{Capability, GpuCode, Kind, Linkage, bundle, cubin, fatbin};

/// Zero bytes between two fat binaries or bundles: linkers align them, those for AMD to pages.
const LARGEST_GAP: usize = 1 << 16;

/// Reads the fat binaries and bundles that `bytes` consist of. `offset` is where they lie in the file, `linkage` what
/// each one's place says of it.
pub(super) fn chain(bytes: &[u8], offset: u64, linkage: impl Fn(u64) -> Linkage, place: &str, found: &mut GpuCode) {
    let mut at = 0usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let gap = rest.iter().take(LARGEST_GAP).take_while(|byte| **byte == 0).count();
        let rest = rest.get(gap..).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        at = at.saturating_add(gap);
        match unit(rest, linkage(offset.saturating_add(at as u64)), found) {
            Ok((size, None)) => at = at.saturating_add(size),
            Ok((size, Some(why))) => {
                found.warn(warning(place, offset, at, why));
                at = at.saturating_add(size);
            }
            Err(why) => return found.warn(warning(place, offset, at, why)),
        }
    }
}

fn warning(place: &str, offset: u64, at: usize, why: &str) -> String {
    let at = offset.saturating_add(at as u64);
    format!("{place}, at {at:#x} in the file: {why}; what follows was not read")
}

/// Reads the fat binary or bundle at the start of `bytes`; how many bytes it takes, and why not all of it was read.
fn unit(bytes: &[u8], linkage: Linkage, found: &mut GpuCode) -> Result<(usize, Option<&'static str>), &'static str> {
    if bytes.starts_with(bundle::MAGIC) {
        let (entries, size) = bundle::read(bytes)?;
        found.add_unit(linkage, entries);
        return Ok((size, None));
    }
    if bytes.starts_with(bundle::COMPRESSED_MAGIC) {
        let size = bundle::compressed_size(bytes).ok_or("a compressed offload bundle of an unknown version")?;
        found.add_unit(linkage, vec![(Kind::Other("compressed offload bundle".into()), size as u64)]);
        return Ok((size, None));
    }
    let found_here = fatbin::read(bytes)?;
    found.add_unit(linkage, found_here.entries);
    Ok((found_here.size, found_here.fault))
}

/// What code begins with.
const STARTS: [&[u8]; 6] = [
    // The magic number, version 1, a header of 16 bytes.
    b"\x50\xed\x55\xba\x01\x00\x10\x00",
    // 64-bit little-endian ELF, `EI_OSABI` of cubins.
    &[0x7f, b'E', b'L', b'F', 2, 1, 1, cubin::OSABI_OLD],
    &[0x7f, b'E', b'L', b'F', 2, 1, 1, cubin::OSABI],
    bundle::MAGIC,
    b"CCOB\x02\x00",
    b"CCOB\x03\x00",
];

static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let patterns = STARTS.into_iter().chain([&b".target"[..]]);
    // Of the kinds of search this is the one that vector instructions are used for.
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns).ok()
});

/// Starts that turn out to be none, in one run of bytes. Programs that compile PTX have thousands of texts with `.target`.
const MOST_IN_VAIN: u32 = 1 << 16;

/// Searches data for code: fat binaries, cubins, bundles, and PTX as text.
pub(super) fn search(bytes: &[u8], linkage: Linkage, found: &mut GpuCode) {
    let Some(search) = SEARCH.as_ref() else { return };
    let (mut at, mut vain) = (0usize, 0);
    while let Some(hit) = search.find(Input::new(bytes).range(at..)) {
        let start = hit.start();
        let here = bytes.get(start..).unwrap_or_default();
        let taken = match STARTS.get(hit.pattern().as_usize()) {
            None => ptx(bytes, start, linkage, found),
            Some(start) if start.ends_with(&[cubin::OSABI_OLD]) || start.ends_with(&[cubin::OSABI]) => {
                object(here, linkage, found)
            }
            // No fault is reported: bytes that look like a start need not be one.
            Some(_) => unit(here, linkage, found).ok().map(|(size, _)| size),
        };
        vain += u32::from(taken.is_none());
        if vain > MOST_IN_VAIN {
            return found.warn(
                "too much of its data looks like code for GPUs and is none; the rest was not searched".to_owned(),
            );
        }
        at = start.saturating_add(taken.unwrap_or(1).max(1)).min(bytes.len());
    }
}

/// A cubin at the start of `bytes`; how many bytes it takes.
fn object(bytes: &[u8], linkage: Linkage, found: &mut GpuCode) -> Option<usize> {
    const E_MACHINE: usize = 18;
    const E_SHOFF: usize = 40;
    const E_SHENTSIZE: usize = 58;
    if u16_at(bytes, E_MACHINE)? != object::elf::EM_CUDA.0 {
        return None;
    }
    // The section header table comes last.
    let entries = u64::from(u16_at(bytes, E_SHENTSIZE)?).checked_mul(u64::from(u16_at(bytes, E_SHENTSIZE + 2)?))?;
    let end = u64_at(bytes, E_SHOFF)?.checked_add(entries).and_then(|end| usize::try_from(end).ok())?;
    let whole = bytes.get(..end)?;
    let kind = cubin::cubin(whole, crate::elf::Headers::read(whole).ok().as_ref())?;
    found.add_unit(linkage, vec![(kind, end as u64)]);
    Some(end)
}

/// PTX as text, of which `.target` was found at `target`: it follows `.version`, the first directive of a module (PTX
/// ISA, "PTX Module Directives"). Its size is not looked for.
fn ptx(bytes: &[u8], target: usize, linkage: Linkage, found: &mut GpuCode) -> Option<usize> {
    const DIRECTIVE: &[u8] = b".target";
    const NEAR: usize = 256;
    let before = bytes.get(target.saturating_sub(NEAR)..target)?;
    let version = memchr::memmem::rfind(before, b".version")?;
    let version = before.get(version..)?.strip_prefix(b".version")?.trim_ascii_start();
    if !version.first()?.is_ascii_digit() {
        return None;
    }
    let behind = bytes.get(target.checked_add(DIRECTIVE.len())?..)?;
    let name = behind.strip_prefix(b" ").or_else(|| behind.strip_prefix(b"\t"))?.trim_ascii_start();
    let len = name.iter().take(16).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let name = std::str::from_utf8(name.get(..len)?).ok().filter(|name| name.starts_with("sm_"))?;
    let capability: Capability = name.parse().ok()?;
    found.add_unit(linkage, vec![(Kind::Ptx(capability), 0)]);
    Some(DIRECTIVE.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{FatBinary, FatEntry, FatForm, FatScope};

    fn fat_binary() -> Vec<u8> {
        let cubin = FatEntry { form: FatForm::Cubin, number: 90, scope: FatScope::Portable, size: 64 };
        FatBinary { entries: vec![cubin] }.bytes()
    }

    fn kinds(found: &GpuCode) -> Vec<(&Kind, u64)> {
        found.pieces.iter().map(|((_, kind), tally)| (kind, tally.count)).collect()
    }

    #[test]
    fn a_chain_has_gaps_and_ends_with_what_is_none() {
        let gap = [0; 40];
        let mut found = GpuCode::default();
        let bytes = [&fat_binary()[..], &gap, &fat_binary(), &gap].concat();
        chain(&bytes, 0x1000, |_| Linkage::Executable, ".nv_fatbin", &mut found);
        assert_eq!(kinds(&found), [(&Kind::Cubin("9.0".parse().expect("a capability")), 2)]);
        assert!(found.warnings.is_empty());

        let bytes = [&bytes[..], b"something else"].concat();
        let mut found = GpuCode::default();
        chain(&bytes, 0x1000, |_| Linkage::Executable, ".nv_fatbin", &mut found);
        let at = 0x1000 + bytes.len() - 14;
        assert_eq!(
            found.warnings,
            [format!(".nv_fatbin, at {at:#x} in the file: no fat binary; what follows was not read")]
        );
    }

    #[test]
    fn code_in_data_is_found_and_what_looks_like_it_is_not() {
        let data = [
            b"text \x50\xed\x55\xba\x01\0\x10\0 text\0",
            &fat_binary()[..],
            b"requires .target sm_90 or higher\0see .version 7.0 and .target sm_%d\0CCOB\x02\0",
            b".version 8.0\n.target sm_80, texmode_independent\n.address_size 64\0",
            b".version\t7.0\r\n.target\tsm_52\0",
        ]
        .concat();
        let mut found = GpuCode::default();
        search(&data, Linkage::Resource, &mut found);
        let capability = |text: &str| text.parse().expect("a capability");
        let expected = [Kind::Cubin(capability("9.0")), Kind::Ptx(capability("5.2")), Kind::Ptx(capability("8.0"))];
        assert_eq!(kinds(&found), expected.iter().map(|kind| (kind, 1)).collect::<Vec<_>>());
    }

    #[test]
    fn a_search_in_vain_ends() {
        let data = b"\x50\xed\x55\xba\x01\0\x10\0".repeat(MOST_IN_VAIN as usize + 2);
        let mut found = GpuCode::default();
        search(&data, Linkage::Resource, &mut found);
        assert!(found.pieces.is_empty());
        assert_eq!(found.warnings.len(), 1);
    }
}
