//! A golden text for every diagnostic that `check` can print, and a test that there is none without.

use std::{collections::BTreeSet, fs, path::Path};

use super::{check, page, run, tree};
use crate::{
    linking::wat,
    support::{Tree, golden, goldens, guests, wasmhost, wit},
};

const COUNT: (&str, &str) = ("cart", "count: func() -> u32;");
const TRAPS_AT_START: &str = "(component
    (core module $m (func $f unreachable) (start $f)) (core instance (instantiate $m)))";

#[test]
fn files_that_are_no_components() {
    let good = page();
    let tree = tree(&[
        ("cut/index.wasm", &good[..good.len() / 2]),
        ("core/index.wasm", b"\0asm\x01\0\0\0"),
        ("text/index.wat", b"(component (core module (func unreachable"),
        ("html/index.wasm", b"<!DOCTYPE html>"),
        ("empty/index.wasm", b""),
        ("good/index.wasm", &good),
    ]);
    fs::File::create(tree.path("good/large.wasm"))
        .unwrap()
        .set_len(300 << 20)
        .unwrap();
    check("files", &tree, 1);
}

#[test]
fn components_of_too_many_parts() {
    let many = |part: &str, count: usize| format!("(component {})", part.repeat(count));
    let imports: String = (0..=1000).map(|n| format!("(import \"f{n}\" (func))")).collect();
    let nested = "(component ".repeat(40) + &")".repeat(40);
    let tree = tree(&[
        ("modules/index.wat", many("(core module)", 501).as_bytes()),
        ("imports/index.wat", format!("(component {imports})").as_bytes()),
        ("nested/index.wat", nested.as_bytes()),
        ("good/index.wasm", &page()),
    ]);
    check("too-large", &tree, 1);
}

#[test]
fn places_that_are_no_trees() {
    let at = |name: &str, root: &Path| {
        let (report, _) = run(&["check", root.to_str().unwrap()], root, 1);
        golden(&format!("check-{name}"), &report);
    };
    let empty = Tree::empty();
    at("root-empty", empty.root());
    at("root-missing", &empty.path("missing"));
    empty.put("file", "");
    at("root-not-a-folder", &empty.path("file"));
}

#[test]
fn names_links_and_depths() {
    let good = page();
    let tree = tree(&[
        ("shop/Home Page.wasm", &good),
        ("My Shop/index.wasm", &good),
        ("blog/index.wasm", &good),
        ("blog/index.wat", b"(component)"),
        (&format!("deep/{}index.wasm", "a/".repeat(20)), &good),
        ("loop/index.wasm", &good),
    ]);
    std::os::unix::fs::symlink(tree.path("loop"), tree.path("loop/again")).unwrap();
    check("names", &tree, 1);
}

#[test]
fn more_components_than_a_tree_may_have() {
    let tree = Tree::empty();
    for number in 0..=10_000 {
        fs::write(tree.path(format!("c{number}.wasm")), "").unwrap();
    }
    check("tree-too-large", &tree, 1);
}

