//! Every edited file survives its neighbours: the editors that came before ours in a build, and those that come after.
//!
//! A program or library of each linker, edited by another tool, then by ours, then by another one: it must run and have
//! its search path after each; where it does not, the same tool must break the file that ours has not touched as well. By
//! default plain files go through all of it, and each way of linking through a part that has every pair;
//! `DRIVER_RUNPATH_NEIGHBOURS=all` runs the whole product. A table at the end counts, and shows how much files grew beside
//! patchelf, and beside formatelf where the variable `FORMATELF` names its program.

mod support;

#[path = "neighbours/bench.rs"]
mod bench;
#[path = "neighbours/editors.rs"]
mod editors;
#[path = "neighbours/linkers.rs"]
mod linkers;
#[path = "neighbours/tally.rs"]
mod tally;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use bench::{Bench, Case};
use editors::{AFTER, BEFORE, is_there};
use linkers::{KINDS, LINKERS, Shelf, WAYS};
use support::tools::REQUIRE_TOOLS;
use tally::Tally;

/// Whether everything is run.
const NEIGHBOURS: &str = "DRIVER_RUNPATH_NEIGHBOURS";

fn main() {
    let arguments = Arguments::from_args();
    let shelf = Arc::new(Shelf::default());
    let tally = Arc::new(Tally::default());
    let is_whole = std::env::var_os(NEIGHBOURS).is_some_and(|wish| wish == "all");
    let mut trials: Vec<Trial> = cases(is_whole).into_iter().map(|case| case_trial(case, &shelf, &tally)).collect();
    let is_required = std::env::var_os(REQUIRE_TOOLS).is_some_and(|value| value == "1");
    let all = Trial::test("every_editor_that_comes_after_is_there", every_editor_is_there);
    trials.push(all.with_ignored_flag(!is_required && every_editor_is_there().is_err()));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.filter.is_none() && !arguments.list && !arguments.ignored {
        print!("{}", tally.table());
    }
    conclusion.exit();
}

/// The plain way of linking with every editor before; each other way with one, another one for each linker and kind.
fn cases(is_whole: bool) -> Vec<Case> {
    let mut all = Vec::new();
    for linker in &LINKERS {
        for kind in KINDS.into_iter().filter(|kind| linker.knows_kind(*kind)) {
            for (number, way) in WAYS.iter().enumerate().filter(|(_, way)| linker.knows_way(way)) {
                let turn = all.len() + number;
                let editors = BEFORE.iter().enumerate();
                let taken = editors.filter(|(index, _)| is_whole || number == 0 || turn % BEFORE.len() == *index);
                all.extend(taken.map(|(_, before)| Case { linker, kind, way, before }));
            }
        }
    }
    all
}

fn case_trial(case: Case, shelf: &Arc<Shelf>, tally: &Arc<Tally>) -> Trial {
    let (shelf, tally) = (shelf.clone(), tally.clone());
    let needs = [&["cc", "readelf", "eu-elflint"], case.linker.needs, case.before.needs].concat();
    let name = case.name();
    let Some(missing) = needs.into_iter().find(|needed| !is_there(needed)) else {
        return Trial::test(name, move || Bench::new(&case, &shelf, &tally)?.run());
    };
    // What comes from elsewhere than the system's packages may be missing in continuous integration, too.
    let is_required = !case.linker.is_optional && std::env::var_os(REQUIRE_TOOLS).is_some_and(|value| value == "1");
    Trial::test(name, move || Err(format!("{missing} is not on PATH").into()))
        .with_kind(format!("needs {missing}"))
        .with_ignored_flag(!is_required)
}

/// What comes after ours must not be left out in silence.
fn every_editor_is_there() -> Result<(), Failed> {
    let missing = AFTER.iter().flat_map(|after| after.needs).find(|needed| !is_there(needed));
    match missing {
        Some(missing) => Err(format!("{missing} is not on PATH").into()),
        None => Ok(()),
    }
}
