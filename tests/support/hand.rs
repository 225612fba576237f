//! Edits made by hand, right ones and wrong ones, for the tests of the referee. They use
//! the referee's reading of the file, and nothing of the editor.

use super::referee::{Dynamic, Image, Segment};
use goblin::elf::dynamic::*;
use goblin::elf::program_header::*;

/// A field of a program header.
#[derive(Clone, Copy)]
pub enum Phdr {
    Kind,
    Flags,
    Offset,
    Vaddr,
    Paddr,
    Filesz,
    Memsz,
    Align,
}

/// A field of a section header.
#[derive(Clone, Copy)]
pub enum Shdr {
    Addr,
    Offset,
    Size,
}

/// A file under edit.
pub struct Draft {
    pub bytes: Vec<u8>,
}

impl Draft {
    /// A copy to work on.
    pub fn new(bytes: &[u8]) -> Self {
        Draft { bytes: bytes.to_vec() }
    }

    /// The headers as they are now.
    pub fn image(&self) -> Image<'_> {
        Image::read(&self.bytes).expect("a draft is an ELF file")
    }

    /// Reads something off the dynamic table.
    pub fn dynamic<T>(&self, read: impl FnOnce(&Dynamic) -> T) -> T {
        let image = self.image();
        let dynamic = Dynamic::read(&image).expect("a dynamic table that can be read");
        read(&dynamic.expect("a dynamic table"))
    }

    /// Stores a number of `width` bytes.
    pub fn put(&mut self, at: u64, width: u64, value: u64) {
        let (at, width) = (at as usize, width as usize);
        let bytes = if self.image().big {
            value.to_be_bytes()[8 - width..].to_vec()
        } else {
            value.to_le_bytes()[..width].to_vec()
        };
        self.bytes[at..at + width].copy_from_slice(&bytes);
    }

    /// Stores bytes, behind the end as well.
    pub fn put_bytes(&mut self, at: u64, bytes: &[u8]) {
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at..end].copy_from_slice(bytes);
    }

    /// Changes every bit of a byte.
    pub fn flip(&mut self, at: u64) {
        self.bytes[at as usize] ^= 0xff;
    }

    /// The index of the first program header of a kind.
    pub fn segment(&self, kind: u32) -> usize {
        let image = self.image();
        let found = image.segments.iter().position(|s| s.kind == kind);
        found.expect("the program header")
    }

    /// The index of the `PT_LOAD` with these flags.
    pub fn load(&self, flags: u32) -> usize {
        let image = self.image();
        let is_it = |s: &Segment| s.kind == PT_LOAD && s.flags == u64::from(flags);
        let found = image.segments.iter().position(is_it);
        found.expect("the PT_LOAD")
    }

    /// Changes a field of a program header.
    pub fn set_segment(&mut self, index: usize, field: Phdr, value: u64) {
        let image = self.image();
        let start = image.phoff + index as u64 * image.phentsize;
        let (at, width) = match (field, image.wide) {
            (Phdr::Kind, _) => (0, 4),
            (Phdr::Flags, true) => (4, 4),
            (Phdr::Offset, true) => (8, 8),
            (Phdr::Vaddr, true) => (16, 8),
            (Phdr::Paddr, true) => (24, 8),
            (Phdr::Filesz, true) => (32, 8),
            (Phdr::Memsz, true) => (40, 8),
            (Phdr::Align, true) => (48, 8),
            (Phdr::Offset, false) => (4, 4),
            (Phdr::Vaddr, false) => (8, 4),
            (Phdr::Paddr, false) => (12, 4),
            (Phdr::Filesz, false) => (16, 4),
            (Phdr::Memsz, false) => (20, 4),
            (Phdr::Flags, false) => (24, 4),
            (Phdr::Align, false) => (28, 4),
        };
        self.put(start + at, width, value);
    }

    /// Writes a whole program header.
    pub fn write_segment(&mut self, index: usize, segment: &Segment) {
        for (field, value) in [
            (Phdr::Kind, u64::from(segment.kind)),
            (Phdr::Flags, segment.flags),
            (Phdr::Offset, segment.offset),
            (Phdr::Vaddr, segment.vaddr),
            (Phdr::Paddr, segment.paddr),
            (Phdr::Filesz, segment.filesz),
            (Phdr::Memsz, segment.memsz),
            (Phdr::Align, segment.align),
        ] {
            self.set_segment(index, field, value);
        }
    }

    /// Sets the place of a program header.
    pub fn move_segment(&mut self, index: usize, offset: u64, addr: u64) {
        self.set_segment(index, Phdr::Offset, offset);
        self.set_segment(index, Phdr::Vaddr, addr);
        self.set_segment(index, Phdr::Paddr, addr);
    }

    /// Sets the place of a section.
    pub fn move_section(&mut self, name: &str, offset: u64, addr: u64) {
        self.set_section(name, Shdr::Offset, offset);
        self.set_section(name, Shdr::Addr, addr);
    }

    /// The index of the `PT_LOAD` that maps an address.
    pub fn load_of(&self, addr: u64) -> usize {
        let image = self.image();
        let is_it = |s: &Segment| s.kind == PT_LOAD && (s.vaddr..s.end()).contains(&addr);
        let found = image.segments.iter().position(is_it);
        found.expect("the PT_LOAD")
    }

    /// Exchanges two program headers.
    pub fn swap_segments(&mut self, a: usize, b: usize) {
        let image = self.image();
        let (start, size) = (image.phoff as usize, image.phentsize as usize);
        let place = |index: usize| start + index * size..start + (index + 1) * size;
        let (first, second) = (self.bytes[place(a)].to_vec(), self.bytes[place(b)].to_vec());
        self.bytes[place(a)].copy_from_slice(&second);
        self.bytes[place(b)].copy_from_slice(&first);
    }

    /// The index of a section.
    pub fn section(&self, name: &str) -> usize {
        let image = self.image();
        let found = (0..image.sections.len()).find(|i| image.section_name(*i) == name);
        found.unwrap_or_else(|| panic!("no section {name}"))
    }

    /// The file offset of a section.
    pub fn section_offset(&self, name: &str) -> u64 {
        self.image().sections[self.section(name)].offset
    }

    /// Changes a field of a section header.
    pub fn set_section(&mut self, name: &str, field: Shdr, value: u64) {
        let index = self.section(name) as u64;
        let image = self.image();
        let word = image.word_size();
        let place = match field {
            Shdr::Addr => 1,
            Shdr::Offset => 2,
            Shdr::Size => 3,
        };
        let at = image.shoff + index * image.shentsize + 8 + place * word;
        self.put(at, word, value);
    }

    /// The slot of a tag; of `DT_NULL` the first.
    pub fn slot(&self, tag: u64) -> u64 {
        self.dynamic(|d| {
            let found = d.entries.iter().position(|e| e.0 == tag);
            found.unwrap_or(d.entries.len()) as u64
        })
    }

    /// Writes an entry of the dynamic table.
    pub fn set_entry(&mut self, slot: u64, tag: u64, value: u64) {
        let word = self.image().word_size();
        let at = self.dynamic(|d| d.offset) + slot * 2 * word;
        self.put(at, word, tag);
        self.put(at + word, word, value);
    }

    /// Changes the value of a tag that is there.
    pub fn set_value(&mut self, tag: u64, value: u64) {
        self.set_entry(self.slot(tag), tag, value);
    }

    /// The file offset of the first symbol of `.symtab` with a name, and of its value.
    pub fn symbol_value(&self, name: &str) -> u64 {
        let image = self.image();
        let table = image.sections[self.section(".symtab")];
        let names = image.sections[table.link as usize];
        let size = if image.wide { 24 } else { 16 };
        let wanted = [name.as_bytes(), b"\0"].concat();
        let is_it = |at: &u64| {
            let name_at = names.offset + image.uint(*at, 4).unwrap_or(0);
            image.slice(name_at, wanted.len() as u64) == Some(&wanted)
        };
        let symbols = (table.offset..table.offset + table.size).step_by(size);
        let at = symbols.into_iter().find(is_it);
        at.unwrap_or_else(|| panic!("no symbol {name}")) + if image.wide { 8 } else { 4 }
    }

    /// The file offset of the string table.
    pub fn strings_offset(&self) -> u64 {
        let addr = self.dynamic(|d| d.value(DT_STRTAB)).expect("DT_STRTAB");
        self.image().offset_of(addr, 1).expect("a mapped DT_STRTAB")
    }

    /// The search path: tag, offset in the string table, value.
    pub fn search_path(&self) -> Option<(u64, u64, Vec<u8>)> {
        self.dynamic(|d| {
            let paths = d.search_paths();
            let last = paths.last()?;
            Some((last.0, last.1, last.2?.to_vec()))
        })
    }

    /// Fills the bytes of a string with X, but those that other strings use.
    pub fn scrub(&mut self, table: u64, at: u64, len: u64, live: &[bool]) {
        for index in at..at + len {
            if !live[index as usize] {
                self.put(table + index, 1, u64::from(b'X'));
            }
        }
    }
}

