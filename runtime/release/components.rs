//! Components by reference in the state directory: pulled, kept by content, and followed. Each is one link to its content,
//! which is switched in one step; that it was, the control plane sees as it sees any file.
//!
//! ```text
//! STATE/components/blobs/38b2cd84…
//! STATE/components/registry.example.com/shop/cart:1.wasm -> STATE/components/blobs/38b2cd84…
//! ```

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use oci_client::Reference;
use tokio::{
    sync::watch,
    task::{JoinSet, block_in_place},
};
use tokio_util::sync::CancellationToken;

use super::{
    artifact::Layer,
    component,
    registry::{PATIENCE, Registry},
};
use crate::{
    clock,
    diagnostic::Diagnostic,
    project::{Failed, Project, References, failure_place, make_state_folder, pulled_folder, pulled_place},
};

/// Between two questions to a registry that does not answer, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const UNFINISHED: &str = ".new-";

/// Those of one state directory.
#[derive(Debug)]
pub struct Components {
    state_dir: PathBuf,
    /// Held by who writes: a content that no link leads to yet is not tidied away.
    writing: Mutex<()>,
}

/// Pulls what the manifest under `root` names and the state directory lacks. What cannot be pulled is told where
/// the tree is read, and its component is missing there. `may_lack`: something serves in its place, so a registry that
/// says nothing is not waited for.
pub async fn provide(root: &Path, state_dir: &Path, may_lack: bool) {
    let references: HashSet<Reference> = Project::references(root).into_values().collect();
    let components = Arc::new(Components::new(state_dir));
    let mut pulls = JoinSet::new();
    for reference in references {
        if !block_in_place(|| components.has(&reference)) {
            let components = components.clone();
            pulls.spawn(async move { components.pull(&reference, None, may_lack).await.map(drop) });
        }
    }
    pulls.join_all().await;
}

/// As `provide`, in a folder that goes with the value: for who reads a tree that another serves, or nobody.
/// Errors: there is no place for it.
pub async fn provide_aside(root: &Path) -> Result<tempfile::TempDir, Diagnostic> {
    let folder = tempfile::tempdir().map_err(|error| {
        Diagnostic::io(
            "component-unwritten",
            "make a folder in",
            std::env::temp_dir(),
            &error,
        )
        .machine()
    })?;
    provide(root, folder.path(), false).await;
    Ok(folder)
}

