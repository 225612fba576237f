//! Unused bytes and addresses behind segments.

use std::ops::Range;

use object::elf;

use super::{NoFit, Obstacle};
use crate::elf::{FileOffset, Image, Section, Segment, Vaddr};

/// More bytes behind the end of the ELF image than this are a payload that must stay at the end of the file. patchelf
/// and linkers leave up to 7.
const STRAY_BYTES: u64 = 7;

/// Zero bytes of the file that nothing uses, and free addresses for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    /// The first unused byte.
    pub(super) at: FileOffset,
    /// Its address.
    pub(super) addr: Vaddr,
    /// How many bytes.
    pub(super) len: u64,
    /// The `PT_LOAD` that maps them, or will; none where that is a new one.
    pub(super) segment: Option<usize>,
    /// Whether that segment's sizes have to grow over what is used.
    pub(super) grows: bool,
    /// Whether `.dynamic` can lie here.
    pub(super) writable: bool,
    /// Whether it is the start of a new segment.
    pub(super) is_new: bool,
}

/// The slack of `PT_LOAD` number `index`, of at most `wanted` bytes, so that no more than that is read.
pub(super) fn slack_behind(image: &Image<'_>, index: usize, wanted: u64) -> Option<Region> {
    let load = image.segments.get(index).filter(|load| can_grow(load))?;
    let (at, addr) = (load.file_range().end, load.addresses().end);
    let addresses = match image.next_load_page(addr) {
        Some(next) => next.checked_since(addr)?,
        None => u64::MAX,
    };
    let bytes = next_use(image, at)?.checked_since(at)?;
    let len = unused_prefix(image, at, wanted.min(addresses).min(bytes))?;
    Some(Region { at, addr, len, segment: Some(index), grows: true, writable: is_data(load), is_new: false })
}

/// Slack that cannot be written to at run time; data segments come before code.
pub(super) fn read_only_slack(image: &Image<'_>, wanted: u64) -> Vec<Region> {
    let (code, data): (Vec<_>, Vec<_>) =
        image.loads().filter(|(_, load)| !load.has(elf::PF_W)).partition(|(_, load)| load.has(elf::PF_X));
    data.into_iter().chain(code).filter_map(|(index, _)| slack_behind(image, index, wanted)).collect()
}

/// Slack that can, and what is left of the pages that patchelf adds: padding in a data segment that holds the program
/// header table or `.dynstr`, which no linker puts there.
pub(super) fn writable_room(image: &Image<'_>, wanted: u64) -> Vec<Region> {
    let table = image.segment_table_range();
    let added_by_editor =
        |load: &Segment| within(&table, &load.file_range()) || within(&image.strings.range, &load.file_range());
    let data = || image.loads().filter(|(_, load)| is_data(load) && can_grow(load));
    let slack = data().filter_map(|(index, _)| slack_behind(image, index, wanted));
    let holes = data().filter(|(_, load)| added_by_editor(load)).filter_map(|(index, _)| hole_in(image, index, wanted));
    // Where .dynamic is today it stays, so that no data segment is left without data.
    let (near, far): (Vec<Region>, Vec<Region>) =
        slack.chain(holes).partition(|region| region.segment == segment_of_dynamic(image));
    near.into_iter().chain(far).collect()
}

/// The index of the `PT_LOAD` that maps `.dynamic`.
fn segment_of_dynamic(image: &Image<'_>) -> Option<usize> {
    let place = image.segments.get(image.dynamic.segment)?.addresses();
    image.loads().find(|(_, load)| within(&place, &load.addresses())).map(|(index, _)| index)
}

/// Whether a segment is for data that changes.
fn is_data(load: &Segment) -> bool {
    load.has(elf::PF_W) && !load.has(elf::PF_X)
}

