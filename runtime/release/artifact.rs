//! A release as a registry has it: a manifest that names a layer for each file, and the tree's manifest in
//! its config. Pure.
//!
//! | | media type |
//! | --- | --- |
//! | the artifact | `application/vnd.wasmhost.release.v1` |
//! | its config: `{"manifest": "…"}`, the text of `wasmhost.toml` | `application/vnd.wasmhost.release.config.v1+json` |
//! | a component | `application/wasm` |
//! | a static file, or a component as text | `application/octet-stream` |
//!
//! A layer's path in the tree is its annotation `org.opencontainers.image.title`.

use std::collections::BTreeMap;

use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{diagnostic::Diagnostic, project::MANIFEST};

pub const ARTIFACT: &str = "application/vnd.wasmhost.release.v1";
pub const CONFIG: &str = "application/vnd.wasmhost.release.config.v1+json";
pub const COMPONENT: &str = "application/wasm";
const OTHER: &str = "application/octet-stream";
pub const TITLE: &str = "org.opencontainers.image.title";

/// Files of a release.
const MOST_FILES: usize = 10_000;
/// Bytes of a release.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes of its config.
const MOST_CONFIG: u64 = 4 << 20;

/// A blob of the registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// `sha256:…`
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

/// What is in a release, by content.
#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    pub config: Layer,
    /// By path, with `/` between its parts.
    pub files: BTreeMap<String, Layer>,
}

/// The config.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The text of `wasmhost.toml`; `None` where the tree has none.
    pub manifest: Option<String>,
}

impl Layer {
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let digest = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Self {
            digest: format!("sha256:{digest}"),
            size: bytes.len() as u64,
        }
    }

    pub fn descriptor(&self, media_type: &str) -> OciDescriptor {
        OciDescriptor {
            media_type: media_type.to_owned(),
            digest: self.digest.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        }
    }
}

impl Release {
    pub fn manifest(&self) -> OciImageManifest {
        let layers = self.files.iter().map(|(path, layer)| OciDescriptor {
            annotations: Some(BTreeMap::from([(TITLE.to_owned(), path.clone())])),
            ..layer.descriptor(media_type(path))
        });
        OciImageManifest {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
            config: self.config.descriptor(CONFIG),
            layers: layers.collect(),
            artifact_type: Some(ARTIFACT.into()),
            subject: None,
            annotations: None,
        }
    }

    /// Errors: it is no release, or one that no server would make a tree of.
    pub fn read(manifest: &OciImageManifest) -> Result<Self, Diagnostic> {
        if manifest.config.media_type != CONFIG {
            let message = format!(
                "it is an artifact of another kind: {}",
                manifest.config.media_type
            );
            return Err(unusable(message).help("name what `wasmhost push` has pushed"));
        }
        let config = layer(&manifest.config)?;
        if config.size > MOST_CONFIG {
            return Err(unusable(format!("its config has {} bytes", config.size)));
        }
        let mut files = BTreeMap::new();
        for descriptor in &manifest.layers {
            let titles = descriptor.annotations.as_ref();
            let path = titles.and_then(|titles| titles.get(TITLE));
            let path =
                path.ok_or_else(|| unusable(format!("its layer {} has no path", descriptor.digest)))?;
            if !is_path(path) {
                return Err(unusable(format!("it has a file {path:?}, which no tree has")));
            }
            if files.insert(path.clone(), layer(descriptor)?).is_some() {
                return Err(unusable(format!("it has two files {path}")));
            }
        }
        let bytes = files
            .values()
            .map(|layer| layer.size)
            .fold(0, u64::saturating_add);
        if files.len() > MOST_FILES || bytes > MOST_BYTES {
            let message = format!("it is too large: {} files, {bytes} bytes", files.len());
            return Err(unusable(message).help(format!("at most {MOST_FILES} files and {MOST_BYTES} bytes")));
        }
        Ok(Self { config, files })
    }
}

fn media_type(path: &str) -> &'static str {
    if path.ends_with(".wasm") { COMPONENT } else { OTHER }
}

/// Errors: it is none that could be asked for.
pub fn layer(descriptor: &OciDescriptor) -> Result<Layer, Diagnostic> {
    let digest = &descriptor.digest;
    let is_digest = |hex: &str| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match (digest.strip_prefix("sha256:"), u64::try_from(descriptor.size)) {
        (Some(hex), Ok(size)) if is_digest(hex) => Ok(Layer {
            digest: digest.clone(),
            size,
        }),
        _ => Err(unusable(format!(
            "its layer {digest:?} of {} bytes is none",
            descriptor.size
        ))),
    }
}

/// A path below the root, of something that a tree may have: it leads nowhere else.
fn is_path(path: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0']);
    path != MANIFEST && path.split('/').all(is_name)
}

fn unusable(message: String) -> Diagnostic {
    Diagnostic::new(
        "release-unusable",
        format!("the release cannot be served: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(paths: &[&str]) -> Release {
        Release {
            config: Layer::of(b"{}"),
            files: paths
                .iter()
                .map(|path| ((*path).to_owned(), Layer::of(path.as_bytes())))
                .collect(),
        }
    }

    #[test]
    fn what_was_pushed_is_what_is_pulled() {
        let pushed = release(&["shop/page.wasm", "shop/static/a/site.css"]);
        assert_eq!(Release::read(&pushed.manifest()).unwrap(), pushed);
        let empty = Sha256::digest(b"");
        assert_eq!(Layer::of(b"").digest.len(), "sha256:".len() + 2 * empty.len());
    }

    #[test]
    fn no_file_lies_outside_of_the_tree() {
        for path in [
            "../a.wasm",
            "/a.wasm",
            "a//b.wasm",
            "a/./b.wasm",
            "",
            ".wasmhost/kept",
            "wasmhost.toml",
        ] {
            let error = Release::read(&release(&[path]).manifest()).unwrap_err();
            assert!(error.message.contains("which no tree has"), "{path}: {error}");
        }
    }

    #[test]
    fn another_artifact_is_no_release() {
        let mut manifest = release(&[]).manifest();
        manifest.layers.push(Layer::of(b"x").descriptor(COMPONENT));
        assert!(
            Release::read(&manifest)
                .unwrap_err()
                .message
                .contains("has no path")
        );
        manifest.config.media_type = "application/vnd.wasm.config.v0+json".into();
        assert!(
            Release::read(&manifest)
                .unwrap_err()
                .message
                .contains("of another kind")
        );
    }
}
