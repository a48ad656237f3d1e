//! Content decides: every way in which files are replaced is noticed, what is no change is none, and
//! what is wrong with the disk leaves the last good content serving.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::support::{
    Server, Tree, skipped, wasmhost,
    wat_site::{library, linked_page, page, site, version},
};

const PAGE: &str = "shop/page.wat";

const WAIT: &str = "[groups.shop.swap]\nrequests = \"wait\"\n";

/// A core module, as cargo-component leaves it at the path for a moment.
const CORE_MODULE: &str = "(module)";

/// A way to replace a file by other content.
type Way = (&'static str, fn(&Tree, &str));

const WAYS: [Way; 8] = [
    ("in place", |tree, content| tree.overwrite(PAGE, content)),
    ("rename", |tree, content| tree.put(PAGE, content)),
    ("delete and recreate", |tree, content| {
        tree.remove(PAGE);
        tree.overwrite(PAGE, content);
    }),
    ("hard link", |tree, content| {
        // As cargo puts what it has built in its place.
        tree.put("target/deps/page.wat", content);
        tree.remove(PAGE);
        fs::hard_link(tree.path("target/deps/page.wat"), tree.path(PAGE)).unwrap();
    }),
    ("symlink switch", |tree, content| {
        let target = tree.path(format!("_releases/{}.wat", content.len()));
        tree.put(&target, content);
        let _ = fs::remove_file(tree.path("shop/.next"));
        symlink(target, tree.path("shop/.next")).unwrap();
        fs::rename(tree.path("shop/.next"), tree.path(PAGE)).unwrap();
    }),
    ("a target of a symlink", |tree, content| {
        let target = fs::read_link(tree.path(PAGE)).unwrap();
        tree.overwrite(&target, content);
    }),
    ("older time stamp", |tree, content| {
        tree.put("shop/.next", content);
        set_modified(
            &tree.path("shop/.next"),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        );
        fs::rename(tree.path("shop/.next"), tree.path(PAGE)).unwrap();
    }),
    ("same time and size", |tree, content| {
        let path = tree.path(PAGE);
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.len(), content.len() as u64);
        tree.overwrite(PAGE, content);
        set_modified(&path, before.modified().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mtime_nsec(), before.mtime_nsec());
    }),
];

fn set_modified(path: &Path, time: SystemTime) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn count(server: &mut Server, event: &str) -> usize {
    server.seen().iter().filter(|seen| seen["event"] == event).count()
}

fn of(group: &str) -> impl Fn(&Value) -> bool {
    move |event| event["group"] == group
}

/// Changes `api`, and waits until it is swapped: then what changed before was looked at too.
fn swap_api(tree: &Tree, server: &mut Server, version: u64) {
    tree.put("api/page.wat", page(version, ""));
    server.wait_for("swapped", of("api"));
}

fn every_way(arguments: &[&str]) {
    let tree = site(10);
    let mut server = Server::start_with(tree.root(), arguments);
    let mut client = server.client();
    for (number, (way, change)) in (11..).zip(WAYS) {
        change(&tree, &linked_page(number));
        let swapped = server.wait("swapped");
        assert_eq!(swapped["causes"][0]["component"], "shop.page", "{way}: {swapped}");
        assert_eq!(version(&mut client, "shop"), number, "{way}");
    }
    assert_eq!(
        (count(&mut server, "swapped"), count(&mut server, "rejected")),
        (0, 0)
    );
    assert_eq!(client.get("/api/page").generation(), "api@1");
}

#[test]
fn every_way_to_replace_a_file_is_noticed() {
    every_way(&[]);
}

#[test]
fn every_way_to_replace_a_file_is_noticed_by_polling() {
    every_way(&["--watch", "poll"]);
}

#[test]
fn what_is_no_change_is_no_swap() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    set_modified(&tree.path(PAGE), SystemTime::now());
    tree.overwrite(PAGE, linked_page(1));
    tree.put(PAGE, linked_page(1));
    fs::rename(tree.path(PAGE), tree.path("shop/.away")).unwrap();
    fs::rename(tree.path("shop/.away"), tree.path(PAGE)).unwrap();
    tree.put("shop/notes.txt", "nothing");
    tree.put("shop/_draft/x.wasm", "nothing");
    swap_api(&tree, &mut server, 2);
    assert_eq!(server.client().get("/shop/page").generation(), "shop@1");
    assert_eq!(count(&mut server, "rejected"), 0);
}

