//! A sign of life on a terminal, where the work takes longer than people wait without one.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use driver_runpath::report::{Screen, printable};
use driver_runpath::watch::Watch;

use super::options::columns;

/// Narrower, a message says nothing.
const LEAST: usize = 24;

/// What turns while the work goes on.
const SIGNS: [char; 4] = ['|', '/', '-', '\\'];

/// Clears the line from the cursor on (ECMA-48, "EL").
const CLEAR: &str = "\x1b[K";

/// How long the work may take in silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far the run has got, and where it is, from the first second on, until it is dropped. Nothing in a pipe or a build log.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Starts; `watch` is read now and then.
    pub fn start(watch: &Arc<Watch>) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        if is_dumb || columns(&io::stderr()).is_none() {
            return Self(None);
        }
        let (done, is_done) = mpsc::channel();
        let watch = Arc::clone(watch);
        let show = move || {
            if is_done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let mut errors = io::stderr();
            for sign in SIGNS.iter().cycle() {
                let (what, at) = watch.state();
                let message = format!("{what}: {}", printable(at.as_os_str().as_bytes()));
                // The sign takes two columns.
                let width = columns(&errors).unwrap_or(0).saturating_sub(2).max(LEAST);
                let _ = write!(errors, "\r{sign} {}{CLEAR}", Screen::cut_in_the_middle(&message, width));
                if is_done.recv_timeout(Duration::from_millis(100)) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            let _ = write!(errors, "\r{CLEAR}");
        };
        // Without a thread for it, the work goes on in silence.
        Self(std::thread::Builder::new().spawn(show).ok().map(|thread| (done, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            let _ = thread.join();
        }
    }
}
