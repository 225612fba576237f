//! A sign of life on a terminal, where the work takes longer than people wait without one.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::ProgressBar;

/// How long the work may take in silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how many files were looked at, from the first second on, until it is dropped. Nothing in a pipe or a build log.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Starts; `looked_at` is read now and then.
    pub fn start(looked_at: &Arc<AtomicU64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (done, is_done) = mpsc::channel();
        let looked_at = Arc::clone(looked_at);
        let show = move || {
            if is_done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner();
            while is_done.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                bar.set_message(format!("{} ELF files looked at", looked_at.load(Ordering::Relaxed)));
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
