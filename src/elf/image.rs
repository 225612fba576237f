//! The header tables of a dynamic ELF file as plain values.

use std::ops::{Deref, Range};

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn as _, ProgramHeader as _};

use super::class::{Class, Encoding, Field};
use super::kind::{ruled_out_by_dynamic, ruled_out_by_headers, unreadable};
use super::search_path::{Current, Tag};
use super::sections::{Section, SectionTable};
use super::space::{FileOffset, Vaddr, overlap};
use super::strings::{StringTable, string_at};
use super::symbols::SymbolTable;
use super::{MAGIC, Malformed, NotCandidate, ParseError};

/// One entry of the program header table (gABI, "Program Header"). Sizes and alignment are in bytes.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::object::elf::PF_X;
///
/// let (_, code) = image.loads().find(|(_, load)| load.has(PF_X)).ok_or("no code")?;
/// assert_eq!((code.vaddr.0, code.filesz), (0x1000, 0x131));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the specification's
#[non_exhaustive]
pub struct Segment {
    pub kind: elf::ProgramType,
    pub flags: elf::ProgramFlags,
    pub offset: FileOffset,
    pub vaddr: Vaddr,
    pub paddr: Vaddr,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

impl Segment {
    /// The bytes in the file. Sums past 2^64 are cut there; [`Image::parse`] refuses loaded segments that have one.
    pub fn file_range(&self) -> Range<FileOffset> {
        self.offset..FileOffset(self.offset.0.saturating_add(self.filesz))
    }

    /// The addresses that the file's bytes are mapped to.
    pub fn file_addresses(&self) -> Range<Vaddr> {
        self.vaddr..Vaddr(self.vaddr.0.saturating_add(self.filesz))
    }

    /// All addresses of the segment, `.bss` included.
    pub fn addresses(&self) -> Range<Vaddr> {
        self.vaddr..Vaddr(self.vaddr.0.saturating_add(self.memsz))
    }

    /// Whether this is a `PT_LOAD`.
    pub fn is_load(&self) -> bool {
        self.kind == elf::PT_LOAD
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: elf::ProgramFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }
}

/// One entry of `.dynamic` (gABI, "Dynamic Section").
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::object::elf::DT_NEEDED;
///
/// assert_eq!(image.dynamic.entries.iter().filter(|entry| entry.tag == DT_NEEDED).count(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DynamicEntry {
    pub tag: elf::DynamicTag,
    pub value: u64,
}

/// `.dynamic`, up to its first `DT_NULL`.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::object::elf::DT_RUNPATH;
///
/// assert!(image.dynamic.value(DT_RUNPATH).is_none() && image.dynamic.has_spare());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DynamicTable {
    /// The entries before the first `DT_NULL`.
    pub entries: Vec<DynamicEntry>,
    /// Where the table lies in the file.
    pub offset: FileOffset,
    /// Its address.
    pub addr: Vaddr,
    /// How many entries there is room for, the `DT_NULL` ones included: what lies behind those is not known.
    pub capacity: usize,
    /// Index of `PT_DYNAMIC` in the program header table.
    pub segment: usize,
    /// For each tag of [`LOOKED_UP`], the last entry that has it.
    last: [Option<usize>; LOOKED_UP.len()],
}

/// Tags that are asked for once for each section, of which a file can have as many as a table has entries.
const LOOKED_UP: [elf::DynamicTag; 14] = [
    elf::DT_HASH,
    elf::DT_SYMTAB,
    elf::DT_RELA,
    elf::DT_RELASZ,
    elf::DT_REL,
    elf::DT_RELSZ,
    elf::DT_PLTRELSZ,
    elf::DT_JMPREL,
    elf::DT_RELRSZ,
    elf::DT_RELR,
    elf::DT_GNU_HASH,
    elf::DT_VERSYM,
    elf::DT_VERDEF,
    elf::DT_VERNEED,
];

impl DynamicTable {
    /// The last entry with `tag`: loaders fill an array by tag, so that the last one counts (glibc, elf/get-dynamic-info.h).
    pub fn position(&self, tag: elf::DynamicTag) -> Option<usize> {
        match LOOKED_UP.iter().position(|known| *known == tag) {
            Some(known) => self.last.get(known).copied().flatten(),
            None => self.entries.iter().rposition(|entry| entry.tag == tag),
        }
    }

