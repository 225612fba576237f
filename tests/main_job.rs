//! The main job, end to end: real programs, the real loader, a stand-in for the driver.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{DRIVER, Lab, contains, driver_runpath, program, same, stat, succeed};
use support::referee::{Expect, Tag, judge};
use support::tools::{elflint_findings, readelf_runpath, trial};

type Done = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = loader_trials();
    trials.extend(file_trials());
    trials.extend(bad_input_trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// Ways to link a program that opens the driver, each with the search path that it starts with.
const LINKS: [(&str, &[&str]); 8] = [
    ("pie_without_a_search_path", &["-pie", "-fPIE"]),
    ("no_pie_without_a_search_path", &["-no-pie", "-fno-pie"]),
    ("pie_with_runpath", &["-pie", "-fPIE", "-Wl,--enable-new-dtags,-rpath,/opt/some/dir"]),
    ("pie_with_rpath", &["-pie", "-fPIE", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"]),
    ("no_pie_with_runpath", &["-no-pie", "-fno-pie", "-Wl,--enable-new-dtags,-rpath,$ORIGIN"]),
    ("no_pie_without_separate_code", &["-no-pie", "-fno-pie", "-Wl,-z,noseparate-code"]),
    ("pie_without_separate_code", &["-pie", "-fPIE", "-Wl,-z,noseparate-code"]),
    ("pie_with_pages_of_2_mib", &["-pie", "-fPIE", "-Wl,-z,max-page-size=0x200000"]),
];

fn loader_trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = LINKS
        .iter()
        .map(|(name, flags)| {
            let flags: Vec<&str> = flags.to_vec();
            trial(&format!("a_program_finds_the_driver_afterwards::{name}"), &["cc"], move || opener_program(&flags))
        })
        .collect();
    trials.push(trial("a_library_that_opens_the_driver_finds_it_afterwards", &["cc"], opener_library));
    trials.push(trial("a_program_linked_to_the_driver_starts_afterwards", &["cc"], linked_program));
    trials.push(trial("a_dependency_that_lives_on_an_inherited_rpath_still_loads", &["cc"], inherited_rpath));
    trials.push(trial("a_plugin_that_lives_on_the_rpath_of_its_opener_still_loads", &["cc"], inherited_by_plugin));
    trials.push(trial("a_stub_directory_that_others_need_by_rpath_stays", &["cc"], stubs_for_heirs));
    trials.push(trial("an_empty_search_path_does_not_become_the_current_directory", &["cc"], no_empty_entry));
    trials
}

/// Runs `path` and says whether it found the driver.
fn finds_driver(path: &Path) -> Result<bool, Failed> {
    match succeed(program(path).env("LD_BIND_NOW", "1"))?.trim() {
        "driver found" => Ok(true),
        "driver not found" => Ok(false),
        other => Err(format!("unexpected output {other:?}").into()),
    }
}

fn opener_program(flags: &[&str]) -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    let path = lab.cc("bin/program", &["program.c", "opens.c"], flags)?;
    let before = fs::read(&path)?;
    same(finds_driver(&path)?, false, "found before")?;
    driver_runpath([OsStr::new("check"), &link, path.as_os_str()]).expect(1)?;
    driver_runpath([OsStr::new("fix"), &link, path.as_os_str()]).expect(0)?;
    same(finds_driver(&path)?, true, "found afterwards")?;
    driver_runpath([OsStr::new("check"), &link, path.as_os_str()]).expect(0)?;

    let old = flags.iter().find_map(|flag| flag.strip_prefix("-Wl,")?.split_once("-rpath,").map(|(_, path)| path));
    let driver = lab.path("driver/lib").display().to_string();
    let expected = old.map_or(driver.clone(), |old| format!("{driver}:{old}"));
    let objections = judge(&before, &fs::read(&path)?, &Expect { tag: None, search_path: Some(expected.as_bytes()) });
    if objections.is_empty() { Ok(()) } else { Err(format!("{objections:#?}").into()) }
}

fn opener_library() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    let library = lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC"])?;
    let program =
        lab.cc("bin/program", &["program.c"], &["-Llib", "-lopens", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib"])?;
    let unchanged = fs::read(&program)?;
    same(finds_driver(&program)?, false, "found before")?;
    let run = driver_runpath([OsStr::new("fix"), &link, lab.path("bin").as_os_str(), lab.path("lib").as_os_str()]);
    let run = run.expect(0)?;
    same(finds_driver(&program)?, true, "found afterwards")?;
    contains(&run.out, "2 ELF files, 1 loads the driver: 1 changed, 0 already right, 0 refused")?;
    contains(&run.out, &format!("changed: {}: names libcuda.so.1 in .rodata", library.display()))?;
    same(fs::read(&program)? == unchanged, true, "the program itself opens nothing and is as it was")
}

fn linked_program() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    let flags = ["-shared", "-fPIC", "-Ldriver/lib", "-l:libcuda.so.1"];
    let library = lab.cc("libneeds.so", &["needs.c"], &flags)?;
    let load = |path: &Path| succeed(program(Path::new("ldd")).arg(path));
    contains(&load(&library)?, "libcuda.so.1 => not found")?;
    driver_runpath([OsStr::new("fix"), &link, library.as_os_str()]).expect(0)?;
    contains(&load(&library)?, &format!("libcuda.so.1 => {}", lab.path("driver/lib/libcuda.so.1").display()))
}

/// DT_RPATH is inherited by dependencies without a tag; a first DT_RUNPATH would cut that.
fn inherited_rpath() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    let shared = ["-shared", "-fPIC", "-Llib", "-Wl,--no-as-needed", "-lplain"];
    let library = lab.cc("lib/libopens.so", &["opens.c"], &shared)?;
    let flags = ["-Llib", "-lopens", "-Wl,-rpath-link,lib", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"];
    let program = lab.cc("bin/program", &["program.c"], &flags)?;
    same(finds_driver(&program)?, false, "found before")?;
    let run = driver_runpath([OsStr::new("fix"), &link, lab.root().as_os_str()]).expect(0)?;
    same(finds_driver(&program)?, true, "found afterwards")?;
    contains(&run.out, "RPATH, because a RUNPATH would end the search path that it inherits")?;
    let forced = lab.path("forced");
    fs::create_dir(&forced)?;
    fs::copy(&program, forced.join("program"))?;
    // The counter-test: with a RUNPATH the program does not start.
    driver_runpath([OsStr::new("fix"), OsStr::new("--force-runpath"), &link, library.as_os_str()]).expect(0)?;
    match succeed(support::lab::program(&program).env("LD_BIND_NOW", "1")) {
        Ok(_) => Err("a RUNPATH was expected to cut the inheritance: the case tests nothing".into()),
        Err(_) => Ok(()),
    }
}

/// Nobody needs the plugin; an opener's DT_RPATH leads to it and to what it needs.
fn inherited_by_plugin() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC", "-Llib", "-Wl,--no-as-needed", "-lplain"])?;
    let source = lab.path("host.c");
    fs::write(
        &source,
        "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) {\n  void *p = dlopen(\"libopens.so\", RTLD_NOW);\n\
         \x20 puts(p ? \"plugin found\" : dlerror());\n  return 0;\n}\n",
    )?;
    let host = lab.path("host");
    let mut cc = std::process::Command::new("cc");
    cc.arg("-o").arg(&host).arg(&source).arg("-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib");
    succeed(&mut cc)?;
    contains(&succeed(&mut program(&host))?, "plugin found")?;
    driver_runpath([OsStr::new("fix"), &link, lab.root().as_os_str()]).expect(0)?;
    contains(&succeed(&mut program(&host))?, "plugin found")
}

