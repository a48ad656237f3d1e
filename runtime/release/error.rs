//! What a registry answers, as its user can act on it.

use oci_client::{
    Reference,
    errors::{OciDistributionError as Error, OciErrorCode},
};

use crate::diagnostic::{Diagnostic, with_causes};

pub fn diagnostic(reference: &Reference, doing: &str, error: &Error) -> Diagnostic {
    let host = reference.resolve_registry();
    let said = said(error);
    match kind(error) {
        Kind::Unauthorized => {
            let message = format!("{host} does not let us {doing} {reference}: {said}");
            let help = format!("log in, as by `docker login {host}`, or ask for the right to {doing} it");
            Diagnostic::new("registry-unauthorized", message).help(help)
        }
        Kind::Missing => {
            let message = format!("there is no {reference} to {doing}: {said}");
            Diagnostic::new("release-missing", message).help("`wasmhost push` pushes one; or mend its name")
        }
        Kind::Corrupt => {
            let message = format!("what {host} has of {reference} is not what was pushed: {said}");
            Diagnostic::new("release-corrupt", message).help("push it again")
        }
        Kind::Other => {
            let message = format!("cannot {doing} {reference}: {said}");
            Diagnostic::new("registry-failed", message).machine()
        }
    }
}

/// True where who asked was not let in, or may not do it.
pub fn is_unauthorized(error: &Error) -> bool {
    matches!(kind(error), Kind::Unauthorized)
}

enum Kind {
    Unauthorized,
    Missing,
    Corrupt,
    Other,
}

fn kind(error: &Error) -> Kind {
    let of_status = |status: u16| match status {
        401 | 403 => Kind::Unauthorized,
        404 => Kind::Missing,
        _ => Kind::Other,
    };
    match error {
        Error::AuthenticationFailure(_) | Error::UnauthorizedError { .. } => Kind::Unauthorized,
        Error::ImageManifestNotFoundError(_) => Kind::Missing,
        Error::DigestError(_) => Kind::Corrupt,
        Error::ServerError { code, .. } => of_status(*code),
        Error::RequestError(error) => error
            .status()
            .map_or(Kind::Other, |status| of_status(status.as_u16())),
        Error::RegistryError { envelope, .. } => {
            let codes = || envelope.errors.iter().map(|error| &error.code);
            let is = |wanted: &[OciErrorCode]| codes().any(|code| wanted.contains(code));
            if is(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                Kind::Unauthorized
            } else if is(&[
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::BlobUnknown,
                OciErrorCode::NotFound,
            ]) {
                Kind::Missing
            } else {
                Kind::Other
            }
        }
        _ => Kind::Other,
    }
}

/// The error with what led to it; what others wrote may have lines.
fn said(error: &Error) -> String {
    let text = with_causes(error);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
