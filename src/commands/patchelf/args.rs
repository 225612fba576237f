//! patchelf's command line: a loop over the arguments, as patchelf has it. The order matters to it (`--help` ends it),
//! options may follow files, and a value `@FILE` is what that file holds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing at all, or `--help`; the exit status.
    Help(u8),
    Version,
    Work(Request),
}

/// What is done with each file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) files: Vec<PathBuf>,
    pub(super) print: Print,
    pub(super) edit: Option<Edit>,
    pub(super) allowed_prefixes: Vec<Vec<u8>>,
    pub(super) force_rpath: bool,
    pub(super) build_note: bool,
    pub(super) output: Option<PathBuf>,
    pub(super) debug: bool,
    /// What is printed is made harmless.
    pub(super) for_terminal: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) interpreter: bool,
    pub(super) soname: bool,
    pub(super) rpath: bool,
    pub(super) needed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    Set(Vec<u8>),
    Add(Vec<u8>),
    Remove,
    Shrink,
}

impl Edit {
    fn flag(&self) -> &'static str {
        match self {
            Self::Set(_) => "--set-rpath",
            Self::Add(_) => "--add-rpath",
            Self::Remove => "--remove-rpath",
            Self::Shrink => "--shrink-rpath",
        }
    }
}

/// What patchelf can do and we do not (patchelf 0.19.3, and its `--interpreter`, which its help does not list).
const FOREIGN: [&str; 16] = [
    "--set-interpreter",
    "--interpreter",
    "--print-os-abi",
    "--set-os-abi",
    "--set-soname",
    "--add-needed",
    "--remove-needed",
    "--replace-needed",
    "--no-default-lib",
    "--clear-symbol-version",
    "--add-debug-tag",
    "--print-execstack",
    "--clear-execstack",
    "--set-execstack",
    "--rename-dynamic-symbols",
    "--no-clobber-old-sections",
];

/// What we take of patchelf's flags, without those that other programs have.
const OURS: [&str; 12] = [
    "--print-interpreter",
    "--print-soname",
    "--print-needed",
    "--print-rpath",
    "--set-rpath",
    "--add-rpath",
    "--remove-rpath",
    "--shrink-rpath",
    "--allowed-rpath-prefixes",
    "--force-rpath",
    "--page-size",
    "--no-sort",
];

/// Whether this is a flag that patchelf alone has.
pub fn is_flag(argument: &OsStr) -> bool {
    OURS.iter().chain(&FOREIGN).any(|flag| argument == *flag)
}

/// Reads the command line. Nothing is touched before all of it is understood.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_none() {
        return Ok(Command::Help(1));
    }
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        let flag = argument.to_string_lossy();
        let mut value = || arguments.next().ok_or_else(|| format!("missing argument to {flag}"));
        match &*flag {
            "--help" | "-h" => return Ok(Command::Help(0)),
            "--version" => return Ok(Command::Version),
            "--print-interpreter" => request.print.interpreter = true,
            "--print-soname" => request.print.soname = true,
            "--print-rpath" => request.print.rpath = true,
            "--print-needed" => request.print.needed = true,
            "--set-rpath" => request.choose(Edit::Set(search_path(&flag, value()?)?))?,
            "--add-rpath" => request.choose(Edit::Add(search_path(&flag, value()?)?))?,
            "--remove-rpath" => request.choose(Edit::Remove)?,
            "--shrink-rpath" => request.choose(Edit::Shrink)?,
            "--allowed-rpath-prefixes" => request.allowed_prefixes = prefixes(value()?.as_bytes()),
            "--force-rpath" => request.force_rpath = true,
            "--build-resolution-cache" => request.build_note = true,
            "--output" => request.output = Some(PathBuf::from(OsString::from_vec(resolved(value()?)?))),
            "--debug" => request.debug = true,
            // Where patchelf lays sections out anew, we have nothing to lay out.
            "--no-sort" => {}
            "--page-size" => page_size(&value()?)?,
            foreign if FOREIGN.contains(&foreign) => return Err(not_ours(foreign)),
            // patchelf takes what it does not know for a file; a flag of another version must not be half obeyed.
            unknown if unknown.starts_with("--") && !Path::new(&argument).exists() => return Err(not_ours(unknown)),
            _ => request.files.push(PathBuf::from(&argument)),
        }
    }
    match (request.files.len(), &request.output) {
        (0, _) => Err("missing filename".into()),
        // A note is for a loader that goes by DT_RUNPATH.
        _ if request.force_rpath && request.build_note => {
            Err("--build-resolution-cache cannot be combined with --force-rpath".into())
        }
        (2.., Some(_)) => Err("--output option only allowed with single input file".into()),
        _ => Ok(Command::Work(request)),
    }
}

impl Request {
    /// patchelf has an order of its own among them and silently obeys the first.
    fn choose(&mut self, edit: Edit) -> Result<(), String> {
        match &self.edit {
            Some(other) if other.flag() != edit.flag() => {
                Err(format!("{} option not allowed with {}", other.flag(), edit.flag()))
            }
            _ => {
                self.edit = Some(edit);
                Ok(())
            }
        }
    }
}

fn not_ours(flag: &str) -> String {
    format!(
        "{flag}: this is driver-runpath, which knows patchelf's flags for search paths only; \
         patchelf itself is the tool for the others; nothing was changed"
    )
}

