//! What a swap costs, on the real binary:
//!
//! ```sh
//! cargo bench --bench swap                            # all that follows but the endurance run
//! cargo bench --bench swap -- soak --swaps 5000       # the endurance run
//! cargo bench --bench swap -- edits                   # one component of a group changes, alone
//! cargo bench --bench swap -- load                    # requests while swaps go on, alone
//! cargo bench --bench swap -- migrate                 # how long requests wait while a state is handed over, alone
//! cargo bench --bench swap -- sandbox                 # beside guests that loop and trap
//! cargo bench --bench swap -- engines                 # JavaScript and Python pages
//! cargo bench --bench swap -- dev                     # from a saved line of Rust to the page in Chromium
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "the table is for standard output")]

mod calls;
mod dev;
mod edits;
mod engine_pages;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../linker/group.rs"]
mod group;
mod load;
mod machine;
mod migrate;
mod pages;
mod process;
mod sandbox;
mod soak;
mod starts;
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests, which use all of it"
)]
#[path = "../support/mod.rs"]
mod support;
mod table;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("soak") => soak::run(swaps(&arguments)),
        Some("dev") => dev::run(),
        Some("edits") => edits::run(),
        Some("engines") => engine_pages::run(),
        Some("load") => load::run(),
        Some("migrate") => migrate::run(),
        Some("sandbox") => sandbox::run(),
        None => {
            println!("{}", machine::machine());
            edits::run();
            calls::run();
            starts::run();
            engine_pages::run();
            load::run();
            migrate::run();
            dev::run();
        }
        Some(other) => {
            panic!("{other}: there are `dev`, `edits`, `load`, `migrate`, `engines`, `sandbox` and `soak`")
        }
    }
}

fn swaps(arguments: &[String]) -> u64 {
    let value = arguments
        .iter()
        .skip_while(|argument| *argument != "--swaps")
        .nth(1);
    value.map_or(5000, |value| value.parse().expect("a number of swaps"))
}
