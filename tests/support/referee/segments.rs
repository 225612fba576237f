//! Rule 3, and the other program headers.

use super::image::{Image, Segment};
use super::pieces::PT_GNU_PROPERTY;
use super::{File, Findings};
use goblin::elf::program_header::*;
use std::collections::BTreeSet;

const PT_ARM_EXIDX: u32 = 0x7000_0001;

/// Program headers whose every field the loader acts on.
const FIXED: [u32; 5] = [PT_GNU_RELRO, PT_GNU_STACK, PT_TLS, PT_GNU_EH_FRAME, PT_ARM_EXIDX];

/// Compares the program header tables.
pub fn compare(before: &File, after: &File, findings: &mut Findings) {
    let (old, new) = (before.image, after.image);
    let excused = faults(old);
    for fault in faults(new).difference(&excused) {
        findings.object(3, fault.clone());
    }
    loads(before, after, findings);
    others(old, new, findings);
    let nulls = |image: &Image| {
        let all = image.segments.iter();
        all.filter(|s| s.kind == PT_NULL).count()
    };
    // All zero is one of a resolution note, which is judged elsewhere; what it was before is not gone, or `others` says so.
    let is_masked = |s: &&Segment| s.kind == PT_NULL && (s.flags, s.filesz, s.offset, s.align) == (0, 0, 0, 0);
    let masked = new.segments.iter().filter(is_masked).count();
    if nulls(new) > nulls(old) + masked {
        findings.object(3, "a program header became PT_NULL".into());
    }
}

/// What is wrong with a file in itself. The original's faults are not the editor's.
pub fn faults(image: &Image) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let len = image.bytes.len() as u64;
    for load in image.loads() {
        let mut fault = |what: &str| found.insert(format!("PT_LOAD at {:#x}: {what}", load.vaddr));
        if load.file_range().end > len {
            fault("lies outside the file");
        }
        if load.filesz > load.memsz {
            fault("p_filesz is larger than p_memsz");
        }
        if load.align > 1 {
            if !load.align.is_power_of_two() {
                fault("p_align is no power of two");
            } else if load.offset.wrapping_sub(load.vaddr) & (load.align - 1) != 0 {
                fault("p_offset and p_vaddr are not congruent");
            }
        }
        if is_writable_code(load) {
            fault("is writable and executable");
        }
    }
    let order = image.loads().zip(image.loads().skip(1));
    for (a, b) in order {
        let page = a.align.min(b.align).clamp(1, image.largest_page());
        if b.vaddr < a.vaddr {
            found.insert(format!("PT_LOAD at {:#x} is out of order", b.vaddr));
        } else if a.end().saturating_add(page - 1) / page > b.vaddr / page {
            found.insert(format!("PT_LOAD at {:#x} and at {:#x} share a page", a.vaddr, b.vaddr));
        }
    }
    let first_load = image.segments.iter().position(|s| s.kind == PT_LOAD);
    for (index, segment) in image.segments.iter().enumerate() {
        // llvm-objcopy takes the first of two headers with one offset for the parent of the other, and lays the load out
        // by the parent's alignment (llvm/lib/ObjCopy/ELF/ELFObject.cpp, compareSegmentsByOffset).
        let mut earlier = image.segments.get(..index).unwrap_or_default().iter();
        let has_parent = earlier.any(|s| s.kind != PT_LOAD && s.filesz > 0 && s.offset == segment.offset);
        if segment.kind == PT_LOAD && has_parent {
            let what = "a header in front of it has the same offset: llvm-objcopy takes it for the parent";
            found.insert(format!("PT_LOAD at {:#x}: {what}", segment.vaddr));
        }
        let must_lead = matches!(segment.kind, PT_PHDR | PT_INTERP);
        if must_lead && first_load.is_some_and(|first| first < index) {
            found.insert(format!("{} is behind a PT_LOAD", name(segment.kind)));
        }
        let table = image.segments.len() as u64 * image.phentsize;
        if segment.kind == PT_PHDR && segment.filesz != table {
            found.insert("PT_PHDR does not cover the table".into());
        }
        let is_mapped = segment.filesz > 0 && segment.vaddr != 0;
        let place = image.offset_of(segment.vaddr, segment.filesz);
        if is_mapped && segment.kind != PT_NULL && place != Some(segment.offset) {
            found.insert(format!("{} at {:#x} is mapped by no PT_LOAD from there", name(segment.kind), segment.vaddr));
        }
    }
    found
}

fn is_writable_code(load: &Segment) -> bool {
    let both = u64::from(PF_W | PF_X);
    load.flags & both == both
}

/// Old `PT_LOAD`s stay and at most grow; new ones have a purpose.
fn loads(before: &File, after: &File, findings: &mut Findings) {
    let mut new = after.image.loads().collect::<Vec<_>>();
    for load in before.image.loads() {
        let is_same = |s: &&Segment| {
            let grown = Segment { filesz: s.filesz, memsz: s.memsz, ..*load };
            **s == grown && s.filesz >= load.filesz && s.memsz >= load.memsz
        };
        let Some(index) = new.iter().position(is_same) else {
            findings.object(3, format!("PT_LOAD at {:#x} changed", load.vaddr));
            continue;
        };
        let grown = new.remove(index);
        let fill = |s: &Segment| s.memsz.saturating_sub(s.filesz);
        if fill(grown) > fill(load) {
            let what = format!("PT_LOAD at {:#x} has more zero fill", load.vaddr);
            findings.object(3, what);
        }
    }
    let page = |s: &Segment| s.align.min(before.image.largest_page());
    let widest = before.image.loads().map(page).max().unwrap_or(1);
    for load in new {
        let mut object = |what: &str| findings.object(3, format!("new PT_LOAD at {:#x} {what}", load.vaddr));
        if is_writable_code(load) {
            object("is writable and executable");
        }
        if load.flags & u64::from(PF_R) == 0 {
            object("cannot be read");
        }
        if load.filesz == 0 || load.memsz != load.filesz {
            object("is not made of file bytes");
        }
        if page(load) < widest {
            object("has a smaller p_align than the others");
        }
        let holds_dynamic = after.dynamic.as_ref().is_some_and(|d| load.vaddr <= d.addr && d.addr < load.end());
        if load.flags & u64::from(PF_W) != 0 && !holds_dynamic {
            object("is writable without need");
        }
    }
}

