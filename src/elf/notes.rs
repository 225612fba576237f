//! ELF notes (gABI, "Note Section").

use object::elf;

use super::class::Encoding;

/// Whether `bytes`, a sequence of notes, has the build ID (`NT_GNU_BUILD_ID` of owner GNU).
pub fn has_build_id(encoding: &Encoding, bytes: &[u8], align: u64) -> bool {
    Notes::new(encoding, bytes, align)
        .any(|note| note.owner == b"GNU\0" && note.kind == u64::from(elf::NT_GNU_BUILD_ID.0))
}

/// One note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note<'data> {
    /// The owner's name with its NUL.
    pub(crate) owner: &'data [u8],
    /// What the owner means by it.
    pub(crate) kind: u64,
    /// The descriptor.
    pub(crate) desc: &'data [u8],
    /// Where the descriptor starts in the sequence.
    pub(crate) desc_at: usize,
    /// Where the note starts in the sequence.
    pub(crate) at: usize,
    /// Where it ends, with its padding.
    pub(crate) end: usize,
}

/// The notes of a sequence. A broken one ends it.
pub(crate) struct Notes<'data> {
    encoding: Encoding,
    bytes: &'data [u8],
    at: usize,
    align: usize,
}

impl<'data> Notes<'data> {
    /// The notes in `bytes`, aligned as their section or segment is.
    pub(crate) fn new(encoding: &Encoding, bytes: &'data [u8], align: u64) -> Self {
        // glibc and the kernel: 8 where p_align says 8, else 4.
        Self { encoding: *encoding, bytes, at: 0, align: if align == 8 { 8 } else { 4 } }
    }

    /// What was not read: nothing, unless a note is broken or the iterator is not at its end.
    pub(crate) fn rest(&self) -> &'data [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

impl<'data> Iterator for Notes<'data> {
    type Item = Note<'data>;

    fn next(&mut self) -> Option<Note<'data>> {
        let rest = self.rest();
        let word = |at: usize| self.encoding.value(rest.get(at..)?, 4);
        let (name_size, desc_size, kind) = (word(0)?, word(4)?, word(8)?);
        let name_end = 12usize.checked_add(usize::try_from(name_size).ok()?)?;
        let desc_start = name_end.checked_next_multiple_of(self.align)?;
        let desc_end = desc_start.checked_add(usize::try_from(desc_size).ok()?)?;
        let owner = rest.get(12..name_end)?;
        let desc = rest.get(desc_start..desc_end)?;
        let desc_at = self.at.checked_add(desc_start)?;
        let next = desc_end.checked_next_multiple_of(self.align)?.min(rest.len());
        let at = self.at;
        self.at = self.at.checked_add(next)?;
        Some(Note { owner, kind, desc, desc_at, at, end: self.at })
    }
}
