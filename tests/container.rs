//! What is deployed, on a machine of its own: the container file, built and run, and the units under systemd.
//!
//! No registry is asked. Debian's image is made of Debian's packages; in the place of Rust's stands one whose `cargo`
//! has built the program already, as this test's own.

mod podman;
pub mod systemd;

use std::{path::Path, process::Command};

use wasmhost::testing::TestClient;

use self::podman::{DEBIAN, Podman, RUST, until};
use crate::support::{Tree, example};

/// What the container file makes.
const IMAGE: &str = "localhost/wasmhost-test/wasmhost";

/// One test, for each of them needs the images of the one before.
#[test]
fn what_is_deployed_runs() {
    let Some(podman) = Podman::start() else { return };
    the_container_file_makes_a_server(&podman);
    systemd::runs_the_units(&podman);
}

/// Containers have users of their own, who read the site too.
fn readable(site: &Tree) {
    let changed = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(site.root())
        .status();
    assert!(changed.unwrap().success());
}

/// As no root, on a file system that it cannot write, with the example site.
fn the_container_file_makes_a_server(podman: &Podman) {
    podman.make_rust();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (rust, debian) = (format!("RUST={RUST}"), format!("DEBIAN={DEBIAN}"));
    let file = root.join("runtime/deploy/Containerfile");
    let images = ["--build-arg", &rust, "--build-arg", &debian];
    let own = ["--format", "docker", "--tag", IMAGE, "--file"];
    let places = [file.to_str().unwrap(), root.to_str().unwrap()];
    podman.build(&[&images[..], &own, &places].concat());

    // As it is, but for the port, which others may have.
    let usual = podman.run(&["inspect", "--format", "{{join .Config.Cmd \" \"}}", IMAGE]);
    assert!(usual.contains("--listen 0.0.0.0:8080"), "{usual}");
    let command = usual.replace("0.0.0.0:8080", "127.0.0.1:0");
    let command: Vec<&str> = command.split(' ').collect();
    let site = Tree::empty();
    site.copy_from(example());
    readable(&site);
    let mount = format!("{}:/srv/wasmhost:ro", site.root().display());
    let run = [
        "run",
        "--detach",
        "--read-only",
        "--network",
        "host",
        "--volume",
        &mount,
        IMAGE,
    ];
    let container = podman.run(&[&run[..], &command].concat());
    let url = until("it serves", || {
        let logs = podman.logs(&container);
        let state = podman.run(&["inspect", "--format", "{{.State.Status}}", &container]);
        assert_ne!(state, "exited", "{logs}");
        let line = logs.lines().find_map(|line| line.strip_prefix("serving "));
        line.map(str::to_owned)
    });
    let mut client = TestClient::new(&url).unwrap();
    let home = client.get("/").unwrap();
    assert_eq!((home.status.as_u16(), home.generation()), (200, Some("shop@1")));

    let inside = |command: &[&str]| podman.run(&[&["exec", &container], command].concat());
    assert_ne!(inside(&["id", "-u"]), "0");
    let status = inside(&["wasmhost", "status", "--state-dir", "/var/lib/wasmhost"]);
    assert!(status.contains("shop@1"), "{status}");
    podman.run(&["healthcheck", "run", &container]);

    // What changes outside is served inside.
    site.put("shop/static/site.css", "body { color: black }");
    readable(&site);
    until("it swaps", || {
        let home = client.get("/").unwrap();
        (home.generation() == Some("shop@2")).then_some(())
    });
    podman.run(&["stop", "--time", "60", &container]);
    let code = podman.run(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
    assert_eq!(code, "0", "{}", podman.logs(&container));
}
