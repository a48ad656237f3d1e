//! The book: every command in it is run, what it prints is compared with what stands there, and what is
//! listed in its reference is what there is.
//!
//! A page is a session: its blocks `console` are run one after another in one folder. `<!-- file: NAME -->`
//! before a block puts the block there, `<!-- starts from: the example site -->` puts the site there first.
//! `…` stands for any text, on a line of its own for any number of lines.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use wasmhost::testing::{Fault, FaultKind, Moment};

use crate::container::systemd::needs_systemd;
use crate::fleet::nats::Nats;
use crate::support::{PATIENCE, Registry, Server, SourceTree, Tree, example, skipped, wasmhost, wat_site};

const ADDRESS: &str = "127.0.0.1:8080";
const REGISTRY: &str = "registry.example.com";
const BROKER: &str = "nats.example.com:4222";

/// The commands that no test runs, each with its reason, as the page has it too.
const UNRUN: &[(&str, &str)] = &[(
    "cargo install --locked --path . --root /usr/local",
    "`.ci/run` does, to another root and without optimising, since it compiles for minutes",
)];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src")
}

/// What a page wants done, in its order.
#[derive(Debug)]
enum Step {
    Put { file: String, text: String },
    Run { command: String, expected: String },
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut lines, mut file) = (page.lines(), None);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- file: ") {
            file = name.strip_suffix(" -->").map(str::to_owned);
        }
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match file.take() {
            Some(file) => steps.push(Step::Put {
                file,
                text: block.join("\n"),
            }),
            None if language == "console" => steps.extend(commands(&block)),
            None => {}
        }
    }
    steps
}

fn commands(block: &[&str]) -> Vec<Step> {
    let mut commands = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push(Step::Run {
                command: command.to_owned(),
                expected: String::new(),
            }),
            (None, Some(Step::Run { expected, .. })) => {
                expected.push_str(line);
                expected.push('\n');
            }
            (None, _) => panic!("a block begins with its command: {line}"),
        }
    }
    commands
}

/// Whether `text` is what was expected, where `…` stands for anything.
fn matches(expected: &[&str], found: &[&str]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), None) => matches(rest, found),
        (Some((&"…", rest)), Some((_, more))) => matches(rest, found) || matches(expected, more),
        (Some((line, rest)), Some((text, more))) => is_line(line, text) && matches(rest, more),
        _ => false,
    }
}

fn is_line(expected: &str, text: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else {
        return expected == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| is_line(rest, &text[at..]))
}

fn follow(name: &str) {
    let page = fs::read_to_string(source().join(name)).unwrap();
    let place = SourceTree::new();
    if page.contains("<!-- starts from: the example site -->") {
        let site = Tree::empty();
        site.copy_from(example());
        let copied = Command::new("cp")
            .args(["-r"])
            .arg(site.root())
            .arg(place.root())
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let mut session = Session {
        folder: place.folder().to_owned(),
        environment: Vec::new(),
        server: None,
        registry: None,
        broker: None,
    };
    if page.contains(REGISTRY) {
        session.registry = Registry::start();
        if session.registry.is_none() {
            return;
        }
    }
    if page.contains(BROKER) {
        session.broker = Nats::start();
        if session.broker.is_none() {
            return;
        }
    }
    for step in steps(&page) {
        match step {
            Step::Put { file, text } => {
                let path = session.folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Step::Run { command, expected } => session.run(&command, &expected),
        }
    }
}

/// One terminal, and one more where the server runs.
struct Session {
    folder: PathBuf,
    /// What was exported.
    environment: Vec<(String, String)>,
    server: Option<Server>,
    registry: Option<Registry>,
    broker: Option<Nats>,
}

impl Session {
    /// What only looks is asked again until it is as expected, as a reader would.
    fn run(&mut self, command: &str, expected: &str) {
        let is_unrun = UNRUN.iter().any(|(unrun, _)| *unrun == command);
        // A page's broker runs from its start.
        if is_unrun || needs_systemd(command) || command == "nats-server -js" {
            return;
        }
        if let Some(exported) = command.strip_prefix("export ") {
            let (name, value) = exported.split_once('=').unwrap();
            self.environment.push((name.to_owned(), self.here(value)));
            return;
        }
        if command.starts_with("wasmhost serve") {
            self.server = None;
            let command = self.here(command);
            self.server = Some(Server::start_command(
                self.shell(&format!("exec {command} \"$@\"")),
            ));
            return;
        }
        if command.starts_with("systemd-socket-activate") {
            self.server = Some(self.activated(command));
            return;
        }
        let expected: Vec<&str> = expected.lines().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.shell(&self.here(command)).output().unwrap();
            let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            let text = self.there(&text.concat());
            if matches(&expected, &text.lines().collect::<Vec<_>>()) {
                return;
            }
            let looks = [
                "curl ",
                "wasmhost journal",
                "wasmhost status",
                "wasmhost fleet status",
            ];
            let may_come = looks.iter().any(|look| command.starts_with(look)) && Instant::now() < deadline;
            assert!(
                may_come,
                "$ {command}\n--- expected\n{}\n--- found\n{text}",
                expected.join("\n")
            );
        }
    }

    fn shell(&self, line: &str) -> Command {
        let program = PathBuf::from(wasmhost().get_program());
        let folders = [program.parent().unwrap().to_owned()].into_iter();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
        let mut shell = Command::new("bash");
        shell.current_dir(&self.folder).args(["-c", line, "bash"]);
        shell.env("PATH", path).env("NO_COLOR", "1");
        shell.envs(self.environment.iter().map(|(name, value)| (name, value)));
        shell
    }

    /// A server that is started with the first connection.
    fn activated(&self, command: &str) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let command = command.replace(ADDRESS, &free.to_string());
        let first = std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(free).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        });
        let server = Server::start_as_told(self.shell(&format!("exec {command} \"$@\"")));
        first.join().unwrap();
        server
    }

    /// With the addresses that servers really have.
    fn here(&self, command: &str) -> String {
        let mut command = command.to_owned();
        if let Some(registry) = &self.registry {
            command = command.replace(REGISTRY, &registry.address);
        }
        if let Some(broker) = &self.broker {
            command = command.replace(BROKER, broker.address());
        }
        match &self.server {
            Some(server) => command.replace(ADDRESS, server.authority()),
            None => command,
        }
    }

    fn there(&self, text: &str) -> String {
        match &self.server {
            Some(server) => text.replace(server.authority(), ADDRESS),
            None => text.to_owned(),
        }
    }
}

