//! What other users of a tree do while it is edited: links in the way, locks, mounts.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::fs::{FlockOperation, flock};

use super::Done;
use super::support::lab::{Lab, contains, driver_runpath, same, testdata};
use super::support::tools::root_trial;

const NOBODY: u32 = 65534;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_link_put_in_the_way_of_a_copy_leads_nowhere", swapped_for_a_link),
        Trial::test("a_directory_exchanged_for_a_link_leads_nowhere", swapped_directory),
        Trial::test("another_file_under_the_name_is_left_alone", swapped_for_a_file),
        Trial::test("a_run_waits_for_an_editor_that_ends", waits),
        root_trial("who_can_only_read_a_file_stops_no_run_for_long", &["setpriv", "flock"], reader_locks),
        root_trial("a_link_in_a_directory_for_everybody_is_not_followed_to_an_output", &[], sticky),
        root_trial("a_bind_mount_adds_no_name", &["unshare", "mount"], bind_mount),
        root_trial("names_of_a_file_in_a_lower_layer_stay_names_of_one_file", &["unshare", "mount"], overlay),
    ]
}

/// A run that waits for the lock on a file which this process holds.
struct Held {
    lab: Lab,
    child: Child,
    lock: fs::File,
}

impl Held {
    /// `tree/dir/libopens.so` has a hard link elsewhere.
    fn new(command: &[&str]) -> Result<Self, Failed> {
        let lab = Lab::new()?;
        let file = lab.fixture("x86_64/libopens.so", "tree/dir/libopens.so")?;
        fs::hard_link(&file, lab.path("elsewhere"))?;
        fs::write(lab.path("victim"), "precious")?;
        let lock = fs::File::open(&file)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut run = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        run.args(command).arg(lab.path("tree")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = run.spawn()?;
        // The walk closes what it has looked at; who waits keeps the file open.
        let descriptors = format!("/proc/{}/fd", child.id());
        let start = Instant::now();
        let mut seen = 0;
        while seen < 20 {
            let open = fs::read_dir(&descriptors)?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            seen = if open.into_iter().any(|path| path == file) { seen + 1 } else { 0 };
            same(start.elapsed() < Duration::from_secs(20), true, "the run waits for the lock")?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { lab, child, lock })
    }

    fn dir(&self) -> std::path::PathBuf {
        self.lab.path("tree/dir")
    }

    /// Lets the run go on; what it said, and its status.
    fn release(self) -> Result<(Lab, String, Option<i32>), Failed> {
        let Self { lab, mut child, lock } = self;
        drop(lock);
        let mut said = String::new();
        if let Some(mut errors) = child.stderr.take() {
            errors.read_to_string(&mut said)?;
        }
        let status = child.wait()?.code();
        same(fs::read_to_string(lab.path("victim"))?.as_str(), "precious", "a file elsewhere")?;
        let elsewhere = fs::read(lab.path("elsewhere"))?;
        same(elsewhere == fs::read(testdata().join("prebuilt/x86_64/libopens.so"))?, true, "the other link")?;
        Ok((lab, said, status))
    }
}

fn swapped_for_a_link() -> Done {
    let held = Held::new(&["fix", "--break-links"])?;
    fs::rename(held.dir().join("libopens.so"), held.dir().join("old"))?;
    symlink(held.lab.path("victim"), held.dir().join("libopens.so"))?;
    let (lab, said, status) = held.release()?;
    same(status, Some(2), &said)?;
    contains(&said, "changed while it was looked at")?;
    same(fs::symlink_metadata(lab.path("tree/dir/libopens.so"))?.is_symlink(), true, "the link stays")
}

fn swapped_directory() -> Done {
    let held = Held::new(&["fix", "--break-links"])?;
    let other = held.lab.path("other");
    fs::create_dir(&other)?;
    fs::write(other.join("libopens.so"), "another precious file")?;
    fs::rename(held.dir(), held.lab.path("tree/moved"))?;
    symlink(&other, held.dir())?;
    let (lab, said, status) = held.release()?;
    same(fs::read_to_string(lab.path("other/libopens.so"))?.as_str(), "another precious file", "behind the link")?;
    // The directory that was opened has its file changed, wherever it is now.
    same(status, Some(0), &said)?;
    same(fs::metadata(lab.path("tree/moved/libopens.so"))?.nlink(), 1, "links of the copy")
}

fn swapped_for_a_file() -> Done {
    let held = Held::new(&["fix", "--break-links"])?;
    fs::remove_file(held.dir().join("libopens.so"))?;
    fs::write(held.dir().join("libopens.so"), "somebody else's")?;
    let (lab, said, status) = held.release()?;
    same(status, Some(2), &said)?;
    same(fs::read_to_string(lab.path("tree/dir/libopens.so"))?.as_str(), "somebody else's", "the new file")
}

fn waits() -> Done {
    let held = Held::new(&["fix", "--break-links"])?;
    std::thread::sleep(Duration::from_millis(1500));
    let (_lab, said, status) = held.release()?;
    same(status, Some(0), &said)
}

fn reader_locks() -> Done {
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    let sound = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let damaged = lab.path("damaged.so");
    fs::write(&damaged, fs::read(&sound)?.get(..5000).ok_or("short")?)?;
    for (path, command, words) in
        [(&sound, "fix", "who can only read it, keeps a lock on it"), (&damaged, "check", "truncated")]
    {
        let original = fs::read(path)?;
        let mut holder = Command::new("flock");
        let mut holder = holder.arg(path).args(["sleep", "30"]).uid(NOBODY).gid(NOBODY).spawn()?;
        let probe = fs::File::open(path)?;
        while flock(&probe, FlockOperation::NonBlockingLockExclusive).is_ok() {
            flock(&probe, FlockOperation::Unlock)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let start = Instant::now();
        let run = driver_runpath([OsStr::new(command), path.as_os_str()]);
        let waited = start.elapsed();
        let _ = Command::new("pkill").args(["-P", &holder.id().to_string()]).status();
        holder.kill()?;
        holder.wait()?;
        contains(&run.expect(2)?.err, words)?;
        same(waited < Duration::from_secs(5), true, &format!("{waited:?} waited"))?;
        same(fs::read(path)? == original, true, "the file")?;
    }
    Ok(())
}

fn sticky() -> Done {
    let lab = Lab::new()?;
    let input = lab.fixture("x86_64/libopens.so", "in.so")?;
    let shared = lab.path("shared");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))?;
    for (victim, exists) in [("victim", true), ("not-there", false)] {
        let victim = lab.path(victim);
        if exists {
            fs::write(&victim, "precious")?;
        }
        let link = shared.join(if exists { "a" } else { "b" });
        symlink(&victim, &link)?;
        rustix::fs::chownat(
            rustix::fs::CWD,
            &link,
            Some(rustix::fs::Uid::from_raw(NOBODY)),
            None,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        let words = ["runpath", "set", "--output"].map(OsStr::new);
        let run = driver_runpath(words.into_iter().chain([link.as_os_str(), OsStr::new("/x"), input.as_os_str()]));
        contains(&run.expect(2)?.err, "is not followed")?;
        same(fs::read_to_string(&victim).ok().as_deref(), exists.then_some("precious"), "where it leads")?;
    }
    Ok(())
}

/// Runs a script in mounts of its own; `None` where that is not allowed.
fn in_own_mounts(lab: &Lab, script: &str) -> Result<Option<String>, Failed> {
    if !Command::new("unshare").args(["-m", "true"]).output()?.status.success() {
        return Ok(None);
    }
    let output = Command::new("unshare")
        .args(["-m", "sh", "-ec", script])
        .current_dir(lab.root())
        .env("D", env!("CARGO_BIN_EXE_driver-runpath"))
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Some(String::from_utf8_lossy(&said).into_owned()))
}