    /// The value of the entry that counts for `tag`.
    pub fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.position(tag).and_then(|index| self.entries.get(index)).map(|entry| entry.value)
    }

    /// Whether an entry can be added: a `DT_NULL` must remain behind it.
    pub fn has_spare(&self) -> bool {
        self.entries.len().checked_add(2).is_some_and(|needed| needed <= self.capacity)
    }
}

/// File header, program headers and section headers, before `.dynamic` is known.
///
/// ```
/// use driver_runpath::elf::Headers;
/// use driver_runpath::object::elf::EM_X86_64;
///
/// let headers = Headers::read(&std::fs::read("testdata/prebuilt/x86_64/libopens.so")?)?;
/// assert_eq!((headers.machine, headers.segments.len()), (EM_X86_64, 9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[allow(missing_docs)]
#[non_exhaustive]
pub struct Headers {
    pub encoding: Encoding,
    pub file_type: elf::FileType,
    pub machine: elf::Machine,
    pub os_abi: elf::OsAbi,
    /// Where the program header table lies.
    pub segment_table: FileOffset,
    pub segments: Vec<Segment>,
    pub sections: SectionTable,
}

/// A dynamic ELF file: its bytes and its tables.
///
/// ```
/// use driver_runpath::elf::Image;
///
/// let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so")?;
/// let image = Image::parse(&file)?;
/// assert_eq!((image.search_path(), image.interpreter(), image.end_of_image()), (None, None, image.file_end()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image<'data> {
    /// The whole file.
    pub data: &'data [u8],
    headers: Headers,
    /// `.dynamic`.
    pub dynamic: DynamicTable,
    /// The string table that `DT_STRTAB` and `DT_STRSZ` name.
    pub strings: StringTable,
    /// The symbol table that `DT_SYMTAB` names.
    pub symbols: Option<SymbolTable>,
}

