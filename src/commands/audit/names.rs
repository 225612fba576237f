//! Names of libraries that a file likely opens: what it declares, and strings that are such names.
//!
//! Pure. A string is no call: what stands alone is likely one, what stands in other text likely a message.

use std::collections::{HashMap, HashSet};

use crate::detect::dlopen_note::elements;
use crate::detect::references::referred;
use crate::detect::regions::{Region, regions};
use crate::detect::{Depth, DriverNames, EvidenceKind, detect};
use crate::elf::{FileOffset, Image, Vaddr};

/// Why a name is believed to be opened, the best reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Reason {
    /// The dlopen note declares it.
    Declared,
    /// A string is the name, maybe with a directory in front, or code takes the name alone out of a longer one.
    String,
    /// The code builds the name of a driver library from constants.
    Constants,
    /// A string becomes such a name: `libnccl-net-%s.so`, or `libnvrtc.so.` with a number behind it.
    Format,
    /// The name stands in other text: a message, a list, or strings that have no end of their own.
    Text,
}

/// One name that a file likely opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, with its directory where it has one.
    pub name: String,
    /// Why.
    pub reason: Reason,
    /// The section, or the segment, that holds it.
    pub place: String,
    /// Where it lies in the file.
    pub offset: FileOffset,
    /// Of a declared one: `required`, `recommended` or `suggested`.
    pub priority: Option<String>,
    /// Of a declared one, what for.
    pub description: Option<String>,
}

/// Names of one file that are kept: each is searched for in all directories of its search path. The largest real files
/// have a hundred.
const MOST: usize = 256;

/// No name of a library is longer.
const LONGEST: usize = 256;

/// The names, each once with its best reason, sorted by name.
pub fn names(image: &Image<'_>, drivers: &DriverNames, warnings: &mut Vec<String>) -> Vec<Named> {
    let mut all = Vec::new();
    for (declared, place, offset) in elements(image, warnings) {
        all.extend(declared.soname.into_iter().map(|name| Named {
            name,
            reason: Reason::Declared,
            place: place.clone(),
            offset,
            priority: declared.priority.clone(),
            description: declared.description.clone(),
        }));
    }
    all.extend(strings(image, &regions(image).list));
    let built = detect(image, drivers, Depth::AllAndCode).evidence.into_iter();
    all.extend(built.filter(|found| found.kind == EvidenceKind::Immediate).map(|found| Named {
        name: found.what,
        reason: Reason::Constants,
        place: found.place,
        offset: found.offset,
        priority: None,
        description: None,
    }));
    all.sort_by(|a, b| (&a.name, a.reason, a.offset).cmp(&(&b.name, b.reason, b.offset)));
    let mut known = HashSet::new();
    all.retain(|named| known.insert(named.name.clone()));
    all.truncate(MOST);
    all
}

/// The names that strings are or have in them.
fn strings(image: &Image<'_>, regions: &[Region<'_>]) -> Vec<Named> {
    let mut all = Vec::new();
    // Where what ends a longer text would start, if it is a string of its own.
    let mut tails: HashMap<Vaddr, usize> = HashMap::new();
    for region in regions.iter().filter(|region| region.holds_data() && region.place() != ".interp") {
        for at in memchr::memmem::find_iter(region.bytes, b".so") {
            let Some((start, name, reason)) = name_around(region.bytes, at) else { continue };
            let Some(offset) = region.offset.checked_add(start as u64) else { continue };
            let ends = start.checked_add(name.len()).is_some_and(|end| region.bytes.get(end) == Some(&0));
            if let (Reason::Text, true, Some(addr)) = (reason, ends, region.addr.checked_add(start as u64)) {
                tails.insert(addr, all.len());
            }
            all.push(Named { name, reason, place: region.place(), offset, priority: None, description: None });
            if all.len() > MOST * 4 {
                break;
            }
        }
    }
    // Linkers keep a string that ends another one there and nowhere else: `libgdrapi.so.2` of NCCL is the end of "Failed
    // to open libgdrapi.so.2".
    let wanted: HashSet<Vaddr> = tails.keys().copied().collect();
    for addr in referred(image.machine, regions, &wanted) {
        if let Some(named) = tails.get(&addr).and_then(|index| all.get_mut(*index)) {
            named.reason = Reason::String;
        }
    }
    all
}

