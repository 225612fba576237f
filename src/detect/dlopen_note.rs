//! `.note.dlopen`: what a file declares to open (freedesktop, "ELF dlopen metadata").

use std::ops::Range;

use object::elf;
use serde_core::Deserialize;
use serde_core::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DriverNames, Evidence, EvidenceKind, MOST};
use crate::elf::{FileOffset, Image, Notes};

const OWNER: &[u8] = b"FDO\0";
const NT_DLOPEN: u64 = 0x407c_0c0a;
const SECTION: &str = ".note.dlopen";

/// A file can be made of nothing but broken notes.
const MOST_WARNINGS: usize = 10;

/// Bytes of a name that can be opened (PATH_MAX with its NUL, linux/limits.h); longer ones are passed over.
const LONGEST_NAME: usize = 4095;

/// Bytes that are kept of what is only shown.
const LONGEST_TEXT: usize = 1000;

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

/// What the file declares, with the section and the place of the note: up to about a thousand names, with a warning where
/// there are more.
pub(crate) fn elements(image: &Image<'_>, warnings: &mut Vec<String>) -> Vec<(Declared, String, FileOffset)> {
    let mut found = Vec::new();
    let mut weight = 0usize;
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
                Ok(List { kept, is_cut }) => {
                    weight = kept.iter().map(Declared::weight).fold(weight, usize::saturating_add);
                    found.extend(kept.into_iter().map(|declared| (declared, place.clone(), offset)));
                    if is_cut || weight > MOST {
                        warnings
                            .push(format!("its dlopen notes declare more than {MOST} libraries; only some are read"));
                        return found;
                    }
                }
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
fn read(desc: &[u8]) -> serde_json::Result<List<Declared>> {
    let end = desc.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    serde_json::from_slice(desc.get(..end).unwrap_or_default())
}

// By hand: a derive would be the only procedural macro that the pure part needs.
impl<'de> Deserialize<'de> for Declared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DeclaredVisitor)
    }
}

struct DeclaredVisitor;

impl<'de> Visitor<'de> for DeclaredVisitor {
    type Value = Declared;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with \"soname\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Declared, A::Error> {
        let (mut soname, mut priority, mut description) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "soname" => soname = Some(map.next_value::<List<String>>()?.kept),
                "priority" => priority = map.next_value::<Option<String>>()?.map(shortened),
                "description" => description = map.next_value::<Option<String>>()?.map(shortened),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let mut soname = soname.ok_or_else(|| serde_core::de::Error::missing_field("soname"))?;
        // What can be opened.
        soname.retain(|name| name.len() <= LONGEST_NAME);
        Ok(Declared { soname, priority, description })
    }
}

/// A list of which no more is kept than a report has room for.
struct List<T> {
    kept: Vec<T>,
    is_cut: bool,
}

/// What an element counts for.
trait Weigh {
    fn weight(&self) -> usize;
}

impl Weigh for String {
    fn weight(&self) -> usize {
        1
    }
}

impl Weigh for Declared {
    fn weight(&self) -> usize {
        // One without names takes memory, too.
        self.soname.len().max(1)
    }
}

impl<'de, T: Deserialize<'de> + Weigh> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(std::marker::PhantomData))
    }
}

struct ListVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de> + Weigh> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let (mut kept, mut weight) = (Vec::new(), 0usize);
        while weight <= MOST {
            let Some(element) = list.next_element::<T>()? else { return Ok(List { kept, is_cut: false }) };
            weight = weight.saturating_add(element.weight());
            kept.push(element);
        }
        // The rest must be JSON all the same.
        let mut is_cut = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(List { kept, is_cut })
    }
}

/// Text, cut where it is too long to be shown.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text.shrink_to_fit();
    text
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
        let all = read(&padded).expect("JSON").kept;
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

    #[test]
    fn of_endless_lists_and_texts_a_part_is_kept() {
        let names = |count| (0..count).map(|n| format!("\"libcuda.so.{n}\"")).collect::<Vec<_>>().join(",");
        let long = "ü".repeat(2000);
        let desc = format!(r#"[{{"description":"{long}","soname":[{}]}},{{"soname":["libx.so"]}}]"#, names(5000));
        let all = read(desc.as_bytes()).expect("JSON");
        assert!(all.is_cut);
        assert_eq!(all.kept.len(), 1);
        assert_eq!(all.kept[0].soname.len(), MOST + 1);
        assert_eq!(all.kept[0].description.as_deref(), Some(&*format!("{}…", "ü".repeat(500))));
        let many = vec![r#"{"soname":[]}"#; 5000].join(",");
        assert_eq!(read(format!("[{many}]").as_bytes()).expect("JSON").kept.len(), MOST + 1);
        assert!(!read(format!(r#"[{{"soname":[{}]}}]"#, names(MOST)).as_bytes()).expect("JSON").is_cut);
        assert!(read(format!(r#"[{many}] x"#).as_bytes()).is_err());
        let name = "x".repeat(5000);
        assert_eq!(read(format!(r#"[{{"soname":["{name}"]}}]"#).as_bytes()).expect("JSON").kept[0].soname, [""; 0]);
    }
}
