//! Rule 2: the dynamic table, symbols and versions say the same as before.

use super::dynamic::{DT_MIPS_RLD_MAP_REL, Dynamic, HINT_TAGS, PATH_TAGS, STRING_TAGS, Symbol, TABLE_TAGS, tag_name};
use super::image::text;
use super::{Expect, File, Findings, Tag};
use goblin::elf::dynamic::*;
use goblin::elf::program_header::{PF_R, PF_W};

/// Compares what the loader reads.
pub fn compare(before: &File, after: &File, expect: &Expect, findings: &mut Findings) {
    let (old, new) = match (&before.dynamic, &after.dynamic) {
        (Some(old), Some(new)) => (old, new),
        (None, None) if expect.tag.is_none() && expect.search_path.is_none() => return,
        (None, None) => return findings.object(2, "there is no dynamic table".into()),
        _ => return findings.object(2, "PT_DYNAMIC came or went".into()),
    };
    search_path(new, expect, findings);
    let tables = Tables { before, after, old, new };
    tables.entries(findings);
    tables.spare_entries(findings);
    tables.place_of_dynamic(findings);
    tables.string_table(findings);
    tables.symbols(findings);
    tables.versions(findings);
    tables.relocations(findings);
}

fn search_path(new: &Dynamic, expect: &Expect, findings: &mut Findings) {
    let paths = new.search_paths();
    let wanted = expect.tag.map(|tag| match tag {
        Tag::Rpath => DT_RPATH,
        Tag::Runpath => DT_RUNPATH,
    });
    if wanted.is_none() && expect.search_path.is_none() {
        if let Some((tag, ..)) = paths.first() {
            findings.object(2, format!("{} is there, none is expected", tag_name(*tag)));
        }
        return;
    }
    let [(tag, _, path)] = paths[..] else {
        let count = paths.len();
        return findings.object(2, format!("there are {count} search paths instead of one"));
    };
    if wanted.is_some_and(|wanted| wanted != tag) {
        findings.object(2, format!("the search path is in {}", tag_name(tag)));
    }
    match path {
        None => findings.object(2, "the search path lies outside DT_STRTAB".into()),
        Some(path) if expect.search_path.is_some_and(|wanted| wanted != path) => {
            findings.object(2, format!("the search path is \"{}\"", text(path)));
        }
        Some(_) => {}
    }
}

/// An entry with its place in the table.
type Entry = (usize, u64, u64);

struct Tables<'f, 'a> {
    before: &'f File<'f, 'a>,
    after: &'f File<'f, 'a>,
    old: &'f Dynamic<'f, 'a>,
    new: &'f Dynamic<'f, 'a>,
}

impl Tables<'_, '_> {
    /// All entries but the search path, in order.
    fn entries(&self, findings: &mut Findings) {
        let (was, is) = (without_paths(self.old), without_paths(self.new));
        let orders = self.allowed_orders(&was);
        let results = orders.iter().map(|order| self.differences(order, &is));
        let results = results.collect::<Vec<_>>();
        if !results.iter().any(Vec::is_empty) {
            for what in &results[0] {
                findings.object(2, what.clone());
            }
        }
        // One search path stays one in its own slot.
        let slot = |d: &Dynamic| {
            let mut all = d.entries.iter().map(|e| PATH_TAGS.contains(&e.0));
            (all.clone().filter(|is_path| *is_path).count() == 1).then(|| all.position(|is_path| is_path))
        };
        if let (Some(a), Some(b)) = (slot(self.old), slot(self.new))
            && a != b
        {
            findings.object(2, "the search path is in another slot".into());
        }
    }

    /// The orders that the other entries may have afterwards; the first is the plain one.
    fn allowed_orders(&self, was: &[Entry]) -> Vec<Vec<Entry>> {
        let mut orders = vec![was.to_vec()];
        let (old, new) = (self.old.search_paths().len(), self.new.search_paths().len());
        // A new tag may take the slot of a hint.
        if new > old {
            for (index, entry) in was.iter().enumerate() {
                if HINT_TAGS.contains(&entry.1) {
                    let mut order = was.to_vec();
                    order.remove(index);
                    orders.push(order);
                }
            }
        }
        // The slot of a dropped tag may be filled with the last entry.
        if new < old {
            let slots = self.old.entries.iter().enumerate();
            for (slot, _) in slots.filter(|(_, e)| PATH_TAGS.contains(&e.0)) {
                let mut order = was.to_vec();
                if let Some(last) = order.pop() {
                    let at = order.iter().filter(|e| e.0 < slot).count();
                    order.insert(at, last);
                    orders.push(order);
                    // The order of libraries must stay; one that is named twice is loaded once.
                    let first = was.iter().find(|entry| entry.1 == DT_NEEDED);
                    if let Some(&(_, tag, name)) = first.filter(|_| last.1 == DT_NEEDED) {
                        let mut order = was.to_vec();
                        order.insert(at, (slot, tag, name));
                        orders.push(order);
                    }
                }
            }
        }
        orders
    }

