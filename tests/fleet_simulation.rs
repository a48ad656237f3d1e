//! The protocol of a fleet under random lives of its nodes, on a virtual clock and network: messages that are late,
//! overtake each other or are lost, nodes that crash, stop and are cut off, a server that goes away. What has to
//! hold is checked at each commit and each publication, and planted bugs are found by it.
//!
//! ```sh
//! WASMHOST_SIMULATIONS=100000 cargo test --release fleet_simulation    # many more
//! WASMHOST_SEED=4711 cargo test fleet_simulation                       # one again, with its log
//! ```

mod mutants;
mod server;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use self::{
    mutants::Mutant,
    world::{Breach, Broken, Run, run},
};

/// Runs of each test run, of a few nodes each.
const RUNS: u64 = 300;
/// Every planted bug is found within so many runs.
const SOON: u64 = 1500;

#[test]
fn one_release_is_committed_at_a_time_and_nobody_serves_it_unprepared() {
    if let Some(seed) = from_environment("WASMHOST_SEED") {
        let Run { broken, log, .. } = run(seed, few(seed), None, true);
        println!("{}\n{broken:?}", log.join("\n"));
        return assert!(broken.is_none(), "seed {seed}: {broken:?}");
    }
    let runs = from_environment("WASMHOST_SIMULATIONS").unwrap_or(RUNS);
    if let Some((seed, broken)) = first_broken(runs, None) {
        let Run { log, .. } = run(seed, few(seed), None, true);
        let last = &log[log.len().saturating_sub(200)..];
        panic!(
            "WASMHOST_SEED={seed} breaks {:?}: {}\n{}",
            broken.breach,
            broken.how,
            last.join("\n")
        );
    }
}

#[test]
fn a_thousand_nodes_are_a_fleet() {
    let seed = from_environment("WASMHOST_SEED").unwrap_or(0);
    let Run {
        broken,
        commits,
        messages,
        ..
    } = run(seed, 1000, None, false);
    println!("seed {seed}: {commits} commits of 1000 nodes, {messages} messages, {broken:?}");
    assert!(broken.is_none(), "seed {seed}: {broken:?}");
    assert!(commits >= 2, "seed {seed}: only {commits} commits");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let log = || run(seed, few(seed), None, true).log;
        assert_eq!(log(), log(), "seed {seed}");
    }
}

#[test]
fn a_decision_that_overwrites_another_is_found() {
    is_found(
        Mutant::OverwritesDecisions,
        &[Breach::OneAtATime, Breach::Apart, Breach::NotReady],
    );
}

#[test]
fn a_publication_of_what_is_not_prepared_is_found() {
    is_found(Mutant::PublishesUnprepared, &[Breach::Unprepared]);
}

#[test]
fn a_publication_before_the_commit_is_found() {
    is_found(Mutant::PublishesEarly, &[Breach::Uncommitted, Breach::Unprepared]);
}

#[test]
fn a_leader_that_counts_itself_alone_is_found() {
    is_found(Mutant::CountsItselfAlone, &[Breach::NotReady]);
}

#[test]
fn a_readiness_of_another_attempt_that_counts_is_found() {
    is_found(Mutant::CountsOldReadiness, &[Breach::NotReady]);
}

#[test]
fn a_refusal_that_is_passed_over_is_found() {
    is_found(Mutant::PassesOverRefusals, &[Breach::NotReady]);
}

#[test]
fn taking_silence_for_absence_is_found() {
    is_found(Mutant::TakesSilenceForAbsence, &[Breach::NotReady]);
}

#[test]
fn trusting_that_no_message_is_lost_is_found() {
    is_found(Mutant::NeverReads, &[Breach::Apart]);
}

#[test]
fn giving_up_after_one_failure_is_found() {
    is_found(Mutant::NeverTriesAgain, &[Breach::Apart]);
}

/// Fails unless some run shows the planted bug, as one of these breaches.
fn is_found(mutant: Mutant, breaches: &[Breach]) {
    let (seed, broken) =
        first_broken(SOON, Some(mutant)).unwrap_or_else(|| panic!("{mutant:?} is not found"));
    println!("{mutant:?}: seed {seed}: {broken:?}");
    assert!(
        breaches.contains(&broken.breach),
        "seed {seed} breaks something else: {broken:?}"
    );
}

/// The smallest seed below `runs` that breaks something.
fn first_broken(runs: u64, mutant: Option<Mutant>) -> Option<(u64, Broken)> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(runs));
    let search = || {
        let mut broken = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= found.load(Ordering::Relaxed) {
                return broken;
            }
            if let Some(breach) = run(seed, few(seed), mutant, false).broken {
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

/// Small fleets have the most turns of fate.
fn few(seed: u64) -> usize {
    [2, 3, 5, 9][seed as usize % 4]
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}
