//! The command line cannot be misread: what a user may well type does what was meant, or says what would.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use support::lab::{Lab, Ran, contains, driver_runpath, same};

type Done = Result<(), Failed>;

/// Runs the words of `line`, `FILE` in it replaced by a path.
fn run(line: &str, files: &[&Path]) -> Ran {
    let mut files = files.iter();
    let word = |word: &str| match word {
        "FILE" => files.next().expect("a file for each FILE").as_os_str().to_owned(),
        word => OsString::from(word),
    };
    driver_runpath(line.split(' ').map(word).collect::<Vec<_>>())
}

fn search_path(file: &Path) -> Result<String, Failed> {
    Ok(run("runpath print FILE", &[file]).expect(0)?.out.trim_end().to_owned())
}

/// Fails if standard error or standard output of a run lacks one of these.
fn says(run: &Ran, parts: &[&str]) -> Done {
    let all = format!("{}{}", run.out, run.err);
    parts.iter().try_for_each(|part| contains(&all, part))
}

#[test]
fn removing_a_directory_leaves_the_rest_of_the_search_path() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    run("runpath set /a:/b:/c FILE", &[&file]).expect(0)?;
    says(&run("runpath remove /b/ FILE", &[&file]).expect(0)?, &["RUNPATH /a:/b:/c -> RUNPATH /a:/c"])?;
    says(&run("runpath remove /b FILE", &[&file]).expect(0)?, &["already right: ", "RUNPATH /a:/c"])?;
    run("runpath remove /a:/c FILE", &[&file]).expect(0)?;
    same(search_path(&file)?.as_str(), "", "search path")?;
    run("runpath set /a:/b FILE", &[&file]).expect(0)?;
    run("runpath clear FILE", &[&file]).expect(0)?;
    same(search_path(&file)?.as_str(), "", "search path")
}

#[test]
fn a_command_line_in_the_wrong_order_is_told_so_and_changes_nothing() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let other = lab.fixture("x86_64/libplain.so", "other.so")?;
    run("runpath set /a:/b FILE FILE", &[&file, &other]).expect(0)?;
    let name = file.display().to_string();
    for operation in ["set", "prepend", "append"] {
        let ran = run(&format!("runpath {operation} FILE FILE"), &[&file, &other]).expect(2)?;
        let way_out = format!("PATH comes first: driver-runpath runpath {operation} PATH FILE...");
        says(&ran, &[&format!("{name} is a file"), &way_out])?;
    }
    says(&run("runpath remove FILE /b", &[&file]).expect(2)?, &["DIR comes first"])?;
    says(&run("runpath remove FILE", &[&file]).expect(2)?, &["runpath clear FILE"])?;
    same((search_path(&file)?.as_str(), search_path(&other)?.as_str()), ("/a:/b", "/a:/b"), "search paths")
}

#[test]
fn a_missing_file_or_a_directory_among_the_files_is_told_before_the_first_write() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let (missing, directory) = (lab.path("missing"), lab.path("directory"));
    fs::create_dir(&directory)?;
    let before = fs::read(&file)?;
    for line in [
        "fix FILE FILE",
        "fix -n FILE FILE",
        "runpath set /a FILE FILE",
        "runpath clear FILE FILE",
        "runpath shrink FILE FILE",
    ] {
        let ran = run(line, &[&file, &missing]).expect(2)?;
        says(&ran, &["missing: cannot look at it: No such file", "nothing was changed"])?;
        same(fs::read(&file)? == before, true, line)?;
    }
    let ran = run("runpath set /a FILE FILE FILE", &[&file, &directory, &missing]).expect(2)?;
    says(&ran, &["directory: a directory, and this command takes files alone", "missing: cannot look at it"])?;
    same(fs::read(&file)? == before, true, "runpath set")
}

