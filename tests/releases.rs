//! Releases in a real registry: pushed, pulled, followed; and what goes wrong on the way.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    fleet::cable::Cable,
    support::{
        Registry, SECRET, Server, Tree, WRONG, wasmhost,
        wat_site::{linked_page, page, version},
    },
};

pub fn push_as(tree: &Tree, release: &str, docker: &Path) -> Output {
    let mut command = wasmhost();
    command.env("DOCKER_CONFIG", docker).arg("push").arg(tree.root());
    command.args([release, "--json"]).output().unwrap()
}

pub fn push(tree: &Tree, release: &str) -> Value {
    let output = push_as(tree, release, Path::new("/nowhere"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn serve(release: &str, state: &Path) -> Command {
    let mut command = wasmhost();
    command.env("DOCKER_CONFIG", "/nowhere");
    command.arg("serve").arg(format!("oci://{release}"));
    command.arg("--state-dir").arg(state).args(["--poll", "50ms"]);
    command
}

fn site(number: u32) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(number.into(), ""));
    tree.put("api/page.wat", page(1, ""));
    tree.put("shop/static/site.css", "a {}");
    tree.put("wasmhost.toml", "[groups.shop.routes]\n\"/\" = \"shop.page\"\n");
    tree
}

#[test]
fn a_release_is_pushed_and_every_server_swaps_to_it() {
    let Some(registry) = Registry::start() else { return };
    let tree = site(1);
    let pushed = push(&tree, &registry.release());
    assert_eq!((&pushed["files"], &pushed["new_layers"]), (&3.into(), &3.into()));
    let state = tempfile::tempdir().unwrap();
    let mut server = Server::start_command(serve(&registry.release(), state.path()));
    let mut client = server.client();
    assert_eq!(client.get("/").status, 200, "the manifest came with it");
    assert_eq!(client.get("/shop/static/site.css").text(), "a {}");

    tree.put("shop/page.wat", page(2, ""));
    let pushed = push(&tree, &registry.release());
    assert_eq!(pushed["new_layers"], 1, "only what changed moves");
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["generation"]),
        (&"shop".into(), &2.into())
    );
    assert_eq!(version(&mut client, "shop"), 2);
    server.wait_for_log("new_layers=1");
    assert!(
        server.seen().iter().all(|event| event["group"] != "api"),
        "it did not change"
    );

    // A release by its digest is what it was.
    let first = pushed["reference"].as_str().unwrap().to_owned();
    let other = tempfile::tempdir().unwrap();
    let fixed = Server::start_command(serve(&first, other.path()));
    assert_eq!(version(&mut fixed.client(), "shop"), 2);
}

#[test]
fn without_its_registry_the_last_release_serves() {
    let Some(registry) = Registry::start() else { return };
    let tree = site(1);
    push(&tree, &registry.release());
    let (release, state) = (registry.release(), tempfile::tempdir().unwrap());
    drop(Server::start_command(serve(&release, state.path())));
    let (folder, address) = registry.end();

    let mut server = Server::start_command(serve(&release, state.path()));
    server.wait_for_log("the last release serves: sha256:");
    assert_eq!(version(&mut server.client(), "shop"), 1);
    server.wait_for_log("what serves goes on, and it is tried again");
    let registry = Registry::serve(folder, &address, "");
    tree.put("shop/page.wat", page(2, ""));
    push(&tree, &registry.release());
    server.wait("swapped");
    assert_eq!(version(&mut server.client(), "shop"), 2, "it recovers by itself");

    let empty = tempfile::tempdir().unwrap();
    let (folder, _) = registry.end();
    let output = serve(&release, empty.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("error[registry-failed]: cannot pull "), "{said}");
    drop(folder);
}

#[test]
fn a_registry_that_says_nothing_is_waited_for_five_seconds() {
    let Some(registry) = Registry::start() else { return };
    let tree = site(1);
    push(&tree, &registry.release());
    let cable = Cable::to(&registry.address);
    let (release, state) = (
        format!("{}/shop/site:prod", cable.address()),
        tempfile::tempdir().unwrap(),
    );
    drop(Server::start_command(serve(&release, state.path())));
    tree.put("shop/page.wat", page(2, ""));
    push(&tree, &registry.release());
    cable.cut();
    let mut server = Server::start_command(serve(&release, state.path()));
    server.wait_for_log("has said nothing for 5s\nthe last release serves: sha256:");
    assert_eq!(version(&mut server.client(), "shop"), 1);
    cable.mend();
    server.wait("swapped");
    assert_eq!(version(&mut server.client(), "shop"), 2);
}

#[test]
fn what_is_wrong_with_a_release_changes_nothing() {
    let Some(registry) = Registry::start() else { return };
    let tree = site(1);
    push(&tree, &registry.release());
    let state = tempfile::tempdir().unwrap();
    let mut server = Server::start_command(serve(&registry.release(), state.path()));
    let mut client = server.client();

    // It does not fit together: refused like any other content.
    tree.put("shop/page.wat", linked_page(2));
    push(&tree, &registry.release());
    assert_eq!(
        server.wait("rejected")["diagnostics"][0]["code"],
        "import-missing"
    );
    assert_eq!(version(&mut client, "shop"), 1);

    // A layer that is damaged in the registry: it has another name first, so that it is damaged before it is wanted.
    let good = page(3, "");
    tree.put("shop/page.wat", &good);
    push(&tree, &format!("{}/shop/site:next", registry.address));
    let blob = registry.blob(good.as_bytes());
    fs::write(&blob, good.replacen('(', "[", 1)).unwrap();
    push(&tree, &registry.release());
    server.wait_for_log("error[release-corrupt]");
    assert_eq!(version(&mut client, "shop"), 1);
    fs::write(&blob, &good).unwrap();
    server.wait("swapped");
    assert_eq!(version(&mut client, "shop"), 3);

    let output = serve(
        &format!("{}/shop/site:never", registry.address),
        &state.path().join("none"),
    )
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error[release-missing]"), "{said}");
}

#[test]
fn who_is_not_logged_in_is_told_to() {
    let Some(registry) = Registry::guarded() else {
        return;
    };
    let tree = site(1);
    let docker = tempfile::tempdir().unwrap();
    for (credential, code) in [(None, 1), (Some(WRONG), 1), (Some(SECRET), 0)] {
        credential
            .into_iter()
            .for_each(|credential| registry.log_in(docker.path(), credential));
        let output = push_as(&tree, &registry.release(), docker.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        let told = said.contains("error[registry-unauthorized]") && said.contains("docker login 127.0.0.1:");
        assert_eq!(told, code == 1, "{said}");
        assert!(
            !said.contains("c2VjcmV0") && !said.contains("wrong"),
            "no password is shown: {said}"
        );
    }
    let state = tempfile::tempdir().unwrap();
    let mut command = serve(&registry.release(), state.path());
    command.env("DOCKER_CONFIG", docker.path());
    let server = Server::start_command(command);
    assert_eq!(version(&mut server.client(), "shop"), 1);
}

#[test]
fn a_tree_that_means_something_here_alone_is_not_pushed() {
    let tree = site(1);
    fs::create_dir(tree.path("data")).unwrap();
    tree.put(
        "wasmhost.toml",
        "[groups.shop.grants]\ndirectories = [{ host = \"data\", guest = \"/data\" }]\n",
    );
    let output = push_as(&tree, "127.0.0.1:1/shop/site:prod", Path::new("/nowhere"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error[release-local]: group shop is granted a folder of this tree"),
        "{said}"
    );
    let output = push_as(&tree, "Not A Reference", Path::new("/nowhere"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[reference-invalid]"));
}
