//! The developer's loop: one line of Rust changes in a tree of twenty components, until Chromium shows it.
//!
//! ```text
//!  saved ── noticed ──▶ Cargo ── compiler ──▶ its end ── swap ──▶ swapped ── browser ──▶ painted
//! ```
//!
//! A program in Cargo's place notes when it begins and ends; the server tells when it swapped, and the browser
//! when it began to load and when it painted. All of them read the same clock.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    edits::settle,
    support::{Browser, Server, SourceTree, wasmhost},
    table::{head, median, row},
};

const COMPONENTS: usize = 20;
const TIMES: usize = 10;
/// What all but the compiler may take.
const BOUND: f64 = 150.0;
const SHOWN: &str = "document.querySelector('h1')?.textContent";
/// When the page that is shown began to load, and when it was painted: milliseconds since 1970.
const LOADED: &str = "performance.timeOrigin";
const PAINTED: &str = "performance.timeOrigin + performance.getEntriesByType('paint')\
                       .find((paint) => paint.name === 'first-contentful-paint')?.startTime";

pub fn run() {
    let Some(browser) = Browser::start() else {
        return println!("Chromium and its driver are not to be had here");
    };
    let tree = SourceTree::new();
    for number in 0..COMPONENTS {
        tree.make(&[&format!("twenty.page{number}")]);
    }
    let clocked = Clocked::new(&tree);
    let mut server = clocked.serve(&tree);
    browser.open(&format!("{}/twenty/page0", server.url()));
    browser.wait_for(SHOWN, "Hello from Rust");

    let mut shown = "Hello from Rust".to_owned();
    let mut stages: [Vec<f64>; 6] = Default::default();
    // The first change begins Cargo's incremental state.
    for time in 0..=TIMES {
        let next = format!("Edit {time}");
        settle();
        let saved = now();
        tree.edit("twenty/page0/src/lib.rs", &shown, &next);
        let swapped = server.wait("swapped");
        browser.wait_for(SHOWN, next.as_str());
        browser.wait(&format!("({PAINTED}) > 0"));
        shown = next;
        let (begun, ended) = clocked.last();
        let swapped: jiff::Timestamp = swapped["time"].as_str().unwrap().parse().unwrap();
        let swapped = swapped.as_duration().as_secs_f64() * 1e3;
        let painted = browser.eval(PAINTED).as_f64().unwrap();
        let loaded = browser.eval(LOADED).as_f64().unwrap();
        let took = [
            begun - saved,
            ended - begun,
            swapped - ended,
            loaded - swapped,
            painted - loaded,
            painted - saved,
        ];
        if time > 0 {
            stages
                .iter_mut()
                .zip(took)
                .for_each(|(stage, took)| stage.push(took));
        }
    }
    show(&stages);
}

fn show(stages: &[Vec<f64>; 6]) {
    let [noticed, compiler, swap, told, page, whole] = stages;
    head(&format!(
        "one line of Rust, {COMPONENTS} components, to the painted page"
    ));
    row("saved to Cargo's begin", "ms", noticed);
    row("compiler: Cargo", "ms", compiler);
    row("swap: Cargo's end to the new generation", "ms", swap);
    row("browser: told, and begins to load", "ms", told);
    row("browser: loads and paints", "ms", page);
    row("all", "ms", whole);
    let others: Vec<f64> = whole
        .iter()
        .zip(compiler)
        .map(|(all, cargo)| all - cargo)
        .collect();
    row("all but the compiler", "ms", &others);
    println!(
        "\nThe median of all but the compiler is {:.2} of the {BOUND} ms that it may take.",
        median(&others) / BOUND
    );
}

/// A program `cargo` that runs the real one, and notes when.
struct Clocked {
    programs: PathBuf,
    notes: PathBuf,
}

impl Clocked {
    fn new(tree: &SourceTree) -> Self {
        let programs = tree.folder().join("programs");
        let notes = tree.folder().join("notes");
        fs::create_dir(&programs).unwrap();
        let script = format!(
            "#!/bin/bash\nbegun=$EPOCHREALTIME\n{:?} \"$@\"\nstatus=$?\n[ \"$1\" = build ] && echo $begun $EPOCHREALTIME > {notes:?}\nexit $status\n",
            found("cargo")
        );
        let program = programs.join("cargo");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { programs, notes }
    }

    fn serve(&self, tree: &SourceTree) -> Server {
        let old = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&old));
        let mut command = wasmhost();
        command
            .current_dir(tree.folder())
            .arg("dev")
            .env("PATH", std::env::join_paths(path).unwrap());
        Server::start_command(command)
    }

    /// When it was begun and when it ended last.
    fn last(&self) -> (f64, f64) {
        let noted = fs::read_to_string(&self.notes).unwrap();
        let mut times = noted
            .split_whitespace()
            .map(|time| time.parse::<f64>().unwrap() * 1e3);
        (times.next().unwrap(), times.next().unwrap())
    }
}

fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places.find(|place| Path::is_file(place)).expect("is installed")
}

/// Milliseconds since 1970.
fn now() -> f64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64() * 1e3
}
