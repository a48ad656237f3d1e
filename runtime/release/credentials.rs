//! As whom the user is logged in to a registry, kept where other tools keep it: docker's and podman's files, and
//! the helpers that they name.

use std::{env, fs::File, path::PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

use crate::diagnostic::Diagnostic;

/// What docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Errors: what is kept cannot be understood.
pub fn credential(host: &str) -> Result<RegistryAuth, Diagnostic> {
    let server = match host {
        "docker.io" | "index.docker.io" => DOCKER_HUB,
        other => other,
    };
    for file in files() {
        let Ok(opened) = File::open(&file) else { continue };
        match get_credential_from_reader(opened, server) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(RegistryAuth::Basic(user, password));
            }
            Ok(DockerCredential::IdentityToken(token)) => return Ok(RegistryAuth::Bearer(token)),
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(error) => {
                let message = format!("what is kept to log in to {host} cannot be used: {error}");
                let help = format!("log in again, as by `docker login {host}`");
                return Err(Diagnostic::new("registry-credentials", message)
                    .file(file)
                    .help(help));
            }
        }
    }
    Ok(RegistryAuth::Anonymous)
}

/// Where they may be; the first that knows the registry counts.
fn files() -> impl Iterator<Item = PathBuf> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let run = || Some(folder("XDG_RUNTIME_DIR")?.join("containers/auth.json"));
    let podman = folder("REGISTRY_AUTH_FILE").or_else(run);
    docker.into_iter().chain(podman)
}