/// Padding within `PT_LOAD` number `index`: zeros that no section, header or table has.
fn hole_in(image: &Image<'_>, index: usize, wanted: u64) -> Option<Region> {
    let load = image.segments.get(index).filter(|_| !image.sections.is_empty())?;
    let held = load.file_range();
    let mut used: Vec<Range<FileOffset>> = used_ranges(image, index).filter(|used| !used.is_empty()).collect();
    used.push(held.start..FileOffset(held.start.0.max(image.encoding.layout.ehdr_size).min(held.end.0)));
    used.push(held.end..held.end);
    used.sort_by_key(|used| used.start);
    let mut free_from = held.start;
    for next in used {
        let end = next.start.min(held.end);
        let room = end.checked_since(free_from).filter(|room| *room >= wanted);
        if let Some(room) = room.filter(|_| zero_prefix(image, free_from, wanted) == Some(wanted)) {
            let addr = load.vaddr.checked_add(free_from.checked_since(load.offset)?)?;
            let len = zero_prefix(image, free_from, room)?;
            return Some(Region {
                at: free_from,
                addr,
                len,
                segment: Some(index),
                grows: false,
                writable: is_data(load),
                is_new: false,
            });
        }
        free_from = free_from.max(next.end);
    }
    None
}

/// A segment that can hold more for loaders to read: its file bytes are all of its memory (with `.bss` behind them, growing
/// would overlay it), and it can be read: processors and linkers know memory that can be executed only.
pub(super) fn can_grow(load: &Segment) -> bool {
    load.is_load() && load.filesz == load.memsz && load.filesz > 0 && load.has(elf::PF_R)
}

/// The first byte from `at` on that a header table, segment, section or payload uses; the end of the file where none does.
/// `None` where `at` itself lies within one.
fn next_use(image: &Image<'_>, at: FileOffset) -> Option<FileOffset> {
    next_use_but(image, at, usize::MAX)
}

/// The same, the segment `own` left out.
fn next_use_but(image: &Image<'_>, at: FileOffset, own: usize) -> Option<FileOffset> {
    let mut next = if payload(image) > STRAY_BYTES { image.end_of_image() } else { image.file_end() };
    for used in used_ranges(image, own).filter(|used| !used.is_empty()) {
        if used.start >= at {
            next = next.min(used.start);
        } else if used.end > at {
            return None;
        }
    }
    Some(next)
}

/// What segments, the segment `own` left out, sections and header tables use.
fn used_ranges<'i>(image: &'i Image<'_>, own: usize) -> impl Iterator<Item = Range<FileOffset>> + 'i {
    let segments = image.segments.iter().enumerate().filter(move |(index, _)| *index != own);
    let segments = segments.map(|(_, segment)| segment.file_range());
    let sections = image.sections.iter().filter_map(Section::file_range);
    segments.chain(sections).chain([image.segment_table_range()]).chain(image.sections.place.clone())
}

/// How many of the `len` bytes from `at` on, which no segment maps, are padding: zeros, and, where section headers say that
/// nothing lies there, what patchelf fills places with that it has left.
pub(super) fn unused_prefix(image: &Image<'_>, at: FileOffset, len: u64) -> Option<u64> {
    let bytes = image.bytes(&at.range(len)?)?;
    let is_used = |byte: &u8| match byte {
        0 => false,
        b'X' | b'Z' => image.sections.is_empty(),
        _ => true,
    };
    Some(bytes.iter().position(is_used).map_or(len, |found| found as u64))
}

/// How many of the `len` bytes from `at` on are zero before the first that is not.
fn zero_prefix(image: &Image<'_>, at: FileOffset, len: u64) -> Option<u64> {
    let bytes = image.bytes(&at.range(len)?)?;
    Some(bytes.iter().position(|&byte| byte != 0).map_or(len, |found| found as u64))
}

