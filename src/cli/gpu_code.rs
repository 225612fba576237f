//! What the user may say to `gpu-code`.

use std::path::PathBuf;

use clap::Args;

use super::trees::TreeOptions;

/// Shown behind the options.
pub const EXAMPLES: &str = "\
Examples:
  driver-runpath gpu-code ~/venv                       what each file runs on, and what all of them do
  driver-runpath gpu-code -v libfoo.so                 the number of cubins and PTX modules, and their bytes
  driver-runpath gpu-code --require 8.6,9.0+PTX ~/venv exit status 1 where a file would not run there

A cubin runs on GPUs of its major number whose minor one is not lower, PTX on all later ones; code for 9.0a on 9.0
alone, code for 10.0f on the later ones of its family.";

// Options of `gpu-code`.
#[derive(Debug, Args)]
pub struct GpuCode {
    /// Files, and directories to walk: ELF files, static archives, fat binaries. Links are followed where named, not where
    /// found.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// GPUs on which each file must run: 8.6, 86 or sm_86; with +PTX behind it, on all later ones, too. 9.0a asks for
    /// code with all that such a GPU can do. A name such as gfx90a is for files with code for AMD's GPUs.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub require: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub tree: TreeOptions,
}