/// Writes a search path over the old one, which is as long or longer.
pub fn over_the_old_one(before: &[u8], path: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(before);
    let (_, at, old) = draft.search_path().expect("an old search path");
    assert!(path.len() <= old.len());
    let live = draft.dynamic(|d| d.live_strings(false));
    let table = draft.strings_offset();
    draft.scrub(table, at, old.len() as u64, &live);
    draft.put_bytes(table + at, path);
    if path.len() < old.len() {
        draft.put(table + at + path.len() as u64, 1, 0);
    }
    draft.bytes
}

/// Moves the string table, with the search path at its end, behind the `PT_LOAD` that it
/// lies in.
pub fn into_slack(before: &[u8], path: &[u8]) -> Vec<u8> {
    let draft = Draft::new(before);
    let image = draft.image();
    let addr = draft.dynamic(|d| d.value(DT_STRTAB)).expect("DT_STRTAB");
    let index = draft.load_of(addr);
    let home = image.segments[index];
    let (offset, addr) = (home.file_range().end, home.end());
    let mut draft = Draft::new(before);
    let added = size_with(&draft, path);
    draft.set_segment(index, Phdr::Filesz, home.filesz + added);
    draft.set_segment(index, Phdr::Memsz, home.memsz + added);
    move_strings(&mut draft, offset, addr, path);
    draft.bytes
}

