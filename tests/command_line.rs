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
