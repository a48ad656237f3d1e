//! Which sets of components are linked and which are refused, and what their author is told: both
//! sides by name. The components are a few lines of component text each.

pub mod wat;

use serde_json::Value;

use self::wat::{
    COUNTER, NEXT, counter, counter_from, importer, page, page_importing, passing, record_exporter,
    record_importer, resource_exporter, resource_importer, resource_page, types, types_importer,
};
use crate::support::{Client, Server, Tree};

#[test]
fn an_import_that_nobody_exports() {
    refused(
        &[("shop/home.wat", &importer(COUNTER, NEXT))],
        "import-missing: shop.home imports site:shop/counter@0.1.0, which no component of the group shop exports
         file: shop/home.wat
         help: add a component that exports it, or remove the import",
    );
}

#[test]
fn an_import_that_only_another_group_exports() {
    refused(
        &[("shop/home.wat", &importer(COUNTER, NEXT)), ("blog/counter.wat", &counter(COUNTER))],
        "import-missing: shop.home imports site:shop/counter@0.1.0, which no component of the group shop exports
         file: shop/home.wat
         help: the group blog exports it, but components link only inside their group: move one of them, \
         or join the two under one [groups.NAME] with `namespaces`",
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    refused(
        &[
            ("shop/home.wat", &importer(COUNTER, NEXT)),
            ("shop/item.wat", &importer("site:shop/menu@0.1.0", NEXT)),
        ],
        "import-missing: shop.home imports site:shop/counter@0.1.0, which no component of the group shop exports
         file: shop/home.wat
         help: add a component that exports it, or remove the import
         import-missing: shop.item imports site:shop/menu@0.1.0, which no component of the group shop exports
         file: shop/item.wat
         help: add a component that exports it, or remove the import",
    );
}

#[test]
fn a_wasi_import_that_the_host_does_not_offer() {
    refused(
        &[("shop/home.wat", &importer("wasi:nn/graph@0.2.0", NEXT))],
        "import-missing: shop.home imports wasi:nn/graph@0.2.0, which this host does not offer
         file: shop/home.wat
         help: build it against WASI 0.2, or wire the import to a component that implements it",
    );
}

#[test]
fn a_wasi_import_that_the_host_offers_in_another_shape() {
    refused(
        &[("shop/home.wat", &importer("wasi:random/random@0.2.0", NEXT))],
        "import-mismatch: shop.home and the host disagree about wasi:random/random@0.2.0: \
         instance export `next` has the wrong type: function implementation is missing
         file: shop/home.wat
         help: build it against an interface of WASI 0.2 or 0.3 that this host has",
    );
}

#[test]
fn two_exporters_are_told_apart_by_the_wire_that_the_help_shows() {
    let home = page(COUNTER);
    let files = [
        ("shop/home.wat", home.as_str()),
        ("shop/dark.wat", &counter_from(COUNTER, 0)),
        ("shop/light.wat", &counter_from(COUNTER, 5)),
    ];
    let mut site = refused(
        &files,
        "import-ambiguous: shop.home imports site:shop/counter@0.1.0, which shop.dark and shop.light export
         file: shop/home.wat
         help: say which in wasmhost.toml:
         [groups.shop.wire]
         \"shop.home\" = { \"site:shop/counter@0.1.0\" = \"shop.dark\" }",
    );

    let help = site.diagnostics[0]["help"].as_str().unwrap();
    let wire = help.split_once('\n').unwrap().1.to_owned();
    site.tree.put("wasmhost.toml", &wire);
    site.server.wait_for("swapped", |event| {
        event["group"] == "shop" && event["from"].is_null()
    });
    assert_eq!(site.body("/shop/home"), "1");

    site.tree
        .put("wasmhost.toml", wire.replace("shop.dark", "shop.light"));
    site.server
        .wait_for("swapped", |event| event["group"] == "shop" && event["from"] == 1);
    assert_eq!(site.body("/shop/home"), "6");
}

#[test]
fn a_wire_to_a_component_that_does_not_export_the_interface() {
    let wire = "[groups.shop.wire]\n\"shop.home\" = { \"site:shop/counter\" = \"shop.menu\" }\n";
    refused(
        &[
            ("wasmhost.toml", wire),
            ("shop/home.wat", &importer(COUNTER, NEXT)),
            ("shop/counter.wat", &counter(COUNTER)),
            ("shop/menu.wat", &counter("site:shop/menu@0.1.0")),
        ],
        "wire-no-export: wasmhost.toml wires the import site:shop/counter@0.1.0 of shop.home to shop.menu, \
         which does not export it
         file: shop/home.wat
         help: name a component that exports it",
    );
}

#[test]
fn a_cycle_is_printed_as_a_path() {
    refused(
        &[
            (
                "shop/home.wat",
                &passing("site:shop/b@0.1.0", "site:shop/a@0.1.0"),
            ),
            (
                "shop/item.wat",
                &passing("site:shop/c@0.1.0", "site:shop/b@0.1.0"),
            ),
            (
                "shop/menu.wat",
                &passing("site:shop/a@0.1.0", "site:shop/c@0.1.0"),
            ),
        ],
        "import-cycle: components import each other in a circle: shop.home imports site:shop/b@0.1.0 from \
         shop.item imports site:shop/c@0.1.0 from shop.menu imports site:shop/a@0.1.0 from shop.home
         file: shop/home.wat
         help: move what they share into a component of its own that imports none of them",
    );
}

#[test]
fn a_function_of_another_type() {
    refused(
        &[
            ("shop/counter.wat", &counter(COUNTER)),
            ("shop/home.wat", &importer(COUNTER, "(result u64)")),
            ("shop/item.wat", &importer(COUNTER, "(param \"by\" u32) (result u32)")),
        ],
        "import-mismatch: shop.home and shop.counter disagree about site:shop/counter@0.1.0: function next: the \
         result is \"u64\" in shop.home but \"u32\" in shop.counter
         file: shop/home.wat
         help: rebuild shop.home and shop.counter against the same version of the interface
         import-mismatch: shop.item and shop.counter disagree about site:shop/counter@0.1.0: function next is \
         \"func(by: u32) -> u32\" in shop.item but \"func() -> u32\" in shop.counter
         file: shop/item.wat
         help: rebuild shop.item and shop.counter against the same version of the interface",
    );
}

#[test]
fn a_function_that_the_exporter_does_not_have() {
    let home = r#"(component (import "site:shop/counter@0.1.0" (instance (export "reset" (func)))))"#;
    refused(
        &[("shop/counter.wat", &counter(COUNTER)), ("shop/home.wat", home)],
        "import-mismatch: shop.home and shop.counter disagree about site:shop/counter@0.1.0: function reset: \
         shop.home asks for \"reset: func()\", shop.counter has none
         file: shop/home.wat
         help: rebuild shop.home and shop.counter against the same version of the interface",
    );
}

#[test]
fn a_record_with_another_field() {
    refused(
        &[
            (
                "shop/counter.wat",
                &record_exporter("(record (field \"price\" u32))"),
            ),
            (
                "shop/home.wat",
                &record_importer("(record (field \"price\" u64))"),
            ),
        ],
        "import-mismatch: shop.home and shop.counter disagree about site:shop/counter@0.1.0: record goods: \
         field 1 is \"price: u64\" in shop.home but \"price: u32\" in shop.counter
         file: shop/home.wat
         help: rebuild shop.home and shop.counter against the same version of the interface",
    );
}

#[test]
fn a_resource_that_the_exporter_does_not_have() {
    let home = r#"(component (import "site:shop/counter@0.1.0" (instance
        (export "counter" (type $counter (sub resource)))
        (export "[constructor]counter" (func (result (own $counter)))))))"#;
    refused(
        &[("shop/counter.wat", &counter(COUNTER)), ("shop/home.wat", home)],
        "import-mismatch: shop.home and shop.counter disagree about site:shop/counter@0.1.0: resource \
         counter: shop.home asks for \"resource counter\", shop.counter has none; function counter: \
         shop.home asks for \"counter: constructor()\", shop.counter has none
         file: shop/home.wat
         help: rebuild shop.home and shop.counter against the same version of the interface",
    );
}

