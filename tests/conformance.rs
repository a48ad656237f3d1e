//! What programs of others, made to find fault with servers of HTTP, say of this one: `redbot` reads a response
//! as caches and clients do, `slowhttptest` holds connections open in the four
//! ways that are known, `smugglex` sends requests that two servers would understand in two ways.

use crate::support::{Server, Tool, Tree, wat_site::page};

fn site(manifest: &str) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(7, ""));
    let style = "p { margin: 0 }\n".repeat(400);
    tree.put("shop/static/site.css", &style);
    // Nobody unpacks it but to see that it is another form of the same.
    tree.put("shop/static/site.css.gz", gzip(style.as_bytes()));
    tree.put("wasmhost.toml", manifest);
    tree
}

/// As `gzip` would, without making it smaller: blocks that are stored as they are.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = content.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    let checksum = content.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => (sum >> 1) ^ 0xedb8_8320,
            _ => sum >> 1,
        })
    });
    file.extend((!checksum).to_le_bytes());
    file.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    file
}

#[test]
fn redbot_finds_no_fault_with_a_static_file() {
    let Some(redbot) = Tool::known_by("redbot", "--help") else {
        return;
    };
    let tree = site("");
    let server = Server::start(tree.root());
    let said = redbot.run(&["-o", "text", &format!("{}/shop/static/site.css", server.url())]);
    let notes: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("* ")?.strip_suffix('.'))
        .collect();
    // All that it says, good and bad: a fault is a line more.
    assert_eq!(
        notes,
        [
            "The server's clock is correct",
            "The Content-Length header is correct",
            "This response instructs browsers not to 'sniff' its media type",
            "Content negotiation for gzip compression is supported, saving 0%",
            "This response allows all caches to store it",
            "This response cannot be served from cache without validation",
            "If-None-Match conditional requests are supported",
            "A ranged request returned the correct partial content",
        ],
        "{said}"
    );
    let said = redbot.run(&["-o", "text", &format!("{}/shop/page", server.url())]);
    assert!(said.contains("The Content-Length header is correct."), "{said}");
}

#[test]
fn slowhttptest_does_not_bring_it_down() {
    let Some(slowhttptest) = Tool::known_by("slowhttptest", "-h") else {
        return;
    };
    let limits = "header-time = \"500ms\"\nidle-time = \"500ms\"\nwrite-time = \"500ms\"\n";
    let tree = site(&format!(
        "[server.limits]\n{limits}[groups.shop.limits]\nrequest-time = \"500ms\"\n"
    ));
    let server = Server::start(tree.root());
    for (attack, path) in [
        // Slow heads, slow bodies, overlapping ranges, slow reading.
        ("-H", "/shop/page"),
        ("-B", "/shop/page"),
        ("-R", "/shop/static/site.css"),
        ("-X", "/shop/static/site.css"),
    ] {
        let url = format!("{}{path}", server.url());
        let said = slowhttptest.run(&[attack, "-c", "300", "-r", "300", "-i", "1", "-l", "4", "-u", &url]);
        let said = plain(&said);
        assert!(said.contains("service available: YES"), "{attack}: {said}");
        assert!(!said.contains("service available: NO"), "{attack}: {said}");
        // Those who do not let a request come to its end are sent away; an answer that is small is taken by
        // the system, however slowly its client reads it.
        let sent_away = said.contains("Exit status: No open connections left");
        assert!(sent_away || attack == "-X", "{attack}: {said}");
        assert_eq!(server.client().get("/shop/page").body, [7], "{attack}");
    }
}

#[test]
fn smugglex_finds_no_way_to_smuggle() {
    let Some(smugglex) = Tool::known_by("smugglex", "--version") else {
        return;
    };
    let tree = site("");
    let server = Server::start(tree.root());
    for path in ["/shop/page", "/shop/static/site.css", "/nowhere"] {
        let url = format!("{}{path}", server.url());
        let said = smugglex.run(&["--no-color", "--timeout", "5", &url]);
        assert!(said.contains("found 0 vulnerabilities"), "{path}: {said}");
    }
}

/// Without the colours of a terminal, and with one blank where there are several.
fn plain(said: &str) -> String {
    let uncoloured: String = said
        .split('\x1b')
        .enumerate()
        .map(|(at, part)| match part.split_once('m') {
            Some((_, text)) if at > 0 => text,
            _ => part,
        })
        .collect();
    uncoloured.split_whitespace().collect::<Vec<_>>().join(" ")
}
