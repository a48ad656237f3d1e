//! The developer's loop without a browser: what is saved is built and served before the next request is
//! answered, whatever was wrong before, and nothing is left behind.

use std::{fs, path::Path, process::Command};

use super::support::{Server, SourceTree, Tool, skipped, wasmhost};

fn text(server: &Server, path: &str) -> String {
    let reply = server.client().get(path);
    format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body))
}

#[test]
fn the_loop_begins_with_what_does_not_build() {
    let tree = SourceTree::new();
    tree.make(&["begins"]);
    tree.edit("begins/src/lib.rs", "\"Hello from Rust\"", "Hello");
    let server = tree.dev(&[]);
    let answer = text(&server, "/begins");
    assert!(answer.starts_with("404 "), "{answer}");
    assert!(answer.contains("cannot find value `Hello`"), "{answer}");
    let html = server
        .client()
        .request("GET", "/begins", &[("accept", "text/html")], b"");
    let html = String::from_utf8(html.body).unwrap();
    assert!(
        html.contains("<pre>") && html.contains("/.wasmhost/live.js"),
        "{html}"
    );
    server.wait_for_log("components/begins/src/lib.rs:7");

    tree.edit("begins/src/lib.rs", "= Hello;", "= \"It builds\";");
    let answer = text(&server, "/begins");
    assert!(
        answer.contains("200 ") && answer.contains("<h1>It builds</h1>"),
        "{answer}"
    );

    // Another project while it runs.
    tree.make(&["begins-later"]);
    let answer = text(&server, "/begins-later");
    assert!(answer.contains("<h1>Hello from Rust</h1>"), "{answer}");

    // One that makes no component is told, and disturbs nobody.
    tree.save(
        "tool/Cargo.toml",
        "[package]\nname = \"tool\"\nedition = \"2024\"\n[workspace]\n",
    );
    tree.save("tool/src/main.rs", "fn main() {}\n");
    server.wait_for_log("error[project-without-component]");
    assert!(text(&server, "/begins").contains("<h1>It builds</h1>"));
}

/// What a program in `script`'s terminal writes there.
fn on_a_terminal(tree: &SourceTree, line: &str, variables: &[(&str, &str)]) -> String {
    let program = wasmhost().get_program().to_owned();
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{} {line}", program.to_str().unwrap()))
        .arg("/dev/null")
        .current_dir(tree.folder())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied());
    String::from_utf8_lossy(&terminal.output().unwrap().stdout).into_owned()
}

#[test]
fn a_terminal_gets_colours_and_a_line_that_moves() {
    let tree = SourceTree::new();
    tree.make(&["terminal.good"]);
    tree.make(&["terminal.bad"]);
    tree.edit("terminal/bad/src/lib.rs", "\"Hello from Rust\"", "Hello");
    let painted = on_a_terminal(&tree, "build", &[]);
    // The compiler's own red, the path as seen from here, and how many of how many.
    assert!(painted.contains("\x1b[1m\x1b[91merror[E0425]"), "{painted}");
    let place = painted
        .lines()
        .find(|line| line.contains("terminal/bad/src/lib.rs:7"))
        .unwrap();
    assert!(
        place.contains("components/terminal/bad/src/lib.rs:7"),
        "{place:?}"
    );
    assert!(painted.contains("0/2 "), "{painted}");

    let plain = on_a_terminal(&tree, "build", &[("NO_COLOR", "1")]);
    assert!(plain.contains("error[E0425]"), "{plain}");
    let is_colour = |sequence: &str| {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic());
        end.is_some_and(|end| sequence[end..].starts_with('m'))
    };
    assert!(!plain.split("\x1b[").skip(1).any(is_colour), "{plain:?}");
}

#[test]
fn the_browser_is_opened_when_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let tree = SourceTree::new();
    tree.make(&["opened"]);
    // What desktops open an address with.
    let opener = tree.folder().join("xdg-open");
    fs::write(
        &opener,
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$1\" > opening\nmv opening opened\n",
    )
    .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = std::env::var_os("PATH").unwrap();
    let programs = std::iter::once(tree.folder().to_owned()).chain(std::env::split_paths(&programs));
    let mut command = wasmhost();
    command
        .current_dir(tree.folder())
        .args(["dev", "--open"])
        .env("PATH", std::env::join_paths(programs).unwrap());
    let server = Server::start_command(command);
    let opened = tree.folder().join("opened");
    while !opened.exists() {
        std::thread::yield_now();
    }
    assert_eq!(fs::read_to_string(opened).unwrap().trim(), server.url());
}

