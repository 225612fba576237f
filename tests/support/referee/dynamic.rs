//! The dynamic table, its strings, and the tables that it names.

use super::image::{Image, string};
use goblin::elf::dynamic::*;
use goblin::elf::header::{EM_MIPS, EM_S390};
use goblin::elf::program_header::PT_DYNAMIC;
use goblin::elf::section_header::SHT_DYNSYM;
use std::ops::Range;

/// String tags that goblin does not name.
pub const DT_AUXILIARY: u64 = 0x7fff_fffd;
pub const DT_FILTER: u64 = 0x7fff_ffff;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELCOUNT: u64 = 0x6fff_fffa;
const DT_MIPS_SYMTABNO: u64 = 0x7000_0011;
/// An address relative to the entry itself.
pub const DT_MIPS_RLD_MAP_REL: u64 = 0x7000_0035;
const EM_ALPHA: u16 = 0x9026;

/// Tags whose value is an offset in `DT_STRTAB`, but for the search path.
pub const STRING_TAGS: [u64; 7] = [DT_NEEDED, DT_SONAME, DT_AUXILIARY, DT_FILTER, DT_AUDIT, DT_DEPAUDIT, DT_CONFIG];

/// Tags that name the search path.
pub const PATH_TAGS: [u64; 2] = [DT_RPATH, DT_RUNPATH];

/// Tags that are a hint only, so that their entry may be given up.
pub const HINT_TAGS: [u64; 2] = [DT_RELACOUNT, DT_RELCOUNT];

/// Tags that name a table which may move, with the alignment that its reader needs
/// (0: an address).
pub const TABLE_TAGS: [(u64, u64); 11] = [
    (DT_HASH, 4),
    (DT_GNU_HASH, 0),
    (DT_STRTAB, 1),
    (DT_SYMTAB, 0),
    (DT_VERSYM, 2),
    (DT_VERNEED, 4),
    (DT_VERDEF, 4),
    (DT_REL, 0),
    (DT_RELA, 0),
    (DT_JMPREL, 0),
    (DT_RELR, 0),
];

/// Tables that stay, but own their bytes.
const FIXED_TABLES: [(u64, u64); 3] =
    [(DT_INIT_ARRAY, DT_INIT_ARRAYSZ), (DT_FINI_ARRAY, DT_FINI_ARRAYSZ), (DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ)];

/// The specification's name of a tag, for messages.
pub fn tag_name(tag: u64) -> String {
    match tag {
        DT_AUXILIARY => "DT_AUXILIARY".into(),
        DT_FILTER => "DT_FILTER".into(),
        DT_RELR => "DT_RELR".into(),
        _ => match tag_to_str(tag) {
            "UNKNOWN_TAG" => format!("the tag {tag:#x}"),
            name => name.into(),
        },
    }
}

/// The dynamic table of a file, and what it leads to.
pub struct Dynamic<'i, 'a> {
    image: &'i Image<'a>,
    pub addr: u64,
    pub offset: u64,
    /// Bytes of the whole table.
    pub size: u64,
    /// Entries before the first `DT_NULL`.
    pub entries: Vec<(u64, u64)>,
    /// Entries behind it.
    pub spare: Vec<(u64, u64)>,
    pub is_terminated: bool,
    /// The bytes of `DT_STRTAB`.
    pub strings: &'a [u8],
}

impl<'i, 'a> Dynamic<'i, 'a> {
    /// `None` for a file without `PT_DYNAMIC`.
    pub fn read(image: &'i Image<'a>) -> Result<Option<Self>, String> {
        let Some(segment) = image.segment(PT_DYNAMIC) else {
            return Ok(None);
        };
        Self::read_at(image, segment.vaddr, segment.filesz).map(Some)
    }

    /// The table as a loader reads it: from `p_vaddr` to the first `DT_NULL`, whatever `p_filesz` is.
    pub fn read_as_loader(image: &'i Image<'a>) -> Result<Option<Self>, String> {
        let Some(segment) = image.segment(PT_DYNAMIC) else {
            return Ok(None);
        };
        let load = image.load_at(segment.vaddr, 1).ok_or("PT_DYNAMIC lies in no PT_LOAD")?;
        let mapped = load.vaddr.saturating_add(load.filesz) - segment.vaddr;
        Self::read_at(image, segment.vaddr, mapped.min(segment.filesz)).map(Some)
    }

