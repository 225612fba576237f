//! ELF notes (gABI, "Note Section").

use object::elf;

use super::class::Encoding;

/// Whether `bytes`, a sequence of notes, has the build ID (`NT_GNU_BUILD_ID` of owner GNU).
pub fn has_build_id(encoding: &Encoding, bytes: &[u8], align: u64) -> bool {
    notes(encoding, bytes, align).any(|(owner, kind, _)| owner == b"GNU\0" && kind == u64::from(elf::NT_GNU_BUILD_ID.0))
}

/// Owner (with its NUL), type and descriptor of each note. A broken note ends the sequence.
pub(crate) fn notes<'data>(
    encoding: &Encoding,
    bytes: &'data [u8],
    align: u64,
) -> impl Iterator<Item = (&'data [u8], u64, &'data [u8])> {
    // glibc and the kernel: 8 where p_align says 8, else 4.
    let align = if align == 8 { 8 } else { 4 };
    let encoding = *encoding;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let word = |at: usize| encoding.value(rest.get(at..)?, 4);
        let (name_size, desc_size, kind) = (word(0)?, word(4)?, word(8)?);
        let name_end = 12usize.checked_add(usize::try_from(name_size).ok()?)?;
        let desc_start = name_end.checked_next_multiple_of(align)?;
        let desc_end = desc_start.checked_add(usize::try_from(desc_size).ok()?)?;
        let owner = rest.get(12..name_end)?;
        let desc = rest.get(desc_start..desc_end)?;
        let next = desc_end.checked_next_multiple_of(align)?.min(rest.len());
        rest = rest.get(next..)?;
        Some((owner, kind, desc))
    })
}