/// Each of them is told, what was good goes on serving, and the next save is built again.
#[test]
fn the_loop_goes_on_after_every_mistake() {
    let tree = SourceTree::new();
    tree.make(&["mistakes.first"]);
    tree.make(&["mistakes.second"]);
    let mut offline = wasmhost();
    offline
        .current_dir(tree.folder())
        .arg("dev")
        .env("CARGO_NET_OFFLINE", "true");
    let server = Server::start_command(offline);
    let (source, manifest) = ("mistakes/first/src/lib.rs", "mistakes/first/Cargo.toml");
    let good = (tree.read(source), tree.read(manifest));
    let mut told = 0;
    let mut mistaken = |file: &str, from: &str, to: &str, says: &[&str]| {
        tree.edit(file, from, to);
        let answer = text(&server, "/mistakes/first");
        assert!(answer.contains("Hello from Rust"), "{to}: {answer}");
        says.iter().for_each(|says| server.wait_for_log(says));
        tree.save(manifest, &good.1);
        told += 1;
        tree.save(source, &good.0.replace("from Rust", &format!("number {told}")));
        let answer = text(&server, "/mistakes/first");
        assert!(answer.contains(&format!("Hello number {told}")), "{to}: {answer}");
        tree.save(source, &good.0);
        assert!(text(&server, "/mistakes/first").contains("Hello from Rust"));
    };
    let unclosed = [
        "closing delimiter",
        "components/mistakes/first/src/lib.rs:12",
        "error[build-failed]",
    ];
    mistaken(source, "fn handle(", "fn handle((", &unclosed);
    let unlinked = [
        "unresolved import `no_such_crate`",
        "components/mistakes/first/src/lib.rs:3",
    ];
    mistaken(source, "\nuse ", "\nuse no_such_crate::Any;\nuse ", &unlinked);
    let nowhere = [
        "error[project-invalid]",
        "mistakes/nowhere/Cargo.toml",
        "--> ./components/mistakes/first/Cargo.toml",
    ];
    mistaken(
        manifest,
        "[dependencies]",
        "[dependencies]\nnowhere = { path = \"../nowhere\" }",
        &nowhere,
    );
    // Without a network, what was never fetched cannot be had.
    let unknown = [
        "no matching package named `no-such-crate-of-wasmhost`",
        "--offline",
    ];
    mistaken(
        manifest,
        "[dependencies]",
        "[dependencies]\nno-such-crate-of-wasmhost = \"1\"",
        &unknown,
    );
    let twice = [
        "two packages named `mistakes-second`",
        "give one of them another `name`",
    ];
    mistaken(manifest, "\"mistakes-first\"", "\"mistakes-second\"", &twice);
    let library = [
        "error[project-without-component]",
        "makes no component",
        "crate-type",
    ];
    mistaken(manifest, "\"cdylib\"", "\"rlib\"", &library);
    mistaken(
        manifest,
        "[package]",
        "[package",
        &["error[project-invalid]", "mend it"],
    );
}

#[test]
fn a_build_that_hangs_is_ended_by_the_next_save_or_by_the_end() {
    let tree = SourceTree::new();
    tree.make(&["hangs"]);
    let mut server = tree.dev(&[]);
    let running = tree.folder().join("running");
    let script = format!(
        "fn main() {{ std::fs::write({running:?}, std::process::id().to_string()).unwrap(); loop {{ std::thread::park(); }} }}\n"
    );
    let hanging = |tree: &SourceTree| {
        tree.save("hangs/build.rs", &script);
        while fs::read_to_string(&running).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
        fs::read_to_string(&running).unwrap()
    };
    let first = hanging(&tree);
    fs::remove_file(&running).unwrap();
    fs::remove_file(tree.root().join("hangs/build.rs")).unwrap();
    tree.edit("hangs/src/lib.rs", "Hello from Rust", "It went on");
    assert!(text(&server, "/hangs").contains("It went on"));
    wait_until_gone(&first);

    let second = hanging(&tree);
    server.signal("INT");
    let _ = server.seen();
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
    wait_until_gone(&second);
}

