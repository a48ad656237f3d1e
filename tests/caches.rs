//! Compiled code on disk and in memory: a restart compiles nothing, damage costs no more than compiling
//! again, and what nobody uses any more is gone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use tokio_util::sync::CancellationToken;
use wasmhost::{
    artifact::{Builder, Effort, Splitting},
    engine::{self, DiskLimits},
};

use crate::{
    linker::group::{Alone, Workshop, discovered, group},
    support::{
        PATIENCE, Server, Tree, wasmhost,
        wat_site::{linked_page, page, site, version},
    },
};

/// What the engine is said to do with what is damaged.
const SAID: &str = "damaged cache file";

#[test]
fn a_restart_compiles_nothing() {
    let tree = Tree::example();
    serve_once(&tree);
    for name in ["shop", "api"] {
        let Effort {
            modules_compiled,
            modules_reused,
            functions_compiled,
        } = effort(&tree, name);
        assert_eq!((modules_compiled, functions_compiled), (0, 0), "{name}");
        assert!(modules_reused > 0, "{name}");
    }
}

#[test]
fn a_damaged_cache_is_compiled_again() {
    fn flip(bytes: &mut [u8], at: impl Fn(usize) -> usize) {
        let at = at(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
    }
    let damage: [fn(&mut Vec<u8>); 5] = [
        |bytes| flip(bytes, |_| 300),
        |bytes| flip(bytes, |length| length / 2),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.extend(b"more"),
        Vec::clear,
    ];
    let tree = Tree::example();
    serve_once(&tree);
    // Each kind of damage to a fifth of the files, and in the second round each to another fifth.
    for round in 0..2 {
        // Seals have no content, and what the cache counts in its notes is nobody's loss.
        let all = files(&cache(&tree)).into_iter();
        let counts = |file: &PathBuf| {
            let ending = file.extension().and_then(|ending| ending.to_str());
            fs::metadata(file).unwrap().len() > 0 && matches!(ending, None | Some("pack"))
        };
        let all: Vec<PathBuf> = all.filter(counts).collect();
        assert!(all.len() > 10, "{all:?}");
        for (index, file) in all.iter().enumerate() {
            let mut bytes = fs::read(file).unwrap();
            damage[(index + round) % damage.len()](&mut bytes);
            fs::write(file, bytes).unwrap();
        }
        let log = serve_once(&tree);
        assert_eq!(
            log.matches(SAID).count(),
            2,
            "modules once, functions once: {log}"
        );
    }
    let log = serve_once(&tree);
    assert!(!log.contains(SAID), "said again: {log}");
    assert_eq!(
        effort(&tree, "shop").modules_compiled,
        0,
        "everything is there again"
    );
}

#[test]
fn what_is_damaged_while_it_serves_is_compiled_again() {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", linked_page(2));
    server.wait_for("swapped", |event| event["group"] == "shop");
    // Then nobody holds the code of the first version in memory.
    server.wait_for("retired", |event| event["group"] == "shop");
    let began = Instant::now();
    let (modules, seals) = (|| modules(&cache(&tree)), || files(&cache(&tree).join("seals")));
    while modules().len() != seals().len() {
        assert!(began.elapsed() < PATIENCE, "{:?} {:?}", modules(), seals());
        std::thread::yield_now();
    }
    for module in modules() {
        let mut bytes = fs::read(&module).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&module, bytes).unwrap();
    }
    tree.put("shop/page.wat", linked_page(1));
    server.wait_for("swapped", |event| event["group"] == "shop" && event["from"] == 2);
    assert_eq!(version(&mut server.client(), "shop"), 1);
    let log = end(server);
    assert_eq!(log.matches(SAID).count(), 1, "{log}");
}

#[test]
fn modules_on_disk_have_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let size = || -> u64 {
        let modules = modules(folder.path()).into_iter();
        modules
            .filter_map(|file| Some(fs::metadata(file).ok()?.len()))
            .sum()
    };
    let build = |number: u64, modules: u64| {
        let limits = DiskLimits {
            modules,
            ..DiskLimits::DEFAULT
        };
        let ticking = engine::start_within(Some(folder.path()), limits).unwrap();
        let builder = Builder::new(&ticking.engine, ticking.caches.clone()).unwrap();
        let page = wat::parse_str(page(number, "")).unwrap();
        let spec = group(&BTreeMap::from([("page".to_owned(), page)]));
        let parts = builder.read(&spec).unwrap();
        builder
            .build(&spec, &parts, &Alone, &CancellationToken::new())
            .unwrap();
        builder.save();
    };
    let wait = |until: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !until() {
            assert!(began.elapsed() < PATIENCE, "{} bytes", size());
            std::thread::yield_now();
        }
    };
    build(0, u64::MAX);
    let limit = 6 * size();
    for number in 1..20 {
        // As if an hour had passed: the cache cleans when it adds something.
        locks(folder.path())
            .iter()
            .for_each(|lock| fs::remove_file(lock).unwrap());
        build(number, limit);
        wait(&|| !locks(folder.path()).is_empty());
    }
    wait(&|| size() <= limit);
    assert!(size() > 0);
}

