//! Components made from WIT alone: they import and export what a world says, and trap when they are
//! called.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// The page handler, which any world here may export.
const PAGE: &str = include_str!("../../wit/page.wit");

/// The component of the world `it` in `package`: a WIT document with `package`, interfaces, and a world.
pub fn component(package: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("page.wit", PAGE).unwrap();
    let id = resolve
        .push_str("test.wit", package)
        .unwrap_or_else(|e| panic!("{e:#}\n{package}"));
    let world = resolve.select_world(&[id], Some("it")).unwrap();
    let mangling = ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, mangling);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.unwrap().encode().unwrap()
}

/// A component of a world with this body, in a package `site:shop@0.1.0` with these interfaces.
pub fn shop(interfaces: &str, world: &str) -> Vec<u8> {
    component(&format!(
        "package site:shop@0.1.0;\n{interfaces}\nworld it {{ {world} }}"
    ))
}

/// A page that imports these interfaces: each a name and what is in it.
pub fn page(interfaces: &[(&str, &str)]) -> Vec<u8> {
    with(interfaces, "import", "export wasmhost:page/handler@0.1.0;")
}

/// A library that exports these interfaces.
pub fn library(interfaces: &[(&str, &str)]) -> Vec<u8> {
    with(interfaces, "export", "")
}

/// A library that imports these interfaces.
pub fn importer(interfaces: &[(&str, &str)]) -> Vec<u8> {
    with(interfaces, "import", "")
}

fn with(interfaces: &[(&str, &str)], direction: &str, more: &str) -> Vec<u8> {
    let text = |(name, body): &(&str, &str)| format!("interface {name} {{ {body} }}\n");
    let lines = |(name, _): &(&str, &str)| format!("{direction} {name}; ");
    let defined: String = interfaces.iter().map(text).collect();
    let used: String = interfaces.iter().map(lines).collect();
    shop(&defined, &format!("{used}{more}"))
}