#[test]
fn a_manifest_with_mistakes() {
    let manifest = |name: &str, text: &str| {
        let good = page();
        let tree = tree(&[("wasmhost.toml", text.as_bytes()), ("shop/home.wasm", &good)]);
        check(&format!("manifest-{name}"), &tree, 1);
    };
    manifest("syntax", "[groups.shop\n");
    manifest(
        "keys-and-values",
        "[server]\nlisten = [\"nowhere\"]\n[groups.shop]\nroutez = {}\nstate = \"stale\"\n\
         [groups.shop.limits]\nmemory = \"much\"\nmemroy = 1\n[groups.shop.routes]\n\"cart\" = \"shop.home\"\n",
    );
    manifest(
        "grants",
        "[groups.shop.grants]\nhttp = [\"api.example.com\", \"https://api.example.com/v1\", \"http://localhost:9000\"]\n\
         htp = []\nenv = { LANG = 1, \"A=B\" = \"\" }\nconfig = \"hello\"\n\
         directories = [{ host = \"data\" }, { host = \"data\", guest = \"data\" }, { host = \"\", guest = \"/x\", mode = \"rw\" }]\n",
    );
    manifest(
        "directories",
        "[groups.shop.grants]\ndirectories = [{ host = \"data\", guest = \"/data\" }, { host = \"shop/home.wasm\", guest = \"/home\" }]\n",
    );
    manifest(
        "secrets",
        "[groups.shop.grants]\nenv = { A = { file = \"secrets/a\" }, B = { env = \"NO_SUCH_VARIABLE_IS_SET\" }, C = { fil = \"c\" } }\n\
         config = { d = { file = \"d\", env = \"D\" } }\n",
    );
    manifest(
        "probation",
        "[groups.shop.swap]\nprobation = { requests = 1, traps = 2 }\n",
    );
    manifest(
        "not-shared",
        "[groups.shop]\ninstances = \"isolated\"\nstate = \"migrate\"\n",
    );
    manifest("not-handed-over", "[groups.shop]\ncheckpoint = \"30s\"\n");
    manifest(
        "unknown-components",
        "[groups.shop.routes]\n\"/\" = \"shop.hom\"\n[groups.shop.wire]\n\"shop.home\" = { \"a:b/c\" = \"shop.theme\" }\n",
    );
    manifest(
        "server",
        "[server]\nlisten = [\"https://127.0.0.1:1\", \"unix:\"]\n[server.limits]\nidle-time = \"1ms\"\nconections = 1\n",
    );
    manifest(
        "route-conflicts",
        "[groups.shop.routes]\n\"/items/{id}\" = \"shop.home\"\n\"/items/{name}\" = \"shop.home\"\n\
         \"/items/{*rest}\" = \"shop.home\"\n\"/items/new\" = \"shop.home\"\n\"/items/v{id}\" = \"shop.home\"\n\
         \"/files/{*path}\" = \"shop.home\"\n\"/files/{name}\" = \"shop.home\"\n\"/files/{*all}/x\" = \"shop.home\"\n\
         [groups.blog.routes]\n\"/items/{id}\" = \"blog.home\"\n",
    );
    manifest("unclaimed", "[groups.shop]\nnamespaces = [\"shop.screen\"]\n");
    let tree = tree(&[("wasmhost.toml/x", b""), ("shop/home.wasm", &page())]);
    check("manifest-unreadable", &tree, 1);
}

#[test]
fn a_component_that_is_built_elsewhere_and_is_not_there() {
    let manifest = "[components.\"shop.home\"]\npath = \"missing/home.wasm\"\n";
    check(
        "elsewhere",
        &tree(&[
            ("wasmhost.toml", manifest.as_bytes()),
            ("shop/cart.wasm", &page()),
        ]),
        1,
    );
}

#[test]
fn a_certificate_that_is_none() {
    let manifest = "[server]\nlisten = [\"https://127.0.0.1:1\"]\n[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let check = |name: &str, files: &[(&str, &[u8])]| {
        let good = page();
        let files = [
            files,
            &[("wasmhost.toml", manifest.as_bytes()), ("shop/home.wasm", &good)],
        ]
        .concat();
        check(name, &tree(&files), 1);
    };
    check("certificate-unreadable", &[]);
    check("certificate-invalid", &[("cert.pem", b"mine"), ("key.pem", b"")]);
}

#[test]
fn imports_that_nobody_satisfies() {
    let tree = tree(&[
        ("shop/home.wasm", &wit::page(&[COUNT])),
        (
            "shop/other.wat",
            br#"(component (import "wasi:nn/graph@0.2.0" (instance (export "f" (func)))))"#,
        ),
        ("blog/cart.wasm", &wit::library(&[COUNT])),
        ("blog/index.wasm", &page()),
    ]);
    check("import-missing", &tree, 1);
}

/// Another group is a hint as far as it can be read, whatever else is wrong with it.
#[test]
fn an_import_that_a_torn_group_exports() {
    let tree = tree(&[
        ("shop/home.wasm", &wit::page(&[COUNT])),
        ("blog/cart.wasm", &wit::library(&[COUNT])),
        ("blog/torn.wasm", &page()[..100]),
    ]);
    fs::File::create(tree.path("blog/large.wasm"))
        .unwrap()
        .set_len(300 << 20)
        .unwrap();
    check("import-of-torn-group", &tree, 1);
}

