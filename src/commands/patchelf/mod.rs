//! A stand-in for patchelf: its flags for search paths and `--build-resolution-cache`, with its meaning, on our engine.
//!
//! What is different on purpose: a flag that is not about search paths is refused before anything is touched, and so
//! are two flags of which patchelf would obey one; with both tags in a file, the one that loaders ignore goes;
//! a static-PIE executable or a loader is not given a search path, which would kill it; a broken section header table
//! is a warning. Adding an empty string adds nothing, where patchelf adds the current directory.

mod args;
mod lint;
mod resolution;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::Error;
use crate::apply::directories::holds_library;
use crate::apply::edit::{Done, Editor, Foreign, OpenOptions, Protection, Target};
use crate::commands::fix::TAKEN_BACK;
use crate::decide::shrunk;
use crate::decide::{Tag, appended, entries};
use crate::elf::{Image, NotCandidate, ParseError};
use crate::error::harmless;
use crate::plan::{Change, NoteChange};

pub use args::is_flag;
use args::{Command, Edit, Request};

/// The release whose flags and meaning are followed: callers ask whether patchelf is new enough.
const FOLLOWED: &str = "0.19.3";

const HELP: &str = "\
syntax: patchelf
  [--print-interpreter]
  [--print-soname]
  [--print-needed]
  [--print-rpath]
  [--set-rpath RPATH]
  [--add-rpath RPATH]
  [--remove-rpath]
  [--shrink-rpath]
  [--allowed-rpath-prefixes PREFIXES]\tWith '--shrink-rpath', drop entries that start with none of them
  [--build-resolution-cache]\tWrite the note of NixOS's loader: where the needed libraries are
  [--force-rpath]\tUse DT_RPATH; without it, DT_RPATH becomes DT_RUNPATH
  [--output FILE]
  [--debug]
  [--help]
  [--version]
  [--page-size SIZE] [--no-sort]\tAccepted and without effect
  FILENAME...

This is driver-runpath in the place of patchelf, for search paths. RPATH and FILE can be @FILE, for what that file
holds. Any other flag of patchelf is refused.
";

/// Who reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A program, which gets the bytes as they are.
    Program,
    /// A terminal, which would obey control characters.
    Terminal,
}

/// Runs patchelf's command line, without the program's name. The exit status: 0, or 1 at the first error.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    reader: Reader,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> u8 {
    let done = match args::parse(arguments) {
        Ok(Command::Work(request)) => {
            let for_terminal = reader == Reader::Terminal;
            obey(Command::Work(Request { for_terminal, ..request }), out, errors)
        }
        Ok(command) => obey(command, out, errors),
        Err(why) => Err(why),
    };
    let flushed = out.flush().map_err(|error| error.to_string());
    match done.and_then(|status| flushed.map(|()| status)) {
        Ok(status) => status,
        Err(why) => {
            // If errors cannot be written, nor can this one.
            let _ = writeln!(errors, "patchelf: {why}");
            1
        }
    }
}

fn obey(command: Command, out: &mut impl Write, errors: &mut impl Write) -> Result<u8, String> {
    let said = |result: io::Result<()>| result.map_err(|error| error.to_string());
    match command {
        Command::Help(status) => said(errors.write_all(HELP.as_bytes())).map(|()| status),
        Command::Version => {
            let ours = env!("CARGO_PKG_VERSION");
            said(writeln!(out, "patchelf {FOLLOWED} (search paths only, by driver-runpath {ours})")).map(|()| 0)
        }
        Command::Work(mut request) => {
            request.debug |= std::env::var_os("PATCHELF_DEBUG").is_some();
            for file in &request.files {
                Job { request: &request, file, out: &mut *out, errors: &mut *errors }.run()?;
            }
            Ok(0)
        }
    }
}

/// Patchelf writes to every file that it is given, whatever names that has.
fn opening() -> OpenOptions {
    let mut opening = OpenOptions::default();
    (opening.protection, opening.foreign) = (Protection::none(), Foreign::Taken);
    opening
}

/// One file.
struct Job<'a, O, E> {
    request: &'a Request,
    file: &'a Path,
    out: &'a mut O,
    errors: &'a mut E,
}

