//! Endurance: 64 connections on the example site while its files are replaced in every way, one after
//! another. No request may fail, no answer may mix two generations, nothing may pile up.

mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use self::ways::{Change, WAYS};
use crate::{
    load::pause,
    machine::machine,
    process::sizes,
    support::{Client, Reply, Server, Tree, example, touched, variant},
    table::per_mille,
};

const CONNECTIONS: usize = 64;
const PARTS: [(&str, &str); 4] = [
    ("shop.layout.frame", "shop/layout/frame"),
    ("shop.navigation.menu", "shop/navigation/menu"),
    ("shop.widget.cart", "shop/widget/cart"),
    ("shop.screen.home", "shop/screen/home"),
];
/// How long it is only asked, before the swaps and after them.
const QUIET: Duration = Duration::from_secs(5);
/// Swaps after which everything has found its size.
const SETTLED: usize = 100;
/// So many times in a row it is looked how much there is, and the middle counts: one look may find a
/// generation that drains, or not.
const LOOKS: usize = 10;
/// What may be more at the end, in percent.
const MOST_GROWTH: f64 = 10.0;

/// The versions of the parts that one page shows.
type Versions = Vec<String>;
type Sizes = [(&'static str, u64); 4];

pub fn run(swaps: u64) {
    let site = Site::new();
    let mut server = Server::start(site.tree.root());
    let asked = Asked::default();
    let (url, began) = (server.url().to_owned(), Instant::now());
    let swapped = std::thread::scope(|scope| {
        (0..CONNECTIONS).for_each(|_| drop(scope.spawn(|| asked.ask(&url))));
        pause(QUIET);
        asked.swapping.store(true, Ordering::Relaxed);
        let swapped = site.swap(&mut server, swaps);
        asked.swapping.store(false, Ordering::Relaxed);
        pause(QUIET);
        asked.over.store(true, Ordering::Relaxed);
        swapped
    });
    println!(
        "\n{}\n\n{swaps} swaps in {} ways, in {:.0} s, with {CONNECTIONS} connections\n",
        machine(),
        WAYS.len(),
        began.elapsed().as_secs_f64()
    );
    asked.report();
    let most = growth(&swapped.sizes);
    let (failed, mixed) = (asked.failed.load(Ordering::Relaxed), asked.mixed(&swapped.shown));
    println!("\nfailed requests: {failed}; mixed answers: {mixed}");
    assert_eq!((failed, mixed), (0, 0));
    assert!(most <= MOST_GROWTH, "{most:.1} % more than after {SETTLED} swaps");
}

/// The example site, and the same with other versions of its parts.
struct Site {
    tree: Tree,
    second: std::path::PathBuf,
}

/// What the swaps made of it.
struct Swapped {
    /// What a page of each generation shows.
    shown: BTreeMap<u64, Versions>,
    /// What the server took of the machine after each swap.
    sizes: Vec<Sizes>,
}

impl Site {
    fn new() -> Self {
        let edits = PARTS.map(|(_, file)| (format!("{file}/src/lib.rs"), r#""1.0.0""#, r#""2.0.0""#));
        let edits: Vec<_> = edits
            .iter()
            .map(|(file, from, to)| (file.as_str(), *from, *to))
            .collect();
        let tree = Tree::example();
        // Each part ends in a number from the start.
        for (_, file) in PARTS {
            let file = format!("{file}.wasm");
            tree.put(&file, touched(&tree.read(&file), 0));
        }
        Self {
            tree,
            second: variant("soak", &edits),
        }
    }

    fn swap(&self, server: &mut Server, swaps: u64) -> Swapped {
        let mut current = vec!["1.0.0".to_owned(); PARTS.len()];
        let mut shown = BTreeMap::from([(1, current.clone())]);
        let mut sizes_then = Vec::new();
        for number in 1..=swaps {
            let part = (number % PARTS.len() as u64) as usize;
            let way = &WAYS[(number % WAYS.len() as u64) as usize];
            let (from, version) = match current[part].as_str() {
                "1.0.0" => (self.second.as_path(), "2.0.0"),
                _ => (example() as &Path, "1.0.0"),
            };
            let file = format!("{}.wasm", PARTS[part].1);
            let content = touched(&fs::read(from.join(&file)).unwrap(), number);
            (way.carry_out)(&Change {
                root: self.tree.root(),
                file: self.tree.path(&file),
                content: &content,
                number,
            });
            let swapped = server.wait_for("swapped", |event| event["group"] == "shop");
            if way.replaces {
                current[part] = version.into();
            }
            let generation = swapped["generation"].as_u64().unwrap();
            assert_eq!(generation, number + 1, "one swap by {}: {swapped:#}", way.name);
            shown.insert(generation, current.clone());
            sizes_then.push(sizes(server.pid()));
        }
        Swapped {
            shown,
            sizes: sizes_then,
        }
    }
}

/// What all connections were answered.
#[derive(Default)]
struct Asked {
    over: AtomicBool,
    swapping: AtomicBool,
    failed: AtomicU64,
    /// Generations, with what their pages showed.
    answers: Mutex<BTreeSet<(u64, Versions)>>,
    /// Milliseconds without swaps and during them.
    times: Mutex<[Vec<f64>; 2]>,
}

impl Asked {
    /// Asks again and again on one connection.
    fn ask(&self, url: &str) {
        let mut client = Client::new(url);
        let (mut own, mut times) = (BTreeSet::new(), [Vec::new(), Vec::new()]);
        while !self.over.load(Ordering::Relaxed) {
            let during = self.swapping.load(Ordering::Relaxed);
            let asked = Instant::now();
            match client.try_request("GET", "/", &[], b"") {
                Ok(reply) if reply.status == 200 => {
                    own.insert(shown_by(&reply));
                }
                _ => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    client = Client::new(url);
                }
            }
            times[usize::from(during)].push(asked.elapsed().as_secs_f64() * 1e3);
        }
        self.answers.lock().unwrap().extend(own);
        let mut all = self.times.lock().unwrap();
        std::iter::zip(all.iter_mut(), times).for_each(|(all, own)| all.extend(own));
    }

    /// Kinds of answers that show anything else than what their generation is made of.
    fn mixed(&self, shown: &BTreeMap<u64, Versions>) -> usize {
        let answers = self.answers.lock().unwrap();
        assert!(answers.len() > shown.len() / 2, "most generations were asked");
        let mixed = answers
            .iter()
            .filter(|(number, versions)| shown.get(number) != Some(versions));
        mixed.count()
    }

    fn report(&self) {
        println!("| latency | requests | median ms | p99 ms | p99.9 ms | latest ms |");
        println!("| --- | --- | --- | --- | --- | --- |");
        let mut times = self.times.lock().unwrap();
        for (what, times) in std::iter::zip(["without swaps", "during swaps"], times.iter_mut()) {
            let shares = [500, 990, 999, 1000].map(|share| format!("{:.2}", per_mille(times, share)));
            println!("| {what} | {} | {} |", times.len(), shares.join(" | "));
        }
    }
}

fn shown_by(page: &Reply) -> (u64, Versions) {
    let number = page.generation().rsplit('@').next().unwrap().parse().unwrap();
    let version =
        |(part, _): (&str, &str)| page.attribute(&format!("data-component=\"{part}\""), "data-version");
    (number, PARTS.map(version).to_vec())
}

/// Shows how much there was after the first swaps and at the end. Returns the most that anything grew, in
/// percent.
fn growth(sizes: &[Sizes]) -> f64 {
    assert!(
        sizes.len() >= SETTLED + 2 * LOOKS,
        "at least {} swaps show what grows",
        SETTLED + 2 * LOOKS
    );
    let early = middle(&sizes[SETTLED..SETTLED + LOOKS]);
    let late = middle(&sizes[sizes.len() - LOOKS..]);
    println!("\n| of the server | after {SETTLED} swaps | at the end | growth |\n| --- | --- | --- | --- |");
    let rows = std::iter::zip(early, late).map(|((what, early), (_, late))| {
        let growth = (late as f64 / early as f64 - 1.0) * 100.0;
        println!("| {what} | {early} | {late} | {growth:+.1} % |");
        growth
    });
    rows.fold(f64::MIN, f64::max)
}

fn middle(sizes: &[Sizes]) -> Sizes {
    let mut middle = sizes[0];
    for (at, (_, value)) in middle.iter_mut().enumerate() {
        let mut values: Vec<u64> = sizes.iter().map(|sizes| sizes[at].1).collect();
        values.sort_unstable();
        *value = values[values.len() / 2];
    }
    middle
}
