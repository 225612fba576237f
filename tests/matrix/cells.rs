//! The cells of the matrix: how a file is linked and prepared. Which cells are run: all pairs of factors, a random
//! sample, or all.

use std::collections::BTreeSet;

use super::toolchain::{TOOLCHAINS, Toolchain};

/// The factors, in the order of a cell's name; the toolchain comes first and has its own list.
pub const FACTORS: [(&str, &[&str]); 12] = [
    ("kind", &["shared", "pie", "nopie"]),
    ("hash", &["sysv", "gnu", "both"]),
    ("code", &["mixed", "separate"]),
    ("relro", &["norelro", "relro", "now"]),
    ("relocations", &["plainrel", "relr"]),
    ("page", &["4K", "16K", "64K", "2M"]),
    ("form", &["linked", "stripped", "split", "zeroed", "cut"]),
    ("shape", &["plain", "verdef", "tail", "bss", "names"]),
    ("path", &["none", "runpath", "rpath", "both", "empty", "long"]),
    ("payload", &["bare", "payload"]),
    ("tag", &["keep", "other"]),
    ("order", &["rising", "falling", "mixed-up"]),
];

/// One combination: the level of the toolchain and of each factor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    levels: Vec<usize>,
}

impl Cell {
    /// How the file is linked.
    pub fn toolchain(&self) -> &'static Toolchain {
        &TOOLCHAINS[self.levels[0]]
    }

    /// The level of a factor.
    pub fn get(&self, factor: &str) -> &'static str {
        let index = FACTORS.iter().position(|(name, _)| *name == factor).expect("a factor of the list");
        FACTORS[index].1[self.levels[index + 1]]
    }

    /// Whether a factor has this level.
    pub fn is(&self, factor: &str, level: &str) -> bool {
        self.get(factor) == level
    }

    /// The levels, one behind the other.
    pub fn name(&self) -> String {
        let levels = (0..self.levels.len()).map(|factor| level_name(factor, self.levels[factor]));
        levels.collect::<Vec<_>>().join(".")
    }

    /// The cell of a name.
    pub fn named(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        let level = |(factor, part): (usize, &&str)| (0..levels_of(factor)).find(|&l| level_name(factor, l) == *part);
        let levels: Option<Vec<usize>> = parts.iter().enumerate().map(level).collect();
        levels.filter(|levels| levels.len() == FACTORS.len() + 1).map(|levels| Self { levels })
    }
}

fn levels_of(factor: usize) -> usize {
    if factor == 0 { TOOLCHAINS.len() } else { FACTORS.get(factor - 1).map_or(0, |(_, levels)| levels.len()) }
}

fn level_name(factor: usize, level: usize) -> &'static str {
    if factor == 0 { TOOLCHAINS[level].name } else { FACTORS[factor - 1].1[level] }
}

type Setting = (usize, usize);

/// Whether two levels go together. What the tools do not know is left out here, and nothing else.
fn go_together(a: Setting, b: Setting) -> bool {
    let (first, second) = (a.min(b), a.max(b));
    let level = level_name(second.0, second.1);
    if first.0 == 0 {
        return TOOLCHAINS[first.1].knows(FACTORS[second.0 - 1].0, level);
    }
    let factor = |setting: Setting| (FACTORS[setting.0 - 1].0, level_name(setting.0, setting.1));
    match (factor(first), factor(second)) {
        // Without a search path, or with an empty one, no symbol can share its tail.
        (("shape", "tail"), ("path", "none" | "empty")) => false,
        _ => true,
    }
}

fn fits(cell: &[Option<usize>], setting: Setting) -> bool {
    let set = cell.iter().enumerate().filter_map(|(factor, level)| Some((factor, (*level)?)));
    set.filter(|other| other.0 != setting.0).all(|other| go_together(setting, other))
}

/// All levels of a factor; of the toolchains those given.
fn settings(factor: usize, toolchains: &[usize]) -> Vec<Setting> {
    let levels = if factor == 0 { toolchains.to_vec() } else { (0..levels_of(factor)).collect() };
    levels.into_iter().map(|level| (factor, level)).collect()
}

/// All pairs of levels that go together.
pub fn pairs(toolchains: &[usize]) -> BTreeSet<(Setting, Setting)> {
    let mut all = BTreeSet::new();
    for a in 0..=FACTORS.len() {
        for b in a + 1..=FACTORS.len() {
            for x in settings(a, toolchains) {
                let one_knows =
                    |y: Setting| toolchains.iter().any(|&t| [x, y].iter().all(|s| s.0 == 0 || go_together((0, t), *s)));
                let together = settings(b, toolchains).into_iter().filter(|y| go_together(x, *y) && one_knows(*y));
                all.extend(together.map(|y| (x, y)));
            }
        }
    }
    all
}