/// A stub directory on an inherited DT_RPATH can hold what another file needs.
fn stubs_for_heirs() -> Done {
    let lab = Lab::new()?;
    let link = lab.driver()?;
    lab.cc("lib/stubs/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    let flags = ["-shared", "-fPIC", "-Llib/stubs", "-Wl,--no-as-needed", "-lplain"];
    lab.cc("lib/libopens.so", &["opens.c"], &flags)?;
    let rpath = "-Wl,-rpath-link,lib/stubs,--disable-new-dtags,-rpath,$ORIGIN/lib:$ORIGIN/lib/stubs";
    let path = lab.cc("program", &["program.c"], &["-Llib", "-lopens", rpath])?;
    contains(&succeed(&mut program(&path))?, "driver not found")?;
    driver_runpath([OsStr::new("fix"), OsStr::new("--all"), &link, lab.root().as_os_str()]).expect(0)?;
    contains(&succeed(&mut program(&path))?, "driver found")
}

/// A trailing colon is the current directory: a library there would be loaded.
fn no_empty_entry() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("program", &["program.c", "opens.c"], &["-Wl,--enable-new-dtags,-rpath,::"])?;
    lab.cc("trap/libcuda.so.1", &["driver.c"], &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"])?;
    let in_trap = || succeed(program(&path).current_dir(lab.path("trap")));
    contains(&in_trap()?, "driver found")?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    contains(&in_trap()?, "driver not found")
}

fn file_trials() -> Vec<Trial> {
    vec![
        Trial::test("every_architecture_gets_its_driver_directory", every_architecture),
        Trial::test("the_second_run_changes_nothing", second_run),
        Trial::test("a_hundred_runs_change_the_bytes_once", hundred_runs),
        Trial::test("a_dry_run_changes_nothing", dry_run),
        Trial::test("only_files_that_load_the_driver_are_touched", only_loaders),
        Trial::test("all_takes_every_dynamic_file", all_files),
        Trial::test("a_read_only_file_keeps_its_mode", read_only),
        Trial::test("links_are_followed_where_named_not_where_found", links),
        Trial::test("hard_links_within_the_paths_stay_one_file", hard_links_inside),
        Trial::test("hard_links_elsewhere_are_refused_unless_broken", hard_links_outside),
        Trial::test("a_link_on_the_command_line_is_no_name_of_the_file", named_link),
        Trial::test("all_names_within_the_paths_get_the_copy", copies_share),
        Trial::test("a_relative_or_empty_driver_link_is_an_error", relative_directories),
        Trial::test("a_copy_that_a_killed_run_has_left_is_passed_over", left_copy),
        Trial::test("a_report_that_nobody_reads_does_not_change_the_status", unread_report),
        Trial::test("the_nix_store_is_refused_outside_a_build", nix_store),
        Trial::test("excluded_files_are_passed_over", excluded),
        Trial::test("check_tells_in_json", check_json),
        Trial::test("directories_can_be_put_before_the_driver", prepend),
        trial("a_tiny_file_takes_few_system_calls", &["strace"], few_system_calls),
        trial("readelf_and_elflint_agree", &["readelf", "eu-elflint"], readelf_and_elflint),
    ]
}

/// The architectures of `testdata/prebuilt`, both byte orders and both classes among them.
fn architectures() -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in fs::read_dir(support::lab::testdata().join("prebuilt"))? {
        names.push(entry?.file_name().into_string().map_err(|_| "a folder with an odd name")?);
    }
    names.sort();
    if names.len() < 11 { Err("folders are missing in testdata/prebuilt".into()) } else { Ok(names) }
}

