//! The first generation of every group: from what lies on disk, or, where that is refused, from the last
//! good content that was kept. Nothing serves yet, and so nothing has patience.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::{
    Reloader, Wanted,
    control::{Sight, State},
    look,
    serving::{Candidate, Instead},
};
use crate::{
    diagnostic::Diagnostic,
    kept::Kept,
    prepare::{self, Exports, Refused},
    project::{GroupSpec, Project, Refusal},
    status::Stages,
};

/// What a server begins with.
#[derive(Default)]
pub struct Beginning {
    pub candidates: Vec<Candidate>,
    /// Groups that were read and are refused.
    pub refused: Vec<Refused>,
    /// Groups that cannot even be read.
    pub unread: BTreeMap<String, Refusal>,
    /// Why the tree as a whole cannot be understood.
    pub tree: Vec<Diagnostic>,
}

impl Reloader {
    /// For a developer: a tree that cannot be served yet is no error, and requests wait for swaps.
    pub fn patient(mut self, patient: bool) -> Self {
        self.patient = patient;
        self.serving.waits_usually = patient;
        self
    }

    /// The first generation of every group. Errors: nothing at all can be served, or the shape of a tree
    /// is wrong that never was served, with all reasons.
    pub async fn load(
        &mut self,
        project: Result<Project, Vec<Diagnostic>>,
        kept: &Kept,
    ) -> Result<(), Vec<Diagnostic>> {
        let served = kept.groups();
        let mut beginning = Beginning::default();
        let (mut specs, mut chosen, mut restore) = (Vec::new(), Vec::new(), Vec::new());
        match project {
            Ok(project) => {
                self.references.send_replace(project.references);
                for name in served.iter().filter(|name| !project.groups.contains_key(*name)) {
                    match kept.standing(name).keeps_from(None) {
                        true => restore.push(name.clone()),
                        false => self.serving.gone(name),
                    }
                }
                for (name, group) in project.groups {
                    match group {
                        Ok(spec) if kept.standing(&name).keeps_from(Some(spec.digest)) => chosen.push(spec),
                        Ok(spec) => specs.push(spec),
                        Err(refusal) => drop(beginning.unread.insert(name, refusal)),
                    }
                }
            }
            Err(diagnostics) => {
                beginning.tree = diagnostics;
                restore.clone_from(&served);
            }
        }
        if !self.patient && served.is_empty() && !(beginning.unread.is_empty() && beginning.tree.is_empty()) {
            return Err(beginning.reasons());
        }
        for spec in chosen {
            // Something else was chosen in another life.
            match self.restore(kept, &spec.name).await {
                Some(candidate) => beginning.candidates.push(candidate),
                None => specs.push(spec),
            }
        }
        let (candidates, refused) = self.prepare_all(specs).await;
        beginning.candidates.extend(candidates);
        beginning.refused = refused;
        let reasons = beginning.reasons();
        if self.whole && !reasons.is_empty() {
            return Err(reasons);
        }
        restore.extend(beginning.refused.iter().map(|(spec, _)| spec.name.clone()));
        restore.extend(beginning.unread.keys().cloned());
        for name in restore {
            let restored = self.restore(kept, &name).await;
            beginning.candidates.extend(restored);
        }
        let has_page = |candidate: &Candidate| candidate.prepared.generation.pages().next().is_some();
        if !self.patient && !beginning.candidates.iter().any(has_page) {
            let reasons = beginning.reasons();
            return Err(if reasons.is_empty() {
                vec![prepare::no_page(&self.location.root)]
            } else {
                reasons
            });
        }
        self.begin(beginning, kept);
        Ok(())
    }

    fn begin(&mut self, mut beginning: Beginning, kept: &Kept) {
        for candidate in &mut beginning.candidates {
            let spec = &candidate.prepared.spec;
            self.control.begin(&spec.name, sight(spec), true);
            let standing = kept.standing(&spec.name);
            self.serving.begin_standing(&spec.name, standing);
            if standing.pinned {
                self.control.begin_pinned(&spec.name);
            }
            // It is what serves by now, where what was chosen cannot be served any more.
            let withdrawn = standing.withdrawn;
            if let Some(withdrawn) = withdrawn.filter(|withdrawn| !withdrawn.is(Some(spec.digest))) {
                self.control.begin_withdrawn(&spec.name, withdrawn);
                candidate.instead = Some(Instead {
                    withdrawn,
                    is_bad: false,
                });
            }
        }
        for (spec, _) in &beginning.refused {
            self.control.begin(&spec.name, sight(spec), false);
            self.refused.insert((spec.name.clone(), spec.digest));
        }
        for (name, refusal) in &beginning.unread {
            self.control.begin(name, look::refused_sight(refusal), false);
        }
        if !beginning.tree.is_empty() {
            self.control.begin_refused(look::tree_digest(&beginning.tree));
        }
        self.serving.begin(beginning);
        self.save_code();
    }

    async fn prepare_all(&self, specs: Vec<GroupSpec>) -> (Vec<Candidate>, Vec<Refused>) {
        let (read, exports) = prepare::read_all(&self.builder, specs, Exports::new()).await;
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for readable in read {
            let prepared = match readable {
                Ok(readable) => {
                    let preparation = self.preparation(Wanted::Readable(readable), Stages::default());
                    preparation
                        .prepare(exports.clone(), CancellationToken::new())
                        .await
                }
                Err(refused) => Err(refused),
            };
            match prepared {
                Ok(candidate) => candidates.push(candidate),
                Err(reasons) => refused.push(reasons),
            }
        }
        (candidates, refused)
    }

    /// The newest kept content of a group that can be served.
    async fn restore(&self, kept: &Kept, group: &str) -> Option<Candidate> {
        for spec in kept.contents(group) {
            let (mut candidates, refused) = self.prepare_all(vec![spec]).await;
            if let Some(candidate) = candidates.pop() {
                return Some(candidate);
            }
            for diagnostic in refused.iter().flat_map(|(_, diagnostics)| diagnostics) {
                tracing::error!(group, "a kept content is not served any more: {diagnostic}");
            }
        }
        None
    }
}

impl Beginning {
    fn reasons(&self) -> Vec<Diagnostic> {
        let unread = self.unread.values().flat_map(|refusal| &refusal.diagnostics);
        let refused = self.refused.iter().flat_map(|(_, diagnostics)| diagnostics);
        self.tree.iter().chain(unread).chain(refused).cloned().collect()
    }
}

fn sight(spec: &GroupSpec) -> Sight {
    look::sight(spec, State::Whole)
}