fn bind_mount() -> Done {
    let lab = Lab::new()?;
    let file = lab.fixture("x86_64/libopens.so", "tree/a/l.so")?;
    fs::create_dir(lab.path("tree/b"))?;
    fs::create_dir(lab.path("tree/c"))?;
    fs::write(lab.path("tree/c/l.so"), "")?;
    fs::hard_link(&file, lab.path("outside"))?;
    let original = fs::read(&file)?;
    for mount in ["mount --bind tree/a tree/b", "mount --bind tree/a/l.so tree/c/l.so"] {
        let Some(said) = in_own_mounts(&lab, &format!("{mount}; $D fix tree || echo status $?"))? else {
            return Ok(());
        };
        contains(&said, "1 more hard link(s) to it lie outside the paths given")?;
        contains(&said, "status 1")?;
        same(fs::read(lab.path("outside"))? == original, true, mount)?;
    }
    Ok(())
}

fn overlay() -> Done {
    let lab = Lab::new()?;
    let file = testdata().join("prebuilt/x86_64/libopens.so");
    let script = format!(
        "mkdir t; mount -t tmpfs t t; cd t; mkdir -p l/pkgs l/env u w m; cp '{}' l/pkgs/; ln l/pkgs/libopens.so l/env/
         cp '{}' l/single.so
         mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m
         $D fix m; $D fix m; stat -c 'links %h' m/pkgs/libopens.so; cmp m/pkgs/libopens.so m/env/libopens.so",
        file.display(),
        file.display()
    );
    let Some(said) = in_own_mounts(&lab, &script)? else { return Ok(()) };
    if said.contains("mount:") {
        return Ok(());
    }
    contains(&said, "2 changed, 0 already right")?;
    contains(&said, "0 changed, 2 already right")?;
    contains(&said, "links 2")?;
    same(said.contains("differ"), false, "one file under both names")
}
