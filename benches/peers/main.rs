//! Ratios against peers, measured side by side in one run: `cargo bench --bench peers -- [CASE...]`.
//!
//! Inputs: `DRIVER_RUNPATH_BENCH_TREE` is a tree of CUDA packages (`benches/fetch-tree.sh` gets one),
//! `DRIVER_RUNPATH_BENCH_LIBRARY` one large library; `PATCHELF` is the peer (default: the one on PATH), `FORMATELF` another,
//! `LIEF_PYTHON` a Python that has LIEF, `DRIVER_RUNPATH_BENCH_STATIC` a static build of this program. The other inputs are
//! made here. With `BENCHMARKS.md` among the arguments, the table is written there.

mod inputs;
mod measure;
mod safety;
mod table;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Figure, drop_caches, run_timed, time, usage};
use table::Table;

const OURS: &str = env!("CARGO_BIN_EXE_driver-runpath");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |case: &str| {
        let cases: Vec<&String> = arguments.iter().filter(|argument| !argument.ends_with(".md")).collect();
        cases.is_empty() || cases.iter().any(|found| *found == case)
    };
    let mut table = Table::default();
    if wanted("start") {
        start(&mut table);
    }
    if wanted("small-files") {
        small_files(&mut table);
    }
    if wanted("small-elf-files") {
        small_elf_files(&mut table);
    }
    if wanted("hook") {
        hook(&mut table);
    }
    if wanted("symbols") {
        symbols(&mut table);
    }
    if wanted("library") {
        library(&mut table);
    }
    if wanted("tree") {
        tree(&mut table);
    }
    let patchelf = patchelf();
    let theirs = || safety::on(&patchelf, &["--set-rpath", "/run/opengl-driver/lib:/opt/before"]);
    if wanted("kills") {
        safety::kills(&mut table, safety::on(Path::new(OURS), &["fix", "--all"]), theirs());
    }
    if wanted("failing-writes") {
        safety::failing_writes(&mut table, safety::on(Path::new(OURS), &["fix", "--all"]), theirs());
    }
    let versions = [Path::new(OURS), &patchelf].map(version).join("; ");
    let text = table.finish(&format!("{}; {versions}", measure::machine()), &command_line());
    print!("{text}");
    if let Some(file) = arguments.iter().find(|argument| argument.ends_with(".md")) {
        std::fs::write(file, text).expect("the table can be written");
    }
}

/// The command of this run, with the variables that it goes by. Of paths the last component says what it is.
fn command_line() -> String {
    let mut line = String::new();
    for name in [
        "PATCHELF",
        "FORMATELF",
        "LIEF_PYTHON",
        "DRIVER_RUNPATH_BENCH_STATIC",
        "DRIVER_RUNPATH_BENCH_LIBRARY",
        "DRIVER_RUNPATH_BENCH_TREE",
    ] {
        if let Some(value) = std::env::var_os(name) {
            let value = Path::new(&value).file_name().unwrap_or_default().to_string_lossy().into_owned();
            line.push_str(&format!("{name}=…/{value} "));
        }
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    format!("{line}cargo bench --bench peers -- {}", arguments.join(" ")).trim_end().to_owned()
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn patchelf() -> PathBuf {
    std::env::var_os("PATCHELF").map_or_else(|| PathBuf::from("patchelf"), PathBuf::from)
}

fn ours<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    build(Path::new(OURS), arguments)
}

/// The same of another build of the program.
fn build<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("NIX_BUILD_TOP", "/build");
    command
}

