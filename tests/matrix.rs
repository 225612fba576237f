//! Every linker, every architecture: files are linked in all the ways that linkers know, edited, judged and run.
//!
//! By default the cells have every pair of factors at least once. `DRIVER_RUNPATH_MATRIX=N` runs N cells by chance
//! (`N@SEED` the same ones again), `all` the whole product, and the name of a cell that one.

mod support;

#[path = "matrix/cells.rs"]
mod cells;
#[path = "matrix/inherited.rs"]
mod inherited;
#[path = "matrix/odd_tables.rs"]
mod odd_tables;
#[path = "matrix/peers.rs"]
mod peers;
#[path = "matrix/refused.rs"]
mod refused;
#[path = "matrix/steps.rs"]
mod steps;
#[path = "matrix/tally.rs"]
mod tally;
#[path = "matrix/toolchain.rs"]
mod toolchain;
#[path = "matrix/workshop.rs"]
mod workshop;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use driver_runpath::elf::Image;
use driver_runpath::plan::{Change, Plan, plan};
use libtest_mimic::{Arguments, Failed, Trial};

use cells::Cell;
use support::tools::{REQUIRE_TOOLS, tool, trial};
use tally::Tally;
use toolchain::TOOLCHAINS;
use workshop::Workshop;

/// Which cells are run.
const MATRIX: &str = "DRIVER_RUNPATH_MATRIX";

fn main() {
    let arguments = Arguments::from_args();
    let workshop = Arc::new(Workshop::new().expect("a temporary directory"));
    let tally = Arc::new(Tally::default());
    let (cells, is_covering) = chosen_cells();
    let mut trials: Vec<Trial> = cells.into_iter().map(|cell| cell_trial(cell, &workshop, &tally)).collect();
    trials.extend(peers::trials(&workshop, &tally));
    trials.extend(inherited::trials());
    trials.extend(refused::trials());
    trials.extend(odd_tables::trials());
    trials.push(Trial::test("the_cells_have_every_pair_of_factors", every_pair));
    let is_whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list && !arguments.ignored;
    let conclusion = libtest_mimic::run(&arguments, trials);
    let (table, untaken) = tally.table();
    if is_whole {
        print!("{table}");
    }
    drop(workshop);
    if is_whole && is_covering && !untaken.is_empty() && !conclusion.has_failed() {
        eprintln!("no cell took the rungs {untaken:?}: they are not tested");
        // Where tools are missing, the ignored tests say so.
        if std::env::var_os(REQUIRE_TOOLS).is_some() {
            std::process::exit(101);
        }
    }
    conclusion.exit();
}

/// The cells to run, and whether they are those that have every pair.
fn chosen_cells() -> (Vec<Cell>, bool) {
    let (native, foreign) = toolchains();
    let everything: Vec<usize> = native.iter().chain(&foreign).copied().collect();
    let Ok(wish) = std::env::var(MATRIX) else {
        return ([cells::covering(&native), cells::covering(&foreign)].concat(), true);
    };
    if wish == "all" {
        return (cells::all(&everything), false);
    }
    if let Some(cell) = Cell::named(&wish) {
        return (vec![cell], false);
    }
    let (count, seed) = wish.split_once('@').unwrap_or((&wish, ""));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (Ok(count), seed) = (count.parse(), seed.parse().unwrap_or(now)) else {
        panic!("{MATRIX}: a number of cells, N@SEED, all, or the name of a cell; not {wish:?}");
    };
    println!("{MATRIX}={count}@{seed}");
    (cells::sample(count, seed, &everything), false)
}

/// Those for this machine's libc, and the others.
fn toolchains() -> (Vec<usize>, Vec<usize>) {
    (0..TOOLCHAINS.len()).partition(|&index| !TOOLCHAINS[index].is_foreign())
}

fn cell_trial(cell: Cell, workshop: &Arc<Workshop>, tally: &Arc<Tally>) -> Trial {
    let (workshop, tally) = (workshop.clone(), tally.clone());
    let (name, toolchain) = (cell.name(), cell.toolchain());
    optional(&name, &toolchain.needs(), toolchain.is_in_ci, move || steps::run(&cell, &workshop, &tally))
}

/// A test whose tools may be missing in continuous integration, too.
fn optional(
    name: &str,
    needs: &[&str],
    is_in_ci: bool,
    body: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let missing = needs.iter().find(|needed| tool(needed).is_none());
    match missing.filter(|_| !is_in_ci && std::env::var_os(REQUIRE_TOOLS).is_some()) {
        Some(missing) => Trial::test(name, || Ok(())).with_kind(format!("needs {missing}")).with_ignored_flag(true),
        None => trial(name, needs, body),
    }
}

/// Plans a change that the file has already.
fn plan_again<'data>(image: &Image<'data>, change: &Change) -> Result<Plan<'data>, Failed> {
    plan(image, change).map_err(|refusal| format!("the same path again: {refusal}").into())
}

fn every_pair() -> Result<(), Failed> {
    let (native, foreign) = toolchains();
    for list in [native, foreign] {
        let cells = cells::covering(&list);
        let covered: BTreeSet<_> = cells.iter().flat_map(cells::pairs_of).collect();
        let missing: Vec<_> = cells::pairs(&list).difference(&covered).copied().collect();
        if !missing.is_empty() {
            return Err(format!("{} cells, pairs without a cell: {missing:?}", cells.len()).into());
        }
        for cell in &cells {
            support::lab::same(Cell::named(&cell.name()).as_ref(), Some(cell), "a cell's name leads to it")?;
        }
    }
    Ok(())
}
