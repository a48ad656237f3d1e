//! kill -9 at random moments of swapping: every restart serves the last good content. The moments follow
//! from a seed; `WASMHOST_CRASHES=1000 WASMHOST_SEED=7 cargo test crash` runs more of them, or others.

use std::{collections::BTreeMap, env, fs};

use serde_json::Value;

use crate::{
    restart::kept_version,
    support::{
        Server, Tree,
        wat_site::{library, linked_page, page, site, version},
    },
};

const GROUPS: [&str; 2] = ["shop", "api"];

/// Rounds where nobody asks for more; they take some ten seconds.
const ROUNDS: u64 = 100;

/// Splitmix: the same seed, the same run, as far as the program's own timing allows.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

/// The tree, and what is known to lie in it.
struct Site {
    tree: Tree,
    random: Random,
    newest: u64,
    /// What lies on disk of each group, where it is good.
    disk: BTreeMap<&'static str, Option<u64>>,
    /// Each group's version that was found kept after the last kill.
    kept: BTreeMap<&'static str, u64>,
    manifest_is_torn: bool,
    /// What the rounds were, to see that all of it happened.
    torn_rounds: u64,
    restored: u64,
}

impl Site {
    fn new(seed: u64) -> Self {
        Self {
            tree: site(1),
            random: Random(seed),
            newest: 1,
            disk: GROUPS.map(|group| (group, Some(1))).into(),
            kept: GROUPS.map(|group| (group, 0)).into(),
            manifest_is_torn: false,
            torn_rounds: 0,
            restored: 0,
        }
    }

    /// Puts a new version there in one of the ways that files are replaced.
    fn change(&mut self) {
        if self.manifest_is_torn {
            self.tree.put("wasmhost.toml", "");
            self.manifest_is_torn = false;
        }
        // A page answers with one byte.
        self.newest = self.newest % 199 + 1;
        let group = GROUPS[self.random.below(2) as usize];
        let file = format!("{group}/page.wat");
        let content = match group {
            "shop" => linked_page(self.newest),
            _ => page(self.newest, ""),
        };
        match self.random.below(4) {
            0 => self.tree.overwrite(&file, content),
            1 => {
                // Removed, and made anew.
                let _ = fs::remove_file(self.tree.path(&file));
                self.tree.overwrite(&file, content);
            }
            2 => {
                // In two parts, as a build tool writes.
                self.tree.overwrite(&file, &content[..content.len() / 2]);
                self.tree.overwrite(&file, content);
            }
            _ => self.tree.put(&file, content),
        }
        if group == "shop" {
            self.tree.put("shop/library.wat", library("u32"));
        }
        self.disk.insert(group, Some(self.newest));
    }

    /// Leaves something on disk that cannot be served.
    fn tear(&mut self) {
        self.torn_rounds += 1;
        let group = match self.random.below(6) {
            0 => {
                self.tree.overwrite("wasmhost.toml", "[groups.sh");
                self.manifest_is_torn = true;
                return;
            }
            1 => {
                let _ = fs::remove_file(self.tree.path("shop/library.wat"));
                "shop"
            }
            2 => {
                self.tree.put("shop/library.wat", library("s32"));
                "shop"
            }
            3 => {
                self.tree.overwrite("shop/page.wat", "");
                "shop"
            }
            _ => {
                let length = self.random.below(900) as usize;
                self.tree
                    .overwrite("api/page.wat", &page(self.newest, "")[..length]);
                "api"
            }
        };
        self.disk.insert(group, None);
    }

    /// What is kept now that nobody writes. It never goes back.
    fn look_at_what_is_kept(&mut self) {
        for group in GROUPS {
            let kept = kept_version(&self.tree.path(".wasmhost"), group).unwrap_or_default();
            let before = self.kept[group];
            assert!(
                !is_older(kept, before),
                "{group}: {before} was kept, then the older {kept}"
            );
            self.kept.insert(group, kept);
        }
    }

    /// Starts it again and expects what is good on disk, else what was kept.
    fn restart(&mut self) -> Server {
        let mut server = Server::start(self.tree.root());
        for group in GROUPS {
            let on_disk = self.disk[group].filter(|_| !self.manifest_is_torn);
            let expected = on_disk.unwrap_or(self.kept[group]);
            assert_eq!(
                version(&mut server.client(), group),
                expected,
                "{group}, kept: {:?}",
                self.kept
            );
            if on_disk.is_some() {
                continue;
            }
            self.restored += 1;
            let rejected: &Value = server
                .seen()
                .iter()
                .find(|event| {
                    event["event"] == "rejected" && (event["group"] == group || event["group"].is_null())
                })
                .expect("the reason is said");
            assert_eq!(
                rejected["kept"],
                if rejected["group"].is_null() {
                    Value::Null
                } else {
                    1.into()
                }
            );
        }
        server
    }

    /// Changes, and a kill somewhere in what follows from them.
    fn crash(&mut self, mut server: Server) {
        for _ in 0..self.random.below(4) {
            self.change();
            if self.random.below(3) == 0 {
                server.wait_for("swapped", |_| true);
            }
        }
        let torn = self.random.below(2) == 0;
        if torn && self.random.below(2) == 0 {
            self.tear();
        } else {
            self.change();
            if torn {
                self.tear();
            }
        }
        let mut client = server.client();
        let mut served = BTreeMap::new();
        for _ in 0..self.random.below(60) {
            served = GROUPS.map(|group| (group, version(&mut client, group))).into();
        }
        drop(server);
        self.look_at_what_is_kept();
        for (group, served) in served {
            let kept = self.kept[group];
            assert!(
                !is_older(kept, served),
                "{group}: {served} was served, and the older {kept} is kept"
            );
        }
    }
}

/// Versions go round.
fn is_older(version: u64, other: u64) -> bool {
    (version + 199 - other) % 199 >= 100
}

#[test]
fn every_restart_serves_the_last_good_content() {
    let number = |name: &str, default: u64| {
        env::var(name).map_or(default, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name}={text}"))
        })
    };
    let (rounds, seed) = (number("WASMHOST_CRASHES", ROUNDS), number("WASMHOST_SEED", 1));
    let mut site = Site::new(seed);
    // Something must have been good once.
    let server = Server::start(site.tree.root());
    for group in GROUPS {
        crate::restart::wait_until_kept(&site.tree.path(".wasmhost"), group, 1);
    }
    drop(server);
    for round in 0..rounds {
        eprintln!(
            "seed {seed}, round {round}: disk {:?}, kept {:?}",
            site.disk, site.kept
        );
        let server = site.restart();
        site.crash(server);
    }
    site.restart();
    assert!(
        site.torn_rounds > rounds / 5,
        "{} of {rounds} torn",
        site.torn_rounds
    );
    assert!(site.restored > 0);
    eprintln!(
        "{rounds} kills, {} with something torn on disk, {} groups served as they were kept",
        site.torn_rounds, site.restored
    );
    // Nothing piles up: three contents of two groups, of two files at most.
    let blobs = fs::read_dir(site.tree.path(".wasmhost/kept/blobs")).unwrap();
    assert!(blobs.count() <= 12);
}
