//! The command `runpath`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use super::support::lab::{Lab, Ran, contains, driver_runpath, same, stat};
use super::support::referee::Tag;
use super::support::tools::trial;
use super::{Done, check, program_with, with_both_tags};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("each_operation_keeps_the_tag", operations),
        Trial::test("the_tag_can_be_chosen", force),
        Trial::test("one_file_prints_its_path_alone_and_several_their_names", print),
        Trial::test("a_path_is_written_without_empty_entries_and_duplicates", tidy),
        Trial::test("a_right_file_is_not_touched", untouched),
        Trial::test("a_dry_run_of_an_operation_changes_nothing", dry_run),
        Trial::test("hard_links_elsewhere_are_refused_by_runpath_unless_broken", hard_links),
        Trial::test("removal_can_be_written_to_another_file", remove_to_output),
        trial("a_search_path_that_shrinks_to_nothing_goes", &["cc"], shrink_to_nothing),
    ]
}

pub fn runpath(arguments: &[&str], file: &Path) -> Ran {
    let all = arguments.iter().map(OsStr::new);
    driver_runpath([OsStr::new("runpath")].into_iter().chain(all).chain([file.as_os_str()]))
}

fn printed(file: &Path) -> Result<String, Failed> {
    Ok(runpath(&["print"], file).expect(0)?.out)
}

fn operations() -> Done {
    for tag in [Tag::Runpath, Tag::Rpath] {
        for (arguments, expected) in [
            (&["set", "/a:/b"][..], Some("/a:/b")),
            (&["prepend", "/a:/b"], Some("/a:/b:/opt/lib")),
            (&["append", "/a:/b"], Some("/opt/lib:/a:/b")),
            (&["remove", "/opt/lib"], None),
            (&["clear"], None),
        ] {
            let lab = Lab::new()?;
            let path = program_with(tag, &lab, "program")?;
            let before = fs::read(&path)?;
            let run = runpath(arguments, &path).expect(0)?;
            contains(&run.out, &format!("changed: {}: ", path.display()))?;
            check(&before, &path, expected.map(|_| tag), expected)?;
            same(printed(&path)?, format!("{}\n", expected.unwrap_or_default()), "printed")?;
        }
    }
    let lab = Lab::new()?;
    let bare = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let before = fs::read(&bare)?;
    runpath(&["append", "/a"], &bare).expect(0)?;
    check(&before, &bare, Some(Tag::Runpath), Some("/a"))
}

fn force() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let before = fs::read(&path)?;
    runpath(&["append", "--force-rpath", "/opt/lib"], &path).expect(0)?;
    check(&before, &path, Some(Tag::Rpath), Some("/opt/lib"))?;
    runpath(&["append", "--force-runpath", "/a"], &path).expect(0)?;
    check(&before, &path, Some(Tag::Runpath), Some("/opt/lib:/a"))
}

fn print() -> Done {
    let lab = Lab::new()?;
    let with = program_with(Tag::Rpath, &lab, "with")?;
    let without = lab.fixture("x86_64/libplain.so", "without")?;
    same(printed(&with)?.as_str(), "/opt/lib\n", "one file")?;
    let run = runpath(&["print", &with.display().to_string()], &without).expect(0)?;
    let expected = format!("{}: RPATH /opt/lib\n{}: no search path\n", with.display(), without.display());
    same(run.out, expected, "two files")
}

fn tidy() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    runpath(&["set", ":/a::/b:/a/:"], &path).expect(0)?;
    same(printed(&path)?.as_str(), "/a:/b\n", "set")?;
    runpath(&["prepend", "/b"], &path).expect(0)?;
    same(printed(&path)?.as_str(), "/b:/a\n", "prepended")?;
    runpath(&["append", "/b:/c"], &path).expect(0)?;
    same(printed(&path)?.as_str(), "/b:/a:/c\n", "appended")
}

fn untouched() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Rpath, &lab, "program")?;
    let before = (fs::read(&path)?, stat(&path)?);
    for arguments in [&["set", "/opt/lib"][..], &["append", "/opt/lib"], &["prepend", "/opt/lib"]] {
        let expected = format!("already right: {}: RPATH /opt/lib\n", path.display());
        same(runpath(arguments, &path).expect(0)?.out, expected, "output")?;
    }
    same((fs::read(&path)?, stat(&path)?) == before, true, "bytes, mode, time, inode")
}

fn dry_run() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    with_both_tags(&path)?;
    let before = (fs::read(&path)?, stat(&path)?);
    let output = lab.path("output").display().to_string();
    for arguments in [&["set", "/a"][..], &["clear"], &["set", "--output", &output, "/a"]] {
        let all = [&arguments[..1], &["--dry-run"], &arguments[1..]].concat();
        contains(&runpath(&all, &path).expect(0)?.out, "would change: ")?;
    }
    same((fs::read(&path)?, stat(&path)?) == before, true, "bytes, mode, time, inode")?;
    same(Path::new(&output).exists(), false, "the output")
}

fn hard_links() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let other = lab.path("other");
    fs::hard_link(&path, &other)?;
    let before = fs::read(&path)?;
    let run = runpath(&["set", "/a"], &path).expect(1)?;
    contains(&run.err, "1 more hard link(s) to it lie outside the paths given; --break-links")?;
    same(fs::read(&path)? == before, true, "bytes")?;
    runpath(&["set", "/a", &other.display().to_string()], &path).expect(0)?;
    same(stat(&path)?.2, stat(&other)?.2, "both names are given: one file")?;
    contains(&runpath(&["set", "--break-links", "/b"], &path).expect(0)?.out, "now a file of its own")?;
    same((printed(&path)?.as_str(), printed(&other)?.as_str()), ("/b\n", "/a\n"), "search paths")
}

fn remove_to_output() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let once = fs::read(&path)?;
    with_both_tags(&path)?;
    let both = fs::read(&path)?;
    let output = lab.path("output");
    runpath(&["clear", "--output", &output.display().to_string()], &path).expect(0)?;
    check(&once, &output, None, None)?;
    same(fs::read(&path)? == both, true, "the input")
}

fn shrink_to_nothing() -> Done {
    let lab = Lab::new()?;
    lab.cc("a/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    let directory = lab.path("a").display().to_string();
    let flags = ["-shared", "-fPIC", "-La", "-Wl,--no-as-needed", "-lplain"];
    let path = lab.cc("libuser.so", &["opens.c"], &flags)?;
    runpath(&["set", &format!("/none:{directory}")], &path).expect(0)?;
    let before = fs::read(&path)?;
    runpath(&["shrink"], &path).expect(0)?;
    check(&before, &path, Some(Tag::Runpath), Some(&directory))?;
    runpath(&["shrink", "--allowed-prefix", "/nowhere"], &path).expect(0)?;
    check(&before, &path, None, None)
}
