//! What failed in 2006, each by its name. The recipe cleared a group of Python modules when one of them
//! was stale; its author listed what goes wrong. None of it may go wrong here.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    site::{calls, cart_count, put_into_cart, second_version, version},
    support::{Client, Server, Tree, touched},
};

/// A child class kept its old parent: here, a type of the layout changes that navigation and screens
/// use. The set is refused as a whole until all of it matches, and then swaps as a whole.
#[test]
fn a_stale_parent_type() {
    let next = second_version();
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 1);

    let users = [
        "shop.navigation.menu",
        "shop.screen.cart",
        "shop.screen.home",
        "shop.screen.item",
    ];
    let file = |component: &str| format!("{}.wasm", component.replace('.', "/"));
    let mut stale: Vec<&str> = users.into();
    for changed in ["shop.layout.frame"].into_iter().chain(users) {
        tree.put(file(changed), std::fs::read(next.join(file(changed))).unwrap());
        stale.retain(|user| *user != changed);
        if stale.is_empty() {
            break;
        }
        let rejected = server.wait("rejected");
        assert_eq!(
            (&rejected["group"], &rejected["kept"]),
            (&"shop".into(), &1.into())
        );
        let diagnostics = rejected["diagnostics"].as_array().unwrap();
        for user in &stale {
            let about = |d: &&serde_json::Value| d["message"].as_str().unwrap().starts_with(user);
            let mismatch = diagnostics
                .iter()
                .find(about)
                .unwrap_or_else(|| panic!("{user}: {rejected:#}"));
            assert_eq!(mismatch["code"], "import-mismatch");
        }
        assert!(
            diagnostics
                .iter()
                .any(|d| d["message"].as_str().unwrap().contains("shop.layout.frame"))
        );
        assert_eq!(
            client.get("/").generation(),
            "shop@1",
            "{changed} alone changed nothing"
        );
        assert_eq!(cart_count(&mut client), 1, "and cost no state");
    }

    let swapped = server.wait("swapped");
    assert_eq!((&swapped["from"], &swapped["generation"]), (&1.into(), &2.into()));
    assert_eq!(swapped["causes"].as_array().unwrap().len(), 5);
    let home = client.get("/");
    for component in ["shop.layout.frame", "shop.navigation.menu", "shop.screen.home"] {
        assert_eq!(version(&home, component), "2.0.0");
        assert_eq!(calls(&home, component), 1);
    }
    assert_eq!(
        version(&home, "shop.widget.cart"),
        "1.0.0",
        "what did not change is there anew all the same"
    );
}

/// Modules have state, and clearing them on every page load lost it: here it lasts as long as the
/// content does.
#[test]
fn a_component_that_holds_state() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 2);
    for _ in 0..10 {
        assert_eq!(cart_count(&mut client), 2);
    }
    tree.put(
        "shop/widget/catalog.wasm",
        touched(&tree.read("shop/widget/catalog.wasm"), 1),
    );
    server.wait("swapped");
    assert_eq!(
        cart_count(&mut client),
        0,
        "a swap of the group starts it anew, whichever file changed"
    );
}

/// Rapid clicking raised exceptions: here 64 clients click through 50 swaps. No answer fails, and all
/// that a generation answers is of that generation.
#[test]
fn rapid_clicking() {
    let next = second_version();
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let parts = ["shop.widget.cart", "shop.widget.catalog"];
    let files: Vec<[Vec<u8>; 2]> = parts
        .iter()
        .map(|component| format!("{}.wasm", component.replace('.', "/")))
        .map(|file| [tree.read(&file), std::fs::read(next.join(&file)).unwrap()])
        .collect();

    let (done, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let versions: Mutex<BTreeMap<String, [String; 2]>> = Mutex::default();
    let url = server.url().to_owned();
    let click = || {
        let mut client = Client::new(&url);
        while !done.load(Ordering::Relaxed) {
            let page = client.get("/");
            assert_eq!(page.status, 200, "{page:?}");
            let shown = parts.map(|component| version(&page, component));
            let generation = page.generation().to_owned();
            let first = versions
                .lock()
                .unwrap()
                .entry(generation)
                .or_insert(shown.clone())
                .clone();
            assert_eq!(first, shown, "{} answers as two", page.generation());
            answers.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let clickers: Vec<_> = (0..64).map(|_| scope.spawn(click)).collect();
        for swap in 0..50 {
            // Some answers between any two swaps, so that clicks and swaps do meet.
            let before = answers.load(Ordering::Relaxed);
            while answers.load(Ordering::Relaxed) < before + 64 && !clickers.iter().any(|c| c.is_finished()) {
                std::thread::yield_now();
            }
            let content = &files[swap % 2][(swap / 2 + 1) % 2];
            tree.put(format!("{}.wasm", parts[swap % 2].replace('.', "/")), content);
            assert_eq!(server.wait("swapped")["generation"], swap + 2);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answers.into_inner() >= 50 * 64);
}

/// Clearing when nothing changed was the first mistake: here a touch, a copy of the same bytes, or a
/// deleted and recreated file is no swap.
#[test]
fn a_change_of_no_content() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 1);
    let file = "shop/widget/cart.wasm";
    let content = tree.read(file);
    let touch = std::fs::File::options()
        .append(true)
        .open(tree.path(file))
        .unwrap();
    touch.set_modified(std::time::SystemTime::now()).unwrap();
    tree.overwrite(file, &content);
    tree.put(file, &content);
    tree.remove(file);
    tree.put(file, &content);

    // A change of the other group, seen later, shows that all of the above was looked at.
    tree.put("api/echo.wasm", touched(&tree.read("api/echo.wasm"), 1));
    server.wait_for("swapped", |event| event["group"] == "api");
    assert!(
        server.seen().iter().all(|event| event["group"] != "shop"),
        "{:#?}",
        server.seen()
    );
    assert_eq!(client.get("/").generation(), "shop@1");
    assert_eq!(cart_count(&mut client), 1);
}