#[test]
fn a_relative_directory_is_refused_unless_somebody_insists() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let before = fs::read(&file)?;
    let relative = ["lib", "/a:lib", ".", "$LIB/x", "$HOME/lib", "/..", "/../lib"];
    for (path, operation) in
        relative.iter().flat_map(|path| ["set", "append", "prepend"].map(|operation| (path, operation)))
    {
        let ran = run(&format!("runpath {operation} {path} FILE"), &[&file]).expect(2)?;
        says(&ran, &["$ORIGIN"])?;
    }
    for path in ["lib", "$LIB/x"] {
        says(&run(&format!("fix --prepend {path} FILE"), &[&file]).expect(2)?, &["$ORIGIN", "--allow-relative"])?;
    }
    same(fs::read(&file)? == before, true, "bytes")?;
    run("runpath append /a:$ORIGIN/../lib:${ORIGIN} FILE", &[&file]).expect(0)?;
    run("runpath append --allow-relative lib FILE", &[&file]).expect(0)?;
    same(search_path(&file)?.as_str(), "/a:$ORIGIN/../lib:${ORIGIN}:lib", "search path")?;
    run("runpath remove lib FILE", &[&file]).expect(0)?;
    run("fix --allow-relative --prepend lib FILE", &[&file]).expect(0)?;
    same(search_path(&file)?.starts_with("lib:/run/opengl-driver/lib:"), true, "search path")
}

#[test]
fn check_says_what_it_judged_and_explain_says_the_same() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let link = lab.path("nowhere");
    let link = link.to_str().ok_or("a name")?;
    let ran = run(&format!("check --driver-link {link} FILE"), &[&file]).expect(1)?;
    says(&ran, &["LACKS the driver's directory: ", "1 loads the driver: 0 have its directory, 1 lacks it"])?;
    let gone = format!("note: {link}/lib does not exist on this machine");
    says(&ran, &[&gone, "note: without that directory, the loader finds "])?;
    same(ran.out.matches("does not exist").count(), 1, "times that this is said")?;
    let ran = run(&format!("explain --driver-link {link} FILE"), &[&file]).expect(0)?;
    says(&ran, &[&format!("LACKS the driver's directory, {link}/lib, which does not exist on this machine")])?;

    run(&format!("fix --driver-link {link} FILE"), &[&file]).expect(0)?;
    let ran = run(&format!("check --driver-link {link} FILE"), &[&file]).expect(0)?;
    says(&ran, &["has the driver's directory: ", &gone])?;
    same(ran.out.contains("finds the driver"), false, "a claim that nobody checked")?;
    let ran = run(&format!("explain --driver-link {link} FILE"), &[&file]).expect(0)?;
    says(&ran, &[&format!("has the driver's directory, {link}/lib, which does not exist on this machine")])?;

    fs::create_dir_all(lab.path("nowhere/lib"))?;
    let ran = run(&format!("check --driver-link {link} FILE"), &[&file]).expect(0)?;
    same(ran.out.contains("note: "), false, "a note where all is as it should be")
}

#[test]
fn the_driver_link_may_be_the_directory_of_the_driver_itself() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let before = fs::read(&file)?;
    let dir = |name: &str| lab.path(name).display().to_string();
    // Nothing there: a slip of the pen is likely.
    let ran = run(&format!("fix --driver-link {}/lib FILE", dir("nowhere")), &[&file]).expect(2)?;
    says(&ran, &[&format!("is --driver-link {} meant?", dir("nowhere"))])?;
    let ran = run("fix --driver-link FILE FILE", &[&file, &file]).expect(2)?;
    says(&ran, &["a file, not the directory"])?;
    same(fs::read(&file)? == before, true, "bytes")?;
    for (driver, link) in [("link/lib", "link"), ("link/lib", "link/lib"), ("flat", "flat")] {
        fs::create_dir_all(lab.path(driver))?;
        fs::write(lab.path(driver).join("libcuda.so.1"), "")?;
        fs::write(&file, &before)?;
        run(&format!("fix --driver-link {} FILE", dir(link)), &[&file]).expect(0)?;
        same(search_path(&file)?, dir(driver), link)?;
    }
    for command in ["fix", "check", "explain"] {
        says(
            &run(&format!("{command} --help"), &[]).expect(0)?,
            &["default: /run/opengl-driver, and for 32-bit x86 /run/opengl-driver-32"],
        )?;
    }
    Ok(())
}

