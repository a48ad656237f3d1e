//! Texts that a group is granted: written in the manifest, or secrets that it refers to. A secret's value
//! goes to the guest and nowhere else: it is not shown, not kept on disk, and counts by its digest alone.

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::tree;

/// Bytes of one secret.
const MOST: u64 = 64 << 10;

/// A text for guests.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Written(String),
    Secret(Secret),
}

/// What was read where the manifest said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Source", into = "Source")]
pub struct Secret {
    source: Source,
    /// `None` where it was not read yet, after a restart.
    value: Option<Arc<str>>,
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    File(PathBuf),
    /// A variable of the server's own environment.
    Env(String),
}

/// Secrets that were looked for, or why there is none.
pub type Secrets = BTreeMap<Source, Result<Secret, String>>;

impl Source {
    /// As seen from `root`.
    pub fn relative_to(&self, root: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(root.join(path)),
            Self::Env(name) => Self::Env(name.clone()),
        }
    }

    /// # Errors
    /// Why there is none: without a word of its content.
    pub fn read(&self) -> Result<Secret, String> {
        let value = match self {
            Self::File(path) => {
                let bytes =
                    tree::read(path, MOST).map_err(|error| format!("{self} cannot be read: {error}"))?;
                let text =
                    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{self} is not UTF-8 text"))?;
                // As editors and `echo` end a file.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                text.strip_suffix('\r').unwrap_or(text).to_owned()
            }
            Self::Env(name) => match env::var(name) {
                Ok(value) => value,
                Err(env::VarError::NotPresent) => return Err(format!("{self} is not set")),
                Err(env::VarError::NotUnicode(_)) => return Err(format!("{self} is not UTF-8 text")),
            },
        };
        if value.contains('\0') {
            return Err(format!("{self} has the character NUL"));
        }
        Ok(Secret {
            source: self.clone(),
            value: Some(value.into()),
        })
    }
}

impl Secret {
    /// Who asks is the one that it is meant for.
    pub fn reveal(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

impl Text {
    /// What the guest gets. Nothing else may.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Written(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }

    /// Reads a secret that was not read yet.
    ///
    /// # Errors
    /// Why there is none.
    pub fn fetch(&mut self) -> Result<(), String> {
        if let Self::Secret(secret) = self
            && secret.value.is_none()
        {
            *secret = secret.source.read()?;
        }
        Ok(())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Written(text.to_owned())
    }
}

impl From<Source> for Secret {
    fn from(source: Source) -> Self {
        Self { source, value: None }
    }
}

impl From<Secret> for Source {
    fn from(secret: Secret) -> Self {
        secret.source
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(text) => fmt::Debug::fmt(text, f),
            Self::Secret(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret of {}", self.source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the variable {name} of the server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_neither_shown_nor_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2\n").unwrap();
        let secret = Source::File(path.clone()).read().unwrap();
        let mut text = Text::Secret(secret);
        assert_eq!(text.reveal(), "hunter2");
        let kept = serde_json::to_string(&text).unwrap();
        assert!(!format!("{text:?} {kept}").contains("hunter2"));
        assert_eq!(kept, format!("{{\"file\":{path:?}}}"));

        text = serde_json::from_str(&kept).unwrap();
        fs::write(&path, "hunter3").unwrap();
        text.fetch().unwrap();
        assert_eq!(text.reveal(), "hunter3", "it is read anew");
        text = serde_json::from_str(&kept).unwrap();
        fs::write(&path, b"\xff").unwrap();
        assert!(text.fetch().is_err());
        assert_eq!(
            serde_json::from_str::<Text>("\"written\"").unwrap(),
            Text::from("written")
        );
    }

    #[test]
    fn what_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b"a\0b"[..], b"\xff\xfe", &vec![b'x'; 65 << 10]] {
            let path = folder.path().join("token");
            fs::write(&path, content).unwrap();
            assert!(Source::File(path).read().is_err());
        }
        assert!(Source::File(folder.path().to_owned()).read().is_err());
        assert!(Source::Env("NO_SUCH_VARIABLE_IS_SET".into()).read().is_err());
    }
}
