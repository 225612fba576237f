//! Files that only ask whether the driver is loaded already: `dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD)`.
//!
//! A loader finds what is loaded by its SONAME before it searches any directory (glibc, elf/dl-load.c,
//! `_dl_map_object`), so such a file needs none. A file counts as one only where it is proved of all that it has of
//! drivers; where something is unclear, it loads the driver. [`super::calls`] follows the names to the calls.

use std::collections::HashSet;
use std::ops::Range;

use object::{Endianness, elf};

use super::calls::{Ask, Code};
use super::reached::is_reached;
use super::regions::Region;
use super::strings::Search;
use super::{Evidence, EvidenceKind};
use crate::elf::{FileOffset, Image};

/// A file with more names than these is none that asks.
const MOST_NAMES: usize = 64;

/// No text that has a name in it is longer.
const LONGEST: usize = 4096;

/// A driver library's name in the data.
#[derive(Debug)]
pub(super) struct Name<'data> {
    name: &'data [u8],
    place: String,
    offset: FileOffset,
    /// Its address.
    addr: u64,
    /// Addresses that would lead to it, from that of its directory on.
    watched: Range<u64>,
    kind: Kind,
}

/// What text a name stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is a string, maybe with a directory in front.
    Whole,
    /// It ends a message, so that a string of its own may be merged with that.
    Tail,
    /// It stands within a message.
    Message,
}

/// What `image` asks for, if it asks for drivers and opens none. `regions` have data first, code last.
pub(super) fn probes(image: &Image<'_>, regions: &[Region<'_>], search: &Search<'_>) -> Option<Vec<Evidence>> {
    let is_ours = image.machine == elf::EM_X86_64
        && image.encoding.layout.word == 8
        && image.encoding.endian == Endianness::Little
        && !image.sections.is_empty();
    is_ours.then_some(())?;
    let (data, code) = regions.split_at_checked(regions.partition_point(|region| !region.is_code))?;
    // From the cheapest question on: with most files, the next piece of evidence answers the first one.
    let mut names = Vec::new();
    let cuts = search.each(data, |region, kind, start, name| {
        (kind == EvidenceKind::Soname && names.len() < MOST_NAMES).then_some(())?;
        names.push(name_at(image, region, start, name.as_bytes())?);
        Some(())
    })?;
    names.iter().any(|name| name.kind != Kind::Message).then_some(())?;
    let watched: Vec<Range<u64>> = names.iter().map(|name| name.watched.clone()).collect();
    let asks = Code::new(image, code).asks(&watched)?;
    let asked = asked(&names, &asks)?;
    let landings: Vec<Range<u64>> = asks.iter().filter_map(|ask| ask.landing.clone()).collect();
    let is_opened = search.may_be_built(regions, &cuts) || is_reached(image, data, code, &watched, &landings);
    (!is_opened && !asked.is_empty()).then_some(asked)
}