    fn differences(&self, was: &[Entry], is: &[Entry]) -> Vec<String> {
        let tags = |all: &[Entry]| all.iter().map(|e| e.1).collect::<Vec<_>>();
        if tags(was) != tags(is) {
            let differ = was.iter().zip(is).find(|(a, b)| a.1 != b.1);
            return vec![match differ {
                Some((a, b)) => format!("{} stands for {}", tag_name(b.1), tag_name(a.1)),
                None => format!("{} entries instead of {}", is.len(), was.len()),
            }];
        }
        let pairs = was.iter().zip(is);
        pairs.filter_map(|(a, b)| self.difference(a, b)).collect()
    }

    fn difference(&self, was: &Entry, is: &Entry) -> Option<String> {
        let (tag, name) = (was.1, tag_name(was.1));
        if STRING_TAGS.contains(&tag) {
            let (a, b) = (self.old.string(was.2), self.new.string(is.2));
            let show = |s: Option<&[u8]>| s.map_or("nothing".into(), text);
            return (a != b || b.is_none()).then(|| format!("{name} is {} instead of {}", show(b), show(a)));
        }
        match tag {
            // Compared as strings.
            DT_STRTAB | DT_STRSZ => None,
            DT_MIPS_RLD_MAP_REL => {
                let entry = 2 * self.before.image.word_size();
                let target = |d: &Dynamic, e: &Entry| {
                    let place = d.addr.wrapping_add(e.0 as u64 * entry);
                    place.wrapping_add(e.2)
                };
                // A word of the file's class wraps at its own width.
                let width = u64::MAX >> (64 - 8 * self.before.image.word_size());
                let (a, b) = (target(self.old, was), target(self.new, is));
                (a & width != b & width).then(|| format!("{name} leads elsewhere"))
            }
            _ if was.2 == is.2 => None,
            _ => match TABLE_TAGS.iter().find(|t| t.0 == tag) {
                Some((_, align)) => self.moved_table(tag, *align),
                None => Some(format!("{name} is {:#x} instead of {:#x}", is.2, was.2)),
            },
        }
    }

    /// A table at another address: the same content, aligned, readable.
    fn moved_table(&self, tag: u64, align: u64) -> Option<String> {
        let name = tag_name(tag);
        let image = self.after.image;
        let addr = self.new.value(tag)?;
        let align = if align == 0 { image.word_size() } else { align };
        if addr % align != 0 {
            return Some(format!("{name} moved to {addr:#x}, which is not aligned"));
        }
        let readable = image.load_at(addr, 1);
        if readable.is_none_or(|l| l.flags & u64::from(PF_R) == 0) {
            return Some(format!("{name} moved to where nothing can be read"));
        }
        // These are compared by what they say.
        if matches!(tag, DT_SYMTAB | DT_VERNEED | DT_VERDEF) {
            return None;
        }
        match (self.old.table(tag), self.new.table(tag)) {
            (Some(a), Some(b)) if a == b => None,
            (None, _) => Some(format!("{name} moved, and its old extent is unknown")),
            _ => Some(format!("{name} moved, and its content differs")),
        }
    }

    /// What stands behind the terminator stays, or is empty.
    fn spare_entries(&self, findings: &mut Findings) {
        if self.old.is_terminated && !self.new.is_terminated {
            findings.object(2, "the dynamic table has no DT_NULL at its end".into());
        }
        let first = self.new.entries.len();
        for (index, entry) in self.new.spare.iter().enumerate() {
            let was = (first + index).checked_sub(self.old.entries.len());
            let was = was.and_then(|i| self.old.spare.get(i));
            if *entry != (0, 0) && was != Some(entry) {
                findings.object(2, format!("entry {} is behind DT_NULL", first + index));
            }
        }
    }

    fn place_of_dynamic(&self, findings: &mut Findings) {
        let (old, new) = (self.old, self.new);
        if old.addr == new.addr {
            if old.size != new.size {
                findings.object(2, "PT_DYNAMIC changed its size in place".into());
            }
            return;
        }
        let is_writable = |file: &File, d: &Dynamic| {
            let load = file.image.load_at(d.addr, d.size);
            load.is_some_and(|l| l.flags & u64::from(PF_W) != 0)
        };
        // The loader stores DT_DEBUG, older ones relocate the table in place.
        if is_writable(self.before, old) && !is_writable(self.after, new) {
            findings.object(2, "PT_DYNAMIC moved to where nothing can be written".into());
        }
        if new.addr % self.after.image.word_size() != 0 {
            findings.object(2, "PT_DYNAMIC moved to an address that is not aligned".into());
        }
    }

