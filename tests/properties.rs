//! Generated files of every layout get random search paths: no plan breaks a rule, no rung is without a case.
//!
//! The seed is fixed, so that a commit that passes goes on passing. `DRIVER_RUNPATH_SEED` chooses another one and
//! `DRIVER_RUNPATH_CASES` the number of cases. A failure says which `DRIVER_RUNPATH_CASE` of which seed it was, and
//! shows the smallest file that fails: a test of `regressions.rs`, nearly as it stands.

mod support;

use std::collections::BTreeMap;
use std::env::var;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use driver_runpath::plan::{NoteOutcome, Rung};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use support::generated::{Case, ENTROPY, Source, Taken, Why, check};

const CASES: u64 = 20_000;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Each case has a seed of its own: it can be run again without those before it.
fn runner(seed: u64, case: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Runs cases on all cores until one fails; the smallest failing case, or how many took which way.
fn run(seed: u64, cases: impl Iterator<Item = u64> + Send) -> Result<BTreeMap<Taken, u64>, String> {
    let next = Mutex::new(cases);
    let taken = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let strategy = vec(any::<u8>(), ENTROPY).prop_map(|bytes| Case::of(&bytes));
        let mut mine = BTreeMap::new();
        loop {
            let case = next.lock().expect("no thread panics").next();
            let Some(case) = case.filter(|_| failure.lock().expect("no thread panics").is_none()) else { break };
            let mut runner = runner(seed, case);
            let tree = strategy.new_tree(&mut runner).expect("bytes can be drawn");
            // The first run of the test is the case itself, the others shrink it.
            let way = AtomicU64::new(0);
            let found = Mutex::new(None);
            let result = runner.run_one(tree, |case| {
                let result = check(&case).map_err(TestCaseError::fail)?;
                if way.fetch_add(1, Relaxed) == 0 {
                    *found.lock().expect("no thread panics") = Some(result);
                }
                Ok(())
            });
            match result {
                Ok(_) => {
                    let found = found.lock().expect("no thread panics").expect("the case ran");
                    *mine.entry(found).or_insert(0u64) += 1;
                }
                Err(error) => {
                    *failure.lock().expect("no thread panics") = Some(match error {
                        TestError::Fail(why, smallest) => {
                            format!("DRIVER_RUNPATH_SEED={seed} DRIVER_RUNPATH_CASE={case}: {why}\n{smallest:?}")
                        }
                        TestError::Abort(why) => format!("case {case} gave up: {why}"),
                    });
                }
            }
        }
        let mut all = taken.lock().expect("no thread panics");
        for (way, count) in mine {
            *all.entry(way).or_insert(0) += count;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failure.into_inner().expect("no thread panics") {
        Some(failure) => Err(failure),
        None => Ok(taken.into_inner().expect("no thread panics")),
    }
}

#[test]
fn every_generated_file_keeps_the_rules() {
    let seed = setting("DRIVER_RUNPATH_SEED", 0);
    let cases = setting("DRIVER_RUNPATH_CASES", CASES);
    let only = var("DRIVER_RUNPATH_CASE").ok().map(|text| text.parse::<u64>().expect("the number of a case"));
    let range = only.map_or(0..cases, |case| case..case + 1);
    let taken = run(seed, range).unwrap_or_else(|failure| panic!("{failure}"));
    for (way, count) in &taken {
        println!("{count:>8} {way:?}");
    }
    if only.is_some() || cases < CASES {
        return;
    }
    check_floors(&taken, cases);
}

/// A planner that refuses more than it did, or has lost a way, fails: of 20,000 cases of seed 0, each way is taken by at
/// least so many.
fn check_floors(taken: &BTreeMap<Taken, u64>, cases: u64) {
    use NoteOutcome as Outcome;
    use Rung::*;
    use Source::*;
    let sum = |is_it: &dyn Fn(&Taken) -> bool| -> u64 {
        taken.iter().filter(|(way, _)| is_it(way)).map(|(_, count)| count).sum()
    };
    for (way, floor) in [
        (Taken::NotCandidate, 60),
        (Taken::NoChange, 20),
        (Taken::Refused(Why::Payload), 1000),
        (Taken::Refused(Why::NoHeader), 150),
        (Taken::Refused(Why::NoRoom), 1),
    ] {
        let count = sum(&|found| *found == way);
        assert!(count >= floor, "{count} cases took {way:?}, {floor} did");
    }
    let floors = [
        (Slot, Spare, 8000),
        (Slot, GivenUp, 300),
        (Slack, Spare, 1200),
        (Slack, GivenUp, 70),
        (Slack, MovedTable, 10),
        (Last, Spare, 200),
        (Last, GivenUp, 3),
        (Last, MovedTable, 70),
        (Evict, Spare, 100),
        (Evict, GivenUp, 3),
        (Evict, MovedTable, 80),
        (Append, Spare, 500),
        (Append, GivenUp, 20),
        (Append, MovedTable, 200),
        (AppendHead, Spare, 300),
        (AppendHead, GivenUp, 10),
        (AppendHead, MovedTable, 140),
        (Bss, Spare, 300),
        (Bss, GivenUp, 10),
        (Bss, MovedTable, 100),
        (Drop, Spare, 500),
        (Note, Spare, 500),
    ];
    for (rung, source, floor) in floors {
        let count = sum(&|found| matches!(found, Taken::Planned(by, with, _) if (*by, *with) == (rung, source)));
        assert!(count >= floor, "{count} cases took {rung} with {source:?}, {floor} did");
    }
    for (note, floor) in [
        (Outcome::None, 8000),
        (Outcome::Kept, 200),
        (Outcome::Renewed, 400),
        (Outcome::Dropped, 4000),
        (Outcome::Written, 500),
    ] {
        let count = sum(&|found| matches!(found, Taken::Planned(_, _, outcome) if *outcome == note));
        assert!(count >= floor, "{count} resolution notes were {note:?}, {floor} were");
    }
    let refused = sum(&|found| matches!(found, Taken::Refused(why) if *why != Why::Note));
    assert!(refused <= cases / 7, "{refused} of {cases} are refused");
}