/// Moves the string table, with the search path at its end, to a new `PT_LOAD` at the end
/// of the file, in the place of the `PT_NOTE` that repeats `PT_GNU_PROPERTY`.
pub fn into_a_new_segment(before: &[u8], path: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(before);
    let image = draft.image();
    let property = image.segments[draft.segment(super::referee::PT_GNU_PROPERTY)];
    let is_spare = |s: &Segment| s.kind == PT_NOTE && s.offset == property.offset;
    let index = image.segments.iter().position(is_spare).expect("a spare PT_NOTE");
    let last = *image.loads().last().expect("a PT_LOAD");
    let offset = before.len() as u64;
    let addr = last.end().next_multiple_of(last.align) + offset % last.align;
    let size = size_with(&draft, path);
    let segment = new_load(offset, addr, size, last.align);
    draft.write_segment(index, &segment);
    draft.put_bytes(offset, &vec![0; size as usize]);
    move_strings(&mut draft, offset, addr, path);
    draft.bytes
}

/// A read-only `PT_LOAD`.
fn new_load(offset: u64, addr: u64, size: u64, align: u64) -> Segment {
    Segment {
        kind: PT_LOAD,
        flags: u64::from(PF_R),
        offset,
        vaddr: addr,
        paddr: addr,
        filesz: size,
        memsz: size,
        align,
    }
}

/// As `into_a_new_segment`; the dynamic table moves there, too.
pub fn with_the_dynamic_table_moved(before: &[u8], path: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(&into_a_new_segment(before, path));
    let image = draft.image();
    let index = draft.load_of(image.sections[draft.section(".dynstr")].addr);
    let mut load = image.segments[index];
    let (at, size) = draft.dynamic(|d| (d.offset, d.size));
    let table = image.slice(at, size).expect("the table").to_vec();
    let gap = load.vaddr.wrapping_add(load.filesz).next_multiple_of(16) - load.end();
    let (offset, addr) = (load.file_range().end + gap, load.end() + gap);
    load.filesz += gap + size;
    load.memsz = load.filesz;
    load.flags = u64::from(PF_R | PF_W);
    draft.put_bytes(offset, &table);
    // The old table stays as it was.
    let old = Draft::new(before).image().slice(at, size).map(<[u8]>::to_vec);
    draft.put_bytes(at, &old.expect("the old table"));
    draft.write_segment(index, &load);
    let index = draft.segment(PT_DYNAMIC);
    draft.move_segment(index, offset, addr);
    draft.move_section(".dynamic", offset, addr);
    let symbol = draft.symbol_value("_DYNAMIC");
    draft.put(symbol, draft.image().word_size(), addr);
    draft.bytes
}

