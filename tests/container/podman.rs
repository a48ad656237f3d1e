//! Podman with a storage of its own, and the images that tests start from.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{skipped, wasmhost};

/// How often it is looked whether a state has come: each look is a process.
const LOOK: Duration = Duration::from_millis(200);
/// How long a container may take for it.
const LONGEST: Duration = Duration::from_secs(60);

/// Debian, of its packages.
pub const DEBIAN: &str = "localhost/wasmhost-test/debian";
/// What has built the program already, in the place of Rust.
pub const RUST: &str = "localhost/wasmhost-test/rust";

/// It installs what it has at hand, where the container file's command and context are as they have to be.
const CARGO: &str = r#"#!/bin/sh
[ "$*" = "install --locked --path . --root /usr/local" ] || exit 2
grep --quiet '^name = "wasmhost"' Cargo.toml && test -e Cargo.lock || exit 3
! test -e .git || exit 4
cp /wasmhost /usr/local/bin/
"#;

/// Images and containers of this test alone.
pub struct Podman(TempDir);

impl Podman {
    /// With its first image. `None`, and loudly so, where the machine lacks something.
    pub fn start() -> Option<Self> {
        let missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
        if let Some(program) = ["podman", "runc", "mmdebstrap", "strip"].iter().find(missing) {
            skipped("container", &format!("{program} does not run here"));
            return None;
        }
        let podman = Self::new();
        if !podman.import_debian() {
            skipped("container", "no image can be made of Debian's packages");
            return None;
        }
        Some(podman)
    }

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

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .args(["--runtime", "runc"])
            .args(arguments)
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("CONTAINERS_CONF", self.path("containers.conf"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        said(self.command(arguments).output().unwrap(), arguments)
    }

    /// Of `container`, so far, both streams.
    pub fn logs(&self, container: &str) -> String {
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

    pub fn build(&self, arguments: &[&str]) -> String {
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
    pub fn make_rust(&self) {
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

pub fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONGEST;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(LOOK);
    }
}
