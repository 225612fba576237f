//! Times of whole commands, and what they read.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Times of one case, in seconds.
#[derive(Clone)]
pub struct Figure {
    times: Vec<f64>,
    pub median: f64,
}

impl Figure {
    pub fn new() -> Self {
        Self { times: Vec::new(), median: f64::NAN }
    }

    pub fn add(&mut self, seconds: f64) {
        self.times.push(seconds);
    }

    /// Computes the median.
    pub fn done(mut self) -> Self {
        self.times.sort_by(f64::total_cmp);
        self.median = self.times.get(self.times.len() / 2).copied().unwrap_or(f64::NAN);
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.times.first().unwrap_or(&f64::NAN), self.times.last().unwrap_or(&f64::NAN));
        write!(f, "{:.2} ms ({:.2}–{:.2})", self.median * 1e3, first * 1e3, last * 1e3)
    }
}

pub fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Seconds that a command takes; what it prints is dropped.
pub fn run_timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let seconds = start.elapsed().as_secs_f64();
    assert!(status.is_ok_and(|status| status.code().is_some()), "{command:?} does not run");
    seconds
}

/// Empties the page cache; only root may.
pub fn drop_caches() -> bool {
    let _ = Command::new("sync").status();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// What a command made the system move, in bytes.
pub struct Usage {
    /// From the disk (`read_bytes` of /proc/self/io, which counts children that have ended).
    pub read: u64,
    /// By write(2) and its like (`wchar`).
    pub written: u64,
}

pub fn usage(command: &mut Command) -> Usage {
    let amount = |name: &str| {
        let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = (amount("read_bytes"), amount("wchar"));
    run_timed(command);
    Usage { read: amount("read_bytes") - before.0, written: amount("wchar") - before.1 }
}

/// Cores, processor, kernel.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split(['-', '\n']).next().unwrap_or("").to_owned();
    format!("{cores} cores of {model}, Linux {kernel}")
}
