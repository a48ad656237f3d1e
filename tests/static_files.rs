//! The folder `static` of a group: what of it is served, how, and that it is swapped with its group.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use crate::support::{
    Client, Reply, Server, Tree, wasmhost,
    wat_site::{page, version},
};

/// A group `shop` of one page and these static files.
fn shop(files: &[(&str, &[u8])]) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(1, ""));
    for (file, content) in files {
        tree.put(format!("shop/static/{file}"), content);
    }
    tree
}

fn ask(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    client.request("GET", path, headers, b"")
}

fn tag(reply: &Reply) -> String {
    reply.header("etag").expect("a tag").to_owned()
}

#[test]
fn the_example_site_has_its_stylesheet() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    let mut client = server.client();
    let page = client.get("/");
    let href = page.attribute("rel=\"stylesheet\"", "href");
    let style = client.get(&href);
    assert_eq!((style.status, style.generation()), (200, page.generation()));
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(style.body, tree.read("shop/static/site.css"));
}

#[test]
fn files_have_types_and_tags() {
    let tree = shop(&[
        ("site.css", "a { color: red } /* ä */".as_bytes()),
        ("latin.txt", b"\xe4"),
        ("app.js", b"1"),
        ("app.wasm", b"\0asm"),
        ("pictures/a b.svg", b"<svg/>"),
        ("LICENSE", b"none"),
        ("empty.css", b""),
    ]);
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (path, kind) in [
        ("site.css", "text/css; charset=utf-8"),
        ("latin.txt", "text/plain"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.wasm", "application/wasm"),
        ("pictures/a%20b.svg", "image/svg+xml"),
        ("LICENSE", "application/octet-stream"),
        ("empty.css", "text/css; charset=utf-8"),
    ] {
        let reply = client.get(&format!("/shop/static/{path}"));
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
        assert_eq!(reply.generation(), "shop@1");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        assert_eq!(reply.header("last-modified"), None, "there are no times");
    }
    let whole = client.get("/shop/static/site.css");
    assert_eq!(whole.body, "a { color: red } /* ä */".as_bytes());
    let head = client.request("HEAD", "/shop/static/site.css", &[], b"");
    assert_eq!(head.status, 200);
    for name in ["content-length", "content-type", "etag"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    let tags = format!("\"other\", W/{}", tag(&whole));
    for method in ["GET", "HEAD"] {
        let same = client.request(method, "/shop/static/site.css", &[("if-none-match", &tags)], b"");
        assert_eq!((same.status, same.body.len()), (304, 0), "{method}");
        assert_eq!(same.header("etag"), whole.header("etag"));
        assert_eq!(same.header("vary"), Some("accept-encoding"));
        assert_eq!(same.generation(), "shop@1");
    }
    let lost = ask(&mut client, "/shop/static/site.css", &[("if-match", "\"other\"")]);
    assert_eq!(lost.status, 412);
    let by_time = [("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT")];
    assert_eq!(ask(&mut client, "/shop/static/site.css", &by_time).status, 200);
}

#[test]
fn a_tag_is_of_the_content_and_of_nothing_else() {
    let tree = shop(&[("a.css", b"same"), ("b.css", b"same"), ("c.css", b"also")]);
    let tags = |tree: &Tree| -> Vec<String> {
        let server = Server::start(tree.root());
        let mut client = server.client();
        ["a", "b", "c"]
            .map(|name| tag(&client.get(&format!("/shop/static/{name}.css"))))
            .into()
    };
    let first = tags(&tree);
    assert_eq!(first[0], first[1]);
    assert_ne!(first[0], first[2], "of the same size");
    // The same content, later, in a new file.
    tree.remove("shop/static/a.css");
    tree.put("shop/static/a.css", "same");
    assert_eq!(tags(&tree), first);
}

#[test]
fn ranges_are_served() {
    let tree = shop(&[("digits.txt", b"0123456789")]);
    let server = Server::start(tree.root());
    let mut client = server.client();
    let path = "/shop/static/digits.txt";
    let own = tag(&client.get(path));
    let mut check = |headers: &[(&str, &str)], status: u16, body: &str, range: Option<&str>| {
        let reply = ask(&mut client, path, headers);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, body),
            "{headers:?}"
        );
        assert_eq!(reply.header("content-range"), range, "{headers:?}");
        assert_eq!(reply.generation(), "shop@1");
    };
    check(&[("range", "bytes=2-4")], 206, "234", Some("bytes 2-4/10"));
    check(&[("range", "bytes=7-")], 206, "789", Some("bytes 7-9/10"));
    check(&[("range", "bytes=-2")], 206, "89", Some("bytes 8-9/10"));
    check(&[("range", "bytes=8-100")], 206, "89", Some("bytes 8-9/10"));
    check(&[("range", "bytes=0-1,4-5")], 200, "0123456789", None);
    let unsatisfiable = "416 Range Not Satisfiable\n";
    check(&[("range", "bytes=10-")], 416, unsatisfiable, Some("bytes */10"));
    // A client that goes on with what it has of other content gets all of this.
    check(
        &[("range", "bytes=2-4"), ("if-range", &own)],
        206,
        "234",
        Some("bytes 2-4/10"),
    );
    check(
        &[("range", "bytes=2-4"), ("if-range", "\"other\"")],
        200,
        "0123456789",
        None,
    );
    let date = "Fri, 31 Dec 9999 23:59:59 GMT";
    check(
        &[("range", "bytes=2-4"), ("if-range", date)],
        200,
        "0123456789",
        None,
    );
}

