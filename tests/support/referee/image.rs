//! An ELF file read word by word: no parser of the crate, no `object`.

use goblin::elf::header::{EI_CLASS, EI_DATA, ELFMAG, EM_AARCH64, EM_MIPS, EM_PPC64};
use goblin::elf::program_header::{PT_LOAD, PT_NULL};
use goblin::elf::section_header::{SHF_ALLOC, SHF_INFO_LINK, SHT_NOBITS, SHT_NULL};
use std::ops::Range;

const PN_XNUM: u64 = 0xffff;
const SHN_XINDEX: u64 = 0xffff;

/// A program header, widened to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: u32,
    pub flags: u64,
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

impl Segment {
    /// The file bytes that the segment maps.
    pub fn file_range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.filesz)
    }

    /// The first address behind the segment.
    pub fn end(&self) -> u64 {
        self.vaddr.saturating_add(self.memsz)
    }
}

/// A section header, widened to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub name: u64,
    pub kind: u32,
    pub flags: u64,
    pub addr: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u64,
    pub info: u64,
    pub addralign: u64,
    pub entsize: u64,
}

impl Section {
    /// Whether the loader maps the section.
    pub fn is_alloc(&self) -> bool {
        self.flags & u64::from(SHF_ALLOC) != 0
    }

    /// Whether the section owns bytes of the file.
    pub fn has_file_bytes(&self) -> bool {
        self.kind != SHT_NOBITS && self.kind != SHT_NULL && self.size > 0
    }

    /// The file bytes of the section.
    pub fn file_range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.size)
    }
}

/// A whole file with its headers read.
pub struct Image<'a> {
    pub bytes: &'a [u8],
    pub wide: bool,
    pub big: bool,
    pub machine: u16,
    pub phoff: u64,
    pub phentsize: u64,
    pub shoff: u64,
    pub shentsize: u64,
    pub segments: Vec<Segment>,
    /// Empty when there is no table, or none that lies in the file.
    pub sections: Vec<Section>,
    names: u64,
    /// The number that the original gives to each section, when the order differs.
    renumbered: Vec<u64>,
}