/// Beside the program as cargo builds it, one without a dynamic loader, if there is one.
fn start(table: &mut Table) {
    let lab = inputs::scratch();
    let file = lab.path().join("libopens.so");
    let others = std::env::var_os("DRIVER_RUNPATH_BENCH_STATIC").map(|path| ("static build, ", PathBuf::from(path)));
    let programs: Vec<_> = [("", PathBuf::from(OURS))].into_iter().chain(others).collect();
    let mut nothing = Figure::new();
    let mut figures = vec![(Figure::new(), Figure::new()); programs.len()];
    for _ in 0..200 {
        nothing.add(run_timed(&mut Command::new("true")));
        for ((_, program), (version, fix)) in programs.iter().zip(&mut figures) {
            std::fs::copy(fixture(), &file).expect("the fixture is there");
            version.add(run_timed(&mut build(program, ["--version"])));
            fix.add(run_timed(&mut build(program, [OsStr::new("fix"), file.as_os_str()])));
        }
    }
    let nothing = nothing.done();
    for ((name, _), (version, fix)) in programs.iter().zip(figures) {
        table.at_most(&format!("start: {name}`--version`"), &version.done(), "`true`", &nothing, 1.3);
        table.at_most(&format!("start: {name}`fix` of one tiny file"), &fix.done(), "`true`", &nothing, 1.5);
    }
}

fn small_files(table: &mut Table) {
    let lab = inputs::scratch();
    inputs::small_files(lab.path(), 100_000);
    let (mut fix, mut base) = (Figure::new(), Figure::new());
    for _ in 0..5 {
        base.add(time(|| inputs::read_magics(lab.path())));
        fix.add(run_timed(&mut ours([OsStr::new("fix"), lab.path().as_os_str()])));
    }
    table.at_most("100,000 small files, none ELF", &fix.done(), "walk and four bytes of each", &base.done(), 1.5);
}

fn small_elf_files(table: &mut Table) {
    let lab = inputs::scratch();
    let on_all = |command: &str| run_timed(&mut ours([OsStr::new(command), lab.path().as_os_str()]));
    let (mut check, mut fix) = (Figure::new(), Figure::new());
    for _ in 0..3 {
        inputs::small_elf_files(lab.path(), &fixture(), 100_000);
        check.add(on_all("check"));
        fix.add(on_all("fix"));
    }
    table.at_most("100,000 small ELF files that load the driver, `fix`", &fix.done(), "`check`", &check.done(), 3.0);
}

/// What the hook costs in a package of three ELF files.
fn hook(table: &mut Table) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lab = inputs::scratch();
    let (mut with, mut without) = (Figure::new(), Figure::new());
    for _ in 0..50 {
        inputs::small_elf_files(lab.path(), &fixture(), 3);
        for (figure, hook) in [(&mut without, "n"), (&mut with, "y")] {
            let mut shell = Command::new("bash");
            shell.arg(root.join("benches/hook.sh")).arg(hook).arg(lab.path());
            shell.env("BINARY", OURS);
            figure.add(run_timed(&mut shell));
        }
    }
    table.difference("the hook in a package of 3 ELF files", &with.done(), "bash without it", &without.done(), 10.0);
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/prebuilt/x86_64/libopens.so")
}

fn symbols(table: &mut Table) {
    let lab = inputs::scratch();
    let Some(original) = inputs::many_symbols(lab.path(), 2_000_000) else {
        return println!("symbols: needs cc");
    };
    let file = lab.path().join("copy.so");
    let long = format!("/run/opengl-driver/lib:{}", "/opt/longer/than/before".repeat(4));
    let (mut fix, mut theirs, mut base) = (Figure::new(), Figure::new(), Figure::new());
    for _ in 0..5 {
        std::fs::copy(&original, &file).expect("a copy");
        base.add(time(|| inputs::copy_strings_and_pass_over_symbols(&file, &lab.path().join("strings"))));
        fix.add(run_timed(&mut ours([
            OsStr::new("fix"),
            OsStr::new("--all"),
            OsStr::new("--prepend=/a/longer/one"),
            file.as_os_str(),
        ])));
        std::fs::copy(&original, &file).expect("a copy");
        theirs.add(run_timed(Command::new(patchelf()).args(["--set-rpath", &long]).arg(&file)));
    }
    let fix = fix.done();
    table.faster("2 million symbols, longer path", &fix, "patchelf --set-rpath", &theirs.done(), 10.0);
    table.at_most("the same", &fix, "one copy of .dynstr, one pass over st_name", &base.done(), 1.5);
}