#[test]
fn a_folder_that_is_moved_in_or_out() {
    let tree = site(1);
    let elsewhere = Tree::empty();
    elsewhere.put("blog/page.wat", page(5, ""));
    elsewhere.put("more/deep/page.wat", page(6, ""));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let renamed = |from: &Path, to: &Path| fs::rename(from, to).unwrap();

    renamed(&elsewhere.path("blog"), &tree.path("blog"));
    let swapped = server.wait_for("swapped", of("blog"));
    assert_eq!(
        (&swapped["from"], &swapped["generation"]),
        (&Value::Null, &1.into())
    );
    assert_eq!(version(&mut client, "blog"), 5);

    // A folder of a group: components added, and removed.
    renamed(&elsewhere.path("more"), &tree.path("shop/more"));
    let swapped = server.wait_for("swapped", of("shop"));
    let cause = |change: &str| serde_json::json!([{ "component": "shop.more.deep.page", "change": change }]);
    assert_eq!(swapped["causes"], cause("added"));
    assert_eq!(client.get("/shop/more/deep/page").body, [6]);
    // It is watched from now on.
    tree.overwrite("shop/more/deep/page.wat", page(7, ""));
    server.wait_for("swapped", of("shop"));
    assert_eq!(client.get("/shop/more/deep/page").body, [7]);
    renamed(&tree.path("shop/more"), &elsewhere.path("more"));
    assert_eq!(server.wait_for("swapped", of("shop"))["causes"], cause("removed"));
    assert_eq!(client.get("/shop/more/deep/page").status, 404);

    renamed(&tree.path("blog"), &elsewhere.path("blog"));
    server.wait_for("retired", of("blog"));
    assert_eq!(client.get("/blog/page").status, 404);
    // Its number is not used twice.
    renamed(&elsewhere.path("blog"), &tree.path("blog"));
    assert_eq!(server.wait_for("swapped", of("blog"))["generation"], 2);
    assert_eq!(count(&mut server, "rejected"), 0);
}

/// A page that is built elsewhere: beside the root, and inside it where nothing is searched.
#[test]
fn a_component_that_is_built_elsewhere() {
    for file in ["../home/target/release/page.wat", "target/release/page.wat"] {
        let around = Tree::empty();
        around.put("root/shop/library.wat", library("u32"));
        let built = format!("root/{file}");
        around.put(&built, linked_page(1));
        around.put(
            "root/wasmhost.toml",
            format!("[components.\"shop.page\"]\npath = \"{file}\"\n"),
        );
        let mut server = Server::start(&around.path("root"));
        let mut client = server.client();
        let mut swaps_to = |number: u64| {
            let swapped = server.wait("swapped");
            assert_eq!(
                swapped["causes"][0]["component"], "shop.page",
                "{file}: {swapped}"
            );
            assert_eq!(version(&mut client, "shop"), number, "{file}");
        };
        // Before anything else has made anyone look.
        around.put(&built, linked_page(2));
        swaps_to(2);
        around.overwrite(&built, linked_page(3));
        swaps_to(3);
        // As `cargo clean` and another build: watches of the folder are gone with it.
        fs::remove_dir_all(around.path(&built).parent().unwrap()).unwrap();
        around.put(&built, linked_page(4));
        swaps_to(4);
    }
}

#[test]
fn a_manifest_that_changes() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    tree.put("wasmhost.toml", "[groups.shop.routes]\n\"/\" = \"shop.page\"\n");
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["causes"]),
        (&"shop".into(), &serde_json::json!([]))
    );
    assert_eq!(server.client().get("/").generation(), "shop@2");
    tree.remove("wasmhost.toml");
    server.wait("swapped");
    assert_eq!(server.client().get("/").status, 404);
    assert_eq!(
        (count(&mut server, "swapped"), count(&mut server, "rejected")),
        (0, 0)
    );
}

/// A file may not be finished yet, for 2 s. A machine that is too slow to tell is not held to it: false.
fn assert_not_refused(server: &mut Server, since: Instant) -> bool {
    let refused = count(server, "rejected");
    let in_time = since.elapsed() < Duration::from_millis(1500);
    assert!(refused == 0 || !in_time, "{:#?}", server.seen());
    refused == 0
}

#[test]
fn a_core_module_first_and_the_component_after() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    let began = Instant::now();
    tree.overwrite(PAGE, CORE_MODULE);
    swap_api(&tree, &mut server, 2);
    tree.put(PAGE, linked_page(2));
    server.wait_for("swapped", of("shop"));
    assert_eq!(version(&mut server.client(), "shop"), 2);
    assert_not_refused(&mut server, began);
}

#[test]
fn what_stays_unfinished_is_refused_once() {
    let cut_off = linked_page(2);
    for content in ["", &cut_off[..cut_off.len() - 1], CORE_MODULE] {
        let tree = site(1);
        let mut server = Server::start(tree.root());
        let began = Instant::now();
        tree.overwrite(PAGE, content);
        swap_api(&tree, &mut server, 2);
        if assert_not_refused(&mut server, began) {
            assert_eq!(server.wait("rejected")["kept"], 1);
        }
        let said = count(&mut server, "rejected");
        // The same again.
        tree.put(PAGE, content);
        swap_api(&tree, &mut server, 3);
        tree.remove(PAGE);
        tree.overwrite(PAGE, content);
        swap_api(&tree, &mut server, 4);
        assert_eq!(count(&mut server, "rejected"), said, "{:#?}", server.seen());
        assert_eq!(version(&mut server.client(), "shop"), 1);
    }
}

