//! What is kept, on a real folder.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;

use super::*;
use crate::project::{
    self, Component, ComponentId, Directory, FleetSpec, Grants, Instances, Limits, Origin, Probation,
    Requests, Route, ServerLimits, StaticFile, TlsFiles,
};

fn spec(name: &str, content: &str) -> GroupSpec {
    let id = |text: &str| ComponentId::parse(text).unwrap();
    let component = |name: &str, bytes: &str| {
        let component = Component {
            id: id(name),
            path: Path::new("/site").join(name),
            digest: Digest::of(bytes.as_bytes()),
            content: project::Content::Held(Bytes::from(bytes.to_owned())),
        };
        (id(name), component)
    };
    let same = StaticFile {
        path: "/site/a/static/same.css".into(),
        digest: Digest::of(b"same"),
        bytes: Bytes::from_static(b"same"),
    };
    let spec = GroupSpec {
        name: name.into(),
        files: BTreeMap::from([("same.css".into(), same)]),
        components: BTreeMap::from([component("a.page", content), component("a.same", "same")]),
        routes: vec![Route {
            pattern: "/{x}".into(),
            component: id("a.page"),
        }],
        wire: BTreeMap::from([(id("a.page"), BTreeMap::from([("x:y/z".into(), id("a.same"))]))]),
        limits: Limits {
            memory: 7,
            ..Limits::default()
        },
        grants: Grants {
            http: Origin::parse("http://127.0.0.1:9000").into_iter().collect(),
            env: BTreeMap::from([("LANG".into(), "en".into())]),
            config: BTreeMap::from([("greeting".into(), "hello".into())]),
            directories: vec![Directory {
                host: "/site/data".into(),
                guest: "/data".into(),
                write: true,
            }],
            keyvalue: Some(project::KeyValue::Durable),
        },
        drain: std::time::Duration::from_millis(1500),
        requests: Requests::Wait,
        probation: Some(Probation::default()),
        instances: Instances::Pool(3),
        state: project::State::Migrate,
        checkpoint: Some(std::time::Duration::from_secs(30)),
        digest: Digest::of(b""),
        wire_places: BTreeMap::new(),
    };
    spec.with_digest()
}