#[test]
fn two_exporters_and_a_circle() {
    let between = |imports: &str, exports: &str| {
        let interfaces = ["a", "b"]
            .map(|name| format!("interface {name} {{ f: func(); }}"))
            .join("\n");
        wit::shop(&interfaces, &format!("import {imports}; export {exports};"))
    };
    let tree = tree(&[
        ("shop/home.wasm", &wit::page(&[COUNT])),
        ("shop/cart.wasm", &wit::library(&[COUNT])),
        ("shop/basket.wasm", &wit::library(&[COUNT])),
        ("round/one.wasm", &between("a", "b")),
        ("round/two.wasm", &between("b", "a")),
    ]);
    check("ambiguous-and-circle", &tree, 1);
}

/// One round of corrections is enough, whatever is wrong.
#[test]
fn all_kinds_of_faults_in_one_group() {
    let manifest = "[groups.shop]\nroutez = 1\n[groups.shop.wire]\n\"shop.deaf\" = { \"site:shop/cart\" = \"shop.torn\" }\n";
    let library = |imports: &str, exports: &str, of: &str| {
        let interfaces = ["a", "b", "c", "d"]
            .map(|name| format!("interface {name} {{ f: func({of}); }}"))
            .join("\n");
        wit::shop(&interfaces, &format!("import {imports}; export {exports};"))
    };
    let tree = tree(&[
        ("wasmhost.toml", manifest.as_bytes()),
        ("shop/torn.wasm", &page()[..100]),
        ("shop/text.wat", b"(component"),
        ("shop/home.wasm", &wit::page(&[COUNT])),
        ("shop/one.wasm", &library("a", "b", "")),
        ("shop/two.wasm", &library("b", "a", "")),
        ("shop/three.wasm", &library("c", "d", "x: u32")),
        ("shop/four.wasm", &library("d", "c", "x: string")),
        ("shop/deaf.wasm", &wit::importer(&[COUNT])),
        ("shop/theme.wasm", &wit::library(&[("theme", "f: func();")])),
        (
            "shop/dark.wasm",
            &wit::importer(&[("theme", "f: func() -> u32;")]),
        ),
    ]);
    fs::create_dir(tree.path("shop/gone")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.path("shop/gone/link.wasm")).unwrap();
    check("all-at-once", &tree, 1);
}

/// What a manifest says that cannot be parsed to its end is taken as far as it goes.
#[test]
fn a_manifest_that_cannot_be_parsed_hides_nothing_else() {
    let tree = tree(&[
        (
            "wasmhost.toml",
            b"[groups.shop]\nnamespaces = [\"shop\", \"parts\"]\n[server\n",
        ),
        ("shop/home.wasm", &wit::page(&[COUNT, ("theme", "f: func();")])),
        ("parts/cart.wasm", &wit::library(&[COUNT])),
        ("parts/torn.wasm", &page()[..100]),
    ]);
    check("all-at-once-syntax", &tree, 1);
}

/// Who only takes types from another one does not wait for it.
#[test]
fn a_circle_that_only_types_close_is_none() {
    let interfaces = "interface types { record line { product: string } } \
                      interface cart { use types.{line}; lines: func() -> list<line>; } \
                      interface total { use types.{line}; total: func(lines: list<line>) -> u32; }";
    let tree = tree(&[
        (
            "shop/cart.wasm",
            &wit::shop(interfaces, "export types; export cart; import total;"),
        ),
        (
            "shop/total.wasm",
            &wit::shop(interfaces, "import types; export total;"),
        ),
        (
            "shop/home.wasm",
            &wit::shop(interfaces, "import cart; export wasmhost:page/handler@0.1.0;"),
        ),
    ]);
    check("circle-of-types", &tree, 0);
}

