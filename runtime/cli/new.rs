//! `wasmhost new`.

use std::path::{Path, PathBuf};

use super::print;
use crate::{
    diagnostic::Diagnostic,
    scaffold::{Kind, Language, Made, NewProject},
};

/// Make a component project that builds, serves and tests at once.
///
/// NAME is the component's place in the tree: shop.screen.home, or shop/screen/home, lies in
/// ROOT/shop/screen/home and answers /shop/screen/home. Nothing is overwritten.
#[derive(clap::Args)]
pub struct Arguments {
    /// The component's name: its path in the tree, with dots or slashes.
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t)]
    lang: LanguageArgument,
    /// A page answers requests; a library exports an interface to other components.
    #[arg(long, value_enum, default_value_t)]
    kind: KindArgument,
    /// The folder of components; it is made where it is missing.
    #[arg(long, value_name = "ROOT", default_value = "./components")]
    root: PathBuf,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum LanguageArgument {
    #[default]
    Rust,
    Js,
    Python,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum KindArgument {
    #[default]
    Page,
    WasiHttp,
    Library,
}

pub fn run(arguments: Arguments) -> Result<(), Vec<Diagnostic>> {
    let Arguments {
        name,
        lang,
        kind,
        root,
    } = arguments;
    let project = NewProject {
        root,
        name,
        language: match lang {
            LanguageArgument::Rust => Language::Rust,
            LanguageArgument::Js => Language::JavaScript,
            LanguageArgument::Python => Language::Python,
        },
        kind: match kind {
            KindArgument::Page => Kind::Page,
            KindArgument::WasiHttp => Kind::WasiHttp,
            KindArgument::Library => Kind::Library,
        },
    };
    let made = project.make().map_err(|diagnostic| vec![diagnostic])?;
    print(&told(&made, &project.root))
}

fn told(made: &Made, root: &Path) -> String {
    let files = made
        .files
        .iter()
        .map(|file| format!("  {}\n", made.folder.join(file).display()));
    let answers = match &made.route {
        Some(route) => format!("it will answer {route}"),
        None => "other components can import it".to_owned(),
    };
    let dev = match root == Path::new("./components") {
        true => "wasmhost dev".to_owned(),
        false => format!("wasmhost dev {}", root.display()),
    };
    let files: String = files.collect();
    format!("made {}; {answers}\n{files}next: {dev}\n", made.id)
}
