//! The command: what the user says becomes options of the library, and its report becomes text.

#![forbid(unsafe_code)]

mod cli;
mod progress;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Parser, ValueEnum};
use driver_runpath::apply::Durability;
use driver_runpath::audit;
use driver_runpath::check::check;
use driver_runpath::decide::{Policy, Tag};
use driver_runpath::detect::{self, DriverNames};
use driver_runpath::explain::{self, explain};
use driver_runpath::fix::{self, DriverDirs, fix};
use driver_runpath::gpu_code::{self, Requirement};
use driver_runpath::links::Protection;
use driver_runpath::patchelf;
use driver_runpath::report::{
    AuditView, Leniency, Rigour, Screen, Status, Told, Verbosity, Voice, audit_json, audit_text, check_json,
    check_text, error_line, explain_json, explain_text, fix_json, fix_text, gpu_code_json, gpu_code_text, printed,
    runpath_text,
};
use driver_runpath::runpath::{self, Operation, tidy};
use driver_runpath::sysroot::Sysroot;
use driver_runpath::walk::Exclude;

use progress::Progress;

use cli::audit::Audit;
use cli::gpu_code::GpuCode;
use cli::runpath::{Action, WithPath};
use cli::telling::Telling;
use cli::{Check, Cli, Command, Explain, Fix, Group, Names, Selection};

/// Where NixOS links the running driver.
const DRIVER_LINK: &str = "/run/opengl-driver";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new("patchelf"))) {
        return run_patchelf(arguments);
    }
    let done = match Cli::parse().command {
        Command::Fix(command) => run_fix(command),
        Command::Check(command) => run_check(command),
        Command::Explain(command) => run_explain(command),
        Command::Audit(command) => run_audit(command),
        Command::GpuCode(command) => run_gpu_code(command),
        Command::Runpath(command) => run_runpath(command.action),
        Command::Patchelf { arguments } => return run_patchelf(arguments),
    };
    match done {
        Ok(status) => ExitCode::from(status.code()),
        // Who closed the pipe wants to hear no more.
        Err(error) if is_closed_pipe(&error) => ExitCode::from(Status::Error.code()),
        Err(error) => {
            // Standard error may be full or closed: the exit status still tells.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(Status::Error.code())
        }
    }
}

fn run_fix(command: Fix) -> anyhow::Result<Status> {
    let selection = command.selection;
    let force = force(command.force_rpath, command.force_runpath);
    let prepend = command.prepend.into_iter().map(directory).collect::<anyhow::Result<Vec<_>>>()?;
    let options = fix::Options {
        names: names(&selection.names),
        driver_dirs: driver_dirs(selection.driver_link.clone())?,
        policy: Policy { driver_dir: Vec::new(), prepend, force },
        all: command.all,
        // Only a line of -v and the JSON document would show them.
        find_names: selection.verbose || command.json,
        dry_run: command.dry_run,
        durability: durability(command.sync),
        exclude: exclude(&selection)?,
        looked_at: Arc::default(),
        protection: Protection { store: store_to_protect(), break_links: command.break_links },
    };
    let report = {
        let _progress = Progress::start(&options.looked_at);
        fix(&selection.paths, &options)
    };
    let voice = voice(&selection);
    let told = || {
        let (mut out, mut errors) = outputs();
        if command.json {
            writeln!(out, "{}", fix_json(&report, leniency(&selection))?)?;
        } else {
            fix_text(&report, &voice, &mut out, &mut errors)?;
        }
        Ok(out.flush()?)
    };
    ended(told(), report.status(leniency(&selection)))
}