#[test]
fn a_resource_with_another_method() {
    refused(
        &[
            ("shop/counter.wat", &resource_exporter()),
            ("shop/home.wat", &resource_importer("(result u64)")),
        ],
        "import-mismatch: shop.home and shop.counter disagree about site:shop/counter@0.1.0: function \
         counter.next: the result is \"u64\" in shop.home but \"u32\" in shop.counter
         file: shop/home.wat
         help: rebuild shop.home and shop.counter against the same version of the interface",
    );
}

#[test]
fn two_importers_that_disagree_about_types_which_nobody_exports() {
    refused(
        &[("shop/home.wat", &types_importer("u32")), ("shop/item.wat", &types_importer("u64"))],
        "import-mismatch: shop.home and shop.item both import site:shop/types@0.1.0, but with different types: \
         record goods: field 1 is \"price: u32\" in shop.home but \"price: u64\" in shop.item
         file: shop/item.wat
         help: build both against the same version of the interface",
    );
}

#[test]
fn a_compatible_version_is_linked() {
    let check = |imported: &str, exported: &str| {
        let mut site = linked(&[
            ("shop/home.wat", &page(imported)),
            ("shop/counter.wat", &counter(exported)),
        ]);
        assert_eq!(site.body("/shop/home"), "1", "{imported} from {exported}");
    };
    check("site:shop/counter@0.1.0", "site:shop/counter@0.1.1");
    check("site:shop/counter@1.0.0", "site:shop/counter@1.2.0");
}