fn every_architecture() -> Done {
    for architecture in architectures()? {
        let driver = if architecture == "i386" { "/run/opengl-driver-32/lib" } else { DRIVER };
        for (name, tag, rest) in [
            ("libopens.so", Tag::Runpath, ""),
            ("libneeds.so", Tag::Runpath, ""),
            ("program", Tag::Runpath, ":/opt/lib"),
            ("program-no-pie", Tag::Rpath, ":/opt/lib"),
        ] {
            let lab = Lab::new()?;
            let path = lab.fixture(&format!("{architecture}/{name}"), name)?;
            let before = fs::read(&path)?;
            driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
            let expected = format!("{driver}{rest}");
            let expect = Expect { tag: Some(tag), search_path: Some(expected.as_bytes()) };
            let objections = judge(&before, &fs::read(&path)?, &expect);
            if !objections.is_empty() {
                return Err(format!("{architecture}/{name}: {objections:#?}").into());
            }
        }
    }
    Ok(())
}

fn second_run() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    let (bytes, before) = (fs::read(&path)?, stat(&path)?);
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    contains(&run.out, "1 loads the driver: 0 changed, 1 already right")?;
    same(fs::read(&path)? == bytes, true, "same bytes")?;
    same(stat(&path)?, before, "mode, time, inode")
}

fn hundred_runs() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/program", "program")?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    let bytes = fs::read(&path)?;
    for _ in 1..100 {
        driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    }
    same(fs::read(&path)? == bytes, true, "same bytes")
}

