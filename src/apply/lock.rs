//! The lock that keeps two runs from editing one file at a time, and how long it is waited for.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Error;
use crate::error::Holder;

/// How long a lock is waited for whose holder could be editing the file, unless the caller says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// And one whose holder cannot write to it, at most: flock(2) asks for no more than that the file can be opened.
const FOR_READERS: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(2);

/// Takes an exclusive lock on the open `file`; it goes with the descriptor. `patience`: see [`PATIENCE`].
///
/// # Errors
/// [`Error::Locked`] where another process keeps it. A file system without locks has none to respect.
pub fn lock(file: &File, patience: Duration) -> Result<(), Error> {
    wait(file, patience, || is_locked(file).then_some(()))
}

/// The same for an edit through a descriptor of the user's. A lock belongs to what open(2) gave, and a second one of those
/// has it here and gives it back with the guard. Where the user has a lock already, that does, and stays.
///
/// # Errors
/// As [`lock`].
pub(crate) fn lock_for_an_edit(file: &File, patience: Duration) -> Result<Guard, Error> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(second) = File::options().read(true).write(true).open(name) else {
        return lock(file, patience).map(|()| Guard { _own: None });
    };
    let is_own =
        wait(file, patience, || if is_locked(&second) { Some(true) } else { is_locked(file).then_some(false) })?;
    Ok(Guard { _own: is_own.then_some(second) })
}

/// Keeps a lock.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: the lock is the user's.
    _own: Option<File>,
}

fn is_locked(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

fn wait<T>(file: &File, patience: Duration, try_lock: impl Fn() -> Option<T>) -> Result<T, Error> {
    let start = Instant::now();
    let mut holder = None;
    loop {
        if let Some(locked) = try_lock() {
            return Ok(locked);
        }
        let waited = start.elapsed();
        if holder.is_none() || waited > FOR_READERS {
            holder = Some(holder_of(file));
        }
        let may_write = holder.as_ref().is_none_or(|holder| holder.may_write);
        if waited > if may_write { patience } else { patience.min(FOR_READERS) } {
            return Err(Error::Locked(holder.unwrap_or(UNKNOWN)));
        }
        std::thread::sleep(PAUSE);
    }
}

const UNKNOWN: Holder = Holder { process: None, may_write: true };

/// The process that has the lock, as /proc/locks tells it (proc_locks(5)); it may be one that cannot be seen from here.
fn holder_of(file: &File) -> Holder {
    let Ok(stat) = file.metadata() else { return UNKNOWN };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let Some(process) = locks.lines().find_map(|line| flock_holder(line, stat.ino())) else { return UNKNOWN };
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let Some(user) = effective_user(&status) else { return UNKNOWN };
    // A group's members are not looked up: they count as writers. An access list shows in the group's bits.
    let may_write = user == 0 || stat.mode() & 0o022 != 0 || user == stat.uid() && stat.mode() & 0o200 != 0;
    Holder { process: Some((process, user)), may_write }
}

/// The process of a line such as `1: FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF`, if it is about this inode.
fn flock_holder(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        // A process that waits has an arrow there.
        return None;
    }
    let process = words.nth(2)?;
    let place = words.next()?;
    (place.rsplit(':').next()?.parse() == Ok(inode)).then(|| process.parse().ok()).flatten()
}

fn effective_user(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_read_and_who_waits_is_not() {
        assert_eq!(flock_holder("1: FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF", 131), Some(4242));
        assert_eq!(flock_holder("1: FLOCK  ADVISORY  WRITE 4242 fe:01:132 0 EOF", 131), None);
        assert_eq!(flock_holder("1: -> FLOCK  ADVISORY  WRITE 4243 fe:01:131 0 EOF", 131), None);
        assert_eq!(flock_holder("2: POSIX  ADVISORY  WRITE 4242 fe:01:131 0 EOF", 131), None);
        assert_eq!(effective_user("Name:\tx\nUid:\t1\t65534\t1\t1\n"), Some(65534));
    }
}
