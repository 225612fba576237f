//! From the old search path and the policy to the new one. Pure, on lists of entries.
//!
//! ```
//! use driver_runpath::decide::{Current, Policy, decide};
//!
//! let decision = decide(&Current::default(), &Policy::new("/run/opengl-driver/lib"), |_| false, false);
//! assert_eq!(decision.path, b"/run/opengl-driver/lib");
//! ```

mod operation;

use std::collections::HashSet;

pub use operation::{PathOperation, tidy};
#[cfg(feature = "cli")]
pub(crate) use operation::{appended, shrunk};

pub use crate::elf::{Current, Tag};

/// What is asked of [`decide`].
///
/// ```
/// use driver_runpath::decide::{Policy, Tag};
///
/// let policy = Policy::new("/run/opengl-driver/lib").prepend(["/opt/first"]).force(Some(Tag::Rpath));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The directory that must come first, such as `/run/opengl-driver/lib`.
    pub driver_dir: Vec<u8>,
    /// Directories before it, in order.
    pub prepend: Vec<Vec<u8>>,
    /// The tag to use whatever the file has.
    pub force: Option<Tag>,
}

impl Policy {
    /// This directory first, and nothing else.
    pub fn new(driver_dir: impl Into<Vec<u8>>) -> Self {
        Self { driver_dir: driver_dir.into(), ..Self::default() }
    }