#[test]
fn precompressed_variants_are_preferred_by_whom_they_suit() {
    let tree = shop(&[
        ("site.css", b"plain"),
        ("site.css.br", b"br"),
        ("site.css.gz", b"gz"),
        ("site.css.zst", b"zst"),
        ("app.js", b"plain"),
        ("app.js.gz", b"gz"),
    ]);
    let server = Server::start(tree.root());
    let mut client = server.client();
    let mut tags = Vec::new();
    for (path, accepted, encoding) in [
        ("site.css", "", None),
        ("site.css", "br", Some("br")),
        ("site.css", "gzip", Some("gzip")),
        ("site.css", "zstd", Some("zstd")),
        ("site.css", "br;q=0.1, gzip;q=0.9", Some("gzip")),
        ("site.css", "br;q=0, identity", None),
        ("app.js", "br, gzip;q=0.5", Some("gzip")),
        ("app.js", "br", None),
    ] {
        let path = format!("/shop/static/{path}");
        let reply = ask(&mut client, &path, &[("accept-encoding", accepted)]);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-encoding"), encoding, "{path} {accepted}");
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
        let content = match encoding {
            None => "plain",
            Some("gzip") => "gz",
            Some("zstd") => "zst",
            Some(other) => other,
        };
        assert_eq!(reply.text(), content, "{path} {accepted}");
        let kind = reply.header("content-type").unwrap();
        assert!(kind.starts_with("text/"), "{kind}");
        tags.push((tag(&reply), content));
        // The tag is the variant's: asked again by the same client it is still right.
        let again = [("accept-encoding", accepted), ("if-none-match", &tag(&reply))];
        assert_eq!(ask(&mut client, &path, &again).status, 304);
        let part = [
            ("accept-encoding", accepted),
            ("range", "bytes=1-1"),
            ("if-range", &tag(&reply)),
        ];
        assert_eq!(ask(&mut client, &path, &part).body, content.as_bytes()[1..2]);
    }
    for (tag, content) in &tags {
        assert!(
            tags.iter().all(|(other, of)| (other == tag) == (of == content)),
            "{tags:?}"
        );
    }
}

#[test]
fn nothing_else_of_the_tree_can_be_had() {
    let tree = shop(&[
        ("site.css", b"a"),
        (".hidden.css", b"a"),
        (".git/config", b"a"),
        ("docs/deep/a.css", b"a"),
    ]);
    tree.put("shop/secret.css", "secret");
    let server = Server::start(tree.root());
    let mut client = server.client();
    for path in [
        "/../secret.css",
        "/%2e%2e/secret.css",
        "/..%2fsecret.css",
        "/..%5csecret.css",
        "/docs/../../secret.css",
        "/docs/%2e%2e/%2e%2e/secret.css",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%00",
        "/site.css%00",
        "/site.css/",
        "/site.css/a",
        "/.hidden.css",
        "/.git/config",
        "/%2egit/config",
        "/docs/",
        "/docs/deep/",
        "/missing",
        "/%ff",
        "/",
    ] {
        let reply = client.get(&format!("/shop/static{path}"));
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (404, "404 Not Found\n"),
            "{path}"
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.generation(), "shop@1");
    }
    assert_eq!(client.get("/shop/static").status, 404, "no route");
    assert_eq!(client.get("/shop/%73tatic/site.css").status, 404, "no route");
    for (path, status) in [
        ("/./site.css", 200),
        ("/docs/deep/a.css", 200),
        ("/s%69te.css", 200),
        ("/site.css%2f", 200),
    ] {
        assert_eq!(
            client.get(&format!("/shop/static{path}")).status,
            status,
            "{path}"
        );
    }
}

