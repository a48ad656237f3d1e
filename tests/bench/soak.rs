//! Endurance: 64 connections on the example site while its files are replaced in every way, one after
//! another. No request may fail, no answer may mix two generations, nothing may pile up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    load::pause,
    support::{Server, Tree, example, touched, variant},
    table::per_mille,
};

const CONNECTIONS: usize = 64;
const PARTS: [(&str, &str); 4] = [
    ("shop.layout.frame", "shop/layout/frame"),
    ("shop.navigation.menu", "shop/navigation/menu"),
    ("shop.widget.cart", "shop/widget/cart"),
    ("shop.screen.home", "shop/screen/home"),
];
const WAYS: [(&str, Way); 7] = [
    ("in place", in_place),
    ("rename", rename),
    ("delete and recreate", recreate),
    ("hard link", hard_link),
    ("symlink switch", symlink_switch),
    ("older stamp", older_stamp),
    ("torn, then whole", torn),
];

type Way = fn(&Path, &[u8]);
/// The versions of the parts that one page shows.
type Versions = Vec<String>;

pub fn run(swaps: u64) {
    let tree = Tree::example();
    let edits = PARTS.map(|(_, file)| (format!("{file}/src/lib.rs"), r#""1.0.0""#, r#""2.0.0""#));
    let edits: Vec<_> = edits
        .iter()
        .map(|(file, from, to)| (file.as_str(), *from, *to))
        .collect();
    let second = variant("soak", &edits);
    let mut server = Server::start(tree.root());

    let (failed, over, swapping) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let answers: Mutex<BTreeSet<(u64, Versions)>> = Mutex::default();
    let (quiet, busy): (Mutex<Vec<f64>>, Mutex<Vec<f64>>) = Default::default();
    let url = server.url().to_owned();
    let mut shown: BTreeMap<u64, Versions> = BTreeMap::from([(1, vec!["1.0.0".into(); PARTS.len()])]);
    let began = Instant::now();
    let mut sizes = None;
    std::thread::scope(|scope| {
        let ask = || {
            let mut client = crate::support::Client::new(&url);
            let (mut own, mut times) = (BTreeSet::new(), [Vec::new(), Vec::new()]);
            while !over.load(Ordering::Relaxed) {
                let during = swapping.load(Ordering::Relaxed);
                let asked = Instant::now();
                match client.try_request("GET", "/", &[], b"") {
                    Ok(reply) if reply.status == 200 => {
                        let number = reply.generation().rsplit('@').next().unwrap().parse().unwrap();
                        own.insert((number, versions(&reply)));
                    }
                    _ => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        client = crate::support::Client::new(&url);
                    }
                }
                times[usize::from(during)].push(asked.elapsed().as_secs_f64() * 1e3);
            }
            answers.lock().unwrap().extend(own);
            let [still, moved] = times;
            quiet.lock().unwrap().extend(still);
            busy.lock().unwrap().extend(moved);
        };
        (0..CONNECTIONS).for_each(|_| drop(scope.spawn(ask)));
        pause(Duration::from_secs(10));
        swapping.store(true, Ordering::Relaxed);
        let mut current = shown[&1].clone();
        for swap in 0..swaps {
            let part = (swap % PARTS.len() as u64) as usize;
            let file = format!("{}.wasm", PARTS[part].1);
            let (from, version) = if current[part] == "1.0.0" {
                (second.as_path(), "2.0.0")
            } else {
                (example(), "1.0.0")
            };
            let content = touched(&fs::read(from.join(&file)).unwrap(), swap);
            WAYS[(swap % WAYS.len() as u64) as usize].1(&tree.path(&file), &content);
            let swapped = server.wait("swapped");
            current[part] = version.into();
            shown.insert(swapped["generation"].as_u64().unwrap(), current.clone());
            if swap == 99 {
                sizes = Some(self::sizes(server.pid()));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let answers = answers.into_inner().unwrap();
    let mixed = answers
        .iter()
        .filter(|(number, versions)| shown.get(number) != Some(versions))
        .count();
    let requests = quiet.lock().unwrap().len() + busy.lock().unwrap().len();
    println!(
        "{swaps} swaps in {:.0} s, {requests} requests on {CONNECTIONS} connections",
        began.elapsed().as_secs_f64()
    );
    println!(
        "failed: {}; mixed: {mixed} of {} kinds of answers",
        failed.into_inner(),
        answers.len()
    );
    for (what, times) in [("without swaps", quiet), ("during swaps", busy)] {
        let mut times = times.into_inner().unwrap();
        println!(
            "p99.9 {what}: {:.1} ms, latest {:.1} ms",
            per_mille(&mut times, 999),
            per_mille(&mut times, 1000)
        );
    }
    println!(
        "after 100 swaps: {sizes:?}\nat the end: {:?}",
        self::sizes(server.pid())
    );
}

fn versions(page: &crate::support::Reply) -> Versions {
    let version =
        |(part, _): (&str, &str)| page.attribute(&format!("data-component=\"{part}\""), "data-version");
    PARTS.map(version).to_vec()
}

/// What must not pile up, by name.
fn sizes(pid: u32) -> [(&'static str, u64); 4] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    [
        ("resident memory, KiB", value("VmRSS:")),
        ("threads", value("Threads:")),
        (
            "open files",
            fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
        ),
        ("compiled code, KiB", compiled_kib(pid)),
    ]
}

/// Memory that holds machine code that was compiled here: executable, and of no file.
fn compiled_kib(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let bytes = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let file = fields.nth(3);
        let (from, to) = range.split_once('-')?;
        let length = u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?;
        (rights.contains('x') && file.is_none()).then_some(length)
    });
    bytes.sum::<u64>() / 1024
}

fn beside(file: &Path, content: &[u8]) -> std::path::PathBuf {
    let beside = file.with_extension("new");
    let _ = fs::remove_file(&beside);
    fs::write(&beside, content).unwrap();
    beside
}

fn in_place(file: &Path, content: &[u8]) {
    if file.is_symlink() {
        return rename(file, content);
    }
    fs::write(file, content).unwrap();
}

fn rename(file: &Path, content: &[u8]) {
    fs::rename(beside(file, content), file).unwrap();
}

fn recreate(file: &Path, content: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, content).unwrap();
}

/// As cargo does: unlinked, then linked from elsewhere.
fn hard_link(file: &Path, content: &[u8]) {
    let beside = beside(file, content);
    fs::remove_file(file).unwrap();
    fs::hard_link(beside, file).unwrap();
}

fn symlink_switch(file: &Path, content: &[u8]) {
    let target = file.with_extension(format!("v{}", content[content.len() - 8]));
    fs::write(&target, content).unwrap();
    let link = file.with_extension("link");
    let _ = fs::remove_file(&link);
    symlink(target, &link).unwrap();
    fs::rename(link, file).unwrap();
}

fn older_stamp(file: &Path, content: &[u8]) {
    let beside = beside(file, content);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options()
        .write(true)
        .open(&beside)
        .unwrap()
        .set_modified(old)
        .unwrap();
    fs::rename(beside, file).unwrap();
}

fn torn(file: &Path, content: &[u8]) {
    let _ = fs::remove_file(file);
    fs::write(file, &content[..content.len() / 2]).unwrap();
    pause(Duration::from_millis(30));
    fs::write(file, content).unwrap();
}