#[test]
fn an_incompatible_version_is_not_linked() {
    refused(
        &[
            ("shop/home.wat", &importer("site:shop/counter@0.1.0", NEXT)),
            ("shop/counter.wat", &counter("site:shop/counter@0.2.0")),
        ],
        "import-missing: shop.home imports site:shop/counter@0.1.0, which no component of the group shop exports
         file: shop/home.wat
         help: shop.counter exports site:shop/counter@0.2.0, an incompatible version: \
         build both against the same one",
    );
}

#[test]
fn types_alone_need_no_exporter() {
    let home = page_importing(&types("u32"), "i32.const 4");
    let mut site = linked(&[
        ("shop/home.wat", &home),
        ("shop/item.wat", &types_importer("u32")),
    ]);
    assert_eq!(site.body("/shop/home"), "4");
}

#[test]
fn a_resource_crosses_from_its_exporter() {
    let mut site = linked(&[
        ("shop/counter.wat", &resource_exporter()),
        ("shop/home.wat", &resource_page()),
    ]);
    assert_eq!(site.body("/shop/home"), "3");
}

#[test]
fn a_component_between_importer_and_exporter() {
    let mut site = linked(&[
        (
            "wasmhost.toml",
            "[groups.shop.wire]\n\"shop.home\" = { \"site:shop/counter\" = \"shop.between\" }\n",
        ),
        ("shop/home.wat", &page(COUNTER)),
        ("shop/between.wat", &passing(COUNTER, COUNTER)),
        ("shop/counter.wat", &counter_from(COUNTER, 3)),
    ]);
    assert_eq!(site.body("/shop/home"), "4");
}

#[test]
fn wasi_is_the_hosts_unless_a_wire_says_otherwise() {
    let random = "wasi:random/random@0.2.0";
    let mut site = linked(&[
        (
            "wasmhost.toml",
            "[groups.shop.wire]\n\"shop.home\" = { \"wasi:random/random\" = \"shop.dice\" }\n",
        ),
        ("shop/home.wat", &page(random)),
        ("shop/dice.wat", &counter_from(random, 5)),
    ]);
    assert_eq!(site.body("/shop/home"), "6");
}

