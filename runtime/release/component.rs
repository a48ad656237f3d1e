//! One component as a registry has it: what `wkg oci push` and others push, an artifact with a layer of Wasm, and a release
//! of `wasmhost push` with one component. Pure.

use oci_client::{
    Reference,
    manifest::{OciDescriptor, OciImageManifest},
};
use wasmparser::Parser;

use super::artifact::{COMPONENT, Layer, TITLE, layer as checked};
use crate::{diagnostic::Diagnostic, project::DiscoveryLimits};

/// Before there was `application/wasm`.
const OLD_COMPONENT: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// Bytes of a component, as of a file's.
const MOST_BYTES: u64 = DiscoveryLimits::DEFAULT.file;

/// Errors: there is none, or there are several.
pub fn layer(reference: &Reference, manifest: &OciImageManifest) -> Result<Layer, Diagnostic> {
    let is_wasm = |layer: &&OciDescriptor| [COMPONENT, OLD_COMPONENT].contains(&layer.media_type.as_str());
    let layers: Vec<&OciDescriptor> = manifest.layers.iter().filter(is_wasm).collect();
    let layer = match layers.as_slice() {
        [layer] => checked(layer)?,
        [] => return Err(unusable(reference, "no layer of it is application/wasm")),
        layers => {
            let title = |layer: &&OciDescriptor| layer.annotations.as_ref()?.get(TITLE).cloned();
            let titles: Vec<String> = layers.iter().filter_map(title).collect();
            let message = format!("it has {} components: {}", layers.len(), titles.join(", "));
            return Err(unusable(reference, &message));
        }
    };
    if layer.size > MOST_BYTES {
        return Err(unusable(
            reference,
            &format!("it has {} bytes; {MOST_BYTES} are the most", layer.size),
        ));
    }
    Ok(layer)
}

/// Errors: they are no component's, whatever their media type says.
pub fn check(reference: &Reference, bytes: &[u8]) -> Result<(), Diagnostic> {
    if Parser::is_component(bytes) {
        return Ok(());
    }
    Err(unusable(
        reference,
        match Parser::is_core_wasm(bytes) {
            true => "it is a core module, not a component",
            false => "it is not WebAssembly",
        },
    ))
}

pub fn unusable(reference: &Reference, message: &str) -> Diagnostic {
    Diagnostic::new(
        "component-unusable",
        format!("{reference} is not one component: {message}"),
    )
    .help("name an artifact with one component, as `wkg oci push` and `wasmhost push` make them")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(layers: &[(&str, &str)]) -> Result<Layer, String> {
        let manifest = OciImageManifest {
            layers: layers
                .iter()
                .map(|(media_type, title)| OciDescriptor {
                    annotations: Some(BTreeMap::from([(TITLE.to_owned(), (*title).to_owned())])),
                    ..Layer::of(title.as_bytes()).descriptor(media_type)
                })
                .collect(),
            ..OciImageManifest::default()
        };
        layer(&"example.com/shop/cart:1".parse().unwrap(), &manifest).map_err(|error| error.message)
    }

    #[test]
    fn one_layer_is_the_component() {
        for media_type in [COMPONENT, OLD_COMPONENT] {
            let layers = [
                ("application/octet-stream", "site.css"),
                (media_type, "cart.wasm"),
            ];
            assert_eq!(of(&layers), Ok(Layer::of(b"cart.wasm")));
        }
        let message = "example.com/shop/cart:1 is not one component: no layer of it is application/wasm";
        assert_eq!(of(&[("text/plain", "a")]), Err(message.into()));
        let two = of(&[(COMPONENT, "a.wasm"), (COMPONENT, "b.wasm")]).unwrap_err();
        assert!(two.ends_with("it has 2 components: a.wasm, b.wasm"), "{two}");
    }

    #[test]
    fn what_is_no_component_is_told() {
        let reference = "example.com/shop/cart:1".parse().unwrap();
        let check = |text: &str| check(&reference, &wat::parse_str(text).unwrap());
        assert!(check("(component)").is_ok());
        assert!(
            check("(module)")
                .unwrap_err()
                .message
                .ends_with("a core module, not a component")
        );
        assert!(super::check(&reference, b"hello").is_err());
    }
}
