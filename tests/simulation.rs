//! The control plane under thousands of random lives, on a virtual clock and file system: the guarantees
//! hold after each step. A seed that breaks one is printed with the log of its run.
//!
//! ```sh
//! WASMHOST_SIMULATIONS=1000000 cargo test --release simulation     # many more
//! WASMHOST_SEED=4711 cargo test simulation                         # one again, with its log
//! ```

mod disk;
mod edits;
mod guarantees;
mod host;
mod mutants;
pub mod random;

use std::sync::atomic::{AtomicU64, Ordering};

use self::{
    guarantees::{Broken, Guarantee},
    mutants::Mutant,
};

/// Runs of each test run.
const RUNS: u64 = 2500;
/// Every planted bug is found within so many runs.
const SOON: u64 = 3000;

#[test]
fn guarantees_hold() {
    if let Some(seed) = from_environment("WASMHOST_SEED") {
        let (broken, log) = host::run(seed, None, true);
        println!("{}\n{broken:?}", log.join("\n"));
        return assert!(broken.is_none(), "seed {seed}: {broken:?}");
    }
    let runs = from_environment("WASMHOST_SIMULATIONS").unwrap_or(RUNS);
    if let Some((seed, broken)) = first_broken(runs, None) {
        let (_, log) = host::run(seed, None, true);
        panic!(
            "WASMHOST_SEED={seed} breaks {:?}: {}\n{}",
            broken.guarantee,
            broken.how,
            log.join("\n")
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        assert_eq!(
            host::run(seed, None, true).1,
            host::run(seed, None, true).1,
            "seed {seed}"
        );
    }
}

#[test]
fn a_flip_before_the_start_is_found() {
    is_found(Mutant::FlipBeforeStart, &[Guarantee::LastGood]);
}

#[test]
fn a_drop_before_the_drain_is_found() {
    is_found(Mutant::DropBeforeDrain, &[Guarantee::NoneLost]);
}

#[test]
fn comparing_times_is_found() {
    is_found(
        Mutant::CompareTimes,
        &[Guarantee::Newest, Guarantee::Fresh, Guarantee::ContentDecides],
    );
}

#[test]
fn losing_the_newest_is_found() {
    is_found(Mutant::LoseTheNewest, &[Guarantee::Newest]);
}

#[test]
fn publishing_half_is_found() {
    is_found(Mutant::PublishHalf, &[Guarantee::Together, Guarantee::Fresh]);
}

#[test]
fn forgetting_what_was_known_is_found() {
    is_found(Mutant::ForgetKnown, &[Guarantee::Newest]);
}

#[test]
fn a_flip_that_is_not_confirmed_is_found() {
    is_found(
        Mutant::FlipBeforeConfirmed,
        &[Guarantee::Newest, Guarantee::ContentDecides],
    );
}

#[test]
fn a_trap_that_ends_its_generation_is_found() {
    is_found(
        Mutant::TrapEndsGeneration,
        &[Guarantee::LastGood, Guarantee::NoneLost],
    );
}

#[test]
fn serving_again_what_was_reverted_is_found() {
    is_found(Mutant::ForgetsWhatWasReverted, &[Guarantee::ContentDecides]);
}

#[test]
fn a_lease_that_its_client_left_behind_is_found() {
    is_found(Mutant::KeepsLease, &[Guarantee::Bounded]);
}

#[test]
fn waiting_for_a_file_that_changes_for_ever_is_found() {
    is_found(
        Mutant::WaitsForQuiet,
        &[Guarantee::Newest, Guarantee::Fresh, Guarantee::NoneLost],
    );
}

/// Fails unless some run shows the planted bug, as a breach of one of these guarantees.
fn is_found(mutant: Mutant, breaches: &[Guarantee]) {
    let (seed, broken) =
        first_broken(SOON, Some(mutant)).unwrap_or_else(|| panic!("{mutant:?} is not found"));
    println!("{mutant:?}: seed {seed}: {broken:?}");
    assert!(
        breaches.contains(&broken.guarantee),
        "seed {seed} breaks something else: {broken:?}"
    );
}

/// The smallest seed below `runs` that breaks a guarantee.
fn first_broken(runs: u64, mutant: Option<Mutant>) -> Option<(u64, Broken)> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(runs));
    let search = || {
        let mut broken = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= found.load(Ordering::Relaxed) {
                return broken;
            }
            if let Some(breach) = host::run(seed, mutant, false).0 {
                found.fetch_min(seed, Ordering::Relaxed);
                broken = broken.or(Some((seed, breach)));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let broken = searches.into_iter().filter_map(|search| search.join().unwrap());
        broken.min_by_key(|(seed, _)| *seed)
    })
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}