/// A test for each page that has commands.
macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        const FOLLOWED: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $name() {
                follow($page);
            }
        )*
    };
}

pages! {
    the_tutorial: "tutorial.md",
    how_to_deploy: "guides/deploy.md",
    how_to_serve_from_many_machines: "guides/fleet.md",
    how_to_try: "guides/try.md",
    how_to_keep_keys_and_values: "guides/keyvalue.md",
    how_to_run_components_of_others: "guides/sandbox.md",
    how_to_operate: "guides/operate.md",
    how_to_run_a_service: "guides/service.md",
    how_linking_works: "explanation/linking.md",
}

/// All pages with their text, by their path below `src`.
fn book() -> Vec<(String, String)> {
    let summary = fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    links(&summary)
        .map(|page| (page.to_owned(), fs::read_to_string(source().join(page)).unwrap()))
        .collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .map(|link| link.split(')').next().unwrap())
}

#[test]
fn no_page_with_commands_is_left_out() {
    let with_commands = book().into_iter().filter(|(_, text)| text.contains("```console"));
    let with_commands: BTreeSet<String> = with_commands.map(|(page, _)| page).collect();
    let followed: BTreeSet<String> = FOLLOWED.iter().map(|&page| page.to_owned()).collect();
    assert_eq!(with_commands, followed);
}

/// What is not run is told, and why; and no command hides in a block of another kind.
#[test]
fn what_no_test_runs_is_told() {
    let book = book();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (command, why) in UNRUN {
        let told = format!("`{command}`: {why}");
        let tells = |(_, text): &&(String, String)| {
            text.contains(&format!("$ {command}\n")) && words(text).contains(&told)
        };
        assert!(
            book.iter().any(|page| tells(&page)),
            "the book does not tell: {told}"
        );
    }
    let ci = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    assert!(ci.contains("cargo install --quiet --locked --path ."));
    for (page, text) in &book {
        let languages = text.lines().filter_map(|line| line.strip_prefix("```"));
        for language in languages {
            let is_known = ["", "console", "json", "rust", "text", "toml", "wit"].contains(&language);
            assert!(
                is_known,
                "{page} has a block of {language}: commands belong to blocks of console"
            );
        }
    }
}

#[test]
fn each_link_leads_to_a_page() {
    for (page, text) in book() {
        for link in links(&text).filter(|link| !link.starts_with("http")) {
            let target = source().join(&page).parent().unwrap().join(link);
            assert!(target.is_file(), "{page} leads to {link}");
        }
    }
}

#[test]
fn it_is_made_by_mdbook() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("mdbook")
        .args(["build", "--dest-dir"])
        .arg(folder.path())
        .arg(source().parent().unwrap())
        .output();
    let Ok(made) = made else {
        skipped("book", "mdbook does not run here");
        return;
    };
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && !said.contains("ERROR"), "{said}");
    let manifest = fs::read_to_string(folder.path().join("reference/manifest.html")).unwrap();
    assert!(manifest.contains("request-time"), "it includes what README has");
}

