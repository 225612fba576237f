//! `explain` against the real loader: the same files in the same order.

#[path = "explain/answers.rs"]
mod answers;
#[path = "explain/cases.rs"]
mod cases;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cases::{CASES, Case, What};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::lab::{Lab, contains, driver_runpath, program, same, succeed, testdata};
use support::tools::{tool, trial};
use support::trace::Setting;

pub type Done = Result<(), Failed>;

const LIBRARY: &str = "libcuda.so.1";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const LOADER_32: &str = "/lib/ld-linux.so.2";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| on_x86_64(&format!("explained_as_ld_so_searches::{}", case.name), &["cc"], || run_case(case)))
        .collect();
    trials.extend([
        on_x86_64("explained_as_ld_so_searches::an_rpath_of_an_object_in_between", &["cc"], chain_of_three),
        on_x86_64("explained_as_ld_so_searches::both_tags_in_one_object", &["cc"], both_tags),
        on_x86_64("explained_as_ld_so_searches::a_program_named_by_a_link", &["cc"], named_by_a_link),
        on_x86_64("explained_as_ld_so_searches::a_program_linked_to_the_driver", &["cc"], linked_program),
        in_other_root("explained_as_ld_so_searches::the_cache_of_another_root", cache_of_other_root),
        in_other_root("explained_as_ld_so_searches::default_directories_of_another_root", defaults_of_other_root),
        with_32_bit_loader("explained_as_ld_so_searches::a_32_bit_program", program_32_bit),
        on_x86_64("what_is_built_into_the_loader_is_read_from_its_file", &[], || built_in(LOADER, "x86_64/program")),
        with_32_bit_loader("what_is_built_into_the_32_bit_loader_is_read_from_its_file", || {
            built_in(LOADER_32, "i386/program")
        }),
    ]);
    trials.extend(answers::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

fn ignored_unless(is_possible: bool, needs: &str, trial: Trial) -> Trial {
    if is_possible { trial } else { trial.with_kind(format!("needs {needs}")).with_ignored_flag(true) }
}

fn on_x86_64(name: &str, needs: &[&str], body: impl FnOnce() -> Done + Send + 'static) -> Trial {
    let is_possible = cfg!(target_arch = "x86_64") && Path::new(LOADER).exists();
    ignored_unless(is_possible, LOADER, trial(name, needs, body))
}

/// Only root may change its root.
fn in_other_root(name: &str, body: fn() -> Done) -> Trial {
    let is_possible = rustix::process::geteuid().is_root() && tool("ldconfig").is_some();
    ignored_unless(is_possible, "root and ldconfig", on_x86_64(name, &["cc", "chroot"], body))
}

fn with_32_bit_loader(name: &str, body: impl FnOnce() -> Done + Send + 'static) -> Trial {
    let runs = Path::new(LOADER_32).exists()
        && program(Path::new(LOADER_32)).arg("--version").output().is_ok_and(|output| output.status.success());
    ignored_unless(runs, LOADER_32, on_x86_64(name, &[], body))
}

/// Splits linker options and puts the test's directory in.
fn linker(options: &str, lab: &Lab) -> Option<String> {
    let options = options.replace('@', &lab.root().display().to_string());
    (!options.is_empty()).then(|| format!("-Wl,{options}"))
}

pub fn put(lab: &Lab, files: &[(&str, What)]) -> Done {
    for (name, what) in files {
        let path = lab.path(name);
        fs::create_dir_all(path.parent().ok_or("no directory")?)?;
        match what {
            What::Damaged(at, byte) => {
                put(lab, &[(name, What::Driver)])?;
                let mut bytes = fs::read(&path)?;
                *bytes.get_mut(*at).ok_or("too short")? = *byte;
                fs::write(path, bytes)?;
            }
            What::Driver => drop(lab.cc(name, &["driver.c"], &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"])?),
            What::Fixture(fixture) => drop(lab.fixture(fixture, name)?),
            What::Text => {
                fs::write(path, "a text of more than the sixty-four bytes that the ELF header of a file has\n")?
            }
            What::Directory => fs::create_dir_all(path)?,
        }
    }
    Ok(())
}

/// Builds `lib/libopens.so` and `bin/program`.
fn opener_and_program(lab: &Lab, library: &str, options: &str) -> Result<PathBuf, Failed> {
    let of_library = linker(library, lab);
    let flags = ["-shared", "-fPIC"].into_iter().chain(of_library.as_deref());
    lab.cc("lib/libopens.so", &["opens.c"], &flags.collect::<Vec<_>>())?;
    let of_program = linker(options, lab);
    let flags = ["-Llib", "-lopens"].into_iter().chain(of_program.as_deref());
    lab.cc("bin/program", &["program.c"], &flags.collect::<Vec<_>>())
}

fn run_case(case: &Case) -> Done {
    let lab = Lab::new()?;
    let program = opener_and_program(&lab, case.library, case.program)?;
    put(&lab, case.files)?;
    let root = lab.root().display().to_string();
    let setting = Setting {
        library_path: case.library_path.map(|path| path.replace('@', &root)),
        current_dir: Some(lab.root().to_owned()),
        root: None,
    };
    let searches = setting.compare(&program)?;
    let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
    same(searches.len() >= 3, true, "libopens.so and libc.so.6 are looked for, too")?;
    if let Some(directory) = case.finds {
        let directory = directory.replace('@', &root);
        let expected = if directory.is_empty() { LIBRARY.to_owned() } else { format!("{directory}/{LIBRARY}") };
        same(driver.found.as_ref(), Some(&expected), "what ld.so loads")?;
    }
    Ok(())
}

fn chain_of_three() -> Done {
    let lab = Lab::new()?;
    let inherits = linker("--disable-new-dtags,-rpath,$ORIGIN/../a", &lab).ok_or("no options")?;
    lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC"])?;
    lab.cc(
        "lib/libmiddle.so",
        &["plain.c"],
        &["-shared", "-fPIC", "-Wl,--no-as-needed", "-Llib", "-lopens", &inherits],
    )?;
    let of_program = linker("--disable-new-dtags,-rpath,@/lib", &lab).ok_or("no options")?;
    let program =
        lab.cc("bin/program", &["program.c"], &["-Wl,--no-as-needed", "-Llib", "-lmiddle", "-lopens", &of_program])?;
    put(&lab, &[("a/libcuda.so.1", What::Driver)])?;
    Setting::default().compare(&program)?;
    // Without the program's own link, libmiddle.so is who loads libopens.so.
    let source = lab.path("through.c");
    fs::write(
        &source,
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n\
        int main(void) { return ((int (*)(void))dlsym(RTLD_DEFAULT, \"open_driver\"))(); }\n",
    )?;
    let source = source.to_str().ok_or("not UTF-8")?;
    let program = lab.cc("bin/through", &[source], &["-Wl,--no-as-needed", &of_program, "-Llib", "-lmiddle"])?;
    let searches = Setting::default().compare(&program)?;
    let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
    same(driver.found.as_deref(), lab.path("lib/../a/libcuda.so.1").to_str(), "what ld.so loads")
}

/// No linker writes both tags; a spare entry of the dynamic table becomes an RPATH.
fn both_tags() -> Done {
    let lab = Lab::new()?;
    let program =
        opener_and_program(&lab, "--enable-new-dtags,-rpath,@/b:@/a", "--disable-new-dtags,-rpath,@/lib:@/c")?;
    put(&lab, &[("a/libcuda.so.1", What::Driver), ("b/x", What::Text), ("c/libcuda.so.1", What::Driver)])?;
    let path = lab.path("lib/libopens.so");
    let mut bytes = fs::read(&path)?;
    let (table, runpath) = {
        use driver_runpath::elf::Image;
        let image = Image::parse(&bytes)?;
        let spare = image.dynamic.entries.len() as u64 * 16;
        same(image.dynamic.has_spare(), true, "a spare entry")?;
        let runpath = image.dynamic.value(object::elf::DT_RUNPATH).ok_or("no RUNPATH")?;
        (usize::try_from(image.dynamic.offset.0 + spare)?, runpath)
    };
    // The tail of the RUNPATH, which would be found first.
    let tail = runpath + lab.root().as_os_str().len() as u64 + 3;
    let entry = [15u64.to_le_bytes(), tail.to_le_bytes()].concat();
    bytes.get_mut(table..table + 16).ok_or("past the end")?.copy_from_slice(&entry);
    fs::write(&path, bytes)?;
    let searches = Setting::default().compare(&program)?;
    let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
    same(driver.tried.iter().any(|file| file.contains("/b/")), true, "the RUNPATH counts")?;
    let text = driver_runpath([OsStr::new("explain"), path.as_os_str()]).expect(0)?.out;
    contains(&text, &format!("beside an RPATH that the loader ignores: {}", lab.path("a").display()))
}

/// The kernel says where the program is: at the end of the link.
fn named_by_a_link() -> Done {
    let lab = Lab::new()?;
    let program = lab.cc("bin/program", &["program.c", "opens.c"], &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/x"])?;
    put(&lab, &[("bin/x/libcuda.so.1", What::Driver), ("links/x/libcuda.so.1", What::Driver)])?;
    let link = lab.path("links/program");
    symlink(&program, &link)?;
    let searches = Setting::default().compare(&link)?;
    let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
    same(driver.found.as_deref(), lab.path("bin/x/libcuda.so.1").to_str(), "what ld.so loads")
}

/// The first search of a process passes over nothing.
fn linked_program() -> Done {
    let lab = Lab::new()?;
    put(&lab, &[("a/libcuda.so.1", What::Driver)])?;
    let options = linker("--no-as-needed,--enable-new-dtags,-rpath,@/gone:@/b:@/a", &lab).ok_or("no options")?;
    let program = lab.cc("bin/program", &["program.c", "opens.c"], &[&options, "-La", "-l:libcuda.so.1"])?;
    // A directory that one path finds missing is passed over in the next.
    let library_path = ["gone", "b"].map(|name| lab.path(name).display().to_string()).join(":");
    for setting in [Setting::default(), Setting { library_path: Some(library_path), ..Setting::default() }] {
        let searches = setting.compare(&program)?;
        let first = searches.first().ok_or("nothing was looked for")?;
        same(first.name.as_str(), LIBRARY, "the first search")?;
        let explained = setting.explain(&[program.display().to_string()], LIBRARY)?;
        same(&support::trace::tried(&explained), &first.tried, "without any knowledge of directories")?;
    }
    Ok(())
}

/// A root with a loader and a libc of its own, where a copy of this machine's has everything that it needs.
fn other_root(lab: &Lab, options: &str) -> Result<PathBuf, Failed> {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    for (from, to) in [(Path::new(LOADER), "root/lib64"), (libc, "root/lib/x86_64-linux-gnu")] {
        fs::create_dir_all(lab.path(to))?;
        fs::copy(from, lab.path(to).join(from.file_name().ok_or("no name")?))?;
    }
    let options = linker(options, lab);
    lab.cc("root/bin/program", &["program.c", "opens.c"], &options.as_deref().into_iter().collect::<Vec<_>>())?;
    Ok(lab.path("root"))
}

fn cache_of_other_root() -> Done {
    let lab = Lab::new()?;
    let root = other_root(&lab, "--enable-new-dtags,-rpath,/opt/link")?;
    put(
        &lab,
        &[
            ("root/opt/driver/libcuda.so.1", What::Driver),
            ("root/opt/driver/glibc-hwcaps/x86-64-v2/libcuda.so.1", What::Driver),
            ("root/opt/empty/x", What::Text),
        ],
    )?;
    symlink("/opt/empty", root.join("opt/link"))?;
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/ld.so.conf"), "/opt/driver\n")?;
    let setting = Setting { root: Some(root.clone()), ..Setting::default() };
    for format in ["new", "compat", "old"] {
        succeed(program(Path::new("ldconfig")).arg("-r").arg(&root).args(["-c", format]))?;
        let searches = setting.compare(Path::new("/bin/program"))?;
        let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
        let is_by_cache = driver.found.as_deref().is_some_and(|found| found.starts_with("/opt/driver/"));
        same(is_by_cache, true, &format!("the driver is found by the {format} format"))?;
        // Which of the two an older format gives is for ld.so and the comparison to say.
        let is_best = driver.found.as_deref() == Some("/opt/driver/glibc-hwcaps/x86-64-v2/libcuda.so.1");
        same(is_best || format != "new", true, "the best one for the processor")?;
    }
    Ok(())
}

fn defaults_of_other_root() -> Done {
    let lab = Lab::new()?;
    let root = other_root(&lab, "")?;
    put(&lab, &[("root/usr/lib/libcuda.so.1", What::Driver)])?;
    let searches = Setting { root: Some(root), ..Setting::default() }.compare(Path::new("/bin/program"))?;
    let driver = searches.iter().find(|asked| asked.name == LIBRARY).ok_or("the driver was not looked for")?;
    same(driver.found.as_deref(), Some("/usr/lib/libcuda.so.1"), "what ld.so loads")
}

fn program_32_bit() -> Done {
    let lab = Lab::new()?;
    let program = lab.fixture("i386/program", "bin/program")?;
    let setting =
        Setting { library_path: Some(lab.path("$LIB/$PLATFORM").display().to_string()), ..Setting::default() };
    let searches = setting.compare(&program)?;
    same(searches.iter().any(|asked| asked.name == LIBRARY), true, "the driver is looked for")?;
    same(searches.iter().any(|asked| asked.found.is_some()), true, "something is found")
}

/// The loader itself says what it has built in.
fn built_in(loader: &str, fixture: &str) -> Done {
    let said = succeed(program(Path::new(loader)).arg("--list-diagnostics"))?;
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"'));
        line.map(str::to_owned).ok_or_else(|| Failed::from(format!("{key} is not said")))
    };
    let path = testdata().join("prebuilt").join(fixture);
    let run = driver_runpath([OsStr::new("explain"), OsStr::new("--json"), path.as_os_str()]).expect(0)?;
    let document: Value = serde_json::from_str(&run.out)?;
    let explained = &document["loader"];
    same(explained["path"]["text"].as_str(), Some(loader), "the loader")?;
    same(explained["glibc"].as_str(), Some(value("version.version")?.as_str()), "the version")?;
    same(explained["lib"]["text"].as_str(), Some(value("dl_dst_lib")?.as_str()), "$LIB")?;
    same(explained["platform"]["text"].as_str(), Some(value("dl_platform")?.as_str()), "$PLATFORM")?;
    let directories = explained["default_directories"].as_array().ok_or("no directories")?;
    same(directories.is_empty(), false, "no default directory")?;
    for (index, directory) in directories.iter().enumerate() {
        let said = value(&format!("path.system_dirs[{index:#x}]"))?;
        same(directory["text"].as_str(), said.strip_suffix('/'), "a default directory")?;
    }
    same(value(&format!("path.system_dirs[{:#x}]", directories.len())).is_err(), true, "one more directory")
}
