//! The setup hook: its shell functions in bare bash, all of `nix/` evaluated, and the cases of
//! `nix/tests` built by Nix, in a store of their own: as bare derivations, and in the stdenv of
//! the nixpkgs tree that `DRIVER_RUNPATH_NIXPKGS` names.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};

const BINARY: &str = env!("CARGO_BIN_EXE_driver-runpath");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// With this variable set, a missing tool is a failure.
const REQUIRE_TOOLS: &str = "DRIVER_RUNPATH_REQUIRE_TOOLS";
const NIXPKGS: &str = "DRIVER_RUNPATH_NIXPKGS";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        trial("hook_scripts_pass_shellcheck", &["shellcheck"], shellcheck),
        trial("hook_scripts_have_the_form_of_shfmt", &["shfmt"], shfmt),
        trial("all_of_nix_evaluates", &["nix-instantiate"], evaluate),
        trial("what_nixpkgs_would_copy_evaluates", &["bash", "nix-instantiate"], upstream),
        trial("every_case_builds_as_a_bare_derivation", &["nix-build", "cc", "patchelf", "readelf"], bare_derivations),
        trial(
            "a_stub_directory_is_no_reference_after_the_build",
            &["nix-build", "nix-store", "cc", "patchelf", "readelf"],
            references,
        ),
        trial(
            "a_check_of_a_package_fails_where_the_driver_is_missed",
            &["nix-build", "cc", "patchelf", "readelf"],
            checks_of_packages,
        ),
        real_stdenv(),
        trial("bash_completes_commands_and_options", &["bash"], bash_completion),
    ];
    trials.extend(bash_cases());
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that is ignored where one of the tools that it needs is missing.
fn trial<T: AsRef<str>>(name: &str, tools: &[T], run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let missing: Vec<&str> = tools.iter().map(AsRef::as_ref).filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Trial::test(name, run);
    }
    let reason = format!("needs {}", missing.join(", "));
    if env::var_os(REQUIRE_TOOLS).is_some_and(|value| value == "1") {
        Trial::test(name, move || Err(reason.into()))
    } else {
        Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true)
    }
}

fn has(name: &str) -> bool {
    match name {
        "static-libc" => static_libc(),
        name => tool(name).is_some(),
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A static-PIE needs the start code and the archive of the C library.
fn static_libc() -> bool {
    ["rcrt1.o", "libc.a"].iter().all(|file| {
        let found = Command::new("cc").arg(format!("-print-file-name={file}")).output();
        found.is_ok_and(|output| output.stdout.first() == Some(&b'/'))
    })
}

// --- bare bash --------------------------------------------------------------------------------

fn bash_cases() -> Vec<Trial> {
    const SCRIPT: &str = "tests/hook/cases.sh";
    if tool("bash").is_none() {
        return vec![trial("hook_in_bare_bash", &["bash"], || Ok(()))];
    }
    let list = run(Command::new("bash").arg(SCRIPT)).expect("the cases list themselves");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    list.lines()
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let case = words.next().expect("a line is a name and tools");
            let tools: Vec<String> = words.collect();
            trial(&case.clone(), &tools, move || {
                let dir = Path::new(TMP).join("hook").join(&case);
                let _ = fs::remove_dir_all(&dir);
                fs::create_dir_all(&dir)?;
                let script = Path::new(ROOT).join(SCRIPT);
                run(Command::new("bash").arg(script).arg(&case).env("BINARY", BINARY).current_dir(dir))?;
                Ok(())
            })
        })
        .collect()
}

fn shell_scripts() -> Vec<PathBuf> {
    let mut scripts = Vec::new();
    for dir in ["hook", "nix", "nix/tests", "tests/hook"] {
        for entry in fs::read_dir(Path::new(ROOT).join(dir)).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if ["sh", "bash"].iter().any(|known| path.extension() == Some(OsStr::new(known))) {
                scripts.push(path);
            }
        }
    }
    scripts
}

fn shellcheck() -> Result<(), Failed> {
    run(Command::new("shellcheck").args(shell_scripts())).map(drop)
}

fn shfmt() -> Result<(), Failed> {
    run(Command::new("shfmt").args(["-i", "2", "-ci", "-d"]).args(shell_scripts())).map(drop)
}

// --- Nix --------------------------------------------------------------------------------------

/// A Nix command with a store below the target directory; nothing is downloaded. The store is
/// kept: what did not change is not built again.
fn nix(command: &str) -> Result<Command, Failed> {
    let home = Path::new(TMP).join("nix");
    let conf = home.join("conf");
    fs::create_dir_all(&conf)?;
    fs::write(conf.join("nix.conf"), "sandbox = false\nbuild-users-group =\nsubstituters =\n")?;
    let mut command = Command::new(command);
    command
        .env("NIX_STORE_DIR", home.join("store"))
        .env("NIX_LOCALSTATE_DIR", home.join("var"))
        .env("NIX_STATE_DIR", home.join("state"))
        .env("NIX_LOG_DIR", home.join("log"))
        .env("NIX_DATA_DIR", home.join("share"))
        .env("NIX_CONF_DIR", conf)
        .env("HOME", &home)
        .env_remove("NIX_REMOTE")
        .env_remove("NIX_PATH");
    Ok(command)
}

