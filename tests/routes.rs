//! Which of several routes answers a path. What cannot be decided is refused by `check`, see its goldens.

use crate::support::{Server, Tree, wat_site::page};

#[test]
fn the_more_exact_route_answers() {
    let tree = Tree::empty();
    let pages = ["new", "item", "edit", "files", "readme", "below", "rest"];
    for (version, name) in (1..).zip(pages) {
        tree.put(format!("shop/{name}.wat"), page(version, ""));
    }
    tree.put(
        "wasmhost.toml",
        r#"[groups.shop.routes]
"/{*rest}" = "shop.rest"
"/items/{id}" = "shop.item"
"/items/new" = "shop.new"
"/items/{id}/edit" = "shop.edit"
"/files/{*path}" = "shop.files"
"/files/readme" = "shop.readme"
"/files/a/{name}" = "shop.below"
"#,
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (path, name) in [
        ("/items/new", "new"),
        ("/items/news", "item"),
        ("/items/new/", "rest"),
        ("/items/7/", "rest"),
        ("/items/7/edit", "edit"),
        ("/items/new/edit", "edit"),
        ("/items/7/other", "rest"),
        ("/files/readme", "readme"),
        ("/files/a", "files"),
        ("/files/a/b", "below"),
        ("/files/a/b/c", "files"),
        ("/shop/item", "item"),
        ("/elsewhere", "rest"),
    ] {
        let reply = client.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(pages[usize::from(reply.body[0]) - 1], name, "{path}");
    }
    assert_eq!(client.get("/").status, 404, "a rest is never empty");
}

#[test]
fn a_slash_at_the_end_is_passed_over_where_no_route_has_it() {
    let tree = Tree::empty();
    tree.put("shop/item.wat", page(1, ""));
    tree.put("shop/list.wat", page(2, ""));
    tree.put(
        "wasmhost.toml",
        "[groups.shop.routes]\n\"/items/{id}\" = \"shop.item\"\n\"/list\" = \"shop.list\"\n\"/both/\" = \"shop.list\"\n",
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (path, expected) in [
        ("/items/7/", Some(1)),
        ("/list/", Some(2)),
        ("/shop/list/", Some(2)),
        ("/both/", Some(2)),
        ("/both", None),
        ("/list//", None),
    ] {
        let reply = client.get(path);
        let found = (reply.status == 200).then(|| reply.body[0]);
        assert_eq!(found, expected, "{path}");
    }
}
