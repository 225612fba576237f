//! Says which files of a tree load the GPU driver, by what evidence, and whether they would find it.
//!
//! ```console
//! $ cargo run --example who_opens_the_driver -- ~/venv
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use driver_runpath::check::{Options, Verdict, check};

fn main() -> ExitCode {
    let trees: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if trees.is_empty() {
        eprintln!("usage: who_opens_the_driver TREE…");
        return ExitCode::from(2);
    }
    let options = Options::default();
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| check(&trees, &options));
        while !run.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            eprint!("\r{} files scanned", options.watch.scanned());
        }
        eprintln!();
        run.join()
    });
    let Ok(report) = report else { return ExitCode::FAILURE };
    for file in &report.files {
        let Ok(Ok(judged)) = &file.result else { continue };
        if !judged.detection.loads_driver() {
            continue;
        }
        let finds = match &judged.verdict {
            Verdict::Finds => "finds it".to_owned(),
            Verdict::FindsStub(directory) => format!("finds a stub in {}", String::from_utf8_lossy(directory)),
            _ => format!("lacks {}", String::from_utf8_lossy(&judged.driver_dir)),
        };
        println!("{}: {finds}", file.path.display());
        for evidence in &judged.detection.evidence {
            println!("  {:?}: {} in {} at {}", evidence.kind, evidence.what, evidence.place, evidence.offset);
        }
    }
    for (path, error) in &report.problems {
        eprintln!("{}: {error}", path.display());
    }
    if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
