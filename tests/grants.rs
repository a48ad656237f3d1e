//! What a group is granted of its host: variables, configuration, folders. And what it prints.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::{
    restart::wait_until_recorded,
    support::{Client, Server, Tree, guests, wasmhost},
};

/// The same guests in two groups; `odd` is granted something.
fn two_groups(grants: &str) -> Tree {
    let tree = Tree::empty();
    for guest in ["flows.wasm", "streams.wasm"] {
        for group in ["odd", "poor"] {
            tree.put(
                format!("{group}/{guest}"),
                fs::read(guests().join(guest)).unwrap(),
            );
        }
    }
    tree.put("wasmhost.toml", format!("[groups.odd.grants]\n{grants}\n"));
    tree
}

fn ask(client: &mut Client, group: &str, what: &str) -> String {
    let reply = client.get(&format!("/{group}/flows?{what}"));
    assert_eq!(reply.status, 200, "{what}: {reply:?}");
    reply.text()
}

#[test]
fn variables_and_configuration_are_those_of_the_group() {
    let tree = two_groups("env = { LANG = \"en\" }\nconfig = { greeting = \"hello\" }");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(
        ask(&mut client, "odd", "reach"),
        r#"environment [("LANG", "en")], directories 0"#
    );
    assert_eq!(ask(&mut client, "odd", "variable=LANG"), r#"Some("en")"#);
    assert_eq!(ask(&mut client, "odd", "variable=PATH"), "None");
    assert_eq!(ask(&mut client, "odd", "config=greeting"), r#"Ok(Some("hello"))"#);
    assert_eq!(ask(&mut client, "odd", "config=LANG"), "Ok(None)");
    assert_eq!(ask(&mut client, "poor", "reach"), "environment [], directories 0");
    assert_eq!(ask(&mut client, "poor", "config=greeting"), "Ok(None)");

    tree.put("wasmhost.toml", "[groups.odd.grants]\nenv = { LANG = \"de\" }\n");
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["modules_compiled"]),
        (&"odd".into(), &0.into()),
        "what is granted is a part of the content"
    );
    assert_eq!(ask(&mut client, "odd", "variable=LANG"), r#"Some("de")"#);
    assert_eq!(ask(&mut client, "odd", "config=greeting"), "Ok(None)");
}

#[test]
fn a_folder_is_read_or_written_as_it_was_granted() {
    let grants = r#"directories = [
        { host = "data", guest = "/data" },
        { host = "data/out", guest = "/out", write = true },
    ]"#;
    let tree = two_groups(grants);
    tree.put("secret", "not yours");
    tree.put("data/file", "yours");
    fs::create_dir(tree.path("data/out")).unwrap();
    symlink(tree.path("secret"), tree.path("data/link")).unwrap();
    for instances in ["shared", "isolated"] {
        let manifest = format!("[groups.odd]\ninstances = \"{instances}\"\n[groups.odd.grants]\n{grants}\n");
        tree.put("wasmhost.toml", manifest);
        let server = Server::start(tree.root());
        let mut client = server.client();
        assert_eq!(ask(&mut client, "odd", "reach"), "environment [], directories 2");
        assert_eq!(ask(&mut client, "odd", "read=/data/file"), r#"Ok("yours")"#);
        for path in ["/data/../secret", "/data/link", "/secret", "/etc/passwd"] {
            let read = ask(&mut client, "odd", &format!("read={path}"));
            assert!(read.starts_with("Err("), "{path}: {read}");
        }
        let refused = ask(&mut client, "odd", "write=/data/file");
        assert!(refused.starts_with("Err("), "{refused}");
        assert_eq!(tree.read("data/file"), b"yours");
        assert_eq!(ask(&mut client, "odd", "write=/out/new"), "Ok(())");
        assert_eq!(tree.read("data/out/new"), b"written");
        tree.remove("data/out/new");
        assert!(ask(&mut client, "poor", "read=/data/file").starts_with("Err("));
    }
}

#[test]
fn a_store_has_so_many_files_open_and_no_more() {
    let grants = "directories = [{ host = \"data\", guest = \"/data\" }]";
    let limits = "[groups.odd.limits]\nfiles = 20";
    for page in ["streams?hold-files=/data/file", "flows?hold-files=file"] {
        let tree = two_groups(&format!("{grants}\n{limits}"));
        tree.put("data/file", "there is one");
        let server = Server::start(tree.root());
        let mut client = server.client();
        let before = server.holds().handles;
        let held: usize = client.get(&format!("/odd/{page}")).text().parse().unwrap();
        // The folder itself, and what the guests' own libraries have opened of it.
        assert!((16..20).contains(&held), "{page}: {held}");
        // A thousand were asked for; the server opens some for itself.
        assert!(server.holds().handles < before + 200);
        assert_eq!(client.get("/odd/streams?count").status, 200);
    }
}

/// All but the compiler, which tells of each instruction.
const LOUD: &str =
    "trace,cranelift_codegen=info,cranelift_frontend=info,wasmtime_cranelift=info,regalloc2=info";

#[test]
fn a_secret_reaches_its_guest_and_nothing_else() {
    let granted = "env = { TOKEN = { file = \"secrets/token\" }, KEY = { env = \"WASMHOST_TEST_KEY\" } }\n\
                   config = { token = { file = \"secrets/token\" } }";
    let tree = two_groups(granted);
    tree.put("secrets/token", "hunter-two\n");
    let serve = |key: &str| {
        let mut command = wasmhost();
        command.arg("serve").arg(tree.root());
        command.env("WASMHOST_TEST_KEY", key).env("WASMHOST_LOG", LOUD);
        Server::start_command(command)
    };
    let mut server = serve("opened-sesame");
    let mut client = server.client();
    assert_eq!(ask(&mut client, "odd", "variable=TOKEN"), r#"Some("hunter-two")"#);
    assert_eq!(
        ask(&mut client, "odd", "variable=KEY"),
        r#"Some("opened-sesame")"#
    );
    assert_eq!(
        ask(&mut client, "odd", "config=token"),
        r#"Ok(Some("hunter-two"))"#
    );
    assert_eq!(ask(&mut client, "poor", "variable=TOKEN"), "None");
    // Another secret is another content.
    tree.put("secrets/token", "hunter-three\n");
    assert_eq!(server.wait("swapped")["group"], "odd");
    assert_eq!(
        ask(&mut client, "odd", "variable=TOKEN"),
        r#"Some("hunter-three")"#
    );
    assert_eq!(client.get("/odd/flows?trap").status, 500);
    wait_until_recorded(&tree.path(".wasmhost"), "odd", 2);
    server.signal("TERM");
    let (_, events, log) = server.ended();

    // The manifest is broken: what serves is what was kept, and its secrets are read anew.
    tree.put("wasmhost.toml", "[groups.odd");
    let server = serve("closed-sesame");
    assert_eq!(
        ask(&mut server.client(), "odd", "variable=KEY"),
        r#"Some("closed-sesame")"#
    );
    drop(server);

    tree.put("wasmhost.toml", format!("[groups.odd.grants]\n{granted}\n"));
    tree.remove("secrets/token");
    let checked = wasmhost().arg("check").arg(tree.root()).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("error[secret-missing]: group odd is granted the secret TOKEN"),
        "{said}"
    );
    assert!(
        said.contains("the variable WASMHOST_TEST_KEY of the server is not set"),
        "{said}"
    );

    let told = format!("{events:?}{log}{said}");
    let state = everything(&tree.path(".wasmhost"));
    for secret in ["hunter-", "-sesame"] {
        assert!(!told.contains(secret), "{told}");
        let found = state.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} lies in the state directory");
    }
}