    /// The same with these directories before it.
    #[must_use]
    pub fn prepend(self, directories: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self { prepend: directories.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same with this tag, whatever a file has; `None`: the one that it has.
    #[must_use]
    pub fn force(self, tag: Option<Tag>) -> Self {
        Self { force: tag, ..self }
    }
}

/// What the dynamic table shall say.
///
/// ```
/// use driver_runpath::decide::{Current, Policy, decide};
///
/// let now = Current { runpath: Some(b"/run/opengl-driver/lib:/opt/lib".to_vec()), rpath: None };
/// let decision = decide(&now, &Policy::new("/run/opengl-driver/lib"), |_| false, false);
/// assert!(!decision.changes);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The tag to hold the path. The other one goes.
    pub tag: Tag,
    /// The new search path, without NUL.
    pub path: Vec<u8>,
    /// Whether the file has to be changed for it.
    pub changes: bool,
    /// The file gets `DT_RPATH` because a first `DT_RUNPATH` would cut the search path that it inherits.
    pub inherits: bool,
}

/// Decides the new search path.
///
/// `must_stay` says of a stub directory that it holds a library which the file needs and no driver provides.
/// `inherits` says that an object of the same tree finds this file's dependencies for it by `DT_RPATH`.
///
/// ```
/// use driver_runpath::decide::{Current, Policy, Tag, decide};
///
/// let now = Current { rpath: Some(b"/opt/lib::/opt/cuda/lib64/stubs".to_vec()), runpath: None };
/// let decision = decide(&now, &Policy::new("/run/opengl-driver/lib"), |_stubs| false, false);
/// assert_eq!((decision.tag, &decision.path[..]), (Tag::Rpath, &b"/run/opengl-driver/lib:/opt/lib"[..]));
/// ```
pub fn decide(current: &Current, policy: &Policy, must_stay: impl Fn(&[u8]) -> bool, inherits: bool) -> Decision {
    let effective = current.effective();
    let old = effective.map_or(&b""[..], |(_, path)| path);
    let path = new_search_path(old, policy, must_stay);
    let rpath_for_heirs = effective.is_none() && inherits && policy.force.is_none();
    let tag = match (policy.force, effective) {
        (Some(tag), _) => tag,
        (None, Some((tag, _))) => tag,
        (None, None) if rpath_for_heirs => Tag::Rpath,
        (None, None) => Tag::Runpath,
    };
    let both = current.runpath.is_some() && current.rpath.is_some();
    let changes = both || effective != Some((tag, path.as_slice()));
    Decision { tag, path, changes, inherits: rpath_for_heirs }
}

/// Decides the search path of a file that does not load the driver: the old one without directories of stubs, and
/// without empty entries, which nobody writes on purpose. `None` if it has no such directory to lose.
///
/// `must_stay` is as for [`decide`]. Where nothing is left, the path is empty and the tag goes, too.
///
/// ```
/// use driver_runpath::decide::{Current, without_stubs};
///
/// let old = Current { runpath: Some(b"/cuda/lib/stubs:/cuda/lib".to_vec()), ..Current::default() };
/// assert_eq!(without_stubs(&old, |_| false).map(|new| new.path), Some(b"/cuda/lib".to_vec()));
/// ```
pub fn without_stubs(current: &Current, must_stay: impl Fn(&[u8]) -> bool) -> Option<Decision> {
    if stub_directories(current, &must_stay).is_empty() {
        return None;
    }
    let (tag, old) = current.effective()?;
    let stays = |entry: &&[u8]| !entry.is_empty() && (!is_stub_directory(entry) || must_stay(entry));
    let path = entries(old).filter(stays).collect::<Vec<_>>().join(&b':');
    Some(Decision { tag, path, changes: true, inherits: false })
}

/// The directories of stubs in the search paths, without those that must stay.
///
/// ```
/// use driver_runpath::decide::{Current, stub_directories};
///
/// let old = Current { runpath: Some(b"/cuda/lib/stubs:/cuda/lib".to_vec()), ..Current::default() };
/// assert_eq!(stub_directories(&old, |_| false), [b"/cuda/lib/stubs"]);
/// ```
pub fn stub_directories(current: &Current, must_stay: impl Fn(&[u8]) -> bool) -> Vec<&[u8]> {
    let stubs = |path| entries(path).filter(|entry| is_stub_directory(entry));
    let effective = current.effective().into_iter().flat_map(|(_, path)| stubs(path));
    // Loaders ignore a DT_RPATH beside a DT_RUNPATH, but its bytes are in the file.
    let ignored = current.rpath.as_deref().filter(|_| current.runpath.is_some());
    effective.filter(|entry| !must_stay(entry)).chain(ignored.into_iter().flat_map(stubs)).collect()
}

/// Prefix, cuda_compat, driver, then the rest in its order without empty entries, stubs and duplicates of the prefix.
fn new_search_path(old: &[u8], policy: &Policy, must_stay: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let there = || entries(old).filter(|entry| !entry.is_empty());
    let compat = there().filter(|entry| is_cuda_compat(entry));
    // Each can be several: loaders and the next run see them one by one.
    let prefix = policy.prepend.iter().flat_map(|path| entries(path)).chain(compat).chain(entries(&policy.driver_dir));
    let kept = there().filter(|entry| !is_stub_directory(entry) || must_stay(entry));
    let mut seen = HashSet::new();
    let unique =
        prefix.filter(|entry| !entry.is_empty()).chain(kept).filter(|entry| seen.insert(same_directory_key(entry)));
    unique.collect::<Vec<_>>().join(&b':')
}

/// The entries of a search path, empty ones included. Loaders split at each colon (glibc, elf/dl-load.c).
///
/// ```
/// use driver_runpath::decide::entries;
///
/// assert!(entries(b"/a::$ORIGIN").eq([&b"/a"[..], b"", b"$ORIGIN"]));
/// ```
pub fn entries(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b':')
}

/// Two spellings of one directory: `/a/lib` and `/a/lib/`.
pub(crate) fn same_directory_key(entry: &[u8]) -> &[u8] {
    let end = entry.iter().rposition(|&byte| byte != b'/').map_or(entry.len().min(1), |last| last + 1);
    entry.get(..end).unwrap_or(entry)
}

/// `…cuda_compat…/compat`, of nixpkgs' package for Jetson: a newer driver library than the system's, which must win.
///
/// ```
/// assert!(driver_runpath::decide::is_cuda_compat(b"/nix/store/h-cuda_compat-36/compat"));
/// ```
pub fn is_cuda_compat(entry: &[u8]) -> bool {
    let entry = same_directory_key(entry);
    let Some(head) = entry.strip_suffix(b"/compat") else { return false };
    memchr::memmem::find(head, b"cuda_compat").is_some()
}