impl<O: Write, E: Write> Job<'_, O, E> {
    fn run(mut self) -> Result<(), String> {
        let name = self.file.display();
        fs::metadata(self.file).map_err(|error| format!("getting info about '{name}': {error}"))?;
        let print = self.request.print;
        if !(print.interpreter || print.soname || print.rpath || print.needed) {
            self.debug(format_args!("patching ELF file '{name}'"));
        }
        self.work().map_err(|error| match error {
            Failure::Error(error) => format!("{name}: {error}"),
            Failure::Words(words) => format!("{name}: {words}"),
        })
    }

    /// Whether more is asked for than to print.
    fn writes(&self) -> bool {
        self.request.edit.is_some() || self.request.build_note || self.request.output.is_some()
    }

    fn commit(&mut self, editor: Editor, changes: &[Change]) -> Result<(), Failure> {
        let target = self.request.output.as_deref().map_or(Target::Itself, Target::Output);
        let Done { edited, taken_back, .. } = editor.commit(changes, target)?;
        if taken_back {
            self.warn(TAKEN_BACK);
        }
        if let Some(edited) = edited {
            self.debug(format_args!("{}: the file grows by {} bytes", edited.rung, edited.growth));
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), Failure> {
        let editor = if self.request.edit.is_some() || self.request.build_note {
            Editor::open(self.file, &opening())?
        } else {
            Editor::look(self.file, &opening())?
        };
        let editor = editor.ok_or(Failure::Words("not an ELF executable"))?;
        for warning in lint::lint_headers(editor.bytes()) {
            self.warn(warning);
        }
        let image = match ParseError::apart(Image::read(editor.bytes())).map_err(Error::from)? {
            Ok(image) => image,
            Err(reason) => return self.without_dynamic_table(editor, reason),
        };
        for warning in lint::lint_image(&image) {
            self.warn(&warning);
        }
        self.print(&image)?;
        // What the edit leaves of the bytes that `image` knows is not said.
        let needed: Vec<Vec<u8>> = image.needed().map(<[u8]>::to_vec).collect();
        let mut changes = self.changes(&image)?;
        let is_changed = !changes.is_empty();
        if self.request.build_note && !is_changed {
            changes = self.note_changes(&image)?;
        }
        if self.writes() {
            self.commit(editor, &changes)?;
        }
        if self.request.build_note && is_changed {
            self.build_note_in(self.request.output.as_deref().unwrap_or(self.file))?;
        }
        if self.request.print.needed {
            for name in &needed {
                self.line(name)?;
            }
        }
        Ok(())
    }

    /// patchelf has nothing to say of a separate debug file, and leaves it as it is.
    fn without_dynamic_table(&mut self, editor: Editor, reason: NotCandidate) -> Result<(), Failure> {
        let print = self.request.print;
        let asked = self.request.edit.is_some() || print.interpreter || print.soname || print.rpath || print.needed;
        match reason {
            NotCandidate::DebugFile | NotCandidate::Static
                if self.request.build_note && self.request.edit.is_none() =>
            {
                self.say_no_cache("no dynamic section (statically linked?); no cache written");
            }
            NotCandidate::DebugFile => self.debug(format_args!("no dynamic section")),
            NotCandidate::Static if !asked => {}
            NotCandidate::Static if lint::has_dynamic_section(editor.bytes()) => {
                self.warn("no loader finds its .dynamic, PT_DYNAMIC is missing; it is left as it is");
            }
            NotCandidate::Static => {
                const WORDS: &str = "cannot find section '.dynamic'. The input file is most likely statically linked";
                return Err(Failure::Words(WORDS));
            }
            _ => return Err(Failure::Words("wrong ELF type")),
        }
        if let Some(output) = self.request.output.as_deref() {
            editor.commit(&[], Target::Output(output))?;
        }
        Ok(())
    }

    fn print(&mut self, image: &Image<'_>) -> Result<(), Failure> {
        if self.request.print.interpreter {
            const WORDS: &str = "cannot find section '.interp'. The input file is most likely statically linked";
            self.line(image.interpreter().ok_or(Failure::Words(WORDS))?)?;
        }
        if self.request.print.soname {
            match image.soname() {
                Some(name) => self.line(name)?,
                None => self.debug(format_args!("no DT_SONAME found")),
            }
        }
        if self.request.print.rpath {
            self.line(image.search_path().map_or(&b""[..], |(_, path)| path))?;
        }
        Ok(())
    }

    fn changes(&mut self, image: &Image<'_>) -> Result<Vec<Change>, Failure> {
        let now = image.search_paths();
        let old = now.effective().map(|(_, path)| path);
        let new = match (&self.request.edit, old) {
            (None, _) => return Ok(Vec::new()),
            (Some(Edit::Remove), _) => return Ok(Change::between(&now, None, NoteChange::Drop)),
            (Some(Edit::Shrink), None) => Vec::new(),
            (Some(Edit::Shrink), Some(old)) => {
                let needed: Vec<&[u8]> = image.needed().collect();
                shrunk(old, &needed, &self.request.allowed_prefixes, |directory, name| {
                    holds_library(directory, name, image)
                })
            }
            (Some(Edit::Add(last)), old) => appended(old.unwrap_or_default(), last),
            (Some(Edit::Set(path)), _) => path.clone(),
        };
        if old.is_none() && new.is_empty() {
            return Ok(Vec::new());
        }
        let tag = if self.request.force_rpath { Tag::Rpath } else { Tag::Runpath };
        // patchelf drops a note at every edit; whoever wants one asks for it.
        let changes = Change::between(&now, Some((tag, &new)), NoteChange::Drop);
        if !changes.is_empty() {
            self.debug(format_args!("new rpath is '{}'", String::from_utf8_lossy(&new)));
            if !new.is_empty() && entries(&new).any(<[u8]>::is_empty) {
                self.warn("the new search path has an empty entry, which loaders take for the current directory");
            }
        }
        Ok(changes)
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let shown =
            if self.request.for_terminal { Cow::Owned(harmless(bytes).into_bytes()) } else { Cow::Borrowed(bytes) };
        let written = self.out.write_all(&shown).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| Failure::Error(Error::io("cannot print")(error)))
    }

    fn debug(&mut self, what: std::fmt::Arguments<'_>) {
        if self.request.debug {
            let _ = writeln!(self.errors, "{what}");
        }
    }

    fn warn(&mut self, what: &str) {
        let _ = writeln!(self.errors, "patchelf: {}: warning: {what}", self.file.display());
    }
}

/// What ended a job: an error of ours, or one that callers know in patchelf's words.
enum Failure {
    Error(Error),
    Words(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