/// Follows what `wanted` names, until it is stopped: tags every so often, digests until they are there. What fails is
/// said once, and tried again.
pub async fn follow(
    state_dir: PathBuf,
    mut wanted: watch::Receiver<References>,
    every: Duration,
    stop: CancellationToken,
) {
    let components = Arc::new(Components::new(&state_dir));
    let mut followed = HashMap::new();
    let mut looks: JoinSet<Looked> = JoinSet::new();
    loop {
        keep_to(&mut followed, &wanted.borrow_and_update());
        for (reference, follow) in &mut followed {
            if follow.is_due() {
                follow.looking = true;
                looks.spawn(look(components.clone(), reference.clone(), follow.digest.clone()));
            }
        }
        let next = followed
            .values()
            .filter(|follow| !follow.looking)
            .filter_map(|follow| follow.due)
            .min();
        let pause = next.map_or(LONGEST_PAUSE, |due| due.saturating_duration_since(clock::now()));
        tokio::select! {
            () = clock::sleep(pause) => {}
            changed = wanted.changed() => if changed.is_err() { return },
            Some(Ok((reference, outcome))) = looks.join_next() => {
                if let Some(follow) = followed.get_mut(&reference) {
                    follow.note(&reference, outcome, every);
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

type Looked = (Reference, Result<String, Diagnostic>);

async fn look(components: Arc<Components>, reference: Reference, digest: Option<String>) -> Looked {
    let looked = components.pull(&reference, digest.as_deref(), false).await;
    (reference, looked)
}

/// One reference that is followed.
struct Follow {
    /// What it stood for last.
    digest: Option<String>,
    failure: Option<Diagnostic>,
    pause: Duration,
    /// When it is looked at next; `None` where that cannot bring anything new.
    due: Option<Instant>,
    looking: bool,
}

fn keep_to(followed: &mut HashMap<Reference, Follow>, wanted: &References) {
    followed.retain(|reference, _| wanted.values().any(|other| other == reference));
    for reference in wanted.values() {
        followed.entry(reference.clone()).or_insert_with(|| Follow {
            digest: None,
            failure: None,
            pause: Duration::ZERO,
            due: Some(clock::now()),
            looking: false,
        });
    }
}

impl Follow {
    fn is_due(&self) -> bool {
        !self.looking && self.due.is_some_and(|due| due <= clock::now())
    }

    fn note(&mut self, reference: &Reference, outcome: Result<String, Diagnostic>, every: Duration) {
        self.looking = false;
        match outcome {
            Ok(digest) => {
                if self.failure.take().is_some() {
                    tracing::info!("{reference} is followed again");
                }
                self.digest = Some(digest);
                self.pause = every;
                // What a digest stands for does not change.
                self.due = reference.digest().is_none().then(|| clock::now() + every);
            }
            Err(error) => {
                self.pause = (self.pause * 2).clamp(every, LONGEST_PAUSE.max(every));
                self.due = Some(clock::now() + self.pause);
                if self.failure.as_ref() != Some(&error) {
                    tracing::warn!("{error}\nwhat serves goes on, and it is tried again");
                    self.failure = Some(error);
                }
            }
        }
    }
}

impl Components {
    fn new(state_dir: &Path) -> Self {
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        Self {
            state_dir,
            writing: Mutex::default(),
        }
    }

    /// Has the link of a reference lead to what it stands for now: returns which artifact that is. Nothing is done where
    /// that is `known`. Errors: what was there is there, and where nothing was it is told why.
    async fn pull(
        &self,
        reference: &Reference,
        known: Option<&str>,
        may_lack: bool,
    ) -> Result<String, Diagnostic> {
        let pulled = self.try_pull(reference, known, may_lack).await;
        if let Err(error) = &pulled
            && let Err(error) = block_in_place(|| self.tell(reference, error))
        {
            tracing::debug!(%error, "why a component is missing cannot be written");
        }
        pulled
    }

    async fn try_pull(
        &self,
        reference: &Reference,
        known: Option<&str>,
        may_lack: bool,
    ) -> Result<String, Diagnostic> {
        if let Some(digest) = reference.digest()
            && block_in_place(|| self.has(reference))
        {
            return Ok(digest.to_owned());
        }
        let registry = Registry::new(reference.clone())?;
        tokio::select! {
            biased;
            pulled = self.pull_from(&registry, known) => pulled,
            () = registry.silence(PATIENCE), if may_lack => Err(registry.silent(PATIENCE)),
        }
    }

    async fn pull_from(&self, registry: &Registry, known: Option<&str>) -> Result<String, Diagnostic> {
        let reference = &registry.reference;
        if let Some(known) = known
            && registry.digest().await? == known
        {
            return Ok(known.to_owned());
        }
        let (layer, digest) = registry.component().await?;
        if block_in_place(|| self.leads_to(reference, &layer)) {
            return Ok(digest);
        }
        let bytes = registry.layer(&layer).await?;
        component::check(reference, &bytes)?;
        block_in_place(|| self.put(reference, &layer, &bytes)).map_err(|error| {
            let folder = pulled_folder(&self.state_dir);
            Diagnostic::io("component-unwritten", "write a component to", folder, &error).machine()
        })?;
        let bytes = layer.size;
        tracing::info!(%reference, digest, bytes, "a component was pulled");
        Ok(digest)
    }

    /// True where there is a content, whole.
    fn has(&self, reference: &Reference) -> bool {
        let place = pulled_place(&self.state_dir, reference);
        let content = fs::read_link(&place).ok();
        let name = content.as_ref().and_then(|content| content.file_name()?.to_str());
        let (Some(name), Ok(bytes)) = (name, fs::read(&place)) else {
            return false;
        };
        Layer::of(&bytes).digest == format!("sha256:{name}")
    }

    fn leads_to(&self, reference: &Reference, layer: &Layer) -> bool {
        let content = fs::read_link(pulled_place(&self.state_dir, reference));
        content.is_ok_and(|content| content == self.blob(layer)) && self.has(reference)
    }

    fn put(&self, reference: &Reference, layer: &Layer, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (blob, place) = (self.blob(layer), pulled_place(&self.state_dir, reference));
        make_state_folder(&pulled_folder(&self.state_dir))?;
        for folder in [&blob, &place].into_iter().filter_map(|file| file.parent()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(pulled_folder(&self.state_dir))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&blob).map_err(|error| error.error)?;
        sync(&blob)?;
        let link = place.with_extension("wasm.new");
        let _ = fs::remove_file(&link);
        symlink(&blob, &link)?;
        fs::rename(link, &place)?;
        sync(&place)?;
        let _ = fs::remove_file(failure_place(&self.state_dir, reference));
        self.tidy()
    }

    /// Removes the contents that no link leads to.
    fn tidy(&self) -> io::Result<()> {
        let folder = pulled_folder(&self.state_dir);
        let links = walkdir::WalkDir::new(&folder).into_iter().flatten();
        let used: BTreeSet<PathBuf> = links
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        for entry in fs::read_dir(folder.join("blobs"))? {
            let blob = entry?.path();
            if !used.contains(&blob) {
                fs::remove_file(blob)?;
            }
        }
        Ok(())
    }

    /// Why there is none, for who reads the tree.
    fn tell(&self, reference: &Reference, why: &Diagnostic) -> io::Result<()> {
        if self.has(reference) {
            return Ok(());
        }
        let (place, told) = (
            failure_place(&self.state_dir, reference),
            serde_json::to_vec(&Failed::new(why))?,
        );
        if fs::read(&place).is_ok_and(|before| before == told) {
            return Ok(());
        }
        make_state_folder(&pulled_folder(&self.state_dir))?;
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        let new = place.with_extension("new");
        fs::write(&new, told)?;
        fs::rename(new, place)
    }

    fn blob(&self, layer: &Layer) -> PathBuf {
        let hex = layer.digest.trim_start_matches("sha256:");
        pulled_folder(&self.state_dir).join("blobs").join(hex)
    }
}

fn sync(file: &Path) -> io::Result<()> {
    file.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