fn library(table: &mut Table) {
    let Some(original) = std::env::var_os("DRIVER_RUNPATH_BENCH_LIBRARY").map(PathBuf::from) else {
        return println!("library: needs DRIVER_RUNPATH_BENCH_LIBRARY");
    };
    let lab = inputs::scratch();
    let file = lab.path().join("copy.so");
    let fix =
        |options: &[&str]| ours([&["fix"], options].concat().into_iter().map(OsStr::new).chain([file.as_os_str()]));
    let set = || {
        let mut command = Command::new(patchelf());
        command.args(["--set-rpath", "/run/opengl-driver/lib:$ORIGIN"]).arg(&file);
        command
    };
    let (mut all, mut scan, mut theirs) = (Figure::new(), Figure::new(), Figure::new());
    for _ in 0..5 {
        for (figure, mut command) in [(&mut all, fix(&["--all"])), (&mut scan, fix(&[])), (&mut theirs, set())] {
            inputs::copy_file(&original, &file);
            figure.add(run_timed(&mut command));
        }
    }
    let theirs = theirs.done();
    table.faster("one large library, `fix --all`", &all.done(), "patchelf --set-rpath", &theirs, 500.0);
    table.faster("one large library, `fix`", &scan.done(), "patchelf --set-rpath", &theirs, 100.0);
    inputs::copy_file(&original, &file);
    let budget = inputs::strings_len(&file) + 8 * 4096;
    let written = usage(&mut fix(&["--all"])).written;
    table.bytes(
        "the same, written (fields stored through the map not counted)",
        written,
        ".dynstr + 8 pages",
        budget,
        1.0,
    );
    inputs::copy_file(&original, &file);
    let run = Command::new("prlimit").arg("--data=33554432").arg(OURS).args(["fix", "-qq"]).arg(&file).status();
    println!("library: `fix` in 32 MiB of memory of its own (RLIMIT_DATA): {run:?}");
    others(table, &original, &file);
}

/// Other editors, where they are there: formatelf by `FORMATELF`, LIEF in the Python of `LIEF_PYTHON`, chrpath, which needs an old path to write
/// over and can make it no longer.
fn others(table: &mut Table, original: &Path, file: &Path) {
    const LIEF: &str = "import lief, sys\nb = lief.ELF.parse(sys.argv[1])\n\
        [b.remove(e) for e in list(b.dynamic_entries) if e.tag == lief.ELF.DynamicEntry.TAG.RUNPATH]\n\
        b.add(lief.ELF.DynamicEntryRunPath('/run/opengl-driver/lib:$ORIGIN'))\nb.write(sys.argv[1])";
    let mut longer = |name: &str, their_edit: &dyn Fn() -> Command| {
        let (mut ours_all, mut theirs) = (Figure::new(), Figure::new());
        for _ in 0..3 {
            inputs::copy_file(original, file);
            ours_all.add(run_timed(&mut ours([OsStr::new("fix"), OsStr::new("--all"), file.as_os_str()])));
            inputs::copy_file(original, file);
            theirs.add(run_timed(their_edit().arg(file)));
        }
        table.beside("one large library, longer path", &ours_all.done(), name, &theirs.done());
    };
    let with = |program: &OsStr, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    if let Some(python) = std::env::var_os("LIEF_PYTHON") {
        longer("LIEF", &|| with(&python, &["-c", LIEF]));
    }
    if let Some(formatelf) = std::env::var_os("FORMATELF") {
        longer("formatelf", &|| with(&formatelf, &["--set-rpath", "/run/opengl-driver/lib:$ORIGIN"]));
    }
    if !Command::new("chrpath").arg("--version").output().is_ok_and(|ran| ran.status.success()) {
        return println!("chrpath: not there");
    }
    let (mut ours_set, mut theirs) = (Figure::new(), Figure::new());
    for _ in 0..5 {
        for (figure, mut command) in [
            (&mut ours_set, ours(["runpath", "set", "/x"].into_iter().map(OsStr::new).chain([file.as_os_str()]))),
            (&mut theirs, {
                let mut command = Command::new("chrpath");
                command.args(["-r", "/x"]).arg(file);
                command
            }),
        ] {
            inputs::copy_file(original, file);
            figure.add(run_timed(&mut command));
        }
    }
    table.beside("one large library, shorter path", &ours_set.done(), "chrpath -r", &theirs.done());
}

