//! The section header table, which no loader reads.

use std::ops::{Deref, Range};

use object::Endianness;
use object::elf;
use object::read::elf::SectionHeader as _;

use super::class::Class;
use super::space::{FileOffset, Vaddr};

/// One entry of the section header table (gABI, "Section Header").
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// let data = image.sections.iter().find(|section| image.section_name(section) == b".rodata").ok_or("no .rodata")?;
/// assert!(data.is_alloc());
/// assert_eq!(data.file_range().and_then(|range| image.bytes(&range)), Some(&b"libcuda.so.1\0"[..]));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
#[non_exhaustive]
pub struct Section {
    pub name: u32,
    pub kind: elf::SectionType,
    pub flags: elf::SectionFlags,
    pub addr: Vaddr,
    pub offset: FileOffset,
    pub size: u64,
    pub link: u32,
    pub info: u32,
    pub align: u64,
    pub entsize: u64,
}

impl Section {
    /// The bytes in the file; none for `SHT_NOBITS` and `SHT_NULL`.
    pub fn file_range(&self) -> Option<Range<FileOffset>> {
        let has_bytes = self.kind != elf::SHT_NOBITS && self.kind != elf::SHT_NULL && self.size > 0;
        has_bytes.then(|| self.offset..FileOffset(self.offset.0.saturating_add(self.size)))
    }

    /// Whether the section is part of the loaded image (`SHF_ALLOC`).
    pub fn is_alloc(&self) -> bool {
        self.flags.0 & elf::SHF_ALLOC.0 != 0
    }
}

/// The section header table, empty where the file has none or one that cannot be read.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// assert_eq!((image.sections.len(), image.sections.damage()), (26, None));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SectionTable {
    entries: Vec<Section>,
    /// Where the table lies; `None` where there is none.
    pub place: Option<Range<FileOffset>>,
    /// The bytes of `.shstrtab`.
    pub names: Option<Range<FileOffset>>,
    /// Index of `.shstrtab`.
    pub names_index: Option<usize>,
    /// Why the table that the header announces cannot be used.
    pub unusable: Option<String>,
    /// Sections that lie outside the file, by index and file offset; they count as `SHT_NULL`.
    pub outside: Vec<(usize, FileOffset)>,
}

impl SectionTable {
    /// Takes the sections at `indices` for plain data.
    pub(super) fn make_plain(&mut self, indices: &[usize]) {
        for (_, section) in self.entries.iter_mut().enumerate().filter(|(index, _)| indices.contains(index)) {
            section.kind = elf::SHT_PROGBITS;
        }
    }

    /// A table that is there and cannot be used.
    pub(super) fn unusable(why: impl Into<String>) -> Self {
        Self { unusable: Some(why.into()), ..Self::default() }
    }

    /// What is wrong with the table, or with a section in it.
    pub fn damage(&self) -> Option<String> {
        let outside = || self.outside.first().map(|(index, _)| format!("section {index} lies outside the file"));
        self.unusable.clone().or_else(outside)
    }
}

impl Deref for SectionTable {
    type Target = [Section];
    fn deref(&self) -> &[Section] {
        &self.entries
    }
}

impl SectionTable {
    /// Loaders never look at section headers, so a broken table is a fact to report and no reason to refuse the file, and
    /// a broken header no reason to do without the others.
    pub(super) fn parse<H: Class>(header: &H, endian: Endianness, data: &[u8]) -> Self {
        let headers = match header.section_headers(endian, data) {
            Ok([]) => return Self::default(),
            Ok(headers) => headers,
            Err(error) => return Self::unusable(error.to_string()),
        };
        let word = |value: H::Word| -> u64 { value.into() };
        let mut entries: Vec<Section> = headers
            .iter()
            .map(|entry| Section {
                name: entry.sh_name(endian),
                kind: entry.sh_type(endian),
                flags: entry.sh_flags(endian),
                addr: Vaddr(word(entry.sh_addr(endian))),
                offset: FileOffset(word(entry.sh_offset(endian))),
                size: word(entry.sh_size(endian)),
                link: entry.sh_link(endian),
                info: entry.sh_info(endian),
                align: word(entry.sh_addralign(endian)),
                entsize: word(entry.sh_entsize(endian)),
            })
            .collect();
        let end = FileOffset(data.len() as u64);
        let inside = |section: &Section| section.offset.checked_add(section.size).is_some_and(|last| last <= end);
        let mut outside = Vec::new();
        for (index, section) in entries.iter_mut().enumerate() {
            if section.file_range().is_some() && !inside(section) {
                section.kind = elf::SHT_NULL;
                outside.push((index, section.offset));
            }
        }
        let start = FileOffset(word(header.e_shoff(endian)));
        let place = (entries.len() as u64).checked_mul(H::LAYOUT.shdr_size).and_then(|size| start.range(size));
        let names_index = header.shstrndx(endian, data).ok().and_then(|index| usize::try_from(index).ok());
        let names = names_index.and_then(|index| entries.get(index)).and_then(Section::file_range);
        Self { entries, place, names, names_index, unusable: None, outside }
    }
}
