//! Rule 4: section headers, `_DYNAMIC` and section symbols agree with the segments.

use super::dynamic::{Symbol, TABLE_TAGS, read_symbols, tag_name};
use super::image::{Image, Section, string, text};
use super::pieces::PT_GNU_PROPERTY;
use super::{File, Findings};
use goblin::elf::dynamic::{DT_STRSZ, DT_STRTAB};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_NOTE};
use goblin::elf::section_header::*;
use goblin::elf::sym::STT_SECTION;
use std::collections::BTreeSet;
use std::ops::Range;

/// Compares the section header tables.
pub fn compare(before: &File, after: &File, findings: &mut Findings) {
    let (old, new) = (before.image, after.image);
    if old.sections.len() != new.sections.len() {
        let what = format!("{} sections instead of {}", new.sections.len(), old.sections.len());
        return findings.object(4, what);
    }
    for index in 0..old.sections.len() {
        header(before, after, index, findings);
        content(before, after, index, findings);
    }
    let excused = faults(before);
    for fault in faults(after).difference(&excused) {
        findings.object(4, fault.clone());
    }
    for (index, (a, b)) in old.sections.iter().zip(&new.sections).enumerate() {
        if a.kind == SHT_SYMTAB && a.kind == b.kind {
            symbols(before, after, index, findings);
        }
    }
}

/// Fields that no rung changes.
fn header(before: &File, after: &File, index: usize, findings: &mut Findings) {
    let (old, new) = (before.image, after.image);
    let (was, is) = (old.sections[index], new.sections[index]);
    let name = old.section_name(index);
    if name != new.section_name(index) {
        let what = format!("{name} is called {} now", new.section_name(index));
        findings.object(4, what);
    }
    let may_grow = before.string_section() == Some(index) || was.kind == SHT_DYNAMIC;
    let mut allowed = was;
    // Where it moved its content is compared.
    if was.has_file_bytes() {
        allowed.offset = is.offset;
    }
    if was.has_file_bytes() && was.is_alloc() {
        allowed.addr = is.addr;
    }
    if may_grow {
        allowed.size = is.size.max(was.size);
    }
    if is != allowed {
        let rule = if was.is_alloc() { 4 } else { 5 };
        findings.object(rule, format!("the section header of {name} changed"));
    }
    let is_aligned = |s: &Section| s.addralign < 2 || s.addr % s.addralign == 0;
    if is_aligned(&was) && !is_aligned(&is) {
        findings.object(4, format!("{name} moved to an address that is not aligned"));
    }
}

/// What moved must say the same; what stays is compared with all other bytes.
fn content(before: &File, after: &File, index: usize, findings: &mut Findings) {
    let (was, is) = (before.image.sections[index], after.image.sections[index]);
    let is_compared =
        before.string_section() == Some(index) || matches!(was.kind, SHT_DYNAMIC | SHT_DYNSYM | SHT_SYMTAB);
    // A table of symbols that no loader reads moves as a whole; its entries are compared.
    if was.offset == is.offset || is_compared || !was.has_file_bytes() {
        return;
    }
    let (a, b) = (before.image.content(&was), after.image.content(&is));
    if a.is_none() || a != b {
        let name = before.image.section_name(index);
        findings.object(1, format!("{name} moved, and its content differs"));
    }
}

/// Where the section headers disagree with the rest of their file. The original's faults
/// are not the editor's; so each names the section only.
fn faults(file: &File) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (index, section) in file.image.sections.iter().enumerate() {
        let name = || format!("{index} {}", file.image.section_name(index));
        if section.has_file_bytes() && section.file_range().end > file.image.bytes.len() as u64 {
            found.insert(format!("section {} lies outside the file", name()));
        }
        if section.is_alloc() && !is_mapped(file.image, section) {
            let what = format!("section {} is mapped by no PT_LOAD from there", name());
            found.insert(what);
        }
        if section.is_alloc() && section.kind == SHT_NOTE && !is_noted(file.image, section) {
            found.insert(format!("section {} is in no PT_NOTE", name()));
        }
        if section.kind == SHT_DYNAMIC {
            let segment = file.image.segment(PT_DYNAMIC);
            let place = segment.map(|s| (s.vaddr, s.offset, s.filesz));
            if place != Some((section.addr, section.offset, section.size)) {
                found.insert(format!("section {} is not PT_DYNAMIC", name()));
            }
        }
    }
    let sections = &file.image.sections;
    if let Some(interp) = file.image.segment(PT_INTERP) {
        let place = (interp.vaddr, interp.offset, interp.filesz);
        let is_it = |s: &Section| (s.addr, s.offset, s.size) == place;
        if !sections.iter().any(is_it) {
            found.insert("PT_INTERP is no section".into());
        }
    }
    if let Some(dynamic) = &file.dynamic {
        for (tag, _) in TABLE_TAGS {
            let Some(addr) = dynamic.value(tag) else {
                continue;
            };
            let kinds = section_kinds(tag);
            let is_it = |s: &Section| s.is_alloc() && s.has_file_bytes() && s.addr == addr && kinds.contains(&s.kind);
            match sections.iter().find(|s| is_it(s)) {
                None => {
                    found.insert(format!("{} is no section", tag_name(tag)));
                }
                Some(section) if tag == DT_STRTAB => {
                    if dynamic.value(DT_STRSZ) != Some(section.size) {
                        found.insert("DT_STRSZ is not the size of the section".into());
                    }
                }
                Some(_) => {}
            }
        }
    }
    found
}

