//! Arguments into one library call, and its outcome into text and an exit code. No rule of the domain.

mod build;
mod check;
mod dev;
mod fleet;
mod graph;
mod inspect;
mod journal;
mod kv;
mod manual;
mod new;
mod progress;
mod push;
mod records;
mod serve;
mod settings;
mod signals;
mod state;
mod status;
mod steer;
mod test;

use std::{io::Write, path::PathBuf, process::ExitCode};

use crate::{
    diagnostic::{Diagnostic, Fault, worst_fault},
    logging::{LogFormat, Logging},
};
use clap::{Parser, Subcommand};

/// A hot-swap runtime for WebAssembly components.
///
/// Pages of a web application are components: .wasm files in a folder tree. When a file of a group
/// changes, the whole group is replaced at once; requests that are running finish where they began.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Dev(dev::Arguments),
    New(new::Arguments),
    Build(build::Arguments),
    Check(check::Arguments),
    Graph(graph::Arguments),
    Inspect(inspect::Arguments),
    Status(status::Arguments),
    Journal(journal::Arguments),
    Kv(kv::Arguments),
    Push(push::Arguments),
    Fleet(fleet::Arguments),
    Swap(steer::Swap),
    Rollback(steer::Rollback),
    Pin(steer::Pin),
    Unpin(steer::Unpin),
    Drain(steer::Drain),
    Freeze(settings::Freeze),
    Unfreeze(settings::Unfreeze),
    Log(settings::Log),
    Test(test::Arguments),
    Completions(manual::Completions),
    Manual(manual::Manual),
}

/// Where the components are.
#[derive(clap::Args)]
struct Root {
    /// The folder of components.
    #[arg(value_name = "ROOT", default_value = "./components")]
    root: PathBuf,
}

/// Runs the program. Exit codes: 0 done; 1 the components, the manifest or the sources are at fault;
/// 2 wrong usage; 3 the machine is at fault.
pub fn run() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let logging = Logging::start(match &command {
        Command::Serve(arguments) => arguments.log_format(),
        _ => LogFormat::Text,
    });
    let outcome = match command {
        Command::New(arguments) => new::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Serve(arguments) => serve::run(arguments, logging).map(|()| ExitCode::SUCCESS),
        Command::Dev(arguments) => dev::run(arguments, logging).map(|()| ExitCode::SUCCESS),
        Command::Build(arguments) => build::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(arguments),
        Command::Graph(arguments) => graph::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Journal(arguments) => journal::run(arguments),
        Command::Kv(arguments) => kv::run(arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Fleet(arguments) => fleet::run(&arguments),
        Command::Swap(arguments) => steer::swap(arguments),
        Command::Rollback(arguments) => steer::rollback(arguments),
        Command::Pin(arguments) => steer::pin(arguments),
        Command::Unpin(arguments) => steer::unpin(arguments),
        Command::Drain(arguments) => steer::drain(arguments),
        Command::Freeze(arguments) => settings::freeze(&arguments),
        Command::Unfreeze(arguments) => settings::unfreeze(&arguments),
        Command::Log(arguments) => settings::log(&arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Completions(arguments) => manual::completions(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Manual(arguments) => manual::manual(arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|diagnostics| report(&diagnostics))
}

fn report(diagnostics: &[Diagnostic]) -> ExitCode {
    for diagnostic in diagnostics {
        say(&diagnostic.to_string());
    }
    exit_code(diagnostics)
}

/// What the errors among them come to.
fn exit_code(diagnostics: &[Diagnostic]) -> ExitCode {
    match worst_fault(diagnostics) {
        None => ExitCode::SUCCESS,
        Some(Fault::Input) => ExitCode::from(1),
        Some(Fault::Machine) => ExitCode::from(3),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Vec<Diagnostic>> {
    tokio::runtime::Runtime::new().map_err(|error| vec![no_runtime(&error)])
}

fn no_runtime(error: &std::io::Error) -> Diagnostic {
    let message = format!("threads or signals cannot be set up: {error}");
    Diagnostic::new("runtime-failed", message).machine()
}

/// A report, on standard output. A reader that has seen enough may close it.
fn print(report: &str) -> Result<(), Vec<Diagnostic>> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let message = format!("the report cannot be written: {error}");
            Err(vec![Diagnostic::new("output-failed", message).machine()])
        }
        _ => Ok(()),
    }
}

/// One line for a person, on standard error. It may be closed; then nobody wants to know.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