/// A place for `len` bytes behind a segment's end within its last page. The loader maps whole pages from the file, so
/// the bytes are in memory although no segment counts them.
pub(super) fn slack_within_page(image: &Image<'_>, len: u64) -> Option<(FileOffset, Vaddr)> {
    const SMALLEST_PAGE: u64 = 0x1000;
    let after_strings = |addr: &Vaddr| *addr > image.strings.addr;
    image.loads().filter(|(_, load)| !load.has(elf::PF_W)).find_map(|(index, _)| {
        let slack = slack_behind(image, index, len)?;
        let page_end = slack.addr.checked_round_up(SMALLEST_PAGE)?;
        let fits = slack.len >= len && page_end.checked_since(slack.addr)? >= len && after_strings(&slack.addr);
        fits.then_some((slack.at, slack.addr))
    })
}

/// The index of the `PT_LOAD` that maps the dynamic string table.
pub(super) fn segment_of_strings(image: &Image<'_>) -> Option<(usize, Segment)> {
    let strings = image.strings.addr.range(image.strings.len())?;
    let (index, load) = image.loads().find(|(_, load)| {
        let mapped = load.file_addresses();
        mapped.start <= strings.start && strings.end <= mapped.end
    })?;
    Some((index, *load))
}

/// Where nothing but padding follows `.dynstr` in its segment, or enough of it: the segment, and by how many bytes it must
/// grow for `len` more.
pub(super) fn growth_in_place(image: &Image<'_>, len: u64) -> Option<(usize, u64)> {
    let (index, load) = segment_of_strings(image)?;
    let end = image.strings.range.end;
    let rest = load.file_range().end.checked_since(end)?;
    if rest == 0 {
        return Some((index, len));
    }
    if image.sections.is_empty() {
        return None;
    }
    let padding = next_use_but(image, end, index)?.checked_since(end)?.min(rest);
    let needed = len.min(padding);
    let is_enough = len <= padding || padding == rest;
    (is_enough && zero_prefix(image, end, needed)? == needed).then_some((index, len.saturating_sub(padding)))
}

/// Refuses to take `.dynstr` out of a segment in which no other section would remain: `strip` drops the contents of
/// such a segment, and ld.so then refuses the file.
pub(super) fn may_leave_its_segment(image: &Image<'_>) -> Result<(), NoFit> {
    let Some((_, load)) = segment_of_strings(image) else {
        return Err(NoFit::new("no segment maps .dynstr"));
    };
    if image.sections.is_empty() {
        return Ok(());
    }
    let held = load.file_range();
    let others = image.sections.iter().enumerate().filter(|(index, section)| {
        Some(*index) != image.strings.section
            && section.is_alloc()
            && section.file_range().is_some_and(|range| held.start <= range.start && range.end <= held.end)
    });
    match others.count() {
        0 => Err(NoFit::new(".dynstr is the only section of its segment")),
        _ => Ok(()),
    }
}

/// How many bytes follow the ELF image.
fn payload(image: &Image<'_>) -> u64 {
    image.file_end().checked_since(image.end_of_image()).unwrap_or(0)
}

/// Whether bytes may be added at the end of the file: not behind a payload, nor where section headers should have been.
pub(super) fn may_append(image: &Image<'_>) -> Result<(), NoFit> {
    if let Some(why) = &image.sections.unusable {
        return Err(NoFit::of(Obstacle::Unknown, format!("section headers that cannot be read: {why}")));
    }
    // A section that starts in the file and ends behind it: the file may have been cut off.
    if let Some((index, _)) = image.sections.outside.iter().find(|(_, at)| *at < image.file_end()) {
        return Err(NoFit::of(Obstacle::Unknown, format!("section {index} goes on behind the end of the file")));
    }
    let behind = payload(image);
    if behind > STRAY_BYTES {
        return Err(NoFit::of(
            Obstacle::Payload,
            format!("{behind} bytes of payload behind the ELF image must stay at the end of the file"),
        ));
    }
    Ok(())
}

/// Whether a segment ends the file, but for stray bytes.
pub(super) fn ends_the_file(image: &Image<'_>, load: &Segment) -> bool {
    image.file_end().checked_since(load.file_range().end).is_some_and(|behind| behind <= STRAY_BYTES)
}

/// Whether `inner` lies in `outer`.
pub(super) fn within<T: Ord + Copy>(inner: &Range<T>, outer: &Range<T>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
