//! What the user may say to `runpath`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  driver-runpath runpath print lib/libfoo.so
  driver-runpath runpath append '$ORIGIN/../lib' lib/libfoo.so
  driver-runpath runpath remove /old/lib bin/*
  driver-runpath runpath clear bin/program";

// Options of `runpath`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Runpath {
    /// What is done.
    #[command(subcommand)]
    pub action: Action,
}

// The operations.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Action {
    /// Print the search path; of several files, with their names and the tag.
    Print {
        /// The files; of a directory, all dynamic files in it.
        #[arg(required = true, value_name = "PATH")]
        files: Vec<PathBuf>,
    },
    /// Set the search path to PATH, directories with colons between them.
    Set(WithPath),
    /// Put the directories of PATH first.
    Prepend(WithPath),
    /// Put the directories of PATH last, but for those that are there already.
    Append(WithPath),
    /// Take directories out of the search path; what is left of it stays. "clear" takes all of it away.
    Remove {
        /// The directory, spelled as in the search path; several with colons between them.
        #[arg(value_name = "DIR")]
        dir: OsString,

        #[command(flatten)]
        #[allow(missing_docs)]
        edit: Edit,
    },
    /// Take the whole search path away, DT_RPATH and DT_RUNPATH.
    Clear(Edit),
    /// Drop the absolute directories in which nothing is found that the file needs.
    Shrink {
        /// Drop directories that do not start with PREFIX, too. Can be repeated.
        #[arg(long, value_name = "PREFIX")]
        allowed_prefix: Vec<OsString>,
        #[command(flatten)]
        #[allow(missing_docs)]
        edit: Edit,
    },
}

// An operation with a value.
#[derive(Debug, Args)]
pub struct WithPath {
    /// Directories with colons between them.
    #[arg(value_name = "PATH")]
    pub path: OsString,

    /// Take relative directories, too: the loader searches them from wherever the program runs.
    #[arg(long)]
    pub allow_relative: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub edit: Edit,
}

// Options of all operations that change files.
#[derive(Debug, Args)]
pub struct Edit {
    /// The files. Links are followed.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Write the result there, whether it is different or not, and leave FILE as it is.
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Option<PathBuf>,

    /// Do everything but write.
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Use DT_RPATH, whatever the file has.
    #[arg(long, conflicts_with = "force_runpath")]
    pub force_rpath: bool,

    /// Use DT_RUNPATH, whatever the file has.
    #[arg(long)]
    pub force_runpath: bool,

    /// Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy.
    #[arg(long, conflicts_with = "output")]
    pub break_links: bool,

    /// Write each step to the disk before the next, so that a power failure loses nothing either.
    #[arg(long)]
    pub sync: bool,

    /// Errors alone.
    #[arg(short, long)]
    pub quiet: bool,
}