#[test]
fn a_path_is_excluded_as_it_is_printed_as_it_is_given_and_absolute() -> Done {
    let lab = Lab::new()?;
    lab.fixture("x86_64/libopens.so", "t/keep/libopens.so")?;
    let in_lab = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        command.current_dir(lab.root()).env_remove("NIX_BUILD_TOP").args(["fix", "-n"]).args(arguments);
        command.output().map(Ran::new)
    };
    let absolute = fs::canonicalize(lab.path("t/keep"))?.display().to_string();
    let root = fs::canonicalize(lab.path("t"))?.display().to_string();
    for pattern in ["t/keep", "keep", "./t/keep/", "t/keep/libopens.so", &absolute, "keep/lib*"] {
        for path in ["t", "./t", &root] {
            let ran = in_lab(&["--exclude", pattern, path])?.expect(0)?;
            says(&ran, &["0 load the driver"])?;
            same(ran.err.as_str(), "", pattern)?;
        }
    }
    let ran = in_lab(&["--exclude", "t/kep", "--exclude", "keep", "t"])?.expect(0)?;
    same(ran.err.as_str(), "warning: --exclude t/kep matches nothing in the directories given\n", "warnings")
}

#[test]
fn what_check_proposes_is_what_works() -> Done {
    let lab = Lab::new()?;
    // As uv and conda do: each file is a hard link to a cache.
    for name in ["a.so", "b.so", "c.so"] {
        let file = lab.fixture("x86_64/libopens.so", &format!("cache/{name}"))?;
        fs::create_dir_all(lab.path("venv"))?;
        fs::hard_link(file, lab.path("venv").join(name))?;
    }
    let venv = lab.path("venv");
    let ran = run("check FILE", &[&venv]).expect(1)?;
    let proposed = format!("mend with: driver-runpath fix --break-links {}\n", venv.display());
    says(&ran, &[&proposed, "a cache of uv or conda"])?;

    let ran = run("fix FILE", &[&venv]).expect(1)?;
    let line = format!("error: 3 files, {}/a.so and 2 more: ", venv.display());
    says(&ran, &[&line, "--break-links", "the files are unchanged", "3 load the driver: 0 changed", "3 refused"])?;
    same(ran.err.lines().count(), 1, "lines of errors")?;
    same(run("fix -v FILE", &[&venv]).expect(1)?.err.lines().count(), 3, "lines of errors under -v")?;

    run("fix --break-links FILE", &[&venv]).expect(0)?;
    run("check FILE", &[&venv]).expect(0)?;
    run("check FILE", &[&lab.path("cache")]).expect(1).map(drop)
}

#[test]
fn in_the_nix_store_the_hook_is_the_way_out_and_links_are_not_broken() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "store/abc-x/lib/libopens.so")?;
    let before = fs::read(&file)?;
    let store = fs::canonicalize(lab.path("store"))?;
    let in_store = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        command.args(arguments).arg(&file).env("NIX_STORE_DIR", &store).env_remove("NIX_BUILD_TOP");
        command.output().map(Ran::new)
    };
    for arguments in [&["check"][..], &["fix"], &["fix", "--break-links"], &["runpath", "set", "--break-links", "/a"]] {
        let ran = in_store(arguments)?.expect(1)?;
        says(&ran, &["autoAddDriverRunpath", "a copy outside the store"])?;
        same(format!("{}{}", ran.out, ran.err).contains("--break-links"), false, "a way that leads nowhere")?;
    }
    same(fs::read(&file)? == before, true, "bytes")
}

