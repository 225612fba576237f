//! Unused bytes and addresses behind segments.

use std::ops::Range;

use object::elf;

use super::NoFit;
use crate::elf::{FileOffset, Image, Section, Segment, Vaddr};

/// More bytes behind the end of the ELF image than this are a payload that must stay at the end of the file. patchelf
/// and linkers leave up to 7.
const STRAY_BYTES: u64 = 7;

/// Slack behind a segment: zero bytes of the file that nothing uses, and free addresses for them.
#[derive(Debug, Clone)]
pub(super) struct Slack {
    /// Index of the segment.
    pub(super) segment: usize,
    /// The first unused byte.
    pub(super) at: FileOffset,
    /// Its address.
    pub(super) addr: Vaddr,
    /// How many bytes.
    pub(super) len: u64,
}

/// The slack of `PT_LOAD` number `index`, of at most `wanted` bytes, so that no more than that is read.
pub(super) fn slack_behind(image: &Image<'_>, index: usize, wanted: u64) -> Option<Slack> {
    let load = image.segments.get(index).filter(|load| has_no_bss(load))?;
    let (at, addr) = (load.file_range().end, load.addresses().end);
    let addresses = match image.next_load_page(addr) {
        Some(next) => next.checked_since(addr)?,
        None => u64::MAX,
    };
    let bytes = next_use(image, at)?.checked_since(at)?;
    let len = zero_prefix(image, at, wanted.min(addresses).min(bytes))?;
    Some(Slack { segment: index, at, addr, len })
}

/// A segment whose file bytes are all of its memory. With `.bss` behind them, growing would overlay it.
pub(super) fn has_no_bss(load: &Segment) -> bool {
    load.is_load() && load.filesz == load.memsz && load.filesz > 0
}

/// The first byte from `at` on that a header table, segment, section or payload uses; the end of the file where none does.
/// `None` where `at` itself lies within one.
fn next_use(image: &Image<'_>, at: FileOffset) -> Option<FileOffset> {
    next_use_but(image, at, usize::MAX)
}

/// The same, the segment `own` left out.
fn next_use_but(image: &Image<'_>, at: FileOffset, own: usize) -> Option<FileOffset> {
    let segments = image.segments.iter().enumerate().filter(|(index, _)| *index != own);
    let segments = segments.map(|(_, segment)| segment.file_range());
    let sections = image.sections.iter().filter_map(Section::file_range);
    let tables = [image.segment_table_range()].into_iter().chain(image.sections.place.clone());
    let mut next = if payload(image) > STRAY_BYTES { image.end_of_image() } else { image.file_end() };
    for used in segments.chain(sections).chain(tables).filter(|used| !used.is_empty()) {
        if used.start >= at {
            next = next.min(used.start);
        } else if used.end > at {
            return None;
        }
    }
    Some(next)
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

/// Where `.dynstr` is the last thing in its segment: the segment, and by how many bytes it must grow for `len` more.
/// Linkers and patchelf leave up to a word of zeros behind the table; those come first.
pub(super) fn growth_in_place(image: &Image<'_>, len: u64) -> Option<(usize, Segment, u64)> {
    let (index, load) = segment_of_strings(image)?;
    let end = image.strings.range.end;
    let padding = load.file_range().end.checked_since(end)?;
    if padding > 0 {
        let unused = next_use_but(image, end, index)? >= load.file_range().end;
        let zero = padding <= STRAY_BYTES && zero_prefix(image, end, padding)? == padding;
        if !unused || !zero || image.sections.is_empty() {
            return None;
        }
    }
    Some((index, load, len.saturating_sub(padding)))
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
        return Err(NoFit::new(format!("section headers that cannot be read: {why}")));
    }
    let behind = payload(image);
    if behind > STRAY_BYTES {
        return Err(NoFit::new(format!(
            "{behind} bytes of payload behind the ELF image must stay at the end of the file"
        )));
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
