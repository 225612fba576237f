//! Fat binaries: what nvcc and clang put PTX and cubins of one translation unit into.
//!
//! NVIDIA does not document the format. A header (u32 magic, u16 version, u16 header size, u64 size of what follows), then
//! entries, each with a header of its own; all little-endian. What is said here was found by having nvcc, ptxas and
//! fatbinary of CUDA 11 to 13 make such files, and `cuobjdump --list-elf --list-ptx` list them. Only headers are read.

use super::{Capability, Entries, Kind, Scope};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

/// Bytes of the header that is known.
const HEADER: usize = 16;

/// The least that an entry's header has.
const ENTRY_HEADER: usize = 64;

/// What `kind` of an entry means.
mod entry_kind {
    pub(super) const PTX: u16 = 1;
    pub(super) const CUBIN: u16 = 2;
    /// NVVM's intermediate code for the link at run time (`-gencode code=lto_90`).
    pub(super) const LTO: u16 = 8;
    /// Many entries that are compressed as one (nvcc's `--concat`): their headers lie in its own.
    pub(super) const CONCATENATED: u16 = 0x100;
}

/// Code for one GPU alone (`sm_90a`).
const EXACT: u64 = 0x10_0000;

/// Code for a family of GPUs (`sm_100f`), which `cuobjdump` says of PTX only.
const FAMILY: u64 = 0x20_0000;

/// One fat binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FatBinary {
    /// What it holds.
    pub(super) entries: Entries,
    /// All its bytes, the header included.
    pub(super) size: usize,
    /// Why what follows in it was not read.
    pub(super) fault: Option<&'static str>,
}

/// Reads the fat binary at the start of `bytes`.
///
/// # Errors
/// Why there is none.
pub(super) fn read(bytes: &[u8]) -> Result<FatBinary, &'static str> {
    if !bytes.starts_with(&MAGIC) {
        return Err("no fat binary");
    }
    let header = u16_at(bytes, 6).map(usize::from).filter(|size| *size >= HEADER);
    let header = header.ok_or("a fat binary without a whole header")?;
    let contents = u64_at(bytes, 8).and_then(|size| usize::try_from(size).ok());
    let size = contents.and_then(|contents| header.checked_add(contents));
    let size = size.filter(|size| *size <= bytes.len()).ok_or("a fat binary that ends behind its section")?;
    let mut found = FatBinary { entries: Vec::new(), size, fault: None };
    let mut rest = bytes.get(header..size).unwrap_or_default();
    while !rest.is_empty() {
        match entry(rest, &mut found.entries) {
            Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
            Err(why) => {
                found.fault = Some(why);
                break;
            }
        }
    }
    Ok(found)
}

/// Reads the entry at the start of `bytes`; how many bytes it takes.
fn entry(bytes: &[u8], entries: &mut Entries) -> Result<usize, &'static str> {
    let head = Head::read(bytes).ok_or("an entry without a whole header")?;
    let header = usize::try_from(head.second).ok().filter(|size| *size >= ENTRY_HEADER);
    let header = header.ok_or("an entry whose header is too small")?;
    let payload = usize::try_from(head.size).ok();
    let end = payload.and_then(|payload| header.checked_add(payload)).filter(|end| *end <= bytes.len());
    let end = end.ok_or("an entry that ends behind its fat binary")?;
    if head.kind == entry_kind::CONCATENATED {
        let headers = bytes.get(ENTRY_HEADER..header).unwrap_or_default();
        match concatenated(headers, head.size) {
            Some(all) => entries.extend(all),
            None => entries
                .push((Kind::Other("entries compressed as one, with headers of an unknown form".into()), head.size)),
        }
    } else {
        entries.push((head.meaning(), head.size));
    }
    Ok(end)
}

