//! The command: what the user says becomes options of the library, and its report becomes text.

#![forbid(unsafe_code)]

mod cli;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use clap::error::ErrorKind;
use driver_runpath::audit;
use driver_runpath::check::{self, StubRule, check};
use driver_runpath::decide::PathOperation;
use driver_runpath::explain::{self, explain};
use driver_runpath::fix::{self, Stubs, fix};
use driver_runpath::gpu_code::{self, Requirement};
use driver_runpath::patchelf::{self, Reader};
use driver_runpath::report::{
    AuditView, CheckView, Folded, Mending, Printed, Rigour, Status, Told, Verbosity, audit_json, audit_text,
    check_json, check_text, error_line, explain_json, explain_text, fix_json, fix_text, gpu_code_json, gpu_code_text,
    printable, printed, runpath_text,
};
use driver_runpath::runpath;
use driver_runpath::sysroot::Sysroot;

use cli::arguments::{Relative, Takes, all_there, directory, driver_dirs, is_stdout, quoted, search_path};
use cli::audit::Audit;
use cli::gpu_code::GpuCode;
use cli::options::{
    depth, durability, exclude, force, mending, names, new_path, presentation, protection, screen, warn_of_unused,
};
use cli::progress::Progress;
use cli::runpath::Action;
use cli::trees::TreeOptions;
use cli::{Check, Cli, Color, Command, Explain, Fix, kept};

fn main() -> ExitCode {
    driver_runpath::outlive_truncation();
    let mut arguments = std::env::args_os().peekable();
    let by_name = arguments.next().is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new("patchelf")));
    // Programs that resolve a link called patchelf before they start it call us by our own name.
    if by_name || arguments.peek().is_some_and(|first| patchelf::is_flag(first)) {
        return run_patchelf(arguments);
    }
    let Cli { color, command } = parsed();
    let done = match command {
        Command::Fix(command) => run_fix(command, color),
        Command::Check(command) => run_check(command, color),
        Command::Explain(command) => run_explain(command, color),
        Command::Audit(command) => run_audit(command, color),
        Command::GpuCode(command) => run_gpu_code(command, color),
        Command::Runpath(command) => run_runpath(command.action),
        Command::Patchelf { arguments } => return run_patchelf(arguments),
        Command::Completions { shell } => printed_kept(|out| Ok(out.write_all(kept::completions(shell).as_bytes())?)),
        Command::Man { dir } => printed_kept(|out| kept::manual(dir.as_deref(), out)),
    };
    match done {
        Ok(status) => ExitCode::from(status.code()),
        // A closed pipe is not an error to report.
        Err(error) if is_closed_pipe(&error) => ExitCode::from(Status::Error.code()),
        Err(error) => {
            // Standard error may be full or closed: the exit status still tells.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(Status::Error.code())
        }
    }
}

/// The command line. A mistake ends the run, with what was meant where that is known.
fn parsed() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let words: Vec<OsString> = std::env::args_os().skip(1).take(2).collect();
        if error.kind() == ErrorKind::MissingRequiredArgument && words == ["runpath", "remove"] {
            let _ = error.print();
            eprintln!("\n\"runpath clear FILE...\" takes the whole search path away.");
            std::process::exit(error.exit_code());
        }
        error.exit()
    })
}