#[test]
fn groups_of_the_manifest_without_components() {
    let manifest = "[groups.shopp.limits]\nmemory = \"1MiB\"\n[groups.shopp.routes]\n\"/\" = \"shop.nonexistent\"\n\
                    [groups.blog]\nnamespaces = [\"blog\", \"shop.nowhere\"]\n[groups.root]\n[groups.other]\n";
    let tree = tree(&[
        ("wasmhost.toml", manifest.as_bytes()),
        ("shop/home.wasm", &page()),
        ("blog/index.wasm", &page()),
    ]);
    check("namespace-empty", &tree, 0);
}

#[test]
fn a_page_that_wraps_nobody() {
    let handler = "import wasmhost:page/handler@0.1.0; export wasmhost:page/handler@0.1.0;";
    let old = "package old:shop; world it { export site:shop/cart@0.1.0; } \
               package site:shop@0.1.0 { interface cart { count: func() -> u32; } }";
    let new = wit::component(
        "package new:shop; world it { import site:shop/cart@0.2.0; } \
         package site:shop@0.2.0 { interface cart { count: func() -> u32; } }",
    );
    let tree = tree(&[
        ("mid/mid.wasm", &wit::shop("", handler)),
        ("shop/old.wasm", &wit::component(old)),
        ("shop/new.wasm", &new),
    ]);
    check("other-version", &tree, 1);
}

/// Who lacks something of the host, and who does not: the import of another is wired to a member.
#[test]
fn an_import_that_the_host_has_otherwise() {
    let random = |direction: &str, more: &str| {
        let text = format!(
            "package site:shop; world it {{ {direction} wasi:random/random@0.2.0; {more} }} \
             package wasi:random@0.2.0 {{ interface random {{ roll: func() -> u32; }} }}"
        );
        wit::component(&text)
    };
    let graph = |direction: &str, more: &str| {
        let text = format!(
            "package site:shop; world it {{ {direction} wasi:nn/graph@0.2.0; {more} }} \
             package wasi:nn@0.2.0 {{ interface graph {{ load: func() -> u32; }} }}"
        );
        wit::component(&text)
    };
    let page = "export wasmhost:page/handler@0.1.0;";
    let tree = tree(&[
        (
            "wasmhost.toml",
            b"[groups.shop.wire]\n\"shop.wired\" = { \"wasi:random/random\" = \"shop.dice\" }\n",
        ),
        ("shop/dice.wasm", &random("export", "")),
        ("shop/wired.wasm", &random("import", page)),
        ("shop/home.wasm", &random("import", page)),
        ("brain/home.wasm", &graph("import", page)),
        ("brain/graph.wasm", &graph("export", "")),
    ]);
    check("host-mismatch", &tree, 1);
}

#[test]
fn what_does_not_fit_outside_of_the_group_with_what_does_not_inside() {
    let outside = |random: &str, clock: &str| {
        wit::component(&format!(
            "package site:shop; world it {{ import wasi:random/random@0.2.0; import wasi:clocks/wall-clock@0.2.0; \
             export wasmhost:page/handler@0.1.0; }} \
             package wasi:random@0.2.0 {{ interface random {{ {random} }} }} \
             package wasi:clocks@0.2.0 {{ interface wall-clock {{ {clock} }} }}"
        ))
    };
    let record = wat::types_importer;
    let tree = tree(&[
        ("shop/cart.wasm", &wit::library(&[COUNT])),
        (
            "shop/home.wasm",
            &wit::page(&[("cart", "count: func(of: string) -> u32;")]),
        ),
        ("shop/item.wasm", &wit::page(&[("theme", "f: func();")])),
        (
            "shop/dice.wasm",
            &outside("roll: func() -> u32;", "tick: func();"),
        ),
        (
            "shop/slots.wasm",
            &outside("get-random-u64: func() -> u64;", "tock: func();"),
        ),
        ("shop/one.wat", record("u32").as_bytes()),
        ("shop/two.wat", record("u64").as_bytes()),
        ("shop/six.wat", record("string").as_bytes()),
        ("shop/bomb.wat", TRAPS_AT_START.as_bytes()),
        ("shop/mine.wat", TRAPS_AT_START.as_bytes()),
        ("shop/good.wasm", &page()),
    ]);
    check("outside-and-inside", &tree, 1);
}