#[test]
fn a_program_that_runs_can_be_replaced_but_not_written_to() -> Done {
    let lab = Lab::new()?;
    let file = lab.path("sleeping");
    fs::copy("/bin/sleep", &file)?;
    let before = fs::read(&file)?;
    let mut sleeping = loop {
        match std::process::Command::new(&file).arg("60").spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            started => break started?,
        }
    };
    let tried = || -> Done {
        let lines =
            ["fix --all FILE", "fix --all --dry-run FILE", "runpath set /a FILE", "runpath set --dry-run /a FILE"];
        for line in lines {
            let ran = run(line, &[&file]).expect(2)?;
            says(&ran, &["a process is running it: Text file busy", "--break-links", "the file is unchanged"])?;
            same(fs::read(&file)? == before, true, line)?;
        }
        says(&run("fix --all --break-links FILE", &[&file]).expect(0)?, &["now a file of its own"])?;
        same(search_path(&file)?.starts_with("/run/opengl-driver"), true, "search path")
    };
    let done = tried();
    sleeping.kill()?;
    sleeping.wait()?;
    done
}

/// The files cannot be written to by the user `nobody`; root can write to all.
#[test]
fn what_cannot_be_written_is_counted_and_a_dry_run_says_so() -> Done {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let lab = Lab::new()?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    let file = lab.fixture("x86_64/libopens.so", "t/libopens.so")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let binary = lab.path("driver-runpath");
    support::lab::succeed(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_driver-runpath")).arg(&binary))?;
    for arguments in [&["fix"][..], &["fix", "-n"]] {
        let mut command = std::process::Command::new(&binary);
        command.args(arguments).arg(lab.path("t")).uid(NOBODY).gid(NOBODY);
        let ran = support::lab::run_copy(&mut command)?.expect(2)?;
        says(
            &ran,
            &[
                "cannot open for writing: Permission denied",
                "the file is unchanged",
                "1 loads the driver: 0 ",
                "1 error;",
            ],
        )?;
    }
    Ok(())
}

#[test]
fn the_json_summary_has_the_counts_of_the_text() -> Done {
    let lab = Lab::new()?;
    lab.fixture("x86_64/libopens.so", "t/libopens.so")?;
    lab.fixture("x86_64/libplain.so", "t/libplain.so")?;
    fs::write(lab.path("t/broken"), b"\x7fELF")?;
    let tree = lab.path("t");
    let summary = |line: &str| -> Result<serde_json::Value, Failed> {
        let document: serde_json::Value = serde_json::from_str(&run(line, &[&tree]).expect(2)?.out)?;
        Ok(document["summary"].clone())
    };
    let is = |summary: &serde_json::Value, counts: &[(&str, u64)]| {
        counts.iter().try_for_each(|(name, count)| same(summary[*name].as_u64(), Some(*count), name))
    };
    let found = summary("check --json FILE")?;
    is(&found, &[("elf_files", 3), ("loaders", 1), ("finds", 0), ("misses", 1), ("errors", 1)])?;
    let found = summary("fix --json FILE")?;
    is(&found, &[("loaders", 1), ("changed", 1), ("already_right", 0), ("refused", 0), ("errors", 1)])
}

/// The proposed command is run by a shell, from whatever name the directory has.
#[test]
fn a_proposed_command_can_be_pasted_whatever_the_names_are() -> Done {
    let lab = Lab::new()?;
    for name in ["plain", "with space", "it's", "esc\u{1b}[31m", "new\nline", "back\\slash\t", "$HOME", "-dash"] {
        let file = lab.fixture("x86_64/libopens.so", &format!("{name}/libopens.so"))?;
        let directory = file.parent().ok_or("no directory")?;
        let ran = run("check FILE", &[directory]).expect(1)?;
        let proposed = ran.out.lines().find_map(|line| line.strip_prefix("mend with: driver-runpath "));
        let script = format!("{} {}", env!("CARGO_BIN_EXE_driver-runpath"), proposed.ok_or(ran.out.clone())?);
        same(ran.out.contains('\u{1b}'), false, "an escape character")?;
        support::lab::succeed(std::process::Command::new("bash").args(["-c", &script]))?;
        run("check FILE", &[directory]).expect(0)?;
    }
    Ok(())
}

#[test]
fn a_flag_that_patchelf_alone_has_means_patchelf() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    // A caller that follows a link called patchelf starts the program by its own name.
    run("--set-rpath /a:/b FILE", &[&file]).expect(0)?;
    same(run("--print-rpath FILE", &[&file]).expect(0)?.out.as_str(), "/a:/b\n", "printed")?;
    run("--force-rpath --add-rpath /c FILE", &[&file]).expect(0)?;
    says(&run("--replace-needed a b FILE", &[&file]).expect(1)?, &["patchelf itself is the tool"])?;
    says(&run("--version", &[]).expect(0)?, &["driver-runpath "])?;
    says(&run("--force-runpath FILE", &[&file]).expect(2)?, &["unexpected argument"])
}

