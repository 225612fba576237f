//! The manual pages and the completions are made from the command line's own definition. They are kept in the tree, so
//! that a build needs no generator; `SNAPSHOTS=overwrite cargo test --test manual` renews them.

#[path = "../src/cli/mod.rs"]
#[allow(dead_code)]
mod cli;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use snapbox::{Assert, Data};

const PROGRAM: &str = "driver-runpath";

/// The files of two directories are the same, or become so.
fn assert_same(generated: &Path, kept: &Path) {
    let names = |dir: &Path| -> BTreeSet<_> {
        let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    };
    for name in names(generated) {
        let text = fs::read_to_string(generated.join(&name)).expect("what was generated");
        Assert::new().action_env("SNAPSHOTS").eq(text, Data::read_from(&kept.join(&name), None).raw());
    }
    let stale: Vec<_> = names(kept).difference(&names(generated)).cloned().collect();
    assert!(stale.is_empty(), "nothing makes {stale:?} in {}", kept.display());
}

#[test]
fn the_manual_pages_are_those_of_this_command_line() {
    let generated = tempfile::tempdir().expect("a directory");
    clap_mangen::generate_to(cli::Cli::command(), generated.path()).expect("the pages");
    assert_same(generated.path(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("man"));
}

#[test]
fn the_completions_are_those_of_this_command_line() {
    let generated = tempfile::tempdir().expect("a directory");
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let script = generate_to(shell, &mut cli::Cli::command(), PROGRAM, generated.path()).expect("a script");
        // clap_complete 4.6 takes the hyphen of the name for the one between a command and its subcommand, in one of
        // two places. `tests/hook.rs` runs the result.
        let text = fs::read_to_string(&script).expect("the script");
        fs::write(&script, text.replace("driver__subcmd__runpath", "driver__runpath")).expect("a script");
    }
    assert_same(generated.path(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("completions"));
}