fn dry_run() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let (bytes, before) = (fs::read(&path)?, stat(&path)?);
    let run = driver_runpath([OsStr::new("fix"), OsStr::new("--dry-run"), path.as_os_str()]).expect(0)?;
    contains(&run.out, "would change: ")?;
    same(fs::read(&path)? == bytes, true, "same bytes")?;
    same(stat(&path)?, before, "mode, time, inode")
}

fn only_loaders() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libplain.so", "tree/libplain.so")?;
    lab.fixture("x86_64/libopens.so", "tree/deep/er/libopens.so")?;
    let bytes = fs::read(&path)?;
    let run = driver_runpath([OsStr::new("fix"), lab.root().as_os_str()]).expect(0)?;
    contains(&run.out, "2 ELF files, 1 loads the driver: 1 changed, 0 already right, 0 refused; 0 errors")?;
    same(fs::read(&path)? == bytes, true, "same bytes")
}

fn all_files() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let before = fs::read(&path)?;
    driver_runpath([OsStr::new("fix"), OsStr::new("--all"), path.as_os_str()]).expect(0)?;
    let expect = Expect { tag: Some(Tag::Runpath), search_path: Some(DRIVER.as_bytes()) };
    let objections = judge(&before, &fs::read(&path)?, &expect);
    if objections.is_empty() { Ok(()) } else { Err(format!("{objections:#?}").into()) }
}

fn read_only() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    for mode in [0o444, 0o555, 0o400, 0o750] {
        fs::copy(support::lab::testdata().join("prebuilt/x86_64/libopens.so"), &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
        contains(&run.out, "1 changed")?;
        same(stat(&path)?.0, mode, "mode")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

fn links() -> Done {
    let lab = Lab::new()?;
    let target = lab.fixture("x86_64/libopens.so", "elsewhere/libopens.so")?;
    fs::create_dir(lab.path("tree"))?;
    symlink(&target, lab.path("tree/libopens.so"))?;
    symlink(lab.path("elsewhere"), lab.path("tree/directory"))?;
    let bytes = fs::read(&target)?;
    let run = driver_runpath([OsStr::new("fix"), lab.path("tree").as_os_str()]).expect(0)?;
    contains(&run.out, "0 ELF files")?;
    same(fs::read(&target)? == bytes, true, "a link that the walk found is not followed")?;
    driver_runpath([OsStr::new("fix"), lab.path("tree/libopens.so").as_os_str()]).expect(0)?;
    same(fs::read(&target)? == bytes, false, "a link that is named is followed")?;
    same(lab.path("tree/libopens.so").is_symlink(), true, "the link is still one")
}

fn hard_links_inside() -> Done {
    let lab = Lab::new()?;
    let first = lab.fixture("x86_64/libopens.so", "tree/a/libopens.so")?;
    let second = lab.path("tree/libopens.so.1");
    fs::hard_link(&first, &second)?;
    // The same name in two spellings is one name.
    let again = lab.path("tree/./a/../a/libopens.so");
    let run = driver_runpath([OsStr::new("fix"), again.as_os_str()]).expect(1)?;
    contains(&run.err, "1 more hard link(s)")?;
    let run = driver_runpath([OsStr::new("fix"), again.as_os_str(), lab.path("tree").as_os_str()]).expect(0)?;
    contains(&run.out, "1 ELF file, 1 loads the driver: 1 changed")?;
    same(stat(&first)?.2, stat(&second)?.2, "inode")
}

fn hard_links_outside() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "tree/libopens.so")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555))?;
    let elsewhere = lab.path("cache");
    fs::hard_link(&path, &elsewhere)?;
    let bytes = fs::read(&path)?;
    let run = driver_runpath([OsStr::new("fix"), lab.path("tree").as_os_str()]).expect(1)?;
    contains(&run.err, "1 more hard link(s) to it lie outside the paths given; --break-links")?;
    contains(&run.err, "the file is unchanged")?;
    same(fs::read(&path)? == bytes, true, "same bytes")?;
    let args = [OsStr::new("fix"), OsStr::new("--break-links"), path.as_os_str()];
    contains(&driver_runpath(args).expect(0)?.out, "now a file of its own")?;
    same(fs::read(&elsewhere)? == bytes, true, "the other name has the same bytes")?;
    same(fs::read(&path)? == bytes, false, "this name has new ones")?;
    same(stat(&path)?.0, 0o555, "mode")?;
    same(fs::read_dir(lab.path("tree"))?.count(), 1, "nothing is left behind")
}