#[test]
fn functions_by_themselves_that_do_not_match() {
    let page = "export wasmhost:page/handler@0.1.0;";
    let tree = tree(&[
        (
            "shop/cart.wasm",
            &wit::shop("", "export count: func(of: u32) -> u32;"),
        ),
        (
            "shop/home.wasm",
            &wit::shop("", &format!("import count: func(of: string) -> u32; {page}")),
        ),
    ]);
    check("mismatch-of-functions", &tree, 1);
}

#[test]
fn wires_that_lead_nowhere() {
    let manifest = "[groups.shop.wire]\n\"shop.home\" = { \"site:shop/cart\" = \"shop.theme\", \"a:b/c\" = \"shop.theme\",\n\
                    \"site:shop/cartt\" = \"shop.theme\" }\n\"shop.theme\" = { \"a:b/c\" = \"shop.home\" }\n";
    let tree = tree(&[
        ("wasmhost.toml", manifest.as_bytes()),
        ("shop/home.wasm", &wit::page(&[COUNT])),
        ("shop/cart.wasm", &wit::library(&[COUNT])),
        ("shop/theme.wasm", &wit::library(&[("theme", "f: func();")])),
    ]);
    check("wires", &tree, 1);
}

/// What the two sides of an import can disagree about, each in a component of its own.
#[test]
fn types_that_do_not_match() {
    const LAYOUT: &str = "
        record link { label: string, href: string }
        variant badge { count(u32), good(string) }
        enum tone { light, dark }
        flags marks { bold, wide }
        type size = tuple<u32, u32>;
        resource page { constructor(title: string); render: func(wide: bool) -> string; }
        draw: func(link: link, tone: tone) -> result<string, badge>;
        resize: func(page: borrow<page>, to: size, marks: marks);";
    let files = [
        (
            "field-order",
            "label: string, href: string",
            "href: string, label: string",
        ),
        ("field-more", "href: string }", "href: string, current: bool }"),
        ("case", "good(string)", "good(list<string>)"),
        ("case-less", "{ count(u32), good(string) }", "{ count(u32) }"),
        ("enum", "light, dark", "dark, light"),
        ("flags", "bold, wide", "bold, wide, thin"),
        ("alias", "tuple<u32, u32>", "tuple<u32, u64>"),
        ("param-type", "tone: tone)", "tone: string)"),
        ("param-name", "draw: func(link: link", "draw: func(to: link"),
        ("param-count", "render: func(wide: bool)", "render: func()"),
        (
            "method-param",
            "render: func(wide: bool)",
            "render: func(wide: u32)",
        ),
        (
            "constructor",
            "constructor(title: string)",
            "constructor(title: string, wide: bool)",
        ),
        ("result", "-> result<string, badge>", "-> result<string, string>"),
        ("no-result", " -> result<string, badge>", ""),
        ("function", "resize: func(", "stretch: func("),
        ("kind", "enum tone { light, dark }", "resource tone;"),
    ];
    let tree = tree(&[
        ("shop/frame.wasm", &wit::library(&[("layout", LAYOUT)])),
        ("shop/home.wasm", &wit::page(&[("layout", LAYOUT)])),
    ]);
    for (name, from, to) in files {
        assert!(LAYOUT.contains(from), "{from}");
        tree.put(
            format!("shop/{name}.wasm"),
            wit::importer(&[("layout", &LAYOUT.replace(from, to))]),
        );
    }
    check("mismatch", &tree, 1);
}

/// A type that an interface only uses is compared where it is used, too.
#[test]
fn a_used_type_that_does_not_match() {
    let shop = |link: &str, world: &str| {
        let interfaces = format!(
            "interface layout {{ record link {{ {link} }} resource page {{ add: func(link: link); }} }}
             interface navigation {{ use layout.{{link, page}}; draw: func(page: borrow<page>) -> list<link>; }}"
        );
        wit::shop(&interfaces, world)
    };
    let (old, new) = ("label: string, href: string", "href: string, label: string");
    let page = "import layout; import navigation; export wasmhost:page/handler@0.1.0;";
    let tree = tree(&[
        ("shop/frame.wasm", &shop(new, "export layout;")),
        ("shop/menu.wasm", &shop(old, "import layout; export navigation;")),
        ("shop/home.wasm", &shop(old, page)),
    ]);
    check("mismatch-of-used-types", &tree, 1);
}

