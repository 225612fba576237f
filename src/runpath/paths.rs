//! Search paths as values, and the one question about them that the file system answers.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use object::elf;

use crate::decide::{Current, Tag, entries, same_directory_key};
use crate::elf::{Image, MAGIC};
use crate::plan::{Change, NoteChange};

/// The changes from what a file has to `wanted`; `None`: no search path. Each is a file that loads. `note` is what
/// becomes of the resolution note with the wanted path.
pub fn changes(now: &Current, wanted: Option<(Tag, &[u8])>, note: NoteChange) -> Vec<Change> {
    match wanted {
        Some(_) if wanted == now.effective() && (now.runpath.is_none() || now.rpath.is_none()) => Vec::new(),
        Some((tag, path)) => vec![Change { tag, path: Some(path.to_vec()), note }],
        None => {
            // The one that loaders ignore beside the other goes first.
            let tags = [(Tag::Rpath, &now.rpath), (Tag::Runpath, &now.runpath)];
            let there = tags.into_iter().filter(|(_, path)| path.is_some());
            there.map(|(tag, _)| Change { tag, path: None, note: NoteChange::Drop }).collect()
        }
    }
}

/// The path without empty entries, which mean the current directory, and without later duplicates.
pub fn tidy(path: &[u8]) -> Vec<u8> {
    let mut seen = HashSet::new();
    let kept = entries(path).filter(|entry| !entry.is_empty() && seen.insert(same_directory_key(entry)));
    kept.collect::<Vec<_>>().join(&b':')
}

/// `last` behind `path`.
pub fn appended(path: &[u8], last: &[u8]) -> Vec<u8> {
    let parts = [path, last].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b':')
}

/// `first` before `path`. A directory of `path` that is also in `first` thereby moves there, once the result is tidy.
pub fn prepended(path: &[u8], first: &[u8]) -> Vec<u8> {
    appended(first, path)
}

/// The path without `directories`.
pub fn without(path: &[u8], directories: &[u8]) -> Vec<u8> {
    let gone: HashSet<&[u8]> = entries(directories).map(same_directory_key).collect();
    entries(path).filter(|entry| !gone.contains(same_directory_key(entry))).collect::<Vec<_>>().join(&b':')
}

/// The path without the directories in which no library is that the file needs, or that no allowed prefix starts.
pub fn shrunk(path: &[u8], image: &Image<'_>, allowed_prefixes: &[Vec<u8>]) -> Vec<u8> {
    let needed: Vec<&[u8]> = image.strings_of(elf::DT_NEEDED).collect();
    shrunk_by(path, &needed, allowed_prefixes, |directory, name| holds_library(directory, name, image))
}

/// The directories that hold a library of `needed` which none before them holds. Those that are not absolute stay:
/// what `$ORIGIN` leads to can be elsewhere when the file runs.
fn shrunk_by(
    path: &[u8],
    needed: &[&[u8]],
    allowed_prefixes: &[Vec<u8>],
    holds: impl Fn(&[u8], &[u8]) -> bool,
) -> Vec<u8> {
    let mut missing = needed.to_vec();
    let stays = |entry: &&[u8]| {
        if entry.first().is_some_and(|&byte| byte != b'/') {
            return true;
        }
        let allowed = allowed_prefixes.is_empty() || allowed_prefixes.iter().any(|prefix| entry.starts_with(prefix));
        if entry.is_empty() || !allowed {
            return false;
        }
        let before = missing.len();
        missing.retain(|name| !holds(entry, name));
        missing.len() < before
    };
    entries(path).filter(stays).collect::<Vec<_>>().join(&b':')
}

