//! The dashboard in a real browser. Pictures of each view go to `target/tmp`.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use serde_json::Value;

use crate::support::{
    Browser, Server, Tree, touched, wasmhost,
    wat_site::{page, site},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What the server says of itself.
fn status(tree: &Tree) -> Value {
    let mut command = wasmhost();
    command.args(["status", "--json", "--root"]).arg(tree.root());
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

/// A server with a dashboard, and where that is.
fn serve(tree: &Tree) -> (Server, String) {
    tree.put("secrets/admin", TOKEN);
    let manifest = tree.path("wasmhost.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
    let admin = "[server.admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"secrets/admin\" }\n";
    tree.put("wasmhost.toml", format!("{manifest}\n{admin}"));
    let server = Server::start(tree.root());
    let url = status(tree)["admin"].as_str().unwrap().to_owned();
    (server, url)
}

fn open(browser: &Browser, url: &str) {
    browser.open(&format!("{url}#token={TOKEN}"));
    browser.wait_text("#state", "watching");
}

#[test]
fn a_swap_is_seen_live_and_a_refusal_is_read() {
    let Some(browser) = Browser::start() else { return };
    let tree = site(1);
    let (mut server, url) = serve(&tree);
    open(&browser, &url);
    assert_eq!(
        browser.run("return location.hash"),
        "",
        "the token is not left in sight"
    );
    browser.wait_text("[data-group=api] h2", "api@1");
    tree.put("api/page.wat", page(2, ""));
    browser.wait_text("[data-group=api] h2", "api@2");
    browser.wait_text("[data-group=api] .last", "api.page");

    let lacking = page(
        3,
        r#"(import "nobody:has/this@1.0.0" (instance (export "f" (func))))"#,
    );
    tree.put("api/page.wat", lacking);
    let rejected = server.wait("rejected");
    let refused = "[data-group=api] .refused";
    browser.wait_text(refused, "@2 goes on");
    let diagnostic = &rejected["diagnostics"][0];
    for part in ["code", "message", "help"] {
        browser.wait_text(refused, diagnostic[part].as_str().unwrap());
    }
    browser.screenshot("dashboard-refused");

    browser.write("body", "3");
    browser.wait_text(".timeline .swapped", "in the place of @1");
    browser.wait_text(".timeline .swapped .numbers", "compile");
    browser.wait_text(".timeline .rejected", diagnostic["message"].as_str().unwrap());
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn orders_are_given_by_clicks_and_confirmed() {
    let Some(browser) = Browser::start() else { return };
    let tree = site(1);
    let (mut server, url) = serve(&tree);
    open(&browser, &url);
    browser.click("#freeze");
    browser.wait("document.getElementById('confirm').open");
    browser.click("#confirm button[value=no]");
    browser.wait("!document.getElementById('confirm').open");
    assert_eq!(status(&tree)["frozen"], false);

    browser.click("#freeze");
    browser.click("#confirm-yes");
    browser.wait_text("#state", "frozen");
    assert_eq!(status(&tree)["frozen"], true);
    tree.put("api/page.wat", page(2, ""));
    browser.wait("document.getElementById('swap-api')");
    // With the keyboard alone.
    browser.run("document.getElementById('swap-api').focus()");
    browser.write(":focus", "\u{e007}");
    browser.wait("document.getElementById('confirm').open");
    browser.write("#confirm-yes", "\u{e007}");
    browser.wait_text("#toasts", "Swap api: done");
    assert_eq!(server.wait("swapped")["generation"], 2);
    browser.click("#freeze");
    browser.click("#confirm-yes");
    browser.wait_text("#state", "watching");
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn a_group_is_rolled_back_and_pinned_by_a_click() {
    let Some(browser) = Browser::start() else { return };
    let tree = site(1);
    let (mut server, url) = serve(&tree);
    tree.put("api/page.wat", page(2, ""));
    server.wait("swapped");
    open(&browser, &url);
    browser.wait_text("[data-group=api] h2", "api@2");
    browser.click("#rollback-api");
    browser.click("#confirm-yes");
    browser.wait_text("#toasts", "Roll back api: done");
    browser.wait_text("[data-group=api] h2", "api@3");
    assert_eq!(server.client().get("/api/page").body, [1]);
    browser.click("#pin-api");
    browser.click("#confirm-yes");
    browser.wait_text("[data-group=api] .pill", "pinned");
    assert_eq!(status(&tree)["groups"]["api"]["pinned"], true);
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn without_the_token_nothing_is_shown() {
    let Some(browser) = Browser::start() else { return };
    let tree = site(1);
    let (_server, url) = serve(&tree);
    browser.open(&url);
    browser.wait("document.getElementById('login').open");
    assert_eq!(browser.text("#cards"), "No groups yet.");
    browser.write("#token", "not the token, but long");
    browser.click("#login button");
    browser.wait_text("#login-wrong", "That is not the token.");
    browser.run("document.getElementById('token').value = ''");
    browser.write("#token", TOKEN);
    browser.click("#login button");
    browser.wait_text("[data-group=shop] h2", "shop@1");
    assert_eq!(
        browser.run("return document.cookie"),
        "",
        "every port would get it"
    );
}

#[test]
fn logs_are_followed_and_filtered() {
    let Some(browser) = Browser::start() else { return };
    let tree = site(1);
    let (_server, url) = serve(&tree);
    open(&browser, &url);
    browser.write("body", "/");
    browser.wait("document.activeElement.id === 'log-filter'");
    browser.wait_text(".log", "the dashboard is at");
    browser.write("#log-filter", "nobody says this");
    browser.wait_text("#lines", "No line fits.");
    browser.run(
        "const level = document.getElementById('log-level'); level.value = 'debug'; \
         level.dispatchEvent(new Event('change')); document.getElementById('log-filter').value = ''",
    );
    browser.write("#log-filter", "level was changed");
    browser.wait_text(".log", "the log level was changed filter=debug");
}

#[test]
fn every_view_can_be_shown() {
    let Some(browser) = Browser::start() else { return };
    let tree = Tree::example();
    let (mut server, url) = serve(&tree);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let (mut client, over) = (server.client(), &over);
            scope.spawn(move || {
                let paths = [
                    "/",
                    "/shop/screen/item",
                    "/shop/screen/cart",
                    "/api/echo",
                    "/shop/screen/home",
                ];
                for at in (number..).take_while(|_| !over.load(Relaxed)) {
                    client.get(paths[at % paths.len()]);
                }
            });
        }
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            show(&browser, &url, &tree, &mut server);
        }));
        over.store(true, Relaxed);
        shown.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
    });
    assert_eq!(browser.console(), [""; 0]);
}

