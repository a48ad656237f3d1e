//! Servers whose clocks are wrong, and change while a release is swapped.

use std::{fs, path::PathBuf, process::Command};

use super::{Place, all_committed, cable::Cable, committed};
use crate::{
    releases::push,
    support::{Server, Tool, wat_site::page},
};

/// A clock of one's own, for a program that is started with it.
struct Clock {
    library: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Clock {
    /// Off by so much: `+5h`. `None`, and loudly so, where the machine has no faketime.
    fn new(off: &str) -> Option<Self> {
        Tool::new("faketime")?;
        let folders = fs::read_dir("/usr/lib").unwrap().map(Result::unwrap);
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let clock = Self {
            library: libraries
                .find(|library| library.is_file())
                .expect("comes with it"),
            file: tempfile::NamedTempFile::new().unwrap(),
        };
        clock.set(off);
        Some(clock)
    }

    /// As whoever goes by it sees at once.
    fn set(&self, off: &str) {
        fs::write(self.file.path(), format!("{off}\n")).unwrap();
    }

    fn on(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library);
        command.env("FAKETIME_TIMESTAMP_FILE", self.file.path());
        command.envs([("FAKETIME_NO_CACHE", "1"), ("DONT_FAKE_MONOTONIC", "1")]);
        command
    }
}

/// Hours by which a server's clock is ahead.
fn ahead(server: &mut Server, number: u64) -> i64 {
    let event = committed(server, number);
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    let seconds = time.as_second() - jiff::Timestamp::now().as_second();
    (seconds as f64 / 3600.0).round() as i64
}

#[test]
fn servers_whose_clocks_are_hours_apart_swap_as_one_and_a_jump_does_no_harm() {
    let (Some(first), Some(second)) = (Clock::new("+5h"), Clock::new("-7h")) else {
        return;
    };
    let Some(place) = Place::new() else { return };
    place
        .tree
        .put("wasmhost.toml", "[server.fleet]\nlease = \"5s\"\n");
    push(&place.tree, &place.registry.release());
    let cable = Cable::to(&place.registry.address);
    let states = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut servers = vec![
        // It leads: it begins first.
        Server::start_command(first.on(place.command(states[0].path()))),
        Server::start_command(second.on(place.command(states[1].path()))),
        Server::start_command(place.command_beside(states[2].path(), cable.address())),
    ];
    all_committed(&mut servers, 1, 1);
    place.push(page(2, ""));
    all_committed(&mut servers, 2, 2);
    let hours: Vec<i64> = servers.iter_mut().map(|server| ahead(server, 2)).collect();
    assert_eq!(hours, [5, -7, 0], "their clocks are wrong");

    // Two are ready; then it is another day for both.
    cable.cut();
    place.push(page(3, ""));
    while place.overview()["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["stage"] == "ready")
        .count()
        < 2
    {}
    first.set("-30h");
    second.set("+100h");
    cable.mend();
    all_committed(&mut servers, 3, 3);
    let hours: Vec<i64> = servers.iter_mut().map(|server| ahead(server, 3)).collect();
    assert_eq!(hours, [-30, 100, 0]);
    let (code, told, said) = place.steer(&["rollback"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.starts_with("committed 4: "), "{told}");
    all_committed(&mut servers, 4, 2);
    for server in &mut servers {
        let lost_touch = |event: &&serde_json::Value| {
            let reason = event["reason"].as_str();
            reason.is_some_and(|reason| reason.contains("out of touch"))
        };
        assert_eq!(server.seen().iter().find(lost_touch), None);
    }
}
