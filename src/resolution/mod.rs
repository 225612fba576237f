//! The resolution note of NixOS's loader: where the libraries that an object needs are, found when it was built.
//!
//! patchelf writes it since 0.19.0 (`--build-resolution-cache`): section `.note.nixos.ldcache`, owner `NixOS`, in a
//! `PT_NOTE`. The loader asks it for each library that the object needs or opens, after `LD_LIBRARY_PATH` and before
//! `DT_RUNPATH`. The descriptor is a row of pairs `name NUL list NUL`, with an empty name at its end. A list is elements
//! joined by `:`, each `=` and a file, or `?` and a directory, which the loader searches itself.
//!
//! Pure: what [`descriptor`] has to ask the file system, it asks through [`Probe`].

mod judge;
mod place;
#[cfg(feature = "files")]
mod system;

use std::collections::BTreeMap;

use crate::decide::Tag;
use crate::elf::Image;
use crate::elf::class::Encoding;

pub use judge::{LeadsTo, Said, of_drivers};
pub use place::{Found, Notes, Place, find};
#[cfg(feature = "files")]
pub use system::ThisMachine;

/// What becomes of the resolution note. Its descriptor is made before, by whom can ask the
/// file system.
///
/// ```
/// use driver_runpath::decide::Tag;
/// use driver_runpath::plan::{Change, NoteChange};
///
/// assert_eq!(Change::new(Tag::Runpath, "/opt/lib").note, NoteChange::Drop);
/// let renewed = Change::new(Tag::Runpath, "/opt/lib").with_note(NoteChange::Renew(b"libx.so\0?/opt/lib\0\0".to_vec()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteChange {
    /// There is none afterwards.
    #[default]
    Drop,
    /// One that is there says this afterwards, if there is room for it; else there is none.
    Renew(Vec<u8>),
    /// The file, which has none, gets one that says this.
    Write(Vec<u8>),
}

/// The note's owner (`n_name`), with its NUL.
pub const OWNER: &[u8; 6] = b"NixOS\0";
/// The note's type (`n_type`).
pub const KIND: u32 = 0x63a8_6cb6;
/// The section that holds the note; patchelf finds it by this name alone.
pub const SECTION: &[u8] = b".note.nixos.ldcache";
/// What patchelf and we align the note to, in bytes.
pub const ALIGN: u64 = 4;

/// One place where a library is, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    /// This file.
    File(&'a [u8]),
    /// In this directory, as the search path has it: tokens and all. Empty for the current directory.
    Directory(&'a [u8]),
}

/// What a note says of one library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name that the object needs or opens it by.
    pub name: &'a [u8],
    list: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The places, in the loader's order. What is neither `=` nor `?` is passed over.
    pub fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        self.list.split(|&byte| byte == b':').filter_map(|element| match element.split_first() {
            Some((b'=', file)) => Some(Element::File(file)),
            Some((b'?', directory)) => Some(Element::Directory(directory)),
            _ => None,
        })
    }
}

/// The entries of a descriptor, as far as they go: one without its NUL ends them.
pub fn entries(descriptor: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = descriptor;
    std::iter::from_fn(move || {
        let name = string(&mut rest).filter(|name| !name.is_empty())?;
        string(&mut rest).map(|list| Entry { name, list })
    })
}

/// Whether the descriptor is as patchelf writes it: pairs, the empty name, nothing behind that.
pub fn is_whole(descriptor: &[u8]) -> bool {
    let mut rest = descriptor;
    while let Some(name) = string(&mut rest) {
        if name.is_empty() {
            return rest.is_empty();
        }
        let Some(list) = string(&mut rest) else { return false };
        if list.split(|&byte| byte == b':').any(|element| !matches!(element.first(), Some(b'=' | b'?'))) {
            return false;
        }
    }
    false
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, rest)?;
    let (string, behind) = rest.split_at_checked(end)?;
    *rest = behind.get(1..)?;
    Some(string)
}

/// What a descriptor's maker asks the file system.
pub trait Probe {
    /// Whether this is a directory, links followed.
    fn is_directory(&self, path: &[u8]) -> bool;
    /// Whether there is anything.
    fn exists(&self, path: &[u8]) -> bool;
    /// Whether there is something that this process may read.
    fn is_readable(&self, path: &[u8]) -> bool;
}

/// The descriptor that patchelf 0.19.3 writes for an object that needs `needed` and has the search path `path`; `None`
/// where it writes none: the path leads to nothing that is needed.
///
/// Directories that only the loader can search become `?`: relative ones and the current directory, those with a token,
/// those with `glibc-hwcaps`, and absolute ones that do not exist now, such as the driver's in a build. Names with a
/// slash are left out: the loader opens them without any search.
pub fn descriptor<'n>(needed: impl Iterator<Item = &'n [u8]>, path: &[u8], probe: &impl Probe) -> Option<Vec<u8>> {
    if path.is_empty() {
        return None;
    }
    let searched: Vec<&[u8]> = needed.filter(|name| !name.contains(&b'/')).collect();
    let mut lists: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    for directory in path.split(|&byte| byte == b':') {
        let left_to_the_loader = !directory.starts_with(b"/")
            || directory.contains(&b'$')
            || !probe.is_directory(directory)
            || probe.exists(&[directory, b"/glibc-hwcaps"].concat());
        for name in &searched {
            let file = [directory, b"/", name].concat();
            let (mark, place) = match left_to_the_loader {
                true => (b'?', directory),
                false if probe.is_readable(&file) => (b'=', &file[..]),
                false => continue,
            };
            let list = lists.entry(name).or_default();
            if !list.is_empty() {
                list.push(b':');
            }
            list.push(mark);
            list.extend_from_slice(place);
        }
    }
    if lists.is_empty() {
        return None;
    }
    let mut descriptor = Vec::new();
    for (name, list) in lists {
        descriptor.extend_from_slice(name);
        descriptor.push(0);
        descriptor.extend(list);
        descriptor.push(0);
    }
    descriptor.push(0);
    Some(descriptor)
}