    fn read_at(image: &'i Image<'a>, addr: u64, size: u64) -> Result<Self, String> {
        // The loader goes by the address.
        let offset = image.offset_of(addr, size).ok_or("PT_DYNAMIC lies in no PT_LOAD")?;
        let table = image.slice(offset, size).ok_or("PT_DYNAMIC lies outside the file")?;
        let word = image.word_size() as usize;
        let mut all = table
            .chunks_exact(2 * word)
            .map(|e| (image.number(&e[..word]), image.number(&e[word..])))
            .collect::<Vec<_>>();
        let end = all.iter().position(|e| e.0 == DT_NULL);
        let spare = all.split_off(end.unwrap_or(all.len()));
        let mut dynamic =
            Dynamic { image, addr, offset, size, entries: all, spare, is_terminated: end.is_some(), strings: &[] };
        if let Some(addr) = dynamic.value(DT_STRTAB) {
            dynamic.strings = image
                .at(addr, dynamic.value(DT_STRSZ).unwrap_or(0))
                .ok_or("DT_STRTAB and DT_STRSZ lead out of the file")?;
        }
        Ok(dynamic)
    }

    /// The value of a tag; of several the last, as the loader reads it.
    pub fn value(&self, tag: u64) -> Option<u64> {
        let last = self.entries.iter().rev().find(|e| e.0 == tag);
        last.map(|e| e.1)
    }

