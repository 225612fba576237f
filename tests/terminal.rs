//! What a terminal gets: columns that fit it, colours unless the user wants none. The README's picture is such a run;
//! `SNAPSHOTS=overwrite cargo test --test terminal` renews it.

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use snapbox::{Assert, Data};
use support::lab::{Lab, driver_runpath, same};
use support::tools::trial;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_driver-runpath");

fn main() {
    // A bare container may have the program, but no terminals for it.
    let works = || Command::new("script").args(["-q", "-e", "-c", "test -t 1", "/dev/null"]).output();
    let needs = if works().is_ok_and(|ran| ran.status.success()) { &[][..] } else { &["script and /dev/pts"] };
    let trials = vec![
        trial("the_picture_is_that_of_a_real_run", needs, picture),
        trial("no_line_is_wider_than_the_terminal", needs, fits),
        trial("search_paths_are_printed_harmless_on_a_terminal_and_as_they_are_in_a_pipe", needs, harmless),
        trial("fix_says_what_changes_once_for_each_group_and_the_best_reason", needs, grouped),
        trial("no_color_means_no_colours", needs, no_color),
        trial("a_terminal_without_a_width_is_a_log_and_gets_what_a_pipe_gets", needs, log),
        Trial::test("a_pipe_gets_neither_table_nor_colours", pipe),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A virtual environment.
fn venv() -> Result<Lab, Failed> {
    let lab = Lab::new()?;
    for (fixture, name) in [
        ("libopens.so", "torch/lib/libtorch_cuda.so"),
        ("libplain.so", "torch/lib/libtorch.so"),
        ("libneeds.so", "torch/lib/libcaffe2_nvrtc.so"),
        ("libopens.so", "nvidia/nccl/lib/libnccl.so.2"),
        ("program", "triton/backends/nvidia/bin/ptxas"),
    ] {
        lab.fixture(&format!("x86_64/{fixture}"), &format!("venv/{name}"))?;
    }
    Ok(lab)
}

fn picture() -> Result<(), Failed> {
    let lab = venv()?;
    let mut terminal = String::new();
    for command in ["check venv", "fix venv", "check venv"] {
        terminal.push_str(&format!("\x1b[2m$\x1b[0m driver-runpath {command}\n"));
        // Whether there is a driver here makes no difference to the picture.
        let printed = on_a_terminal(&lab, command, &[])?;
        let lines = printed.lines().filter(|line| !line.starts_with("note: ") && !line.starts_with("      "));
        lines.for_each(|line| terminal.push_str(&format!("{line}\n")));
    }
    let picture = anstyle_svg::Term::new().min_width_px(660).render_svg(&terminal);
    let kept = Path::new(ROOT).join("docs/terminal.svg");
    Assert::new().action_env("SNAPSHOTS").eq(Data::text(picture).raw(), Data::read_from(&kept, None).raw());
    Ok(())
}

fn on_a_terminal(lab: &Lab, command: &str, settings: &[(&str, &str)]) -> Result<String, Failed> {
    on_a_terminal_of(lab, 80, command, settings)
}

/// What a terminal of so many columns gets, times left out.
fn on_a_terminal_of(lab: &Lab, columns: usize, command: &str, settings: &[(&str, &str)]) -> Result<String, Failed> {
    let shell = format!("stty cols {columns}; exec {BINARY} {command}");
    let mut script = Command::new("script");
    script.args(["-q", "-c", &shell]).arg(lab.path("typescript")).current_dir(lab.root());
    // What anstream asks besides the terminal.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        script.env_remove(name);
    }
    script.envs([("TERM", "xterm-256color"), ("NIX_BUILD_TOP", "/build")]);
    let output = script.envs(settings.iter().copied()).output()?;
    let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let timeless = printed.lines().map(|line| match line.split_once("; 0.") {
        Some((line, _)) => format!("{line}; 0.001 s\n"),
        None => format!("{line}\n"),
    });
    Ok(timeless.collect())
}

/// The columns that a line takes, without its colours.
fn width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let first = parts.next().map_or(0, |text| text.chars().count());
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.chars().count())).sum::<usize>()
}