#[test]
fn a_root_that_is_deleted_and_made_anew() {
    let state = Tree::empty();
    let place = Tree::empty();
    let root = place.path("site");
    let put = |version: u64| {
        let new = site(version);
        place.put("site/shop/library.wat", new.read("shop/library.wat"));
        place.put("site/api/page.wat", new.read("api/page.wat"));
        place.put("site/shop/page.wat", new.read(PAGE));
    };
    put(1);
    let mut server = Server::start_with(&root, &["--state-dir", state.root().to_str().unwrap()]);
    for version in 2..5 {
        fs::remove_dir_all(&root).unwrap();
        let rejected = server.wait("rejected");
        assert_eq!(rejected["diagnostics"][0]["code"], "root-missing");
        assert_eq!(
            crate::support::wat_site::version(&mut server.client(), "shop"),
            version - 1
        );
        put(version);
        server.wait_for("swapped", of("shop"));
        while crate::support::wat_site::version(&mut server.client(), "api") != version {
            server.wait_for("swapped", of("api"));
        }
        assert_eq!(
            crate::support::wat_site::version(&mut server.client(), "shop"),
            version
        );
    }
}

#[test]
fn a_folder_that_becomes_unreadable() {
    const NOBODY: u32 = 65534;
    let (tree, state) = (site(1), Tree::empty());
    let root = fs::metadata(tree.root()).unwrap().uid() == 0;
    let permit = |path: &Path, mode: u32| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root());
    command.arg("--state-dir").arg(state.root());
    if root {
        for file in ["", PAGE, "shop/library.wat", "api/page.wat"] {
            permit(&tree.path(file), 0o755);
        }
        permit(state.root(), 0o777);
        command.uid(NOBODY).gid(NOBODY);
        let mut probe = wasmhost();
        let reached = probe.arg("--version").uid(NOBODY).gid(NOBODY).output();
        if !reached.is_ok_and(|output| output.status.success()) {
            return skipped(
                "a_folder_that_becomes_unreadable",
                "`nobody` does not reach the program",
            );
        }
    }
    let mut server = Server::start_command(command);
    permit(&tree.path("shop"), 0o000);
    let rejected = server.wait("rejected");
    assert_eq!(
        (&rejected["group"], &rejected["kept"]),
        (&"shop".into(), &1.into())
    );
    assert_eq!(
        rejected["diagnostics"][0]["code"], "folder-unreadable",
        "{rejected:#}"
    );
    assert_eq!(version(&mut server.client(), "shop"), 1);
    // The others go on.
    tree.overwrite("api/page.wat", page(2, ""));
    server.wait_for("swapped", of("api"));

    if root {
        // Only root may write into it now.
        tree.overwrite(PAGE, linked_page(3));
    }
    permit(&tree.path("shop"), 0o755);
    if !root {
        tree.overwrite(PAGE, linked_page(3));
    }
    server.wait_for("swapped", of("shop"));
    assert_eq!(version(&mut server.client(), "shop"), 3);
    assert_eq!(count(&mut server, "rejected"), 0, "said once");
}

/// Resident memory in bytes.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn ten_thousand_files_at_once() {
    let tree = site(1);
    let files: Vec<_> = (0..10_000)
        .map(|n| tree.path(format!("shop/assets{}/{n}", n % 10)))
        .collect();
    for n in 0..10 {
        fs::create_dir(tree.path(format!("shop/assets{n}"))).unwrap();
    }
    for file in &files {
        fs::write(file, "").unwrap();
    }
    let mut server = Server::start(tree.root());
    let before = memory(&server);
    for round in 0..3 {
        for file in &files {
            set_modified(file, SystemTime::UNIX_EPOCH + Duration::from_secs(round));
        }
        for file in [PAGE, "shop/library.wat", "api/page.wat"] {
            set_modified(
                &tree.path(file),
                SystemTime::UNIX_EPOCH + Duration::from_secs(round),
            );
        }
    }
    swap_api(&tree, &mut server, 2);
    assert_eq!(server.client().get("/shop/page").generation(), "shop@1");
    assert_eq!(
        (count(&mut server, "swapped"), count(&mut server, "rejected")),
        (0, 0)
    );
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

