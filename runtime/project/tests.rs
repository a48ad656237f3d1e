//! Trees on disk and what is understood of them.

use std::{
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::symlink},
};

use tempfile::TempDir;

use super::*;

/// A tree of files: path and content.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        write(&root, path, content);
    }
    root
}

fn write(root: &TempDir, path: &str, content: &str) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(path, content).expect("a file");
}

fn discover(root: &TempDir) -> Project {
    Project::discover(root.path()).expect("a project")
}

/// `group: id id`, or `group! code file: message | help`, one line each.
fn shown(root: &TempDir) -> Vec<String> {
    let groups = discover(root).groups;
    groups
        .iter()
        .flat_map(|(name, group)| shown_group(root, name, group))
        .collect()
}

fn shown_group(root: &TempDir, name: &str, group: &Result<GroupSpec, Refusal>) -> Vec<String> {
    match group {
        Ok(group) => {
            assert_eq!(group.name, name);
            let ids: Vec<_> = group.components.keys().map(ComponentId::as_str).collect();
            vec![format!("{name}: {}", ids.join(" "))]
        }
        Err(refusal) => {
            assert!(!refusal.diagnostics.is_empty());
            refusal
                .diagnostics
                .iter()
                .map(|what| format!("{name}! {}", shown_diagnostic(root, what)))
                .collect()
        }
    }
}

fn shown_diagnostic(root: &TempDir, diagnostic: &Diagnostic) -> String {
    let text = diagnostic
        .to_string()
        .replace("\n  --> ", " @ ")
        .replace("\n  help: ", " | ");
    text.replace(&format!("{}/", root.path().display()), "")
        .replace(&root.path().display().to_string(), "ROOT")
}

fn check(files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(shown(&tree(files)), expected, "{files:?}");
}

fn check_err(root: &TempDir, path: &str, expected: &[&str]) {
    let path = if path.is_empty() {
        root.path().to_owned()
    } else {
        root.path().join(path)
    };
    let diagnostics = Project::discover(&path).expect_err("no project");
    let shown: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| shown_diagnostic(root, diagnostic))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn every_top_folder_is_a_group() {
    check(
        &[
            ("shop/screen/home.wasm", "1"),
            ("shop/layout/dark.wat", "2"),
            ("blog/index.wasm", "3"),
            ("index.wasm", "4"),
            ("README.md", ""),
            ("shop/Source Code/Main.rs", ""),
            ("shop/x.wasm/readme.txt", ""),
            ("empty/a.wasm.tmp", ""),
        ],
        &[
            "blog: blog.index",
            "root: index",
            "shop: shop.layout.dark shop.screen.home",
        ],
    );
    let root = tree(&[("shop/home.wat", "(component)")]);
    let project = discover(&root);
    assert_eq!(project.server, ServerSpec::default());
    let group = project.groups["shop"].as_ref().expect("a group");
    let component = group.components.values().next().expect("a component");
    assert_eq!(component.path, root.path().join("shop/home.wat"));
    assert_eq!(component.bytes().unwrap(), "(component)");
    assert_eq!(component.digest, Digest::of(b"(component)"));
    assert_eq!(
        (&group.limits, group.drain),
        (&Limits::default(), Duration::from_secs(30))
    );
}

#[test]
fn some_names_are_not_searched() {
    check(
        &[
            ("a/x.wasm", ""),
            ("a/target/y.wasm", ""),
            ("a/node_modules/b/y.wasm", ""),
            ("static/y.wasm", ""),
            (".git/y.wasm", ""),
            ("_old/y.wasm", ""),
            ("a/.y.wasm", ""),
            ("a/_Y.wasm", ""),
            ("a/static.wasm", ""),
        ],
        &["a: a.static a.x"],
    );
}