#[test]
fn a_server_that_is_killed_while_it_compiles() {
    let tree = Tree::example();
    for files_before in [1, 12] {
        let _ = fs::remove_dir_all(cache(&tree));
        let mut command = wasmhost();
        command
            .arg("serve")
            .arg(tree.root())
            .args(["--listen", "127.0.0.1:0"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while files(&cache(&tree)).len() < files_before && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = serve_once(&tree);
        assert!(!log.contains(SAID), "half a file is none: {log}");
        assert_eq!(effort(&tree, "shop").modules_compiled, 0);
    }
}

#[test]
fn two_servers_fill_one_cache() {
    let tree = Tree::example();
    let servers = [Server::start(tree.root()), Server::start(tree.root())];
    for server in servers {
        assert_eq!(server.client().get("/").status, 200);
        let log = end(server);
        assert!(!log.contains(SAID), "{log}");
    }
    assert_eq!(effort(&tree, "shop").modules_compiled, 0);
}

#[test]
fn packs_of_functions_outlive_the_hourly_cleaning_of_modules() {
    let tree = site(1);
    serve_once(&tree);
    let packs = || -> Vec<PathBuf> { files(&cache(&tree).join("functions")) };
    let locks = || locks(&cache(&tree));
    let before = packs();
    assert!(!before.is_empty());
    // An hour later, the lock of the last cleaning counts no more; whoever compiles next cleans again.
    assert!(!locks().is_empty());
    locks()
        .into_iter()
        .for_each(|lock| fs::remove_file(lock).unwrap());
    tree.put("api/page.wat", page(2, ""));
    serve_once(&tree);
    assert!(!locks().is_empty(), "it was cleaned");
    let after = packs();
    assert!(
        before.iter().all(|pack| after.contains(pack)),
        "{before:?} {after:?}"
    );
}

#[test]
fn a_full_disk_keeps_nobody_from_serving() {
    let tree = site(1);
    let Some(disk) = Disk::new("64k") else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    fs::write(disk.0.path().join("filler"), vec![1; 60 << 10]).unwrap();
    let state = disk.0.path().join("state");
    let mut server = Server::start_with(tree.root(), &["--state-dir", state.to_str().unwrap()]);
    let mut client = server.client();
    for number in 2..6 {
        tree.put("shop/page.wat", linked_page(number));
        server.wait_for("swapped", |event| event["group"] == "shop");
        assert_eq!(version(&mut client, "shop"), number);
    }
    let log = end(server);
    assert!(log.contains("No space left on device"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_cache_that_cannot_be_written_keeps_nobody_from_serving() {
    let tree = site(1);
    // A file where the folder should be: no user, root included, can write there.
    tree.put(".wasmhost/cache", "");
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", linked_page(2));
    server.wait_for("swapped", |event| event["group"] == "shop");
    assert_eq!(version(&mut server.client(), "shop"), 2);
    let log = end(server);
    assert!(log.contains("compiled code is not kept"), "{log}");
}

#[test]
fn code_that_nobody_uses_is_gone_from_memory() {
    let pages = |version: u64| {
        let names = (0..5).map(|n| (format!("page{n}"), wat::parse_str(page(version + n, "")).unwrap()));
        group(&names.collect::<BTreeMap<_, _>>())
    };
    let workshop = Workshop::new(Splitting::Apart);
    let versions = [pages(1), pages(50), pages(100)];
    let mut old = None;
    for round in 0..60 {
        let (artifact, _) = workshop.build(&versions[round % 3]).unwrap();
        // The old one serves until the new one is there.
        old = Some((artifact, old.map(|(newest, _)| newest)));
        assert!(
            workshop.builder.live_modules() <= 10,
            "two generations of five modules each"
        );
    }
    drop(old);
    assert_eq!(workshop.builder.live_modules(), 0);
}

/// What a build of a group takes that finds the tree's cache.
fn effort(tree: &Tree, name: &str) -> Effort {
    let workshop = Workshop::open(Splitting::Apart, Some(&cache(tree)));
    let (_, cost) = workshop.build(&discovered(tree.root(), name)).unwrap();
    cost.effort
}

fn cache(tree: &Tree) -> PathBuf {
    tree.path(".wasmhost/cache")
}

/// Serves the tree until everything it compiled is on disk. The log.
fn serve_once(tree: &Tree) -> String {
    let server = Server::start(tree.root());
    let groups = ["/shop/screen/home", "/shop/page"].map(|path| server.client().get(path).status);
    assert!(groups.contains(&200), "{groups:?}");
    end(server)
}

fn end(server: Server) -> String {
    server.signal("TERM");
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
    log
}

/// The compiled modules in a cache.
fn modules(cache: &Path) -> Vec<PathBuf> {
    let mut modules = files(&cache.join("code/modules"));
    modules.retain(|file| file.extension().is_none());
    modules
}

/// What a cache leaves when it cleans, for an hour.
fn locks(cache: &Path) -> Vec<PathBuf> {
    let mut locks = files(cache);
    locks.retain(|file| file.to_string_lossy().contains(".cleanup.wip"));
    locks
}

/// All files below a folder, as far as it is there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |entry: fs::DirEntry| match entry.path() {
        folder if folder.is_dir() => files(&folder),
        file => vec![file],
    };
    entries.flat_map(below).collect()
}

/// A small disk in memory; gone with the value.
pub struct Disk(pub tempfile::TempDir);

impl Disk {
    pub fn new(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("wasmhost-disk-")
            .tempdir()
            .unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path());
        let mounted = mount
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