#[test]
fn a_folder_is_its_index() {
    let tree = shop(&[("index.html", b"top"), ("docs/index.html", b"docs")]);
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (path, body) in [("/shop/static/", "top"), ("/shop/static/docs/", "docs")] {
        let reply = client.get(path);
        assert_eq!((reply.status, reply.text().as_str()), (200, body));
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    }
    let moved = client.get("/shop/static/docs");
    assert_eq!(
        (moved.status, moved.header("location")),
        (307, Some("/shop/static/docs/"))
    );
    assert_eq!(moved.generation(), "shop@1");
}

#[test]
fn files_are_read_only() {
    let tree = shop(&[("site.css", b"a")]);
    let server = Server::start(tree.root());
    let mut client = server.client();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let reply = client.request(method, "/shop/static/site.css", &[], b"");
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let options = client.request("OPTIONS", "/shop/static/site.css", &[], b"");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(tree.read("shop/static/site.css"), b"a");
}

#[test]
fn a_change_of_a_file_is_a_swap_of_its_group() {
    let tree = shop(&[("site.css", b"one"), ("pictures/old.svg", b"<svg/>")]);
    tree.put("api/page.wat", page(9, ""));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let cause = |file: &str, change: &str| json!([{ "file": file, "change": change }]);

    tree.put("shop/static/site.css", "two");
    let swapped = server.wait("swapped");
    assert_eq!(swapped["causes"], cause("shop/static/site.css", "changed"));
    assert_eq!(
        (
            &swapped["group"],
            &swapped["generation"],
            &swapped["functions_compiled"]
        ),
        (&json!("shop"), &json!(2), &json!(0))
    );
    let reply = client.get("/shop/static/site.css");
    assert_eq!((reply.text().as_str(), reply.generation()), ("two", "shop@2"));
    assert_eq!(
        client.get("/shop/page").generation(),
        "shop@2",
        "all of the group moves"
    );
    assert_eq!(client.get("/api/page").generation(), "api@1");

    tree.put("shop/static/new/a.js", "1");
    assert_eq!(
        server.wait("swapped")["causes"],
        cause("shop/static/new/a.js", "added")
    );
    assert_eq!(client.get("/shop/static/new/a.js").text(), "1");
    // In place, in a folder that is new to whoever watches.
    tree.overwrite("shop/static/new/a.js", "2");
    assert_eq!(
        server.wait("swapped")["causes"],
        cause("shop/static/new/a.js", "changed")
    );

    tree.remove("shop/static/pictures/old.svg");
    assert_eq!(
        server.wait("swapped")["causes"],
        cause("shop/static/pictures/old.svg", "removed")
    );
    assert_eq!(client.get("/shop/static/pictures/old.svg").status, 404);

    // A group that had no such folder.
    tree.put("api/static/site.css", "api");
    assert_eq!(
        server.wait("swapped")["causes"],
        cause("api/static/site.css", "added")
    );
    assert_eq!(client.get("/api/static/site.css").generation(), "api@2");
    fs::remove_dir_all(tree.path("api/static")).unwrap();
    assert_eq!(
        server.wait("swapped")["causes"],
        cause("api/static/site.css", "removed")
    );
    assert_eq!(client.get("/api/static/site.css").status, 404);

    let explained = wasmhost()
        .args(["status", "--explain", "api", "--root"])
        .arg(tree.root())
        .output()
        .unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("api/static/site.css removed"), "{explained}");
}

#[test]
fn what_changes_nothing_swaps_nothing() {
    let tree = shop(&[("site.css", b"one")]);
    let mut server = Server::start(tree.root());
    tree.put("shop/static/.site.css.swp", "an editor's");
    tree.put("shop/static/site.css", "one");
    tree.put("shop/static/last.css", "1");
    let swapped = server.wait("swapped");
    assert_eq!(
        swapped["causes"],
        json!([{ "file": "shop/static/last.css", "change": "added" }])
    );
    assert_eq!(swapped["generation"], 2);
}

