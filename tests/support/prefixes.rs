//! What an interrupted run leaves: the file after each edit must still read as the old one or the new one.
//!
//! The reading is the referee's, by the way of a loader: program headers, `PT_DYNAMIC`'s address, `DT_*` addresses.

use super::generated::note_of;
use super::referee::{self, Dynamic, Image, Segment};
use driver_runpath::plan::Plan;
use goblin::elf::dynamic::*;
use goblin::elf::program_header::{PT_INTERP, PT_LOAD};

/// What a loader takes from a file, strings resolved.
#[derive(Debug, PartialEq, Eq)]
struct View {
    path: Option<Vec<u8>>,
    /// What the resolution note says.
    note: Option<Vec<u8>>,
    rest: Rest,
}

/// All that must be the same at each moment.
#[derive(Debug, PartialEq, Eq)]
struct Rest {
    needed: Vec<Option<Vec<u8>>>,
    names: Vec<(u64, Option<Vec<u8>>)>,
    symbols: Vec<Option<Vec<u8>>>,
    tables: Vec<(u64, Option<Vec<u8>>)>,
    versions: Vec<String>,
    interpreter: Option<Vec<u8>>,
    loads: usize,
}

/// Checks the file, which has this many symbols, after each edit of `plan`, which puts the search path `new` in force.
pub fn check(file: &[u8], plan: &Plan<'_>, new: Option<&[u8]>, symbols: u64) -> Result<(), String> {
    let sizes = Sizes::of(file, symbols)?;
    let before = view(file, &sizes)?;
    let new = new.map(<[u8]>::to_vec);
    let mut now = file.to_vec();
    let mut is_new = before.path == new;
    for (count, edit) in (1..).zip(&plan.edits) {
        let content = edit.content.resolve(file).ok_or("an edit copies from outside the file")?;
        let (start, end) = (edit.at.0 as usize, edit.at.0 as usize + content.len());
        now.resize(now.len().max(end), 0);
        now[start..end].copy_from_slice(content);
        let after = view(&now, &sizes);
        let fail = |what: String| format!("after {count} of {} edits ({}): {what}", plan.edits.len(), edit.why);
        let after = after.map_err(fail)?;
        if after.rest.loads < before.rest.loads || after.rest.loads > before.rest.loads + 1 {
            return Err(fail("a PT_LOAD came or went".into()));
        }
        let rest = Rest { loads: before.rest.loads, ..after.rest };
        if rest != before.rest {
            return Err(fail(format!("a loader reads {rest:?} instead of {:?}", before.rest)));
        }
        // The old note is right with the old path only, the new one with the new path; none with any.
        let is_old_pair = after.path == before.path && after.note == before.note;
        let is_new_pair = after.path == new && after.note.as_deref() == note_of(&plan.change);
        if after.note.is_some() && !is_old_pair && !is_new_pair {
            return Err(fail("the resolution note is not that of the search path".into()));
        }
        if after.path == new {
            is_new = true;
        } else if is_new || after.path != before.path {
            return Err(fail(format!("the search path is {:?}", after.path.map(|p| p.escape_ascii().to_string()))));
        }
    }
    if now != plan.replay(plan.edits.len()).unwrap_or_default() {
        return Err("the edits one by one make another file than all of them".into());
    }
    if is_new { Ok(()) } else { Err("the new search path never came in force".into()) }
}

/// The tables that loaders use, the symbols first.
const TABLES: [u64; 7] = [DT_SYMTAB, DT_HASH, DT_GNU_HASH, DT_VERSYM, DT_REL, DT_RELA, DT_JMPREL];

/// Bytes of each table, as the whole file tells them; a loader does not read the section headers that it takes.
struct Sizes([u64; 7]);

impl Sizes {
    fn of(file: &[u8], symbols: u64) -> Result<Self, String> {
        let image = Image::read(file)?;
        let dynamic = Dynamic::read(&image)?.ok_or("no PT_DYNAMIC")?;
        let size = |tag| dynamic.value(tag).and_then(|_| dynamic.table(tag)).map_or(0, |table| table.len() as u64);
        let mut sizes = TABLES.map(size);
        sizes[0] = symbols * dynamic.symbol_size();
        Ok(Self(sizes))
    }
}

