//! `audit`: the names that a compiled library opens, each kind once, and whether ld.so finds the same.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::{Arguments, Failed};
use serde_json::{Value, json};
use support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use support::tools::trial;

type Done = Result<(), Failed>;

fn main() {
    let trials = vec![
        trial("each_kind_of_name_is_told_with_what_the_loader_finds", &["cc"], kinds),
        trial("a_name_that_ends_a_message_counts_where_code_takes_it_alone", &["cc"], tails),
        trial("a_name_in_a_message_is_told_on_request_alone", &["cc"], messages),
        trial("what_is_missing_is_told_by_name_for_the_whole_tree", &["cc"], missing),
        trial("explain_tells_the_same_of_one_file", &["cc"], explained),
        trial("a_strict_audit_is_exact", &["cc"], strict),
        trial("a_file_that_opens_nothing_says_so", &["cc"], opens_nothing),
        trial("the_loader_finds_what_the_audit_says", &["cc"], loader_agrees),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A tree: the library that opens, one beside it, one that the tree has elsewhere.
fn tree(lab: &Lab) -> Result<PathBuf, Failed> {
    let shared = ["-shared", "-fPIC", "-O2"];
    let opener = [&shared[..], &["-Wl,-soname,libopens.so.1,--enable-new-dtags,-rpath,$ORIGIN"]].concat();
    let opener = lab.cc("tree/lib/libopens.so.1", &["opens-many.c"], &opener)?;
    lab.cc("tree/lib/libbeside.so", &["plain.c"], &shared)?;
    lab.cc("tree/lib/libtwo.so.2", &["plain.c"], &shared)?;
    lab.cc("tree/other/libelsewhere.so", &["plain.c"], &[&shared[..], &["-Wl,-soname,libelsewhere.so.1"]].concat())?;
    Ok(opener)
}

fn audit<'a>(options: &[&'a str], paths: impl IntoIterator<Item = &'a OsStr>) -> Result<Value, Failed> {
    let fixed = ["audit", "--json"].into_iter().chain(options.iter().copied()).map(OsStr::new);
    Ok(serde_json::from_str(&driver_runpath(fixed.chain(paths)).out)?)
}