/// What the program says of each of its commands.
#[test]
fn the_reference_has_every_command() {
    let help = |arguments: &[&str]| {
        let mut command = wasmhost();
        let output = command.args(arguments).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let all = help(&[]);
    let commands = all.split("Commands:\n").nth(1).unwrap().lines();
    let mut text = "# Commands\n\nExit codes: 0 done; 1 the components, the manifest, the sources or a scenario are at \
                    fault; 2 wrong usage; 3 the\nmachine is at fault. `WASMHOST_LOG=debug` logs more, on standard \
                    error. What follows is what `--help` prints.\n"
        .to_owned();
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            text += &format!("\n## `wasmhost {name}`\n\n```text\n{}\n```\n", help(&[name]));
        }
    }
    same_as(&text, "reference/commands.md");
}

/// What README has of the manifest, as the page includes it.
#[test]
fn the_reference_has_every_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let page = fs::read_to_string(source().join("reference/manifest.md")).unwrap();
    let included = page.split("README.md:").skip(1).map(|rest| {
        let anchor = rest.split("}}").next().unwrap();
        let (_, text) = readme.split_once(&format!("<!-- ANCHOR: {anchor} -->")).unwrap();
        text.split(&format!("<!-- ANCHOR_END: {anchor} -->"))
            .next()
            .unwrap()
    });
    let blocks = included.flat_map(|text| text.split("```toml\n").skip(1));
    let blocks: String = blocks.map(|block| block.split("```").next().unwrap()).collect();
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let told: BTreeSet<&str> = blocks.split(|c| !is_part(c)).collect();
    let keys = keys_of_the_manifest(&root.join("runtime/project"));
    let missing: Vec<_> = keys.iter().filter(|key| !told.contains(key.as_str())).collect();
    assert!(keys.len() > 40 && missing.is_empty(), "{missing:?} of {keys:?}");
}

/// As its reader asks for them.
fn keys_of_the_manifest(project: &Path) -> BTreeSet<String> {
    let files = ["claims", "grants", "server", "state"].map(|name| format!("manifest/{name}.rs"));
    let files = files.into_iter().chain(["manifest.rs".to_owned()]);
    let text: String = files
        .map(|file| fs::read_to_string(project.join(file)).unwrap())
        .collect();
    let readers = ["get(\"", "size(\"", "count(\"", "time(\"", "texts(\""];
    let read = readers.iter().flat_map(|reader| text.split(reader).skip(1));
    read.map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_reference_has_every_event() {
    let page = fs::read_to_string(source().join("reference/events.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    let output = wasmhost().args(["journal", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, known) = help.split_once("possible values: ").unwrap();
    let known = known.split(']').next().unwrap().split(',');
    assert_eq!(told, known.map(str::trim).collect());
}

/// What a server says of each of its metrics, once there was something to count.
#[test]
fn the_reference_has_every_metric() {
    let tree = Tree::empty();
    tree.put("shop/page.wat", wat_site::page(1, ""));
    let page = wat::parse_str(wat_site::page(1, "")).unwrap();
    let trap = Fault {
        kind: FaultKind::Trap,
        on: Moment::Request,
    };
    tree.put("trap/page.wasm", trap.inject(&page).unwrap());
    let cart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/remembering/shop/cart.wat");
    tree.put("cart/page.wat", fs::read(cart).unwrap());
    tree.put(
        "wasmhost.toml",
        "[groups.cart]\nstate = \"migrate\"\ncheckpoint = \"1s\"\n",
    );
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", wat_site::page(2, ""));
    server.wait("swapped");
    let mut client = server.client();
    for (path, status) in [
        ("/shop/page", 200),
        ("/trap/page", 500),
        ("/cart/page", 200),
        ("/nowhere", 404),
    ] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
    server.wait("recovered");
    server.wait("checkpointed");
    let socket = tree.path(".wasmhost/admin.sock");
    let output = Command::new("curl")
        .args(["--silent", "--unix-socket"])
        .arg(socket)
        .arg("http://admin/metrics")
        .output();
    let Ok(output) = output else {
        skipped("metrics of the book", "curl does not run here");
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let mut rows = Vec::new();
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        rows.push(format!("| `{name}` | {kind} | {meaning} |\n"));
    }
    rows.sort();
    let head = "# Metrics\n\n`GET /metrics` on the admin socket, and on the admin address where there is one, in \
                Prometheus' text format. Labels\nare bounded: groups, pages of routes, classes of status, outcomes and \
                stages.\n\n| metric | kind | what it is |\n| --- | --- | --- |\n";
    let page = head.to_owned() + &rows.concat();
    for name in metrics_of_the_program() {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "{name} has to be seen here"
        );
    }
    same_as(&page, "reference/metrics.md");
}

/// As the sources name them.
fn metrics_of_the_program() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/metrics");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let texts: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let names = texts.split('"').filter(|text| text.starts_with("wasmhost_"));
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let names: BTreeSet<String> = names.filter(is_name).map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// `WASMHOST_BLESS=1` writes the page anew, to be reviewed.
fn same_as(text: &str, page: &str) {
    let file = source().join(page);
    if std::env::var_os("WASMHOST_BLESS").is_some() {
        fs::write(file, text).unwrap();
        return;
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{page} is not as it was; WASMHOST_BLESS=1 writes it anew"
    );
}
