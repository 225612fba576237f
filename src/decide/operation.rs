//! Operations on search paths as values.

use std::collections::HashSet;

use super::{Current, Policy, Tag, decide, entries, same_directory_key};
use crate::detect::DriverNames;

/// What is done to a search path. The result has neither empty entries nor duplicates. Paths are directories joined by
/// colons, without NUL.
///
/// ```
/// use driver_runpath::decide::{Current, PathOperation, Tag};
///
/// let now = Current { rpath: Some(b"/opt/lib:/opt/cuda/lib64/stubs".to_vec()), ..Current::default() };
/// let nothing = |_directory: &[u8], _name: &[u8]| false;
/// let append = PathOperation::Append(b"$ORIGIN/../lib:/opt/lib/".to_vec());
/// let wanted = append.decide(&now, &[], None, nothing);
/// assert_eq!(wanted, Some((Tag::Rpath, b"/opt/lib:/opt/cuda/lib64/stubs:$ORIGIN/../lib".to_vec())));
///
/// let driver = PathOperation::driver("/run/opengl-driver/lib").decide(&now, &[], None, nothing);
/// assert_eq!(driver, Some((Tag::Rpath, b"/run/opengl-driver/lib:/opt/lib".to_vec())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathOperation {
    /// This path, whatever was there.
    Set(Vec<u8>),
    /// These directories first.
    Prepend(Vec<u8>),
    /// These directories last.
    Append(Vec<u8>),
    /// Without these directories.
    Remove(Vec<u8>),
    /// No search path any more.
    Clear,
    /// Without the directories in which nothing is found that the file needs.
    Shrink {
        /// A directory must start with one of these; none: with anything.
        allowed_prefixes: Vec<Vec<u8>>,
    },
    /// The driver's directory first, as [`decide`] has it.
    Driver(Policy),
}

impl PathOperation {
    /// The driver's directory first.
    pub fn driver(directory: impl Into<Vec<u8>>) -> Self {
        Self::Driver(Policy::new(directory))
    }

    /// Tag and path of a file that has the search paths `now` and needs the libraries `needed`; `None`: it has none.
    ///
    /// The tag stays what it is, else it is `DT_RUNPATH`, unless `force` says which. `holds` says whether a directory, the
    /// first argument, has the library that is the second: asked for [`Self::Shrink`], and for stubs by [`Self::Driver`].
    pub fn decide(
        &self,
        now: &Current,
        needed: &[&[u8]],
        force: Option<Tag>,
        holds: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Option<(Tag, Vec<u8>)> {
        let effective = now.effective();
        let old = effective.map_or(&b""[..], |(_, path)| path);
        let path = match self {
            Self::Set(path) => tidy(path),
            Self::Prepend(first) => tidy(&prepended(old, first)),
            Self::Append(last) => tidy(&appended(old, last)),
            Self::Remove(directories) => tidy(&without(old, directories)),
            Self::Clear => Vec::new(),
            Self::Shrink { allowed_prefixes } => tidy(&shrunk(old, needed, allowed_prefixes, holds)),
            Self::Driver(policy) => {
                let names = DriverNames::default();
                let must_stay =
                    |entry: &[u8]| needed.iter().any(|name| !names.is_driver_soname(name) && holds(entry, name));
                let policy = Policy { force: force.or(policy.force), ..policy.clone() };
                let decision = decide(now, &policy, must_stay, false);
                return (!decision.path.is_empty()).then_some((decision.tag, decision.path));
            }
        };
        let tag = force.or(effective.map(|(tag, _)| tag)).unwrap_or(Tag::Runpath);
        (!path.is_empty()).then_some((tag, path))
    }
}

/// The path without empty entries, which mean the current directory, and without later duplicates.
///
/// ```
/// assert_eq!(driver_runpath::decide::tidy(b"/a::/b:/a/"), b"/a:/b");
/// ```
pub fn tidy(path: &[u8]) -> Vec<u8> {
    let mut seen = HashSet::new();
    let kept = entries(path).filter(|entry| !entry.is_empty() && seen.insert(same_directory_key(entry)));
    kept.collect::<Vec<_>>().join(&b':')
}

/// `last` behind `path`.
pub(crate) fn appended(path: &[u8], last: &[u8]) -> Vec<u8> {
    let parts = [path, last].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b':')
}

/// `first` before `path`. A directory of `path` that is also in `first` thereby moves there, once the result is tidy.
fn prepended(path: &[u8], first: &[u8]) -> Vec<u8> {
    appended(first, path)
}

/// The path without `directories`.
fn without(path: &[u8], directories: &[u8]) -> Vec<u8> {
    let gone: HashSet<&[u8]> = entries(directories).map(same_directory_key).collect();
    entries(path).filter(|entry| !gone.contains(same_directory_key(entry))).collect::<Vec<_>>().join(&b':')
}

/// The directories that hold a library of `needed` which none before them holds. Those that are not absolute stay:
/// what `$ORIGIN` leads to can be elsewhere when the file runs.
pub(crate) fn shrunk(
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
            text(super::shrunk(path.as_bytes(), &[b"libx", b"liby", b"libz"], &allowed, holds))
        };
        assert_eq!(shrunk("/none:/a:/b:/c", &[]), "/a:/c");
        assert_eq!(shrunk("/b:/a:/c:/c", &[]), "/b:/c");
        assert_eq!(shrunk("$ORIGIN/../lib::relative:/none", &[]), "$ORIGIN/../lib:relative");
        assert_eq!(shrunk("/a:/b:/c:$ORIGIN", &["/b", "/x"]), "/b:$ORIGIN");
        assert_eq!(shrunk("/none", &[]), "");
    }
}