/// Directories of link-time stubs: a stub of `libcuda.so.1` has the real SONAME and only returns errors.
///
/// ```
/// use driver_runpath::decide::is_stub_directory;
///
/// assert!(is_stub_directory(b"/opt/cuda/lib64/stubs/") && !is_stub_directory(b"/opt/cuda/lib64"));
/// ```
pub fn is_stub_directory(entry: &[u8]) -> bool {
    let entry = same_directory_key(entry);
    let by_name = [&b"/lib/stubs"[..], b"/lib64/stubs"].iter().any(|suffix| entry.ends_with(suffix));
    by_name || is_stub_store_path(entry)
}

/// `/nix/store/*-cuda*-stubs/lib*`: nixpkgs splits the stubs into an output of their own. The store can be elsewhere.
fn is_stub_store_path(entry: &[u8]) -> bool {
    let mut parts = entry.rsplit(|&byte| byte == b'/');
    let (Some(lib), Some(package)) = (parts.next(), parts.next()) else { return false };
    lib.starts_with(b"lib") && parts.next().is_some() && is_stub_package(package)
}

/// `*-cuda*-stubs`, the name of a store path: nixpkgs' packages of CUDA have stubs in an output of their own.
///
/// ```
/// assert!(driver_runpath::decide::is_stub_package(b"x3f1-cuda12.9-cuda_cudart-12.9.79-stubs"));
/// ```
pub fn is_stub_package(name: &[u8]) -> bool {
    let name = name.strip_suffix(b"-stubs");
    name.is_some_and(|name| memchr::memmem::find(name, b"-cuda").is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRIVER: &str = "/run/opengl-driver/lib";

    fn policy() -> Policy {
        Policy { driver_dir: DRIVER.into(), ..Policy::default() }
    }

    fn runpath(path: &str) -> Current {
        Current { runpath: Some(path.into()), rpath: None }
    }

    fn decided(path: &str) -> String {
        String::from_utf8(decide(&runpath(path), &policy(), |_| false, false).path).expect("UTF-8 in, UTF-8 out")
    }

    #[test]
    fn each_old_path_gets_the_new_one() {
        for (old, new) in [
            ("", DRIVER),
            (":::::::", DRIVER),
            ("/run/opengl-driver/lib:", DRIVER),
            ("/run/opengl-driver/lib/", DRIVER),
            ("$ORIGIN", "/run/opengl-driver/lib:$ORIGIN"),
            ("$ORIGIN:/run/opengl-driver/lib", "/run/opengl-driver/lib:$ORIGIN"),
            ("/a::/b:", "/run/opengl-driver/lib:/a:/b"),
            ("/cuda/lib/stubs:/a", "/run/opengl-driver/lib:/a"),
            ("/cuda/lib64/stubs/:/a", "/run/opengl-driver/lib:/a"),
            ("/c/targets/x86_64-linux/lib/stubs", DRIVER),
            ("/nix/store/h-cuda12.8-cuda_cudart-12.8.57-stubs/lib:/a", "/run/opengl-driver/lib:/a"),
            ("/nix/store/h-cuda_cudart-12.8.57-stubs/lib/stubs:/a", "/run/opengl-driver/lib:/a"),
            ("/nix/store/h-stubs/lib:/a", "/run/opengl-driver/lib:/nix/store/h-stubs/lib:/a"),
            ("/a:/nix/store/h-cuda_compat-36/compat", "/nix/store/h-cuda_compat-36/compat:/run/opengl-driver/lib:/a"),
            ("relative", "/run/opengl-driver/lib:relative"),
            ("/a:/a", "/run/opengl-driver/lib:/a"),
        ] {
            assert_eq!(decided(old), new, "of {old:?}");
        }
    }

    #[test]
    fn a_stub_directory_with_a_needed_library_stays() {
        let decision =
            decide(&runpath("/c/lib/stubs:/d/lib/stubs"), &policy(), |entry| entry == b"/d/lib/stubs", false);
        assert_eq!(decision.path, b"/run/opengl-driver/lib:/d/lib/stubs");
    }

    #[test]
    fn directories_asked_for_come_before_cuda_compat_and_driver() {
        let policy = Policy { prepend: vec![b"/first".to_vec(), b"/second".to_vec()], ..policy() };
        let decision = decide(&runpath("/x-cuda_compat/compat:/second:/a"), &policy, |_| false, false);
        assert_eq!(decision.path, b"/first:/second:/x-cuda_compat/compat:/run/opengl-driver/lib:/a");
    }

    #[test]
    fn a_list_of_directories_does_not_grow_with_each_run() {
        let policy = Policy::new("/driver:/a/driver").prepend(["/first:/second"]);
        let once = decide(&runpath("/a:/second"), &policy, |_| false, false);
        assert_eq!(once.path, b"/first:/second:/driver:/a/driver:/a");
        let again = Current { runpath: Some(once.path), rpath: None };
        assert!(!decide(&again, &policy, |_| false, false).changes);
        let nothing = PathOperation::driver("").decide(&Current::default(), &[], None, |_, _| false);
        assert_eq!(nothing, None, "an empty search path is none");
    }

    #[test]
    fn the_tag_stays_what_it_was() {
        let tag = |current: Current, force, inherits| {
            decide(&current, &Policy { force, ..policy() }, |_| false, inherits).tag
        };
        let both = Current { runpath: Some(b"/a".to_vec()), rpath: Some(b"/b".to_vec()) };
        let rpath = Current { runpath: None, rpath: Some(b"/b".to_vec()) };
        assert_eq!(tag(runpath("/a"), None, true), Tag::Runpath);
        assert_eq!(tag(rpath.clone(), None, false), Tag::Rpath);
        assert_eq!(tag(both.clone(), None, false), Tag::Runpath);
        assert_eq!(tag(Current::default(), None, false), Tag::Runpath);
        assert_eq!(tag(Current::default(), None, true), Tag::Rpath);
        assert_eq!(tag(Current::default(), Some(Tag::Runpath), true), Tag::Runpath);
        assert_eq!(tag(rpath, Some(Tag::Runpath), false), Tag::Runpath);
        assert!(decide(&both, &policy(), |_| false, false).changes, "the tag that loaders ignore must go");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let current = Current { runpath: Some(b"/caf\xe9".to_vec()), rpath: None };
        assert_eq!(decide(&current, &policy(), |_| false, false).path, b"/run/opengl-driver/lib:/caf\xe9");
    }

    #[test]
    fn a_file_that_does_not_load_the_driver_loses_stubs_alone() {
        let decided = |current: &Current, stays: &[u8]| without_stubs(current, |entry| entry == stays);
        for (old, new) in [
            ("/a:/cuda/lib/stubs:/b:/a", Some("/a:/b:/a")),
            ("/cuda/lib64/stubs/:$ORIGIN", Some("$ORIGIN")),
            ("/nix/store/h-cuda12.8-cuda_cudart-12.8.57-stubs/lib::/b", Some("/b")),
            ("/cuda/lib/stubs", Some("")),
            ("/cuda/lib/stubs:", Some("")),
            ("/needed/lib/stubs:/cuda/lib/stubs", Some("/needed/lib/stubs")),
            ("/needed/lib/stubs", None),
            ("/x-cuda_compat/compat::/a", None),
            ("", None),
        ] {
            let decision = decided(&runpath(old), b"/needed/lib/stubs");
            assert_eq!(decision.map(|decision| decision.path), new.map(|path| path.as_bytes().to_vec()), "of {old:?}");
        }
        assert_eq!(decided(&Current::default(), b""), None);
    }

    #[test]
    fn stubs_in_a_search_path_that_loaders_ignore_go_with_it() {
        let current = Current { runpath: Some(b"/a".to_vec()), rpath: Some(b"/cuda/lib/stubs".to_vec()) };
        let decision = without_stubs(&current, |_| true).expect("the bytes are in the file");
        assert_eq!((decision.tag, decision.path), (Tag::Runpath, b"/a".to_vec()));
        let rpath = Current { runpath: None, rpath: Some(b"/b:/cuda/lib/stubs".to_vec()) };
        let decision = without_stubs(&rpath, |_| false).expect("it has a directory of stubs");
        assert_eq!((decision.tag, decision.path), (Tag::Rpath, b"/b".to_vec()));
    }

    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just(DRIVER.to_owned()),
            Just(format!("{DRIVER}/")),
            Just("$ORIGIN/../lib".to_owned()),
            Just("/nix/store/abc-cuda_compat-1/compat".to_owned()),
            Just("/nix/store/abc-cuda12-cudart-stubs/lib".to_owned()),
            Just("/opt/cuda/lib64/stubs".to_owned()),
            "[a-c/]{1,6}",
        ]
    }

    proptest! {
        #[test]
        fn the_new_path_keeps_all_promises(
            old in prop::collection::vec(entry(), 0..8),
            prepend in prop::collection::vec("/p[0-9]", 0..3),
            keep_stubs: bool,
            is_rpath: bool,
        ) {
            let old = old.join(":");
            let policy = Policy { prepend: prepend.iter().map(|dir| dir.clone().into_bytes()).collect(), ..policy() };
            let must_stay = |_: &[u8]| keep_stubs;
            let current = if is_rpath { Current { rpath: Some(old.clone().into()), runpath: None } } else { runpath(&old) };
            let first = decide(&current, &policy, must_stay, false);
            prop_assert_eq!(first.tag, if is_rpath { Tag::Rpath } else { Tag::Runpath });

            let new: Vec<&[u8]> = entries(&first.path).collect();
            let driver = new.iter().position(|entry| *entry == DRIVER.as_bytes());
            let before: &[&[u8]] = &new[..driver.expect("the driver directory is there")];
            let asked_for = |entry: &&[u8]| policy.prepend.iter().any(|dir| dir == entry);
            prop_assert!(before.iter().all(|entry| asked_for(entry) || is_cuda_compat(entry)), "{:?}", before);
            prop_assert!(new.iter().all(|entry| !entry.is_empty()));
            prop_assert!(keep_stubs || !new.iter().any(|entry| is_stub_directory(entry)));
            let keys: HashSet<&[u8]> = new.iter().map(|entry| same_directory_key(entry)).collect();
            prop_assert_eq!(keys.len(), new.len(), "duplicates in {:?}", new);

            // The rest is what the old path had, in its order.
            let rest = &new[before.len() + 1..];
            let mut old_entries = entries(old.as_bytes());
            prop_assert!(rest.iter().all(|entry| old_entries.any(|old| old == *entry)), "order of {:?}", rest);
            // Nothing but empty entries, stubs and duplicates is lost.
            for entry in entries(old.as_bytes()).filter(|entry| !entry.is_empty()) {
                let dropped = is_stub_directory(entry) && !keep_stubs;
                prop_assert!(dropped || keys.contains(same_directory_key(entry)));
            }

            let again = Current {
                runpath: (!is_rpath).then(|| first.path.clone()),
                rpath: is_rpath.then(|| first.path.clone()),
            };
            let second = decide(&again, &policy, must_stay, false);
            prop_assert!(!second.changes);
            prop_assert_eq!(second.path, first.path);
        }

        #[test]
        fn without_stubs_all_else_stays_in_its_order(
            old in prop::collection::vec(entry(), 0..8),
            stays in prop::collection::vec(any::<bool>(), 8),
            is_rpath: bool,
        ) {
            // Which directories hold a library that the file needs depends on the directory alone.
            let must_stay = |entry: &[u8]| stays[entry.len() % stays.len()];
            let path = old.join(":");
            let with = |path: Vec<u8>| if is_rpath { Current { rpath: Some(path), runpath: None } } else { Current { runpath: Some(path), rpath: None } };
            let current = with(path.clone().into_bytes());
            let goes = |entry: &&[u8]| is_stub_directory(entry) && !must_stay(entry);
            let some_goes = entries(path.as_bytes()).any(|entry| goes(&entry));
            let decision = without_stubs(&current, must_stay);
            prop_assert_eq!(decision.is_some(), some_goes);
            if let Some(decision) = decision {
                let expected: Vec<&[u8]> =
                    entries(path.as_bytes()).filter(|entry| !entry.is_empty() && !goes(entry)).collect();
                let new: Vec<&[u8]> = entries(&decision.path).filter(|entry| !entry.is_empty()).collect();
                prop_assert_eq!(new, expected);
                prop_assert_eq!(decision.tag, if is_rpath { Tag::Rpath } else { Tag::Runpath });
                // A second run has nothing to do, and the job itself takes the same directories away.
                prop_assert_eq!(without_stubs(&with(decision.path.clone()), must_stay), None);
                let after = decide(&with(decision.path), &policy(), must_stay, false);
                prop_assert_eq!(after.path, decide(&current, &policy(), must_stay, false).path);
            }
        }
    }
}