#[test]
fn names_that_are_no_ids_refuse_their_group_only() {
    const RULE: &str = "of a-z, 0-9, '-' and '_', and begins with a letter or a digit";
    let file = |shown: &str| {
        format!("the file name {shown:?} is not a component's: an id, which is {RULE}, then .wasm or .wat")
    };
    let folder = |shown: &str| format!("the folder name {shown:?} cannot be part of an id, which is {RULE}");
    check(
        &[
            ("good/x.wasm", ""),
            ("shop/My Page.wasm", ""),
            ("shop/v1.2.wasm", ""),
            ("shop/X.WASM", ""),
            ("shop/fine.wasm", ""),
            ("blog/Big.Folder/a.wasm", ""),
            ("blog/Big.Folder/b.wasm", ""),
            ("Top/deep/Ä.wat", ""),
        ],
        &[
            &format!(
                "Top! error[name-invalid]: {} @ Top | rename to \"top\"",
                folder("Top")
            ),
            &format!(
                "Top! error[name-invalid]: {} @ Top/deep/Ä.wat | rename to \"component.wat\"",
                file("Ä.wat")
            ),
            &format!(
                "blog! error[name-invalid]: {} @ blog/Big.Folder | rename to \"big-folder\"",
                folder("Big.Folder")
            ),
            "good: good.x",
            &format!(
                "shop! error[name-invalid]: {} @ shop/My Page.wasm | rename to \"my-page.wasm\"",
                file("My Page.wasm")
            ),
            &format!(
                "shop! error[name-invalid]: {} @ shop/X.WASM | rename to \"x.wasm\"",
                file("X.WASM")
            ),
            &format!(
                "shop! error[name-invalid]: {} @ shop/v1.2.wasm | rename to \"v1-2.wasm\"",
                file("v1.2.wasm")
            ),
        ],
    );
    let root = tree(&[("good/x.wasm", "")]);
    let not_utf8 = root
        .path()
        .join("shop")
        .join(std::ffi::OsStr::from_bytes(b"a\xff.wasm"));
    write(&root, "shop/x.wasm", "");
    fs::write(not_utf8, "").expect("a file");
    let expected = format!(
        "shop! error[name-invalid]: {} @ shop/a\u{fffd}.wasm | rename to \"a.wasm\"",
        file("a\u{fffd}.wasm")
    );
    assert_eq!(shown(&root), ["good: good.x", &expected]);
}

