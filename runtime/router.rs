//! Which page of which generation answers a path: one immutable table behind one atomic pointer, with
//! a read half and the only write half. Knows not how a request is answered.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::HeaderValue;
use percent_encoding::percent_decode_str;

use crate::{
    files,
    generation::Generation,
    host::page::Params,
    metrics::{Meter, Metrics},
    project::{ComponentId, Route},
};

/// All routes of all groups, as they are served at one moment.
#[derive(Default)]
pub struct RouteTable {
    routes: matchit::Router<Target>,
    shadowed: Vec<Shadowed>,
    /// The longest wait of any group that waits.
    waits: Option<Duration>,
}

/// A default route that is another component's already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    pub pattern: String,
    /// `None` for the static files of a group.
    pub component: Option<ComponentId>,
    /// `None` where a group that is down has all of its paths.
    pub by: Option<ComponentId>,
}

#[derive(Clone)]
struct Target {
    group: Arc<str>,
    serving: Serving,
    /// See [`RoutedPage::label`].
    label: HeaderValue,
    /// How long its group's requests wait for a swap that is pending, if they do.
    waits: Option<Duration>,
    answers: Answers,
    /// `None` where nobody counts.
    meter: Option<Arc<Meter>>,
}

/// What of a group answers.
#[derive(Clone, PartialEq)]
enum Answers {
    Page(ComponentId),
    Files,
    /// Nobody: the group is down.
    Nothing,
}

impl Answers {
    fn page(&self) -> Option<&ComponentId> {
        match self {
            Self::Page(page) => Some(page),
            Self::Files | Self::Nothing => None,
        }
    }
}

/// Who answers for a group.
#[derive(Clone)]
pub enum Serving {
    Live(Arc<Generation>),
    /// The group never had a good generation.
    Down,
}

impl Serving {
    fn label(&self) -> HeaderValue {
        let label = match self {
            Self::Live(generation) => HeaderValue::try_from(generation.id().to_string()),
            Self::Down => Ok(NO_LABEL),
        };
        label.unwrap_or(NO_LABEL)
    }
}

const NO_LABEL: HeaderValue = HeaderValue::from_static("");

/// A group as the table takes it.
pub struct GroupRoutes<'a> {
    pub name: &'a str,
    pub serving: Serving,
    /// How long its requests wait for a swap that is pending, if they do.
    pub waits: Option<Duration>,
    /// From the manifest; they win over default routes.
    pub routes: &'a [Route],
    /// The components of a group that is down: any of them may be a page.
    pub down: &'a [ComponentId],
    /// Whether it has static files.
    pub files: bool,
}

impl RouteTable {
    /// `metrics` counts what is answered by it, where someone wants to know.
    pub fn new(groups: &[GroupRoutes<'_>], metrics: Option<&Metrics>) -> Self {
        let mut table = Self {
            waits: groups.iter().filter_map(|group| group.waits).max(),
            ..Self::default()
        };
        for group in groups {
            for Route { pattern, component } in group.routes {
                table.insert(pattern, group, Answers::Page(component.clone()), metrics);
            }
        }
        for group in groups {
            match &group.serving {
                Serving::Live(generation) => {
                    for page in generation.pages() {
                        table.insert(&page.default_route(), group, Answers::Page(page.clone()), metrics);
                    }
                }
                Serving::Down => {
                    for component in group.down {
                        table.insert(&component.default_route(), group, Answers::Nothing, None);
                    }
                }
            }
            if group.files {
                let folder = files::prefix(group.name);
                for pattern in [format!("{folder}/"), format!("{folder}/{{*path}}")] {
                    table.insert(&pattern, group, Answers::Files, metrics);
                }
            }
        }
        table
    }

    /// A pattern that is taken stays with whom it was given to first. Conflicts inside a manifest were
    /// refused when it was read.
    fn insert(
        &mut self,
        pattern: &str,
        group: &GroupRoutes<'_>,
        answers: Answers,
        metrics: Option<&Metrics>,
    ) {
        let meter = |metrics: &Metrics| match &answers {
            Answers::Page(page) => metrics.page(group.name, page.as_str()),
            // A component's id has no slash.
            Answers::Files | Answers::Nothing => metrics.page(group.name, &files::prefix(group.name)),
        };
        let target = Target {
            group: group.name.into(),
            serving: group.serving.clone(),
            label: group.serving.label(),
            waits: group.waits,
            meter: metrics.map(meter),
            answers: answers.clone(),
        };
        let Err(error) = self.routes.insert(pattern, target) else {
            return;
        };
        tracing::debug!(pattern, %error, "route not added");
        let holder = self.routes.at(pattern).ok().map(|holder| &holder.value.answers);
        if answers != Answers::Nothing && holder != Some(&answers) {
            self.shadowed.push(Shadowed {
                pattern: pattern.to_owned(),
                component: answers.page().cloned(),
                by: holder.and_then(Answers::page).cloned(),
            });
        }
    }

    /// What could not be added.
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    fn at<'t, 'p>(&'t self, path: &'p str) -> Option<matchit::Match<'t, 'p, &'t Target>> {
        let without_slash = || path.strip_suffix('/').filter(|path| !path.is_empty());
        let matched = self.routes.at(path).ok();
        matched.or_else(|| self.routes.at(without_slash()?).ok())
    }

