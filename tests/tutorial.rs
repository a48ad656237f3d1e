//! The tutorial of README, word for word, in each language that it names.

use std::process::Command;

use super::support::{self, SourceTree, skipped, wasmhost};

const README: &str = include_str!("../README.md");

/// One row of the table: a language, its command, its source and the text in it.
struct Row {
    command: String,
    file: String,
    text: String,
}

/// What stands below the tutorial's heading.
fn tutorial() -> &'static str {
    let (_, rest) = README
        .split_once("## Your first component\n")
        .expect("has a tutorial");
    rest.split("\n## ").next().unwrap()
}

fn row(language: &str) -> Row {
    let start = format!("| {language} |");
    let line = tutorial()
        .lines()
        .find(|line| line.starts_with(&start))
        .expect("has the language");
    let mut quoted = line.split('`').skip(1).step_by(2).map(str::to_owned);
    let mut next = || quoted.next().expect("is quoted");
    Row {
        command: next(),
        file: next(),
        text: next(),
    }
}

/// The command that serves, as it is written there.
fn serving() -> &'static str {
    let (_, rest) = tutorial().split_once("```sh\n").expect("has a command");
    rest.split("\n```").next().unwrap()
}

fn follow(language: &str) {
    let tree = SourceTree::new();
    let Row { command, file, text } = row(language);
    let program = wasmhost().get_program().to_owned();
    let programs = std::path::Path::new(&program).parent().unwrap().to_owned();
    let path = std::env::join_paths(
        [programs]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let typed = |line: &str| {
        let mut shell = Command::new("sh");
        shell
            .current_dir(tree.folder())
            .env("PATH", path.as_ref().unwrap())
            .env("NO_COLOR", "1");
        // The test's own words come behind what is typed.
        shell.args(["-c", &format!("exec {line} \"$@\""), "sh"]);
        shell
    };
    assert!(typed(&command).status().unwrap().success(), "{command}");
    let mut server = support::Server::start_command(typed(serving()));
    let mut client = server.client();
    let page = client.get("/hello");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains(&text));
    let source = file.strip_prefix("components/").expect("lies in the tree");
    tree.edit(source, &text, "Good morning");
    // The next request is answered by what was saved before it.
    let page = client.get("/hello");
    assert!(
        String::from_utf8_lossy(&page.body).contains("<h1>Good morning</h1>"),
        "{}",
        String::from_utf8_lossy(&page.body)
    );
    let swapped = server.wait("swapped");
    assert_eq!(swapped["causes"][0]["component"], "hello");
}

#[test]
fn it_works_in_rust() {
    follow("Rust");
}

#[test]
fn it_works_in_javascript() {
    if runs("node") && runs("npm") {
        follow("JavaScript");
    } else {
        skipped("tutorial", "node or npm does not run here");
    }
}

#[test]
fn it_works_in_python() {
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if pip.is_ok_and(|output| output.status.success()) {
        follow("Python");
    } else {
        skipped("tutorial", "python3 with pip does not run here");
    }
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