#[test]
fn the_demo_says_what_it_does_while_it_compiles() -> Done {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new()?;
    // A compiler that fails at once.
    fs::write(lab.path("cargo"), "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(lab.path("cargo"), fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", lab.root().display(), std::env::var("PATH")?);
    let mut command = std::process::Command::new("sh");
    command.arg("testdata/demo.sh").current_dir(env!("CARGO_MANIFEST_DIR"));
    says(
        &Ran::new(command.env("PATH", path).env_remove("DRIVER_RUNPATH").output()?).expect(1)?,
        &["building driver-runpath"],
    )
}

#[test]
fn the_published_crate_has_what_it_is_built_and_tested_from() -> Done {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty", "--offline", "--quiet"]);
    let listed = support::lab::succeed(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    let files: Vec<&str> = listed.lines().collect();
    for wanted in
        ["src/main.rs", "man/driver-runpath.1", "testdata/prebuilt/x86_64/libopens.so", "LICENSE", "README.md"]
    {
        same(files.contains(&wanted), true, wanted)?;
    }
    // They need features of the crate itself, which a published one cannot ask for.
    let of_no_use = ["tests/", "benches/", "fuzz/", "nix/", "hook/", ".ci/"];
    let extra = files.iter().find(|file| of_no_use.iter().any(|folder| file.starts_with(folder)));
    same(extra, None, "a file of no use")
}

#[test]
fn help_and_the_version_can_be_had_everywhere() -> Done {
    let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
    for command in ["", "fix ", "check ", "explain ", "runpath ", "runpath set ", "man ", "completions "] {
        for option in ["-V", "--version"] {
            let ran = run(&format!("{command}{option}"), &[]).expect(0)?;
            same(ran.out.ends_with(&version), true, &ran.out)?;
        }
        says(&run(&format!("{command}--help"), &[]).expect(0)?, &["Usage: driver-runpath"])?;
    }
    says(&run("help fix", &[]).expect(0)?, &["--dry-run"])?;
    says(&run("help runpath remove", &[]).expect(0)?, &["<DIR>"])?;
    says(&run("help patchelf", &[]).expect(0)?, &["--allowed-rpath-prefixes"])?;
    says(&run("runpath help set", &[]).expect(0)?, &["--allow-relative"])?;
    // patchelf's own flags stay patchelf's.
    says(&run("patchelf --version", &[]).expect(0)?, &["patchelf 0."])?;
    says(&run("patchelf -h", &[]).expect(0)?, &["syntax: patchelf"])
}

#[test]
fn colours_can_be_had_in_a_pipe_and_done_without() -> Done {
    let lab = Lab::new()?;
    lab.fixture("x86_64/libopens.so", "t/libopens.so")?;
    let tree = lab.path("t");
    for (line, coloured) in [
        ("check FILE", false),
        ("--color always check FILE", true),
        ("check --color=always FILE", true),
        ("check --color auto FILE", false),
        ("check --color never FILE", false),
    ] {
        same(run(line, &[&tree]).expect(1)?.out.contains("\u{1b}["), coloured, line)?;
    }
    says(&run("check --color sometimes FILE", &[&tree]).expect(2)?, &["auto, always, never"])
}

#[test]
fn a_directory_or_several_files_where_one_was_expected_are_taken_or_the_way_out_is_said() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/program", "t/program")?;
    let other = lab.fixture("x86_64/libopens.so", "t/lib/libopens.so")?;
    fs::write(lab.path("t/readme"), "text")?;
    let tree = lab.path("t");
    let ran = run("explain FILE FILE", &[&file, &other]).expect(0)?;
    says(&ran, &[&format!("{}\n  ELF", file.display()), &format!("\n\n{}\n  ELF", other.display())])?;
    let ran = run("explain --json FILE FILE", &[&file, &other]).expect(0)?;
    let documents = serde_json::Deserializer::from_str(&ran.out).into_iter::<serde_json::Value>().count();
    same(documents, 2, "documents")?;
    let way_out = format!("driver-runpath check {}", tree.display());
    says(&run("explain FILE FILE", &[&tree, &file]).expect(2)?, &["a directory", &way_out, "loads the driver"])?;
    let expected = format!("{}: no search path\n{}: RUNPATH /opt/lib\n", other.display(), file.display());
    same(run("runpath print FILE", &[&tree]).expect(0)?.out, expected, "printed")
}

