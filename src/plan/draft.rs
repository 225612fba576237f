//! The plan in the making: edits in order, and the steps that all rungs share.
//!
//! The order of every rung: dead bytes, growing segments, `DT_STRTAB`, `DT_STRSZ`, the search path (from here on the
//! new path is in force), then the scrubbing of the old string, then the section headers, which no loader reads. A
//! section header that disagrees with `DT_STRTAB` is thus the mark of an interrupted run.

mod entries;

use std::collections::BTreeMap;
use std::ops::Range;

use object::elf;

use super::dynamic::{EntryFor, copy_len};
use super::liveness::Liveness;
use super::{Change, Content, Edit, Move, NoFit, NoteOutcome, Obstacle, Original, Plan, Rung, Step};
use crate::decide::Tag;
use crate::elf::class::Field;
use crate::elf::{DynamicEntry, FileOffset, Image, Section, Vaddr, overlap};

/// What an erased string is filled with, as patchelf does.
const FILL: u8 = b'X';

/// What it is filled with in a place that the table has left, as patchelf does.
const LEFT_FILL: u8 = b'Z';

pub(super) struct Draft<'i, 'data> {
    pub(super) image: &'i Image<'data>,
    pub(super) change: &'i Change,
    pub(super) liveness: &'i Liveness,
    entry: EntryFor,
    /// Where `.dynamic` is by now.
    dynamic: (FileOffset, Vaddr),
    /// The values of the entries of `.dynamic` as they are after the edits so far.
    values: Vec<u64>,
    /// Where the section header table is afterwards, if it moves.
    section_table: Option<FileOffset>,
    /// By how many bytes each segment has grown so far.
    grown: BTreeMap<usize, u64>,
    /// Bytes that the first edits write, and that every copy of them has.
    opening: Vec<(FileOffset, Vec<u8>)>,
    edits: Vec<Edit>,
    moves: Vec<Move>,
    new_len: u64,
}

/// Why a table cannot be edited; each is a number that does not fit its field.
fn does_not_fit(what: &str) -> NoFit {
    NoFit::of(Obstacle::Field, format!("{what} does not fit its field"))
}

impl<'i, 'data> Draft<'i, 'data> {
    pub(super) fn new(image: &'i Image<'data>, change: &'i Change, liveness: &'i Liveness, entry: EntryFor) -> Self {
        let (edits, moves, new_len) = (Vec::new(), Vec::new(), image.file_end().0);
        Self {
            image,
            change,
            liveness,
            entry,
            dynamic: (image.dynamic.offset, image.dynamic.addr),
            values: image.dynamic.entries.iter().map(|entry| entry.value).collect(),
            section_table: None,
            grown: BTreeMap::new(),
            opening: Vec::new(),
            edits,
            moves,
            new_len,
        }
    }

