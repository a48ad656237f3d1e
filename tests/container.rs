//! The container file, built and run: as no root, on a file system that it cannot write, with the example site.
//!
//! No registry is asked. Debian's image is made of Debian's packages; in the place of Rust's stands one whose `cargo`
//! has built the program already, as this test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use wasmhost::testing::TestClient;

use crate::support::{Tree, example, skipped, wasmhost};

/// How often it is looked whether a state has come: each look is a process.
const LOOK: Duration = Duration::from_millis(200);
/// How long a container may take for it.
const LONGEST: Duration = Duration::from_secs(60);

const DEBIAN: &str = "localhost/wasmhost-test/debian";
const RUST: &str = "localhost/wasmhost-test/rust";
const IMAGE: &str = "localhost/wasmhost-test/wasmhost";

/// It installs what it has at hand, where the container file's command and context are as they have to be.
const CARGO: &str = r#"#!/bin/sh
[ "$*" = "install --locked --path . --root /usr/local" ] || exit 2
grep --quiet '^name = "wasmhost"' Cargo.toml && test -e Cargo.lock || exit 3
! test -e target || exit 4
cp /wasmhost /usr/local/bin/
"#;

/// Images and containers of this test alone.
struct Podman(TempDir);

impl Podman {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let storage =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{path}/graph\"\nrunroot = \"{path}/run\"\n");
        fs::write(folder.path().join("storage.conf"), storage).unwrap();
        // What podman asks for by itself is more than a container in a container may have.
        // The journal is there where systemd is.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n";
        fs::write(folder.path().join("containers.conf"), limits).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .args(["--runtime", "runc"])
            .args(arguments)
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("CONTAINERS_CONF", self.path("containers.conf"));
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        said(self.command(arguments).output().unwrap(), arguments)
    }

    /// Of `container`, so far, both streams.
    fn logs(&self, container: &str) -> String {
        let output = self.command(&["logs", container]).output().unwrap();
        [output.stdout, output.stderr]
            .map(|text| String::from_utf8(text).unwrap())
            .concat()
    }

    /// Debian as its packages make it. False where they cannot be had.
    fn import_debian(&self) -> bool {
        let archive = self.path("debian.tar");
        let made = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "bookworm"])
            .arg(&archive)
            .status();
        if !made.is_ok_and(|made| made.success()) {
            return false;
        }
        self.run(&["import", "--quiet", archive.to_str().unwrap(), DEBIAN]);
        true
    }

    fn build(&self, arguments: &[&str]) -> String {
        let isolation = [
            "build",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--layers=false",
        ];
        self.run(&[&isolation, arguments].concat())
    }

    /// What has built the program already.
    fn make_rust(&self) {
        let context = self.path("rust");
        fs::create_dir(&context).unwrap();
        let stripped = Command::new("strip")
            .arg("-o")
            .arg(context.join("wasmhost"))
            .arg(wasmhost().get_program())
            .status();
        assert!(stripped.unwrap().success());
        fs::write(context.join("cargo"), CARGO).unwrap();
        let file = format!("FROM {DEBIAN}\nCOPY wasmhost /\nCOPY --chmod=755 cargo /usr/local/bin/\n");
        fs::write(context.join("Containerfile"), file).unwrap();
        self.build(&["--tag", RUST, context.to_str().unwrap()]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Otherwise a container that a failed test has left would go on.
        let _ = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
    }
}

fn said(output: Output, arguments: &[&str]) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podman {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONGEST;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(LOOK);
    }
}

#[test]
fn the_container_file_makes_a_server() {
    let missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    if let Some(program) = ["podman", "runc", "mmdebstrap", "strip"].iter().find(missing) {
        skipped("container", &format!("{program} does not run here"));
        return;
    }
    let podman = Podman::new();
    if !podman.import_debian() {
        skipped("container", "no image can be made of Debian's packages");
        return;
    }
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
    let readable = || {
        // It is another user who reads it.
        let changed = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(site.root())
            .status();
        assert!(changed.unwrap().success());
    };
    readable();
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
    readable();
    until("it swaps", || {
        let home = client.get("/").unwrap();
        (home.generation() == Some("shop@2")).then_some(())
    });
    podman.run(&["stop", "--time", "60", &container]);
    let code = podman.run(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
    assert_eq!(code, "0", "{}", podman.logs(&container));
}
