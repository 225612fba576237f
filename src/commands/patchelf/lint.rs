//! What patchelf refuses a file for and loaders do not look at, in patchelf's words: warnings, since the file can be
//! edited all the same.

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::SectionHeader as _;

use crate::elf::class::Class;
use crate::elf::{Image, string_at};

/// The header tables; `data` can be anything.
pub(super) fn lint_headers(data: &[u8]) -> Vec<&'static str> {
    match data.get(4).copied().map(elf::FileClass) {
        Some(elf::ELFCLASS32) => tables::<FileHeader32<Endianness>>(data),
        Some(elf::ELFCLASS64) => tables::<FileHeader64<Endianness>>(data),
        _ => Vec::new(),
    }
}

fn tables<H: Class>(data: &[u8]) -> Vec<&'static str> {
    let Some((header, endian)) = H::parse(data).ok().and_then(|header| Some((header, header.endian().ok()?))) else {
        return Vec::new();
    };
    let inside = |at: u64, size: u64| at.checked_add(size).is_some_and(|end| end <= data.len() as u64);
    let table = |at: H::Word, count: u16, size: u16| inside(at.into(), u64::from(count) * u64::from(size));
    let mut found = Vec::new();
    if !table(header.e_phoff(endian), header.e_phnum(endian), header.e_phentsize(endian)) {
        found.push("program header table out of bounds");
    }
    let count = header.e_shnum(endian);
    if count == 0 {
        return found;
    }
    if u64::from(header.e_shentsize(endian)) != H::LAYOUT.shdr_size {
        found.push("section headers have wrong size");
        return found;
    }
    if !table(header.e_shoff(endian), count, header.e_shentsize(endian)) {
        found.push("section header table out of bounds");
        return found;
    }
    let Ok(sections) = header.section_headers(endian, data) else { return found };
    let word = |value: H::Word| -> u64 { value.into() };
    for section in sections {
        let has_bytes = !matches!(section.sh_type(endian), elf::SHT_NOBITS | elf::SHT_NULL);
        let at = word(section.sh_offset(endian));
        if has_bytes && !inside(at, word(section.sh_size(endian))) {
            found.push("data offset extends past file end");
        } else if section.sh_type(endian) == elf::SHT_DYNAMIC && at.checked_rem(u64::from(H::LAYOUT.word)) != Some(0) {
            found.push("section content is not naturally aligned");
        }
    }
    names::<H>(data, header, endian, sections, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

/// The names of sections. Those of symbols that lie in a section without one are what `rename` tools lose.
fn names<H: Class>(
    data: &[u8],
    header: &H,
    endian: Endianness,
    sections: &[H::SectionHeader],
    found: &mut Vec<&'static str>,
) {
    let index = header.shstrndx(endian, data).unwrap_or(u32::MAX);
    let escaped = header.e_shstrndx(endian) == elf::SHN_XINDEX;
    let named = usize::try_from(index).ok().filter(|index| !(escaped && *index == 0));
    let Some(section) = named.and_then(|index| sections.get(index)) else {
        found.push("string table index out of bounds");
        return;
    };
    let (at, size) = (section.sh_offset(endian).into(), section.sh_size(endian).into());
    let bytes = |at: u64, size: u64| {
        let start = usize::try_from(at).ok()?;
        data.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    };
    match bytes(at, size) {
        None => found.push("data region extends past file end"),
        Some([]) => found.push("string table size is zero"),
        Some([.., last]) if *last != 0 => found.push("string table is not zero terminated"),
        Some(names) if sections.iter().any(|section| names.get(section.sh_name(endian) as usize).is_none()) => {
            found.push("section name offset out of bounds");
        }
        Some(_) => {}
    }
}

/// Whether a section is a dynamic table. Without `PT_DYNAMIC`, no loader finds it.
pub(super) fn has_dynamic_section(data: &[u8]) -> bool {
    fn has<H: Class>(data: &[u8]) -> Option<bool> {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.section_headers(endian, data).ok()?;
        Some(sections.iter().any(|section| section.sh_type(endian) == elf::SHT_DYNAMIC))
    }
    match data.get(4).copied().map(elf::FileClass) {
        Some(elf::ELFCLASS32) => has::<FileHeader32<Endianness>>(data).unwrap_or(false),
        Some(elf::ELFCLASS64) => has::<FileHeader64<Endianness>>(data).unwrap_or(false),
        _ => false,
    }
}

/// The dynamic table, and symbols.
pub(super) fn lint_image(image: &Image<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let table = image.strings.bytes(image.data);
    let names = [elf::DT_NEEDED, elf::DT_SONAME, elf::DT_RPATH, elf::DT_RUNPATH];
    if image.dynamic.entries.iter().any(|entry| names.contains(&entry.tag) && entry.value >= table.len() as u64) {
        found.push("string table index out of bounds".to_owned());
    }
    if table.last().is_some_and(|&last| last != 0) {
        found.push("string table is not NUL-terminated".to_owned());
    }
    found.extend(symbol_in_unnamed_section(image));
    found
}

fn symbol_in_unnamed_section(image: &Image<'_>) -> Option<String> {
    let names = image.bytes(image.sections.names.as_ref()?)?;
    let unnamed = |index: usize| {
        image.sections.get(index).is_some_and(|section| string_at(names, u64::from(section.name)) == Some(b""))
    };
    // Hardly any file has one, and the symbols of the others need not be read.
    if !(1..image.sections.len()).any(unnamed) {
        return None;
    }
    let layout = image.encoding.layout;
    let tables = image.sections.iter().filter(|section| matches!(section.kind, elf::SHT_SYMTAB | elf::SHT_DYNSYM));
    tables.filter_map(|table| image.bytes(&table.file_range()?)).find_map(|bytes| {
        let size = usize::try_from(layout.sym_size).ok()?;
        bytes.chunks_exact(size).find_map(|symbol| {
            let place = symbol.get(usize::try_from(layout.st_shndx.at).ok()?..)?;
            let index = image.encoding.value(place, layout.st_shndx.size)?;
            let known = index != 0 && unnamed(usize::try_from(index).ok()?);
            known.then(|| format!("symbol table entry refers to an unnamed section (index {index})"))
        })
    })
}
