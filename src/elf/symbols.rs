//! The dynamic symbol table: who imports what, and which strings it uses.

use std::ops::Range;

use object::elf;

use super::Image;
use super::image::{DynamicTable, Headers};
use super::space::{FileOffset, Vaddr};

/// The table that `DT_SYMTAB` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolTable {
    /// Its bytes in the file.
    pub range: Range<FileOffset>,
    /// Whether its end is proven, by a section header or `DT_HASH`. `DT_GNU_HASH` does not count undefined symbols.
    pub proven: bool,
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
        let count = by_section.max(hash_chain_count(headers, dynamic, data));
        let range = count.and_then(|count| headers.file_range_of(addr, count.checked_mul(entry)?));
        match range {
            Some(range) => Some(Self { range, proven: true }),
            None => Self::to_end_of_segment(headers, addr, entry),
        }
    }

    /// Without a proven end: everything to the end of the segment. Only good for looking a name up.
    fn to_end_of_segment(headers: &Headers, addr: Vaddr, entry: u64) -> Option<Self> {
        let (_, load) = headers.loads().find(|(_, load)| load.file_addresses().contains(&addr))?;
        let room = load.file_addresses().end.checked_since(addr)?;
        let range = headers.file_range_of(addr, room - room % entry)?;
        Some(Self { range, proven: false })
    }
}

/// `nchain` of `DT_HASH` is the number of symbols (gABI, "Hash Table"). On s390x and Alpha its words have 8 bytes.
fn hash_chain_count(headers: &Headers, dynamic: &DynamicTable, data: &[u8]) -> Option<u64> {
    let wide = matches!(headers.machine, elf::EM_S390 | elf::EM_ALPHA) && headers.encoding.layout.word == 8;
    let word: u8 = if wide { 8 } else { 4 };
    let range = headers.file_range_of(Vaddr(dynamic.value(elf::DT_HASH)?), u64::from(word) * 2)?;
    let start = usize::try_from(range.start.0).ok()?.checked_add(usize::from(word))?;
    headers.encoding.value(data.get(start..)?, word)
}

impl Image<'_> {
    /// `st_name` of every dynamic symbol. The caller decides what an unproven end means.
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