impl<'a> Image<'a> {
    /// Reads the headers; says what is wrong where they cannot be read.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if !bytes.starts_with(ELFMAG) {
            return Err("is not ELF".into());
        }
        let ident = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let wide = match ident(EI_CLASS) {
            1 => false,
            2 => true,
            class => return Err(format!("has the class {class}")),
        };
        let big = match ident(EI_DATA) {
            1 => false,
            2 => true,
            data => return Err(format!("has the byte order {data}")),
        };
        let mut image = Image {
            bytes,
            wide,
            big,
            machine: 0,
            phoff: 0,
            phentsize: 0,
            shoff: 0,
            shentsize: 0,
            segments: Vec::new(),
            sections: Vec::new(),
            names: 0,
            renumbered: Vec::new(),
        };
        if bytes.len() < image.header_size() as usize {
            return Err("is shorter than its header".into());
        }
        image.read_tables()?;
        Ok(image)
    }

    fn read_tables(&mut self) -> Result<(), String> {
        let short = || "is shorter than its header".to_string();
        let word = |at: u64| self.word(at).ok_or_else(short);
        let half = |at: u64| self.uint(at, 2).ok_or_else(short);
        let (phoff, shoff, rest) = if self.wide { (word(32)?, word(40)?, 54) } else { (word(28)?, word(32)?, 42) };
        let machine = half(18)?;
        let (phentsize, mut phnum) = (half(rest)?, half(rest + 2)?);
        let (shentsize, mut shnum, mut names) = (half(rest + 4)?, half(rest + 6)?, half(rest + 8)?);
        self.machine = machine as u16;
        (self.phoff, self.phentsize) = (phoff, phentsize);
        (self.shoff, self.shentsize) = (shoff, shentsize);

        // Numbers too large for the ELF header are kept in section header 0.
        let least = if self.wide { 64 } else { 40 };
        let first = (shoff != 0 && shentsize >= least).then(|| self.section_at(shoff)).flatten();
        if let Some(first) = first {
            if phnum == PN_XNUM {
                phnum = first.info;
            }
            if shnum == 0 {
                shnum = first.size;
            }
            if names == SHN_XINDEX {
                names = first.link;
            }
        }
        self.names = names;

        let least = if self.wide { 56 } else { 32 };
        if phnum > 0 && phentsize < least {
            return Err(format!("has program headers of {phentsize} bytes"));
        }
        self.table(phoff, phnum, phentsize).ok_or("has program headers outside the file")?;
        self.segments = (0..phnum).filter_map(|i| self.segment_at(phoff + i * phentsize)).collect();
        if first.is_some() && self.table(shoff, shnum, shentsize).is_some() {
            self.sections = (0..shnum).filter_map(|i| self.section_at(shoff + i * shentsize)).collect();
        }
        Ok(())
    }

    fn segment_at(&self, at: u64) -> Option<Segment> {
        let w = |i: u64| self.word(at + i);
        let u = |i: u64| self.uint(at + i, 4);
        Some(if self.wide {
            Segment {
                kind: u(0)? as u32,
                flags: u(4)?,
                offset: w(8)?,
                vaddr: w(16)?,
                paddr: w(24)?,
                filesz: w(32)?,
                memsz: w(40)?,
                align: w(48)?,
            }
        } else {
            Segment {
                kind: u(0)? as u32,
                offset: u(4)?,
                vaddr: u(8)?,
                paddr: u(12)?,
                filesz: u(16)?,
                memsz: u(20)?,
                flags: u(24)?,
                align: u(28)?,
            }
        })
    }

    fn section_at(&self, at: u64) -> Option<Section> {
        let word_size = self.word_size();
        let u = |i: u64| self.uint(at.checked_add(i)?, 4);
        // sh_name and sh_type come first, two Elf32_Word stand in the middle.
        let w = |i: u64| self.word(at.checked_add(8 + i * word_size)?);
        let middle = 8 + 4 * word_size;
        let late = |i: u64| self.word(at.checked_add(middle + 8 + i * word_size)?);
        Some(Section {
            name: u(0)?,
            kind: u(4)? as u32,
            flags: w(0)?,
            addr: w(1)?,
            offset: w(2)?,
            size: w(3)?,
            link: u(middle)?,
            info: u(middle + 4)?,
            addralign: late(0)?,
            entsize: late(1)?,
        })
    }

    /// `count` entries of `size` bytes, when they all lie in the file.
    fn table(&self, at: u64, count: u64, size: u64) -> Option<&'a [u8]> {
        self.slice(at, count.checked_mul(size)?)
    }

    /// `len` bytes at a file offset.
    pub fn slice(&self, at: u64, len: u64) -> Option<&'a [u8]> {
        let end = at.checked_add(len)?;
        self.bytes.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)
    }

    /// An unsigned number of `width` bytes at a file offset.
    pub fn uint(&self, at: u64, width: u64) -> Option<u64> {
        Some(self.number(self.slice(at, width)?))
    }

    /// A number in the file's byte order.
    pub fn number(&self, bytes: &[u8]) -> u64 {
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }

    /// An address-sized number at a file offset.
    pub fn word(&self, at: u64) -> Option<u64> {
        self.uint(at, self.word_size())
    }

    /// Bytes of an address: 4 or 8.
    pub fn word_size(&self) -> u64 {
        if self.wide { 8 } else { 4 }
    }

    /// Bytes of the ELF header.
    pub fn header_size(&self) -> u64 {
        if self.wide { 64 } else { 52 }
    }

    /// The file bytes of `e_phnum`.
    pub fn phnum_field(&self) -> Range<u64> {
        if self.wide { 56..58 } else { 44..46 }
    }

    /// The file bytes of `e_shoff`.
    pub fn shoff_field(&self) -> Range<u64> {
        if self.wide { 40..48 } else { 32..36 }
    }

    /// The file bytes of the program header table.
    pub fn phdr_range(&self) -> Range<u64> {
        self.phoff..self.phoff + self.segments.len() as u64 * self.phentsize
    }

    /// The file bytes of the section header table.
    pub fn shdr_range(&self) -> Range<u64> {
        self.shoff..self.shoff + self.sections.len() as u64 * self.shentsize
    }

    /// All `PT_LOAD` in the order of the table.
    pub fn loads(&self) -> impl Iterator<Item = &Segment> + Clone {
        self.segments.iter().filter(|s| s.kind == PT_LOAD)
    }

    /// All other program headers that mean something.
    pub fn others(&self) -> impl Iterator<Item = &Segment> + Clone {
        self.segments.iter().filter(|s| s.kind != PT_LOAD && s.kind != PT_NULL)
    }

    /// The first program header of a kind.
    pub fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|s| s.kind == kind)
    }

    /// The `PT_LOAD` whose file bytes cover `len` bytes at an address.
    pub fn load_at(&self, addr: u64, len: u64) -> Option<&Segment> {
        let end = addr.checked_add(len)?;
        let covers = |s: &&Segment| s.vaddr <= addr && end <= s.vaddr.saturating_add(s.filesz);
        // Of two that overlap, the loader maps the later one over the earlier.
        self.loads().filter(covers).last()
    }

    /// The file offset of `len` bytes at an address.
    pub fn offset_of(&self, addr: u64, len: u64) -> Option<u64> {
        let load = self.load_at(addr, len)?;
        load.offset.checked_add(addr - load.vaddr)
    }

    /// `len` bytes at an address.
    pub fn at(&self, addr: u64, len: u64) -> Option<&'a [u8]> {
        self.slice(self.offset_of(addr, len)?, len)
    }

    /// Whether some `PT_LOAD` maps the byte at a file offset.
    pub fn is_mapped(&self, offset: u64) -> bool {
        self.loads().any(|s| s.file_range().contains(&offset))
    }

    /// The largest page that a kernel of this architecture may use.
    pub fn largest_page(&self) -> u64 {
        match self.machine {
            EM_AARCH64 | EM_PPC64 | EM_MIPS => 0x10000,
            _ => 0x1000,
        }
    }

    /// Puts the sections into the order of another file, by name, and translates their
    /// links; says whether the order was another one. Without this, one exchange of two
    /// sections would hide all other faults behind itself.
    pub fn align_sections(&mut self, original: &Image) -> bool {
        let count = self.sections.len();
        if count != original.sections.len() {
            return false;
        }
        let sorted = |image: &Image| {
            let mut order = (0..count).collect::<Vec<_>>();
            order.sort_by_cached_key(|&i| (image.section_name(i), i));
            order
        };
        let names = |image: &Image| (0..count).map(|i| image.section_name(i)).collect::<Vec<_>>();
        let (ours, theirs) = (sorted(self), sorted(original));
        let pairs = || ours.iter().zip(&theirs);
        if names(self) == names(original) || pairs().any(|(a, b)| self.section_name(*a) != original.section_name(*b)) {
            return false;
        }
        let mut number = vec![0; count];
        let mut sections = self.sections.clone();
        for (&a, &b) in pairs() {
            number[a] = b as u64;
            sections[b] = self.sections[a];
        }
        self.renumbered = number;
        for section in &mut sections {
            section.link = self.original_number(section.link);
            if section.flags & u64::from(SHF_INFO_LINK) != 0 {
                section.info = self.original_number(section.info);
            }
        }
        self.names = self.original_number(self.names);
        self.sections = sections;
        true
    }

    /// The number of a section in the original.
    pub fn original_number(&self, number: u64) -> u64 {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.renumbered.get(index).copied().unwrap_or(number)
    }

    /// The content of a section, empty for `SHT_NOBITS`.
    pub fn content(&self, section: &Section) -> Option<&'a [u8]> {
        if section.has_file_bytes() { self.slice(section.offset, section.size) } else { Some(&[]) }
    }

    /// The name of a section; lossy, as it is for messages and for comparison only.
    pub fn section_name(&self, index: usize) -> String {
        let name = || {
            let names = self.sections.get(usize::try_from(self.names).ok()?)?;
            string(self.content(names)?, self.sections.get(index)?.name)
        };
        name().map_or_else(|| format!("section {index}"), text)
    }

    /// The section that has the names of sections, and its number.
    pub fn names_section(&self) -> Option<(usize, Section)> {
        let index = usize::try_from(self.names).ok()?;
        Some((index, *self.sections.get(index)?))
    }

    /// The end of what the headers describe; bytes behind it are a payload or stray.
    pub fn image_end(&self) -> u64 {
        let segments = self.segments.iter().map(|s| s.file_range().end);
        let sections = self.sections.iter().filter(|s| s.has_file_bytes()).map(|s| s.file_range().end);
        let tables = [self.header_size(), self.phdr_range().end, self.shdr_range().end];
        segments.chain(sections).chain(tables).filter(|&end| end <= self.bytes.len() as u64).max().unwrap_or(0)
    }
}

/// The string at an offset of a string table, without its NUL.
pub fn string(table: &[u8], at: u64) -> Option<&[u8]> {
    let tail = table.get(usize::try_from(at).ok()?..)?;
    tail.get(..memchr::memchr(0, tail)?)
}

/// Bytes as text for a message.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