#[test]
fn an_archive_is_to_be_unpacked_first() -> Done {
    let lab = Lab::new()?;
    let tar = [&[b'x'; 257][..], b"ustar\x0000"].concat();
    let archives: [(&str, &[u8]); 7] = [
        ("x.whl", b"PK\x03\x04 and so on"),
        ("x.deb", b"!<arch>\ndebian-binary   "),
        ("x.tar", &tar),
        ("x.tar.gz", b"\x1f\x8b\x08"),
        ("x.tar.xz", b"\xfd7zXZ\x00"),
        ("x.tar.zst", b"\x28\xb5\x2f\xfd"),
        ("x.tar.bz2", b"BZh9"),
    ];
    for (name, bytes) in archives {
        let file = lab.path(name);
        fs::write(&file, bytes)?;
        for line in
            ["check FILE", "fix FILE", "fix -n FILE", "explain FILE", "runpath print FILE", "runpath set /a FILE"]
        {
            says(&run(line, &[&file]).expect(2)?, &["an archive (", "unpack it first"])?;
        }
        same(fs::read(&file)? == bytes, true, name)?;
    }
    // Found in a directory it is one of the files that are no ELF files.
    same(run("check FILE", &[lab.root()]).expect(0)?.err.as_str(), "", "errors")
}

#[test]
fn file_systems_that_the_kernel_makes_up_are_not_walked_into() -> Done {
    let ran = run("check /proc", &[]).expect(2)?;
    says(&ran, &["/proc: a file system that the kernel makes up (proc)", "0 ELF files"])?;
    same(ran.err.lines().count(), 1, "lines of errors")
}

/// Neither is what is empty worth an error.
#[test]
fn an_empty_file_that_cannot_be_read_is_no_error() -> Done {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir(lab.path("t"))?;
    fs::write(lab.path("t/lock"), "")?;
    fs::set_permissions(lab.path("t/lock"), fs::Permissions::from_mode(0o000))?;
    let binary = lab.path("driver-runpath");
    support::lab::succeed(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_driver-runpath")).arg(&binary))?;
    let mut command = std::process::Command::new(&binary);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let ran = support::lab::run_copy(command.arg("check").arg(lab.path("t")))?.expect(0)?;
    same(ran.err.as_str(), "", "errors")
}
