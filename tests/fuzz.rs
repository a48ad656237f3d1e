//! Whatever bytes lie under the name of a component or of the manifest, or come from a client: an error, a
//! component or an answer, never a panic, and never without end in time or memory.
//!
//! Each runs for a few seconds, which is a few thousand cases; `ARBTEST_BUDGET_MS=3600000` makes it an
//! hour each, which is millions. A failure prints its seed, which `ARBTEST_SEED` repeats. A process that
//! is gone (a stack that overflowed) leaves its last case in `target/tmp/fuzz-*`.

mod mutate;
mod panics;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{ffi::OsStringExt, fs::symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arbtest::arbitrary::{Result, Unstructured};
use wasmhost::{
    artifact::Splitting,
    project::{Content, Digest, GroupSpec, Project},
};

use self::{
    mutate::{mutate, mutate_request, mutate_text},
    panics::contained,
};
use crate::{
    linker::{
        group::{Workshop, group},
        repeat,
    },
    linking::wat as texts,
    support::{Server, Tree, connect, example, wat_site, wit},
};

/// Nothing here takes a tenth of it, however loaded the machine is.
const LONGEST: Duration = Duration::from_secs(20);

/// Growth of a server by what clients send.
const MOST_SERVER: u64 = 64 << 20;

/// Growth of the whole test process, which other tests share.
const MOST_MEMORY: u64 = 2 << 30;

#[test]
fn a_damaged_component_is_an_error_or_a_component() {
    let corpus = corpus();
    let workshop = Workshop::new(Splitting::Apart);
    let mut spec = group(&BTreeMap::from([("it".to_owned(), corpus[0].clone())]));
    bounded("component", |keep| {
        repeat(5000, |u| {
            let bytes = mutate(u, &corpus)?;
            keep(&bytes);
            replace(&mut spec, &bytes);
            let began = Instant::now();
            contained(|| {
                let parts = workshop.builder.read(&spec);
                // To compile costs much more than to read, and is the engine's affair.
                if let (Ok(parts), true) = (parts, u.ratio(1, 4).unwrap_or_default()) {
                    let _ = parts.interfaces();
                    let _ = parts.descriptions();
                    let _ = workshop.build_parts(&spec, &parts);
                }
            });
            assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
            Ok(())
        });
    });
}

#[test]
fn a_damaged_manifest_is_an_error_or_a_project() {
    let tree = Tree::empty();
    for file in ["shop/screen/home.wat", "shop/theme.wat", "blog/feed.wat"] {
        tree.put(file, "(component)");
    }
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/wasmhost.toml")).unwrap();
    bounded("manifest", |keep| {
        repeat(2000, |u| {
            let manifest = mutate_text(u, &manifest)?;
            keep(&manifest);
            tree.overwrite("wasmhost.toml", &manifest);
            let began = Instant::now();
            contained(|| drop(Project::discover(tree.root())));
            assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
            Ok(())
        });
    });
}

#[test]
fn whatever_a_client_sends_others_are_answered() {
    let tree = wat_site::site(7);
    tree.put(
        "wasmhost.toml",
        "[groups.shop.routes]\n\"/items/{id}/{*rest}\" = \"shop.page\"\n\
         [server.limits]\nheader-time = \"500ms\"\nidle-time = \"500ms\"\nwrite-time = \"500ms\"\n",
    );
    let server = Server::start(tree.root());
    let before = server.holds();
    let corpus = requests();
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-http");
    repeat(3000, |u| {
        let bytes = mutate_request(u, &corpus)?;
        fs::write(&last, &bytes).unwrap();
        let mut stream = connect(server.authority());
        // It may be refused before it was read to its end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let began = Instant::now();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
        let is_http = said.starts_with(b"HTTP/1.") || said.get(3).is_none_or(|kind| *kind < 10);
        assert!(is_http, "{}", String::from_utf8_lossy(&said));
        assert!(
            !said.windows(14).any(|part| part == b" 500 Internal "),
            "nobody trapped"
        );
        assert_eq!(wat_site::version(&mut server.client(), "shop"), 7);
        Ok(())
    });
    let after = server.holds();
    assert!(
        after.memory < before.memory + MOST_SERVER,
        "{before:?}, then {after:?}"
    );
    server.signal("TERM");
    let (status, events, log) = server.ended();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    assert!(events.is_empty(), "{events:?}");
}

/// What clients send: of both versions.
fn requests() -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = [
        "GET /shop/page?a=b HTTP/1.1\r\nhost: a\r\nx-request-id: 1\r\n\r\n",
        "POST /shop/page HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST /items/1/a%20b/c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n\
         5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "HEAD /nothing HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n",
    ]
    .map(Into::into)
    .into();
    // The preface, settings, and a GET of "/" as literal headers: method, scheme, path, authority.
    let mut http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    http2.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    http2.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    http2.extend(head);
    // A window update, a ping, and an end.
    http2.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0]);
    http2.extend([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    http2.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    requests.push(http2);
    requests
}

#[test]
fn a_tree_of_odd_names_is_an_error_or_a_project() {
    repeat(1500, |u| {
        let tree = Tree::empty();
        let mut folders = vec![tree.root().to_owned()];
        for _ in 0..u.int_in_range(1..=12)? {
            let path = u.choose(&folders)?.join(name(u)?);
            grow(u, path, &mut folders)?;
        }
        contained(|| {
            if let Ok(project) = Project::discover(tree.root()) {
                assert!(!project.groups.is_empty());
            }
        });
        Ok(())
    });
}

/// Puts a folder, a file, or a link there. What the file system refuses is not there.
fn grow(u: &mut Unstructured<'_>, path: PathBuf, folders: &mut Vec<PathBuf>) -> Result<()> {
    match u.int_in_range(0..=5)? {
        0 | 1 => {
            if fs::create_dir(&path).is_ok() {
                folders.push(path);
            }
        }
        2 => drop(symlink(u.choose(folders)?, path)),
        3 => drop(symlink("nowhere", path)),
        _ => {
            let ending = *u.choose(&[".wasm", ".wat", ".WASM", ".toml", ""])?;
            let mut file = path.into_os_string();
            file.push(ending);
            let _ = fs::write(file, u.choose(&["", "(component)", "\0asm"])?);
        }
    }
    Ok(())
}

fn name(u: &mut Unstructured<'_>) -> Result<OsString> {
    const NAMES: [&[u8]; 16] = [
        b"shop",
        b"Shop",
        b"home",
        b"a.b",
        b"wasmhost.toml",
        b"_x",
        b".hidden",
        b"target",
        b"-",
        b"9",
        b"\xff\xfe",
        b"caf\xc3\xa9",
        b"a b",
        b"\n",
        b"con",
        b"root",
    ];
    let mut name = u.choose(&NAMES)?.to_vec();
    if u.ratio(1, 4)? {
        name.extend(u.bytes(3)?.iter().filter(|byte| !b"\0/".contains(byte)));
    }
    if u.ratio(1, 20)? {
        name = name.repeat(40);
    }
    Ok(OsString::from_vec(name))
}

/// Runs `work`, which keeps each case where a process that is gone leaves it, and looks at the memory.
fn bounded(name: &str, work: impl FnOnce(&dyn Fn(&[u8]))) {
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    let before = peak_memory();
    work(&|case| fs::write(&last, case).unwrap());
    let grown = peak_memory() - before;
    assert!(grown < MOST_MEMORY, "memory grew by {grown} bytes");
}

/// The most that the process ever held, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn replace(spec: &mut GroupSpec, bytes: &[u8]) {
    for component in spec.components.values_mut() {
        component.digest = Digest::of(bytes);
        component.content = Content::Held(bytes.to_vec().into());
    }
}

