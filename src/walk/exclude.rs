//! What a walk passes over.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pattern that cannot be read.
///
/// ```
/// let bad = driver_runpath::walk::Exclude::new(["[".to_owned()]).unwrap_err();
/// assert_eq!(bad.pattern, "[");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern}: {why}")]
#[non_exhaustive]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// What the walk passes over: names found in directories, never those that the user gave.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    patterns: Arc<Vec<Pattern>>,
    /// For absolute patterns, and for patterns as they are printed under an absolute PATH.
    current_dir: PathBuf,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    glob: glob::Pattern,
    /// The same from the root directory on. Without a slash it is for names alone.
    absolute: Option<glob::Pattern>,
    has_matched: AtomicBool,
}

impl Exclude {
    /// Patterns with `*`, `?`, `[…]` and `**`. One without a slash is compared with the name of each file and
    /// directory; one with a slash with the path, from the directory given on, as it is printed, or absolute.
    ///
    /// ```
    /// use driver_runpath::walk::Exclude;
    ///
    /// let tests_and_stubs = Exclude::new(["tests".to_owned(), "cuda/**/stubs".to_owned()])?;
    /// # Ok::<(), driver_runpath::walk::BadPattern>(())
    /// ```
    ///
    /// # Errors
    /// The pattern that cannot be read, and why.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, BadPattern> {
        let mut patterns = patterns.into_iter().peekable();
        if patterns.peek().is_none() {
            return Ok(Self::default());
        }
        let current_dir = std::env::current_dir().unwrap_or_default();
        let patterns = patterns.map(|text| Pattern::new(text, &current_dir));
        Ok(Self { patterns: Arc::new(patterns.collect::<Result<_, _>>()?), current_dir })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns that have matched nothing so far.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.patterns
            .iter()
            .filter(|pattern| !pattern.has_matched.load(Ordering::Relaxed))
            .map(|pattern| &*pattern.text)
    }

    pub(crate) fn matches(&self, root: &Path, path: &Path) -> bool {
        let from_root = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut absolute = None;
        let mut matches = |pattern: &Pattern| match &pattern.absolute {
            None => pattern.glob.matches(&name),
            Some(from_slash) => {
                let absolute = absolute.get_or_insert_with(|| without_dots(&self.current_dir.join(path)));
                pattern.glob.matches(&from_root) || from_slash.matches(&absolute.to_string_lossy())
            }
        };
        let mut is_excluded = false;
        // Each pattern is asked, so that none is called unused for another one's sake.
        for pattern in self.patterns.iter().filter(|pattern| matches(pattern)) {
            pattern.has_matched.store(true, Ordering::Relaxed);
            is_excluded = true;
        }
        is_excluded
    }
}

impl Pattern {
    fn new(text: String, current_dir: &Path) -> Result<Self, BadPattern> {
        // `tests/` is `tests`: what is excluded is not walked into. `./` starts no path that is printed.
        let name = text.trim_end_matches('/');
        let name = name.strip_prefix("./").unwrap_or(name);
        let bad = |error: glob::PatternError| BadPattern { pattern: text.clone(), why: error.to_string() };
        let read = |pattern: &str| glob::Pattern::new(pattern).map_err(bad);
        let glob = read(name)?;
        let absolute = match name.starts_with('/') {
            true => Some(read(name)?),
            false if name.contains('/') => {
                let directory = glob::Pattern::escape(&current_dir.to_string_lossy());
                Some(read(&format!("{}/{name}", directory.trim_end_matches('/')))?)
            }
            false => None,
        };
        Ok(Self { glob, absolute, text, has_matched: AtomicBool::new(false) })
    }
}

/// The path without `.` and, by the letter, without `..`.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_slash_is_for_names_one_with_a_slash_for_paths() {
        let excludes = |pattern: &str, path: &str| {
            let exclude = Exclude::new([pattern.to_owned()]).expect("a good pattern");
            exclude.matches(Path::new("/out"), Path::new(path))
        };
        assert!(excludes("*.debug", "/out/lib/debug/libx.debug"));
        assert!(excludes("tests", "/out/share/tests"));
        assert!(excludes("tests/", "/out/share/tests"));
        assert!(excludes("lib/*.so", "/out/lib/libx.so"));
        assert!(excludes("./lib/*.so", "/out/lib/libx.so"));
        assert!(!excludes("lib/*.so", "/out/x/lib/libx.so"));
        assert!(excludes("**/lib/*.so", "/out/x/lib/libx.so"));
        assert!(excludes("/out/lib", "/out/lib"));
        assert!(!excludes("/lib", "/out/lib"));
        assert!(!excludes("out", "/out/lib"));
        assert!(Exclude::new(["[".to_owned()]).is_err());
    }

    #[test]
    fn a_path_is_matched_as_it_is_printed_and_from_the_root_on() {
        let here = std::env::current_dir().expect("a current directory");
        let absolute = here.join("t/keep").display().to_string();
        for pattern in ["t/keep", "./t/keep", "t/k*", "keep", absolute.as_str()] {
            for (root, path) in [("t", "t/keep"), ("./t", "./t/keep"), ("u/../t", "u/../t/keep")] {
                let exclude = Exclude::new([pattern.to_owned(), "other/keep".to_owned()]).expect("good patterns");
                assert!(exclude.matches(Path::new(root), Path::new(path)), "{pattern} {path}");
                assert_eq!(exclude.unused().collect::<Vec<_>>(), ["other/keep"]);
            }
        }
    }
}
