//! Programs that ask whether the driver is loaded already, and programs that open it: each compiled in many ways, judged,
//! and run beside a driver that tells when it is loaded.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed};
use serde_json::{Value, json};
use support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use support::tools::trial;

type Done = Result<(), Failed>;

/// The variable with which every program that opens is compiled in every way, not in half of them.
const ALL: &str = "DRIVER_RUNPATH_PROBES_ALL";

/// clang, as Python's package of zig has it.
const ZIG: &str = "python-zig";

const HEAD: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#define NAME "libcuda.so.1"
#define ASK (RTLD_LAZY | RTLD_NOLOAD)
static void said(int result) { printf("%d\n", result); }
/* One of the calls that only ask, for programs that do both. */
__attribute__((noinline)) int ask(void) { return dlopen(NAME, ASK) != 0; }
"#;

/// Programs that open nothing.
const ASKING: [(&str, &str); 8] = [
    ("once", "int main(void) { said(ask()); }"),
    ("inline", "int main(void) { void *h = dlopen(NAME, ASK); said(h != 0); return h ? dlclose(h) : 0; }"),
    (
        "for two libraries",
        r#"int main(void) { said(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) != 0); said(ask()); }"#,
    ),
    (
        "with a message that ends with the name",
        r#"int main(void) { if (!ask()) puts("There is no loaded " NAME); said(ask()); }"#,
    ),
    (
        "with a message that has the name in it",
        r#"int main(void) { if (!ask()) puts("Could not find " NAME ". Load it before."); said(ask()); }"#,
    ),
    ("by its path", r#"int main(void) { said(dlopen("/usr/lib/x86_64/" NAME, ASK) != 0); }"#),
    ("in a namespace", "int main(void) { said(dlmopen(LM_ID_BASE, NAME, ASK) != 0); }"),
    ("in a last call", "void *last(void) { return dlopen(NAME, ASK); } int main(void) { said(last() != 0); }"),
];

/// Programs that ask and open, or of which it is not clear; without arguments each of them opens.
const OPENING: [(&str, &str); 18] = [
    (
        "after it has asked",
        "int main(void) { void *h = dlopen(NAME, ASK); if (!h) h = dlopen(NAME, RTLD_LAZY); said(h != 0); }",
    ),
    (
        "another library",
        r#"int main(void) { ask(); dlopen("libnvidia-ml.so.1", RTLD_LAZY); said(dlopen("libnvidia-ml.so.1", 1) != 0); }"#,
    ),
    (
        "through a function of its own",
        "__attribute__((noinline)) static void *with(const char *name, int flags) { return dlopen(name, flags); }\n\
         int main(int argc, char **argv) { if (argc > 1) with(argv[1], ASK); ask(); said(with(NAME, RTLD_LAZY) != 0); }",
    ),
    (
        "with flags that a computation gives",
        "int main(int argc, char **argv) { said(dlopen(NAME, argc > 1 ? ASK : RTLD_LAZY) != 0); }",
    ),
    (
        "with flags that a jump brings",
        "int main(int argc, char **argv) { int flags = RTLD_NOW; if (argc > 1) { puts(argv[1]); flags = ASK; } said(dlopen(NAME, flags) != 0); }",
    ),
    (
        "with flags that a switch brings",
        "int main(int argc, char **argv) { int flags; switch (argc) { case 2: puts(\"2\"); flags = ASK; break; case 3: flags = 6; break;\n\
         case 4: puts(\"4\"); flags = 7; break; case 5: flags = 0x105; break; case 1: flags = 1; break; default: flags = ASK; }\n\
         said(dlopen(NAME, flags) != 0); }",
    ),
    (
        "with flags from memory",
        "volatile int flags = RTLD_LAZY; int main(void) { ask(); said(dlopen(NAME, flags) != 0); }",
    ),
    (
        "from a table",
        "static const char *const names[] = {NAME, \"libother.so.1\"};\n\
         int main(int argc, char **argv) { int found = ask(); for (int i = 0; i < argc + 1 && i < 2; i++) found |= dlopen(names[i], RTLD_LAZY) != 0; said(found); }",
    ),
    (
        "from an array of arrays",
        "static const char names[3][16] = {\"libother.so.1\", NAME, \"libthird.so.1\"};\n\
         int main(int argc, char **argv) { int found = ask(); for (int i = argc - 1; i < argc + 2; i++) found |= dlopen(names[i], RTLD_LAZY) != 0; said(found); }",
    ),
    (
        "from a function that names it",
        "__attribute__((noinline)) static const char *name(int which) { switch (which) { case 0: return \"liba.so.1\"; case 1: return NAME;\n\
         case 2: return \"libb.so.1\"; case 3: return \"libc.so.9\"; case 4: return \"libd.so.1\"; default: return 0; } }\n\
         int main(int argc, char **argv) { ask(); said(dlopen(name(argc), RTLD_LAZY) != 0); }",
    ),
    (
        "by an exported name",
        "const char driver_name[] = NAME; int main(void) { dlopen(driver_name, ASK); const char *volatile name = driver_name; said(dlopen(name, RTLD_LAZY) != 0); }",
    ),
    (
        "by a copy",
        "int main(void) { char name[32]; ask(); memcpy(name, NAME, sizeof NAME); name[31] = 0; __asm__ volatile(\"\" : : \"r\"(name) : \"memory\"); said(dlopen(name, RTLD_LAZY) != 0); }",
    ),
    (
        "by a name with a directory to come",
        "int main(int argc, char **argv) { char name[64]; ask(); snprintf(name, sizeof name, argc > 1 ? \"%s/libcuda.so.1\" : \"%slibcuda.so.1\", argc > 1 ? argv[1] : \"\"); said(dlopen(name, RTLD_LAZY) != 0); }",
    ),
    (
        "through a pointer to dlopen",
        "void *(*volatile open)(const char *, int) = dlopen; int main(void) { ask(); said(open(NAME, RTLD_LAZY) != 0); }",
    ),
    (
        "by a name in a writable array",
        "static char name[16] = NAME; int main(int argc, char **argv) { ask(); if (argc > 1) name[0] = 'L'; said(dlopen(name, RTLD_LAZY) != 0); }",
    ),
    ("in a namespace of its own", "int main(void) { ask(); said(dlmopen(LM_ID_NEWLM, NAME, RTLD_LAZY) != 0); }"),
    (
        "from a list",
        "int main(void) { char list[] = \"libother.so.1 libcuda.so.1\"; ask(); int found = 0;\n\
         for (char *name = strtok(list, \" \"); name; name = strtok(0, \" \")) found |= dlopen(name, RTLD_LAZY) != 0; said(found); }",
    ),
    (
        "by the end of a path",
        "static const char path[] = \"/nowhere/libcuda.so.1\";\n\
         int main(int argc, char **argv) { ask(); said(dlopen(path + (argc > 1 ? 0 : 9), RTLD_LAZY) != 0); }",
    ),
];

const OPTIONS: [&[&str]; 14] = [
    &["-O0"],
    &["-O1"],
    &["-O2"],
    &["-O3"],
    &["-Os"],
    &["-O2", "-march=x86-64-v3"],
    &["-O2", "-fno-plt"],
    &["-O2", "-no-pie", "-fno-pie"],
    &["-O0", "-no-pie", "-fno-pie"],
    &["-O2", "-fcf-protection=full", "-fuse-ld=bfd"],
    &["-O2", "-fcf-protection=full", "-fuse-ld=lld", "-Wl,-z,force-ibt"],
    &["-O2", "-fuse-ld=bfd", "-Wl,-z,pack-relative-relocs"],
    &["-O2", "-fuse-ld=lld", "-fstack-protector-all"],
    &["-O2", "-fuse-ld=mold"],
];

fn main() {
    let is_x86_64 = cfg!(target_arch = "x86_64");
    let trials = vec![
        trial(
            "a_program_that_opens_the_driver_in_whatever_way_is_never_taken_for_one_that_asks",
            &["cc", "ld.lld", "mold"],
            opening,
        ),
        trial("a_program_that_only_asks_for_the_driver_is_told_as_such", &["cc", "ld.lld", "mold"], asking),
        // clang has another order of arguments, and tables of distances.
        trial("the_same_of_another_compiler", &["python-zig"], other),
        trial("what_asks_for_a_name_that_is_no_soname_needs_the_directory", &["cc"], unversioned),
        trial("every_command_says_that_a_file_only_asks", &["cc"], commands),
    ];
    let trials = trials.into_iter().map(|trial| if is_x86_64 { trial } else { trial.with_ignored_flag(true) });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// Compiles one program.
fn build(lab: &Lab, compiler: &str, body: &str, options: &[&str]) -> Result<PathBuf, Failed> {
    let (source, path) = (lab.path("program.c"), lab.path("program"));
    fs::write(&source, format!("{HEAD}{body}\n"))?;
    let mut command = Command::new(compiler);
    if compiler == ZIG {
        command.args(["cc", "-fno-sanitize=undefined"]);
    }
    succeed(command.arg("-w").args(options).arg("-o").arg(&path).arg(&source).arg("-ldl"))?;
    Ok(path)
}

/// Drivers that say when they are loaded.
fn drivers(lab: &Lab) -> Result<PathBuf, Failed> {
    let (source, dir) = (lab.path("tells.c"), lab.path("drivers"));
    fs::create_dir_all(&dir)?;
    let tells = "#include <stdio.h>\n__attribute__((constructor)) static void tell(void) { puts(\"LOADED\"); fflush(stdout); }\n";
    fs::write(&source, tells)?;
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-o"]).arg(dir.join(name)).arg(&source);
        succeed(command.arg(format!("-Wl,-soname,{name}")))?;
    }
    symlink("libcuda.so.1", dir.join("libcuda.so"))?;
    Ok(dir)
}

/// Whether the program loads a driver that lies in its directories.
fn loads(path: &Path, drivers: &Path) -> Result<bool, Failed> {
    let out = succeed(program(path).env("LD_LIBRARY_PATH", drivers))?;
    Ok(out.contains("LOADED"))
}

fn check(path: &Path) -> Result<Value, Failed> {
    let run = driver_runpath([OsStr::new("check"), OsStr::new("--json"), path.as_os_str()]);
    let document: Value = serde_json::from_str(&run.out)?;
    Ok(document["files"].get(0).ok_or("no file")?.clone())
}

fn opening() -> Done {
    let is_all = std::env::var_os(ALL).is_some();
    let some: Vec<&[&str]> = OPTIONS.into_iter().step_by(if is_all { 1 } else { 2 }).collect();
    opened("cc", &some)
}

fn opened(compiler: &str, all_options: &[&[&str]]) -> Done {
    let lab = Lab::new()?;
    let drivers = drivers(&lab)?;
    let mut wrong = Vec::new();
    for options in all_options {
        for (way, body) in OPENING {
            let path = build(&lab, compiler, body, options)?;
            same(loads(&path, &drivers)?, true, &format!("{way} {options:?}: the program loads the driver"))?;
            let file = check(&path)?;
            if file["verdict"] != json!("misses") {
                wrong.push(format!("{way} {options:?}: {file}"));
            }
        }
    }
    same(wrong, Vec::new(), "not taken, although they open")
}

/// What is not proved is taken, so that of these some may be; not many.
fn asking() -> Done {
    let (asked, all) = asked("cc", &OPTIONS)?;
    println!("{asked} of {all} are proved to ask");
    same(asked * 10 >= all * 9, true, &format!("{asked} of {all} are proved to ask"))
}

fn asked(compiler: &str, all_options: &[&[&str]]) -> Result<(usize, usize), Failed> {
    let lab = Lab::new()?;
    let drivers = drivers(&lab)?;
    let (mut asked, mut all) = (0, 0);
    for options in all_options {
        for (way, body) in ASKING {
            let path = build(&lab, compiler, body, options)?;
            same(loads(&path, &drivers)?, false, &format!("{way} {options:?}: the program loads the driver"))?;
            let file = check(&path)?;
            let is_told = file["verdict"] == json!("not-a-loader") && file["evidence"][0]["kind"] == json!("probe");
            if !is_told {
                println!("{compiler} {options:?}: {way}: {file}");
            }
            (asked, all) = (asked + usize::from(is_told), all + 1);
        }
    }
    Ok((asked, all))
}

fn other() -> Done {
    const OPTIONS: [&[&str]; 2] = [&["-O0"], &["-O2"]];
    opened(ZIG, &OPTIONS)?;
    let (asked, all) = asked(ZIG, &OPTIONS)?;
    same(asked * 10 >= all * 9, true, &format!("{asked} of {all} are proved to ask"))
}

/// The loader finds a loaded library by its SONAME at once; under another name it looks for the file.
fn unversioned() -> Done {
    let lab = Lab::new()?;
    let drivers = drivers(&lab)?;
    let asks = |name: &str, dir: Option<&Path>| -> Result<bool, Failed> {
        let body = format!("int main(void) {{ said(dlopen(\"{name}\", ASK) != 0); }}");
        let path = build(&lab, "cc", &body.replace("ask()", ""), &["-O2"])?;
        let mut command = program(&path);
        command.env("LD_PRELOAD", drivers.join("libcuda.so.1")).envs(dir.map(|dir| ("LD_LIBRARY_PATH", dir)));
        Ok(succeed(&mut command)?.ends_with("1\n"))
    };
    same(asks("libcuda.so.1", None)?, true, "libcuda.so.1 is found without a directory")?;
    same(asks("libcuda.so", None)?, false, "libcuda.so is found without a directory")?;
    same(asks("libcuda.so", Some(&drivers))?, true, "libcuda.so is found with its directory")?;
    let path = build(&lab, "cc", "int main(void) { said(dlopen(\"libcuda.so\", ASK) != 0); }", &["-O2"])?;
    same(&check(&path)?["verdict"], &json!("misses"), "verdict of what asks for libcuda.so")
}

fn commands() -> Done {
    let lab = Lab::new()?;
    let path = build(&lab, "cc", ASKING[0].1, &["-O2"])?;
    let words = "asks whether libcuda.so.1 is loaded already (RTLD_NOLOAD), and opens it nowhere";
    let run = |arguments: &[&str]| driver_runpath(arguments.iter().map(OsStr::new).chain([path.as_os_str()])).expect(0);
    contains(&run(&["check"])?.out, &format!("does not load the driver: {}: {words}", path.display()))?;
    contains(&run(&["explain"])?.out, words)?;
    let fixed = run(&["fix", "-v"])?.out;
    contains(&fixed, &format!("left: {}: does not load the driver: {words}", path.display()))?;
    let file = check(&path)?;
    same(&file["evidence"][0]["what"], &json!("libcuda.so.1"), "what")?;
    same(&file["evidence"].as_array().map(Vec::len), &Some(1), "pieces of evidence")?;
    same(&file["wanted_for"], &Value::Null, "what it is wanted for")?;
    let offset = usize::try_from(file["evidence"][0]["offset"].as_u64().ok_or("no offset")?)?;
    same(fs::read(&path)?.get(offset..offset + 13), Some(&b"libcuda.so.1\0"[..]), "the bytes at the offset")?;
    // Whoever knows better says so.
    contains(&run(&["fix", "--all"])?.out, "1 changed")
}