impl Deref for Image<'_> {
    type Target = Headers;
    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl<'data> Image<'data> {
    /// Reads the tables of a file that can have a search path.
    ///
    /// # Errors
    /// [`ParseError::NotCandidate`] for one that never has any; [`ParseError::Malformed`] where a table that the loader
    /// needs lies outside the file or contradicts another.
    pub fn parse(data: &'data [u8]) -> Result<Self, ParseError> {
        let image = Self::parse_unless(data, ruled_out_by_headers)?;
        match image.ruled_out() {
            Some(reason) => Err(reason.into()),
            None => Ok(image),
        }
    }

    /// Reads the tables of any file that has a dynamic table, also of those that must not be given a search path.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(data: &'data [u8]) -> Result<Self, ParseError> {
        Self::parse_unless(data, unreadable)
    }

    /// Why the file must not be given a search path, if it must not.
    pub fn ruled_out(&self) -> Option<NotCandidate> {
        ruled_out_by_headers(&self.headers)
            .or_else(|| ruled_out_by_dynamic(&self.headers, &self.dynamic, self.soname()))
    }

    fn parse_unless(
        data: &'data [u8],
        ruled_out: impl Fn(&Headers) -> Option<NotCandidate>,
    ) -> Result<Self, ParseError> {
        if !data.starts_with(&MAGIC) {
            return Err(NotCandidate::NotElf.into());
        }
        let headers = Headers::read(data)?;
        if let Some(reason) = ruled_out(&headers) {
            return Err(reason.into());
        }
        check_loads(&headers, data.len() as u64)?;
        let dynamic = match headers.encoding.layout.word {
            4 => parse_dynamic::<FileHeader32<Endianness>>(&headers, data)?,
            _ => parse_dynamic::<FileHeader64<Endianness>>(&headers, data)?,
        };
        let strings = StringTable::find(&headers, &dynamic)?;
        let symbols = SymbolTable::find(&headers, &dynamic, data);
        Ok(Self { data, headers, dynamic, strings, symbols })
    }

    /// The string at `offset` of the dynamic string table.
    pub fn string(&self, offset: u64) -> Option<&'data [u8]> {
        self.strings.get(self.data, offset)
    }

    /// The strings of all entries with `tag`, in their order.
    pub fn strings_of(&self, tag: elf::DynamicTag) -> impl Iterator<Item = &'data [u8]> {
        self.dynamic.entries.iter().filter(move |entry| entry.tag == tag).filter_map(|entry| self.string(entry.value))
    }

    /// The search path that loaders go by, and its tag: `DT_RUNPATH`, else `DT_RPATH`. An entry whose string cannot be
    /// read counts as empty.
    pub fn search_path(&self) -> Option<(Tag, &'data [u8])> {
        [Tag::Runpath, Tag::Rpath].into_iter().find_map(|tag| Some((tag, self.path_of(tag)?)))
    }

    /// The values of both tags.
    pub fn search_paths(&self) -> Current {
        let path = |tag| self.path_of(tag).map(<[u8]>::to_vec);
        Current { runpath: path(Tag::Runpath), rpath: path(Tag::Rpath) }
    }

    fn path_of(&self, tag: Tag) -> Option<&'data [u8]> {
        let at = self.dynamic.value(tag.dynamic_tag())?;
        Some(self.string(at).unwrap_or_default())
    }

    /// `DT_NEEDED`: the libraries that the file is linked to, in their order.
    ///
    /// ```
    /// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
    /// # use driver_runpath::elf::Image;
    /// let image = Image::parse(&file)?;
    /// assert_eq!(image.needed().collect::<Vec<_>>(), [b"libc.so.6"]);
    /// assert_eq!((image.soname(), image.search_path()), (None, None));
    /// # Ok::<(), driver_runpath::elf::ParseError>(())
    /// ```
    pub fn needed(&self) -> impl Iterator<Item = &'data [u8]> {
        self.strings_of(elf::DT_NEEDED)
    }

    /// `DT_SONAME`: the name that others need the file by.
    pub fn soname(&self) -> Option<&'data [u8]> {
        self.strings_of(elf::DT_SONAME).last()
    }

    /// `PT_INTERP`: the loader that a program names, without its NUL.
    pub fn interpreter(&self) -> Option<&'data [u8]> {
        let segment = self.segments.iter().find(|segment| segment.kind == elf::PT_INTERP)?;
        self.bytes(&segment.file_range())?.split(|&byte| byte == 0).next()
    }

    /// The bytes of a range of the file.
    pub fn bytes(&self, range: &Range<FileOffset>) -> Option<&'data [u8]> {
        slice(self.data, range)
    }

    /// The name of `section`; empty where `.shstrtab` cannot be read.
    pub fn section_name(&self, section: &Section) -> &'data [u8] {
        self.headers.section_name(self.data, section)
    }

    /// One past the last byte that a header table, segment or section names: what follows is no part of the ELF image.
    pub fn end_of_image(&self) -> FileOffset {
        let segments = self.segments.iter().map(|segment| segment.file_range().end);
        let sections = self.sections.iter().filter_map(Section::file_range).map(|range| range.end);
        let tables =
            [self.segment_table_range().end, self.sections.place.as_ref().map_or(FileOffset(0), |place| place.end)];
        segments.chain(sections).chain(tables).max().unwrap_or(FileOffset(0)).min(self.file_end())
    }

    /// The image once the program headers `segments` are `PT_NULL` and the sections `sections` hold plain data.
    pub(crate) fn without_notes(&self, segments: &[usize], sections: &[usize]) -> Self {
        let mut image = self.clone();
        for (index, segment) in image.headers.segments.iter_mut().enumerate() {
            if segments.contains(&index) {
                segment.kind = elf::PT_NULL;
            }
        }
        image.headers.sections.make_plain(sections);
        image
    }

    /// One past the last byte of the file.
    pub fn file_end(&self) -> FileOffset {
        FileOffset(self.data.len() as u64)
    }
}

impl Headers {
    /// Reads the header tables of any ELF file, dynamic or not.
    ///
    /// # Errors
    /// [`Malformed`] where the program header table cannot be read.
    pub fn read(data: &[u8]) -> Result<Self, Malformed> {
        match data.get(4).copied().map(elf::FileClass) {
            Some(elf::ELFCLASS32) => Self::parse::<FileHeader32<Endianness>>(data),
            Some(elf::ELFCLASS64) => Self::parse::<FileHeader64<Endianness>>(data),
            Some(other) => Err(Malformed::UnknownClass(other.0)),
            None => Err(Malformed::CutOff),
        }
    }