fn named_link() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "tree/libopens.so")?;
    fs::hard_link(&path, lab.path("outside"))?;
    symlink("libopens.so", lab.path("tree/link.so"))?;
    let bytes = fs::read(&path)?;
    let link = lab.path("tree/link.so");
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str(), link.as_os_str()]).expect(1)?;
    contains(&run.err, "1 more hard link(s)")?;
    same(fs::read(lab.path("outside"))? == bytes, true, "the file outside is as it was")
}

fn copies_share() -> Done {
    let lab = Lab::new()?;
    let first = lab.fixture("x86_64/libopens.so", "tree/1.so")?;
    let second = lab.path("tree/2.so");
    fs::hard_link(&first, &second)?;
    fs::hard_link(&first, lab.path("outside"))?;
    let bytes = fs::read(&first)?;
    let tree = lab.path("tree");
    driver_runpath([OsStr::new("fix"), OsStr::new("--break-links"), tree.as_os_str()]).expect(0)?;
    driver_runpath([OsStr::new("check"), tree.as_os_str()]).expect(0)?;
    same(stat(&first)?.2, stat(&second)?.2, "inode")?;
    same(fs::read(lab.path("outside"))? == bytes, true, "the file outside is as it was")?;
    same(fs::read_dir(&tree)?.count(), 2, "nothing is left behind")
}

fn relative_directories() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    for option in ["--driver-link=", "--driver-link=.", "--driver-link=some/where", "--prepend=lib"] {
        driver_runpath([OsStr::new("fix"), OsStr::new(option), path.as_os_str()]).expect(2)?;
    }
    driver_runpath([OsStr::new("fix"), OsStr::new("--prepend=$ORIGIN/../lib"), path.as_os_str()]).expect(0)?;
    Ok(())
}

fn left_copy() -> Done {
    let lab = Lab::new()?;
    lab.fixture("x86_64/libopens.so", "tree/libopens.so")?;
    fs::write(lab.path("tree/.driver-runpath-abc123"), b"\x7fELF, half of a copy")?;
    let tree = lab.path("tree");
    let run = driver_runpath([OsStr::new("fix"), tree.as_os_str()]).expect(0)?;
    contains(&run.out, "1 ELF file, 1 loads the driver: 1 changed")
}

fn unread_report() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let binary = env!("CARGO_BIN_EXE_driver-runpath");
    let missing = lab.path("missing");
    let run =
        |script: &str| std::process::Command::new("sh").args(["-c", script, binary]).arg(&path).arg(&missing).status();
    // The reader of the pipe is gone before anything is written.
    same(run("{ sleep 0.2; \"$0\" fix \"$1\"; echo $? >&3; } 3>\"$2\" | :")?.success(), true, "the shell")?;
    same(fs::read_to_string(&missing)?.trim(), "0", "status")?;
    same(run("\"$0\" check /does/not/exist 2>/dev/full")?.code(), Some(2), "status where errors cannot be told")
}

fn nix_store() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "store/abc-x/lib/libopens.so")?;
    let bytes = fs::read(&path)?;
    let store = fs::canonicalize(lab.path("store"))?;
    let run = |in_build: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        command.arg("fix").arg(&path).env("NIX_STORE_DIR", &store).env_remove("NIX_BUILD_TOP");
        if in_build {
            command.env("NIX_BUILD_TOP", "/build");
        }
        command.output().map(support::lab::Ran::new)
    };
    contains(&run(false)?.expect(1)?.err, "it lies in the Nix store")?;
    same(fs::read(&path)? == bytes, true, "same bytes")?;
    contains(&run(true)?.expect(0)?.out, "1 changed")
}

fn excluded() -> Done {
    let lab = Lab::new()?;
    lab.fixture("x86_64/libopens.so", "tree/a/libopens.so")?;
    lab.fixture("x86_64/libopens.so", "tree/b/libopens.so")?;
    let tree = lab.path("tree");
    let args = [OsStr::new("check"), OsStr::new("--exclude=a"), tree.as_os_str()];
    contains(&driver_runpath(args).expect(1)?.out, "1 ELF file, 1 loads the driver")?;
    let args = [OsStr::new("check"), OsStr::new("--exclude=*/libopens.so"), tree.as_os_str()];
    contains(&driver_runpath(args).expect(0)?.out, "0 ELF files")
}

