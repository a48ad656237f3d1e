//! `wasmhost graph` and `wasmhost inspect`.

use serde_json::Value;

use super::{run, tree};
use crate::support::{Tree, example, golden, wit};

fn graph(tree: &Tree, format: &str, code: i32) -> String {
    let root = tree.root().to_str().unwrap();
    run(&["graph", root, "--format", format], tree.root(), code).0
}

#[test]
fn the_example_in_every_format() {
    let tree = Tree::example();
    golden("graph-text", &versionless(&graph(&tree, "text", 0)));
    golden("graph-dot", &versionless(&graph(&tree, "dot", 0)));
    let json: Value = serde_json::from_str(&graph(&tree, "json", 0)).unwrap();
    golden(
        "graph-json",
        &versionless(&(serde_json::to_string_pretty(&json).unwrap() + "\n")),
    );
    let svg = graph(&tree, "svg", 0);
    well_formed(&svg);
    for component in [
        "api.echo",
        "shop.layout.frame",
        "shop.navigation.menu",
        "shop.screen.cart",
        "shop.widget.cart",
    ] {
        assert!(
            svg.contains(&format!(">{component}</text>")),
            "{component} in {svg}"
        );
    }
    assert!(
        svg.contains("<title>shop.screen.home imports site:shop/cart@0.1.0 from shop.widget.cart</title>")
    );
}

#[test]
fn a_tree_with_mistakes_is_drawn_as_far_as_it_goes() {
    let (a, b) = (("a", "f: func();"), ("b", "f: func();"));
    let circle = |imports: (&str, &str), exports: (&str, &str)| {
        let text = format!(
            "interface {} {{ {} }} interface {} {{ {} }}",
            imports.0, imports.1, exports.0, exports.1
        );
        wit::shop(&text, &format!("import {}; export {};", imports.0, exports.0))
    };
    let tree = tree(&[
        ("shop/one.wasm", &circle(a, b)),
        ("shop/two.wasm", &circle(b, a)),
        ("shop/home.wasm", &wit::page(&[("missing", "f: func();")])),
    ]);
    for format in ["dot", "json", "svg"] {
        let drawn = graph(&tree, format, 1);
        assert!(
            drawn.contains("shop.one") && drawn.contains("missing"),
            "{format}: {drawn}"
        );
    }
    well_formed(&graph(&tree, "svg", 1));
    golden("graph-with-mistakes", &graph(&tree, "text", 1));
}

#[test]
fn an_import_that_two_export_is_drawn_from_both() {
    let tree = tree(&[
        ("shop/dark.wasm", &wit::library(&[("theme", "f: func();")])),
        ("shop/light.wasm", &wit::library(&[("theme", "f: func();")])),
        ("shop/home.wasm", &wit::page(&[("theme", "f: func();")])),
    ]);
    golden("graph-ambiguous", &graph(&tree, "text", 1));
    golden("graph-ambiguous-dot", &graph(&tree, "dot", 1));
    let json: Value = serde_json::from_str(&graph(&tree, "json", 1)).unwrap();
    let home = &json["groups"][0]["components"][1];
    assert_eq!(
        home["ambiguous"][0]["from"],
        serde_json::json!(["shop.dark", "shop.light"])
    );
    assert_eq!(home["missing"], serde_json::json!([]));
    let svg = graph(&tree, "svg", 1);
    well_formed(&svg);
    assert!(svg.contains("ambiguous: site:shop/theme@0.1.0"), "{svg}");
}

#[test]
fn nothing_that_can_be_read_is_json_too() {
    let tree = tree(&[("shop/home.wasm", b"hello")]);
    let json: Value = serde_json::from_str(&graph(&tree, "json", 1)).unwrap();
    assert_eq!(json["groups"][0]["components"], serde_json::json!([]));
    let missing = tree.path("missing");
    let (text, _) = run(
        &["graph", missing.to_str().unwrap(), "--format", "json"],
        tree.root(),
        1,
    );
    assert_eq!(text, "{\"groups\":[]}\n");
}

/// Sixty pages that import the same are one box, in which each has its name.
#[test]
fn a_large_group() {
    let (layout, cart) = (("layout", "draw: func();"), ("cart", "count: func() -> u32;"));
    let tree = tree(&[
        ("shop/frame.wasm", &wit::library(&[layout])),
        ("shop/cart.wasm", &wit::library(&[cart])),
    ]);
    let page = wit::page(&[layout, cart]);
    for number in 0..60 {
        tree.put(format!("shop/page/p{number:02}.wasm"), &page);
    }
    let svg = graph(&tree, "svg", 0);
    well_formed(&svg);
    for number in 0..60 {
        assert!(svg.contains(&format!("shop.page.p{number:02}")), "{svg}");
    }
    assert_eq!(svg.matches("class=\"line c").count(), 2, "{svg}");
}