/// The entries whose headers stand in that of a concatenated one, behind their number and the bytes that all of it
/// takes.
///
/// There each has, where its own size of the header would stand, its place in the unpacked bytes: the sum of the sizes
/// of those before it, which is what tells that a header was found.
fn concatenated(bytes: &[u8], stored: u64) -> Option<Entries> {
    let (count, size) = (u32_at(bytes, 0)?, usize::try_from(u32_at(bytes, 4)?).ok()?);
    let mut rest = bytes.get(..size)?.get(8..)?;
    let mut heads: Vec<Head> = Vec::new();
    let mut unpacked = 0u64;
    while !rest.is_empty() {
        let head = Head::read(rest).filter(|head| u64::from(head.second) == unpacked)?;
        unpacked = unpacked.checked_add(head.size)?;
        heads.push(head);
        rest = rest.get(head.header_size(rest)?..)?;
    }
    if heads.len() != usize::try_from(count).ok()? {
        return None;
    }
    // What they take together is shared out by what they take unpacked.
    let share = |size: u64| u128::from(stored).checked_mul(u128::from(size))?.checked_div(u128::from(unpacked));
    let share = |size: u64| share(size).and_then(|share| u64::try_from(share).ok()).unwrap_or(0);
    Some(heads.iter().map(|head| (head.meaning(), share(head.size))).collect())
}

