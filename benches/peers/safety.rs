//! What is left of a file when an edit is killed, or cannot write.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::inputs;
use crate::measure::time;
use crate::table::Table;

/// Bytes of the library whose edit is killed.
const LEN: usize = 500 << 20;
const KILLS: u32 = 25;

/// Files by what became of them.
#[derive(Default)]
pub struct Left {
    loads: u32,
    broken: u32,
    empty: u32,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} load, {} do not, {} of these empty", self.loads, self.broken, self.empty)
    }
}

/// Kills edits at times spread over that of a whole one.
pub fn kills(table: &mut Table, ours: impl Fn(&Path) -> Command, theirs: impl Fn(&Path) -> Command) {
    let lab = inputs::scratch();
    let built = inputs::large(lab.path(), LEN).zip(inputs::loader(lab.path()));
    let Some((original, loader)) = built else { return println!("kills: needs cc") };
    let file = lab.path().join("copy.so");
    let left = |command: &dyn Fn(&Path) -> Command| {
        inputs::copy_file(&original, &file);
        let whole = time(|| drop(quiet(&mut command(&file)).status()));
        let mut left = Left::default();
        for number in 0..KILLS {
            inputs::copy_file(&original, &file);
            let mut child = quiet(&mut command(&file)).spawn().expect("it starts");
            std::thread::sleep(Duration::from_secs_f64(whole * (f64::from(number) + 0.5) / f64::from(KILLS)));
            let _ = child.kill();
            let _ = child.wait();
            left.count(&loader, &file);
        }
        left
    };
    let (ours, theirs) = (left(&ours), left(&theirs));
    let is_met = ours.broken == 0;
    table.counts(
        &format!("{KILLS} kills while a library of 500 MiB is edited"),
        &ours,
        "patchelf --set-rpath",
        &theirs,
        is_met,
    );
}

impl Left {
    fn count(&mut self, loader: &Path, file: &Path) {
        if quiet(Command::new(loader).arg(file)).status().is_ok_and(|status| status.success()) {
            self.loads += 1;
        } else {
            self.broken += 1;
            self.empty += u32::from(file.metadata().is_ok_and(|stat| stat.len() == 0));
        }
    }
}

/// Lets every write to the file fail, one error after the other.
pub fn failing_writes(table: &mut Table, ours: impl Fn(&Path) -> Command, theirs: impl Fn(&Path) -> Command) {
    let lab = inputs::scratch();
    let Some(loader) = inputs::loader(lab.path()) else { return println!("failing-writes: needs cc") };
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/prebuilt/x86_64/libopens.so");
    let file = lab.path().join("copy.so");
    let left = |command: &dyn Fn(&Path) -> Command| {
        let mut left = Left::default();
        for error in ["EIO", "ENOSPC", "EDQUOT"] {
            inputs::copy_file(&original, &file);
            let command = command(&file);
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&file);
            strace.arg("-e").arg(format!("inject=write,pwrite64,writev,pwritev,ftruncate:error={error}"));
            strace.arg(command.get_program()).args(command.get_args()).env("NIX_BUILD_TOP", "/build");
            assert!(quiet(&mut strace).status().is_ok_and(|status| !status.success()), "the writes did not fail");
            left.count(&loader, &file);
        }
        left
    };
    let (ours, theirs) = (left(&ours), left(&theirs));
    let is_met = ours.broken == 0;
    table.counts("every write fails: EIO, ENOSPC, EDQUOT", &ours, "patchelf --set-rpath", &theirs, is_met);
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

/// The arguments of a command, for a file.
pub fn on<'a>(program: &'a Path, arguments: &'a [&'a str]) -> impl Fn(&Path) -> Command + 'a {
    move |file| {
        let mut command = Command::new(program);
        command.args(arguments.iter().map(OsStr::new)).arg(file).env("NIX_BUILD_TOP", "/build");
        command
    }
}
