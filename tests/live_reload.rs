//! Open pages follow what is saved: seen in a real browser, under a strict Content-Security-Policy.

use serde_json::Value;

use super::support::{Browser, SourceTree};

/// A page with a form that is long enough to be scrolled, and that forbids all but its own scripts and styles.
const PAGE: &str = r#"//! A page with a form.

use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({ path: "wit", generate_all });

const TITLE: &str = "Monday";

struct Page;

impl Guest for Page {
    fn handle(_: Request) -> Response {
        let html = format!(
            "<!doctype html><link rel=stylesheet href=/live/static/site.css><h1>{TITLE}</h1>\
             <img src=/live/static/dot.svg><form><input name=who><textarea name=what></textarea><input type=checkbox name=sure></form>\
             <p id=end>end</p>"
        );
        Response {
            status: 200,
            headers: vec![
                ("content-type".into(), b"text/html; charset=utf-8".to_vec()),
                ("content-security-policy".into(), b"default-src 'self'".to_vec()),
            ],
            body: html.into(),
        }
    }
}

export!(Page);
"#;

/// A page whose policy lets nothing run but what bears its nonce.
const STRICT: &str = r#"
use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({ path: "wit", generate_all });

struct Page;

impl Guest for Page {
    fn handle(_: Request) -> Response {
        let policy = b"default-src 'none'; img-src data:; connect-src 'self'; script-src 'nonce-c3RyaWN0' 'strict-dynamic'";
        Response {
            status: 200,
            headers: vec![
                ("content-type".into(), b"text/html".to_vec()),
                ("content-security-policy".into(), policy.to_vec()),
            ],
            body: "<!doctype html><link rel=icon href=data:,><h1>strict</h1>".into(),
        }
    }
}

export!(Page);
"#;

const TITLE: &str = "document.querySelector('h1')?.textContent";
const COLOUR: &str = "getComputedStyle(document.querySelector('h1')).color";
const WIDTH: &str = "document.images[0].naturalWidth";
const OVERLAY: &str =
    "document.querySelector('wasmhost-overlay')?.shadowRoot.querySelector('section') != null";
const OVERLAY_TEXT: &str =
    "document.querySelector('wasmhost-overlay').shadowRoot.querySelector('section').textContent";

fn dot(width: u32) -> String {
    format!("<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='9'><circle r='4'/></svg>")
}

fn style(colour: &str) -> String {
    format!("h1 {{ color: {colour} }} #end {{ margin-top: 3000px }}")
}

#[test]
fn pages_follow_what_is_saved() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let tree = SourceTree::new();
    tree.make(&["live.followed"]);
    tree.save("live/followed/src/lib.rs", PAGE);
    tree.save("live/static/site.css", &style("rgb(0, 0, 255)"));
    tree.save("live/static/dot.svg", &dot(30));
    let mut server = tree.dev(&[]);
    let url = format!("{}/live/followed", server.url());
    let listen = server.authority().to_owned();
    browser.open(&url);
    browser.wait_for(COLOUR, "rgb(0, 0, 255)");
    browser.write("input[name=who]", "Ada");
    browser.write("textarea", "two lines");
    browser.eval("document.querySelector('[type=checkbox]').checked = true");
    browser.eval("scrollTo(0, 1200)");
    browser.eval("window.loaded_once = true");

    // A style is replaced in place.
    tree.save("live/static/site.css", &style("rgb(0, 128, 0)"));
    browser.wait_for(COLOUR, "rgb(0, 128, 0)");
    assert_eq!(browser.eval("window.loaded_once"), true);
    assert_eq!(browser.eval("document.querySelector('input').value"), "Ada");
    assert_eq!(browser.eval("scrollY"), 1200);
    assert_eq!(browser.eval("document.querySelectorAll('link').length"), 1);
    browser.screenshot("style-in-place");

    // So is a picture.
    assert_eq!(browser.eval(WIDTH), 30);
    tree.save("live/static/dot.svg", &dot(50));
    browser.wait_for(WIDTH, 50);
    assert_eq!(browser.eval("window.loaded_once"), true);
    assert_eq!(browser.eval("scrollY"), 1200);

    // New code is loaded by itself, in every tab, and what was written is still there.
    browser.open_tab(&url);
    tree.edit("live/followed/src/lib.rs", "Monday", "Tuesday");
    for tab in browser.tabs() {
        browser.go_to(&tab);
        browser.wait_for(TITLE, "Tuesday");
    }
    let first = browser.tabs().remove(0);
    browser.go_to(&first);
    assert_eq!(browser.eval("window.loaded_once"), Value::Null);
    browser.wait_for("document.querySelector('input').value", "Ada");
    assert_eq!(
        browser.eval("document.querySelector('textarea').value"),
        "two lines"
    );
    assert_eq!(
        browser.eval("document.querySelector('[type=checkbox]').checked"),
        true
    );
    browser.wait_for("scrollY", 1200);

    // What does not compile is shown above the last good page, and goes when it is mended.
    tree.edit("live/followed/src/lib.rs", "\"Tuesday\";", "Tuesday;");
    browser.wait_for(OVERLAY, true);
    let said = browser.eval(OVERLAY_TEXT);
    let said = said.as_str().unwrap();
    assert!(said.contains("cannot find value `Tuesday`"), "{said}");
    assert!(said.contains("src/lib.rs:7"), "{said}");
    assert_eq!(browser.eval(TITLE), "Tuesday");
    browser.screenshot("compiler-error");
    tree.edit("live/followed/src/lib.rs", "Tuesday;", "\"Wednesday\";");
    browser.wait_for(TITLE, "Wednesday");
    browser.wait_for(OVERLAY, false);

    // So is what is refused, until it is gone.
    tree.save("live/torn.wasm", "no component");
    browser.wait_for(OVERLAY, true);
    browser.screenshot("refused");
    std::fs::remove_file(tree.root().join("live/torn.wasm")).unwrap();
    browser.wait_for(OVERLAY, false);

    // A server that is started anew is found again.
    server.signal("INT");
    server.wait("retired");
    let (status, ..) = server.ended();
    assert!(status.success());
    tree.edit("live/followed/src/lib.rs", "Wednesday", "Thursday");
    let mut command = super::support::wasmhost();
    command.current_dir(tree.folder()).arg("dev");
    command.args(["--listen", &listen]);
    let _again = super::support::Server::start_as_told(command);
    browser.wait_for(TITLE, "Thursday");
    assert_eq!(browser.eval("document.querySelector('input').value"), "Ada");
}

#[test]
fn a_policy_with_a_nonce_lets_the_script_run() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let tree = SourceTree::new();
    tree.make(&["nonce"]);
    tree.save("nonce/src/lib.rs", STRICT);
    let server = tree.dev(&[]);
    browser.open(&format!("{}/nonce", server.url()));
    browser.wait_for(TITLE, "strict");
    tree.edit("nonce/src/lib.rs", "<h1>strict", "<h1>followed");
    browser.wait_for(TITLE, "followed");
    tree.edit("nonce/src/lib.rs", "Page;", "Page");
    // The overlay needs no style that the policy would have to allow.
    browser.wait_for(OVERLAY, true);
    assert_eq!(browser.console(), [""; 0]);
}