    fn route(&self, path: &str) -> Result<Routed, RouteError> {
        let matched = self.at(path).ok_or(RouteError::NoRoute)?;
        let Target {
            serving: Serving::Live(generation),
            answers,
            label,
            meter,
            ..
        } = matched.value
        else {
            return Err(RouteError::Down);
        };
        let (generation, label, meter) = (generation.clone(), label.clone(), meter.clone());
        let component = match answers {
            Answers::Page(component) => component.clone(),
            Answers::Files => {
                return Ok(Routed::File {
                    generation,
                    label,
                    meter,
                });
            }
            Answers::Nothing => return Err(RouteError::Down),
        };
        let params = matched.params.iter().map(|(name, value)| {
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| RouteError::BadPath)?;
            Ok((name.to_owned(), value.into_owned()))
        });
        Ok(Routed::Page(RoutedPage {
            generation,
            component,
            label,
            meter,
            params: params.collect::<Result<_, _>>()?,
        }))
    }
}

/// For what a request waits, and for how long at most.
pub struct Wait {
    /// `None` where any group may be meant.
    pub group: Option<String>,
    pub limit: Duration,
}

/// Who answers one request. It holds its generation from here on.
pub enum Routed {
    Page(RoutedPage),
    File {
        generation: Arc<Generation>,
        label: HeaderValue,
        meter: Option<Arc<Meter>>,
    },
}

/// A page that answers a request.
pub struct RoutedPage {
    pub generation: Arc<Generation>,
    pub component: ComponentId,
    /// The generation's name as a response's header has it, made once.
    pub label: HeaderValue,
    pub meter: Option<Arc<Meter>>,
    pub params: Params,
}

#[derive(Debug, PartialEq, Eq)]
pub enum RouteError {
    NoRoute,
    /// The group never had a good generation.
    Down,
    /// A captured part is not UTF-8.
    BadPath,
}

/// The read half.
#[derive(Clone)]
pub struct Router(Arc<ArcSwap<RouteTable>>);

/// The write half; there is one.
pub struct Publisher(Arc<ArcSwap<RouteTable>>);

/// An empty table with both halves.
pub fn router() -> (Router, Publisher) {
    let table = Arc::new(ArcSwap::default());
    (Router(table.clone()), Publisher(table))
}

impl Router {
    /// Whether a request for `path` waits for a swap that is pending. A path that nobody answers yet may be
    /// one of any group that waits.
    pub fn waits(&self, path: &str) -> Option<Wait> {
        let table = self.0.load();
        let longest = table.waits?;
        let Some(matched) = table.at(path) else {
            return Some(Wait {
                group: None,
                limit: longest,
            });
        };
        let Target { group, waits, .. } = matched.value;
        waits.map(|limit| Wait {
            group: Some(group.to_string()),
            limit,
        })
    }

    /// `path` as it came, percent-encoded. One atomic load: never waits for a swap.
    pub fn route(&self, path: &str) -> Result<Routed, RouteError> {
        self.0.load().route(path)
    }
}

impl Publisher {
    /// The swap: whoever asks from here on is routed by `table`.
    pub fn publish(&mut self, table: RouteTable) {
        self.0.store(Arc::new(table));
    }
}

/// The routes of a group's pages: the manifest's first, then the default of each page.
pub fn patterns<'a>(
    routes: &'a [Route],
    pages: impl Iterator<Item = &'a ComponentId>,
) -> Vec<(String, &'a ComponentId)> {
    let written = routes
        .iter()
        .map(|route| (route.pattern.clone(), &route.component));
    written
        .chain(pages.map(|page| (page.default_route(), page)))
        .collect()
}