    /// The string at an offset of `DT_STRTAB`.
    pub fn string(&self, at: u64) -> Option<&'a [u8]> {
        string(self.strings, at)
    }

    /// Every search path entry: tag, offset in `DT_STRTAB`, value.
    pub fn search_paths(&self) -> Vec<(u64, u64, Option<&'a [u8]>)> {
        let paths = self.entries.iter().filter(|e| PATH_TAGS.contains(&e.0));
        paths.map(|&(tag, at)| (tag, at, self.string(at))).collect()
    }

    /// The file bytes of a table, as far as its extent can be told.
    pub fn extent(&self, tag: u64) -> Option<Range<u64>> {
        let addr = self.value(tag)?;
        let start = self.image.offset_of(addr, 1)?;
        Some(start..start.checked_add(self.table_size(tag)?)?)
    }

    /// The file bytes of every table that the loader reads, with its tag.
    pub fn extents(&self) -> Vec<(u64, Range<u64>)> {
        let movable = TABLE_TAGS.iter().map(|t| t.0);
        movable
            .chain(FIXED_TABLES.iter().map(|t| t.0))
            .filter_map(|tag| Some((tag, self.extent(tag)?)))
            .filter(|(_, range)| !range.is_empty())
            .collect()
    }

    /// The bytes of a table.
    pub fn table(&self, tag: u64) -> Option<&'a [u8]> {
        self.image.at(self.value(tag)?, self.table_size(tag)?)
    }

    fn table_size(&self, tag: u64) -> Option<u64> {
        match tag {
            DT_STRTAB => self.value(DT_STRSZ),
            DT_SYMTAB => self.symbol_count()?.checked_mul(self.symbol_size()),
            DT_VERSYM => self.symbol_count()?.checked_mul(2),
            DT_HASH => {
                let (nbucket, nchain, width) = self.hash_counts()?;
                nbucket.checked_add(nchain)?.checked_add(2)?.checked_mul(width)
            }
            DT_GNU_HASH => Some(self.gnu_hash()?.1),
            DT_VERNEED => Some(self.needed_versions().ok()?.1),
            DT_VERDEF => Some(self.defined_versions().ok()?.1),
            DT_REL => self.value(DT_RELSZ),
            DT_RELA => self.value(DT_RELASZ),
            DT_JMPREL => self.value(DT_PLTRELSZ),
            DT_RELR => self.value(DT_RELRSZ),
            _ => {
                let fixed = FIXED_TABLES.iter().find(|t| t.0 == tag)?;
                self.value(fixed.1)
            }
        }
    }

    fn hash_counts(&self) -> Option<(u64, u64, u64)> {
        // Two ABIs chose 8-byte words.
        let is_odd = self.image.wide && matches!(self.image.machine, EM_ALPHA | EM_S390);
        let width = if is_odd { 8 } else { 4 };
        let addr = self.value(DT_HASH)?;
        let head = self.image.at(addr, 2 * width)?;
        let (nbucket, nchain) = head.split_at(width as usize);
        let (nbucket, nchain) = (self.image.number(nbucket), self.image.number(nchain));
        Some((nbucket, nchain, width))
    }

    /// How many symbols `DT_GNU_HASH` knows of, and its size in bytes.
    fn gnu_hash(&self) -> Option<(u64, u64)> {
        let image = self.image;
        let addr = self.value(DT_GNU_HASH)?;
        let head = image.at(addr, 16)?;
        let field = |i: usize| image.number(&head[4 * i..4 * i + 4]);
        let (nbuckets, first, bloom) = (field(0), field(1), field(2));
        let buckets_at = bloom.checked_mul(image.word_size())?.checked_add(16)?;
        let chains_at = nbuckets.checked_mul(4)?.checked_add(buckets_at)?;
        let buckets = image.at(addr.checked_add(buckets_at)?, nbuckets.checked_mul(4)?)?;
        let highest = buckets.chunks_exact(4).map(|b| image.number(b)).max()?;
        if highest < first {
            return Some((first, chains_at));
        }
        let mut last = highest;
        loop {
            let at = chains_at.checked_add((last - first).checked_mul(4)?)?;
            let link = image.at(addr.checked_add(at)?, 4)?;
            if image.number(link) & 1 == 1 {
                return Some((last + 1, at + 4));
            }
            last += 1;
        }
    }

    /// Bytes of a symbol.
    pub fn symbol_size(&self) -> u64 {
        if self.image.wide { 24 } else { 16 }
    }

    /// How many symbols `DT_SYMTAB` holds: from the section header, else from the hash
    /// tables, of which `DT_GNU_HASH` need not count the undefined ones.
    pub fn symbol_count(&self) -> Option<u64> {
        let addr = self.value(DT_SYMTAB)?;
        let section = self.image.sections.iter().find(|s| s.kind == SHT_DYNSYM && s.addr == addr);
        if let Some(section) = section {
            return Some(section.size / self.symbol_size());
        }
        if let Some((_, nchain, _)) = self.hash_counts() {
            return Some(nchain);
        }
        if self.image.machine == EM_MIPS {
            return self.value(DT_MIPS_SYMTABNO);
        }
        let hashed = self.gnu_hash().map(|h| h.0);
        hashed.max(self.highest_relocated_symbol().map(|n| n + 1))
    }

    fn highest_relocated_symbol(&self) -> Option<u64> {
        let tables = [DT_REL, DT_RELA, DT_JMPREL];
        let all = tables.iter().flat_map(|&tag| self.relocations(tag));
        all.map(|r| r.1).max()
    }

    /// Where each relocation of a table stores, and the symbol that it names.
    pub fn relocations(&self, tag: u64) -> Vec<(u64, u64)> {
        let word = self.image.word_size() as usize;
        let has_addend = match tag {
            DT_REL => false,
            DT_RELA => true,
            _ => self.value(DT_PLTREL) == Some(DT_RELA),
        };
        let entry = word * if has_addend { 3 } else { 2 };
        // Not by `table`: the size of a symbol table may depend on this one.
        let size = match tag {
            DT_REL => DT_RELSZ,
            DT_RELA => DT_RELASZ,
            _ => DT_PLTRELSZ,
        };
        let bytes = || self.image.at(self.value(tag)?, self.value(size)?);
        let read = |e: &[u8]| {
            let info = self.image.number(&e[word..2 * word]);
            let symbol = info >> if self.image.wide { 32 } else { 8 };
            (self.image.number(&e[..word]), symbol)
        };
        let bytes = bytes().unwrap_or(&[]);
        bytes.chunks_exact(entry).map(read).collect()
    }

    /// Every symbol: its offset in `DT_STRTAB`, and its other bytes.
    pub fn symbols(&self) -> Option<Vec<Symbol>> {
        let size = self.symbol_count()?.checked_mul(self.symbol_size())?;
        let table = self.image.at(self.value(DT_SYMTAB)?, size)?;
        Some(read_symbols(self.image, table))
    }

    /// `DT_VERNEED` with strings resolved, one line a record, and its extent in bytes.
    pub fn needed_versions(&self) -> Result<(Vec<Version>, u64), String> {
        let mut records = Vec::new();
        let mut end = 0;
        let Some(addr) = self.value(DT_VERNEED) else {
            return Ok((records, end));
        };
        let mut at = 0;
        // glibc and musl go by the links and read no count.
        loop {
            let [version, count, file, aux, next] =
                self.fields(addr, at, 16, [(0, 2), (2, 2), (4, 4), (8, 4), (12, 4)])?;
            end = end.max(at.saturating_add(16));
            self.limit(&records)?;
            records.push(self.version("a file", vec![version, count], file)?);
            let mut aux_at = at.saturating_add(aux);
            loop {
                let [hash, flags, other, name, next] =
                    self.fields(addr, aux_at, 16, [(0, 4), (4, 2), (6, 2), (8, 4), (12, 4)])?;
                end = end.max(aux_at.saturating_add(16));
                self.limit(&records)?;
                records.push(self.version("a version", vec![hash, flags, other], name)?);
                if next == 0 {
                    break;
                }
                aux_at = aux_at.saturating_add(next);
            }
            if next == 0 {
                break;
            }
            at = at.saturating_add(next);
        }
        Ok((records, end))
    }

    /// `DT_VERDEF` with strings resolved, one line a record, and its extent in bytes.
    pub fn defined_versions(&self) -> Result<(Vec<Version>, u64), String> {
        let mut records = Vec::new();
        let mut end = 0;
        let Some(addr) = self.value(DT_VERDEF) else {
            return Ok((records, end));
        };
        let mut at = 0;
        loop {
            let [version, flags, index, count, hash, aux, next] =
                self.fields(addr, at, 20, [(0, 2), (2, 2), (4, 2), (6, 2), (8, 4), (12, 4), (16, 4)])?;
            end = end.max(at.saturating_add(20));
            let mut aux_at = at.saturating_add(aux);
            loop {
                let [name, next] = self.fields(addr, aux_at, 8, [(0, 4), (4, 4)])?;
                end = end.max(aux_at.saturating_add(8));
                self.limit(&records)?;
                let numbers = vec![version, flags, index, count, hash];
                records.push(self.version("a definition", numbers, name)?);
                if next == 0 {
                    break;
                }
                aux_at = aux_at.saturating_add(next);
            }
            if next == 0 {
                break;
            }
            at = at.saturating_add(next);
        }
        Ok((records, end))
    }

    /// Records that overlap could make a walk of quadratic length.
    fn limit(&self, records: &[Version]) -> Result<(), String> {
        if records.len() > self.image.bytes.len() / 8 {
            return Err("there are more version records than the file can hold".into());
        }
        Ok(())
    }

    /// Fields of a record at `addr + at`: (offset, width) each.
    fn fields<const N: usize>(
        &self,
        addr: u64,
        at: u64,
        size: u64,
        fields: [(usize, usize); N],
    ) -> Result<[u64; N], String> {
        let place = addr.checked_add(at);
        let record =
            place.and_then(|place| self.image.at(place, size)).ok_or("a version record lies outside the file")?;
        Ok(fields.map(|(from, width)| self.image.number(&record[from..from + width])))
    }

    fn version(&self, what: &'static str, numbers: Vec<u64>, at: u64) -> Result<Version, String> {
        let name = self.string(at).ok_or("the name of a version lies outside DT_STRTAB")?;
        Ok(Version { what, numbers, name_at: at, name: name.to_vec() })
    }

    /// Which bytes of `DT_STRTAB` some string other than a search path uses; with
    /// `with_paths`, a search path also. A byte counts its string's NUL.
    pub fn live_strings(&self, with_paths: bool) -> Vec<bool> {
        let mut live = vec![false; self.strings.len()];
        let mut use_string = |at: u64| {
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(live.len());
            // Of strings that share a tail, the rest is marked already.
            for (mark, &byte) in live[at..].iter_mut().zip(&self.strings[at..]) {
                if std::mem::replace(mark, true) || byte == 0 {
                    break;
                }
            }
        };
        // The first byte is the empty string, by specification.
        use_string(0);
        for &(tag, value) in &self.entries {
            if STRING_TAGS.contains(&tag) || with_paths && PATH_TAGS.contains(&tag) {
                use_string(value);
            }
        }
        for symbol in self.symbols().unwrap_or_default() {
            use_string(symbol.name_at);
        }
        let needed = self.needed_versions().unwrap_or_default().0;
        let defined = self.defined_versions().unwrap_or_default().0;
        for version in needed.iter().chain(&defined) {
            use_string(version.name_at);
        }
        live
    }
}