/// What is said of the opener: by name, the reason and the lookup.
fn openings(document: &Value) -> BTreeMap<String, (String, String)> {
    let files = document["files"].as_array().into_iter().flatten();
    let opens = files.flat_map(|file| file["opens"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    opens.map(|opening| (text(&opening["name"]), (text(&opening["reason"]), text(&opening["lookup"])))).collect()
}

fn kinds() -> Done {
    let lab = Lab::new()?;
    tree(&lab)?;
    let document = audit(&[], [lab.path("tree").as_os_str()])?;
    let expected = [
        ("libbeside.so", ("string", "found")),
        ("libc.so.6", ("string", "needed")),
        ("libcuda.so.1", ("string", "missing")),
        ("libdeclared.so.2", ("declared", "missing")),
        ("libelsewhere.so.1", ("string", "in-tree")),
        ("libmessage.so.1", ("text", "missing")),
        ("libnowhere.so.3", ("string", "missing")),
        ("libplugin-%s.so", ("format", "unknown")),
        ("libtwo.so", ("string", "versioned")),
    ];
    let own = |(reason, lookup): (&str, &str)| (reason.to_owned(), lookup.to_owned());
    let expected = expected.map(|(name, kind)| (name.to_owned(), own(kind))).into();
    same(openings(&document), expected, "what it opens")?;
    let files = document["files"].as_array().into_iter().flatten();
    let declared = files.flat_map(|file| file["opens"].as_array().into_iter().flatten());
    let declared = declared.into_iter().find(|opening| opening["reason"] == "declared").ok_or("no note")?;
    same((&declared["priority"], &declared["description"]), (&json!("suggested"), &json!("For X")), "the note")
}

fn tails() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("libtail-opener.so", &["opens-tail.c"], &["-shared", "-fPIC", "-O2"])?;
    let reasons = openings(&audit(&[], [path.as_os_str()])?).into_iter().map(|(name, (reason, _))| (name, reason));
    // Only x86-64's code is read for it; other compilers leave the built name in data.
    let (tail, built) = if cfg!(target_arch = "x86_64") { ("string", "constants") } else { ("text", "string") };
    let expected = [
        ("libcuda.so.1", built),
        ("libnvidia-ml.so.1", "string"),
        ("libprefix.so.", "format"),
        ("libtail.so.2", tail),
        ("libword.so.2", "text"),
    ];
    let expected: Vec<(String, String)> = expected.map(|(name, reason)| (name.into(), reason.into())).into();
    same(reasons.collect(), expected.clone(), "the names")?;
    // The loader that a program names is none of what it opens.
    let program =
        lab.cc("opener", &["opens-tail.c"], &["-fPIE", "-pie", "-O2", "-nostartfiles", "-Wl,-e,open_tail"])?;
    let reasons = openings(&audit(&[], [program.as_os_str()])?).into_iter().map(|(name, (reason, _))| (name, reason));
    same(reasons.collect(), expected, "the names of a program")
}

fn messages() -> Done {
    let lab = Lab::new()?;
    let opener = tree(&lab)?;
    let usual = driver_runpath([OsStr::new("audit"), opener.as_os_str()]).expect(0)?;
    same(usual.out.contains("libmessage"), false, &usual.out)?;
    let all = driver_runpath([OsStr::new("audit"), OsStr::new("-v"), opener.as_os_str()]).expect(0)?;
    contains(&all.out, "  libmessage.so.1: NOT FOUND\n    within other text in .rodata at 0x")
}

fn missing() -> Done {
    let lab = Lab::new()?;
    tree(&lab)?;
    let shared = ["-shared", "-fPIC", "-O2"];
    lab.cc("tree/lib/libmore.so", &["opens-many.c"], &[&shared[..], &["-Wl,-rpath,$ORIGIN/../other"]].concat())?;
    // The file name that one of them finds it by.
    fs::rename(lab.path("tree/other/libelsewhere.so"), lab.path("tree/other/libelsewhere.so.1"))?;
    let run = |options: &[&str]| {
        let options = ["audit"].into_iter().chain(options.iter().copied()).map(OsStr::new);
        driver_runpath(options.chain([lab.path("tree").as_os_str()]))
    };
    let said = run(&["--missing"]).expect(0)?;
    contains(&said.out, "\nlibnowhere.so.3: opened by 2 files, found by none\n")?;
    contains(&said.out, "\nlibelsewhere.so.1: opened by 2 files, found by 1\n")?;
    contains(&said.out, "  libelsewhere.so.1: NOT FOUND, though the tree has ")?;
    same(said.out.contains("libc.so.6"), false, &said.out)?;
    contains(&run(&[]).expect(0)?.out, "  libc.so.6: needed, so it is there\n")?;
    same(run(&["--missing", "--ignore", "libnow*"]).expect(0)?.out.contains("libnowhere"), false, "ignored")?;
    let quiet = run(&["-q"]).expect(0)?.out;
    contains(&quiet, "5 ELF files, 2 open libraries, by 8 names\n")?;
    Ok(())
}

fn explained() -> Done {
    let lab = Lab::new()?;
    let opener = tree(&lab)?;
    let said = driver_runpath([OsStr::new("explain"), opener.as_os_str()]).expect(0)?;
    contains(&said.out, "\nit likely opens, too\n├─ libbeside.so: found by RUNPATH: ")?;
    contains(&said.out, "─ libnowhere.so.3: NOT FOUND\n")?;
    let said = driver_runpath([OsStr::new("explain"), OsStr::new("--json"), opener.as_os_str()]).expect(0)?;
    let document: Value = serde_json::from_str(&said.out)?;
    let names = document["opens"].as_array().into_iter().flatten().filter_map(|opening| opening["name"].as_str());
    let audited = audit(&[], [opener.as_os_str()])?;
    let likely = openings(&audited).into_iter().filter(|(_, (reason, _))| reason != "text").map(|(name, _)| name);
    same(names.map(str::to_owned).collect::<Vec<_>>(), likely.collect(), "the names")
}

fn strict() -> Done {
    let lab = Lab::new()?;
    let opener = tree(&lab)?;
    let run = |options: &[&str]| {
        let options = ["audit", "--missing", "--strict"].into_iter().chain(options.iter().copied()).map(OsStr::new);
        driver_runpath(options.chain([opener.as_os_str()]))
    };
    run(&[]).expect(1)?;
    let expected = ["libcuda.so.1", "libdeclared.so.2", "libelsewhere.so.1", "libnowhere.so.3", "libtwo.so"];
    let expect: Vec<&str> = expected.iter().flat_map(|name| ["--expect", name]).collect();
    run(&expect).expect(0)?;
    let said = run(&[&expect[..], &["--expect", "libc.so.6"]].concat()).expect(1)?;
    contains(&said.out, "libc.so.6: expected to be missing, but it is not\n")?;
    // With its directory searched, the driver is the running system's matter.
    driver_runpath([OsStr::new("fix"), opener.as_os_str()]).expect(0)?;
    let said = run(&expect).expect(1)?;
    contains(&said.out, "libcuda.so.1: expected to be missing, but it is not\n")
}

fn opens_nothing() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("libnames.so", &["names.c"], &["-shared", "-fPIC"])?;
    let said = driver_runpath([OsStr::new("audit"), path.as_os_str()]).expect(0)?;
    contains(
        &said.out,
        ": opens nothing (it imports neither dlopen nor dlmopen)\n1 ELF file, 0 open libraries, by 0 names\n",
    )
}

