//! What the user may say to `audit`.

use std::path::PathBuf;

use clap::Args;

use super::Driver;
use super::trees::TreeOptions;

/// Shown behind the options.
pub const EXAMPLES: &str = "\
Examples:
  driver-runpath audit lib/libfoo.so            the libraries that it likely opens, and what is found for them
  driver-runpath audit --missing ~/venv         those alone that are not found
  driver-runpath audit --missing --strict --expect libnccl-net.so out
                                                exit status 1 unless that one alone is missing

What is found is what glibc's loader would find from that file, on this system, without LD_LIBRARY_PATH.";

// Options of `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Files, and directories to walk. Links are followed where named, not where found.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Only what is not found.
    #[arg(long)]
    pub missing: bool,

    /// Exit with status 1 where something is missing that is not expected, or expected and not missing.
    #[arg(long)]
    pub strict: bool,

    /// A name that is missing for a good reason.
    #[arg(long, value_name = "NAME")]
    pub expect: Vec<String>,

    /// Names to say nothing about.
    #[arg(long, value_name = "GLOB")]
    pub ignore: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub driver: Driver,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub tree: TreeOptions,
}
