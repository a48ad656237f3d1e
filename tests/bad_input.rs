//! What `wasmhost` says to input that it cannot work with: the place, the reason, the right exit code,
//! and an end of its own accord.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
};

use wasmhost::project::Project;

use crate::support::{PATIENCE, Tree, example, skipped, wasmhost};

/// Exit codes of the contract.
const INPUT: i32 = 1;
const USAGE: i32 = 2;
const MACHINE: i32 = 3;

const LIBRARY: &str = r#"(component (instance $none) (export "site:shop/nothing" (instance $none)))"#;

/// The header of a component, which is one.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

const SERVE: &[&str] = &["serve", "ROOT", "--listen", "127.0.0.1:0"];

#[test]
fn wrong_usage() {
    let check = |arguments: &[&str], says: &str| check(&Tree::empty(), arguments, USAGE, &[says]);
    check(
        &["serve", "ROOT", "--lisen", "127.0.0.1:0"],
        "unexpected argument '--lisen'",
    );
    check(
        &["serve", "ROOT", "--listen", "8080"],
        "invalid value '8080' for '--listen <ADDR>'",
    );
    check(
        &["serve", "ROOT", "--format", "xml"],
        "[possible values: text, json]",
    );
    check(&["serve", "ROOT", "ANOTHER"], "unexpected argument 'ANOTHER'");
    check(&["sirve"], "unrecognized subcommand 'sirve'");
    check(&[], "Usage: wasmhost <COMMAND>");
}

#[test]
fn a_root_with_nothing_to_serve() {
    let check = |files: &[(&str, &str)], root: &str, says: &[&str]| {
        let arguments = ["serve", root, "--listen", "127.0.0.1:0"];
        check(&tree(files), &arguments, INPUT, says);
    };
    check(
        &[],
        "ROOT/none",
        &[
            "error[root-missing]: the root ROOT/none does not exist",
            "help: name the folder",
        ],
    );
    check(
        &[("a.wat", LIBRARY)],
        "ROOT/a.wat",
        &["error[root-not-a-folder]: the root ROOT/a.wat is not a folder"],
    );
    check(
        &[],
        "ROOT",
        &[
            "error[root-empty]: no component under ROOT",
            "help: build the components",
        ],
    );
    check(
        &[("shop/readme.md", "")],
        "ROOT",
        &["error[root-empty]: no component under ROOT"],
    );
    check(
        &[("target/a.wat", LIBRARY), ("_b/c.wat", LIBRARY)],
        "ROOT",
        &["error[root-empty]"],
    );
    check(
        &[("shop/menu.wat", LIBRARY), ("blog/feed.wat", LIBRARY)],
        "ROOT",
        &[
            "error[page-missing]: no component under ROOT answers requests",
            "wasmhost:page/handler@0.1.0",
        ],
    );
}

#[test]
fn a_file_that_is_no_component() {
    let check = |file: &str, content: &[u8], says: &[&str]| {
        let tree = Tree::empty();
        tree.put(file, content);
        let place = format!("--> ROOT/{file}\n");
        check(&tree, SERVE, INPUT, &[says, &[&place]].concat());
    };
    check(
        "shop/home.wasm",
        b"",
        &["error[component-invalid]: shop.home is not a valid component: the file is empty"],
    );
    check(
        "shop/home.wasm",
        b"<!DOCTYPE html>",
        &["error[component-invalid]: shop.home is not a valid component: the file is not WebAssembly"],
    );
    check(
        "shop/home.wasm",
        b"\0asm\x01\0\0\0",
        &["error[component-core-module]", "help: build it with"],
    );
    check(
        "shop/home.wasm",
        b"\0asm\x0d\0\x01\0\x07\x7f",
        &["error[component-invalid]", "shop.home"],
    );
    check(
        "shop/home.wat",
        b"(component",
        &["error[component-invalid]", "ROOT/shop/home.wat:1:11"],
    );
    check(
        "shop/home.wat",
        b"(module)",
        &["error[component-core-module]: shop.home is a core module"],
    );
}