    pub(super) fn finish(self, rung: Rung, note: NoteOutcome) -> Plan<'data> {
        Plan {
            rung,
            entry: self.entry,
            edits: self.edits,
            new_len: self.new_len,
            moves: self.moves,
            note,
            change: self.change.clone(),
            original: Original(self.image.data),
        }
    }

    /// The edits so far.
    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The tables that have moved so far.
    pub(super) fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Whether `.dynamic` has to move for the new entry, which takes a writable segment.
    pub(super) fn moves_dynamic(&self) -> bool {
        self.entry == EntryFor::MovedTable
    }

    /// The table's bytes.
    pub(super) fn table(&self) -> &'data [u8] {
        self.image.strings.bytes(self.image.data)
    }

    /// The new search path with its terminator.
    pub(super) fn new_string(&self) -> Vec<u8> {
        let mut string = self.change.path.clone().unwrap_or_default();
        string.push(0);
        string
    }

    /// Bytes of the table with the new string behind it.
    pub(super) fn grown_table_len(&self) -> Result<u64, NoFit> {
        let string = self.new_string().len() as u64;
        self.image.strings.len().checked_add(string).ok_or_else(|| does_not_fit("DT_STRSZ"))
    }

    // Single edits.

    pub(super) fn fill(&mut self, at: FileOffset, bytes: Vec<u8>, why: &'static str) {
        self.push(at, Content::Bytes(bytes), Step::Fill, why);
    }

    pub(super) fn copy(&mut self, from: Range<FileOffset>, to: FileOffset, why: &'static str) {
        let content = match self.bytes_now(&from) {
            Some(bytes) => Content::Bytes(bytes),
            None => Content::CopyOf(from),
        };
        self.push(to, content, Step::Fill, why);
    }

    /// Writes bytes before anything else, for whoever copies them afterwards as well.
    pub(super) fn write_first(&mut self, at: FileOffset, bytes: Vec<u8>, step: Step, why: &'static str) {
        self.opening.push((at, bytes.clone()));
        self.push(at, Content::Bytes(bytes), step, why);
    }

    /// The bytes of `range` where the first edits have changed some of them.
    pub(super) fn bytes_now(&self, range: &Range<FileOffset>) -> Option<Vec<u8>> {
        let end = |at: &FileOffset, bytes: &[u8]| FileOffset(at.0.saturating_add(bytes.len() as u64));
        let written = self.opening.iter().filter(|(at, bytes)| overlap(&(*at..end(at, bytes)), range));
        let mut now = None;
        for (at, bytes) in written {
            let now = now.get_or_insert_with(|| self.image.bytes(range).unwrap_or_default().to_vec());
            for (position, byte) in (at.0..).zip(bytes) {
                let inside = position.checked_sub(range.start.0).and_then(|inside| usize::try_from(inside).ok());
                if let Some(target) = inside.and_then(|inside| now.get_mut(inside)) {
                    *target = *byte;
                }
            }
        }
        now
    }

    /// Whether an edit so far has written to this range.
    pub(super) fn has_written(&self, range: &Range<FileOffset>) -> bool {
        self.edits.iter().any(|edit| overlap(&edit.range(), range))
    }

    /// By how many bytes segment `index` has grown so far.
    pub(super) fn growth_of(&self, index: usize) -> u64 {
        self.grown.get(&index).copied().unwrap_or(0)
    }

    /// The end of the file as it is so far.
    pub(super) fn file_end(&self) -> FileOffset {
        FileOffset(self.new_len)
    }

    /// One byte that a loader may read at any time.
    pub(super) fn store_byte(&mut self, at: FileOffset, byte: u8, why: &'static str) {
        self.push(at, Content::Bytes(vec![byte]), Step::Store, why);
    }

    fn push(&mut self, at: FileOffset, content: Content, step: Step, why: &'static str) {
        if content.is_empty() {
            return;
        }
        let edit = Edit { at, content, step, why };
        self.new_len = self.new_len.max(edit.range().end.0);
        self.edits.push(edit);
    }

    fn store(&mut self, at: Option<FileOffset>, value: u64, field: Field, why: &'static str) -> Result<(), NoFit> {
        let bytes = self.image.encoding.bytes(value, field.size).ok_or_else(|| does_not_fit(why))?;
        let at = at.ok_or_else(|| does_not_fit(why))?;
        self.push(at, Content::Bytes(bytes), Step::Store, why);
        Ok(())
    }

    pub(super) fn store_segment(&mut self, i: usize, field: Field, value: u64, why: &'static str) -> Result<(), NoFit> {
        self.store(self.image.segment_field(i, field), value, field, why)
    }

    pub(super) fn store_header(&mut self, field: Field, value: u64, why: &'static str) -> Result<(), NoFit> {
        self.store(Some(FileOffset(field.at)), value, field, why)
    }

    pub(super) fn store_section(&mut self, i: usize, field: Field, value: u64, why: &'static str) -> Result<(), NoFit> {
        let place = self.section_table.or(self.image.sections.place.as_ref().map(|place| place.start));
        self.store(place.and_then(|table| self.image.section_field(table, i, field)), value, field, why)
    }

    fn dynamic_field(&self, index: usize, field: Field) -> Option<FileOffset> {
        let size = self.image.encoding.layout.dyn_size;
        self.dynamic.0.checked_add((index as u64).checked_mul(size)?)?.checked_add(field.at)
    }

    fn store_value(&mut self, index: usize, value: u64, why: &'static str) -> Result<(), NoFit> {
        if let Some(now) = self.values.get_mut(index) {
            *now = value;
        }
        let field = self.image.encoding.layout.d_val;
        self.store(self.dynamic_field(index, field), value, field, why)
    }

    fn store_tag(&mut self, index: usize, tag: elf::DynamicTag, why: &'static str) -> Result<(), NoFit> {
        let field = self.image.encoding.layout.d_tag;
        self.store(self.dynamic_field(index, field), self.image.encoding.word(tag.0), field, why)
    }

    /// Stores `value` for the entry with `tag` that counts, the last one, and for those that say the same.
    pub(super) fn store_dynamic(&mut self, tag: elf::DynamicTag, value: u64, why: &'static str) -> Result<(), NoFit> {
        let old = self.image.dynamic.value(tag);
        let same = |entry: &DynamicEntry| entry.tag == tag && Some(entry.value) == old;
        for (index, _) in self.image.dynamic.entries.iter().enumerate().filter(|(_, entry)| same(entry)).rev() {
            self.store_value(index, value, why)?;
        }
        Ok(())
    }

    /// Stores `value` for every entry with `tag`, the one that counts first.
    fn store_path(&mut self, tag: elf::DynamicTag, value: u64) -> Result<(), NoFit> {
        for (index, _) in self.image.dynamic.entries.iter().enumerate().filter(|(_, entry)| entry.tag == tag).rev() {
            self.store_value(index, value, "the search path")?;
        }
        Ok(())
    }

    // Steps that rungs share.

    /// Grows segment `index` by `bytes` more. `p_memsz` first: the kernel refuses a segment whose `p_filesz` is larger.
    pub(super) fn grow_segment(&mut self, index: usize, bytes: u64) -> Result<(), NoFit> {
        let layout = self.image.encoding.layout;
        let Some(segment) = self.image.segments.get(index) else { return Err(does_not_fit("p_memsz")) };
        let bytes = self.growth_of(index).checked_add(bytes).ok_or_else(|| does_not_fit("p_memsz"))?;
        self.grown.insert(index, bytes);
        let memsz = segment.memsz.checked_add(bytes).ok_or_else(|| does_not_fit("p_memsz"))?;
        let filesz = segment.filesz.checked_add(bytes).ok_or_else(|| does_not_fit("p_filesz"))?;
        self.store_segment(index, layout.p_memsz, memsz, "p_memsz of the segment that grows")?;
        self.store_segment(index, layout.p_filesz, filesz, "p_filesz of the segment that grows")
    }

    /// Writes the grown table to `at`, or only the new string where `.dynstr` grows at its place.
    pub(super) fn fill_table(&mut self, at: FileOffset) -> Result<(), NoFit> {
        let strings = &self.image.strings;
        if at != strings.range.start {
            self.copy(strings.range.clone(), at, ".dynstr");
        }
        let end = at.checked_add(strings.len()).ok_or_else(|| does_not_fit("sh_offset"))?;
        self.fill(end, self.new_string(), "the new search path");
        Ok(())
    }

    /// Writes zeros behind the new string, as far as `end`, where the tables were that have made way: they are padding now.
    pub(super) fn clear_behind_table(&mut self, end: FileOffset) -> Result<(), NoFit> {
        let from = self.image.strings.range.start.checked_add(self.grown_table_len()?);
        let from = from.ok_or_else(|| does_not_fit("file offset"))?;
        let len = end.checked_since(from).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        self.fill(from, vec![0; len], "the old place of a table that has made way");
        Ok(())
    }

    /// Points the loader to the grown table at `addr` and to the string at its end; then scrubs the old string.
    pub(super) fn switch_table(&mut self, at: FileOffset, addr: Vaddr) -> Result<(), NoFit> {
        let old_len = self.image.strings.len();
        let from = self.image.strings.range.clone();
        if at != from.start {
            self.store_dynamic(elf::DT_STRTAB, addr.0, "DT_STRTAB")?;
            self.moves.push(Move { from, to: at, addr });
        }
        self.store_dynamic(elf::DT_STRSZ, self.grown_table_len()?, "DT_STRSZ")?;
        self.commit(old_len)?;
        self.scrub(at, &(0..0))?;
        Ok(())
    }

    /// The last edits of a rung that moves or grows `.dynstr`: its section header.
    pub(super) fn place_table(&mut self, at: FileOffset, addr: Vaddr) -> Result<(), NoFit> {
        let Some(section) = self.image.strings.section else { return Ok(()) };
        self.place_section(section, at, addr)?;
        let size = self.grown_table_len()?;
        self.store_section(section, self.image.encoding.layout.sh_size, size, "sh_size of .dynstr")
    }

    /// Every search path string that no tag names any more, as ranges of the table without their terminators.
    fn old_strings(&self) -> Vec<Range<usize>> {
        let table = self.table();
        let paths = self.image.dynamic.entries.iter();
        paths
            .filter(|entry| entry.tag == elf::DT_RPATH || entry.tag == elf::DT_RUNPATH)
            .filter_map(|entry| {
                let start = usize::try_from(entry.value).ok()?;
                let len = crate::elf::string_at(table, entry.value)?.len();
                Some(start..start + len)
            })
            .collect()
    }

    /// Fills the old search path, in the table in force at `at` and where the table was before. Bytes that another
    /// string shares stay in the table in force, and so does `keep`, a range of the table.
    pub(super) fn scrub(&mut self, at: FileOffset, keep: &Range<usize>) -> Result<(), NoFit> {
        let table = self.table();
        let from = self.image.strings.range.start;
        for old in self.old_strings() {
            for dead in self.liveness.dead_runs(table, old.clone()) {
                let before = dead.start..dead.end.min(keep.start.max(dead.start));
                let behind = dead.start.max(keep.end.min(dead.end))..dead.end;
                let parts = if keep.is_empty() { vec![dead] } else { vec![before, behind] };
                for part in parts {
                    self.scrub_range(at, part, FILL)?;
                }
            }
            // Nobody reads the table's old place any more.
            if at != from {
                self.scrub_range(from, old, LEFT_FILL)?;
            }
        }
        Ok(())
    }

    fn scrub_range(&mut self, table: FileOffset, part: Range<usize>, fill: u8) -> Result<(), NoFit> {
        let at = table.checked_add(part.start as u64).ok_or_else(|| does_not_fit("file offset"))?;
        self.fill(at, vec![fill; part.len()], "the old search path");
        Ok(())
    }

    /// Writes the new place into section header `index`, and into the symbols that lie in that section: section
    /// symbols, `__abi_tag` of a note.
    pub(super) fn place_section(&mut self, index: usize, at: FileOffset, addr: Vaddr) -> Result<(), NoFit> {
        let layout = self.image.encoding.layout;
        let Some(old) = self.image.sections.get(index).copied() else { return Err(does_not_fit("sh_addr")) };
        // The address of a section that is not loaded means nothing, unless it is that of its bytes.
        if old.is_alloc() || self.image.file_range_of(old.addr, old.size) == old.file_range() {
            self.store_section(index, layout.sh_addr, addr.0, "sh_addr of a moved section")?;
        }
        self.store_section(index, layout.sh_offset, at.0, "sh_offset of a moved section")?;
        for (at, value) in self.symbols_of_section(index) {
            // A symbol that does not lie in its section (mold: __executable_start) is not ours to mend.
            let inside = Vaddr(value).checked_since(old.addr).filter(|inside| *inside <= old.size);
            let moved = inside.and_then(|inside| addr.checked_add(inside)).filter(|moved| moved.0 != value);
            if let Some(moved) = moved {
                let at = self.place_now(at);
                self.store(Some(at), moved.0, layout.st_value, "st_value of a symbol in a moved section")?;
            }
        }
        Ok(())
    }

    /// Where a byte of a table is after the moves so far: `.dynsym` itself may be among them.
    fn place_now(&self, at: FileOffset) -> FileOffset {
        let moved = self.moves.iter().find(|table| table.from.contains(&at));
        let place = moved.and_then(|table| table.to.checked_add(at.checked_since(table.from.start)?));
        place.unwrap_or(at)
    }

    /// The symbols of `.symtab` and `.dynsym` that lie in section `index`: where their value is, and the value. Nothing
    /// but a section symbol lies in `.dynstr`; those are local, which come first, `sh_info` of them (gABI, "Symbol
    /// Table"), so that a table of millions is not read through.
    fn symbols_of_section(&self, index: usize) -> Vec<(FileOffset, u64)> {
        let layout = self.image.encoding.layout;
        let tables = self.image.sections.iter().filter(|section| {
            (section.kind == elf::SHT_SYMTAB || section.kind == elf::SHT_DYNSYM) && section.entsize == layout.sym_size
        });
        let mut found = Vec::new();
        for table in tables {
            let Some(bytes) = table.file_range().and_then(|range| self.image.bytes(&range)) else { continue };
            let Ok(size) = usize::try_from(layout.sym_size) else { continue };
            let value = |symbol: &[u8], field: Field| {
                self.image.encoding.value(symbol.get(usize::try_from(field.at).ok()?..)?, field.size)
            };
            let is_strings = Some(index) == self.image.strings.section;
            let count = if is_strings { usize::try_from(table.info).unwrap_or(usize::MAX) } else { usize::MAX };
            for (number, symbol) in bytes.chunks_exact(size).enumerate().take(count) {
                if value(symbol, layout.st_shndx) == Some(index as u64) {
                    let at = (number as u64).checked_mul(layout.sym_size).and_then(|at| table.offset.checked_add(at));
                    let at = at.and_then(|at| at.checked_add(layout.st_value.at));
                    found.extend(at.zip(value(symbol, layout.st_value)));
                }
            }
        }
        found
    }

    /// Points `PT_DYNAMIC` to the copy at `at`: `p_vaddr`, by which the loader goes, is the switch. Entries are edited at
    /// the new place from here on; none has been before.
    pub(super) fn switch_dynamic(&mut self, at: FileOffset, addr: Vaddr) -> Result<(), NoFit> {
        let layout = self.image.encoding.layout;
        let index = self.image.dynamic.segment;
        let len = copy_len(self.image);
        const WHY: &str = "PT_DYNAMIC";
        self.store_segment(index, layout.p_memsz, len, WHY)?;
        self.store_segment(index, layout.p_filesz, len, WHY)?;
        self.store_segment(index, layout.p_offset, at.0, WHY)?;
        self.store_segment(index, layout.p_vaddr, addr.0, WHY)?;
        self.store_segment(index, layout.p_paddr, addr.0, WHY)?;
        self.dynamic = (at, addr);
        if let Some(place) = self.image.segments.get(index) {
            self.record_move(place.file_range(), at, addr);
        }
        Ok(())
    }

    /// Writes the new place of `.dynamic` into its section header, whatever size that has.
    pub(super) fn place_dynamic(&mut self) -> Result<(), NoFit> {
        let len = copy_len(self.image);
        let from = self.image.dynamic.offset;
        let (at, addr) = self.dynamic;
        let is_it = |section: &Section| {
            section.kind == elf::SHT_DYNAMIC && section.file_range().is_some_and(|range| range.start == from)
        };
        for (index, _) in self.image.sections.iter().enumerate().filter(|(_, section)| is_it(section)) {
            self.place_section(index, at, addr)?;
            self.store_section(index, self.image.encoding.layout.sh_size, len, "sh_size of .dynamic")?;
        }
        Ok(())
    }

    /// Moves the section header table, which no loader reads, to `at`.
    pub(super) fn move_section_table(&mut self, at: FileOffset) -> Result<(), NoFit> {
        let Some(place) = self.image.sections.place.clone() else { return Err(does_not_fit("e_shoff")) };
        self.copy(place, at, "the section header table");
        self.section_table = Some(at);
        self.store_header(self.image.encoding.layout.e_shoff, at.0, "e_shoff")
    }

    /// Records that a table other than `.dynstr` moves, for `verify`.
    pub(super) fn record_move(&mut self, from: Range<FileOffset>, to: FileOffset, addr: Vaddr) {
        self.moves.push(Move { from, to, addr });
    }
}

impl Tag {
    /// The tag's number.
    pub fn dynamic_tag(self) -> elf::DynamicTag {
        match self {
            Self::Rpath => elf::DT_RPATH,
            Self::Runpath => elf::DT_RUNPATH,
        }
    }
}