fn run_check(command: Check) -> anyhow::Result<Status> {
    let selection = command.selection;
    let looked_at = Arc::default();
    let report = {
        let _progress = Progress::start(&looked_at);
        check(
            &selection.paths,
            &exclude(&selection)?,
            &names(&selection.names),
            &driver_dirs(selection.driver_link.clone())?,
            &looked_at,
        )
    };
    let voice = voice(&selection);
    let told = || {
        let (mut out, mut errors) = outputs();
        if command.json {
            writeln!(out, "{}", check_json(&report, leniency(&selection))?)?;
        } else {
            check_text(&report, &mending(&selection), &voice, &mut out, &mut errors)?;
        }
        Ok(out.flush()?)
    };
    ended(told(), report.status(leniency(&selection)))
}

/// The status of work that is done, whatever became of the report.
fn ended(told: anyhow::Result<()>, status: Status) -> anyhow::Result<Status> {
    match told {
        // Who closed the pipe wants to hear no more.
        Err(error) if is_closed_pipe(&error) => Ok(status),
        told => told.map(|()| status).context("the work is done, but the report cannot be written"),
    }
}

fn run_explain(command: Explain) -> anyhow::Result<Status> {
    let sysroot = match &command.sysroot {
        Some(dir) => Sysroot::at(dir).with_context(|| format!("--sysroot {}", dir.display()))?,
        None => Sysroot::default(),
    };
    let library_path = std::env::var_os("LD_LIBRARY_PATH").filter(|_| !sysroot.is_other());
    let options = explain::Options {
        sysroot,
        loaded_by: command.loaded_by,
        names: names(&command.names),
        driver_dirs: driver_dirs(command.driver_link)?,
        library_path: library_path.map(OsString::into_vec),
    };
    let (mut out, mut errors) = outputs();
    let explanation = match explain(&command.file, &options) {
        Ok(explanation) => explanation,
        Err((path, error)) => {
            error_line(&path, &error, &mut errors)?;
            return Ok(Status::Error);
        }
    };
    if command.json {
        writeln!(out, "{}", explain_json(&explanation)?)?;
    } else {
        explain_text(&explanation, &mut out)?;
    }
    out.flush()?;
    Ok(Status::Good)
}

fn run_audit(command: Audit) -> anyhow::Result<Status> {
    let pattern = |text: &String| glob::Pattern::new(text).map_err(|why| anyhow!("--ignore {text}: {why}"));
    let options = audit::Options {
        exclude: exclude_of(&command.telling)?,
        names: names(&command.names),
        driver_dirs: driver_dirs(command.driver_link)?,
        ignore: command.ignore.iter().map(pattern).collect::<anyhow::Result<_>>()?,
        expect: command.expect,
    };
    let looked_at = Arc::default();
    let report = {
        let _progress = Progress::start(&looked_at);
        audit::audit(&command.paths, &options, &looked_at)
    };
    let view = AuditView {
        names: if command.missing { Told::Missing } else { Told::All },
        rigour: if command.strict { Rigour::Strict } else { Rigour::Lax },
    };
    let voice = voice_of(&command.telling);
    let leniency = voice.leniency;
    let (mut out, mut errors) = outputs();
    if command.telling.json {
        writeln!(out, "{}", audit_json(&report, view, leniency)?)?;
    } else {
        audit_text(&report, view, &voice, &mut out, &mut errors)?;
    }
    out.flush()?;
    Ok(report.status(leniency, view))
}

fn run_gpu_code(command: GpuCode) -> anyhow::Result<Status> {
    let required: Result<Vec<Requirement>, String> = command.require.iter().map(|wish| wish.parse()).collect();
    let required = required.map_err(|why| anyhow!("--require {why}"))?;
    let exclude = exclude_of(&command.telling)?;
    let looked_at = Arc::default();
    let report = {
        let _progress = Progress::start(&looked_at);
        gpu_code::survey(&command.paths, &exclude, &required, &looked_at)
    };
    let voice = voice_of(&command.telling);
    let leniency = voice.leniency;
    let (mut out, mut errors) = outputs();
    if command.telling.json {
        writeln!(out, "{}", gpu_code_json(&report, leniency)?)?;
    } else {
        gpu_code_text(&report, &voice, &mut out, &mut errors)?;
    }
    out.flush()?;
    Ok(report.status(leniency))
}