/// The names that are asked for, if each one that may be is.
fn asked(names: &[Name<'_>], asks: &[Ask]) -> Option<Vec<Evidence>> {
    let mut evidence: Vec<Evidence> = Vec::new();
    let mut known = HashSet::new();
    for name in names {
        let mut targets = asks.iter().map(|ask| ask.target).filter(|target| name.watched.contains(target)).peekable();
        if targets.peek().is_none() {
            // Nothing that we understand leads to it, and yet it is there.
            (name.kind != Kind::Whole).then_some(())?;
            continue;
        }
        let is_name = targets.all(|target| target <= name.addr) && name.kind != Kind::Message;
        (is_name && is_soname(name.name)).then_some(())?;
        let what = String::from_utf8_lossy(name.name).into_owned();
        let (place, offset) = (name.place.clone(), name.offset);
        if known.insert((what.clone(), place.clone())) {
            evidence.push(Evidence { kind: EvidenceKind::Probe, what, place, offset });
        }
    }
    Some(evidence)
}

/// The name that was found at `start` of `region`, if it is clear what it is for.
fn name_at<'data>(image: &Image<'_>, region: &Region<'data>, start: usize, name: &[u8]) -> Option<Name<'data>> {
    let bytes = region.bytes;
    let range = start..start.checked_add(name.len())?;
    // Not in wide characters.
    let name = bytes.get(range.clone()).filter(|there| *there == name)?;
    let text = text_around(bytes, &range)?;
    let front = bytes.get(text.start..range.start)?;
    let word = front.iter().rposition(u8::is_ascii_whitespace).map_or(0, |space| space + 1);
    let is_word = word == 0;
    let kind = match (is_word, range.end == text.end) {
        (true, true) => Kind::Whole,
        (false, true) => Kind::Tail,
        _ => Kind::Message,
    };
    let is_clear = if kind == Kind::Whole { is_soname(name) } else { is_prose(bytes.get(text.clone())?) };
    let address = |at: usize| region.addr.0.checked_add(at as u64);
    let addr = address(range.start)?;
    let is_constant = image.loads().all(|(_, load)| {
        let held = load.addresses();
        !(load.has(elf::PF_W) && (held.start.0..held.end.0).contains(&addr))
    });
    (is_clear && is_constant).then_some(())?;
    // A message is copied in pieces, some of which may start within the name.
    let stem = if kind == Kind::Whole { memchr::memmem::find(name, b".so")? } else { 1 };
    let watched = address(text.start.checked_add(word)?)?..address(range.start.checked_add(stem)?)?;
    let offset = region.offset.checked_add(range.start as u64)?;
    Some(Name { name, place: region.place(), offset, addr, watched, kind })
}

/// The text around `range`, which ends with a NUL.
fn text_around(bytes: &[u8], range: &Range<usize>) -> Option<Range<usize>> {
    let is_text = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || !byte.is_ascii();
    let front = bytes.get(..range.start)?.iter().rev().take(LONGEST).take_while(is_text).count();
    let behind = bytes.get(range.end..)?.iter().take(LONGEST).take_while(is_text).count();
    let end = range.end.checked_add(behind)?;
    let is_all = front < LONGEST && bytes.get(end) == Some(&0);
    is_all.then(|| range.start - front..end)
}

/// Whether people are to read it: some of it is plain words. A list of names has none.
fn is_prose(text: &[u8]) -> bool {
    const LEAST: usize = 2;
    let is_word = |word: &&[u8]| {
        let word = word.strip_suffix(b".").or(word.strip_suffix(b",")).or(word.strip_suffix(b":")).unwrap_or(word);
        word.len() > 1 && word.iter().all(u8::is_ascii_alphabetic)
    };
    text.split(u8::is_ascii_whitespace).filter(is_word).count() >= LEAST
}

/// Whether a library is loaded under this name: it has its major version. For `libcuda.so`, which no library has as its
/// SONAME, a loader looks for the file in its directories first.
fn is_soname(name: &[u8]) -> bool {
    let version = memchr::memmem::find(name, b".so.").and_then(|at| name.get(at + 4..)).unwrap_or_default();
    matches!(version, [first] | [first, _] if first.is_ascii_digit()) && version.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_loaded_under_a_name_with_one_number() {
        for name in ["libcuda.so.1", "libGLX_nvidia.so.0", "libnvidia-ml.so.12"] {
            assert!(is_soname(name.as_bytes()), "{name}");
        }
        for name in ["libcuda.so", "libcuda.so.", "libcuda.so.535.104", "libcuda.so.1a", "libcuda"] {
            assert!(!is_soname(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_message_has_words() {
        for text in ["There is no loaded libcuda.so.1", "libcuda.so.1 not found.", "Load it: libcuda.so.1"] {
            assert!(is_prose(text.as_bytes()), "{text}");
        }
        for text in ["libcuda.so.1 libcuda.so", "%s: libcuda.so.1", "search libcuda.so.1", "a b c", ""] {
            assert!(!is_prose(text.as_bytes()), "{text}");
        }
    }
}