/// The name of a library around the `.so` at `at`: its start, the name, and what kind of text it is.
fn name_around(bytes: &[u8], at: usize) -> Option<(usize, String, Reason)> {
    let before = bytes.get(at.saturating_sub(LONGEST)..at)?;
    let front = before.iter().rev().take_while(|byte| is_part(byte)).count();
    let mut start = at - front;
    let behind = bytes.get(at.checked_add(3)?..)?;
    let version = behind.iter().take(LONGEST).take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let version = behind.get(..version)?;
    // `.so.` at the end of a sentence; `.some` is no library; `.so.%d` may become one.
    let trimmed = version.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1);
    let version = version.get(..trimmed).filter(|version| version.is_empty() || version.starts_with(b"."))?;
    let rest = behind.get(version.len()..)?;
    if version.is_empty() && rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)) {
        return None;
    }
    let mut end = at.checked_add(3)?.checked_add(version.len())?;
    let conversion = conversion(rest.strip_prefix(b".").unwrap_or(rest));
    // The program adds a number: `libnvrtc.so.`.
    let is_prefix = rest.starts_with(b".\0");
    if rest.starts_with(b".") && (is_prefix || conversion.is_some()) {
        end = end.checked_add(1)?.checked_add(conversion.unwrap_or(0))?;
    }
    // Strings of Rust and Go have no end: a name behind another one stands in no string of its own.
    let is_alone = memchr::memmem::find(bytes.get(start..at)?, b".so").is_none()
        && (start == 0 || bytes.get(start - 1).is_some_and(ends_text))
        && bytes.get(end).is_none_or(|byte| *byte == 0);
    if !is_alone {
        end -= usize::from(is_prefix);
        // The last `lib` is as likely the start as any.
        let text = bytes.get(start..at)?;
        let file = text.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        start = start.checked_add(file)?.checked_add(memchr::memmem::rfind(text.get(file..)?, b"lib")?)?;
    }
    let name = std::str::from_utf8(bytes.get(start..end)?).ok()?;
    let stem = bytes.get(start..at)?.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // `.so` alone is what names are made with.
    if !stem.iter().any(u8::is_ascii_alphanumeric) {
        return None;
    }
    let becomes_name = is_alone && is_prefix || BECOMES.iter().any(|part| name.contains(part));
    let reason = match (is_alone, becomes_name) {
        (true, true) => Reason::Format,
        (true, false) => Reason::String,
        (false, true) => return None,
        (false, false) => Reason::Text,
    };
    Some((start, name.to_owned(), reason))
}

/// Whether a byte in front of a string is no text: the end of another one, or of a table.
fn ends_text(byte: &u8) -> bool {
    !byte.is_ascii_graphic() && !byte.is_ascii_whitespace()
}

/// What a name is made of at run time: formats of C and of {fmt}, variables, and what mkstemp(3) fills in.
const BECOMES: [&str; 4] = ["%", "{", "$", "XXXXXX"];

/// Characters of names, of directories in front of them, and of conversions within them.
fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-+./%{}$~".contains(byte)
}

/// The length of a conversion of C or of {fmt} at the start of `text`.
fn conversion(text: &[u8]) -> Option<usize> {
    match text {
        [b'%', b'd' | b's' | b'u' | b'i', ..] => Some(2),
        [b'{', b'}', ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Vec<(usize, String, Reason)> {
        memchr::memmem::find_iter(text, b".so").filter_map(|at| name_around(text, at)).collect()
    }

    #[test]
    fn what_stands_alone_is_a_name_and_what_stands_in_text_is_told_as_such() {
        let string = |at, name: &str| vec![(at, name.to_owned(), Reason::String)];
        let text = |at, name: &str| vec![(at, name.to_owned(), Reason::Text)];
        assert_eq!(found(b"\0librdmacm.so.1\0"), string(1, "librdmacm.so.1"));
        assert_eq!(found(b"libx.so"), string(0, "libx.so"));
        assert_eq!(found(b"\0/usr/lib/libx.so.1\0"), string(1, "/usr/lib/libx.so.1"));
        assert_eq!(found(b"\0plugin.so\0"), string(1, "plugin.so"));
        assert_eq!(found(b"\0libstdc++.so.6\0"), string(1, "libstdc++.so.6"));
        // Behind a table of numbers, as in cuBLAS.
        assert_eq!(found(b"\x8a\xec\xdclibcuda.so.1\0"), string(3, "libcuda.so.1"));
        assert_eq!(found(b"\0cannot open libx.so.1\0"), text(13, "libx.so.1"));
        assert_eq!(found(b"\0libx.so.1 not found\0"), text(1, "libx.so.1"));
        assert_eq!(found(b"\0install libx.so.\0"), text(9, "libx.so"));
        assert_eq!(
            found(b"msglibx.so.1libmvec.so\0"),
            [(3, "libx.so.1".to_owned(), Reason::Text), (12, "libmvec.so".to_owned(), Reason::Text)]
        );
    }

    #[test]
    fn formats_become_names() {
        let format = |at, name: &str| vec![(at, name.to_owned(), Reason::Format)];
        assert_eq!(found(b"\0libnccl-net-%s.so\0"), format(1, "libnccl-net-%s.so"));
        assert_eq!(found(b"\0lib{}.so.1\0"), format(1, "lib{}.so.1"));
        assert_eq!(found(b"\0libx.so.%d\0"), format(1, "libx.so.%d"));
        // cuDNN puts a number behind it.
        assert_eq!(found(b"\0libnvrtc.so.\0"), format(1, "libnvrtc.so."));
        assert_eq!(found(b"\0libnvrtc.so.12.\0"), format(1, "libnvrtc.so.12."));
    }

    #[test]
    fn other_text_is_no_name() {
        for text in [
            &b"\0libx.sources\0"[..],
            b"\0.so\0",
            b"\0%s/.so\0",
            b"\0a.so_far\0",
            b"\0x.soname\0",
            b"\0in plugin.so of\0",
            b".so",
        ] {
            assert_eq!(found(text), [], "{}", text.escape_ascii());
        }
    }
}