/// The value of an option, or what the file holds that it names after an `@`.
fn resolved(argument: OsString) -> Result<Vec<u8>, String> {
    let Some(name) = argument.as_bytes().strip_prefix(b"@").map(OsStr::from_bytes) else {
        return Ok(argument.into_vec());
    };
    let said = |action: &str, error: io::Error| format!("{action} '{}': {error}", Path::new(name).display());
    let len = Path::new(name).metadata().map_err(|error| said("getting info about", error))?.len();
    let file = File::open(name).map_err(|error| said("opening", error))?;
    let mut value = Vec::new();
    file.take(len).read_to_end(&mut value).map_err(|error| said("reading", error))?;
    Ok(value)
}

fn search_path(flag: &str, argument: OsString) -> Result<Vec<u8>, String> {
    let path = resolved(argument)?;
    if path.contains(&0) { Err(format!("{flag}: a search path cannot hold a NUL byte")) } else { Ok(path) }
}

/// Parts between colons; an empty one at the end is none.
fn prefixes(list: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = list.split(|&byte| byte == b':').map(<[u8]>::to_vec).collect();
    if parts.last().is_some_and(Vec::is_empty) {
        parts.pop();
    }
    parts
}

fn page_size(size: &OsStr) -> Result<(), String> {
    match size.to_string_lossy().parse::<u32>() {
        Ok(size) if size > 0 => Ok(()),
        _ => Err("invalid argument to --page-size".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str]) -> Result<Request, String> {
        match parse(arguments.iter().map(OsString::from))? {
            Command::Work(request) => Ok(request),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn options_may_follow_files() {
        let request = request(&["a", "--force-rpath", "--set-rpath", "/x", "b", "--no-sort", "--page-size", "4096"]);
        let expected = Request {
            files: vec!["a".into(), "b".into()],
            edit: Some(Edit::Set(b"/x".to_vec())),
            force_rpath: true,
            ..Request::default()
        };
        assert_eq!(request, Ok(expected));
    }

    #[test]
    fn the_last_of_equal_options_counts_and_others_conflict() {
        assert_eq!(
            request(&["--set-rpath", "/x", "--set-rpath", "/y", "a"]).map(|request| request.edit),
            Ok(Some(Edit::Set(b"/y".to_vec())))
        );
        for (one, other) in [
            (&["--set-rpath", "/x"][..], &["--add-rpath", "/y"][..]),
            (&["--remove-rpath"], &["--set-rpath", ""]),
            (&["--shrink-rpath"], &["--remove-rpath"]),
        ] {
            let conflict = request(&[one, other, &["a"]].concat()).expect_err("a conflict");
            assert_eq!(conflict, format!("{} option not allowed with {}", one[0], other[0]));
        }
    }

    #[test]
    fn what_patchelf_alone_can_do_is_named() {
        for flag in FOREIGN.iter().chain(&["--flag-of-a-later-version"]) {
            let refusal = request(&["--set-rpath", "/x", "a", flag, "b"]).expect_err("not ours");
            assert!(refusal.contains(flag) && refusal.contains("patchelf itself"), "{refusal}");
        }
    }

    #[test]
    fn a_missing_value_or_file_is_named() {
        assert_eq!(request(&["a", "--set-rpath"]), Err("missing argument to --set-rpath".into()));
        assert_eq!(request(&["--remove-rpath"]), Err("missing filename".into()));
        assert_eq!(request(&["--page-size", "0", "a"]), Err("invalid argument to --page-size".into()));
        assert!(request(&["--output", "x", "a", "b"]).expect_err("two files").starts_with("--output option"));
        let missing = request(&["--set-rpath", "@/nowhere/value", "a"]).expect_err("no such file");
        assert!(missing.starts_with("getting info about '/nowhere/value': "), "{missing}");
    }

    #[test]
    fn a_resolution_note_goes_with_a_runpath_only() {
        let asked = request(&["--build-resolution-cache", "--set-rpath", "/x", "a"]).map(|request| request.build_note);
        assert_eq!(asked, Ok(true));
        let refusal = request(&["--build-resolution-cache", "--force-rpath", "a"]).expect_err("both");
        assert_eq!(refusal, "--build-resolution-cache cannot be combined with --force-rpath");
    }

    #[test]
    fn help_and_version_end_the_command_line() {
        let parsed = |arguments: &[&str]| parse(arguments.iter().map(OsString::from));
        assert_eq!(parsed(&[]), Ok(Command::Help(1)));
        assert_eq!(parsed(&["a", "-h", "--set-interpreter"]), Ok(Command::Help(0)));
        assert_eq!(parsed(&["--version", "--page-size"]), Ok(Command::Version));
    }

    #[test]
    fn what_is_taken_for_patchelfs_is() {
        for flag in OURS {
            let arguments = match flag {
                "--allowed-rpath-prefixes" | "--set-rpath" | "--add-rpath" => vec![flag, "/x", "a"],
                "--page-size" => vec![flag, "4096", "a"],
                _ => vec![flag, "a"],
            };
            assert!(request(&arguments).is_ok() && is_flag(OsStr::new(flag)), "{flag}");
        }
        for other in ["--help", "--version", "--output", "--debug", "fix", "-h", "--force-runpath"] {
            assert!(!is_flag(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn prefixes_are_split_at_colons() {
        assert_eq!(prefixes(b"/a:/b:"), [b"/a".to_vec(), b"/b".to_vec()]);
        assert_eq!(prefixes(b""), Vec::<Vec<u8>>::new());
        assert_eq!(prefixes(b"/a::/b").len(), 3);
    }
}