fn exclude_of(telling: &Telling) -> anyhow::Result<Exclude> {
    Exclude::new(telling.exclude.clone()).map_err(|why| anyhow!("--exclude {why}"))
}

fn voice_of(telling: &Telling) -> Voice {
    let leniency = if telling.skip_damaged { Leniency::SkipDamaged } else { Leniency::None };
    Voice { verbosity: verbosity(telling.verbose, telling.quiet), leniency, screen: None }
}

fn names(wanted: &Names) -> DriverNames {
    let names = DriverNames::new(wanted.driver_libs.clone());
    wanted.groups.iter().fold(names, |names, group| match group {
        Group::Graphics => names.with(detect::Group::Graphics),
    })
}

fn exclude(selection: &Selection) -> anyhow::Result<Exclude> {
    Exclude::new(selection.exclude.clone()).map_err(|why| anyhow!("--exclude {why}"))
}

fn outputs() -> (impl Write, impl Write) {
    (BufWriter::new(io::stdout().lock()), io::stderr().lock())
}

fn voice(selection: &Selection) -> Voice {
    Voice { verbosity: verbosity(selection.verbose, selection.quiet), leniency: leniency(selection), screen: screen() }
}

/// The terminal that the report goes to.
fn screen() -> Option<Screen> {
    const USUAL: usize = 80;
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
    let colours = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
    Some(Screen { columns: if columns == 0 { USUAL } else { columns }, colours })
}

/// The command that mends what `check` of the same selection found.
fn mending(selection: &Selection) -> String {
    let Selection { paths, driver_link, names, exclude, skip_damaged, quiet: _, verbose: _ } = selection;
    let Names { driver_libs, groups } = names;
    let mut words: Vec<OsString> = ["driver-runpath", "fix"].map(OsString::from).to_vec();
    let mut option = |name: &str, value: &OsStr| words.extend([OsString::from(name), value.to_owned()]);
    driver_link.iter().for_each(|link| option("--driver-link", link));
    driver_libs.iter().for_each(|lib| option("--driver-lib", OsStr::new(lib)));
    exclude.iter().for_each(|glob| option("--exclude", OsStr::new(glob)));
    let group_names = groups.iter().filter_map(ValueEnum::to_possible_value);
    group_names.for_each(|group| option("--group", OsStr::new(group.get_name())));
    words.extend(skip_damaged.then(|| OsString::from("--skip-damaged")));
    words.extend(paths.iter().any(|path| path.as_os_str().as_encoded_bytes().starts_with(b"-")).then(|| "--".into()));
    words.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    // A word with a NUL byte cannot have come from a command line.
    let quoted = shlex::bytes::try_join(words.iter().map(|word| word.as_encoded_bytes()));
    String::from_utf8_lossy(&quoted.unwrap_or_default()).into_owned()
}

fn leniency(selection: &Selection) -> Leniency {
    if selection.skip_damaged { Leniency::SkipDamaged } else { Leniency::None }
}

fn verbosity(verbose: bool, quiet: u8) -> Verbosity {
    match (verbose, quiet) {
        (true, _) => Verbosity::All,
        (false, 0) => Verbosity::Lines,
        (false, 1) => Verbosity::Summary,
        (false, _) => Verbosity::Errors,
    }
}

/// `DIR/lib`, and for 32-bit x86 what NixOS has beside it; a link that the user gives serves both.
fn driver_dirs(link: Option<OsString>) -> anyhow::Result<DriverDirs> {
    let lib = |link: &OsStr| match link.is_empty() {
        true => bail!("--driver-link: an empty name"),
        false => directory(Path::new(link).join("lib").into_os_string()),
    };
    Ok(match link {
        Some(link) => DriverDirs { native: lib(&link)?, i386: lib(&link)? },
        None => {
            DriverDirs { native: lib(OsStr::new(DRIVER_LINK))?, i386: lib(OsStr::new(&format!("{DRIVER_LINK}-32")))? }
        }
    })
}

