//! The main job: the example site is served, keeps its state, and is swapped group by group.

use crate::support::{Client, Reply, Server, Tree, variant};

/// Every component at version 2.0.0, and a type of the layout changed: see `recipe`.
pub fn second_version() -> std::path::PathBuf {
    let mut edits: Vec<(&str, &str, &str)> = [
        "shop/layout/frame/src/lib.rs",
        "shop/navigation/menu/src/lib.rs",
        "shop/widget/cart/src/lib.rs",
        "shop/widget/catalog/src/lib.rs",
        "shop/screen/home/src/lib.rs",
        "shop/screen/item/src/lib.rs",
        "shop/screen/cart/src/lib.rs",
        "api/echo/src/lib.rs",
    ]
    .map(|file| {
        (
            file,
            r#"const VERSION: &str = "1.0.0";"#,
            r#"const VERSION: &str = "2.0.0";"#,
        )
    })
    .into();
    // Two strings in the other order: sources compile as before, but the old would read a label as a
    // link's target if the types were not compared.
    edits.push((
        "shop/wit/shop.wit",
        "    label: string,\n    href: string,\n    current: bool,",
        "    href: string,\n    label: string,\n    current: bool,",
    ));
    variant("second-version", &edits)
}

/// The version of a component as the page's footer shows it.
pub fn version(page: &Reply, component: &str) -> String {
    page.attribute(&format!("data-component=\"{component}\""), "data-version")
}

/// How often the component's instance was called, as the page's footer shows it.
pub fn calls(page: &Reply, component: &str) -> u64 {
    page.attribute(&format!("data-component=\"{component}\""), "data-calls")
        .parse()
        .unwrap()
}

pub fn cart_count(client: &mut Client) -> u64 {
    client
        .get("/cart")
        .attribute("id=\"cart-count\"", "data-count")
        .parse()
        .unwrap()
}

pub fn put_into_cart(client: &mut Client, pieces: u64) {
    let reply = client.post("/cart", &format!("do=add&product=mug&amount={pieces}"));
    assert_eq!((reply.status, reply.header("location")), (303, Some("/cart")));
}

/// Requests that the `api` group's one instance has answered, this one included.
fn api_requests(client: &mut Client) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(&client.get("/api/count").body).unwrap();
    answer["requests"].as_u64().unwrap()
}

#[test]
fn the_example_site_is_served() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    let mut client = server.client();
    for path in [
        "/",
        "/shop/screen/home",
        "/items/mug",
        "/cart",
        "/shop/screen/cart/",
    ] {
        let page = client.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{path}"
        );
        assert_eq!(page.generation(), "shop@1", "{path}");
        assert!(page.text().starts_with("<!DOCTYPE html>"), "{path}");
    }
    let home = client.get("/");
    for component in [
        "shop.layout.frame",
        "shop.navigation.menu",
        "shop.widget.cart",
        "shop.widget.catalog",
    ] {
        assert_eq!(version(&home, component), "1.0.0");
    }
    assert_eq!(client.get("/items/none").status, 404, "a page of the site");
    assert_eq!(
        client.get("/nowhere").text(),
        "404 Not Found\n",
        "the host's own answer"
    );
    assert_eq!(client.get("/api/x").generation(), "api@1");
}

#[test]
fn the_cart_counts_from_request_to_request() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    put_into_cart(&mut server.client(), 2);
    put_into_cart(&mut server.client(), 1);
    assert_eq!(
        cart_count(&mut server.client()),
        3,
        "three connections, one state"
    );
}

#[test]
fn a_change_of_the_widget_alone_makes_the_whole_group_anew_and_leaves_the_other_group() {
    let next = second_version();
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 3);
    let before = client.get("/");
    assert_eq!(calls(&before, "shop.screen.home"), 1);
    let again = client.get("/");
    assert_eq!(
        (
            calls(&again, "shop.layout.frame"),
            calls(&again, "shop.navigation.menu")
        ),
        (2, 2)
    );
    assert_eq!(api_requests(&mut client), 1);

    tree.put(
        "shop/widget/cart.wasm",
        std::fs::read(next.join("shop/widget/cart.wasm")).unwrap(),
    );
    let swapped = server.wait("swapped");
    assert_eq!(swapped["group"], "shop");
    assert_eq!((&swapped["from"], &swapped["generation"]), (&1.into(), &2.into()));
    assert_eq!(
        swapped["causes"],
        serde_json::json!([{ "component": "shop.widget.cart", "change": "changed" }])
    );

    let after = client.get("/");
    assert_eq!(
        after.generation(),
        "shop@2",
        "on the connection that was open all the time"
    );
    assert_eq!(version(&after, "shop.widget.cart"), "2.0.0");
    assert_eq!(version(&after, "shop.screen.home"), "1.0.0");
    for component in ["shop.layout.frame", "shop.navigation.menu", "shop.screen.home"] {
        assert_eq!(calls(&after, component), 1, "{component} is a new instance");
    }
    assert_eq!(cart_count(&mut client), 0, "the count starts anew");
    let api = client.get("/api/count");
    assert_eq!(api.generation(), "api@1", "the other group was not touched");
    assert_eq!(api_requests(&mut client), 3, "and kept its state");
}

#[test]
fn components_that_come_and_go_are_changes() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(client.get("/shop/screen/more").status, 404);

    tree.put("shop/screen/more.wasm", tree.read("shop/screen/home.wasm"));
    let swapped = server.wait("swapped");
    assert_eq!(
        swapped["causes"],
        serde_json::json!([{ "component": "shop.screen.more", "change": "added" }])
    );
    assert_eq!(swapped["modules_compiled"], 0, "its modules are those of home");
    assert_eq!(client.get("/shop/screen/more").status, 200);

    tree.remove("shop/screen/more.wasm");
    let swapped = server.wait("swapped");
    assert_eq!(
        swapped["causes"],
        serde_json::json!([{ "component": "shop.screen.more", "change": "removed" }])
    );
    assert_eq!(client.get("/shop/screen/more").status, 404);

    tree.put("blog/index.wasm", tree.read("api/echo.wasm"));
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["from"]),
        (&"blog".into(), &serde_json::Value::Null)
    );
    assert_eq!(client.get("/blog").generation(), "blog@1");

    tree.remove("blog/index.wasm");
    let retired = server.wait_for("retired", |event| event["group"] == "blog");
    assert_eq!(retired["generation"], 1);
    assert_eq!(client.get("/blog").status, 404);
}

#[test]
fn a_changed_manifest_changes_routes() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(client.get("/basket").status, 404);
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put("wasmhost.toml", manifest.replace("\"/cart\" =", "\"/basket\" ="));
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["causes"]),
        (&"shop".into(), &serde_json::json!([]))
    );
    assert_eq!(client.get("/basket").status, 200);
    assert_eq!(client.get("/cart").status, 404);
}
