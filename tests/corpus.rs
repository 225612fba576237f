//! What the fuzzer kept runs through its targets, without the fuzzer.

mod support;

use std::fs;
use std::path::Path;

use support::targets::TARGETS;

#[test]
fn no_input_that_the_fuzzer_kept_shows_a_fault() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let inputs = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut count = 0;
        for input in inputs {
            let path = input.expect("a directory entry").path();
            let bytes = fs::read(&path).expect("an input");
            let run = std::panic::catch_unwind(|| target(&bytes));
            assert!(run.is_ok(), "target {name} fails on {}", path.display());
            count += 1;
        }
        assert!(count >= 10, "{}: only {count} inputs", corpus.display());
    }
}