fn view(file: &[u8], sizes: &Sizes) -> Result<View, String> {
    let image = Image::read(file)?;
    check_loads(&image)?;
    let dynamic = Dynamic::read_as_loader(&image)?.ok_or("no PT_DYNAMIC")?;
    if !dynamic.is_terminated {
        return Err("the dynamic table has no end".into());
    }
    let owned = |at: u64| dynamic.string(at).map(<[u8]>::to_vec);
    // DT_RUNPATH beats DT_RPATH.
    let path = dynamic.value(DT_RUNPATH).or_else(|| dynamic.value(DT_RPATH));
    let strings = dynamic.value(DT_STRTAB).ok_or("no DT_STRTAB")?;
    let path = path.map(|at| mapped_string(&image, strings.wrapping_add(at))).transpose()?;
    let mut needed: Vec<Option<Vec<u8>>> = Vec::new();
    for (_, at) in dynamic.entries.iter().filter(|entry| entry.0 == DT_NEEDED) {
        // Named twice, a library is loaded once.
        let name = owned(*at);
        if !needed.contains(&name) {
            needed.push(name);
        }
    }
    let names = [DT_SONAME].map(|tag| (tag, dynamic.value(tag).and_then(owned)));
    let table = |(tag, size): (u64, u64)| Some(image.at(dynamic.value(tag)?, size)?.to_vec());
    let tables = TABLES.iter().copied().zip(sizes.0).skip(1).map(|row| (row.0, table(row)));
    let versions = [dynamic.needed_versions()?.0, dynamic.defined_versions()?.0];
    let interpreter = image.segment(PT_INTERP).and_then(|s| image.at(s.vaddr, s.filesz)).map(<[u8]>::to_vec);
    Ok(View {
        path,
        note: referee::descriptor(&image).map(<[u8]>::to_vec),
        rest: Rest {
            needed,
            names: names.to_vec(),
            symbols: symbols(&image, &dynamic, sizes.0[0])?,
            tables: tables.collect(),
            versions: versions.iter().flatten().map(|version| version.text()).collect(),
            interpreter,
            loads: image.loads().count(),
        },
    })
}

fn symbols(image: &Image, dynamic: &Dynamic, size: u64) -> Result<Vec<Option<Vec<u8>>>, String> {
    let Some(addr) = dynamic.value(DT_SYMTAB) else { return Ok(Vec::new()) };
    let table = image.at(addr, size).ok_or("DT_SYMTAB leads out of the file")?;
    let name = |symbol: &[u8]| dynamic.string(image.number(&symbol[..4])).map(<[u8]>::to_vec);
    Ok(table.chunks_exact(dynamic.symbol_size() as usize).map(name).collect())
}

/// The string at an address, whatever `DT_STRSZ` says. Of a segment without zero fill, memory has the file's bytes to
/// the end of the page.
fn mapped_string(image: &Image, addr: u64) -> Result<Vec<u8>, String> {
    let holds = |load: &&Segment| {
        let end = load.vaddr.saturating_add(load.filesz);
        let end = if load.filesz == load.memsz { end.next_multiple_of(4096) } else { end };
        load.vaddr <= addr && addr < end
    };
    let load = image.loads().filter(holds).last().ok_or("the search path lies where nothing is mapped")?;
    let tail = usize::try_from(load.offset + (addr - load.vaddr)).ok().and_then(|at| image.bytes.get(at..));
    let tail = tail.ok_or("the search path lies behind the file")?;
    let len = tail.iter().position(|byte| *byte == 0).ok_or("the search path has no end")?;
    Ok(tail[..len].to_vec())
}

/// What the kernel asks of the `PT_LOAD` entries before it maps them.
fn check_loads(image: &Image) -> Result<(), String> {
    let mut end = 0;
    for load in image.segments.iter().filter(|segment| segment.kind == PT_LOAD) {
        let fault = |what: &str| Err(format!("the PT_LOAD at {:#x} {what}", load.vaddr));
        if load.filesz > load.memsz {
            return fault("has p_filesz > p_memsz");
        }
        if load.file_range().end > image.bytes.len() as u64 {
            return fault("ends behind the file");
        }
        if load.align > 1 && load.vaddr % load.align != load.offset % load.align {
            return fault("is not congruent");
        }
        if load.vaddr < end {
            return fault("overlaps the one before it");
        }
        end = load.end();
    }
    Ok(())
}