/// Every library that ld.so searches for on behalf of the opener is told, and found or not as ld.so does.
fn loader_agrees() -> Done {
    let lab = Lab::new()?;
    let opener = tree(&lab)?;
    let source = lab.path("main.c");
    fs::write(&source, "int open_all(const char *);\nint main(void) { open_all(\"x\"); return 0; }\n")?;
    let main = lab.path("main");
    succeed(
        Command::new("cc")
            .arg("-o")
            .arg(&main)
            .arg(&source)
            .arg(&opener)
            .arg(format!("-Wl,-rpath,{}", lab.path("tree/lib").display())),
    )?;
    let output = program(&main).env("LD_DEBUG", "libs").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = openings(&audit(&[], [opener.as_os_str()])?);
    let (mut asked, mut faults) = (0, Vec::new());
    for part in said.split("find library=").skip(1) {
        let (name, search) = part.split_once(' ').ok_or("an odd line")?;
        // What the program itself needs was searched for before.
        if name == "libopens.so.1" || name == "libc.so.6" {
            continue;
        }
        asked += 1;
        // The last place that is tried is the one that counts, if it is there.
        let last = search.lines().filter_map(|line| line.split_once("trying file=")).next_back();
        let is_found = last.is_some_and(|(_, path)| fs::metadata(path.trim()).is_ok());
        let lookup = told.get(name).or_else(|| told.get("libplugin-%s.so").filter(|_| name == "libplugin-x.so"));
        match lookup.map(|(_, lookup)| lookup.as_str()) {
            Some("unknown") => {}
            Some("found") if is_found => {}
            Some("missing" | "in-tree" | "versioned") if !is_found => {}
            other => faults.push(format!("{name}: {other:?}, ld.so: {is_found}")),
        }
    }
    same(faults, Vec::new(), &said)?;
    // All but the one that is declared, needed, or named in the message.
    same(asked, 6, &said)
}
