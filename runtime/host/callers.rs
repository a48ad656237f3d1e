//! Who is calling: the page that was called, and what its request is known by. A store's output and its
//! death bear the names of the calls that are under way in it.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::project::ComponentId;

/// The headers that a request is known by; the server sees to it that each has both.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Requests that are named where many are under way.
const MOST: usize = 4;

/// One call as logs and events name it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallName(Arc<Named>);

#[derive(Debug)]
pub struct Named {
    pub component: ComponentId,
    request: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Deref for CallName {
    type Target = Named;

    fn deref(&self) -> &Named {
        &self.0
    }
}

impl CallName {
    pub fn new(component: &ComponentId, headers: &HeaderMap) -> Self {
        Self(Arc::new(Named {
            component: component.clone(),
            request: headers.get(REQUEST_ID).cloned(),
            traceparent: headers.get(TRACEPARENT).cloned(),
        }))
    }

    /// The same call, of which another component is told.
    pub fn of(&self, component: &ComponentId) -> Self {
        let Named {
            request, traceparent, ..
        } = &**self;
        Self(Arc::new(Named {
            component: component.clone(),
            request: request.clone(),
            traceparent: traceparent.clone(),
        }))
    }

    /// The request's id.
    pub fn request(&self) -> Option<&str> {
        self.request.as_ref()?.to_str().ok()
    }

    /// The id of the trace that the request belongs to.
    pub fn trace(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()?.split('-').nth(1)
    }
}

/// The calls that are under way in a store.
#[derive(Clone, Default)]
pub struct Callers(Arc<Mutex<Vec<CallName>>>);

/// A call that is under way.
pub struct Calling {
    callers: Callers,
    name: CallName,
}

/// Whoever may be meant: all that call where calls interleave, nobody while a store starts.
pub struct Names {
    pub components: String,
    pub requests: Option<String>,
    pub traces: Option<String>,
}

impl Callers {
    pub fn calling(&self, name: &CallName) -> Calling {
        self.list().push(name.clone());
        Calling {
            callers: self.clone(),
            name: name.clone(),
        }
    }

    pub fn names(&self) -> Names {
        let callers = self.list().clone();
        let components = callers.iter().map(|name| name.component.as_str());
        Names {
            components: any_of(components, usize::MAX).unwrap_or_default(),
            requests: any_of(callers.iter().filter_map(CallName::request), MOST),
            traces: any_of(callers.iter().filter_map(CallName::trace), MOST),
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<CallName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut callers = self.callers.list();
        if let Some(at) = callers.iter().position(|name| Arc::ptr_eq(&name.0, &self.name.0)) {
            callers.swap_remove(at);
        }
    }
}

/// `a or b`; `None` for nobody.
fn any_of<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> Option<String> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > most {
        names.truncate(most);
        names.push("another");
    }
    (!names.is_empty()).then(|| names.join(" or "))
}
