//! A registry of container images, for releases.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::Tool;

/// `ann:secret`
pub const SECRET: &str = "YW5uOnNlY3JldA==";
/// `ann:wrong`
pub const WRONG: &str = "YW5uOndyb25n";

/// A docker-registry of a test's own; ended with the value.
pub struct Registry {
    pub folder: TempDir,
    child: Child,
    pub address: String,
}

impl Registry {
    /// `None`, and loudly so, where the machine has none.
    pub fn start() -> Option<Self> {
        Tool::known_by("docker-registry", "--version")?;
        Some(Self::serve(tempfile::tempdir().unwrap(), "127.0.0.1:0", ""))
    }

    pub fn serve(folder: TempDir, address: &str, auth: &str) -> Self {
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {storage:?}}}}}\n\
             http: {{addr: \"{address}\"}}\n{auth}"
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split('"').next().unwrap().to_owned())
        });
        // Whoever writes must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            folder,
            child,
            address: address.expect("listens"),
        }
    }

    /// One that lets in ann alone, by `SECRET`. `None`, and loudly so, where the machine has none.
    pub fn guarded() -> Option<Self> {
        Tool::known_by("docker-registry", "--version")?;
        Self::guard(tempfile::tempdir().unwrap(), "127.0.0.1:0")
    }

    /// As `guarded`, of one that was there before.
    pub fn guard(folder: TempDir, address: &str) -> Option<Self> {
        let htpasswd = Tool::known_by("htpasswd", "-v")?;
        let users = folder.path().join("users");
        htpasswd.run(&["-Bbc", users.to_str().unwrap(), "ann", "secret"]);
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {users:?}}}}}\n");
        Some(Self::serve(folder, address, &auth))
    }

    /// Writes down as whom a user is logged in there, as docker does.
    pub fn log_in(&self, docker: &Path, credential: &str) {
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{credential}"}}}}}}"#, self.address);
        fs::write(docker.join("config.json"), config).unwrap();
    }

    pub fn release(&self) -> String {
        format!("{}/shop/site:prod", self.address)
    }

    /// The folder outlives it.
    pub fn end(mut self) -> (TempDir, String) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (folder, self.address.clone())
    }

    /// Where it keeps the bytes of a layer.
    pub fn blob(&self, bytes: &[u8]) -> PathBuf {
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        let files = walkdir::WalkDir::new(blobs).into_iter().map(Result::unwrap);
        let mut files = files.filter(|entry| entry.file_type().is_file());
        let is_it = |entry: &walkdir::DirEntry| fs::read(entry.path()).unwrap() == bytes;
        files.find(is_it).expect("has the layer").into_path()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