#[test]
fn what_a_component_is() {
    for (name, file) in [("page", "shop/screen/home.wasm"), ("wasi", "api/echo.wasm")] {
        let path = example().join(file);
        let (text, _) = run(&["inspect", path.to_str().unwrap()], example(), 0);
        golden(&format!("inspect-{name}"), &steady(&text));
        let (json, _) = run(
            &["inspect", path.to_str().unwrap(), "--format", "json"],
            example(),
            0,
        );
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["kind"], "page");
        assert_eq!(json["size"], std::fs::metadata(&path).unwrap().len());
        assert_eq!(json["code"]["whole"], Value::Null);
        assert!(json["code"]["split"][0]["data"].as_u64().unwrap() > 0, "{json:#}");
    }
}

#[test]
fn modules_in_nested_components_are_named() {
    let nested = "(component (core module (func)) (component (core module) (component (core module))))";
    let tree = tree(&[("x.wat", nested.as_bytes())]);
    let file = tree.path("x.wat");
    let inspect = |format| {
        run(
            &["inspect", file.to_str().unwrap(), "--format", format],
            tree.root(),
            0,
        )
        .0
    };
    let text = inspect("text");
    assert!(
        text.contains("  2 in nested components, compiled with the group\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&inspect("json")).unwrap();
    assert_eq!(
        (&json["code"]["modules"], &json["code"]["nested"]),
        (&3.into(), &2.into())
    );
    let page = example().join("shop/screen/home.wasm");
    let (json, _) = run(
        &["inspect", page.to_str().unwrap(), "--format", "json"],
        tree.root(),
        0,
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["code"]["nested"], 0);
}

/// What a producer says of itself is a stranger's text.
#[test]
fn a_producer_cannot_steer_the_terminal() {
    let mut component = wat::parse_str("(component)").unwrap();
    let field = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let value = [field("\u{1b}[2Jevil\u{7}"), field("1\n2")].concat();
    let section = [field("producers"), vec![1], field("language"), vec![1], value].concat();
    component.push(0);
    component.push(section.len() as u8);
    component.extend(section);
    let tree = tree(&[("x.wasm", &component)]);
    let (text, _) = run(
        &["inspect", tree.path("x.wasm").to_str().unwrap()],
        tree.root(),
        0,
    );
    assert!(
        text.contains("language: \u{fffd}[2Jevil\u{fffd} 1\u{fffd}2\n"),
        "{text:?}"
    );
}

#[test]
fn what_is_no_component() {
    let tree = tree(&[("x.wasm", b"hello"), ("Some Name.wat", b"(component)")]);
    let inspect = |file: &str, code| run(&["inspect", tree.path(file).to_str().unwrap()], tree.root(), code);
    golden("inspect-nothing", &inspect("x.wasm", 1).1);
    golden("inspect-missing", &inspect("y.wasm", 1).1);
    assert!(
        inspect("Some Name.wat", 0)
            .0
            .starts_with("ROOT/Some Name.wat: a library\n")
    );
}

/// Without what another compiler or another edit of the example changes: numbers, digests, versions.
fn steady(text: &str) -> String {
    let of_build = [
        "size:",
        "digest:",
        "core modules:",
        "  0:",
        "  1:",
        "  2:",
        "processed-by:",
        "language:",
        "sdk:",
    ];
    let lines = text
        .lines()
        .filter(|line| !of_build.iter().any(|start| line.starts_with(start)));
    versionless(&lines.map(|line| format!("{line}\n")).collect::<String>())
}

/// `wasi:io@0.2.x`: which one is the compiler's choice.
fn versionless(text: &str) -> String {
    let mut pieces = text.split("@0.2.");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| {
        text + "@0.2.x" + piece.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

/// Every tag is closed in its turn, and no text has a bare `<` or `&`.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        let entities = ["&amp;", "&lt;", "&gt;", "&quot;"];
        let bare = text
            .match_indices('&')
            .any(|(at, _)| !entities.iter().any(|e| text[at..].starts_with(e)));
        assert!(!bare && !text.contains('>'), "{text:?}");
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{xml}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
}