/// A record of `DT_VERNEED` or `DT_VERDEF`.
#[derive(Debug)]
pub struct Version {
    what: &'static str,
    numbers: Vec<u64>,
    name_at: u64,
    name: Vec<u8>,
}

impl Version {
    /// What the record says, whatever the place of the name.
    pub fn text(&self) -> String {
        format!("{} {:?} {}", self.what, self.numbers, self.name.escape_ascii())
    }

    /// Whether two records say the same; the place of the name may differ.
    pub fn says_the_same(&self, other: &Version) -> bool {
        self.what == other.what && self.numbers == other.numbers && self.name == other.name
    }
}

/// A symbol: where its name is, and the fields of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name_at: u64,
    pub info: u8,
    pub other: u8,
    pub shndx: u64,
    pub value: u64,
    pub size: u64,
}

/// Reads a whole symbol table.
pub fn read_symbols(image: &Image, table: &[u8]) -> Vec<Symbol> {
    let n = |bytes: &[u8]| image.number(bytes);
    let wide = |s: &[u8]| Symbol {
        name_at: n(&s[0..4]),
        info: s[4],
        other: s[5],
        shndx: image.original_number(n(&s[6..8])),
        value: n(&s[8..16]),
        size: n(&s[16..24]),
    };
    let narrow = |s: &[u8]| Symbol {
        name_at: n(&s[0..4]),
        value: n(&s[4..8]),
        size: n(&s[8..12]),
        info: s[12],
        other: s[13],
        shndx: image.original_number(n(&s[14..16])),
    };
    if image.wide { table.chunks_exact(24).map(wide).collect() } else { table.chunks_exact(16).map(narrow).collect() }
}
