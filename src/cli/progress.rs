//! A sign of life on a terminal, where the work takes longer than people wait without one.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use driver_runpath::report::{Screen, printable};
use driver_runpath::watch::Watch;
use indicatif::ProgressBar;

use super::options::columns;

/// Narrower, a message says nothing.
const LEAST: usize = 24;

/// How long the work may take in silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far the run has got, and where it is, from the first second on, until it is dropped. Nothing in a pipe or a build log.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Starts; `watch` is read now and then.
    pub fn start(watch: &Arc<Watch>) -> Self {
        if columns(&std::io::stderr()).is_none() {
            return Self(None);
        }
        let (done, is_done) = mpsc::channel();
        let watch = Arc::clone(watch);
        let show = move || {
            if is_done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner();
            while is_done.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                let (what, at) = watch.state();
                let columns = columns(&std::io::stderr()).unwrap_or(0);
                bar.set_message(Screen::cut_in_the_middle(
                    &format!("{what}: {}", printable(at.as_os_str().as_bytes())),
                    // The spinner takes two.
                    columns.saturating_sub(2).max(LEAST),
                ));
                bar.tick();
            }
            bar.finish_and_clear();
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
