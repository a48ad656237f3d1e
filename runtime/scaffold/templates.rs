//! The files of each kind of project, as they come with the program: in the folder beside this.

use std::path::PathBuf;

use super::{Kind, Language};

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("templates/", $path))
    };
}

const PAGE_WIT: &str = include_str!("../../wit/page.wit");

/// The files of a project, from its folder, with their templates.
pub fn files(language: Language, kind: Kind) -> Vec<(PathBuf, String)> {
    let mut files = wit(kind);
    files.extend(match language {
        Language::Rust => rust(kind),
        Language::JavaScript => js(kind),
        Language::Python => python(kind),
    });
    files.push(("README.md", readme(language, kind)));
    files
        .into_iter()
        .map(|(path, text)| (path.into(), text))
        .collect()
}

type Files = Vec<(&'static str, String)>;

fn wit(kind: Kind) -> Files {
    let world = match kind {
        Kind::Page => template!("wit/page.world.wit"),
        Kind::WasiHttp => template!("wit/wasi-http.world.wit"),
        Kind::Library => template!("wit/library.world.wit"),
    };
    let mut files = vec![("wit/world.wit", world.to_owned())];
    let needs: &[(&'static str, &str)] = match kind {
        Kind::Page => &[("wit/deps/page.wit", PAGE_WIT)],
        Kind::WasiHttp => &[
            ("wit/deps/clocks.wit", template!("wit/clocks.wit")),
            ("wit/deps/http.wit", template!("wit/http.wit")),
            ("wit/deps/io.wit", template!("wit/io.wit")),
        ],
        Kind::Library => &[],
    };
    files.extend(needs.iter().map(|(path, text)| (*path, (*text).to_owned())));
    files
}

fn rust(kind: Kind) -> Files {
    let (source, dependency) = match kind {
        Kind::Page => (template!("rust/page.rs"), BINDINGS),
        Kind::WasiHttp => (template!("rust/wasi-http.rs"), "wasip2 = \"1\"\n"),
        Kind::Library => (template!("rust/library.rs"), BINDINGS),
    };
    vec![
        ("Cargo.toml", template!("rust/Cargo.toml").to_owned() + dependency),
        ("src/lib.rs", source.to_owned()),
    ]
}

const BINDINGS: &str =
    "wit-bindgen = { version = \"0.61\", default-features = false, features = [\"macros\", \"realloc\"] }\n";

fn js(kind: Kind) -> Files {
    let source = match kind {
        Kind::Page => template!("js/page.js"),
        Kind::WasiHttp => template!("js/wasi-http.js"),
        Kind::Library => template!("js/library.js"),
    };
    let (greeting, test) = match kind {
        Kind::Page | Kind::WasiHttp => (template!("js/greeting.page.js"), template!("js/test.page.js")),
        Kind::Library => (
            template!("js/greeting.library.js"),
            template!("js/test.library.js"),
        ),
    };
    vec![
        ("package.json", template!("js/package.json").to_owned()),
        ("component.js", source.to_owned()),
        ("greeting.js", greeting.to_owned()),
        ("greeting.test.js", test.to_owned()),
    ]
}

fn python(kind: Kind) -> Files {
    let source = match kind {
        Kind::Page => template!("python/page.py"),
        Kind::WasiHttp => template!("python/wasi-http.py"),
        Kind::Library => template!("python/library.py"),
    };
    let (greeting, test) = match kind {
        Kind::Page | Kind::WasiHttp => (
            template!("python/greeting.page.py"),
            template!("python/test.page.py"),
        ),
        Kind::Library => (
            template!("python/greeting.library.py"),
            template!("python/test.library.py"),
        ),
    };
    vec![
        ("pyproject.toml", template!("python/pyproject.toml").to_owned()),
        ("app.py", source.to_owned()),
        ("greeting.py", greeting.to_owned()),
        ("test_greeting.py", test.to_owned()),
    ]
}

fn readme(language: Language, kind: Kind) -> String {
    let (source, test) = match language {
        Language::Rust => ("src/lib.rs", "cargo test"),
        Language::JavaScript => ("component.js", "npm test"),
        Language::Python => ("app.py", "python3 -m unittest"),
    };
    let what = match kind {
        Kind::Page | Kind::WasiHttp => "The page {{route}}",
        Kind::Library => "The library {{id}}, `site:{{package}}/api` to others",
    };
    format!(
        "{what}: `{source}` is its source, `wit/world.wit` what it offers and needs.\n\
         `wasmhost dev` serves the tree and follows every change; `{test}` runs the tests.\n"
    )
}