    /// The name of `section` in the file `data`; empty where `.shstrtab` cannot be read.
    pub fn section_name<'data>(&self, data: &'data [u8], section: &Section) -> &'data [u8] {
        let names = self.sections.names.as_ref().and_then(|names| slice(data, names));
        names.and_then(|names| string_at(names, u64::from(section.name))).unwrap_or_default()
    }

    fn parse<H: Class>(data: &[u8]) -> Result<Self, Malformed> {
        let malformed = |error: object::read::Error| Malformed::Headers(error.to_string());
        let header = H::parse(data).map_err(malformed)?;
        let endian = header.endian().map_err(malformed)?;
        let word = |value: H::Word| -> u64 { value.into() };
        let segments = header
            .program_headers(endian, data)
            .map_err(malformed)?
            .iter()
            .map(|entry| Segment {
                kind: entry.p_type(endian),
                flags: entry.p_flags(endian),
                offset: FileOffset(word(entry.p_offset(endian))),
                vaddr: Vaddr(word(entry.p_vaddr(endian))),
                paddr: Vaddr(word(entry.p_paddr(endian))),
                filesz: word(entry.p_filesz(endian)),
                memsz: word(entry.p_memsz(endian)),
                align: word(entry.p_align(endian)),
            })
            .collect();
        let mut headers = Self {
            encoding: Encoding { layout: &H::LAYOUT, endian },
            file_type: header.e_type(endian),
            machine: header.e_machine(endian),
            os_abi: header.e_ident().os_abi,
            segment_table: FileOffset(word(header.e_phoff(endian))),
            segments,
            sections: SectionTable::parse(header, endian, data),
        };
        // Some versions of patchelf write the program headers over the section headers.
        let overwritten =
            headers.sections.place.as_ref().is_some_and(|place| overlap(place, &headers.segment_table_range()));
        if overwritten {
            headers.sections = SectionTable::unusable("the program header table lies over them");
        }
        Ok(headers)
    }

    /// The bytes of the program header table.
    pub fn segment_table_range(&self) -> Range<FileOffset> {
        let size = (self.segments.len() as u64).saturating_mul(self.encoding.layout.phdr_size);
        self.segment_table..FileOffset(self.segment_table.0.saturating_add(size))
    }

    /// Where `field` of program header `index` lies.
    pub fn segment_field(&self, index: usize, field: Field) -> Option<FileOffset> {
        entry_field(self.segment_table, index, self.encoding.layout.phdr_size, field)
    }

    /// Where `field` of section header `index` lies in a table at `table`.
    pub fn section_field(&self, table: FileOffset, index: usize, field: Field) -> Option<FileOffset> {
        entry_field(table, index, self.encoding.layout.shdr_size, field)
    }

    /// The `PT_LOAD` entries with their index.
    pub fn loads(&self) -> impl DoubleEndedIterator<Item = (usize, &Segment)> {
        self.segments.iter().enumerate().filter(|(_, segment)| segment.is_load())
    }

    /// The file range behind the addresses `addr .. addr + len`, if one `PT_LOAD` maps all of them from the file.
    pub fn file_range_of(&self, addr: Vaddr, len: u64) -> Option<Range<FileOffset>> {
        let wanted = addr.range(len)?;
        let (_, load) = self.loads().find(|(_, load)| {
            let mapped = load.file_addresses();
            mapped.start <= wanted.start && wanted.end <= mapped.end && wanted.start < mapped.end
        })?;
        load.offset.checked_add(addr.checked_since(load.vaddr)?)?.range(len)
    }

    /// The first address that a loader keeps apart for another mapping at `page` bytes: the start of the next `PT_LOAD`
    /// behind `addr`, rounded down to a page; `None` where none follows. glibc maps the page of an empty one, too
    /// (elf/dl-load.h, `c->mapend`).
    pub fn next_load_page(&self, addr: Vaddr) -> Option<Vaddr> {
        let next =
            self.loads().map(|(_, load)| load).filter(|load| load.vaddr >= addr).min_by_key(|load| load.vaddr)?;
        Some(next.vaddr.round_down(self.page_size_of(next)))
    }

    /// The page size to keep `load` apart by: its alignment, at most the largest page of the architecture.
    pub fn page_size_of(&self, load: &Segment) -> u64 {
        const SMALLEST_PAGE: u64 = 0x1000;
        load.align.clamp(SMALLEST_PAGE, self.largest_page())
    }

    /// The largest page size that kernels of this architecture use (psABIs: common max page size of the architecture).
    /// Of those not known to have small pages only, the largest of all.
    pub fn largest_page(&self) -> u64 {
        match self.machine {
            elf::EM_386 | elf::EM_X86_64 | elf::EM_ARM | elf::EM_RISCV | elf::EM_S390 => 0x1000,
            _ => 0x1_0000,
        }
    }
}