/// Components of all kinds; small ones, so that a mutation hits something.
fn corpus() -> Vec<Vec<u8>> {
    let texts = [
        texts::counter(texts::COUNTER),
        texts::page(texts::COUNTER),
        texts::passing(texts::COUNTER, "a:b/c"),
        texts::types_importer("u32"),
        texts::record_exporter("(record (field \"price\" u32))"),
        texts::resource_exporter(),
        texts::resource_page(),
        r#"(component
            (core type $t (module (import "a" "b" (func (param i32))) (export "c" (memory 1))))
            (import "m" (core module $m (type $t)))
            (component $c (import "x" (component (export "y" (instance (export "z" (type (sub resource))))))))
            (core module $data (memory (export "memory") 1) (data (i32.const 8) "abc")
                (func (export "f") (param i32 i32) (result i32) (i32.load (i32.const 8))))
            (core instance $data (instantiate $data))
            (type $v (variant (case "a" string) (case "b" (list (tuple u8 f64 char))) (case "c")))
            (type $f (flags "x" "y" "z"))
            (func (export "g") (param "s" string) (result u32) (canon lift (core func $data "f")
                (memory (core memory $data "memory")) (realloc (core func $data "f")))))"#
            .to_owned(),
    ];
    let mut corpus: Vec<Vec<u8>> = texts
        .iter()
        .filter_map(|text| ::wat::parse_str(text).ok())
        .collect();
    assert!(corpus.len() >= 7);
    corpus.push(wit::library(&[(
        "all",
        "resource r { constructor(a: string); m: func(b: borrow<r>) -> option<r>; s: static func() -> result<list<r>, string>; }
         record p { a: u8, b: list<string>, c: tuple<s64, f32> } enum e { a, b } flags f { x, y }
         variant v { a(p), b(e), c } type t = list<v>; f1: func(a: t, b: f) -> result<v>;",
    )]));
    corpus.push(fs::read(example().join("shop/navigation/menu.wasm")).unwrap());
    corpus
}