#[test]
fn who_began_to_read_a_file_reads_it_to_its_end() {
    const SIZE: usize = 20 << 20;
    let tree = shop(&[("large.bin", &vec![b'1'; SIZE])]);
    let mut server = Server::start(tree.root());
    let mut reader = server.client();
    reader.send("GET", "/shop/static/large.bin", &[], b"").unwrap();
    let head = reader.receive_head().unwrap();
    assert_eq!(head.generation(), "shop@1");

    tree.put("shop/static/large.bin", vec![b'2'; SIZE]);
    server.wait("swapped");
    let mut later = server.client();
    later.send("GET", "/shop/static/large.bin", &[], b"").unwrap();
    let later_head = later.receive_head().unwrap();
    assert_eq!(later_head.generation(), "shop@2");
    assert_eq!(later.receive_only(b'2', &later_head).unwrap(), SIZE);
    // It is held as long as it is read, and no longer.
    assert!(!server.seen().iter().any(|event| event["event"] == "retired"));
    assert_eq!(reader.receive_only(b'1', &head).unwrap(), SIZE);
    let retired = server.wait("retired");
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn a_reader_does_not_hold_an_old_generation_beyond_its_drain() {
    const SIZE: usize = 20 << 20;
    let tree = shop(&[("large.bin", &vec![b'1'; SIZE])]);
    tree.put("wasmhost.toml", "[groups.shop.swap]\ndrain = \"200ms\"\n");
    let mut server = Server::start(tree.root());
    let mut reader = server.client();
    reader.send("GET", "/shop/static/large.bin", &[], b"").unwrap();
    let head = reader.receive_head().unwrap();
    tree.remove("shop/static/large.bin");
    assert_eq!(server.wait("retired")["aborted"], 1);
    assert!(reader.receive_only(b'1', &head).is_err(), "it breaks off");
}

#[test]
fn requests_wait_for_a_file_too() {
    let tree = shop(&[("site.css", b"0")]);
    tree.put("wasmhost.toml", "[groups.shop.swap]\nrequests = \"wait\"\n");
    let server = Server::start(tree.root());
    let mut client = server.client();
    for number in 1..=10 {
        let content = number.to_string();
        tree.put("shop/static/site.css", &content);
        assert_eq!(client.get("/shop/static/site.css").text(), content);
        tree.put(format!("shop/static/{number}.css"), &content);
        assert_eq!(client.get(&format!("/shop/static/{number}.css")).text(), content);
    }
}

#[test]
fn files_outlive_a_restart_on_a_broken_tree() {
    let tree = shop(&[("site.css", b"kept"), ("copy.css", b"kept")]);
    {
        let mut server = Server::start(tree.root());
        tree.put("shop/static/site.css", "newest");
        server.wait("swapped");
    }
    tree.put("shop/static/site.css", "never served");
    tree.put("shop/page.wat", "torn");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for (file, content) in [("site.css", "newest"), ("copy.css", "kept")] {
        assert_eq!(client.get(&format!("/shop/static/{file}")).text(), content);
    }
    assert_eq!(version(&mut client, "shop"), 1);
    tree.put("shop/page.wat", page(2, ""));
    server.wait("swapped");
    assert_eq!(client.get("/shop/static/site.css").text(), "never served");
}

#[test]
fn what_cannot_be_served_is_refused_and_the_last_good_goes_on() {
    let tree = shop(&[("site.css", b"good")]);
    tree.put("outside.css", "secret");
    tree.put("wasmhost.toml", "[groups.shop.limits]\nstatic = \"1KiB\"\n");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let mut refused = |code: &str| {
        let rejected = server.wait("rejected");
        assert_eq!(rejected["diagnostics"][0]["code"], code);
        assert_eq!(rejected["kept"], 1);
        assert_eq!(client.get("/shop/static/site.css").text(), "good");
    };
    // The same refusal is said once: each link has a name of its own.
    for (name, target) in [
        ("a.css", tree.path("outside.css")),
        ("b.css", "../../outside.css".into()),
        ("c.css", "/etc".into()),
    ] {
        let link = tree.path("shop/static").join(name);
        symlink(target, &link).unwrap();
        refused("static-outside");
        fs::remove_file(&link).unwrap();
    }
    tree.put("shop/static/large.css", vec![b'a'; 2000]);
    refused("static-too-large");
    tree.remove("shop/static/large.css");
    // A link to another place of the same folder is one more name.
    symlink("site.css", tree.path("shop/static/link.css")).unwrap();
    let swapped = server.wait("swapped");
    assert_eq!(
        swapped["causes"],
        json!([{ "file": "shop/static/link.css", "change": "added" }])
    );
    assert_eq!(server.client().get("/shop/static/link.css").text(), "good");
}

#[test]
fn a_folder_may_be_a_link_that_is_switched() {
    let tree = shop(&[]);
    let (builds, link) = (tree.path(".builds"), tree.path("shop/static"));
    for number in ["1", "2"] {
        fs::create_dir_all(builds.join(number)).unwrap();
        fs::write(builds.join(number).join("site.css"), number).unwrap();
    }
    symlink(builds.join("1"), &link).unwrap();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(client.get("/shop/static/site.css").text(), "1");
    symlink(builds.join("2"), tree.path("shop/.next")).unwrap();
    fs::rename(tree.path("shop/.next"), &link).unwrap();
    server.wait("swapped");
    assert_eq!(client.get("/shop/static/site.css").text(), "2");
}

#[test]
fn groups_of_other_shapes_have_files_too() {
    let tree = Tree::empty();
    for (number, id) in [
        (1, "index"),
        (2, "shop/page"),
        (3, "shop/admin/page"),
        (4, "blog/page"),
    ] {
        tree.put(format!("{id}.wat"), page(number, ""));
    }
    for folder in ["", "shop/", "shop/admin/", "blog/", "assets/"] {
        tree.put(
            format!("{folder}static/{}a.css", folder.replace('/', "-")),
            folder,
        );
    }
    tree.put("blog/deep/static/never.css", "not a top folder");
    tree.put(
        "wasmhost.toml",
        "[groups.site]\nnamespaces = [\"shop\", \"blog\"]\n[groups.admin]\nnamespaces = [\"shop.admin\"]\n\
         [groups.site.routes]\n\"/site/static/b.css\" = \"blog.page\"\n\"/{*rest}\" = \"blog.page\"\n",
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (path, body) in [
        ("/root/static/a.css", ""),
        ("/site/static/shop-a.css", "shop/"),
        ("/site/static/blog-a.css", "blog/"),
        ("/admin/static/shop-admin-a.css", "shop/admin/"),
        ("/site/static/b.css", "\u{4}"),
        ("/shop/static/shop-a.css", "\u{4}"),
        ("/assets/static/assets-a.css", "\u{4}"),
    ] {
        let reply = client.get(path);
        assert_eq!((reply.status, reply.text().as_str()), (200, body), "{path}");
    }
    assert_eq!(client.get("/site/static/never.css").status, 404);
}

#[test]
fn files_of_a_group_that_is_down_are_not_there_yet() {
    let tree = shop(&[("site.css", b"a")]);
    tree.put("shop/page.wat", "torn");
    tree.put("api/page.wat", page(1, ""));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let reply = client.get("/shop/static/site.css");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    tree.put("shop/page.wat", page(1, ""));
    server.wait("swapped");
    assert_eq!(client.get("/shop/static/site.css").text(), "a");
}

#[test]
fn a_file_that_does_not_change_is_in_memory_once() {
    const SIZE: usize = 60 << 20;
    let tree = shop(&[("large.bin", &vec![b'1'; SIZE]), ("small.css", b"0")]);
    tree.put("wasmhost.toml", "[groups.shop.swap]\ndrain = \"30s\"\n");
    let mut server = Server::start(tree.root());
    // Each holds its generation.
    let mut readers = Vec::new();
    for number in 1..=8 {
        let mut reader = server.client();
        reader.send("GET", "/shop/static/large.bin", &[], b"").unwrap();
        reader.receive_head().unwrap();
        readers.push(reader);
        tree.put("shop/static/small.css", number.to_string());
        server.wait("swapped");
    }
    // One for the generations, and some for looks that are under way.
    let most = 6 * SIZE as u64;
    assert!(server.peak_memory() < most, "{} bytes", server.peak_memory());
    drop(readers);
}
