//! Names of interfaces with their versions, and which export may stand for which import.

use semver::Version;

/// An interface name in its parts: `wasi:http/types` and `0.2.3`.
pub struct Name<'a> {
    pub path: &'a str,
    pub version: Option<Version>,
}

impl<'a> Name<'a> {
    pub fn parse(name: &'a str) -> Self {
        match name
            .split_once('@')
            .map(|(path, version)| (path, Version::parse(version)))
        {
            Some((path, Ok(version))) => Self {
                path,
                version: Some(version),
            },
            _ => Self {
                path: name,
                version: None,
            },
        }
    }

    /// True where an import of `wanted` may be given this export.
    pub fn satisfies(&self, wanted: &Name<'_>) -> bool {
        self.path == wanted.path
            && match (&self.version, &wanted.version) {
                (None, None) => true,
                (Some(has), Some(wants)) => compatible(has, wants),
                _ => false,
            }
    }
}

/// The rule of the component model: the first non-zero number of a version decides.
pub fn compatible(a: &Version, b: &Version) -> bool {
    if !a.pre.is_empty() || !b.pre.is_empty() || (a.major, a.minor) == (0, 0) {
        return a == b;
    }
    a.major == b.major && (a.major > 0 || a.minor == b.minor)
}

/// True where the interfaces have one name and compatible versions, or both have none.
pub fn same_interface(a: &str, b: &str) -> bool {
    Name::parse(a).satisfies(&Name::parse(b))
}