/// Set when it is dropped, as by a test that fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_file_that_changes_for_ever() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nonce in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                tree.put(PAGE, format!("{};; {nonce}", linked_page(2)));
            }
        });
        let _stopped = Stop(&stop);
        let mut client = server.client();
        for version in 2..5 {
            swap_api(&tree, &mut server, version);
            assert_eq!(client.get("/shop/page").status, 200);
        }
        // The reason is said, once.
        let rejected = server.wait("rejected");
        assert_eq!(
            (&rejected["group"], &rejected["kept"]),
            (&"shop".into(), &1.into())
        );
        assert_eq!(
            rejected["diagnostics"][0]["code"], "content-unsettled",
            "{rejected:#}"
        );
        swap_api(&tree, &mut server, 5);
        assert!(kept_files(&tree) < 20, "what was given up leaves nothing behind");
    });
    tree.put(PAGE, linked_page(3));
    let mut client = server.client();
    while version(&mut client, "shop") != 3 {
        server.wait_for("swapped", of("shop"));
    }
    assert_eq!(count(&mut server, "rejected"), 0);
}

fn kept_files(tree: &Tree) -> usize {
    fs::read_dir(tree.path(".wasmhost/kept/blobs")).unwrap().count()
}

#[test]
fn what_was_refused_and_taken_back_is_refused_again() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    for number in 2..5 {
        tree.put("shop/library.wat", library("s32"));
        assert_eq!(
            server.wait("rejected")["diagnostics"][0]["code"],
            "import-mismatch"
        );
        tree.put("shop/library.wat", library("u32"));
        swap_api(&tree, &mut server, number);
    }
    assert_eq!(version(&mut server.client(), "shop"), 1);
    assert_eq!(
        (count(&mut server, "swapped"), count(&mut server, "rejected")),
        (0, 0)
    );
}

/// A small file system of its own; unmounted with the value.
struct SmallDisk(Tree);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let disk = Self(Tree::empty());
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=64k", "wasmhost-test"])
            .arg(disk.0.root());
        command
            .output()
            .is_ok_and(|output| output.status.success())
            .then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.root()).output();
    }
}

#[test]
fn a_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount() else {
        return skipped("a_disk_that_is_full", "no file system can be mounted here");
    };
    let tree = site(1);
    let mut server = Server::start_with(tree.root(), &["--state-dir", disk.0.root().to_str().unwrap()]);
    let mut client = server.client();
    let filler = disk.0.path("filler");
    // What is left of it is less than anything takes.
    let mut full = File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut full, &[0; 512]).is_ok() {}
    for number in 2..6 {
        tree.put(PAGE, linked_page(number));
        server.wait_for("swapped", of("shop"));
        assert_eq!(version(&mut client, "shop"), number);
    }
    tree.put(PAGE, "");
    assert_eq!(server.wait("rejected")["kept"], 5);
    assert_eq!(version(&mut client, "shop"), 5);
    // Once there is room, what serves is kept after all.
    fs::remove_file(filler).unwrap();
    fs::remove_dir_all(disk.0.path("cache")).unwrap();
    crate::restart::wait_until_kept(disk.0.root(), "shop", 5);
    server.signal("TERM");
    let (_, _, log) = server.ended();
    assert_eq!(log.matches("good contents are not kept").count(), 1, "{log}");
    assert!(log.contains("No space left on device"), "{log}");
}

#[test]
fn with_wait_a_request_is_answered_by_what_is_on_disk() {
    let tree = site(100);
    tree.put("wasmhost.toml", WAIT);
    let server = Server::start(tree.root());
    let mut client = server.client();
    for number in 101..151 {
        let content = linked_page(number);
        let (_, way) = WAYS[[0, 1, 2, 3, 7][number as usize % 5]];
        way(&tree, &content);
        assert_eq!(version(&mut client, "shop"), number);
    }
}

#[test]
fn with_wait_a_frozen_server_waits_for_nothing() {
    let tree = site(1);
    tree.put(
        "wasmhost.toml",
        format!("{WAIT}[groups.shop.limits]\nrequest-time = \"1h\"\n"),
    );
    let server = Server::start_with(tree.root(), &["--frozen"]);
    // The client would give up before the request does.
    assert_eq!(version(&mut server.client(), "shop"), 1);
}

#[test]
fn with_wait_what_is_refused_is_answered_by_the_last_good() {
    let tree = site(1);
    tree.put("wasmhost.toml", WAIT);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for (number, wrong) in (2..).zip([library("s32"), String::new(), "(component".into()]) {
        tree.put("shop/library.wat", wrong);
        assert_eq!(version(&mut client, "shop"), number - 1);
        assert_eq!(server.wait("rejected")["kept"].as_u64(), Some(number - 1));
        tree.put("shop/library.wat", library("u32"));
        tree.put(PAGE, linked_page(number));
        assert_eq!(version(&mut client, "shop"), number);
    }
}
