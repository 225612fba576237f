//! From what the user said to the options of the library, and to how the report looks.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum;
use driver_runpath::decide::Tag;
use driver_runpath::detect::{self, Depth, DriverNames};
use driver_runpath::edit::{Durability, HardLinks, Protection};
use driver_runpath::report::{Damaged, Presentation, Screen, Verbosity, printable};
use driver_runpath::walk::Exclude;

use super::arguments::{Relative, none_relative, quoted, search_path};
use super::trees::TreeOptions;
use super::{Color, Driver, Group, Selection};

pub fn names(wanted: &Driver) -> DriverNames {
    let names = DriverNames::new(wanted.driver_libs.clone());
    wanted.groups.iter().fold(names, |names, group| match group {
        Group::Graphics => names.with(detect::Group::Graphics),
    })
}

pub fn exclude(patterns: &[String]) -> anyhow::Result<Exclude> {
    Exclude::new(patterns.iter().cloned()).map_err(|why| anyhow!("--exclude {why}"))
}

/// A pattern that is spelled wrong would leave files to be edited that it was meant for.
pub fn warn_of_unused(exclude: &Exclude, paths: &[PathBuf], verbosity: Verbosity) {
    // Files that are named are not excluded.
    if exclude.is_empty() || verbosity == Verbosity::Errors || !paths.iter().any(|path| path.is_dir()) {
        return;
    }
    for pattern in exclude.unused() {
        let _ = writeln!(
            io::stderr(),
            "warning: --exclude {} matches nothing in the directories given",
            printable(pattern.as_bytes())
        );
    }
}

pub fn presentation(tree: &TreeOptions, screen: Option<Screen>) -> Presentation {
    let damaged = if tree.skip_damaged { Damaged::Skip } else { Damaged::Fail };
    Presentation { verbosity: verbosity(tree), damaged, screen }
}

/// As much evidence as the report shows: what it shows is worth the time that it takes, and a person wants the best
/// reason, not the first one.
pub fn depth(tree: &TreeOptions, screen: Option<Screen>) -> Depth {
    match verbosity(tree) {
        _ if tree.json => Depth::FirstName,
        Verbosity::All if screen.is_none() => Depth::FirstName,
        Verbosity::All => Depth::All,
        Verbosity::Lines if screen.is_some() => Depth::All,
        _ => Depth::First,
    }
}

/// The terminal that the report goes to.
pub fn screen(color: Color) -> Option<Screen> {
    const USUAL: usize = 80;
    let out = io::stdout();
    // With --color=always a pipe is taken to end at a terminal.
    let columns = columns(&out).or((color == Color::Always).then_some(USUAL))?;
    let colours = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never,
    };
    Some(Screen { columns, colours })
}

/// How wide a terminal is. One that does not say is a log: Nix, for one, gives such a terminal to builders.
pub fn columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let columns = || usize::from(rustix::termios::tcgetwinsize(stream).ok()?.ws_col).into();
    stream.is_terminal().then(columns).flatten().filter(|columns| *columns > 0)
}

/// The command that mends what `check` of the same selection found, as a shell reads it.
pub fn mending(selection: &Selection, options: &[&str]) -> String {
    let Selection { paths, driver, tree } = selection;
    let TreeOptions { exclude, skip_damaged, quiet: _, verbose: _, json: _ } = tree;
    let Driver { driver_link, driver_libs, groups } = driver;
    let mut words: Vec<OsString> = ["driver-runpath", "fix"].iter().chain(options).map(OsString::from).collect();
    let mut option = |name: &str, value: &OsStr| words.extend([OsString::from(name), value.to_owned()]);
    driver_link.iter().for_each(|link| option("--driver-link", link));
    driver_libs.iter().for_each(|lib| option("--driver-lib", OsStr::new(lib)));
    exclude.iter().for_each(|glob| option("--exclude", OsStr::new(glob)));
    let group_names = groups.iter().filter_map(ValueEnum::to_possible_value);
    group_names.for_each(|group| option("--group", OsStr::new(group.get_name())));
    words.extend(skip_damaged.then(|| OsString::from("--skip-damaged")));
    words.extend(paths.iter().any(|path| path.as_os_str().as_encoded_bytes().starts_with(b"-")).then(|| "--".into()));
    words.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn verbosity(tree: &TreeOptions) -> Verbosity {
    match (tree.verbose, tree.quiet) {
        (true, _) => Verbosity::All,
        (false, 0) => Verbosity::Lines,
        (false, 1) => Verbosity::Summary,
        (false, _) => Verbosity::Errors,
    }
}

pub fn protection(break_links: bool) -> Protection {
    Protection::default().with_links(if break_links { HardLinks::Break } else { HardLinks::Refuse })
}

pub fn durability(sync: bool) -> Durability {
    if sync { Durability::Power } else { Durability::Process }
}

pub fn force(rpath: bool, runpath: bool) -> Option<Tag> {
    match (rpath, runpath) {
        (true, _) => Some(Tag::Rpath),
        (_, true) => Some(Tag::Runpath),
        _ => None,
    }
}

/// The value of `runpath set` and its siblings.
pub fn new_path(path: OsString, operation: &str, allow_relative: bool) -> anyhow::Result<Vec<u8>> {
    let path = search_path(path, operation, "PATH")?;
    none_relative(&path, Relative::of(allow_relative))?;
    Ok(path)
}
