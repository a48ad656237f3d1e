//! `wasmhost push`.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{print, runtime};
use crate::{
    diagnostic::Diagnostic,
    release::{Pushed, push, reference},
};

/// Push what would be served of ROOT to an OCI registry, as one release.
///
/// Servers that were started with `wasmhost serve oci://REFERENCE` swap to it. A registry of this machine is
/// spoken to without TLS; credentials are those of `docker login`. Only what the registry lacks is sent, and
/// the tag moves when all of it is there.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder of components.
    root: PathBuf,
    /// Where to: registry.example.com/site:prod
    reference: String,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        root,
        reference: name,
        json,
    } = arguments;
    let reference = reference(name).map_err(|error| vec![error])?;
    let Pushed {
        reference,
        files,
        new_layers,
        new_bytes,
    } = runtime()?.block_on(push(root, reference))?;
    let reference = reference.to_string();
    print(&if *json {
        let told = json!({
            "reference": reference,
            "files": files,
            "new_layers": new_layers,
            "new_bytes": new_bytes,
        });
        format!("{told}\n")
    } else {
        format!("{reference}: {files} files, of which {new_layers} layers with {new_bytes} bytes were sent\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