/// Moves `.gnu.version` behind the `PT_LOAD` that it lies in; `.dynstr` grows over it.
pub fn over_the_versions(before: &[u8], path: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(before);
    let image = draft.image();
    let versions = image.sections[draft.section(".gnu.version")];
    let strings = image.sections[draft.section(".dynstr")];
    let index = draft.load_of(strings.addr);
    let mut load = image.segments[index];
    let gap = load.filesz % 2;
    let (offset, addr) = (load.file_range().end + gap, load.end() + gap);
    let content = image.content(&versions).expect("the versions").to_vec();
    let size = size_with(&draft, path);
    assert!(strings.offset + size <= versions.file_range().end, "no room");
    load.filesz += gap + versions.size;
    load.memsz = load.filesz;
    draft.write_segment(index, &load);
    draft.put_bytes(offset, &content);
    draft.set_value(DT_VERSYM, addr);
    draft.move_section(".gnu.version", offset, addr);
    draft.put_bytes(strings.offset + strings.size, &[path, b"\0"].concat());
    draft.set_value(DT_STRSZ, size);
    draft.set_section(".dynstr", Shdr::Size, size);
    draft.set_entry(draft.slot(DT_NULL), DT_RUNPATH, strings.size);
    draft.bytes
}

/// Moves the string table and `.gnu.hash` to a new `PT_LOAD`, for which the header table
/// grows over the build-id note, which moves to where `.gnu.hash` was.
pub fn with_a_longer_header_table(before: &[u8], path: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(before);
    let image = draft.image();
    let hash = image.sections[draft.section(".gnu.hash")];
    let id = image.sections[draft.section(".note.gnu.build-id")];
    let count = image.segments.len();
    let table_end = image.phdr_range().end + image.phentsize;
    let id_at = hash.file_range().end - id.size.next_multiple_of(4);
    assert_eq!(image.phdr_range().end, id.offset, "the note follows the table");
    assert!(table_end <= id_at, "no room");
    let hash_content = image.content(&hash).expect("the hash table").to_vec();
    let id_content = image.content(&id).expect("the note").to_vec();
    let segments = image.segments.clone();
    let last = *image.loads().last().expect("a PT_LOAD");
    let first = image.loads().next().expect("a PT_LOAD").vaddr;
    let phnum = image.phnum_field();
    let note = draft.segment(PT_NOTE);
    let last_index = draft.load_of(last.vaddr);

    let offset = (before.len() as u64).next_multiple_of(8);
    let addr = last.end().next_multiple_of(last.align) + offset % last.align;
    let strings_at = hash.size.next_multiple_of(8);
    let size = strings_at + size_with(&draft, path);
    draft.put_bytes(offset, &hash_content);
    draft.put_bytes(offset + strings_at, &vec![0; (size - strings_at) as usize]);
    draft.put_bytes(id_at, &id_content);
    draft.put(phnum.start, 2, count as u64 + 1);
    draft.write_segment(last_index + 1, &new_load(offset, addr, size, last.align));
    for (index, segment) in segments.iter().enumerate().skip(last_index + 1) {
        draft.write_segment(index + 1, segment);
    }
    draft.move_segment(note + 1, id_at, first + id_at);
    draft.move_section(".note.gnu.build-id", id_at, first + id_at);
    draft.set_value(DT_GNU_HASH, addr);
    draft.move_section(".gnu.hash", offset, addr);
    move_strings(&mut draft, offset + strings_at, addr + strings_at, path);
    draft.bytes
}

/// Bytes of the string table with one more string.
fn size_with(draft: &Draft, path: &[u8]) -> u64 {
    draft.dynamic(|d| d.strings.len() + path.len() + 1) as u64
}

/// Copies the string table, adds the search path, and changes all that names either.
fn move_strings(draft: &mut Draft, offset: u64, addr: u64, path: &[u8]) {
    let old = draft.search_path();
    let old_table = draft.strings_offset();
    let mut table = draft.dynamic(|d| d.strings.to_vec());
    let live = draft.dynamic(|d| d.live_strings(false));
    let path_at = table.len() as u64;
    table.extend_from_slice(path);
    table.push(0);
    let size = table.len() as u64;
    draft.put_bytes(offset, &table);
    draft.set_value(DT_STRTAB, addr);
    draft.set_value(DT_STRSZ, size);
    draft.move_section(".dynstr", offset, addr);
    draft.set_section(".dynstr", Shdr::Size, size);
    match old {
        Some((tag, at, path)) => {
            draft.set_value(tag, path_at);
            for table in [offset, old_table] {
                draft.scrub(table, at, path.len() as u64, &live);
            }
        }
        None => draft.set_entry(draft.slot(DT_NULL), DT_RUNPATH, path_at),
    }
}