fn tree(table: &mut Table) {
    let Some(original) = std::env::var_os("DRIVER_RUNPATH_BENCH_TREE").map(PathBuf::from) else {
        return println!("tree: needs DRIVER_RUNPATH_BENCH_TREE");
    };
    let lab = inputs::scratch();
    let copy = lab.path().join("tree");
    let on_copy = |command: &str| ours([OsStr::new(command), copy.as_os_str()]);
    let (mut first, mut second, mut check) = (Figure::new(), Figure::new(), Figure::new());
    let mut base = Figure::new();
    let size_before = inputs::size_of(&original);
    let mut growth = 0;
    for _ in 0..5 {
        inputs::copy_tree(&original, &copy);
        inputs::read_magics(&copy);
        base.add(time(|| inputs::scan_once(&copy)));
        base.add(time(|| inputs::scan_once(&copy)));
        first.add(run_timed(&mut on_copy("fix")));
        second.add(run_timed(&mut on_copy("fix")));
        check.add(run_timed(&mut on_copy("check")));
        growth = inputs::size_of(&copy) - size_before;
    }
    let (first, mut theirs) = (first.done(), Figure::new());
    let mut their_growth = 0;
    for _ in 0..3 {
        inputs::copy_tree(&original, &copy);
        inputs::read_magics(&copy);
        theirs.add(run_timed(&mut inputs::bash_around_patchelf(&patchelf(), &copy)));
        their_growth = inputs::size_of(&copy) - size_before;
    }
    table.faster("the tree, `fix`", &first, "bash around patchelf, as in nixpkgs", &theirs.done(), 200.0);
    table.at_most("the same", &first, "walk, four bytes of each, one memmem", &base.done(), 2.0);
    table.at_most("the tree, a second `fix`", &second.done(), "the first", &first, 1.2);
    table.at_most("the tree, `check`", &check.done(), "`fix`", &first, 2.0);
    table.bytes("the tree, growth", growth, "bash around patchelf", their_growth, 0.03);
    in_nix_order(table, &original, &copy);
    if drop_caches() {
        inputs::copy_tree(&original, &copy);
        drop_caches();
        let read = usage(&mut on_copy("fix")).read;
        let budget = "1.3 times what can hold evidence, 128 KiB an ELF file, 16 KiB another";
        table.bytes("the tree, cold cache, read", read, budget, inputs::read_budget(&copy), 1.0);
    }
}

/// Growth where another hook has set search paths into the store before, as autoPatchelfHook does.
fn in_nix_order(table: &mut Table, original: &Path, copy: &Path) {
    inputs::copy_tree(original, copy);
    inputs::set_store_paths(&patchelf(), copy);
    let size_before = inputs::size_of(copy);
    let patched = copy.with_extension("patched");
    inputs::copy_tree(copy, &patched);
    run_timed(&mut ours([OsStr::new("fix"), copy.as_os_str()]));
    run_timed(&mut inputs::bash_around_patchelf(&patchelf(), &patched));
    let [growth, theirs] = [copy, &patched].map(|tree| inputs::size_of(tree).saturating_sub(size_before));
    table.bytes("the tree after patchelf has set store paths, growth", growth, "bash around patchelf", theirs, 0.0);
}