fn check_json() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/program", "program")?;
    let run = driver_runpath([OsStr::new("check"), OsStr::new("--json"), lab.root().as_os_str()]).expect(1)?;
    let document: serde_json::Value = serde_json::from_str(&run.out)?;
    same(&document["version"], &serde_json::json!(1), "version")?;
    let file = &document["files"][0];
    same(file["path"]["text"].as_str(), path.to_str(), "path")?;
    same(&file["verdict"], &serde_json::json!("misses"), "verdict")?;
    same(&file["tag"], &serde_json::json!("RUNPATH"), "tag")?;
    same(&file["search_path"][0]["text"], &serde_json::json!("/opt/lib"), "search path")?;
    same(&file["evidence"][0]["what"], &serde_json::json!("libcuda.so.1"), "evidence")
}

fn prepend() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/program", "program")?;
    let args = [OsStr::new("fix"), OsStr::new("--prepend=/first"), OsStr::new("--prepend=/second"), path.as_os_str()];
    let run = driver_runpath(args).expect(0)?;
    contains(&run.out, "-> RUNPATH /first:/second:/run/opengl-driver/lib:/opt/lib;")?;
    for bad in ["--prepend=", "--prepend=/a:/b"] {
        driver_runpath([OsStr::new("fix"), OsStr::new(bad), path.as_os_str()]).expect(2)?;
    }
    Ok(())
}

/// Times differ from machine to machine; the number of system calls hardly does. About 100 when this was written, two
/// thirds of them before `main`.
fn few_system_calls() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let trace = lab.path("trace");
    let mut command = program(Path::new("strace"));
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_driver-runpath")).arg("fix").arg(&path);
    succeed(&mut command)?;
    let calls = fs::read_to_string(&trace)?.lines().count();
    same(calls < 155, true, &format!("{calls} system calls, less than 155"))
}

fn readelf_and_elflint() -> Done {
    for architecture in architectures()? {
        for name in ["libopens.so", "program", "program-no-pie"] {
            let lab = Lab::new()?;
            let path = lab.fixture(&format!("{architecture}/{name}"), name)?;
            let before = elflint_findings(&path);
            driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
            let (_, value) = readelf_runpath(&path).ok_or("readelf sees no search path")?;
            let first = if architecture == "i386" { "/run/opengl-driver-32/lib" } else { DRIVER };
            same(value.starts_with(first.as_bytes()), true, "the driver comes first")?;
            let new: Vec<_> = elflint_findings(&path).difference(&before).cloned().collect();
            if !new.is_empty() {
                return Err(format!("{architecture}/{name}: eu-elflint: {new:#?}").into());
            }
        }
    }
    Ok(())
}

fn bad_input_trials() -> Vec<Trial> {
    vec![
        Trial::test("bad_input_is_named_with_its_reason_and_the_walk_goes_on", bad_input),
        Trial::test("what_cannot_be_read_is_named_and_the_walk_goes_on", unreadable),
        Trial::test("every_truncation_of_a_file_is_an_error_or_harmless", truncations),
        Trial::test("terminal_escapes_in_names_are_printed_harmless", escapes),
        Trial::test("a_damaged_file_in_a_tree_can_be_a_warning", skip_damaged),
    ]
}

