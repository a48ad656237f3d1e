//! What serves and what is wrong, as pages are told. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    diagnostic::Diagnostic,
    project::ContentId,
    status::{Change, Event, ReadyGroup, Swapped},
};

/// Traps that are remembered for error pages.
const MAX_TRAPS: usize = 64;

#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    process: String,
    groups: BTreeMap<String, Shown>,
    problems: Vec<Problem>,
    /// The server stops: there will be no other picture.
    #[serde(skip)]
    pub ended: bool,
    #[serde(skip)]
    builds: Vec<Problem>,
    /// By group; of the tree as a whole without one.
    #[serde(skip)]
    refused: BTreeMap<Option<String>, Vec<Problem>>,
    /// The last traps: the request's id, and what was said of it.
    #[serde(skip)]
    traps: Vec<(String, String)>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Shown {
    generation: u64,
    /// The last generation that had other components.
    code: u64,
    /// The generation that each static file is of, where it was not there from the start.
    files: BTreeMap<String, u64>,
}

/// Something that is wrong: a heading, and what a compiler or the host has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub title: String,
    pub text: String,
}

impl Problem {
    pub fn of(diagnostic: &Diagnostic) -> Self {
        Self {
            title: diagnostic.message.lines().next().unwrap_or_default().to_owned(),
            text: diagnostic.to_string(),
        }
    }
}

impl Picture {
    pub fn new(process: String) -> Self {
        Self {
            process,
            groups: BTreeMap::new(),
            problems: Vec::new(),
            ended: false,
            builds: Vec::new(),
            refused: BTreeMap::new(),
            traps: Vec::new(),
        }
    }

    /// True where pages are to be told.
    pub fn tell(&mut self, event: &Event) -> bool {
        match event {
            Event::Ready { groups, .. } => groups.iter().for_each(|group| self.begin(group)),
            Event::Swapped(swapped) => self.swap(swapped),
            Event::Reverted { group, to, .. } => {
                let shown = self.groups.entry(group.clone()).or_default();
                (shown.generation, shown.code) = (*to, *to);
            }
            Event::Rejected {
                group, diagnostics, ..
            } => {
                let problems = diagnostics.iter().map(Problem::of).collect();
                self.refused.insert(group.clone(), problems);
            }
            Event::Mended { group } => drop(self.refused.remove(group)),
            Event::Trapped {
                request: Some(request),
                message,
                ..
            } => {
                if self.traps.len() == MAX_TRAPS {
                    self.traps.remove(0);
                }
                self.traps.push((request.clone(), message.clone()));
                return true;
            }
            _ => return false,
        }
        self.list();
        true
    }

    pub fn tell_builds(&mut self, problems: Vec<Problem>) -> bool {
        let differs = self.builds != problems;
        self.builds = problems;
        self.list();
        differs
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is known of the trap that a request ended with.
    pub fn trap(&self, request: &str) -> Option<&str> {
        let mut traps = self.traps.iter().rev();
        traps.find(|(id, _)| id == request).map(|(_, said)| &**said)
    }

    fn begin(&mut self, group: &ReadyGroup) {
        if let Some(generation) = group.generation {
            let shown = self.groups.entry(group.group.clone()).or_default();
            (shown.generation, shown.code) = (generation, generation);
        }
    }

    fn swap(&mut self, swapped: &Swapped) {
        let shown = self.groups.entry(swapped.group.clone()).or_default();
        shown.generation = swapped.generation;
        // Without a cause it is the manifest.
        let mut code = swapped.from.is_none() || swapped.causes.is_empty();
        for cause in &swapped.causes {
            match (&cause.content, cause.change) {
                (ContentId::Component(_), _) => code = true,
                (ContentId::File(file), Change::Added | Change::Changed | Change::Removed) => {
                    shown.files.insert(file.clone(), swapped.generation);
                }
            }
        }
        if code {
            shown.code = swapped.generation;
        }
        self.refused.remove(&Some(swapped.group.clone()));
    }

    fn list(&mut self) {
        let refused = self.refused.values().flatten();
        self.problems = self.builds.iter().chain(refused).cloned().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::ComponentId,
        status::{Cause, Stages},
    };

    fn swapped(generation: u64, causes: Vec<Cause>) -> Event {
        Event::Swapped(Box::new(Swapped {
            group: "shop".into(),
            generation,
            from: Some(generation - 1),
            causes,
            digest: String::new(),
            modules_compiled: 0,
            modules_reused: 0,
            functions_compiled: 0,
            ms: Stages::default(),
        }))
    }

    fn changed(content: ContentId) -> Cause {
        let change = Change::Changed;
        Cause { content, change }
    }

    #[test]
    fn files_are_told_apart_from_code() {
        let mut picture = Picture::new("1".into());
        let css = ContentId::File("shop/static/site.css".into());
        let home = ContentId::Component(ComponentId::parse("shop.home").expect("an id"));
        assert!(picture.tell(&swapped(2, vec![changed(home.clone())])));
        assert!(picture.tell(&swapped(3, vec![changed(css.clone())])));
        let shown = &picture.groups["shop"];
        assert_eq!((shown.generation, shown.code), (3, 2));
        assert_eq!(shown.files["shop/static/site.css"], 3);
        picture.tell(&swapped(4, vec![changed(css), changed(home)]));
        assert_eq!(picture.groups["shop"].code, 4);
        // The manifest may have moved a route.
        picture.tell(&swapped(5, vec![]));
        assert_eq!(picture.groups["shop"].code, 5);
    }

    #[test]
    fn what_is_mended_is_not_shown_any_more() {
        let mut picture = Picture::new("1".into());
        let rejected = |group: Option<&str>| Event::Rejected {
            group: group.map(str::to_owned),
            kept: None,
            diagnostics: vec![Diagnostic::new("x", "is wrong")],
        };
        let problem = |title: &str| Problem {
            title: title.into(),
            text: String::new(),
        };
        picture.tell(&rejected(Some("shop")));
        picture.tell(&rejected(Some("api")));
        picture.tell(&rejected(None));
        assert!(picture.tell_builds(vec![problem("no build")]));
        assert!(!picture.tell_builds(vec![problem("no build")]));
        assert_eq!(picture.problems().len(), 4);
        picture.tell(&swapped(2, vec![]));
        picture.tell(&Event::Mended {
            group: Some("api".into()),
        });
        picture.tell(&Event::Mended { group: None });
        assert_eq!(picture.problems(), [problem("no build")]);
        picture.tell_builds(vec![]);
        assert!(picture.problems().is_empty());
    }
}
