//! The manual pages and the completions are made from the command line's own definition. They are kept in the tree, so
//! that a build needs no generator; `SNAPSHOTS=overwrite cargo test --test manual` renews them.

#[path = "../src/cli/mod.rs"]
#[allow(dead_code)]
mod cli;
#[path = "manual/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

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
    let mut command = cli::Cli::command();
    command.build();
    let names = pages::write(&command, PROGRAM, generated.path());
    assert!(names.len() > 10, "{names:?}");
    assert_same(generated.path(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("man"));
}

#[test]
fn the_binary_has_the_pages_and_completions_with_it() {
    let written = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_driver-runpath")).args(arguments).output().expect("our binary");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = written.path().join("man1");
    run(&["man".as_ref(), dir.as_os_str()]);
    assert_same(&dir, &kept.join("man"));
    let text = |path: &str| fs::read_to_string(kept.join(path)).expect("what is kept");
    assert_eq!(run(&["man".as_ref()]), text("man/driver-runpath.1"));
    for (shell, file) in [("bash", "driver-runpath.bash"), ("fish", "driver-runpath.fish"), ("zsh", "_driver-runpath")]
    {
        assert_eq!(run(&["completions".as_ref(), shell.as_ref()]), text(&format!("completions/{file}")));
    }
}

#[test]
fn every_page_has_its_sections_and_examples_keep_their_columns() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let page = |name: &str| fs::read_to_string(kept.join(name)).expect("a page");
    for name in ["driver-runpath.1", "driver-runpath-fix.1", "driver-runpath-check.1", "driver-runpath-explain.1"] {
        for section in ["EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
            assert!(page(name).contains(&format!(".SH \"{section}\"\n")), "{section} in {name}");
        }
        let page = page(name);
        let examples = page.split(".EX\n").nth(1).and_then(|rest| rest.split(".EE\n").next());
        assert!(examples.is_some_and(|lines| lines.contains("driver\\-runpath ")), "{name}: {examples:?}");
        assert!(!page.contains(".SH EXTRA"), "{name}");
    }
    // The page of patchelf's flags has all that its own help has.
    let help = Command::new(env!("CARGO_BIN_EXE_driver-runpath")).args(["patchelf", "--help"]).output().expect("help");
    let help = String::from_utf8(help.stderr).expect("UTF-8");
    let page = page("driver-runpath-patchelf.1").replace("\\-", "-");
    let flags = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with("--"));
    let missing: Vec<&str> = flags.filter(|flag| !page.contains(flag)).collect();
    assert!(missing.is_empty(), "not in the page: {missing:?}");
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
