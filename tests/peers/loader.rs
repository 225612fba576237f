//! The loader and the kernel of this machine, on what an editor has written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use driver_runpath::fixtures::{Profile, Target};
use libtest_mimic::Failed;

use super::Subject;
use super::editor::Edited;
use super::support::lab::{Lab, program, same, succeed, testdata};

/// What goes wrong with each file; nothing for files that are not for this machine's loader.
pub fn load(files: &[&Edited<'_>], lab: &Lab) -> Result<Vec<Option<String>>, Failed> {
    let mut failed: Vec<Option<String>> = Vec::new();
    let mut libraries = Vec::new();
    for (index, edited) in files.iter().enumerate() {
        let subject = edited.subject;
        failed.push(None);
        if subject.profile == Profile::Any || Some(subject.target) != Target::HOST {
            continue;
        }
        let directory = subject.path.with_extension("needs");
        place_companions(subject, &directory)?;
        if subject.spec.is_program() {
            failed[index] = start(&edited.path, &directory, subject.spec.exit_status)?;
        } else {
            libraries.push((index, edited.path.as_path(), directory));
        }
    }
    let answers = open_all(lab, &libraries)?;
    same(answers.len(), libraries.len(), "answers")?;
    for ((index, ..), answer) in libraries.iter().zip(answers) {
        failed[*index] = (answer != "ok").then_some(answer);
    }
    Ok(failed)
}

fn place_companions(subject: &Subject, directory: &Path) -> Result<(), Failed> {
    if directory.exists() {
        return Ok(());
    }
    fs::create_dir(directory)?;
    for companion in subject.spec.companions()? {
        fs::write(directory.join(String::from_utf8_lossy(&companion.name).as_ref()), &companion.file)?;
    }
    Ok(())
}

/// What went wrong with a program that shall exit with this status.
fn start(path: &Path, libraries: &Path, status: Option<u8>) -> Result<Option<String>, Failed> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    let mut command = program(path);
    command.env("LD_LIBRARY_PATH", libraries).env("LD_BIND_NOW", "1").stdin(Stdio::null());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Ok(Some(format!("the kernel: {error}"))),
    };
    let is_right = output.status.code() == status.map(i32::from);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!is_right).then(|| format!("{}: {}", output.status, error.trim())))
}

/// Opens libraries, each in a process of its own, and says what the loader says.
fn open_all(lab: &Lab, libraries: &[(usize, &Path, std::path::PathBuf)]) -> Result<Vec<String>, Failed> {
    if libraries.is_empty() {
        return Ok(Vec::new());
    }
    let opener = lab.path("open_each");
    succeed(Command::new("cc").arg(testdata().join("src/open_each.c")).arg("-o").arg(&opener).arg("-ldl"))?;
    let mut input = String::new();
    for (_, path, directory) in libraries {
        input.push_str(&format!("{} -", path.display()));
        for companion in fs::read_dir(directory)? {
            input.push_str(&format!(" {}", companion?.path().display()));
        }
        input.push('\n');
    }
    let lines = lab.path("lines");
    fs::write(&lines, input)?;
    let output = program(&opener).stdin(fs::File::open(lines)?).stderr(Stdio::inherit()).output()?;
    same(output.status.code(), Some(0), "status of the opener")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