#[test]
fn a_component_that_is_too_large() {
    let check = |prepare: &dyn Fn(&Path), says: &[&str]| {
        let tree = tree(&[("shop/menu.wat", LIBRARY)]);
        prepare(&tree.path("shop/home.wasm"));
        check(
            &tree,
            SERVE,
            INPUT,
            &[says, &["--> ROOT/shop/home.wasm\n"]].concat(),
        );
    };
    // A gigabyte of nothing, which takes no place on the disk.
    let gigabyte = |path: &Path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
    check(
        &gigabyte,
        &["error[file-too-large]: ROOT/shop/home.wasm is larger than 256.0 MiB, the most for a component"],
    );
    let over = |content: Vec<u8>, what: &str| {
        let says =
            format!("error[component-too-large]: shop.home has more than {what}, the most for a component");
        check(
            &|path| fs::write(path, &content).unwrap(),
            &[&says, "help: divide it into several components"],
        );
    };
    let binary = |items: &dyn Fn(usize) -> String, count| {
        let items: String = (0..count).map(items).collect();
        wat::parse_str(format!("(component {items})")).unwrap()
    };
    over(
        binary(&|n| format!(r#"(import "i{n}" (func))"#), 10_000),
        "1000 imports",
    );
    over(
        binary(
            &|n| format!(r#"(instance $i{n}) (export "i{n}" (instance $i{n}))"#),
            10_000,
        ),
        "1000 exports",
    );
    over(binary(&|_| "(core module)".into(), 10_000), "500 core modules");
    // Each level of these would take a frame of the stack from a reader that calls itself.
    let components = (0..5000).fold(COMPONENT.to_vec(), |inner, _| with_section(4, &inner));
    over(components, "32 components within each other");
    let types = [&[1][..], &[0x42, 1, 1].repeat(1_000_000), &[0x42, 0]].concat();
    over(with_section(7, &types), "32 types within each other");
}

#[test]
fn a_component_with_names_that_are_no_text() {
    let mut component = wat::parse_str(r#"(component (import "some-name" (func)))"#).unwrap();
    let name = component
        .windows(9)
        .position(|bytes| bytes == b"some-name")
        .unwrap();
    component[name] = 0xff;
    let tree = tree(&[("shop/menu.wat", LIBRARY)]);
    tree.put("shop/home.wasm", component);
    check(
        &tree,
        SERVE,
        INPUT,
        &[
            "error[component-invalid]",
            "malformed UTF-8",
            "--> ROOT/shop/home.wasm\n",
        ],
    );
}

#[test]
fn component_text_without_end() {
    let text = format!("(component {}", "(component ".repeat(100_000));
    let files = [("shop/menu.wat", LIBRARY), ("shop/home.wat", &text)];
    check(
        &tree(&files),
        SERVE,
        INPUT,
        &[
            "error[component-invalid]",
            "nesting too deep",
            "--> ROOT/shop/home.wat\n",
        ],
    );
}

#[test]
fn a_folder_in_itself() {
    let tree = tree(&[("shop/menu.wat", LIBRARY)]);
    symlink(tree.root(), tree.path("shop/again")).unwrap();
    check(
        &tree,
        SERVE,
        INPUT,
        &[
            "error[symlink-loop]: ROOT/shop/again is a link to ROOT, in which it lies: a loop",
            "help: remove the link",
        ],
    );
}

#[test]
fn a_file_that_comes_and_goes_while_the_tree_is_read() {
    let tree = tree(&[("shop/menu.wat", LIBRARY), ("shop/fleeting.wat", LIBRARY)]);
    let (path, done) = (tree.path("shop/fleeting.wat"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::remove_file(&path).unwrap();
                fs::write(&path, LIBRARY).unwrap();
            }
        });
        for _ in 0..300 {
            let project = Project::discover(tree.root());
            let shop = project.map(|project| project.groups["shop"].clone());
            // One more or less, but never an error.
            let found = shop.map(|shop| shop.map(|shop| shop.components.len()));
            if !matches!(found, Ok(Ok(1 | 2))) {
                done.store(true, Ordering::Relaxed);
                panic!("{found:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn two_files_of_one_id() {
    check(
        &tree(&[("shop/a.wasm", ""), ("shop/a.wat", LIBRARY)]),
        SERVE,
        INPUT,
        &[
            "error[id-duplicate]: component shop.a has 2 files: ROOT/shop/a.wasm, ROOT/shop/a.wat",
            "help: remove all",
        ],
    );
}

#[test]
fn names_that_are_no_ids() {
    let check = |file: &str, says: &[&str]| check(&tree(&[(file, LIBRARY)]), SERVE, INPUT, says);
    let at = |place| format!("--> ROOT/{place}\n");
    check(
        "shop/my page.wat",
        &[
            "error[name-invalid]",
            &at("shop/my page.wat"),
            r#"rename to "my-page.wat""#,
        ],
    );
    check(
        "shop/Home.wat",
        &[
            "error[name-invalid]",
            &at("shop/Home.wat"),
            r#"rename to "home.wat""#,
        ],
    );
    check(
        "shop/v1.2.wat",
        &[
            "error[name-invalid]",
            &at("shop/v1.2.wat"),
            r#"rename to "v1-2.wat""#,
        ],
    );
    check(
        "shop/home.WAT",
        &[
            "error[name-invalid]",
            &at("shop/home.WAT"),
            r#"rename to "home.wat""#,
        ],
    );
    check(
        "shop/é.wat",
        &["error[name-invalid]", &at("shop/é.wat"), "help: rename to"],
    );
    check(
        "My Shop/home.wat",
        &["error[name-invalid]", &at("My Shop"), r#"rename to "my-shop""#],
    );
    check(
        "shop.old/home.wat",
        &["error[name-invalid]", &at("shop.old"), r#"rename to "shop-old""#],
    );
}

#[test]
fn all_bad_names_are_said_at_once() {
    let files = [
        ("shop/Home.wat", LIBRARY),
        ("Blog/feed.wat", LIBRARY),
        ("a.b.wat", LIBRARY),
    ];
    check(
        &tree(&files),
        SERVE,
        INPUT,
        &["ROOT/shop/Home.wat\n", "ROOT/Blog\n", "ROOT/a.b.wat\n"],
    );
}

#[test]
fn a_manifest_with_mistakes() {
    let check = |manifest: &str, says: &[&str]| {
        let tree = tree(&[("wasmhost.toml", manifest), ("shop/home.wat", LIBRARY)]);
        check(&tree, SERVE, INPUT, says);
    };
    check(
        "[groups.shop]\nnamspaces = [\"shop\"]\n",
        &[
            "error[manifest-unknown-key]",
            "--> ROOT/wasmhost.toml:2:1\n",
            "help: did you mean namespaces?",
        ],
    );
    check(
        "[groups.shop.swap]\n      probation = { requests = 1, traps = 2 }\n",
        &[
            "error[manifest-value]",
            "--> ROOT/wasmhost.toml:2:",
            "probation.traps must be",
        ],
    );
    check(
        "[groups.shop\n",
        &["error[manifest-syntax]", "--> ROOT/wasmhost.toml:1:13\n"],
    );
    check(
        "[server]\nlisten = [\"everywhere\"]\n",
        &[
            "error[manifest-value]",
            "--> ROOT/wasmhost.toml:2:11\n",
            "an address such as",
        ],
    );
    check(
        "[groups.shop.routes]\n\"/\" = \"shop.hom\"\n",
        &[
            "error[route-unknown-component]",
            "--> ROOT/wasmhost.toml:2:7\n",
            "did you mean shop.home?",
        ],
    );
    check(
        "[groups.shop.wire]\n\"shop.home\" = { \"a:b/c\" = \"blog.feed\" }\n",
        &["error[wire-unknown-component]", "--> ROOT/wasmhost.toml:2:27\n"],
    );
    check(
        "[components.\"shop.menu\"]\npath = \"elsewhere/menu.wasm\"\n",
        &[
            "error[file-unreadable]",
            "ROOT/elsewhere/menu.wasm",
            "[components.\"shop.menu\"]",
        ],
    );
    check(
        "server = 1\ngroups = 2\n",
        &["wasmhost.toml:1:10\n", "wasmhost.toml:2:10\n"],
    );
}

#[test]
fn what_lies_under_the_name_of_a_component_but_is_no_file() {
    let check = |prepare: &dyn Fn(&Path), says: &[&str]| {
        let tree = tree(&[("shop/menu.wat", LIBRARY)]);
        prepare(&tree.path("shop/x.wasm"));
        check(&tree, SERVE, INPUT, says);
    };
    check(
        &|path| symlink("/nowhere/x.wasm", path).unwrap(),
        &[
            "error[file-unreadable]: cannot read ROOT/shop/x.wasm: No such file",
            "--> ROOT/shop/x.wasm\n",
        ],
    );
    check(
        &|path| symlink(path, path).unwrap(),
        &[
            "error[file-unreadable]: cannot read ROOT/shop/x.wasm",
            "--> ROOT/shop/x.wasm\n",
        ],
    );
    check(
        &|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        &[
            "error[file-unreadable]: ROOT/shop/x.wasm is not a regular file",
            "--> ROOT/shop/x.wasm\n",
        ],
    );
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let says = format!("error[listen-failed]: cannot listen on {address}: Address already in use");
    let help = "choose another with --listen (127.0.0.1:0 takes any free one)";
    check(
        &tree(&[("a.wat", LIBRARY)]),
        &["serve", "ROOT", "--listen", &address],
        MACHINE,
        &[&says, help],
    );
}

#[test]
fn no_permission() {
    if !nobody_reaches_the_program() {
        return skipped("no_permission", "`nobody` reaches neither the program nor /tmp");
    }
    let check = |closed: &str, says: &[&str]| {
        let tree = open_tree();
        permit(&tree.path(closed), 0o000);
        let output = output(unprivileged(&tree)).unwrap();
        permit(&tree.path(closed), 0o755);
        check_output(&output, &tree, MACHINE, says);
    };
    check(
        "shop/x.wat",
        &[
            "error[file-unreadable]: cannot read ROOT/shop/x.wat: Permission denied",
            "help: give the user",
        ],
    );
    check(
        "wasmhost.toml",
        &[
            "error[manifest-unreadable]",
            "ROOT/wasmhost.toml: Permission denied",
        ],
    );
    check(
        "shop",
        &[
            "error[folder-unreadable]: cannot read ROOT/shop: Permission denied",
            "help: give the user",
        ],
    );
    check(
        "",
        &["error[root-unreadable]: cannot read the root ROOT: Permission denied"],
    );
}

#[test]
fn a_build_of_what_does_not_compile() {
    // It sets up the toolchain where there is none, which is nothing to do twice at a time.
    example();
    let package = "[package]\nname = \"home\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                   [lib]\ncrate-type = [\"cdylib\"]\n\n[workspace]\n";
    let tree = tree(&[
        ("shop/home/Cargo.toml", package),
        ("shop/home/src/lib.rs", "pub fn answer() -> u32 { forty_two }\n"),
        ("shop/home.wasm", "what was built before"),
    ]);
    let before = fs::metadata(tree.path("shop/home.wasm"))
        .unwrap()
        .modified()
        .unwrap();
    check(
        &tree,
        &["build", "ROOT"],
        INPUT,
        &[
            "error[E0425]: cannot find value `forty_two` in this scope",
            "error[build-failed]: ROOT/shop/home did not build",
            "--> ROOT/shop/home/Cargo.toml\n",
        ],
    );
    assert_eq!(tree.read("shop/home.wasm"), b"what was built before");
    assert_eq!(
        fs::metadata(tree.path("shop/home.wasm"))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

#[test]
fn a_build_of_what_is_no_project() {
    let check = |root: &str, files: &[(&str, &str)], says: &[&str]| {
        check(&tree(files), &["build", root], INPUT, says);
    };
    check("ROOT/none", &[], &["ROOT/none"]);
    check(
        "ROOT",
        &[("shop/home/Cargo.toml", "[package")],
        &["error[project-invalid]", "ROOT/shop/home/Cargo.toml"],
    );
    check(
        "ROOT",
        &[("shop/Home/Cargo.toml", "[package]\n")],
        &["error[name-invalid]", "ROOT/shop/Home/Cargo.toml"],
    );
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let tree = Tree::empty();
    for (file, content) in files {
        tree.put(file, content);
    }
    tree
}

/// A component of one section.
fn with_section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut component = wasm_encoder::Component::new();
    component.section(&wasm_encoder::RawSection { id, data: content });
    component.finish()
}

/// Runs `wasmhost` and expects it to end with the exit code, saying all of `says` on standard error.
/// `ROOT` stands for the tree's folder.
fn check(tree: &Tree, arguments: &[&str], exit: i32, says: &[&str]) {
    let root = tree.root().display().to_string();
    let mut command = wasmhost();
    command.args(arguments.iter().map(|argument| argument.replace("ROOT", &root)));
    check_output(&output(command).unwrap(), tree, exit, says);
}

/// A tree that everyone may read.
fn open_tree() -> Tree {
    let tree = tree(&[("wasmhost.toml", ""), ("shop/x.wat", LIBRARY)]);
    permit(tree.root(), 0o755);
    permit(&tree.path("wasmhost.toml"), 0o644);
    permit(&tree.path("shop/x.wat"), 0o644);
    tree
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Serves the tree as a user whom the modes of files hold back, which root is not.
fn unprivileged(tree: &Tree) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = wasmhost();
    command
        .arg("serve")
        .arg(tree.root())
        .args(["--listen", "127.0.0.1:0"]);
    if fs::metadata(tree.root()).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// False where some folder above is root's alone.
fn nobody_reaches_the_program() -> bool {
    let tree = open_tree();
    output(unprivileged(&tree)).is_ok_and(|output| output.status.code() == Some(INPUT))
}

/// What a program said that ended by itself. Errors: it could not be started.
fn output(mut command: Command) -> std::io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn()?;
    let pid = child.id().to_string();
    let (sender, ended) = channel();
    let waiting = std::thread::spawn(move || sender.send(child.wait_with_output()));
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
        let _ = waiting.join();
        panic!("{command:?} did not end by itself: {:?}", ended.recv());
    })
}

fn check_output(output: &Output, tree: &Tree, exit: i32, says: &[&str]) {
    let root = tree.root().display().to_string();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    for expected in says {
        assert!(
            said.contains(&expected.replace("ROOT", &root)),
            "no {expected:?} in:\n{said}"
        );
    }
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert_eq!(printed, "", "standard output is for events and reports");
    assert!(!said.contains("panicked"), "{said}");
}