/// A directory as an entry of a search path.
fn directory(path: OsString) -> anyhow::Result<Vec<u8>> {
    let shown = path.display().to_string();
    // A relative directory is searched from wherever the program runs: a way to load somebody else's library.
    if !path.is_empty() && !matches!(path.as_encoded_bytes().first(), Some(b'/' | b'$')) {
        bail!("{shown}: not an absolute directory, and none that starts with $ORIGIN");
    }
    let path = path.into_vec();
    if path.is_empty() {
        bail!("an empty directory would mean the current one");
    }
    if path.contains(&b':') {
        bail!("{shown}: a search path cannot hold a directory with a colon in its name");
    }
    Ok(path)
}

/// The Nix store, unless this runs in a build, which writes its own outputs there.
fn store_to_protect() -> Option<PathBuf> {
    let in_build = std::env::var_os("NIX_BUILD_TOP").is_some();
    let store = std::env::var_os("NIX_STORE_DIR").unwrap_or_else(|| "/nix/store".into());
    (!in_build).then(|| PathBuf::from(store))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run_runpath(action: Action) -> anyhow::Result<Status> {
    let (operation, edit) = match action {
        Action::Print { files } => return print_runpaths(&files),
        Action::Set(WithPath { path, edit }) => (Operation::Set(search_path(path)?), edit),
        Action::Prepend(WithPath { path, edit }) => (Operation::Prepend(search_path(path)?), edit),
        Action::Append(WithPath { path, edit }) => (Operation::Append(search_path(path)?), edit),
        Action::Remove(edit) => (Operation::Remove, edit),
        Action::Shrink { allowed_prefix, edit } => {
            let allowed_prefixes = allowed_prefix.into_iter().map(OsString::into_vec).collect();
            (Operation::Shrink { allowed_prefixes }, edit)
        }
    };
    if edit.output.is_some() && edit.files.len() != 1 {
        bail!("--output is for one FILE, {} are given", edit.files.len());
    }
    let options = runpath::Options {
        operation,
        force: force(edit.force_rpath, edit.force_runpath),
        output: edit.output,
        dry_run: edit.dry_run,
        protection: Protection { store: store_to_protect(), break_links: edit.break_links },
        durability: durability(edit.sync),
    };
    let report = runpath::run(&edit.files, &options);
    let (mut out, mut errors) = outputs();
    let verbosity = if edit.quiet { Verbosity::Errors } else { Verbosity::Lines };
    runpath_text(&report, verbosity, &mut out, &mut errors)?;
    out.flush()?;
    Ok(report.status())
}

fn print_runpaths(files: &[PathBuf]) -> anyhow::Result<Status> {
    let (mut out, mut errors) = outputs();
    let mut worst = Status::Good;
    for file in files {
        worst = worst.max(printed(file, &runpath::print(file), files.len() > 1, &mut out, &mut errors)?);
    }
    out.flush()?;
    Ok(worst)
}

/// The value of `runpath set` and its siblings.
fn search_path(path: OsString) -> anyhow::Result<Vec<u8>> {
    let value = path.into_vec();
    if tidy(&value).is_empty() {
        bail!("PATH names no directory; \"runpath remove\" takes a search path away");
    }
    Ok(value)
}

fn run_patchelf(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (mut out, mut errors) = outputs();
    ExitCode::from(patchelf::run(arguments, &mut out, &mut errors))
}

fn durability(sync: bool) -> Durability {
    if sync { Durability::Power } else { Durability::Process }
}

fn force(rpath: bool, runpath: bool) -> Option<Tag> {
    match (rpath, runpath) {
        (true, _) => Some(Tag::Rpath),
        (_, true) => Some(Tag::Runpath),
        _ => None,
    }
}
