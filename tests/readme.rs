//! The README shows what the program prints: its blocks with output are run. `terminal.rs` makes its picture.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use snapbox::{Assert, Data};
use support::lab::Lab;
use support::tools::trial;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_driver-runpath");

fn main() {
    let trials = vec![
        trial("the_demo_prints_what_the_readme_shows", &["cc"], || same("sh testdata/demo.sh", demo()?)),
        trial("explain_prints_what_the_readme_shows", &["cc"], || {
            same("driver-runpath explain lib/libopens.so", console("explain lib/libopens.so")?)
        }),
        trial("runpath_prints_what_the_readme_shows", &["cc"], || {
            same("driver-runpath runpath print lib/libfoo.so", console("runpath")?)
        }),
        Trial::test("every_figure_beside_a_peer_is_in_the_benchmarks", figures),
        Trial::test("every_option_of_the_readme_is_one", options),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn readme() -> Result<String, Failed> {
    Ok(fs::read_to_string(Path::new(ROOT).join("README.md"))?)
}

/// The lines of the block that starts with the command, or with `$ ` and the command.
fn block(command: &str) -> Result<String, Failed> {
    let readme = readme()?;
    let mut blocks = readme.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let found = blocks.find(|(_, lines)| lines.lines().next() == Some(&format!("$ {command}")));
    let (_, lines) = found.ok_or_else(|| format!("the README has no block that starts with {command}"))?;
    Ok(format!("{lines}\n"))
}

/// What depends on the machine and its linker: times, the rung, the system's loader.
fn without_machine(text: &str) -> String {
    let known =
        |line: &&str| !line.contains("loader: ") && !line.starts_with("note: ") && !line.contains("it tries first: ");
    let same = |line: &str| {
        let line = line.split("; 0.").next().unwrap_or_default();
        line.rfind("; ").filter(|_| line.ends_with(" bytes")).map_or(line, |rung| &line[..rung]).to_owned() + "\n"
    };
    text.lines().filter(known).map(same).collect()
}

fn same(command: &str, printed: String) -> Result<(), Failed> {
    let shown = block(command)?;
    Assert::new().eq(without_machine(&printed), Data::text(without_machine(&shown)).raw());
    Ok(())
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The demo, with this build of the program.
fn demo() -> Result<String, Failed> {
    let printed = output(Command::new("sh").arg("testdata/demo.sh").current_dir(ROOT).env("DRIVER_RUNPATH", BINARY))?;
    let option = printed.split_once("--driver-link ").ok_or_else(|| printed.clone())?.1;
    let place = option.split_once("/driver ").ok_or_else(|| printed.clone())?.0;
    Ok(format!("$ sh testdata/demo.sh\n{}", printed.replace(place, "/tmp/demo")))
}

/// Runs the commands of the block with `command` where the README's examples play, in /opt/app below a laboratory.
fn console(command: &str) -> Result<String, Failed> {
    let lab = Lab::new()?;
    let root = lab.root().to_str().ok_or("a name")?.to_owned();
    let stubs = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../cuda/lib64/stubs:";
    let shared = ["-shared", "-fPIC"];
    let driver = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"];
    for place in ["run/opengl-driver/lib/libcuda.so.1", "opt/app/cuda/lib64/stubs/libcuda.so.1"] {
        lab.cc(place, &["driver.c"], &driver)?;
    }
    let path = format!("{stubs}{root}/run/opengl-driver/lib");
    lab.cc("opt/app/lib/libopens.so", &["opens.c"], &[&shared[..], &[&path]].concat())?;
    let path = ["-Wl,--enable-new-dtags,-rpath,/opt/foo/lib"];
    lab.cc("opt/app/lib/libfoo.so", &["plain.c"], &[&shared[..], &path].concat())?;
    let mut printed = String::new();
    let shown = readme()?;
    let lines = shown.lines().filter_map(|line| line.strip_prefix("$ driver-runpath "));
    for line in lines.filter(|line| line.contains(command) && line.contains("lib/lib")) {
        let arguments = if line.starts_with("explain") {
            line.replace("explain", &format!("explain --driver-link {root}/run/opengl-driver"))
        } else {
            line.to_owned()
        };
        printed.push_str(&format!("$ driver-runpath {line}\n"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {BINARY} {arguments}")]).current_dir(lab.path("opt/app"));
        printed.push_str(&output(shell.env_remove("LD_LIBRARY_PATH"))?.replace(&root, ""));
    }
    Ok(printed)
}

/// What the README measures beside its peers, and the peers that it names, have rows in BENCHMARKS.md.
fn figures() -> Result<(), Failed> {
    let readme = readme()?;
    let section = readme.split("\n## ").find(|section| section.starts_with("Beside its peers")).ok_or("no section")?;
    let benchmarks = fs::read_to_string(Path::new(ROOT).join("BENCHMARKS.md"))?;
    let rows: Vec<&str> = benchmarks.lines().filter(|line| line.starts_with("| ")).collect();
    let names = ["LIEF", "chrpath", "oxidized-patchelf", "rattler-build", "arwen", "patchelf", "kills", "write fails"];
    for name in names.into_iter().filter(|name| section.contains(name)) {
        if !rows.iter().any(|row| row.contains(name)) {
            return Err(format!("no row with {name}").into());
        }
    }
    // Times and counts, rounded in the README.
    let measured: Vec<f64> =
        rows.iter().flat_map(|row| numbers(row)).flat_map(|(value, unit)| in_ms(value, unit)).collect();
    for (value, unit) in section.lines().flat_map(numbers) {
        let Some(time) = in_ms(value, unit) else { continue };
        if !measured.iter().any(|known| (known - time).abs() <= time * 0.05) {
            return Err(format!("{value} {unit} is in no row").into());
        }
    }
    Ok(())
}

fn in_ms(value: f64, unit: &str) -> Option<f64> {
    match unit {
        "ms" => Some(value),
        "s" => Some(value * 1e3),
        _ => None,
    }
}

/// Numbers with the word behind them.
fn numbers(line: &str) -> Vec<(f64, &str)> {
    let words: Vec<&str> = line.split(' ').collect();
    let pairs = words.windows(2).filter_map(|pair| match pair {
        [number, unit] => Some((number.parse().ok()?, unit.trim_end_matches([',', '.', ';']))),
        _ => None,
    });
    pairs.collect()
}

/// Options in the README's tables and examples are options of the program.
fn options() -> Result<(), Failed> {
    let mut help = String::new();
    for command in ["fix", "check", "explain", "audit", "gpu-code", "runpath set", "runpath shrink", "patchelf"] {
        let words: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        help.push_str(&output(Command::new(BINARY).args(words).arg("--help"))?);
    }
    let readme = readme()?;
    let ours = readme.lines().filter(|line| line.starts_with("| `-") || line.starts_with("$ driver-runpath"));
    let words = ours.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
    let unknown: Vec<&str> = words.filter(|word| word.starts_with("--") && !help.contains(*word)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("not options: {unknown:?}").into()) }
}