#[test]
fn a_component_for_another_version_of_the_host() {
    let handler = |version: &str| {
        wit::component(&format!(
            "package site:shop;
             world it {{ export wasmhost:page/handler@{version}; import wasmhost:cache/store@0.1.0; }}
             package wasmhost:page@{version} {{ interface handler {{ handle: func(); }} }}
             package wasmhost:cache@0.1.0 {{ interface store {{ get: func() -> u32; }} }}"
        ))
    };
    check(
        "host-version",
        &tree(&[
            ("shop/home.wasm", &handler("0.2.0")),
            ("blog/index.wasm", &page()),
        ]),
        1,
    );
}

#[test]
fn components_that_do_not_start() {
    let start = |body: &str| {
        format!("(component (core module $m (func $f {body}) (start $f)) (core instance (instantiate $m)))")
    };
    let tree = tree(&[
        ("wasmhost.toml", b"[groups.slow.limits]\nstart-time = \"50ms\"\n"),
        ("broken/index.wat", start("unreachable").as_bytes()),
        ("slow/index.wat", start("(loop br 0)").as_bytes()),
        (
            "large/index.wat",
            b"(component (core module $m (memory 2000)) (core instance (instantiate $m)))",
        ),
        (
            "odd/index.wat",
            br#"(component
                (core module $m (func (export "handle") (result i32) (i32.const 7)))
                (core instance $m (instantiate $m))
                (func $handle (result u32) (canon lift (core func $m "handle")))
                (instance $handler (export "handle" (func $handle)))
                (export "wasmhost:page/handler@0.1.0" (instance $handler)))"#,
        ),
    ]);
    check("start", &tree, 1);
}

#[test]
fn a_tree_without_a_page() {
    check(
        "page-missing",
        &tree(&[("shop/cart.wasm", &wit::library(&[COUNT]))]),
        1,
    );
}

/// All of this is served, but hardly as it was meant.
#[test]
fn warnings() {
    let interfaces = "interface a { f: func(); } interface b { f: func(); }";
    let manifest = "[groups.shop.routes]\n\"/shop/item\" = \"shop.home\"\n\"/cart\" = \"shop.cart\"\n";
    let tree = tree(&[
        ("wasmhost.toml", manifest.as_bytes()),
        ("shop.wasm", &page()),
        ("shop/index.wasm", &page()),
        ("shop/item.wasm", &page()),
        ("shop/home.wasm", &wit::page(&[COUNT])),
        ("shop/cart.wasm", &wit::library(&[COUNT])),
        ("shop/old.wasm", &wit::shop(interfaces, "import a;")),
        ("shop/older.wasm", &wit::shop(interfaces, "export a;")),
        ("shop/unused.wasm", &wit::library(&[("b", "f: func();")])),
        ("parts/cart.wasm", &wit::library(&[COUNT])),
    ]);
    check("warnings", &tree, 0);
}

#[test]
fn static_files_that_cannot_be_served() {
    let manifest = "[groups.site]\nnamespaces = [\"shop\", \"blog\"]\n[groups.large.limits]\nstatic = \"1KiB\"\n\
                    [groups.taken.routes]\n\"/taken/static/{*path}\" = \"taken.index\"\n";
    let tree = tree(&[
        ("wasmhost.toml", manifest.as_bytes()),
        ("shop/index.wasm", &page()),
        ("shop/static/site.css", b"1"),
        ("blog/static/site.css", b"2"),
        ("blog/static/back\\slash.css", b""),
        ("large/index.wasm", &page()),
        ("large/static/a.css", &[b'a'; 600]),
        ("large/static/b.css", &[b'b'; 600]),
        ("links/index.wasm", &page()),
        ("links/static/site.css", b""),
        ("nobody/static/site.css", b""),
        ("taken/index.wasm", &page()),
        ("taken/static/site.css", b""),
    ]);
    for (target, link) in [
        ("..", "out"),
        (".", "again"),
        ("missing", "dead.css"),
        ("site.css", "good.css"),
    ] {
        std::os::unix::fs::symlink(target, tree.path("links/static").join(link)).unwrap();
    }
    check("static", &tree, 1);
}