fn build(arguments: &[&str]) -> Result<Output, Failed> {
    run(nix("nix-build")?.args(["nix/tests", "--no-out-link", "--arg", "binary", BINARY]).args(arguments))
}

fn evaluate() -> Result<(), Failed> {
    let facts = run(nix("nix-instantiate")?.args(["--eval", "--strict", "nix/tests/evaluate.nix"]))?;
    let false_facts = String::from_utf8_lossy(&facts.stdout).trim().to_owned();
    if false_facts != "[ ]" {
        return Err(format!("not so: {false_facts}").into());
    }
    run(nix("nix-instantiate")?.args(["nix/tests", "--argstr", "kind", "standin"])).map(drop)
}

/// `nix/upstream.sh` writes packages by name and pages of the manual.
fn upstream() -> Result<(), Failed> {
    let dir = Path::new(TMP).join("upstream");
    let _ = fs::remove_dir_all(&dir);
    run(Command::new("bash").arg("nix/upstream.sh").arg(&dir))?;
    let argument = dir.to_str().ok_or("a plain name")?;
    let evaluate = ["--eval", "--strict", "nix/tests/upstream.nix", "--arg", "dir", argument];
    let facts = run(nix("nix-instantiate")?.args(evaluate))?;
    let false_facts = String::from_utf8_lossy(&facts.stdout).trim().to_owned();
    if false_facts != "[ ]" {
        return Err(format!("not so: {false_facts}").into());
    }
    // No package looks outside of its directory, and all that is left to do has a name.
    for entry in fs::read_dir(dir.join("pkgs/by-name/dr/driver-runpath"))? {
        let path = entry?.path();
        let text = if path.is_file() { fs::read_to_string(&path)? } else { continue };
        if text.contains("../") {
            return Err(format!("{} names what is not there", path.display()).into());
        }
    }
    Ok(())
}

fn bare_derivations() -> Result<(), Failed> {
    build(&["--argstr", "kind", "standin", "--keep-going"]).map(drop)
}

fn references() -> Result<(), Failed> {
    let built = build(&["--argstr", "kind", "standin", "-A", "stub-entry"])?;
    let path = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let listed = run(nix("nix-store")?.args(["--query", "--references", &path]))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    if listed.contains("stubs") {
        return Err(format!("{path} refers to {listed}").into());
    }
    Ok(())
}

/// `driver-runpath.check`: each derivation passes or fails as its name says, with a reason.
fn checks_of_packages() -> Result<(), Failed> {
    const SUITE: [&str; 5] = ["--argstr", "kind", "standin", "--arg", "suite"];
    let suite = Path::new(ROOT).join("nix/tests/check.nix");
    let suite = suite.to_str().ok_or("a plain name")?;
    let check = |attribute: &str| build(&[SUITE.as_slice(), &[suite, "-A", attribute]].concat());
    check("passes")?;
    for (name, reason) in [
        ("package", "LACKS the driver's directory: "),
        ("closure", "LACKS the driver's directory: "),
        ("stubs", "REFERS to a package of stubs: "),
        ("closure-with-the-output-dev", "REFERS to a package of stubs: "),
        ("capabilities", "9.0"),
    ] {
        match check(&format!("fails.{name}")) {
            Ok(_) => return Err(format!("the check {name} was meant to fail").into()),
            Err(failed) if failed.message().is_some_and(|log| log.contains(reason)) => {}
            Err(failed) => return Err(failed),
        }
    }
    Ok(())
}

/// The stdenv of a real tree, around the tools of this machine.
fn real_stdenv() -> Trial {
    let name = "every_case_builds_in_the_real_stdenv";
    let Some(nixpkgs) = env::var_os(NIXPKGS) else {
        return Trial::test(format!("{name} (needs {NIXPKGS})"), || Ok(())).with_ignored_flag(true);
    };
    trial(name, &["nix-build", "cc", "patchelf", "readelf", "python3"], move || {
        let nixpkgs = nixpkgs.to_string_lossy();
        build(&["--argstr", "kind", "native", "--arg", "nixpkgs", &nixpkgs, "--keep-going"]).map(drop)
    })
}

// --- what the package installs beside the binary ----------------------------------------------

fn bash_completion() -> Result<(), Failed> {
    const SCRIPT: &str = r#"
        source completions/driver-runpath.bash
        COMP_WORDS=(driver-runpath "") COMP_CWORD=1
        _driver__runpath driver-runpath "" driver-runpath
        [[ " ${COMPREPLY[*]} " == *" fix "* ]] || exit 1
        COMP_WORDS=(driver-runpath fix --dry) COMP_CWORD=2
        _driver__runpath driver-runpath --dry fix
        [[ ${COMPREPLY[*]} == --dry-run ]]
    "#;
    run(Command::new("bash").args(["-c", SCRIPT, BINARY])).map(drop)
}

/// Runs a command in the root of the repository; its output is the message of a failure.
fn run(command: &mut Command) -> Result<Output, Failed> {
    if command.get_current_dir().is_none() {
        command.current_dir(ROOT);
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    // A log can be long, and its end says what went wrong.
    let mut log = String::from_utf8_lossy(&output.stdout).into_owned();
    log.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(60)..].join("\n");
    Err(format!("{command:?}: {}\n{end}", output.status).into())
}