#[test]
fn two_files_of_one_id() {
    check(
        &[
            ("a/x.wasm", "1"),
            ("a/x.wat", "1"),
            ("b/y.wasm", "2"),
            (
                "wasmhost.toml",
                "[components.\"b.y\"]\npath = \"a/x.wasm\"\n[groups.a.routes]\n\"/\" = \"a.x\"",
            ),
            ("c/z.wasm", "3"),
        ],
        &[
            "a! error[id-duplicate]: component a.x has 2 files: a/x.wasm, a/x.wat @ a/x.wat | remove all but one",
            "b! error[id-duplicate]: component b.y has 2 files: b/y.wasm, a/x.wasm @ a/x.wasm | remove all but one",
            "c: c.z",
        ],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let root = tree(&[
        ("a/ok.wasm", ""),
        ("b/ok.wasm", ""),
        ("c/ok.wasm", ""),
        ("d/ok.wasm", ""),
    ]);
    let path = |path: &str| root.path().join(path);
    symlink("nowhere", path("a/dangling.wasm")).expect("a link");
    symlink("self.wasm", path("a/self.wasm")).expect("a link");
    symlink("nowhere", path("b/dangling")).expect("a link");
    make_pipe(&path("c/pipe.wasm"));
    let large = File::create(path("d/large.wasm")).expect("a file");
    large
        .set_len(DiscoveryLimits::DEFAULT.file + 1)
        .expect("a sparse file");
    assert_eq!(
        shown(&root),
        [
            "a! error[file-unreadable]: cannot read a/dangling.wasm: No such file or directory (os error 2) @ a/dangling.wasm",
            "a! error[file-unreadable]: cannot read a/self.wasm: Too many levels of symbolic links (os error 40) @ a/self.wasm",
            "b: b.ok",
            "c! error[file-unreadable]: c/pipe.wasm is not a regular file @ c/pipe.wasm",
            "d! error[file-too-large]: d/large.wasm is larger than 256.0 MiB, the most for a component @ d/large.wasm",
        ]
    );
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
}

#[test]
fn links_are_followed_but_not_in_circles() {
    let root = tree(&[("a/ok.wasm", ""), ("b/deep/ok.wasm", "")]);
    let path = |path: &str| root.path().join(path);
    symlink(path("b/deep"), path("a/linked")).expect("a link");
    symlink("ok.wasm", path("a/link.wasm")).expect("a link");
    symlink(path("b"), path("b/deep/up")).expect("a link");
    symlink("..", path("b/_up")).expect("a link");
    assert_eq!(
        shown(&root),
        [
            "a! error[symlink-loop]: a/linked/up/deep/up is a link to a/linked/up, in which it lies: a loop @ a/linked/up/deep/up | remove the link",
            "b! error[symlink-loop]: b/deep/up is a link to b, in which it lies: a loop @ b/deep/up | remove the link",
        ]
    );
}

#[test]
fn a_file_that_vanishes_is_not_there() {
    let root = tree(&[]);
    assert!(tree::read_component(&root.path().join("gone.wasm"), 1).is_none());
    write(&root, "there.wasm", "12");
    let read = |limit| tree::read_component(&root.path().join("there.wasm"), limit).expect("there");
    assert_eq!(read(2).expect("read"), "12");
    assert_eq!(read(1).expect_err("too large").code, "file-too-large");
}

#[test]
fn limits_of_the_tree() {
    let root = tree(&[("a/b/c.wasm", ""), ("a/d.wasm", "")]);
    let discover = |limits: DiscoveryLimits| match discover::discover(
        &Location::of(root.path()),
        &limits,
        &Known::default(),
    ) {
        Ok(project) => project
            .groups
            .iter()
            .flat_map(|(name, group)| shown_group(&root, name, group))
            .collect(),
        Err(diagnostics) => vec![shown_diagnostic(&root, &diagnostics[0])],
    };
    let limits = DiscoveryLimits {
        depth: 2,
        components: 2,
        entries: 4,
        ..DiscoveryLimits::DEFAULT
    };
    assert_eq!(discover(limits.clone()), ["a: a.b.c a.d"]);
    assert_eq!(
        discover(DiscoveryLimits {
            depth: 1,
            ..limits.clone()
        }),
        ["a! error[folder-too-deep]: a/b lies below more than 1 folders @ a/b"]
    );
    const HELP: &str = "serve a folder that holds components only; symbolic links are followed";
    assert_eq!(
        discover(DiscoveryLimits {
            components: 1,
            ..limits.clone()
        }),
        [format!(
            "error[tree-too-large]: ROOT has more than 1 components @ ROOT | {HELP}"
        )]
    );
    assert_eq!(
        discover(DiscoveryLimits {
            entries: 3,
            ..limits.clone()
        }),
        [format!(
            "error[tree-too-large]: ROOT has more than 3 files and folders @ ROOT | {HELP}"
        )]
    );
    write(&root, "a/d.wasm", "12345");
    write(&root, "a/b/c.wasm", "12345");
    let within = DiscoveryLimits { total: 10, ..limits };
    assert_eq!(discover(within.clone()), ["a: a.b.c a.d"]);
    assert_eq!(
        discover(DiscoveryLimits { total: 9, ..within }),
        [format!(
            "error[tree-too-large]: ROOT has more than 9 B of components, all together @ ROOT | {HELP}"
        )]
    );
}

#[test]
fn text_has_a_limit_of_its_own() {
    let root = tree(&[("a/text.wat", "(component)"), ("a/binary.wasm", "(component)")]);
    let limits = DiscoveryLimits {
        text: 10,
        ..DiscoveryLimits::DEFAULT
    };
    let project =
        discover::discover(&Location::of(root.path()), &limits, &Known::default()).expect("a project");
    assert_eq!(
        shown_group(&root, "a", &project.groups["a"]),
        [
            "a! error[file-too-large]: a/text.wat is larger than 10 B, the most for component text @ a/text.wat"
        ]
    );
}

#[test]
fn a_namespace_without_components_is_a_warning() {
    let root = tree(&[
        ("shop/home.wasm", ""),
        ("shop/screen/x.wasm", ""),
        (
            "wasmhost.toml",
            "[groups.shpo]\n[groups.shop]\nnamespaces = [\"shop\", \"shop.scren\", \"shop.screen\"]",
        ),
    ]);
    let project = discover(&root);
    assert!(project.groups["shop"].is_ok());
    let warnings: Vec<_> = project
        .warnings
        .iter()
        .map(|warning| shown_diagnostic(&root, warning))
        .collect();
    assert_eq!(
        warnings,
        [
            "warning[namespace-empty]: no component lies in the namespace \"shpo\" of the group shpo @ wasmhost.toml:1:9 | did you mean shop?",
            "warning[namespace-empty]: no component lies in the namespace \"shop.scren\" of the group shop @ wasmhost.toml:3:23 | did you mean shop.screen?",
        ]
    );
}

#[test]
fn namespaces_group_otherwise() {
    check(
        &[
            ("shop/x.wasm", ""),
            ("blog/screen/y.wasm", ""),
            ("blog/screen/deep/z.wasm", ""),
            ("blog/other.wasm", ""),
            ("top.wasm", ""),
            ("root/x.wasm", ""),
            (
                "wasmhost.toml",
                "[groups.shop]\nnamespaces = [\"shop\", \"blog.screen\"]\n[groups.deep]\nnamespaces = [\"blog.screen.deep\"]\n[groups.nobody]",
            ),
        ],
        &[
            "blog: blog.other",
            "deep: blog.screen.deep.z",
            "root: root.x top",
            "shop: blog.screen.y shop.x",
        ],
    );
    check(
        &[
            ("shop/screen/x.wasm", ""),
            ("shop/left/y.wasm", ""),
            ("shop/left/z.wasm", ""),
            (
                "wasmhost.toml",
                "[groups.shop]\nnamespaces = [\"shop.screen\", \"b\"]",
            ),
        ],
        &[
            "shop! error[namespace-unclaimed]: namespace \"shop.left\" belongs to no group: its folder would form the group shop, whose namespaces are \"shop.screen\", \"b\" @ wasmhost.toml:2:14 | add \"shop.left\" to the namespaces of shop or of another group",
        ],
    );
}

#[test]
fn routes_and_wire_name_components_of_their_group() {
    let manifest = r#"[groups.shop.routes]
"/" = "shop.hom"
"/b" = "blog.x"
"/c" = "nothing.like.it"
[groups.shop.wire]
"shop.away" = { "shop:theme/page" = "shop.home" }
"shop.home" = { "shop:theme/page" = "blog.x" }
[groups.nobody.routes]
"/n" = "nobody.x"
"#;
    check(
        &[
            ("shop/home.wasm", ""),
            ("blog/x.wasm", ""),
            ("wasmhost.toml", manifest),
        ],
        &[
            "blog: blog.x",
            "shop! error[route-unknown-component]: route \"/\" of group shop names shop.hom, which is not there @ wasmhost.toml:2:7 | did you mean shop.home?",
            "shop! error[route-unknown-component]: route \"/b\" of group shop names blog.x, which is in group blog @ wasmhost.toml:3:8 | components of one group only can be named here",
            "shop! error[route-unknown-component]: route \"/c\" of group shop names nothing.like.it, which is not there @ wasmhost.toml:4:8 | in the group: shop.home",
            "shop! error[wire-unknown-component]: the wire of \"shop:theme/page\" of group shop names shop.away, which is not there @ wasmhost.toml:6:1 | in the group: shop.home",
            "shop! error[wire-unknown-component]: the wire of \"shop:theme/page\" of group shop names blog.x, which is in group blog @ wasmhost.toml:7:37 | components of one group only can be named here",
        ],
    );
    let root = tree(&[
        ("shop/home.wasm", ""),
        ("shop/dark.wasm", ""),
        (
            "wasmhost.toml",
            "[groups.shop]\nroutes = { \"/\" = \"shop.home\" }\n[groups.shop.wire]\n\"shop.home\" = { \"shop:theme/page\" = \"shop.dark\" }",
        ),
    ]);
    let project = discover(&root);
    let group = project.groups["shop"].as_ref().expect("a group");
    assert_eq!(group.routes.len(), 1);
    assert_eq!(group.routes[0].pattern, "/");
    let wire = &group.wire[&group.routes[0].component];
    assert_eq!(wire["shop:theme/page"].as_str(), "shop.dark");
}

#[test]
fn components_that_are_built_elsewhere() {
    let manifest = "[components.\"shop.far\"]\npath = \"target/far.wasm\"\n[components.\"new.one\"]\npath = \"gone.wasm\"";
    let root = tree(&[
        ("shop/x.wasm", ""),
        ("target/far.wasm", "far"),
        ("wasmhost.toml", manifest),
    ]);
    assert_eq!(
        shown(&root),
        [
            "new! error[file-unreadable]: cannot read gone.wasm: No such file or directory (os error 2) @ gone.wasm | it is the path of [components.\"new.one\"]: build it, or correct the path",
            "shop: shop.far shop.x",
        ]
    );
    let elsewhere: Vec<_> = discover(&root).elsewhere.into_values().collect();
    assert_eq!(
        elsewhere,
        [root.path().join("gone.wasm"), root.path().join("target/far.wasm")]
    );
}

#[test]
fn nothing_can_be_understood() {
    const HELP: &str = "name the folder that holds your components: wasmhost serve ROOT";
    const EMPTY: &str = "error[root-empty]: no component under ROOT: every folder was searched for .wasm and .wat files, but for target, node_modules, static and names that begin with . or _ @ ROOT | build the components (wasmhost build), or name one that is built elsewhere in wasmhost.toml";
    let root = tree(&[("file", ""), ("target/x.wasm", "")]);
    check_err(&root, "", &[EMPTY]);
    check_err(
        &root,
        "nope",
        &[&format!(
            "error[root-missing]: the root nope does not exist @ nope | {HELP}"
        )],
    );
    check_err(
        &root,
        "file",
        &[&format!(
            "error[root-not-a-folder]: the root file is not a folder @ file | {HELP}"
        )],
    );
    write(&root, "wasmhost.toml", "a = 1\nb = 2");
    write(&root, "A/b.wasm", "");
    check_err(
        &root,
        "",
        &[
            "error[manifest-unknown-key]: unknown key a @ wasmhost.toml:1:1 | known: server, groups, components",
            "error[manifest-unknown-key]: unknown key b @ wasmhost.toml:2:1 | known: server, groups, components",
            "error[name-invalid]: the folder name \"A\" cannot be part of an id, which is of a-z, 0-9, '-' and '_', and begins with a letter or a digit @ A | rename to \"a\"",
        ],
    );
}

#[test]
fn manifests_that_cannot_be_read() {
    let root = tree(&[("a/b.wasm", "")]);
    let manifest = root.path().join(MANIFEST);
    fs::write(&manifest, b"# ok\n# \xff").expect("a file");
    check_err(
        &root,
        "",
        &["error[manifest-syntax]: the manifest is not UTF-8 text @ wasmhost.toml:2:3"],
    );
    let large = "#".repeat(1 << 20) + "#";
    fs::write(&manifest, large).expect("a file");
    check_err(
        &root,
        "",
        &[
            "error[manifest-unreadable]: the manifest wasmhost.toml cannot be read: it has more than 1048576 bytes @ wasmhost.toml",
        ],
    );
    fs::remove_file(&manifest).expect("removed");
    symlink("nowhere", &manifest).expect("a link");
    check_err(
        &root,
        "",
        &[
            "error[manifest-unreadable]: cannot read the manifest wasmhost.toml: No such file or directory (os error 2) @ wasmhost.toml",
        ],
    );
    fs::remove_file(&manifest).expect("removed");
    fs::create_dir(&manifest).expect("a folder");
    check_err(
        &root,
        "",
        &[
            "error[manifest-unreadable]: the manifest wasmhost.toml cannot be read: it is not a regular file @ wasmhost.toml",
        ],
    );
}

#[test]
fn digests_follow_content_only() {
    let root = tree(&[("a/x.wasm", "1"), ("a/x2.wasm", "2"), ("b/y.wasm", "3")]);
    let digest = |group: &str| match &discover(&root).groups[group] {
        Ok(group) => group.digest,
        Err(refusal) => refusal.digest,
    };
    let before = ["a", "b"].map(digest);
    File::options()
        .write(true)
        .open(root.path().join("a/x.wasm"))
        .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
        .expect("touched");
    write(
        &root,
        "wasmhost.toml",
        "# a comment\n[groups.a]\n[server]\nlisten = [\"127.0.0.1:1\"]",
    );
    assert_eq!(["a", "b"].map(digest), before);
    write(&root, "a/x.wasm", "4");
    let changed = digest("a");
    assert!(changed != before[0] && digest("b") == before[1]);
    write(&root, "a/x.wat", "4");
    let refused = digest("a");
    assert_eq!(refused, digest("a"), "the same refusal twice");
    write(&root, "a/x2.wasm", "5");
    assert_ne!(refused, digest("a"), "other content is refused anew");
}