#[test]
fn keys_and_values() {
    let guest = fs::read(guests().join("keyvalue.wasm")).unwrap();
    let tree = tree(&[
        ("shop/index.wasm", &guest),
        ("far/index.wasm", &page()),
        ("near/index.wasm", &page()),
        (
            "wasmhost.toml",
            b"[groups.far.grants]\nkeyvalue = \"redis://127.0.0.1:port\"\n\
              [groups.near.grants]\nkeyvalue = \"nats://127.0.0.1:4222/site\"\n",
        ),
    ]);
    check("keyvalue", &tree, 1);
    for url in ["nat://127.0.0.1:4222", "127.0.0.1:4222"] {
        tree.put(
            "wasmhost.toml",
            format!("[groups.far.grants]\nkeyvalue = \"{url}\"\n"),
        );
        check(
            &format!("keyvalue-{}", url.replace(['/', ':', '.'], "")),
            &tree,
            1,
        );
    }
}

#[test]
fn authorities_that_cannot_be_trusted() {
    let tree = tree(&[
        ("shop/index.wasm", &page()),
        (
            "wasmhost.toml",
            b"[groups.shop.grants]\nhttp = [\"https://api.example.com\"]\n",
        ),
        ("none.pem", b"no certificate"),
    ]);
    let mut reports = String::new();
    for file in ["none.pem", "missing.pem"] {
        let output = wasmhost()
            .arg("check")
            .arg(tree.root())
            .env("SSL_CERT_FILE", tree.path(file))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        reports += &String::from_utf8(output.stdout).unwrap();
    }
    golden(
        "check-authorities",
        &reports.replace(tree.root().to_str().unwrap(), "ROOT"),
    );
}

/// Codes that no test can bring about, and why.
const NOT_TESTED: &[(&str, &str)] = &[
    (
        "folder-unreadable",
        "needs a user whom the file system refuses something",
    ),
    ("root-unreadable", "as above"),
    ("engine-failed", "needs a machine without memory or threads"),
    ("internal", "needs a fault of wasmhost"),
    (
        "link-failed",
        "needs components that fit by type and fail all the same",
    ),
];

/// Those modules in which `check` can meet a diagnostic.
const MODULES: &[&str] = &[
    "project",
    "certificate.rs",
    "artifact",
    "engine",
    "generation",
    "host",
    "prepare.rs",
    "analysis",
];

#[test]
fn every_code_has_a_golden_text() {
    let mut codes = BTreeSet::new();
    for module in MODULES {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime").join(module),
            &mut codes,
        );
    }
    assert!(codes.len() > 30, "{codes:?}");
    let texts = goldens();
    codes.retain(|code| !texts.iter().any(|text| text.contains(&format!("[{code}]"))));
    codes.retain(|code| !NOT_TESTED.iter().any(|(known, _)| known == code));
    assert!(codes.is_empty(), "no golden text has {codes:?}");
}

/// The literals that are codes of diagnostics, in all code under `path` but its tests.
fn collect(path: &Path, codes: &mut BTreeSet<String>) {
    if path.is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| collect(&entry.unwrap().path(), codes));
        return;
    }
    if path.ends_with("tests.rs") {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    for (start, _) in text.match_indices('"') {
        let makes = [
            "Diagnostic::new(",
            "Diagnostic::io(",
            ".add(",
            ".wrong(",
            ".check(",
            ".wrong::<()>(",
        ];
        let before = text[..start].trim_end();
        let literal = text[start + 1..].split('"').next().unwrap();
        let is_code = literal.contains('-') && literal.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        if is_code && makes.iter().any(|make| before.ends_with(make)) {
            codes.insert(literal.to_owned());
        }
    }
}