fn server_spec() -> ServerSpec {
    ServerSpec {
        listen: vec![
            "https://127.0.0.1:81".parse().unwrap(),
            "unix:/s".parse().unwrap(),
        ],
        tls: Some(TlsFiles {
            certificate: "/site/cert.pem".into(),
            key: "/site/key.pem".into(),
        }),
        limits: ServerLimits {
            connections: 7,
            ..ServerLimits::default()
        },
        admin: None,
        fleet: FleetSpec::default(),
        ready: None,
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn kept(&self, root: &str) -> Kept {
        Kept::new(self.0.path(), Path::new(root))
    }

    /// Runs a keeper to its end.
    fn keep(&self, orders: impl FnOnce(&Keeper)) {
        orders(&Keeper::start(self.kept("/site")).unwrap());
    }

    fn contents(&self, group: &str) -> Vec<String> {
        let kept = self.kept("/site");
        kept.contents(group)
            .map(|spec| {
                String::from_utf8(spec.components.values().next().unwrap().bytes().unwrap().to_vec()).unwrap()
            })
            .collect()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let files = fs::read_dir(self.0.path().join(folder)).unwrap();
        let mut files: Vec<_> = files
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }
}

#[test]
fn a_group_comes_back_as_it_was() {
    let folder = Folder::new();
    let spec = spec("shop", "1");
    folder.keep(|keeper| {
        keeper.keep([spec.clone()]);
        keeper.server(server_spec());
    });
    let kept = folder.kept("/site");
    let back = kept.contents("shop").next().unwrap();
    assert_eq!(back.digest, spec.digest, "all that counts is there");
    assert_eq!(back.files["same.css"].bytes, "same");
    assert_eq!(
        (back.routes, back.wire, back.limits, back.grants),
        (spec.routes, spec.wire, spec.limits, spec.grants)
    );
    assert_eq!((back.drain, back.requests), (spec.drain, spec.requests));
    assert_eq!(kept.groups(), ["shop"]);
    assert_eq!(kept.server(), Some(server_spec()));
}

#[test]
fn the_last_contents_are_kept_and_no_others() {
    let folder = Folder::new();
    for content in ["1", "2", "3", "4", "3"] {
        folder.keep(|keeper| keeper.keep([spec("shop", content)]));
    }
    assert_eq!(folder.contents("shop"), ["3", "4", "2"]);
    assert_eq!(
        folder.files("kept/blobs").len(),
        4,
        "three pages and what they share"
    );
    assert_eq!(folder.files("kept"), [".lock", "blobs", "shop.json"]);
}

#[test]
fn what_is_damaged_is_passed_over_and_written_anew() {
    let folder = Folder::new();
    folder.keep(|keeper| keeper.keep([spec("shop", "1")]));
    folder.keep(|keeper| keeper.keep([spec("shop", "2")]));
    let blob = folder.kept("/site").blob_file(Digest::of(b"2"));
    fs::write(&blob, "X").unwrap();
    assert_eq!(folder.contents("shop"), ["1"]);
    folder.keep(|keeper| keeper.keep([spec("shop", "2")]));
    assert_eq!(folder.contents("shop"), ["2", "1"]);

    fs::write(folder.0.path().join("kept/shop.json"), "{\"root\": \"/si").unwrap();
    assert_eq!(
        (folder.contents("shop"), folder.kept("/site").groups()),
        (vec![], vec![])
    );
    folder.keep(|keeper| keeper.keep([spec("shop", "3")]));
    assert_eq!(folder.contents("shop"), ["3"]);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let folder = Folder::new();
    folder.keep(|keeper| keeper.keep([spec("shop", "1")]));
    for file in ["kept/.new-x", "kept/blobs/.new-y", "kept/blobs/nobodys"] {
        fs::write(folder.0.path().join(file), "half").unwrap();
    }
    folder.keep(|keeper| keeper.keep([spec("shop", "2")]));
    assert_eq!(folder.files("kept"), [".lock", "blobs", "shop.json"]);
    assert_eq!(folder.files("kept/blobs").len(), 3);
}

#[test]
fn a_group_that_is_gone_is_kept_but_not_served() {
    let folder = Folder::new();
    folder.keep(|keeper| keeper.keep([spec("shop", "1"), spec("blog", "1")]));
    folder.keep(|keeper| keeper.gone("shop"));
    assert_eq!(folder.kept("/site").groups(), ["blog"]);
    assert_eq!(folder.contents("shop"), ["1"]);
    for number in 0..GONE_GROUPS + 5 {
        let name = format!("g{number}");
        folder.keep(|keeper| keeper.keep([spec(&name, &name)]));
        folder.keep(|keeper| keeper.gone(&name));
    }
    let records = folder.files("kept").len() - [".lock", "blobs", "blog.json"].len();
    assert_eq!(records, GONE_GROUPS);
    assert_eq!(folder.files("kept/blobs").len(), GONE_GROUPS + 2);
}

#[test]
fn another_root_is_another_site() {
    let folder = Folder::new();
    folder.keep(|keeper| keeper.keep([spec("shop", "1")]));
    assert_eq!(folder.kept("/other").groups(), [""; 0]);
    assert_eq!(folder.kept("/other").contents("shop").count(), 0);

    // A state directory inside of its root moves with it.
    let kept = |root: &str| Kept::new(&Path::new(root).join(".wasmhost"), Path::new(root));
    assert_eq!(kept("/a").root, kept("/b").root);
}

#[test]
fn one_process_at_a_time_writes() {
    let folder = Folder::new();
    let first = Keeper::start(folder.kept("/site")).unwrap();
    first.keep([spec("shop", "1")]);
    while folder.contents("shop").is_empty() {
        std::thread::yield_now();
    }
    folder.keep(|second| second.keep([spec("shop", "2")]));
    assert_eq!(folder.contents("shop"), ["1"]);
    drop(first);
    folder.keep(|second| second.keep([spec("shop", "2")]));
    assert_eq!(folder.contents("shop"), ["2", "1"]);
}

#[test]
fn what_is_kept_is_read_once_after_each_change() {
    let folder = Folder::new();
    let keeper = Keeper::start(folder.kept("/site")).unwrap();
    let own = keeper.folder();
    let [first, second] = ["1", "2"].map(|content| spec("shop", content));
    let both = [second.digest, first.digest];
    assert_eq!(own.digests("shop"), []);
    keeper.keep([first]);
    assert_eq!(own.digests("shop"), both[1..]);
    // Of two that wait for the disk, the newer one alone is kept.
    while folder.files("kept") != [".lock", "blobs", "shop.json"] {
        std::thread::yield_now();
    }
    keeper.keep([second]);
    assert_eq!(own.digests("shop"), both);
    drop(keeper);
    assert_eq!(own.digests("shop"), both);

    // Nobody else may write it.
    fs::remove_file(folder.0.path().join("kept/shop.json")).unwrap();
    assert_eq!(own.digests("shop"), both);
    let other = super::Folder::new(folder.kept("/site"));
    assert_eq!(other.digests("shop"), [], "who may not write reads");
}

/// What a kill between a commit and its record leaves.
#[test]
fn what_is_announced_is_found_by_the_next_start() {
    let folder = Folder::new();
    folder.keep(|keeper| keeper.keep([spec("shop", "1")]));
    let announce = |content: &str| {
        let ahead = super::Folder::new(folder.kept("/site"));
        let spec = spec("shop", content);
        drop(ahead.expect(&spec).unwrap());
        ahead.announce("shop", &Change::serves(spec)).unwrap();
    };
    announce("2");
    assert_eq!(folder.contents("shop"), ["2", "1"]);
    announce("3");
    assert_eq!(folder.contents("shop"), ["3", "1"]);
    // The record catches up, and nothing is left of what was said ahead of it.
    folder.keep(|keeper| keeper.keep([spec("shop", "4")]));
    assert_eq!(folder.contents("shop"), ["4", "1"]);
    assert_eq!(folder.files("kept"), [".lock", "blobs", "shop.json"]);
    assert_eq!(folder.files("kept/blobs").len(), 3);

    announce("5");
    let ahead = super::Folder::new(folder.kept("/site"));
    ahead.announce("shop", &Change::default()).unwrap();
    assert_eq!(folder.kept("/site").groups(), [""; 0]);
}

#[test]
fn what_cannot_be_announced_takes_back_what_was() {
    let folder = Folder::new();
    let ahead = super::Folder::new(folder.kept("/site"));
    ahead
        .announce("shop", &Change::serves(spec("shop", "1")))
        .unwrap();
    // No place for components any more.
    let blobs = folder.kept("/site").blobs();
    fs::remove_dir_all(&blobs).unwrap();
    fs::write(&blobs, "").unwrap();
    ahead
        .announce("shop", &Change::serves(spec("shop", "2")))
        .unwrap_err();
    assert_eq!(folder.contents("shop"), [""; 0], "1 is not the newest any more");
}

#[test]
fn what_a_build_expects_is_not_swept() {
    let folder = Folder::new();
    let keeper = Keeper::start(folder.kept("/site")).unwrap();
    let expected = keeper.folder().expect(&spec("shop", "2")).unwrap();
    keeper.keep([spec("shop", "1")]);
    drop(keeper);
    assert_eq!(folder.files("kept/blobs").len(), 3);
    drop(expected);
    folder.keep(|keeper| keeper.keep([spec("shop", "3")]));
    assert_eq!(folder.files("kept/blobs").len(), 3, "2 is gone");
}
