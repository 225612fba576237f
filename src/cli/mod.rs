//! What the user may say.

pub mod arguments;
pub mod audit;
pub mod gpu_code;
pub mod kept;
pub mod options;
pub mod progress;
pub mod runpath;
pub mod trees;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use trees::TreeOptions;

const EXAMPLES: &str = "\
Examples:
  driver-runpath check ~/venv           which files load the driver, which lack its directory, and why
  driver-runpath fix --dry-run ~/venv   what would change
  driver-runpath fix ~/venv             give those files the driver's directory
  driver-runpath explain libfoo.so      where the loader would find the driver for one file
  driver-runpath audit --missing ~/venv which libraries are opened and not found
  driver-runpath gpu-code ~/venv        which GPUs the files carry code for
  driver-runpath runpath print libfoo.so

Exit status: 0, all is well; 1, a file lacks the driver's directory, or was refused; 2, an error. An error with one file does
not stop the others.";

const FIX_EXAMPLES: &str = "\
Examples:
  driver-runpath fix ~/venv                        every file below ~/venv that loads the driver
  driver-runpath fix --all libplugin.so            this file, whatever it loads
  driver-runpath fix --exclude '*.debug' out lib   two trees, without separate debug files
  driver-runpath fix --driver-link /opt/gpu out    another system's driver

Files in the Nix store (NIX_STORE_DIR, else /nix/store) are refused, unless NIX_BUILD_TOP says that this is a build.";

const PATCHELF_FLAGS: &str = "\
Flags:
  --print-interpreter                what PT_INTERP names
  --print-soname                     DT_SONAME
  --print-needed                     DT_NEEDED, a line each
  --print-rpath                      the search path
  --set-rpath RPATH                  set it; DT_RPATH becomes DT_RUNPATH
  --add-rpath RPATH                  append to it
  --remove-rpath                     remove it
  --shrink-rpath                     drop the directories in which nothing is found that the file needs
  --allowed-rpath-prefixes PREFIXES  with --shrink-rpath: drop directories that start with none of these, too
  --build-resolution-cache           write the note of NixOS's loader: where the needed libraries are
  --force-rpath                      use DT_RPATH
  --output FILE                      write the result there, and leave the input as it is
  --debug                            say on standard error what is done
  --page-size SIZE, --no-sort        taken, and without effect
  --help, --version                  the release that is followed

RPATH and FILE can be @FILE, for what that file holds. Any other flag is refused, before anything is touched.

Examples:
  patchelf --print-rpath program
  patchelf --force-rpath --add-rpath /opt/lib --output program.new program

Exit status: 0, done; 1, the first error, which ends the run.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  driver-runpath completions bash > ~/.local/share/bash-completion/completions/driver-runpath
  driver-runpath completions fish > ~/.config/fish/completions/driver-runpath.fish
  driver-runpath completions zsh > ~/.zfunc/_driver-runpath";

const MAN_EXAMPLES: &str = "\
Examples:
  driver-runpath man | man -l -
  driver-runpath man ~/.local/share/man/man1";

const CHECK_EXAMPLES: &str = "\
Examples:
  driver-runpath check ~/venv
  driver-runpath check --json ~/venv | jq '.files[] | select(.verdict == \"misses\").path'
  driver-runpath check --no-stubs --failing result   before a package is released";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  driver-runpath explain ~/venv/lib/libfoo.so
  driver-runpath explain --loaded-by bin/app lib/libfoo.so   with the DT_RPATH that it inherits
  driver-runpath explain --sysroot /mnt/nixos /mnt/nixos/opt/app/libfoo.so";

/// Puts the GPU driver's directory first in the search path (DT_RUNPATH) of the ELF files that load the driver.
///
/// A program finds the libraries of the GPU driver, such as libcuda.so.1, only if the object that opens them has the
/// driver's directory in its own search path. This program finds the files that load the driver, by DT_NEEDED or by
/// dlopen(3), and puts that directory first, in place.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When the report is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// As on a terminal, wherever it goes.
    Always,
    /// Not at all.
    Never,
}