/// All program headers but `PT_LOAD`: the same content, wherever it is.
fn others(old: &Image, new: &Image, findings: &mut Findings) {
    let mut left = new.others().copied().collect::<Vec<_>>();
    let mut take = |is_it: &dyn Fn(&Segment) -> bool| {
        let index = left.iter().position(is_it);
        index.map(|index| left.remove(index)).is_some()
    };
    let mut missing = old.others().copied().collect::<Vec<_>>();
    missing.retain(|was| !take(&|is| is == was));
    missing.retain(|was| !take(&|is| is_successor(old, new, was, is)));

    // A PT_NOTE that repeats PT_GNU_PROPERTY may be given up for a PT_LOAD.
    let is_spare = |was: &Segment| {
        let property = old.segment(PT_GNU_PROPERTY);
        was.kind == PT_NOTE && property.is_some_and(|p| p.file_range() == was.file_range())
    };
    if new.loads().count() > old.loads().count()
        && let Some(index) = missing.iter().position(is_spare)
    {
        missing.remove(index);
    }

    // What one PT_NOTE covered, several may cover when a note moved.
    let is_note = |s: &Segment| s.kind == PT_NOTE;
    let is_like = |s: &Segment| {
        let same = |o: &Segment| is_note(o) && same_nature(o, s);
        s.memsz == s.filesz && old.segments.iter().any(same)
    };
    let all_alike = left.iter().filter(|s| is_note(s)).all(is_like);
    if missing.iter().any(is_note) && all_alike && notes(old) == notes(new) {
        missing.retain(|s| !is_note(s));
        left.retain(|s| !is_note(s));
    }
    for was in missing {
        let what = format!("{} at {:#x} changed or vanished", name(was.kind), was.vaddr);
        findings.object(3, what);
    }
    for is in left {
        let what = format!("{} at {:#x} is new or changed", name(is.kind), is.vaddr);
        findings.object(3, what);
    }
}

/// The same in all but the place and the size.
fn same_nature(was: &Segment, is: &Segment) -> bool {
    let physical = |s: &Segment| s.paddr.wrapping_sub(s.vaddr);
    (was.flags, was.align, physical(was)) == (is.flags, is.align, physical(is))
}

/// Whether a program header is a legitimate successor of another one.
fn is_successor(old: &Image, new: &Image, was: &Segment, is: &Segment) -> bool {
    if FIXED.contains(&was.kind) || was.kind != is.kind || !same_nature(was, is) {
        return false;
    }
    let sizes = (was.filesz, was.memsz) == (is.filesz, is.memsz);
    let place = (was.offset, was.vaddr, was.paddr) == (is.offset, is.vaddr, is.paddr);
    match was.kind {
        // Its size is compared with the table's.
        PT_PHDR => place && is.memsz == is.filesz,
        // Its content is compared entry by entry.
        PT_DYNAMIC => is.filesz >= was.filesz && is.memsz == is.filesz,
        _ => {
            let content = |image: &Image, s: &Segment| {
                let bytes = image.slice(s.offset, s.filesz);
                bytes.map(<[u8]>::to_vec)
            };
            sizes && content(old, was).is_some() && content(old, was) == content(new, is)
        }
    }
}

/// The notes that program headers lead to.
pub fn notes(image: &Image) -> BTreeSet<Note> {
    let kinds = [PT_NOTE, PT_GNU_PROPERTY];
    let segments = image.segments.iter().filter(|s| kinds.contains(&s.kind));
    segments.flat_map(|s| segment_notes(image, s)).map(|n| n.0).collect()
}

/// A note: owner's name, type, description.
pub type Note = (Vec<u8>, u64, Vec<u8>);

/// The notes of one segment, each with the file offset of its end.
pub fn segment_notes(image: &Image, segment: &Segment) -> Vec<(Note, u64)> {
    let align = if segment.align == 8 { 8 } else { 4 };
    let end = segment.file_range().end;
    let mut at = segment.offset;
    let mut found = Vec::new();
    while at < end {
        let read = || {
            let field = |i: u64| image.uint(at.checked_add(4 * i)?, 4);
            let (namesz, descsz, kind) = (field(0)?, field(1)?, field(2)?);
            let desc_at = at + (12 + namesz).next_multiple_of(align);
            let name = image.slice(at + 12, namesz)?.to_vec();
            let desc = image.slice(desc_at, descsz)?.to_vec();
            Some(((name, kind, desc), desc_at + descsz))
        };
        let Some((note, note_end)) = read() else {
            break;
        };
        found.push((note, note_end));
        at = at + (note_end - at).next_multiple_of(align);
    }
    found
}

fn name(kind: u32) -> String {
    match kind {
        PT_GNU_PROPERTY => "PT_GNU_PROPERTY".into(),
        PT_PHDR | PT_INTERP | PT_NOTE | PT_DYNAMIC | PT_TLS | PT_LOAD | PT_GNU_EH_FRAME | PT_GNU_STACK
        | PT_GNU_RELRO => pt_to_str(kind).into(),
        _ => format!("the program header of type {kind:#x}"),
    }
}
