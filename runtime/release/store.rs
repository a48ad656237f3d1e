//! Releases on disk, in the state directory: each blob once, a tree of links for each release, and one link,
//! `current`, to the one that is served. What is there is whole: it is written beside its place, synced, and
//! renamed.
//!
//! ```text
//! STATE/release/blobs/38b2cd84…
//! STATE/release/trees/4be11bbd…/shop/page.wasm
//! STATE/release/current -> trees/4be11bbd…
//! STATE/release/committed -> trees/4be11bbd…      in a fleet
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::artifact::{Config, Layer, Release};
use crate::project::{MANIFEST, make_state_folder};

/// Trees beside the one that is served: so much can be gone back to without the registry.
const OLDER: usize = 2;
const UNFINISHED: &str = ".new-";
const COMMITTED: &str = "committed";

pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn new(state_dir: &Path) -> Self {
        let folder = state_dir.join("release");
        // What its links lead to is found from wherever they lie; a folder that cannot be told fails later.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Self { folder }
    }

    /// The root that is served: a link to a tree.
    pub fn root(&self) -> PathBuf {
        self.folder.join("current")
    }

    /// The digest of the release that is served; `None` also where its tree is gone.
    pub fn current(&self) -> Option<String> {
        self.leads_to("current")
    }

    /// True where the bytes of a layer are there, and are its bytes.
    pub fn has(&self, layer: &Layer) -> bool {
        let file = self.blob(layer);
        let is_as_large = fs::metadata(&file).is_ok_and(|metadata| metadata.len() == layer.size);
        is_as_large && fs::read(file).is_ok_and(|bytes| Layer::of(&bytes) == *layer)
    }

    pub fn put(&self, layer: &Layer, bytes: &[u8]) -> io::Result<()> {
        let blobs = self.folder.join("blobs");
        make_state_folder(&blobs)?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&blobs)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.blob(layer)).map_err(|error| error.error)?;
        sync(&blobs)
    }

    /// Makes the tree of a release, all layers of which are there, and has `current` lead to it.
    pub fn switch(&self, digest: &str, release: &Release, config: &Config) -> io::Result<()> {
        let trees = self.folder.join("trees");
        make_state_folder(&trees)?;
        let tree = trees.join(hex(digest));
        if !tree.is_dir() {
            let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&trees)?;
            self.fill(unfinished.path(), release, config)?;
            fs::rename(unfinished.path(), &tree)?;
            sync(&trees)?;
        }
        self.point(digest).map(drop)
    }

    /// Has `current` lead to a release, if its tree is there.
    pub fn point(&self, digest: &str) -> io::Result<bool> {
        let Ok(tree) = File::open(self.folder.join("trees").join(hex(digest))) else {
            return Ok(false);
        };
        // The newest to be served is not the first to be tidied up.
        tree.set_modified(SystemTime::now())?;
        self.link("current", digest)?;
        Ok(true)
    }

    /// What a fleet has committed is what is served after a restart, whatever is prepared by then.
    pub fn commit(&self, digest: &str) -> io::Result<()> {
        self.link(COMMITTED, digest)
    }

    /// The digest of the release that was committed last; `None` also where its tree is gone.
    pub fn committed(&self) -> Option<String> {
        self.leads_to(COMMITTED)
    }

    fn link(&self, name: &str, digest: &str) -> io::Result<()> {
        let link = self.folder.join(format!("{UNFINISHED}{name}"));
        let _ = fs::remove_file(&link);
        symlink(Path::new("trees").join(hex(digest)), &link)?;
        fs::rename(link, self.folder.join(name))?;
        sync(&self.folder)
    }

    fn leads_to(&self, name: &str) -> Option<String> {
        let link = self.folder.join(name);
        let tree = fs::read_link(&link).ok().filter(|_| link.is_dir())?;
        Some(format!("sha256:{}", tree.file_name()?.to_str()?))
    }

    fn fill(&self, tree: &Path, release: &Release, config: &Config) -> io::Result<()> {
        for (path, layer) in &release.files {
            let file = tree.join(path);
            let folder = file.parent().unwrap_or(tree);
            fs::create_dir_all(folder)?;
            fs::hard_link(self.blob(layer), &file)?;
        }
        if let Some(text) = &config.manifest {
            let mut file = File::create(tree.join(MANIFEST))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        sync(tree)
    }

    /// Removes what no release needs that is served or was lately.
    pub fn tidy(&self) -> io::Result<()> {
        let needed = [self.current(), self.committed()];
        let is_needed = |name: &str| needed.iter().flatten().any(|digest| hex(digest) == name);
        let mut trees = Vec::new();
        for entry in fs::read_dir(self.folder.join("trees"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_needed(&name) {
                trees.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        trees.sort_by(|one, other| other.cmp(one));
        for (_, tree) in trees.into_iter().skip(OLDER) {
            fs::remove_dir_all(tree)?;
        }
        for entry in fs::read_dir(self.folder.join("blobs"))? {
            let entry = entry?;
            // No tree has a link to it.
            if entry.metadata()?.nlink() == 1 {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn blob(&self, layer: &Layer) -> PathBuf {
        self.folder.join("blobs").join(hex(&layer.digest))
    }
}

fn hex(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, hex)| hex)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn release(store: &Store, version: &str) -> (String, Release) {
        let layer = Layer::of(version.as_bytes());
        store.put(&layer, version.as_bytes()).unwrap();
        let release = Release {
            config: Layer::of(b"{}"),
            files: BTreeMap::from([("shop/page.wasm".to_owned(), layer.clone())]),
        };
        (layer.digest, release)
    }

    #[test]
    fn the_newest_is_served_and_some_before_it_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert_eq!(store.current(), None);
        let versions: Vec<_> = ["1", "2", "3", "4", "5"]
            .map(|version| release(&store, version))
            .into();
        for (digest, release) in &versions {
            store.switch(digest, release, &Config::default()).unwrap();
            assert_eq!(store.current().as_ref(), Some(digest));
        }
        assert_eq!(fs::read(store.root().join("shop/page.wasm")).unwrap(), b"5");
        store.tidy().unwrap();
        let there = |(_, release): &(String, Release)| store.has(&release.files["shop/page.wasm"]);
        assert_eq!(
            versions.iter().map(there).collect::<Vec<_>>(),
            [false, false, true, true, true]
        );
        let (digest, release) = &versions[2];
        store.switch(digest, release, &Config::default()).unwrap();
        assert_eq!(fs::read(store.root().join("shop/page.wasm")).unwrap(), b"3");
    }

    #[test]
    fn a_blob_that_was_damaged_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (_, release) = release(&store, "good");
        let layer = &release.files["shop/page.wasm"];
        assert!(store.has(layer));
        fs::write(store.blob(layer), "evil").unwrap();
        assert!(!store.has(layer));
    }
}