fn section_kinds(tag: u64) -> &'static [u32] {
    use goblin::elf::dynamic::*;
    match tag {
        DT_HASH => &[SHT_HASH],
        DT_GNU_HASH => &[SHT_GNU_HASH],
        DT_STRTAB => &[SHT_STRTAB],
        DT_SYMTAB => &[SHT_DYNSYM],
        DT_VERSYM => &[SHT_GNU_VERSYM],
        DT_VERNEED => &[SHT_GNU_VERNEED],
        DT_VERDEF => &[SHT_GNU_VERDEF],
        DT_REL => &[SHT_REL],
        DT_RELA => &[SHT_RELA],
        _ => &[SHT_REL, SHT_RELA],
    }
}

fn is_mapped(image: &Image, section: &Section) -> bool {
    if section.size == 0 {
        return true;
    }
    if section.has_file_bytes() {
        return image.offset_of(section.addr, section.size) == Some(section.offset);
    }
    // Thread-local zero fill takes no addresses of its own.
    let end = section.addr.saturating_add(section.size);
    section.flags & u64::from(SHF_TLS) != 0 || image.loads().any(|l| l.vaddr <= section.addr && end <= l.end())
}

fn is_noted(image: &Image, section: &Section) -> bool {
    let range = section.file_range();
    let covers = |s: Range<u64>| s.start <= range.start && range.end <= s.end;
    image.segments.iter().any(|s| [PT_NOTE, PT_GNU_PROPERTY].contains(&s.kind) && covers(s.file_range()))
}

/// How far a section moved in memory.
pub fn shift(before: &File, after: &File, index: u64) -> u64 {
    let address = |file: &File| {
        let index = usize::try_from(index).ok()?;
        // Reserved numbers name no section.
        let is_section = index > 0 && index < SHN_LORESERVE as usize;
        let section = is_section.then(|| file.image.sections.get(index))?;
        section.map(|s| s.addr)
    };
    match (address(before), address(after)) {
        (Some(a), Some(b)) => b.wrapping_sub(a),
        _ => 0,
    }
}

/// The old addresses of the sections that moved, with their names.
pub fn left_places(before: &File, after: &File) -> Vec<(String, Range<u64>)> {
    let sections = before.image.sections.iter().enumerate();
    sections
        .filter(|(index, s)| s.is_alloc() && shift(before, after, *index as u64) != 0)
        .map(|(index, s)| {
            let range = s.addr..s.addr.saturating_add(s.size);
            (before.image.section_name(index), range)
        })
        .collect()
}

/// The value that a symbol must have afterwards: what lies in a moved section moves along,
/// and `_DYNAMIC` with the dynamic table.
pub fn follow(before: &File, after: &File, was: &Symbol, is_dynamic: bool) -> u64 {
    // patchelf leaves it at the place that the dynamic table had before.
    let is_dynamic = is_dynamic && before.dynamic.as_ref().is_some_and(|old| old.addr == was.value);
    if is_dynamic && let (Some(old), Some(new)) = (&before.dynamic, &after.dynamic) {
        return was.value.wrapping_add(new.addr.wrapping_sub(old.addr));
    }
    // mold gives __executable_start the number of a section that it does not lie in.
    let section = usize::try_from(was.shndx).ok().and_then(|index| before.image.sections.get(index));
    if section.is_some_and(|s| was.value < s.addr || was.value > s.addr.saturating_add(s.size)) {
        return was.value;
    }
    let sum = was.value.wrapping_add(shift(before, after, was.shndx));
    if before.image.wide { sum } else { sum & u64::from(u32::MAX) }
}

/// Compares a `.symtab`.
fn symbols(before: &File, after: &File, index: usize, findings: &mut Findings) {
    let read = |file: &File| {
        let section = file.image.sections[index];
        let names = file.image.sections.get(usize::try_from(section.link).ok()?)?;
        let names = file.image.content(names)?.to_vec();
        Some((file.image.content(&section)?.to_vec(), names))
    };
    let (Some((was, names)), Some((is, _))) = (read(before), read(after)) else {
        return findings.object(4, "a symbol table lies outside the file".into());
    };
    if was == is && left_places(before, after).is_empty() {
        return;
    }
    let table = before.image.section_name(index);
    let (old, new) = (read_symbols(before.image, &was), read_symbols(after.image, &is));
    if was.len() != is.len() {
        return findings.object(4, format!("{table} changed its size"));
    }
    for (number, (a, b)) in old.iter().zip(&new).enumerate() {
        let name = string(&names, a.name_at).unwrap_or_default();
        let expected = follow(before, after, a, name == b"_DYNAMIC");
        let rest = |s: &Symbol| (s.name_at, s.info, s.other, s.shndx, s.size);
        if rest(a) != rest(b) {
            findings.object(5, format!("{table}: symbol {number} {} changed", text(name)));
        } else if b.value != expected {
            let shown = if a.info & 0xf == STT_SECTION {
                before.image.section_name(usize::try_from(a.shndx).unwrap_or(0))
            } else {
                text(name)
            };
            findings.object(4, format!("{table}: symbol {number} {shown} is {:#x} instead of {expected:#x}", b.value));
        }
    }
}
