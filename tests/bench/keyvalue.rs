//! What keys and values cost, beside redb itself on the same disk in the same run:
//!
//! ```sh
//! cargo bench --bench keyvalue
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "the table is for standard output")]

mod machine;
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests, which use all of it"
)]
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    hint::black_box,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redb::{Database, ReadableDatabase, TableDefinition};
use wasmhost::keyvalue::{Change, Space, Spaces};

use support::{Server, Tree, guests};

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("keys");
const KEYS: usize = 10_000;
const READS: u32 = 200_000;
/// Of each measurement of sets.
const WINDOW: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 16;
const VALUE: [u8; 100] = [b'x'; 100];

fn main() {
    println!("{}\n", machine::machine());
    let tree = Tree::empty();
    println!(
        "A page written and synced (`fdatasync`): {:.0} µs\n",
        sync(&tree).as_secs_f64() * 1e6
    );
    println!("| keys of 10 bytes, values of 100 | µs a get | sets/s |");
    println!("| --- | --- | --- |");
    let redb = Database::create(tree.path("plain.redb")).unwrap();
    fill(&redb);
    row(
        "redb, one at a time",
        Some(redb_gets(&redb)),
        Some(redb_sets(&redb, 1)),
    );
    row(
        "redb, 16 in one transaction",
        None,
        Some(redb_sets(&redb, AT_ONCE)),
    );
    drop(redb);

    let spaces = Spaces::in_file(tree.path("space.redb"));
    let space = spaces.durable(&"shop".into(), 1 << 30);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (gets, sets) = runtime.block_on(async {
        let pairs = (0..KEYS).map(|i| (key(i), VALUE.to_vec().into()));
        let pairs: Vec<_> = pairs.collect();
        for some in pairs.chunks(1000) {
            space.change(Change::Set(some.to_vec())).await.unwrap();
        }
        (space_gets(&space).await, space_sets(&space).await)
    });
    row("a space, 16 tasks set", Some(gets), Some(sets));
    runtime.block_on(spaces.close());
    drop(runtime);
    let (gets, once, many) = guest();
    row(
        "a guest, 16 requests that set one key each",
        Some(gets),
        Some(once),
    );
    row(
        "a guest, 16 requests that set 1000 keys each, one by one",
        None,
        Some(many),
    );
}

/// What the disk itself takes, at the median.
fn sync(tree: &Tree) -> Duration {
    const PAGE: [u8; 4096] = [b'x'; 4096];
    let file = fs::File::create(tree.path("plain")).unwrap();
    // It does not grow while it is measured, and neither does a database of a steady size.
    file.write_all_at(&[0; PAGE.len() * 256], 0).unwrap();
    file.sync_all().unwrap();
    let mut times: Vec<_> = (0..1000)
        .map(|index| {
            file.write_all_at(&PAGE, (index % 256) * PAGE.len() as u64)
                .unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn row(what: &str, get: Option<Duration>, sets: Option<f64>) {
    let get = get.map_or("–".to_owned(), |get| format!("{:.2}", get.as_secs_f64() * 1e6));
    let sets = sets.map_or("–".to_owned(), |sets| format!("{sets:.0}"));
    println!("| {what} | {get} | {sets} |");
}

fn key(index: usize) -> String {
    format!("key{index:07}")
}

fn fill(redb: &Database) {
    let transaction = redb.begin_write().unwrap();
    let mut table = transaction.open_table(TABLE).unwrap();
    for index in 0..KEYS {
        table.insert(&*key(index), &VALUE[..]).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
}

/// A transaction for each, as one that reads what was committed last needs.
fn redb_gets(redb: &Database) -> Duration {
    let began = Instant::now();
    for index in 0..READS as usize {
        let transaction = redb.begin_read().unwrap();
        let table = transaction.open_table(TABLE).unwrap();
        let value = table.get(&*key(index % KEYS)).unwrap();
        black_box(value.unwrap().value().to_vec());
    }
    began.elapsed() / READS
}

fn redb_sets(redb: &Database, together: usize) -> f64 {
    let (began, mut sets) = (Instant::now(), 0);
    while began.elapsed() < WINDOW {
        let transaction = redb.begin_write().unwrap();
        let mut table = transaction.open_table(TABLE).unwrap();
        for _ in 0..together {
            table.insert(&*key(sets % KEYS), &VALUE[..]).unwrap();
            sets += 1;
        }
        drop(table);
        transaction.commit().unwrap();
    }
    sets as f64 / began.elapsed().as_secs_f64()
}

async fn space_gets(space: &Space) -> Duration {
    let began = Instant::now();
    for index in 0..READS as usize {
        black_box(space.get(&key(index % KEYS)).await.unwrap().unwrap());
    }
    began.elapsed() / READS
}

async fn space_sets(space: &Space) -> f64 {
    let (began, sets) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let task = |task: usize| {
        let (space, sets) = (space.clone(), sets.clone());
        tokio::spawn(async move {
            let mut index = task;
            while began.elapsed() < WINDOW {
                let pair = (key(index % KEYS), VALUE.to_vec().into());
                space.change(Change::Set(vec![pair])).await.unwrap();
                sets.fetch_add(1, Ordering::Relaxed);
                index += AT_ONCE;
            }
        })
    };
    let tasks: Vec<_> = (0..AT_ONCE).map(task).collect();
    for task in tasks {
        task.await.unwrap();
    }
    sets.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// The time of a get, and sets a second by requests of one and of a thousand.
fn guest() -> (Duration, f64, f64) {
    let tree = Tree::empty();
    let guest = fs::read(guests().join("keyvalue.wasm")).unwrap();
    tree.put("shop/keyvalue.wasm", guest);
    let manifest = "[groups.shop]\ninstances = { pool = 16 }\n[groups.shop.grants]\nkeyvalue = true\n";
    tree.put("wasmhost.toml", manifest);
    let server = Server::start(tree.root());
    let mut client = server.client();
    let key = |what: &str| format!("/shop/keyvalue?{what}");
    assert_eq!(client.get(&key("set-size=key,100")).status, 200);
    let began = Instant::now();
    assert_eq!(client.get(&key(&format!("get-times=key,{READS}"))).status, 200);
    let get = began.elapsed() / READS;
    (get, load(&server, 1), load(&server, 1000))
}

fn load(server: &Server, each: u32) -> f64 {
    let (began, sets) = (Instant::now(), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..AT_ONCE {
            let (mut client, sets) = (server.client(), &sets);
            scope.spawn(move || {
                while began.elapsed() < WINDOW {
                    let path = format!("/shop/keyvalue?set-some=thread{thread}-,{each}");
                    assert_eq!(client.get(&path).status, 200);
                    sets.fetch_add(each.into(), Ordering::Relaxed);
                }
            });
        }
    });
    sets.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}
