//! What commands that walk trees have in common: what they pass over, and how much they say.

use clap::Args;

// Options of commands that take directories and report on each file.
#[derive(Debug, Args)]
pub struct TreeOptions {
    /// Pass over what matches, in directories: a name, or with a slash a path, from PATH on, as it is printed, or
    /// absolute.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,

    /// A damaged ELF file found in a directory is worth a warning, not an error.
    #[arg(long)]
    pub skip_damaged: bool,

    /// Say less: no lines for single files; twice: errors alone.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub quiet: u8,

    /// Say more: of each file, and of every ELF file.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}
