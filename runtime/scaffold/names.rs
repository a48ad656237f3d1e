//! What a project is called in each place that has rules of its own: id, folder, crate, WIT package, route.

use std::path::{Path, PathBuf};

use crate::{
    build,
    diagnostic::Diagnostic,
    project::{ComponentId, SKIPPED_FOLDERS, propose_segment},
};

/// Names that Cargo or rustc keep for themselves.
const RESERVED_CRATES: &[&str] = &["alloc", "build", "core", "proc-macro", "std", "test"];

/// The words of Rust that can be a part of an id. `wit-bindgen` writes them with `_`.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// A project's names, as the templates have them.
pub struct Names {
    id: String,
    route: String,
    /// A crate's, an npm package's and a Python project's name.
    krate: String,
    /// The WIT package, after its `site:`.
    package: String,
    /// The same as a module of Rust.
    module: String,
}

/// Errors: it is no id, or its component would not be found.
pub fn id(name: &str) -> Result<ComponentId, Diagnostic> {
    let dotted = name.trim_end_matches('/').replace('/', ".");
    let skipped = |part: &str| SKIPPED_FOLDERS.contains(&part);
    match ComponentId::parse(&dotted) {
        Ok(id) if dotted.split('.').any(skipped) => {
            let message = format!("{name:?} cannot be a component's name: its folder would not be searched");
            let help = format!("choose one without {}", SKIPPED_FOLDERS.join(", "));
            debug_assert_eq!(id.as_str(), dotted);
            Err(Diagnostic::new("name-invalid", message).help(help))
        }
        Ok(id) => Ok(id),
        Err(error) => {
            let parts = dotted.split('.').filter(|part| !part.is_empty());
            let proposal: Vec<String> = parts.map(propose_segment).collect();
            let help = match proposal.as_slice() {
                [] => "name it as its path in the tree: shop.screen.home".to_owned(),
                parts => format!("perhaps {}", parts.join(".")),
            };
            Err(Diagnostic::new("name-invalid", error.to_string()).help(help))
        }
    }
}

/// Where the project of this id lies.
pub fn folder(root: &Path, id: &ComponentId) -> PathBuf {
    id.as_str()
        .split('.')
        .fold(root.to_owned(), |folder, part| folder.join(part))
}

impl Names {
    pub fn of(id: &ComponentId) -> Self {
        let words: Vec<&str> = id.as_str().split(['.', '-', '_']).collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut krate = words.join("-");
        if RESERVED_CRATES.contains(&&*krate) || KEYWORDS.contains(&&*krate) || starts_with_digit(&krate) {
            krate = format!("site-{krate}");
        }
        // Each word of a WIT name begins with a letter.
        let wit = words.iter().map(|word| match starts_with_digit(word) {
            true => format!("n{word}"),
            false => (*word).to_owned(),
        });
        let package = wit.collect::<Vec<_>>().join("-");
        let mut module = package.replace('-', "_");
        if KEYWORDS.contains(&&*module) {
            module.push('_');
        }
        Self {
            id: id.to_string(),
            route: id.default_route(),
            krate,
            package,
            module,
        }
    }

    pub fn fill(&self, template: &str) -> String {
        [
            ("{{id}}", &*self.id),
            ("{{route}}", &self.route),
            ("{{crate}}", &self.krate),
            ("{{package}}", &self.package),
            ("{{module}}", &self.module),
            ("{{componentize-js}}", build::COMPONENTIZE_JS),
            ("{{componentize-py}}", build::COMPONENTIZE_PY),
        ]
        .iter()
        .fold(template.to_owned(), |text, (place, name)| {
            text.replace(place, name)
        })
    }
}

fn starts_with_digit(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_gets_a_name_that_it_takes() {
        let check = |id: &str, krate: &str, package: &str, module: &str| {
            let names = Names::of(&ComponentId::parse(id).expect("an id"));
            assert_eq!(
                (&*names.krate, &*names.package, &*names.module),
                (krate, package, module),
                "{id}"
            );
        };
        check("hello", "hello", "hello", "hello");
        check(
            "shop.screen.my_home",
            "shop-screen-my-home",
            "shop-screen-my-home",
            "shop_screen_my_home",
        );
        check("test", "site-test", "test", "test");
        check("type", "site-type", "type", "type_");
        check("404", "site-404", "n404", "n404");
        check(
            "shop.2nd--page",
            "shop-2nd-page",
            "shop-n2nd-page",
            "shop_n2nd_page",
        );
    }
}