fn entry_field(table: FileOffset, index: usize, entry_size: u64, field: Field) -> Option<FileOffset> {
    table.checked_add((index as u64).checked_mul(entry_size)?)?.checked_add(field.at)
}

fn slice<'data>(data: &'data [u8], range: &Range<FileOffset>) -> Option<&'data [u8]> {
    data.get(usize::try_from(range.start.0).ok()?..usize::try_from(range.end.0).ok()?)
}

/// Bytes of a program header table that Linux reads (fs/binfmt_elf.c, `load_elf_phdrs`). It bounds all work on segments.
const LARGEST_SEGMENT_TABLE: u64 = 0x1_0000;

/// What kernel and ld.so take for granted of the `PT_LOAD` entries (gABI, "Program Header").
fn check_loads(headers: &Headers, file_len: u64) -> Result<(), Malformed> {
    let table = headers.segment_table_range();
    if table.end.checked_since(table.start).is_none_or(|size| size > LARGEST_SEGMENT_TABLE) {
        return Err(Malformed::TooManySegments(headers.segments.len()));
    }
    let mut last: Option<&Segment> = None;
    for (index, load) in headers.loads() {
        let file_end = load.offset.checked_add(load.filesz).filter(|_| load.vaddr.checked_add(load.memsz).is_some());
        let Some(file_end) = file_end else {
            return Err(Malformed::SegmentPastEnd(index));
        };
        if file_end.0 > file_len {
            return Err(Malformed::Truncated { segment: index, end: file_end, len: file_len });
        }
        if load.filesz > load.memsz {
            return Err(Malformed::SegmentTooSmall(index));
        }
        if last.is_some_and(|last| load.vaddr < last.vaddr || overlap(&last.addresses(), &load.addresses())) {
            return Err(Malformed::SegmentOrder(index));
        }
        last = Some(load);
    }
    if last.is_none() {
        return Err(Malformed::NoLoad);
    }
    Ok(())
}

fn parse_dynamic<H: Class>(headers: &Headers, data: &[u8]) -> Result<DynamicTable, Malformed> {
    let found = headers.segments.iter().enumerate().find(|(_, segment)| segment.kind == elf::PT_DYNAMIC);
    let Some((segment, place)) = found else { return Err(Malformed::NoDynamic) };
    // The loader goes by the address, other programs by the offset: where they differ, no edit could serve both.
    let mapped = headers.file_range_of(place.vaddr, place.filesz);
    if mapped != Some(place.file_range()) {
        return Err(Malformed::TwoDynamics);
    }
    let bytes = slice(data, &place.file_range()).ok_or(Malformed::DynamicUnreadable)?;
    let capacity = bytes.len() / usize::try_from(headers.encoding.layout.dyn_size).unwrap_or(usize::MAX).max(1);
    let (entries, _) =
        object::pod::slice_from_bytes::<H::Dyn>(bytes, capacity).map_err(|()| Malformed::DynamicUnreadable)?;
    let endian = headers.encoding.endian;
    let mut all = entries.iter().map(|entry| DynamicEntry { tag: entry.tag(endian), value: entry.val(endian) });
    let entries: Vec<DynamicEntry> = all.by_ref().take_while(|entry| entry.tag != elf::DT_NULL).collect();
    if entries.len() == capacity {
        return Err(Malformed::DynamicWithoutEnd);
    }
    // The first DT_NULL, which ended `entries`, and those right behind it.
    let nulls = all.take_while(|entry| entry.tag == elf::DT_NULL).count().saturating_add(1);
    let capacity = entries.len().saturating_add(nulls);
    let mut last = [None; LOOKED_UP.len()];
    for (index, entry) in entries.iter().enumerate() {
        if let Some(place) = LOOKED_UP.iter().position(|tag| *tag == entry.tag).and_then(|known| last.get_mut(known)) {
            *place = Some(index);
        }
    }
    Ok(DynamicTable { entries, offset: place.offset, addr: place.vaddr, capacity, segment, last })
}