fn bad_input() -> Done {
    let lab = Lab::new()?;
    let good = lab.fixture("x86_64/libopens.so", "tree/libopens.so")?;
    let whole = fs::read(&good)?;
    let write = |name: &str, bytes: &[u8]| fs::write(lab.path(name), bytes);
    write("truncated.so", whole.get(..whole.len() / 2).ok_or("an empty fixture")?)?;
    write("garbage.so", b"\x7fELF garbage behind the magic, for a while longer than a header of 64 bytes is")?;
    write("short.so", b"\x7fELF")?;
    write("library.a", b"!<arch>\n")?;
    write("script", b"#!/bin/sh\n")?;
    write("empty", b"")?;
    let mut object = whole.clone();
    if let Some(kind) = object.get_mut(16) {
        *kind = 1;
    }
    write("object.o", &object)?;
    for (name, reason, status) in [
        ("missing", "error: {}: cannot look at it: No such file or directory", 2),
        ("truncated.so", "error: {}: damaged ELF file: ", 2),
        ("garbage.so", "error: {}: damaged ELF file: ", 2),
        ("short.so", "error: {}: damaged ELF file: the file ends within the ELF header", 2),
        ("library.a", "skipped: {}: not an ELF file", 0),
        ("script", "skipped: {}: not an ELF file", 0),
        ("empty", "skipped: {}: not an ELF file", 0),
        ("object.o", "skipped: {}: a relocatable object file", 0),
    ] {
        let path = lab.path(name);
        for command in ["check", "fix"] {
            fs::write(&good, &whole)?;
            let tree = lab.path("tree");
            let run = driver_runpath([OsStr::new(command), path.as_os_str(), tree.as_os_str()]);
            let run = run.expect(if command == "check" { status.max(1) } else { status })?;
            contains(&run.err, &reason.replace("{}", &path.display().to_string()))?;
            same(run.err.lines().count(), 1, "lines of errors")?;
            // What is missing is a slip of the pen: nothing at all is done.
            let is_left = command == "check" || name == "missing";
            same(fs::read(&good)? == whole, is_left, "the good file is as it was")?;
        }
    }
    Ok(())
}

/// Root may read everything, so as root this runs as the user `nobody`.
fn unreadable() -> Done {
    const NOBODY: u32 = 65534;
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir(lab.path("tree"))?;
    fs::create_dir(lab.path("tree/closed"))?;
    fs::set_permissions(lab.path("tree/closed"), fs::Permissions::from_mode(0o000))?;
    let secret = lab.fixture("x86_64/libopens.so", "tree/secret.so")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000))?;
    let binary = lab.path("driver-runpath");
    // By cp: were it open for writing here, another thread's child could inherit that, and it would be "busy".
    succeed(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_driver-runpath")).arg(&binary))?;
    let mut command = std::process::Command::new(&binary);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let run = support::lab::run_copy(command.arg("fix").arg(lab.path("tree")))?.expect(2)?;
    fs::set_permissions(lab.path("tree/closed"), fs::Permissions::from_mode(0o700))?;
    contains(&run.err, "tree/closed: cannot read the directory: Permission denied")?;
    contains(&run.err, "tree/secret.so: cannot open: Permission denied")
}

fn truncations() -> Done {
    let lab = Lab::new()?;
    let whole = fs::read(support::lab::testdata().join("prebuilt/x86_64/program"))?;
    let end_of_segments = support::referee::Image::read(&whole)?.loads().map(|load| load.offset + load.filesz).max();
    let path = lab.path("program");
    for len in (0..whole.len()).step_by(97) {
        let cut = whole.get(..len).ok_or("past the end")?;
        fs::write(&path, cut)?;
        let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]);
        if Some(len as u64) >= end_of_segments {
            // The loader still takes such a file; that its section headers are gone is said.
            contains(&run.expect(0)?.err, "warning: ")?;
            continue;
        }
        same(run.out.contains("1 changed"), false, "patched")?;
        same(fs::read(&path)? == cut, true, "same bytes")?;
    }
    Ok(())
}

fn escapes() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "evil\x1b[2J\n.so")?;
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    contains(&run.out, "evil\\x1b[2J\\x0a.so")?;
    same(run.out.contains('\x1b'), false, "an escape character in the output")
}

fn skip_damaged() -> Done {
    let lab = Lab::new()?;
    fs::create_dir(lab.path("tree"))?;
    fs::write(lab.path("tree/broken"), b"\x7fELF")?;
    driver_runpath([OsStr::new("fix"), lab.path("tree").as_os_str()]).expect(2)?;
    let args = [OsStr::new("fix"), OsStr::new("--skip-damaged")];
    let tree = lab.path("tree");
    contains(&driver_runpath(args.into_iter().chain([tree.as_os_str()])).expect(0)?.err, "warning: ")?;
    let broken = lab.path("tree/broken");
    driver_runpath(args.into_iter().chain([broken.as_os_str()])).expect(2)?;
    Ok(())
}
