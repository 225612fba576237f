//! What a file says commands nothing, and what others do to a tree meanwhile leads nowhere.

mod support;

#[path = "hostile/journals.rs"]
mod journals;
#[path = "hostile/mutants.rs"]
mod mutants;
#[path = "hostile/neighbours.rs"]
mod neighbours;
#[path = "hostile/system.rs"]
mod system;

use libtest_mimic::{Arguments, Failed};

type Done = Result<(), Failed>;

fn main() {
    let mut trials = journals::trials();
    trials.extend(neighbours::trials());
    trials.extend(system::trials());
    trials.extend(mutants::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