/// The fields of an entry's header that are read.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: u16,
    /// The size of the header; of a concatenated entry its place in the unpacked bytes.
    second: u32,
    size: u64,
    /// Where the compiler's options lie in the header; 0 where there are none.
    options: u32,
    number: u32,
    /// Where the source's name lies in the header, and its length.
    name: (u32, u32),
    flags: u64,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..ENTRY_HEADER)?;
        Some(Self {
            kind: u16_at(bytes, 0)?,
            second: u32_at(bytes, 4)?,
            size: u64_at(bytes, 8)?,
            options: u32_at(bytes, 20)?,
            number: u32_at(bytes, 28)?,
            name: (u32_at(bytes, 32)?, u32_at(bytes, 36)?),
            flags: u64_at(bytes, 40)?,
        })
    }

    fn meaning(&self) -> Kind {
        let scope = match (self.flags & EXACT != 0, self.flags & FAMILY != 0) {
            (true, _) => Scope::Exact,
            (false, true) => Scope::Family,
            (false, false) => Scope::Portable,
        };
        let capability = Capability::of_number(self.number, scope);
        match self.kind {
            entry_kind::PTX => Kind::Ptx(capability),
            entry_kind::CUBIN => Kind::Cubin(capability),
            entry_kind::LTO => Kind::LtoIr(capability),
            other => Kind::Other(format!("fat binary entry of kind {other:#x}")),
        }
    }

    /// The size of a header that does not have it: the fixed fields, the name, and the options, of which place and size
    /// come first; each string ends with a NUL, all of it at a multiple of 8.
    fn header_size(&self, bytes: &[u8]) -> Option<usize> {
        let size = |offset: u32, len: u32| -> Option<usize> {
            let end = u64::from(offset).checked_add(u64::from(len))?.checked_add(1)?;
            usize::try_from(end.checked_next_multiple_of(8)?).ok()
        };
        let mut end = ENTRY_HEADER;
        if self.name != (0, 0) {
            end = end.max(size(self.name.0, self.name.1)?);
        }
        if let Some(place) = usize::try_from(self.options).ok().filter(|place| *place > 0) {
            end = end.max(size(u32_at(bytes, place)?, u32_at(bytes, place.checked_add(4)?)?)?);
        }
        Some(end)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{FatBinary as Made, FatEntry, FatForm, FatScope};

    fn entry(form: FatForm, number: u32, scope: FatScope, size: u32) -> FatEntry {
        FatEntry { form, number, scope, size }
    }

    fn capability(text: &str) -> Capability {
        text.parse().expect("a capability")
    }

    #[test]
    fn entries_have_a_form_a_target_and_a_size() {
        let made = Made {
            entries: vec![
                entry(FatForm::Cubin, 90, FatScope::Exact, 100),
                entry(FatForm::Ptx, 120, FatScope::Family, 16),
                entry(FatForm::LtoIr, 75, FatScope::Portable, 0),
                entry(FatForm::Other(0x40), 75, FatScope::Portable, 8),
            ],
        };
        let found = read(&made.bytes()).expect("a fat binary");
        let expected = vec![
            (Kind::Cubin(capability("9.0a")), 104),
            (Kind::Ptx(capability("12.0f")), 16),
            (Kind::LtoIr(capability("7.5")), 0),
            (Kind::Other("fat binary entry of kind 0x40".into()), 8),
        ];
        assert_eq!(found, FatBinary { entries: expected, size: made.bytes().len(), fault: None });
    }

    /// As `nvcc --concat` makes it: the entries' headers in one, each with its place in the unpacked bytes; the first
    /// has options of 5 bytes, the second none.
    fn concatenated_entry() -> Vec<u8> {
        let made = Made {
            entries: vec![
                entry(FatForm::Cubin, 100, FatScope::Exact, 96),
                entry(FatForm::Cubin, 120, FatScope::Portable, 32),
            ],
        };
        let bytes = made.bytes();
        let (mut first, mut second) = (bytes[16..80].to_vec(), bytes[80 + 96..80 + 96 + 64].to_vec());
        first[4..8].copy_from_slice(&0u32.to_le_bytes());
        first[20..24].copy_from_slice(&64u32.to_le_bytes());
        first.extend(72u32.to_le_bytes());
        first.extend(5u32.to_le_bytes());
        first.extend(b"-G -O\0\0\0");
        second[4..8].copy_from_slice(&96u32.to_le_bytes());
        let headers = [first, second].concat();
        let whole = Made { entries: vec![entry(FatForm::Other(0x100), 0, FatScope::Portable, 64)] }.bytes();
        let mut head = whole[16..80].to_vec();
        head[4..8].copy_from_slice(&(64 + 8 + headers.len() as u32).to_le_bytes());
        let size = (8 + headers.len() as u32).to_le_bytes();
        let contents = [&head[..], &2u32.to_le_bytes(), &size, &headers, &[0x5a; 64]].concat();
        let mut bytes = whole[..16].to_vec();
        bytes[8..16].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        bytes.extend(contents);
        bytes
    }

    #[test]
    fn entries_that_are_compressed_as_one_are_told_apart() {
        let found = read(&concatenated_entry()).expect("a fat binary");
        // 64 bytes, for one of 96 and one of 32.
        let expected = vec![(Kind::Cubin(capability("10.0a")), 48), (Kind::Cubin(capability("12.0")), 16)];
        assert_eq!((found.entries, found.fault), (expected, None));
    }

    #[test]
    fn entries_that_contradict_each_other_are_not_guessed() {
        let mut bytes = concatenated_entry();
        // The number of entries.
        bytes[16 + 64] = 3;
        let found = read(&bytes).expect("a fat binary");
        assert!(matches!(found.entries[..], [(Kind::Other(_), 64)]), "{found:?}");
    }

    #[test]
    fn a_fat_binary_that_lies_says_what_is_wrong() {
        let made = Made { entries: vec![entry(FatForm::Cubin, 90, FatScope::Portable, 64)] }.bytes();
        for end in 0..made.len() {
            assert!(read(&made[..end]).is_err(), "{end}");
        }
        // An entry that is longer, and one whose header is shorter than what it has to say, or longer than all.
        for (at, value) in [(16 + 8, 65), (16 + 8, u64::MAX), (16 + 4, 0), (16 + 4, 63), (16 + 4, 0xffff_ffff)] {
            let mut bytes = made.clone();
            let size = if at == 16 + 8 { 8 } else { 4 };
            bytes[at..at + size].copy_from_slice(&u64::to_le_bytes(value)[..size]);
            let found = read(&bytes).expect("a fat binary");
            assert!(found.fault.is_some() && found.entries.is_empty(), "{value:#x} at {at}: {found:?}");
        }
    }
}