/// The commands.
// Deferred: only the command that is asked for builds its options, a quarter of the time that it takes to start. What it
// builds then would also take its description from a doc comment on the struct of its options, so these have none.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Give every file that loads the driver the driver's directory, in place.
    ///
    /// Exit status: 0, every file that loads the driver has its directory; 1, a file was refused and is as it was; 2, an error.
    #[command(after_help = FIX_EXAMPLES)]
    Fix(Fix),
    /// Say which files load the driver, whether its directory is in their search path, and why we think so. Changes
    /// nothing.
    ///
    /// Exit status: 0, all files that load the driver have its directory; 1, some file lacks it; 2, an error.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Say of each file what it is, why it is believed to load the driver, and what the loader would find for it.
    /// Changes and runs nothing.
    ///
    /// Exit status: 0, explained, whatever the answer; 2, an error.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Say which libraries files likely open, and whether the loader would find them. Changes and runs nothing.
    ///
    /// Exit status: 0, done; 1, with --strict, something else is missing than what is expected to be; 2, an error.
    #[command(after_help = audit::EXAMPLES)]
    Audit(audit::Audit),
    /// Say which GPUs each file carries code for, which all files run on, and which hold them back. Changes nothing.
    ///
    /// Exit status: 0, all files run where they are required to; 1, some file would not; 2, an error.
    #[command(after_help = gpu_code::EXAMPLES)]
    GpuCode(gpu_code::GpuCode),
    /// Print, set, extend, shrink or remove the search path of the files named, whatever they load.
    ///
    /// Exit status: 0, done; 1, a file was refused and is as it was; 2, an error.
    Runpath(runpath::Runpath),
    /// Stand in for patchelf: its flags for search paths, with its meaning. So does a link to this program by that name.
    #[command(disable_help_flag = true, disable_version_flag = true, after_help = PATCHELF_FLAGS)]
    Patchelf {
        /// Flags and files, as patchelf has them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Print the completions of a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page of the program, or write all pages into a directory.
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// The directory, such as ~/.local/share/man/man1; it is made if need be.
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Shells that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Fish,
    Zsh,
}

// Which files, and which driver.
#[derive(Debug, Args)]
pub struct Selection {
    /// Files, and directories to walk. Links are followed where named, not where found.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub driver: Driver,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub tree: TreeOptions,
}

// Where the driver is, and which names are driver libraries beside those known.
#[derive(Debug, Args)]
pub struct Driver {
    /// The link to the running driver; its lib directory is what is searched [default: /run/opengl-driver, and for
    /// 32-bit x86 /run/opengl-driver-32].
    #[arg(long, value_name = "DIR")]
    pub driver_link: Option<OsString>,

    /// A further SONAME that counts as a driver library.
    #[arg(long = "driver-lib", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub driver_libs: Vec<String>,

    /// A further group of names that count as driver libraries.
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<Group>,
}

/// Groups of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for in the driver directory.
    Graphics,
}

// Options of `fix`.
#[derive(Debug, Args)]
pub struct Fix {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub selection: Selection,

    /// Do everything but write.
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Take every dynamic file, whatever it loads.
    #[arg(long)]
    pub all: bool,

    /// Take directories of link-time stubs out of the search paths of files that do not load the driver, too; one
    /// stays that holds a library which the file needs and no driver provides.
    #[arg(long)]
    pub drop_stubs: bool,

    /// A directory to put before the driver's.
    #[arg(long, value_name = "DIR")]
    pub prepend: Vec<OsString>,

    /// Take a relative directory for --prepend, too: the loader searches it from wherever the program runs.
    #[arg(long)]
    pub allow_relative: bool,

    /// Use DT_RPATH, whatever the file has.
    #[arg(long, conflicts_with = "force_runpath")]
    pub force_rpath: bool,

    /// Use DT_RUNPATH, whatever the file has.
    #[arg(long)]
    pub force_runpath: bool,

    /// Write each step to the disk before the next, so that a power failure loses nothing either.
    #[arg(long)]
    pub sync: bool,

    /// Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy.
    #[arg(long)]
    pub break_links: bool,
}

// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub selection: Selection,

    /// Stubs are wrong wherever nothing needs them: their directories in any search path, stubs in resolution notes,
    /// store paths of packages of stubs (*-cuda*-stubs) in files of any kind. Reads every byte.
    #[arg(long)]
    pub no_stubs: bool,

    /// Say something of those files alone that are not as they should be.
    #[arg(long)]
    pub failing: bool,
}

// Options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The files, one explanation each.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The root of the system that the file is for: every absolute path is looked up below it, LD_LIBRARY_PATH is not
    /// asked.
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,

    /// Who loads the file, for its RPATH; again, who loads that; the last one is the executable.
    #[arg(long, value_name = "FILE")]
    pub loaded_by: Vec<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub driver: Driver,

    /// Print one JSON document for each file.
    #[arg(long)]
    pub json: bool,
}
