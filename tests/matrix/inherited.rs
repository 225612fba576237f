//! `DT_RPATH` is inherited by dependencies that have no tag: a library that gets its first search path must not take that
//! away from its own dependencies.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use super::support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use super::support::tools::trial;

type Done = Result<(), Failed>;

/// The trials of this file. The plain case is in `main_job`.
pub fn trials() -> Vec<Trial> {
    let case = |name: &str, middle: &'static [&'static str], tag: &'static str| {
        trial(name, &["cc"], move || chain(middle, tag))
    };
    vec![
        case("an_rpath_is_inherited_through_a_library_without_a_tag", &[], "RPATH"),
        case("an_rpath_is_inherited_past_a_library_with_a_runpath", &["--enable-new-dtags,-rpath,$ORIGIN"], "RPATH"),
        case("an_rpath_is_inherited_past_a_library_with_an_rpath", &["--disable-new-dtags,-rpath,/nowhere"], "RPATH"),
        trial("a_runpath_of_the_program_is_not_inherited", &["cc"], not_inherited),
        trial("a_library_without_its_tree_is_warned_of_what_it_may_no_longer_find", &["cc"], without_its_tree),
    ]
}

/// program (RPATH) → libmiddle → libopens (no tag, loads the driver) → libplain (no tag).
fn chain(middle: &[&str], tag: &str) -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    let shared = ["-shared", "-fPIC", "-Llib", "-Wl,--no-as-needed"];
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    lab.cc("lib/libopens.so", &["opens.c"], &[&shared[..], &["-lplain"]].concat())?;
    let middle: Vec<String> = middle.iter().map(|option| format!("-Wl,{option}")).collect();
    let middle: Vec<&str> = middle.iter().map(String::as_str).collect();
    let (outer, inner) = (lab.path("outer.c"), lab.path("inner.c"));
    fs::write(&inner, "int open_driver(void);\nint middle(void) { return open_driver(); }\n")?;
    fs::write(
        &outer,
        "#include <stdio.h>\nint middle(void);\nint main(void) { return puts(middle() ? \"driver found\" : \"driver not found\") < 0; }\n",
    )?;
    let inner = inner.display().to_string();
    lab.cc(
        "lib/libmiddle.so",
        &[],
        &[&[inner.as_str()], &shared[..], &["-lopens", "-Wl,-rpath-link,lib"], &middle].concat(),
    )?;
    // Only libmiddle needs libopens: the program finds it by its own RPATH.
    let outer = outer.display().to_string();
    let own = ["-Llib", "-lmiddle", "-Wl,-rpath-link,lib", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"];
    let file = lab.cc("bin/program", &[], &[&[outer.as_str()], &own[..]].concat())?;
    let says = || succeed(&mut program(&file));
    contains(&says()?, "driver not found")?;
    let run =
        driver_runpath([OsStr::new("fix"), &link, lab.path("lib/libopens.so").as_os_str(), lab.root().as_os_str()]);
    contains(&run.expect(0)?.out, "RPATH, because a RUNPATH would end the search path that it inherits")?;
    contains(&says()?, "driver found")?;
    same(tag_of(&lab.path("lib/libopens.so"))?, tag.into(), "the tag")?;
    // The counter-test: with a RUNPATH the program does not start.
    let args = [OsStr::new("fix"), OsStr::new("--force-runpath"), &link];
    driver_runpath(args.into_iter().chain([lab.path("lib/libopens.so").as_os_str()])).expect(0)?;
    match says() {
        Ok(_) => Err("a RUNPATH was expected to cut the inheritance: the case tests nothing".into()),
        Err(_) => Ok(()),
    }
}

/// A `DT_RUNPATH` serves the program's own dependencies alone, so there is nothing to keep.
fn not_inherited() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    // Its dependency is found by LD_LIBRARY_PATH, which an RPATH would go before.
    lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC", "-Llib", "-Wl,--no-as-needed", "-lplain"])?;
    let flags = ["-Llib", "-lopens", "-Wl,-rpath-link,lib", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib"];
    let file = lab.cc("bin/program", &["program.c"], &flags)?;
    driver_runpath([OsStr::new("fix"), &link, lab.root().as_os_str()]).expect(0)?;
    contains(&succeed(program(&file).env("LD_LIBRARY_PATH", lab.path("lib")))?, "driver found")?;
    same(tag_of(&lab.path("lib/libopens.so"))?, "RUNPATH".into(), "the tag")
}

/// Given alone, nobody can know what the library inherits.
fn without_its_tree() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    let file =
        lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC", "-Llib", "-Wl,--no-as-needed", "-lplain"])?;
    // The program's RPATH leads its own library to the other one.
    let flags = ["-Llib", "-lopens", "-Wl,-rpath-link,lib", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"];
    let program_file = lab.cc("bin/program", &["program.c"], &flags)?;
    let original = fs::read(&file)?;
    let warns = |args: &[&OsStr]| -> Result<bool, Failed> {
        fs::write(&file, &original)?;
        let fix = [OsStr::new("fix"), &link].into_iter().chain(args.iter().copied());
        Ok(driver_runpath(fix).expect(0)?.err.contains("needs libplain.so, which neither"))
    };
    same(warns(&[lab.root().as_os_str()])?, false, "a warning where the tree is given")?;
    succeed(&mut program(&program_file))?;
    same(warns(&[OsStr::new("--force-rpath"), file.as_os_str()])?, false, "a warning with an RPATH")?;
    succeed(&mut program(&program_file))?;
    same(warns(&[file.as_os_str()])?, true, "a warning where the file is given alone")?;
    match succeed(&mut program(&program_file)) {
        Ok(_) => Err("the program was expected to miss libplain.so: the case tests nothing".into()),
        Err(_) => Ok(()),
    }
}

fn tag_of(file: &Path) -> Result<String, Failed> {
    let found = super::support::tools::readelf_runpath(file).ok_or("no search path")?;
    Ok(found.0)
}
