//! Files as a system sees them whose root is a directory of this one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The root that absolute paths count from.
#[derive(Debug, Clone, Default)]
pub struct Sysroot(Option<PathBuf>);

/// What Linux allows in one path (path_resolution(7)).
const MOST_LINKS: u32 = 40;

impl Sysroot {
    /// The directory `dir` as the root.
    ///
    /// # Errors
    /// Where it cannot be found, or is no directory.
    pub fn at(dir: &Path) -> io::Result<Self> {
        let dir = fs::canonicalize(dir)?;
        if !dir.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(Some(dir)))
    }

    /// Whether this is another root than the system's own.
    pub fn is_other(&self) -> bool {
        self.0.is_some()
    }

    /// The path, from the root on, of a file that the user names: a path that leads into the directory counts from
    /// there, any other from the root.
    pub fn name(&self, path: &Path) -> io::Result<PathBuf> {
        let absolute = std::path::absolute(path)?;
        let Some(root) = &self.0 else { return Ok(absolute) };
        // The directory may have been named by a link; the file's own name stays as it is.
        let parent = absolute.parent().and_then(|parent| fs::canonicalize(parent).ok());
        let real = parent.zip(absolute.file_name()).map(|(parent, name)| parent.join(name));
        let below = |path: &Path| path.strip_prefix(root).ok().map(|rest| Path::new("/").join(rest));
        let inside = below(&absolute).or_else(|| below(real.as_deref()?));
        Ok(inside.unwrap_or(absolute))
    }

    /// Where a path of the system lies for us: absolute or from the current directory, with another root from that
    /// root. With another root all links are followed within it, so that none leads out.
    ///
    /// # Errors
    /// As opening the path would give.
    pub fn locate(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            None => Ok(path.to_owned()),
            Some(root) => Ok(below(root, &resolve(root, path)?)),
        }
    }

    /// The path of the system without links, from the root on.
    ///
    /// # Errors
    /// As opening the path would give.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            None => fs::canonicalize(path),
            Some(root) => Ok(Path::new("/").join(resolve(root, path)?.iter().collect::<PathBuf>())),
        }
    }
}

fn below(root: &Path, parts: &[OsString]) -> PathBuf {
    root.iter().map(OsString::from).chain(parts.iter().cloned()).collect()
}

/// The components of `path` below `root` without links and without `..`.
fn resolve(root: &Path, path: &Path) -> io::Result<Vec<OsString>> {
    let mut open: VecDeque<OsString> = components(path);
    let mut done: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(part) = open.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(part);
        let here = below(root, &done);
        let kind = fs::symlink_metadata(&here)?.file_type();
        if kind.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = fs::read_link(&here)?;
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            let mut next = components(&target);
            next.append(&mut open);
            open = next;
        } else if !kind.is_dir() && !open.is_empty() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    Ok(done)
}

fn components(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_the_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).expect("written");
        fs::write(root.join("usr/lib/x"), "inside").expect("written");
        fs::write(dir.path().join("secret"), "outside").expect("written");
        for (link, target) in [
            ("lib", "usr/lib"),
            ("absolute", "/usr/lib"),
            ("usr/deep", "/usr/lib"),
            ("out", "../../../secret"),
            ("out-absolute", "/../secret"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(link)).expect("linked");
        }
        let sysroot = Sysroot::at(&root).expect("a root");
        let read = |path: &str| sysroot.locate(Path::new(path)).and_then(fs::read_to_string);
        for path in [
            "/usr/lib/x",
            "/lib/x",
            "/absolute/x",
            "usr/lib/x",
            "/../lib/../lib/x",
            "/usr/deep/x",
            "/absolute/../lib/x",
        ] {
            assert_eq!(read(path).expect("readable"), "inside", "{path}");
        }
        for path in ["/out", "/out-absolute", "/../secret", "/loop", "/usr/lib/x/y", "/usr/lib/x/..", "/gone/../lib/x"]
        {
            assert!(read(path).is_err(), "{path}");
        }
        assert_eq!(sysroot.canonical(Path::new("/absolute/x")).expect("there"), Path::new("/usr/lib/x"));
    }

    #[test]
    fn a_file_is_named_from_either_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = fs::canonicalize(dir.path()).expect("there").join("root");
        fs::create_dir_all(root.join("lib")).expect("written");
        let sysroot = Sysroot::at(&root).expect("a root");
        for path in [root.join("lib/x"), PathBuf::from("/lib/x")] {
            assert_eq!(sysroot.name(&path).expect("absolute"), Path::new("/lib/x"));
        }
    }
}