#[test]
fn two_importers_share_one_instance() {
    let mut site = linked(&[
        ("shop/home.wat", &page(COUNTER)),
        ("shop/item.wat", &page(COUNTER)),
        ("shop/counter.wat", &counter(COUNTER)),
    ]);
    let bodies = ["/shop/home", "/shop/item", "/shop/home"].map(|path| site.body(path));
    assert_eq!(bodies, ["1", "2", "3"]);
}

#[test]
fn a_refused_group_comes_up_when_its_files_fit_again() {
    let mut site = refused(
        &[("shop/home.wat", &page(COUNTER))],
        "import-missing: shop.home imports site:shop/counter@0.1.0, which no component of the group shop exports
         file: shop/home.wat
         help: add a component that exports it, or remove the import",
    );
    assert_eq!(site.body("/ok/page"), "2", "the second request to it");
    site.tree.put("shop/counter.wat", counter(COUNTER));
    let swapped = site.server.wait_for("swapped", |event| event["group"] == "shop");
    assert!(swapped["from"].is_null(), "{swapped}");
    assert_eq!(swapped["generation"], 1);
    assert_eq!(site.body("/shop/home"), "1");
    assert_eq!(site.body("/ok/page"), "3", "the healthy group keeps its state");
}

/// A served tree.
struct Site {
    tree: Tree,
    server: Server,
    client: Client,
    /// Why the group `shop` was refused.
    diagnostics: Vec<Value>,
}

impl Site {
    /// Serves the files and, beside them, a healthy group `ok`.
    fn serve(files: &[(&str, &str)]) -> Self {
        let tree = Tree::empty();
        tree.put("ok/page.wat", page("ok:ok/counter"));
        tree.put("ok/counter.wat", counter("ok:ok/counter"));
        for (file, content) in files {
            tree.put(file, content);
        }
        let server = Server::start(tree.root());
        let client = server.client();
        Self {
            tree,
            server,
            client,
            diagnostics: Vec::new(),
        }
    }

    /// The body of a page that answers.
    fn body(&mut self, path: &str) -> String {
        let reply = self.client.get(path);
        assert_eq!(reply.status, 200, "{path}");
        reply.text()
    }

    /// A diagnostic in lines, with the file as the tree has it.
    fn render(&self, diagnostic: &Value) -> String {
        let text = |key: &str| diagnostic[key].as_str().unwrap_or("none");
        let file = text("file").replace(&format!("{}/", self.tree.root().display()), "");
        format!(
            "{}: {}\nfile: {file}\nhelp: {}",
            text("code"),
            text("message"),
            text("help")
        )
    }
}

/// The files are linked, and nothing is refused.
fn linked(files: &[(&str, &str)]) -> Site {
    let mut site = Site::serve(files);
    assert!(site.server.seen().is_empty(), "{:#?}", site.server.seen());
    site
}

/// The group `shop` is refused for the reasons `expected`, in lines whose indent does not count, while
/// the healthy group serves.
fn refused(files: &[(&str, &str)], expected: &str) -> Site {
    let mut site = Site::serve(files);
    let rejected: Vec<Value> = site
        .server
        .seen()
        .iter()
        .filter(|event| event["event"] == "rejected")
        .cloned()
        .collect();
    let [rejected] = rejected.as_slice() else {
        panic!("one group is refused once, not {rejected:#?}")
    };
    assert_eq!(rejected["group"], "shop");
    assert!(rejected.get("kept").is_some_and(Value::is_null), "{rejected}");
    site.diagnostics = rejected["diagnostics"].as_array().unwrap().clone();

    let found: Vec<String> = site
        .diagnostics
        .iter()
        .map(|diagnostic| site.render(diagnostic))
        .collect();
    let expected: Vec<&str> = expected.lines().map(str::trim_start).collect();
    assert_eq!(found.join("\n"), expected.join("\n"));

    let reply = site.client.get("/shop/home");
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(site.client.get("/ok/page").status, 200);
    site
}