    /// `DT_STRTAB` keeps its live strings where they are, and gains nothing but strings.
    fn string_table(&self, findings: &mut Findings) {
        let (old, new) = (self.old, self.new);
        if old.strings.last() == Some(&0) && new.strings.last() != Some(&0) {
            findings.object(2, "DT_STRTAB does not end in a NUL".into());
        }
        if new.strings.len() < old.strings.len() {
            findings.object(2, "DT_STRSZ became smaller".into());
        }
        if old.strings == new.strings {
            return;
        }
        let (was_live, is_live) = (old.live_strings(false), new.live_strings(true));
        for (at, &byte) in new.strings.iter().enumerate() {
            let was = old.strings.get(at);
            if was == Some(&byte) {
                continue;
            }
            let what = if was_live.get(at) == Some(&true) {
                "a live string changed"
            } else if !is_live[at] && !is_filler(byte) {
                "new bytes belong to no string"
            } else {
                continue;
            };
            return findings.object(2, format!("DT_STRTAB, offset {at:#x}: {what}"));
        }
    }

    fn symbols(&self, findings: &mut Findings) {
        let (was, is) = (self.old.symbols(), self.new.symbols());
        let (Some(was), Some(is)) = (&was, &is) else {
            if was.is_some() || self.old.value(DT_SYMTAB).is_some() && is.is_some() {
                findings.object(2, "the symbols can no longer be counted".into());
            }
            return;
        };
        if was.len() != is.len() {
            let what = format!("{} symbols instead of {}", is.len(), was.len());
            return findings.object(2, what);
        }
        for (index, (a, b)) in was.iter().zip(is).enumerate() {
            let (name, now) = (self.old.string(a.name_at), self.new.string(b.name_at));
            // A name outside the table is odd, but not by the editor.
            if name != now || (name.is_none() && a.name_at != b.name_at) {
                let show = |s: Option<&[u8]>| s.map_or("nothing".into(), text);
                let what = format!("symbol {index} is {} instead of {}", show(now), show(name));
                findings.object(2, what);
            }
            if !self.is_same_symbol(a, b, name == Some(b"_DYNAMIC")) {
                findings.object(2, format!("symbol {index} changed its value or kind"));
            }
        }
    }

    /// The same in all but the name; what lies in a moved section moves along.
    fn is_same_symbol(&self, was: &Symbol, is: &Symbol, is_dynamic: bool) -> bool {
        let expected = super::sections::follow(self.before, self.after, was, is_dynamic);
        let rest = |s: &Symbol| (s.info, s.other, s.shndx, s.size);
        // Code may hold the old address of _DYNAMIC; the old bytes stay for it.
        let is_kept = is_dynamic && is.value == was.value;
        rest(was) == rest(is) && (is.value == expected || is_kept)
    }

    fn versions(&self, findings: &mut Findings) {
        let (old, new) = (self.old, self.new);
        if old.table(DT_VERSYM) != new.table(DT_VERSYM) {
            findings.object(2, "DT_VERSYM gives symbols other versions".into());
        }
        let tables = [
            (DT_VERNEED, old.needed_versions(), new.needed_versions()),
            (DT_VERDEF, old.defined_versions(), new.defined_versions()),
        ];
        for (tag, was, is) in tables {
            let what = match (was, is) {
                (Ok((was, _)), Ok((is, _))) => {
                    let same = |(a, b): (&super::dynamic::Version, _)| a.says_the_same(b);
                    if was.len() == is.len() && was.iter().zip(&is).all(same) {
                        continue;
                    }
                    "names other versions".into()
                }
                // Unreadable before: rule 1 compares the bytes.
                (Err(_), _) => continue,
                (_, Err(what)) => what,
            };
            findings.object(2, format!("{}: {what}", tag_name(tag)));
        }
    }

    /// No relocation may store into a place that its section has left.
    fn relocations(&self, findings: &mut Findings) {
        let left = super::sections::left_places(self.before, self.after);
        if left.is_empty() {
            return;
        }
        for tag in [DT_REL, DT_RELA, DT_JMPREL] {
            for (place, _) in self.old.relocations(tag) {
                if let Some((name, _)) = left.iter().find(|(_, r)| r.contains(&place)) {
                    let tag = tag_name(tag);
                    findings.object(2, format!("{tag} stores into the old place of {name}"));
                }
            }
        }
    }
}

/// Bytes that a string table may hold without a meaning; patchelf fills with X or Z.
pub fn is_filler(byte: u8) -> bool {
    matches!(byte, 0 | b'X' | b'Z')
}

fn without_paths(dynamic: &Dynamic) -> Vec<Entry> {
    let all = dynamic.entries.iter().enumerate();
    all.filter(|(_, e)| !PATH_TAGS.contains(&e.0)).map(|(slot, e)| (slot, e.0, e.1)).collect()
}