#[test]
fn a_build_that_takes_too_long_is_ended_and_told() {
    let tree = SourceTree::new();
    tree.make(&["long"]);
    tree.save("long/build.rs", "fn main() { loop { std::thread::park(); } }\n");
    let built = wasmhost()
        .current_dir(tree.folder())
        .args(["build", "--build-limit", "20s"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error[build-too-long]") && said.contains("--build-limit"),
        "{said}"
    );
}

fn wait_until_gone(pid: &str) {
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    while !is_gone() {
        std::thread::yield_now();
    }
}

/// cargo-component in another terminal, on a component that is built elsewhere.
#[test]
fn cargo_component_is_picked_up() {
    let Some(_) = Tool::known_by("cargo-component", "--version") else {
        return;
    };
    let tree = SourceTree::new();
    let project = tree.folder().join("elsewhere");
    let write = |file: &str, text: &str| {
        let path = project.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", include_str!("dev/cargo-component.toml"));
    write("src/lib.rs", include_str!("dev/cargo-component.rs"));
    write(
        "wit/world.wit",
        "package site:elsewhere;\nworld component {\n  export wasmhost:page/handler@0.1.0;\n}\n",
    );
    write("page.wit", include_str!("../wit/page.wit"));
    let target = tree.folder().join("target");
    let build = || {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&project)
            .args(["component", "build", "--release"])
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTUP_TOOLCHAIN");
        if let Some(linked) = linked_toolchain() {
            cargo.env("RUSTUP_TOOLCHAIN", linked);
        }
        let built = cargo.output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
    };
    build();
    let artifact = target.join("wasm32-wasip1/release/elsewhere.wasm");
    tree.save(
        "wasmhost.toml",
        &format!(
            "[components.\"elsewhere\"]\npath = {:?}\n",
            artifact.to_str().unwrap()
        ),
    );
    let mut server = tree.dev(&[]);
    assert!(text(&server, "/elsewhere").contains("one"));
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    write("src/lib.rs", &source.replace("\"one\"", "\"two\""));
    build();
    server.wait("swapped");
    assert!(text(&server, "/elsewhere").contains("two"));
    let rejected = |event: &&serde_json::Value| event["event"] == "rejected";
    assert_eq!(
        server.seen().iter().filter(rejected).count(),
        0,
        "a core module shows"
    );
}

/// The toolchain that `wasmhost build` made, where rustup could not.
fn linked_toolchain() -> Option<String> {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output().ok()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let name = listed
        .split_whitespace()
        .find(|name| name.starts_with("wasmhost"));
    name.map(str::to_owned)
}

/// What plain Cargo leaves in another terminal goes to its place; half of it does not.
#[test]
fn what_another_terminal_builds_is_picked_up() {
    let tree = SourceTree::new();
    tree.make(&["terminal"]);
    let server = tree.dev(&[]);
    assert!(text(&server, "/terminal").contains("Hello from Rust"));
    let placed = tree.root().join("terminal.wasm");
    let artifact = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sources/wasm32-wasip2/debug/terminal.wasm");
    fs::create_dir_all(artifact.parent().unwrap()).unwrap();
    let component = fs::read(&placed).unwrap();
    let other = String::from_utf8_lossy(&component).contains("Hello from Rust");
    assert!(other, "its text is in its data");
    let at = component
        .windows(15)
        .position(|bytes| bytes == b"Hello from Rust")
        .unwrap();
    let mut changed = component.clone();
    changed[at..at + 15].copy_from_slice(b"Hello from Carg");
    // A core module first, as cargo-component does it; then half of the component.
    fs::write(&artifact, b"\0asm\x01\0\0\0").unwrap();
    assert!(text(&server, "/terminal").contains("Hello from Rust"));
    fs::write(&artifact, &changed[..changed.len() / 2]).unwrap();
    assert!(text(&server, "/terminal").contains("Hello from Rust"));
    assert_eq!(fs::read(&placed).unwrap(), component);
    fs::write(&artifact, &changed).unwrap();
    assert!(text(&server, "/terminal").contains("Hello from Carg"));
    fs::remove_file(&artifact).unwrap();
}

#[test]
fn what_a_machine_lacks_is_told_with_what_to_install() {
    let tree = SourceTree::new();
    tree.make(&["lacks.js", "--lang", "js"]);
    tree.make(&["lacks.python", "--lang", "python"]);
    let cache = tree.folder().join("cache");
    let built = wasmhost()
        .current_dir(tree.folder())
        .arg("build")
        .env("PATH", "/nowhere")
        .env("XDG_CACHE_HOME", &cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(3), "{said}");
    assert!(
        said.contains("npm is not installed") && said.contains("apt-get install nodejs npm"),
        "{said}"
    );
    assert!(
        said.contains("python3 is not installed") && said.contains("python3-pip"),
        "{said}"
    );
}

#[test]
fn a_mistake_in_a_script_is_told_with_its_place() {
    if Command::new("npm").arg("--version").output().is_err() {
        return skipped("dev", "npm does not run here");
    }
    let tree = SourceTree::new();
    tree.make(&["mistaken.js", "--lang", "js"]);
    tree.make(&["mistaken.python", "--lang", "python"]);
    tree.save(
        "mistaken/js/component.js",
        "export const handler = {\n  handle( {\n};\n",
    );
    tree.save("mistaken/python/app.py", "class Handler:\n    def handle(:\n");
    let built = wasmhost()
        .current_dir(tree.folder())
        .arg("build")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(1), "{said}");
    assert!(
        said.contains("--> ./components/mistaken/js/component.js:3"),
        "{said}"
    );
    assert!(
        said.contains("--> ./components/mistaken/python/app.py:2"),
        "{said}"
    );
}

#[test]
fn without_a_network_it_is_told_what_cannot_be_had() {
    if Command::new("npm").arg("--version").output().is_err() {
        return skipped("dev", "npm does not run here");
    }
    let tree = SourceTree::new();
    tree.make(&["offline", "--lang", "js"]);
    let built = wasmhost()
        .current_dir(tree.folder())
        .arg("build")
        .env("XDG_CACHE_HOME", tree.folder().join("cache"))
        .env("npm_config_cache", tree.folder().join("npm"))
        .env("npm_config_registry", "http://127.0.0.1:9/")
        .env("npm_config_fetch_retries", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(3), "{said}");
    assert!(
        said.contains("error[tool-unavailable]") && said.contains("is this machine connected"),
        "{said}"
    );
}