fn printed_kept(print: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<Status> {
    let (mut out, _) = outputs();
    print(&mut out)?;
    out.flush()?;
    Ok(Status::Good)
}

fn run_fix(command: Fix, color: Color) -> anyhow::Result<Status> {
    let selection = command.selection;
    let force = force(command.force_rpath, command.force_runpath);
    all_there(&selection.paths, Takes::Trees)?;
    let relative = Relative::of(command.allow_relative);
    let prepend =
        command.prepend.into_iter().map(|path| directory(path, relative)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut options = fix::Options::default();
    options.names = names(&selection.driver);
    options.driver_dirs = driver_dirs(&selection.driver, &options.names)?;
    (options.prepend, options.force) = (prepend, force);
    (options.all, options.dry_run) = (command.all, command.dry_run);
    options.stubs = if command.drop_stubs { Stubs::Drop } else { Stubs::Stay };
    options.depth = depth(&selection.tree, screen(color));
    options.durability = durability(command.sync);
    options.exclude = exclude(&selection.tree.exclude)?;
    options.protection = protection(command.break_links);
    let report = {
        let _progress = Progress::start(&options.watch);
        fix(&selection.paths, &options)
    };
    let presentation = presentation(&selection.tree, screen(color));
    warn_of_unused(&options.exclude, &selection.paths, presentation.verbosity);
    let damaged = presentation.damaged;
    show(
        &selection.tree,
        report.status(damaged),
        || fix_json(&report, damaged),
        |mut out, mut errors| fix_text(&report, &presentation, &mut out, &mut errors),
    )
}

fn run_check(command: Check, color: Color) -> anyhow::Result<Status> {
    let selection = command.selection;
    let mut options = check::Options::default();
    options.names = names(&selection.driver);
    options.exclude = exclude(&selection.tree.exclude)?;
    options.driver_dirs = driver_dirs(&selection.driver, &options.names)?;
    options.stubs = if command.no_stubs { StubRule::Forbidden } else { StubRule::Noted };
    let report = {
        let _progress = Progress::start(&options.watch);
        check(&selection.paths, &options)
    };
    let presentation = presentation(&selection.tree, screen(color));
    let stubs: &[&str] = if command.no_stubs { &["--drop-stubs"] } else { &[] };
    let commands = Mending {
        in_place: mending(&selection, stubs),
        by_copies: mending(&selection, &[stubs, &["--break-links"]].concat()),
    };
    let view = if command.failing { CheckView::Failing } else { CheckView::All };
    warn_of_unused(&options.exclude, &selection.paths, presentation.verbosity);
    let damaged = presentation.damaged;
    show(
        &selection.tree,
        report.status(damaged),
        || check_json(&report, damaged),
        |mut out, mut errors| check_text(&report, &commands, view, &presentation, &mut out, &mut errors),
    )
}

/// Prints a report, as JSON or as text for `out` and for standard error. `status` is that of the work, which is done
/// whatever becomes of the report.
fn show(
    tree: &TreeOptions,
    status: Status,
    json: impl FnOnce() -> serde_json::Result<String>,
    text: impl FnOnce(&mut dyn Write, &mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<Status> {
    let print = || {
        let (mut out, mut errors) = outputs();
        match tree.json {
            true => writeln!(out, "{}", json()?)?,
            false => text(&mut out, &mut errors)?,
        }
        Ok(out.flush()?)
    };
    match print() {
        // A closed pipe is not an error to report.
        Err(error) if is_closed_pipe(&error) => Ok(status),
        printed => printed.map(|()| status).context("the work is done, but the report cannot be written"),
    }
}

fn run_explain(command: Explain, color: Color) -> anyhow::Result<Status> {
    let sysroot = match &command.sysroot {
        Some(dir) => Sysroot::at(dir).with_context(|| format!("--sysroot {}", dir.display()))?,
        None => Sysroot::default(),
    };
    let library_path = std::env::var_os("LD_LIBRARY_PATH").filter(|_| !sysroot.is_other());
    let options = explain::Options {
        sysroot,
        loaded_by: command.loaded_by,
        names: names(&command.driver),
        driver_dirs: driver_dirs(&command.driver, &names(&command.driver))?,
        library_path: library_path.map(OsString::into_vec),
    };
    let (out, mut errors) = outputs();
    let mut out = Folded::new(screen(color).filter(|_| !command.json), out);
    let mut worst = Status::Good;
    for (index, file) in command.files.iter().enumerate() {
        if file.is_dir() {
            let name = printable(file.as_os_str().as_encoded_bytes());
            writeln!(
                errors,
                "error: {name}: a directory, and explain looks at single files: driver-runpath check {}",
                quoted(file.as_os_str())
            )?;
            worst = Status::Error;
            continue;
        }
        match explain(file, &options) {
            Ok(explanation) if command.json => writeln!(out, "{}", explain_json(&explanation)?)?,
            Ok(explanation) => {
                if index > 0 {
                    writeln!(out)?;
                }
                explain_text(&explanation, &mut out)?;
            }
            Err((path, error)) => {
                error_line(&path, &error, &mut errors)?;
                worst = Status::Error;
            }
        }
    }
    out.flush()?;
    Ok(worst)
}

fn run_audit(command: Audit, color: Color) -> anyhow::Result<Status> {
    let pattern = |text: &String| glob::Pattern::new(text).map_err(|why| anyhow!("--ignore {text}: {why}"));
    let names = names(&command.driver);
    let options = audit::Options {
        exclude: exclude(&command.tree.exclude)?,
        driver_dirs: driver_dirs(&command.driver, &names)?,
        ignore: command.ignore.iter().map(pattern).collect::<anyhow::Result<_>>()?,
        expect: command.expect,
        names,
    };
    let watch = Arc::default();
    let report = {
        let _progress = Progress::start(&watch);
        audit::audit(&command.paths, &options, &watch)
    };
    let view = AuditView {
        names: if command.missing { Told::Missing } else { Told::All },
        rigour: if command.strict { Rigour::Strict } else { Rigour::Lax },
    };
    let presentation = presentation(&command.tree, None);
    let damaged = presentation.damaged;
    warn_of_unused(&options.exclude, &command.paths, presentation.verbosity);
    show(
        &command.tree,
        report.status(damaged, view),
        || audit_json(&report, view, damaged),
        |out, mut errors| {
            let mut out = Folded::new(screen(color), out);
            audit_text(&report, view, &presentation, &mut out, &mut errors)?;
            out.flush()
        },
    )
}

fn run_gpu_code(command: GpuCode, color: Color) -> anyhow::Result<Status> {
    let required: Result<Vec<Requirement>, String> = command.require.iter().map(|wish| wish.parse()).collect();
    let required = required.map_err(|why| anyhow!("--require {why}"))?;
    let exclude = exclude(&command.tree.exclude)?;
    let watch = Arc::default();
    let report = {
        let _progress = Progress::start(&watch);
        gpu_code::scan(&command.paths, &exclude, &required, &watch)
    };
    let presentation = presentation(&command.tree, None);
    let damaged = presentation.damaged;
    warn_of_unused(&exclude, &command.paths, presentation.verbosity);
    show(
        &command.tree,
        report.status(damaged),
        || gpu_code_json(&report, damaged),
        |out, mut errors| {
            let mut out = Folded::new(screen(color), out);
            gpu_code_text(&report, &presentation, &mut out, &mut errors)?;
            out.flush()
        },
    )
}

fn outputs() -> (impl Write, impl Write) {
    (BufWriter::new(io::stdout().lock()), io::stderr().lock())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run_runpath(action: Action) -> anyhow::Result<Status> {
    let (operation, edit) = match action {
        Action::Print { files } => return print_runpaths(&files),
        Action::Set(with) => (PathOperation::Set(new_path(with.path, "set", with.allow_relative)?), with.edit),
        Action::Prepend(with) => {
            (PathOperation::Prepend(new_path(with.path, "prepend", with.allow_relative)?), with.edit)
        }
        Action::Append(with) => (PathOperation::Append(new_path(with.path, "append", with.allow_relative)?), with.edit),
        Action::Remove { dir, edit } => (PathOperation::Remove(search_path(dir, "remove", "DIR")?), edit),
        Action::Clear(edit) => (PathOperation::Clear, edit),
        Action::Shrink { allowed_prefix, edit } => {
            let allowed_prefixes = allowed_prefix.into_iter().map(OsString::into_vec).collect();
            (PathOperation::Shrink { allowed_prefixes }, edit)
        }
    };
    if edit.output.is_some() && edit.files.len() != 1 {
        bail!("--output is for one FILE, {} are given", edit.files.len());
    }
    all_there(&edit.files, Takes::Files)?;
    let options = runpath::Options {
        operation,
        force: force(edit.force_rpath, edit.force_runpath),
        output: edit.output,
        dry_run: edit.dry_run,
        protection: protection(edit.break_links),
        durability: durability(edit.sync),
    };
    // Looked at before an output takes that name.
    let to_stdout = options.output.as_deref().is_some_and(is_stdout);
    let report = runpath::run(&edit.files, &options);
    let (mut out, mut errors) = outputs();
    let verbosity = if edit.quiet { Verbosity::Errors } else { Verbosity::Lines };
    if to_stdout {
        runpath_text(&report, verbosity, &mut io::stderr(), &mut errors)?;
    } else {
        runpath_text(&report, verbosity, &mut out, &mut errors)?;
    }
    out.flush()?;
    Ok(report.status())
}

fn print_runpaths(files: &[PathBuf]) -> anyhow::Result<Status> {
    let (mut out, mut errors) = outputs();
    let how = match (files.len() > 1 || files.iter().any(|file| file.is_dir()), io::stdout().is_terminal()) {
        (true, _) => Printed::WithName,
        (false, true) => Printed::Harmless,
        (false, false) => Printed::Bytes,
    };
    let found = files.iter().flat_map(|file| match file.is_dir() {
        true => runpath::print_tree(file),
        false => vec![(file.clone(), runpath::print(file))],
    });
    let mut worst = Status::Good;
    for (file, found) in found {
        worst = worst.max(printed(&file, &found, how, &mut out, &mut errors)?);
    }
    out.flush()?;
    Ok(worst)
}

fn run_patchelf(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (mut out, mut errors) = outputs();
    let reader = if io::stdout().is_terminal() { Reader::Terminal } else { Reader::Program };
    ExitCode::from(patchelf::run(arguments, reader, &mut out, &mut errors))
}
