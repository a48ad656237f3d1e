//! Pages that carry the engine of their language: they are served like any other, and an edit of one
//! compiles no engine again.

use serde_json::Value;

use crate::support::{Client, Server, Tree, engines};

/// Page, its first greeting.
const PAGES: [(&str, &str); 4] = [
    ("js-one", "Hello from JavaScript"),
    ("js-two", "Grüße aus „JavaScript“"),
    ("python-one", "Hello from Python"),
    ("python-two", "Grüße aus \"Python\""),
];

#[test]
fn javascript_and_python_pages() {
    if !engines::available() {
        return;
    }
    let tree = Tree::empty();
    // SpiderMonkey takes up to 20 MiB a page before it collects, Python 13 MiB.
    tree.put("wasmhost.toml", "[groups.pages.limits]\nmemory = \"128MiB\"\n");
    for (page, greeting) in PAGES {
        tree.put(format!("pages/{page}.wasm"), built(page, greeting));
    }
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for (page, greeting) in PAGES {
        greets(&mut client, page, greeting, 1);
        greets(&mut client, page, greeting, 2);
    }

    // The engine's memory grows with the longer one by more than a page.
    let edits = ["Edited".to_owned(), "Much more to read. ".repeat(20_000)];
    for page in ["js-one", "python-one"] {
        for edited in &edits {
            tree.put(format!("pages/{page}.wasm"), built(page, edited));
            let swapped = server.wait("swapped");
            eprintln!("an edit of {page}: {swapped}");
            compiled_nothing(&swapped, page);
            greets(&mut client, page, edited, 1);
        }
    }
    greets(&mut client, "js-two", PAGES[1].1, 1);
    greets(&mut client, "python-two", PAGES[3].1, 1);
}

fn built(page: &str, greeting: &str) -> Vec<u8> {
    if page.starts_with("js-") {
        engines::js_page(greeting)
    } else {
        engines::python_page(greeting)
    }
}

fn greets(client: &mut Client, page: &str, greeting: &str, requests: u32) {
    let reply = client.get(&format!("/pages/{page}"));
    assert_eq!(reply.status, 200, "{page}: {reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let html = reply.text();
    assert!(html.contains(&format!("<h1>{greeting}</h1>")), "{page}: {html}");
    assert_eq!(
        reply.attribute("id=\"requests\"", "data-count"),
        requests.to_string(),
        "{page} has its own count"
    );
}

/// An edit of a page changes the snapshot of its engine (data, a global, the size of the memory), no code.
fn compiled_nothing(swapped: &Value, page: &str) {
    let causes = serde_json::json!([{ "component": format!("pages.{page}"), "change": "changed" }]);
    assert_eq!(swapped["causes"], causes);
    assert_eq!(swapped["functions_compiled"], 0, "{swapped:#}");
}