/// The content of all files of a folder.
fn everything(folder: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            content.extend(everything(&path));
        } else if path.is_file() {
            content.extend(fs::read(path).unwrap());
        }
    }
    content
}

#[test]
fn nothing_of_the_host_is_inherited() {
    let tree = two_groups("env = { LANG = \"en\" }");
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root()).env("SECRET", "of the host");
    let server = Server::start_command(command);
    let mut client = server.client();
    let reach = client.get("/odd/streams?inherits").text();
    assert_eq!(
        reach,
        "arguments [], directory None, input \"\", environment [(\"LANG\", \"en\")]"
    );
}

#[test]
fn a_folder_that_is_not_there_changes_nothing() {
    let tree = two_groups("env = { LANG = \"en\" }");
    let mut server = Server::start(tree.root());
    tree.put(
        "wasmhost.toml",
        "[groups.odd.grants]\ndirectories = [{ host = \"nowhere\", guest = \"/data\" }]\n",
    );
    let rejected = server.wait("rejected");
    let diagnostic = &rejected["diagnostics"][0];
    assert_eq!(
        (&rejected["group"], &rejected["kept"], &diagnostic["code"]),
        (&"odd".into(), &1.into(), &"directory-missing".into())
    );
    assert_eq!(ask(&mut server.client(), "odd", "variable=LANG"), r#"Some("en")"#);
}

#[test]
fn what_a_guest_prints_bears_the_name_of_its_page() {
    let tree = two_groups("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(ask(&mut client, "odd", "print"), "printed");
    assert_eq!(client.get("/odd/streams?print").text(), "printed");
    server.signal("TERM");
    let (_, _, log) = server.ended();
    for (words, component) in [
        ("interleaved words", "odd.flows"),
        ("words in turn", "odd.streams"),
    ] {
        let line = log.lines().find(|line| line.contains(words));
        let expected = format!(r#"group="odd" component="{component}" stream="stdout""#);
        assert!(line.is_some_and(|line| line.contains(&expected)), "{log}");
    }
}