/// As [`descriptor`], for `image` with the search path `path`.
pub fn descriptor_for(image: &Image<'_>, path: &[u8], probe: &impl Probe) -> Option<Vec<u8>> {
    descriptor(image.needed(), path, probe)
}

/// The note's bytes, padded to [`ALIGN`]; `None` where the descriptor does not fit its length field.
pub fn encode(encoding: &Encoding, descriptor: &[u8]) -> Option<Vec<u8>> {
    let mut note = Vec::new();
    for word in [OWNER.len() as u64, descriptor.len() as u64, u64::from(KIND)] {
        note.extend(encoding.bytes(word, 4)?);
    }
    let pad = |note: &mut Vec<u8>| note.resize(note.len().next_multiple_of(ALIGN as usize), 0);
    note.extend(OWNER);
    pad(&mut note);
    note.extend(descriptor);
    pad(&mut note);
    Some(note)
}

/// What becomes of the note of `image`, if it has one, when its search path becomes `wanted`.
pub fn renewal(image: &Image<'_>, wanted: Option<(Tag, &[u8])>, probe: &impl Probe) -> NoteChange {
    if find(image).is_empty() {
        return NoteChange::Drop;
    }
    let fresh = wanted.and_then(|(_, path)| descriptor_for(image, path, probe));
    fresh.map_or(NoteChange::Drop, NoteChange::Renew)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories and files that exist.
    struct Tree(&'static [&'static str], &'static [&'static str]);

    impl Probe for Tree {
        fn is_directory(&self, path: &[u8]) -> bool {
            self.0.iter().any(|directory| directory.as_bytes() == path)
        }

        fn exists(&self, path: &[u8]) -> bool {
            self.is_directory(path) || self.is_readable(path)
        }

        fn is_readable(&self, path: &[u8]) -> bool {
            self.1.iter().any(|file| file.as_bytes() == path)
        }
    }

    fn made(needed: &[&str], path: &str, tree: &Tree) -> Option<String> {
        let made = descriptor(needed.iter().map(|name| name.as_bytes()), path.as_bytes(), tree)?;
        assert!(is_whole(&made));
        Some(String::from_utf8(made).expect("ASCII").replace('\0', "|"))
    }

    const TREE: Tree = Tree(&["/a", "/b", "/hw", "/hw/glibc-hwcaps"], &["/a/liba", "/b/liba", "/b/libb", "/hw/libb"]);

    #[test]
    fn what_exists_is_named_and_what_does_not_yet_is_left_to_the_loader() {
        assert_eq!(made(&["libb", "liba"], "/a:/b", &TREE).as_deref(), Some("liba|=/a/liba:=/b/liba|libb|=/b/libb||"));
        let driver = "/run/opengl-driver/lib";
        let expected = format!("liba|?{driver}:=/a/liba||");
        assert_eq!(made(&["liba"], &format!("{driver}:/a"), &TREE), Some(expected));
        for (entry, place) in
            [("", "?"), ("rel", "?rel"), ("$ORIGIN/x", "?$ORIGIN/x"), ("/a$b", "?/a$b"), ("/hw", "?/hw")]
        {
            assert_eq!(
                made(&["libb"], &format!("{entry}:/b"), &TREE),
                Some(format!("libb|{place}:=/b/libb||")),
                "{entry}"
            );
        }
    }

    #[test]
    fn what_leads_to_nothing_has_no_note() {
        assert_eq!(made(&["libz"], "/a:/b", &TREE), None);
        assert_eq!(made(&["liba"], "", &TREE), None);
        assert_eq!(made(&[], "/gone", &TREE), None);
        assert_eq!(made(&["/a/liba"], "/a:/gone", &TREE), None, "a name with a slash is not searched for");
    }

    #[test]
    fn a_descriptor_is_read_as_it_was_written() {
        let descriptor = b"liba\0?/d:=/a/liba:?\0libb\0=/b/libb\0\0";
        let read: Vec<(&[u8], Vec<Element<'_>>)> =
            entries(descriptor).map(|entry| (entry.name, entry.elements().collect())).collect();
        use Element::{Directory, File};
        let expected: Vec<(&[u8], Vec<Element<'_>>)> = vec![
            (b"liba", vec![Directory(b"/d"), File(b"/a/liba"), Directory(b"")]),
            (b"libb", vec![File(b"/b/libb")]),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_damaged_descriptor_ends_where_its_damage_starts() {
        assert_eq!(entries(b"liba\0=/a").count(), 0);
        assert_eq!(entries(b"liba\0=/a\0libb").count(), 1);
        assert_eq!(entries(b"\0liba\0=/a\0\0").count(), 0, "an empty name is the end");
        for damaged in [&b""[..], b"liba\0=/a\0", b"liba\0\0\0", b"liba\0=/a\0\0x", b"liba\0=/a:b\0\0"] {
            assert!(!is_whole(damaged), "{}", damaged.escape_ascii());
        }
        assert!(is_whole(b"\0"));
    }
}