fn show(browser: &Browser, url: &str, tree: &Tree, server: &mut Server) {
    open(browser, url);
    let file = "shop/layout/frame.wasm";
    for times in 1..4 {
        tree.put(file, touched(&tree.read(file), times));
        server.wait("swapped");
    }
    tree.put(
        "api/echo.wasm",
        b"(component (import \"nobody:has/this@1.0.0\" (func)))",
    );
    server.wait("rejected");
    browser.write("body", "2");
    // Some samples: one comes every two seconds.
    browser.wait("document.querySelector('.plot')?.getAttribute('d').split('L').length > 7");
    browser.wait_text("#pages", "shop.screen.home");
    let views = ["groups", "traffic", "swaps", "graph", "logs"];
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"));
        for (width, height, mobile, size) in [(1280, 900, false, "wide"), (390, 844, true, "phone")] {
            browser.resize(width, height, mobile);
            for view in views {
                browser.run(&format!("location.hash = '{view}'"));
                browser.wait(&format!("!document.getElementById('view-{view}').hidden"));
                if view == "graph" {
                    browser.wait("document.querySelector('#drawing .page')");
                }
                let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
                assert!(
                    wide.as_i64().unwrap() <= 0,
                    "{view} is {wide} wider than a {size} screen"
                );
                browser.screenshot(&format!("dashboard-{view}-{theme}-{size}"));
            }
        }
    }
}
