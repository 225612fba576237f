//! What the system refuses or takes away: threads, room, pages, writes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use super::Done;
use super::support::lab::{Lab, contains, driver_runpath, run_copy, same, testdata};
use super::support::tools::{fix_with_faults, root_trial, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        root_trial("without_threads_the_work_is_done_by_one", &["prlimit"], no_threads),
        Trial::test("a_limit_of_file_size_is_an_error_of_one_file", size_limit),
        Trial::test("a_file_cut_off_while_it_is_read_is_an_error_of_that_file", cut_off),
        trial("writes_that_go_on_failing_leave_a_file_that_the_next_run_mends", &["strace"], failing_for_good),
    ]
}

fn no_threads() -> Done {
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    for number in 0..20 {
        lab.fixture("x86_64/libopens.so", &format!("tree/lib{number}.so"))?;
    }
    let binary = lab.path("driver-runpath");
    fs::copy(env!("CARGO_BIN_EXE_driver-runpath"), &binary)?;
    let mut command = Command::new("prlimit");
    command.arg("--nproc=1").arg(&binary).arg("check").arg(lab.path("tree")).uid(65534).gid(65534);
    let run = run_copy(&mut command)?.expect(1)?;
    contains(&run.out, "20 ELF files, 20 load the driver")
}

fn size_limit() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let original = fs::read(&path)?;
    let script = "ulimit -f 1; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_driver-runpath"), "fix"])
        .arg(&path)
        .stdout(Stdio::piped())
        .output()?;
    same(output.status.code(), Some(2), "status")?;
    contains(&String::from_utf8_lossy(&output.stderr), "File too large")?;
    same(fs::read(&path)? == original, true, "the file as it was")
}

/// The run is stopped while it has the file mapped; then the file is cut off.
fn cut_off() -> Done {
    let lab = Lab::new()?;
    let original = fs::read(testdata().join("prebuilt/x86_64/libplain.so"))?;
    let path = lab.path("libplain.so");
    let (mut cut, mut noticed) = (0, 0);
    for _ in 0..200 {
        fs::write(&path, &original)?;
        let mut run = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        let child = run.args(["check", "-v"]).arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let maps = format!("/proc/{}/maps", child.id());
        let pid = rustix::process::Pid::from_child(&child);
        while let Ok(maps) = fs::read_to_string(&maps)
            && !maps.is_empty()
        {
            if maps.contains("libplain.so") {
                rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
                fs::OpenOptions::new().write(true).open(&path)?.set_len(100)?;
                rustix::process::kill_process(pid, rustix::process::Signal::CONT)?;
                cut += 1;
                break;
            }
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = output.status.code().ok_or(format!("the run was ended by a signal: {:?}", output.status))?;
        same([0, 2].contains(&status), true, &said)?;
        noticed += usize::from(status == 2);
        if noticed >= 3 {
            break;
        }
    }
    same(cut > 0, true, "the file was cut off in time at least once")
}

/// From one write on, all fail, those that take the edit back as well.
fn failing_for_good() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let original = fs::read(&path)?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    let right = fs::read(&path)?;
    let mut half_done = 0;
    for number in 1..40 {
        fs::write(&path, &original)?;
        let output = fix_with_faults(&lab, &path, "pwrite64,ftruncate", &format!("error=EIO:when={number}+"))?;
        if output.status.code() == Some(0) {
            break;
        }
        same(output.status.code(), Some(2), "status")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if fs::read(&path)? != original {
            half_done += 1;
            contains(&said, "is mended by the next run")?;
        }
        driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
        same(fs::read(&path)? == right, true, "the file after the next run")?;
    }
    same(half_done > 0, true, "an edit was left in the middle")
}
