//! `.note.dlopen`: what a file declares to open (freedesktop, "ELF dlopen metadata").

use std::ops::Range;

use object::elf;
use serde_json::Value;

use super::{DriverNames, Evidence, EvidenceKind};
use crate::elf::{FileOffset, Image, Notes};

const OWNER: &[u8] = b"FDO\0";
const NT_DLOPEN: u64 = 0x407c_0c0a;
const SECTION: &str = ".note.dlopen";

/// A file can be made of nothing but broken notes.
const MOST_WARNINGS: usize = 10;

/// One element of the note.
#[cfg_attr(not(feature = "files"), allow(dead_code, reason = "who asks for all of it, is `audit` alone"))]
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) soname: Vec<String>,
    /// `required`, `recommended` or `suggested`.
    pub(crate) priority: Option<String>,
    pub(crate) description: Option<String>,
}

/// The driver SONAMEs that the file declares. What cannot be read becomes a warning.
pub(super) fn declared(image: &Image<'_>, names: &DriverNames, warnings: &mut Vec<String>) -> Vec<Evidence> {
    let all = elements(image, warnings).into_iter();
    let sonames = all.flat_map(|(declared, place, offset)| {
        declared.soname.into_iter().map(move |what| (what, place.clone(), offset))
    });
    let drivers = sonames.filter(|(soname, ..)| names.is_driver_soname(soname.as_bytes()));
    drivers.map(|(what, place, offset)| Evidence { kind: EvidenceKind::DlopenNote, what, place, offset }).collect()
}

/// All that the file declares, with the section and the place of the note.
pub(crate) fn elements(image: &Image<'_>, warnings: &mut Vec<String>) -> Vec<(Declared, String, FileOffset)> {
    let mut found = Vec::new();
    for (place, range, align) in note_ranges(image) {
        let Some(bytes) = image.bytes(&range) else { continue };
        let mut is_ours = place == SECTION;
        let mut notes = Notes::new(&image.encoding, bytes, align);
        for note in notes.by_ref() {
            if note.owner != OWNER || note.kind != NT_DLOPEN {
                continue;
            }
            is_ours = true;
            if warnings.len() >= MOST_WARNINGS {
                break;
            }
            let offset = FileOffset(range.start.0.saturating_add(note.desc_at as u64));
            match read(note.desc) {
                Ok(all) => found.extend(all.into_iter().map(|declared| (declared, place.clone(), offset))),
                Err(error) => warnings.push(format!("its dlopen note at {offset} cannot be read: {error}")),
            }
        }
        // Other tools leave odd notes, too; they are not ours to judge.
        if is_ours && notes.rest().iter().any(|byte| *byte != 0) {
            let at = range.end.0.saturating_sub(notes.rest().len() as u64);
            warnings.push(format!("its notes in {place} are broken at {}", FileOffset(at)));
        }
    }
    found
}

/// The elements in a note's descriptor: JSON with NULs behind it.
fn read(desc: &[u8]) -> Result<Vec<Declared>, String> {
    let end = desc.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let value = serde_json::from_slice(desc.get(..end).unwrap_or_default()).map_err(|error| error.to_string())?;
    let Value::Array(elements) = value else { return Err("it is no array".into()) };
    elements.iter().map(Declared::of).collect()
}

impl Declared {
    fn of(element: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let soname = element.get("soname").and_then(Value::as_array).ok_or("an element has no array \"soname\"")?;
        let soname = soname.iter().map(text).collect::<Option<_>>().ok_or("a soname is no string")?;
        let optional = |key: &str| match element.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(value).map(Some).ok_or(format!("{key} is no string")),
        };
        Ok(Self { soname, priority: optional("priority")?, description: optional("description")? })
    }
}

/// Name, place and alignment of the note sections; without section headers, of the `PT_NOTE` segments.
fn note_ranges(image: &Image<'_>) -> Vec<(String, Range<FileOffset>, u64)> {
    let sections = image.sections.iter().filter(|section| section.kind == elf::SHT_NOTE && section.is_alloc());
    let segments = image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == elf::PT_NOTE);
    let mut ranges: Vec<_> = if image.sections.is_empty() {
        segments.map(|(index, segment)| (format!("segment {index}"), segment.file_range(), segment.align)).collect()
    } else {
        let name = |section| String::from_utf8_lossy(image.section_name(section)).into_owned();
        sections.filter_map(|section| Some((name(section), section.file_range()?, section.align))).collect()
    };
    // Overlapping ones are read once: a lying table must not make the work grow.
    ranges.sort_by_key(|(_, range, _)| (range.start, range.end));
    let mut end = FileOffset(0);
    ranges.retain(|(_, range, _)| {
        let is_new = range.start >= end;
        end = end.max(range.end);
        is_new
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sonames_of_all_elements_are_read() {
        let desc = br#"[{"feature":"cuda","priority":"suggested","soname":["libcuda.so.1","libcuda.so"]},
            {"soname":["libnvidia-ml.so.1"]}]"#;
        let padded = [&desc[..], b"\0\0\0"].concat();
        let all = read(&padded).expect("JSON");
        let sonames: Vec<String> = all.iter().flat_map(|declared| declared.soname.clone()).collect();
        assert_eq!(sonames, ["libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1"]);
        assert_eq!(all[0].priority.as_deref(), Some("suggested"));
    }

    #[test]
    fn what_is_no_such_json_is_an_error() {
        for desc in ["", "\0", "{}", "[{}]", r#"[{"soname":"libcuda.so.1"}]"#, r#"[{"soname":["#, "\u{fffd}"] {
            assert!(read(desc.as_bytes()).is_err(), "{desc}");
        }
        assert!(read("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