fn fits() -> Result<(), Failed> {
    let lab = venv()?;
    let long = format!("venv/{}/lib/{}.so", "a-package-with-a-long-name".repeat(3), "libwith_a_long_name".repeat(3));
    lab.fixture("x86_64/libopens.so", &long)?;
    let commands =
        ["check venv", "fix -n venv", "explain venv/nvidia/nccl/lib/libnccl.so.2", "audit venv", "gpu-code venv"]
            .into_iter()
            .flat_map(|command| [40, 80, 120].map(|columns| (command, columns)));
    for (command, columns) in commands {
        let printed = on_a_terminal_of(&lab, columns, command, &[])?;
        // The name of a group is as long as it is, and so is a file's that stands alone.
        let is_a_word = |line: &str| !line.trim_start_matches([' ', '│', '├', '└', '─']).contains(' ');
        let lines = printed.lines().filter(|line| !line.contains("a-package-with-a-long-name") && !is_a_word(line));
        if let Some(line) = lines.into_iter().find(|line| width(line) > columns) {
            return Err(format!("{command}: {} columns: {line}", width(line)).into());
        }
        // Nor does the command that is proposed lose anything.
        if ["check venv", "fix -n venv"].contains(&command) && !printed.contains("a_long_name") {
            return Err(format!("{command} leaves out the end of the long name:\n{printed}").into());
        }
    }
    Ok(())
}

/// Nix gives builders a terminal of no width: what goes there is a log.
fn log() -> Result<(), Failed> {
    let lab = venv()?;
    for command in ["check venv", "fix -n venv", "explain venv/nvidia/nccl/lib/libnccl.so.2", "audit venv"] {
        let piped = Command::new(BINARY).args(command.split(' ')).current_dir(lab.root()).output()?;
        let piped = String::from_utf8(piped.stdout)?;
        let logged = on_a_terminal_of(&lab, 0, command, &[])?;
        let of_time =
            |text: &str| text.lines().map(|line| line.split("; 0.").next().unwrap_or(line).to_owned()).collect();
        same::<Vec<String>>(of_time(&logged), of_time(&piped), command)?;
    }
    Ok(())
}

fn grouped() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let names = ["adv", "cnn", "engines_precompiled", "engines_runtime_compiled", "graph", "heuristic", "ops"];
    for name in names {
        lab.fixture(
            "x86_64/libopens.so",
            &format!("venv/nvidia/cudnn/lib/libcudnn_with_a_very_long_name_{name}.so.9"),
        )?;
    }
    lab.fixture("x86_64/program", "venv/nvidia/cudnn/bin/tool")?;
    let printed = on_a_terminal(&lab, "fix -n venv", &[("NO_COLOR", "1")])?;
    let count = |text: &str| printed.matches(text).count();
    let is_right = count("  no search path → RUNPATH /run/opengl-driver/lib\n") == 1
        && count("  RUNPATH /opt/lib → RUNPATH /run/opengl-driver/lib:/opt/lib\n") == 1
        && count("names libcuda.so.1") == 8
        && count("slack") == 0
        // Cut in the middle, names still differ.
        && names.iter().all(|name| count(&format!("{}.so.9 ", &name[name.len().saturating_sub(8)..])) >= 1);
    if is_right { Ok(()) } else { Err(printed.into()) }
}

fn no_color() -> Result<(), Failed> {
    let lab = venv()?;
    for (settings, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)] {
        let printed = on_a_terminal(&lab, "check venv", settings)?;
        if printed.contains('\x1b') != coloured || !printed.contains("LACKS") {
            return Err(format!("under {settings:?}: {printed:?}").into());
        }
    }
    Ok(())
}

fn harmless() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let odd = "/a\x1b[31m/\u{202e}b";
    driver_runpath([OsStr::new("runpath"), OsStr::new("set"), OsStr::new(odd), file.as_os_str()]).expect(0)?;
    for command in ["runpath print", "patchelf --print-rpath", "--print-rpath"] {
        let printed = on_a_terminal(&lab, &format!("{command} libplain.so"), &[])?;
        if printed != "/a\\x1b[31m/\\xe2\\x80\\xaeb\n" {
            return Err(format!("{command} on a terminal: {printed:?}").into());
        }
        let words = command.split(' ').map(OsStr::new).chain([file.as_os_str()]);
        let printed = driver_runpath(words).expect(0)?.out;
        if printed != format!("{odd}\n") {
            return Err(format!("{command} in a pipe: {printed:?}").into());
        }
    }
    Ok(())
}

fn pipe() -> Result<(), Failed> {
    let lab = venv()?;
    let ran = driver_runpath([Path::new("fix"), &lab.path("venv")]);
    let lines = ran.out.lines().filter(|line| line.starts_with("changed: ")).count();
    if lines == 4 && !ran.out.contains('\x1b') { Ok(()) } else { Err(ran.out.into()) }
}