/// The pairs of one cell.
pub fn pairs_of(cell: &Cell) -> Vec<(Setting, Setting)> {
    let all: Vec<Setting> = cell.levels.iter().copied().enumerate().collect();
    let mut found = Vec::new();
    for (i, a) in all.iter().enumerate() {
        found.extend(all.iter().skip(i + 1).map(|b| (*a, *b)));
    }
    found
}

/// Cells that have every pair of levels at least once: greedy, the same at each run.
pub fn covering(toolchains: &[usize]) -> Vec<Cell> {
    let mut uncovered = pairs(toolchains);
    let mut random = Random(1);
    let mut cells = Vec::new();
    while let Some(&seed) = uncovered.first() {
        let candidates = (0..30).filter_map(|_| complete(seed, &uncovered, toolchains, &mut random));
        let gain = |cell: &Cell| pairs_of(cell).iter().filter(|pair| uncovered.contains(pair)).count();
        let best = candidates.max_by_key(gain);
        uncovered.remove(&seed);
        if let Some(best) = best {
            for pair in pairs_of(&best) {
                uncovered.remove(&pair);
            }
            cells.push(best);
        }
    }
    cells
}

/// Fills a cell that starts with two levels, each time with the level that covers most.
fn complete(
    (a, b): (Setting, Setting),
    uncovered: &BTreeSet<(Setting, Setting)>,
    toolchains: &[usize],
    random: &mut Random,
) -> Option<Cell> {
    let mut cell: Vec<Option<usize>> = vec![None; FACTORS.len() + 1];
    for (factor, level) in [a, b] {
        *cell.get_mut(factor)? = Some(level);
    }
    let mut rest: Vec<usize> = (1..=FACTORS.len()).filter(|&factor| cell[factor].is_none()).collect();
    random.shuffle(&mut rest);
    // The toolchain restricts all others.
    rest.splice(0..0, cell[0].is_none().then_some(0));
    for factor in rest {
        let mut choices = settings(factor, toolchains);
        choices.retain(|&setting| fits(&cell, setting));
        random.shuffle(&mut choices);
        let gain = |setting: &Setting| {
            let set = cell.iter().enumerate().filter_map(|(f, level)| Some((f, (*level)?)));
            set.filter(|other| uncovered.contains(&((*other).min(*setting), (*other).max(*setting)))).count()
        };
        let (_, level) = choices.into_iter().max_by_key(gain)?;
        cell[factor] = Some(level);
    }
    cell.into_iter().collect::<Option<Vec<_>>>().map(|levels| Cell { levels })
}

/// `count` different cells by chance.
pub fn sample(count: usize, seed: u64, toolchains: &[usize]) -> Vec<Cell> {
    let mut random = Random(seed);
    let mut found = BTreeSet::new();
    for _ in 0..count.saturating_mul(200) {
        if found.len() == count {
            break;
        }
        let mut cell: Vec<Option<usize>> = vec![None; FACTORS.len() + 1];
        for factor in 0..=FACTORS.len() {
            let mut choices = settings(factor, toolchains);
            choices.retain(|&setting| fits(&cell, setting));
            random.shuffle(&mut choices);
            cell[factor] = choices.first().map(|(_, level)| *level);
        }
        found.extend(cell.into_iter().collect::<Option<Vec<_>>>().map(|levels| Cell { levels }));
    }
    found.into_iter().collect()
}

/// Every cell.
pub fn all(toolchains: &[usize]) -> Vec<Cell> {
    let mut cells: Vec<Vec<Option<usize>>> = vec![vec![None; FACTORS.len() + 1]];
    for factor in 0..=FACTORS.len() {
        let longer = cells.iter().flat_map(|cell| {
            let choices = settings(factor, toolchains).into_iter().filter(|&setting| fits(cell, setting));
            choices.map(|(_, level)| {
                let mut next = cell.clone();
                next[factor] = Some(level);
                next
            })
        });
        cells = longer.collect();
    }
    let cells = cells.into_iter().filter_map(|cell| cell.into_iter().collect::<Option<Vec<_>>>());
    cells.map(|levels| Cell { levels }).collect()
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
    }
}
