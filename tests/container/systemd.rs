//! The units under systemd itself, by the commands of the book.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use super::{
    IMAGE,
    podman::{DEBIAN, Podman, until},
    readable,
};
use crate::{
    support::{unprivileged, wat_site::site},
    takeover::until_told,
};

const IMAGE_OF_SYSTEMD: &str = "localhost/wasmhost-test/systemd";

/// The commands of the book that need a machine's own systemd, in their order.
fn commands() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/guides/service.md");
    let page = fs::read_to_string(page).unwrap();
    let commands = page.lines().filter_map(|line| line.strip_prefix("$ "));
    let commands = commands.filter(|command| needs_systemd(command));
    commands.map(str::to_owned).collect()
}

/// True of a command that is run here, and nowhere else.
pub fn needs_systemd(command: &str) -> bool {
    ["systemctl ", "cp runtime/deploy/"]
        .iter()
        .any(|start| command.starts_with(start))
}

pub fn runs_the_units(podman: &Podman) {
    if !rustix::process::geteuid().is_root() {
        unprivileged("systemd", "only root gives a container what systemd needs");
        return;
    }
    let site = site(1);
    readable(&site);
    let machine = start(podman, &site.root().display().to_string());
    let inside = |command: &str| podman.run(&["exec", &machine, "bash", "-c", command]);
    until("systemd runs", || {
        let state = podman
            .command(&["exec", &machine, "systemctl", "is-system-running"])
            .output();
        let state = String::from_utf8(state.unwrap().stdout).unwrap();
        ["running", "degraded"].contains(&state.trim()).then_some(())
    });

    let commands = commands();
    let starts = |command: &String| command.starts_with("systemctl enable");
    let started = commands.iter().position(starts).unwrap() + 1;
    for command in &commands[..started] {
        inside(command);
    }
    // It was waited for: the service says when it is ready.
    assert_eq!(
        inside("systemctl is-active wasmhost.service wasmhost.socket"),
        "active\nactive"
    );
    let main = || inside("systemctl show --property=MainPID --value wasmhost");
    let first = main();
    assert_ne!(
        inside(&format!("stat --format=%u /proc/{first}")),
        "0",
        "it is no root"
    );

    // What is left is done while clients ask, of whom none may notice.
    let of_container = "{{.NetworkSettings.IPAddress}}";
    let authority = podman.run(&["inspect", "--format", of_container, &machine]) + ":80";
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    until_told(&authority, &answered);
                }
            });
        }
        for command in &commands[started..] {
            let before = answered.load(Relaxed);
            until("it answers", || {
                (answered.load(Relaxed) > before + 1000).then_some(())
            });
            inside(command);
        }
        over.store(true, Relaxed);
        inside("systemctl stop wasmhost.service wasmhost.socket");
    });
    assert_ne!(main(), first);
    assert_eq!(
        inside("systemctl show --property=Result --value wasmhost"),
        "success"
    );
}

/// A machine whose first process is systemd, with the program and a site.
fn start(podman: &Podman, site: &str) -> String {
    let context = podman.path("systemd");
    fs::create_dir(&context).unwrap();
    let file = format!(
        "FROM {DEBIAN}\nRUN apt-get update && apt-get install -y --no-install-recommends procps systemd\n\
         COPY --from={IMAGE} /usr/local/bin/wasmhost /usr/local/bin/\n"
    );
    fs::write(context.join("Containerfile"), file).unwrap();
    podman.build(&["--tag", IMAGE_OF_SYSTEMD, context.to_str().unwrap()]);
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime");
    podman.run(&[
        "run",
        "--detach",
        "--privileged",
        "--systemd=always",
        "--volume",
        &format!("{site}:/srv/wasmhost:ro"),
        "--volume",
        &format!("{}:/checkout/runtime:ro", runtime.display()),
        "--workdir",
        "/checkout",
        IMAGE_OF_SYSTEMD,
        "/lib/systemd/systemd",
    ])
}