/// Whether `directory` holds a library `name` for the machine of `image`.
fn holds_library(directory: &[u8], name: &[u8], image: &Image<'_>) -> bool {
    // Identification and e_machine (gABI, "ELF Header") are in the same place in both classes.
    let mut header = [0; 20];
    let path = Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name));
    let is_file = path.metadata().is_ok_and(|stat| stat.is_file());
    let read = is_file && File::open(&path).is_ok_and(|file| file.read_exact_at(&mut header, 0).is_ok());
    // Class and byte order as in the file itself; then e_machine in that order.
    read && header.starts_with(&MAGIC)
        && header.get(4..6) == image.data.get(4..6)
        && header.get(18..20) == image.data.get(18..20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: Vec<u8>) -> String {
        String::from_utf8(path).expect("UTF-8 in, UTF-8 out")
    }

    #[test]
    fn a_tidy_path_has_neither_empty_entries_nor_duplicates() {
        for (path, tidied) in [("", ""), (":::", ""), ("/a::/b:", "/a:/b"), ("/a:/b:/a/:/a", "/a:/b"), ("/:/", "/")] {
            assert_eq!(text(tidy(path.as_bytes())), tidied, "of {path:?}");
        }
    }

    #[test]
    fn a_directory_put_first_moves_there() {
        assert_eq!(text(tidy(&prepended(b"/a:/b", b"/b:/c"))), "/b:/c:/a");
        assert_eq!(text(tidy(&appended(b"/a:/b", b"/a:/c"))), "/a:/b:/c");
        assert_eq!(text(appended(b"", b"/c")), "/c");
        assert_eq!(text(appended(b"/a", b"")), "/a");
    }

    #[test]
    fn a_directory_goes_in_either_spelling_and_the_others_stay() {
        for (directories, rest) in
            [("/b", "/a:/c/"), ("/b/", "/a:/c/"), ("/c:/a", "/b"), ("/d", "/a:/b:/c/"), ("/", "/a:/b:/c/")]
        {
            assert_eq!(text(without(b"/a:/b:/c/", directories.as_bytes())), rest, "without {directories}");
        }
    }

    #[test]
    fn shrinking_keeps_the_first_directory_of_each_needed_library() {
        let holds = |directory: &[u8], name: &[u8]| {
            matches!((directory, name), (b"/a", b"libx") | (b"/b", b"libx") | (b"/c", b"liby"))
        };
        let shrunk = |path: &str, allowed: &[&str]| {
            let allowed: Vec<Vec<u8>> = allowed.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
            text(shrunk_by(path.as_bytes(), &[b"libx", b"liby", b"libz"], &allowed, holds))
        };
        assert_eq!(shrunk("/none:/a:/b:/c", &[]), "/a:/c");
        assert_eq!(shrunk("/b:/a:/c:/c", &[]), "/b:/c");
        assert_eq!(shrunk("$ORIGIN/../lib::relative:/none", &[]), "$ORIGIN/../lib:relative");
        assert_eq!(shrunk("/a:/b:/c:$ORIGIN", &["/b", "/x"]), "/b:$ORIGIN");
        assert_eq!(shrunk("/none", &[]), "");
    }

    #[test]
    fn both_tags_go_the_ignored_one_first() {
        let both = Current { runpath: Some(b"/a".to_vec()), rpath: Some(b"/b".to_vec()) };
        let tags = |changes: Vec<Change>| changes.iter().map(|change| change.tag).collect::<Vec<_>>();
        assert_eq!(tags(changes(&both, None, NoteChange::Drop)), [Tag::Rpath, Tag::Runpath]);
        assert_eq!(
            tags(changes(&both, Some((Tag::Runpath, b"/a")), NoteChange::Drop)),
            [Tag::Runpath],
            "the other one must go"
        );
        let one = Current { runpath: Some(b"/a".to_vec()), rpath: None };
        assert!(changes(&one, Some((Tag::Runpath, b"/a")), NoteChange::Drop).is_empty());
        assert_eq!(tags(changes(&one, Some((Tag::Rpath, b"/a")), NoteChange::Drop)), [Tag::Rpath]);
        assert!(changes(&Current::default(), None, NoteChange::Drop).is_empty());
    }
}
