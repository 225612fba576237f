//! The dynamic symbol table: who imports what, and which strings it uses.

use std::ops::Range;

use object::elf;

use super::Image;
use super::image::{DynamicTable, Headers};
use super::space::{FileOffset, Vaddr};

/// The table that `DT_SYMTAB` names.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// let symbols = image.symbols.as_ref().ok_or("no symbols")?;
/// assert!(symbols.complete && image.symbol_names().count() == 7);
/// assert!(image.imports_any(&[b"dlopen"]));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SymbolTable {
    /// Its bytes in the file.
    pub range: Range<FileOffset>,
    /// Whether every symbol lies in them. A section header or `DT_HASH` says how many there are; `DT_GNU_HASH` does not
    /// count undefined ones. Without either they end at the next table at the latest.
    pub complete: bool,
    /// Whether nothing else lies in them: what says how many there are does not contradict itself.
    pub exact: bool,
}

impl SymbolTable {
    pub(super) fn find(headers: &Headers, dynamic: &DynamicTable, data: &[u8]) -> Option<Self> {
        let addr = Vaddr(dynamic.value(elf::DT_SYMTAB)?);
        let entry = headers.encoding.layout.sym_size;
        let by_section = headers
            .sections
            .iter()
            .find(|section| section.kind == elf::SHT_DYNSYM && section.addr == addr && section.entsize == entry)
            .map(|section| section.size / entry);
        // Where the two disagree, the larger: a symbol too many keeps a string alive, one too few loses its name.
        let by_hash = hash_chain_count(headers, dynamic, data);
        let count = by_section.max(by_hash);
        let exact = count.is_some() && by_section.or(by_hash) == by_hash.or(by_section);
        let range = count.and_then(|count| headers.file_range_of(addr, count.checked_mul(entry)?));
        match range {
            Some(range) => Some(Self { range, complete: true, exact }),
            None => {
                let named = by_section.and_then(|count| headers.file_range_of(addr, count.checked_mul(entry)?));
                Self::to_next_table(headers, dynamic, addr, entry, named.as_ref())
            }
        }
    }

    /// Without a proven end: everything to the next table or the end of the segment, and what a section header `named`. No
    /// symbol lies behind that; what else lies before it keeps a few strings too many alive.
    fn to_next_table(
        headers: &Headers,
        dynamic: &DynamicTable,
        addr: Vaddr,
        entry: u64,
        named: Option<&Range<FileOffset>>,
    ) -> Option<Self> {
        let (_, load) = headers.loads().find(|(_, load)| load.file_addresses().contains(&addr))?;
        let tables = TABLES.iter().filter_map(|&tag| dynamic.value(tag)).map(Vaddr).filter(|table| *table > addr);
        let end = tables.chain([load.file_addresses().end]).min()?;
        let room = end.checked_since(addr)?;
        let found = headers.file_range_of(addr, room - room % entry)?;
        // The entry of a table may lead into the symbols.
        let end = named.map_or(found.end, |named| named.end.max(found.end));
        let range = found.start..end;
        Some(Self { range, complete: room >= entry, exact: false })
    }
}

/// Entries with the address of a table of its own.
const TABLES: [elf::DynamicTag; 9] = [
    elf::DT_HASH,
    elf::DT_GNU_HASH,
    elf::DT_STRTAB,
    elf::DT_VERSYM,
    elf::DT_VERNEED,
    elf::DT_VERDEF,
    elf::DT_REL,
    elf::DT_RELA,
    elf::DT_JMPREL,
];

/// `nchain` of `DT_HASH` is the number of symbols (gABI, "Hash Table"). On s390x and Alpha its words have 8 bytes.
fn hash_chain_count(headers: &Headers, dynamic: &DynamicTable, data: &[u8]) -> Option<u64> {
    let wide = matches!(headers.machine, elf::EM_S390 | elf::EM_ALPHA) && headers.encoding.layout.word == 8;
    let word: u8 = if wide { 8 } else { 4 };
    let range = headers.file_range_of(Vaddr(dynamic.value(elf::DT_HASH)?), u64::from(word) * 2)?;
    let start = usize::try_from(range.start.0).ok()?.checked_add(usize::from(word))?;
    headers.encoding.value(data.get(start..)?, word)
}

impl Image<'_> {
    /// `st_name` of every dynamic symbol. The caller decides what an incomplete table means.
    pub fn symbol_names(&self) -> impl Iterator<Item = u64> {
        let encoding = self.encoding;
        self.symbol_entries().filter_map(move |symbol| encoding.value(symbol, encoding.layout.st_name.size))
    }

    fn symbol_entries(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.symbols.as_ref().and_then(|symbols| self.bytes(&symbols.range)).unwrap_or_default();
        bytes.chunks_exact(usize::try_from(self.encoding.layout.sym_size).unwrap_or(usize::MAX))
    }

    /// Whether one of `names` is imported: an undefined dynamic symbol has it.
    ///
    /// The strings are looked for first: most files have none, and a vectorised search is faster than a walk over
    /// the symbols.
    pub fn imports_any(&self, names: &[&[u8]]) -> bool {
        let table = self.strings.bytes(self.data);
        let wanted: Vec<u64> = names
            .iter()
            .flat_map(|name| {
                let terminated = [name, &b"\0"[..]].concat();
                memchr::memmem::find_iter(table, &terminated).map(|at| at as u64).collect::<Vec<_>>()
            })
            .collect();
        if wanted.is_empty() {
            return false;
        }
        let layout = self.encoding.layout;
        self.symbol_entries().any(|symbol| {
            let field = |field: super::class::Field| {
                self.encoding.value(symbol.get(usize::try_from(field.at).ok()?..)?, field.size)
            };
            field(layout.st_name).is_some_and(|name| wanted.contains(&name))
                && field(layout.st_shndx) == Some(u64::from(elf::SHN_UNDEF.0))
        })
    }
}
