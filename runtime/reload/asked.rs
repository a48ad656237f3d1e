//! Requests that wait to be answered by what lies on disk. Pure.

/// In order of arrival.
#[derive(Debug, Default)]
pub struct Asked(Vec<Request>);

#[derive(Debug)]
struct Request {
    number: u64,
    /// `None` where any group may be meant.
    group: Option<String>,
    /// The number of the look that will do for it: one that began after it came.
    look: u64,
}

impl Asked {
    pub fn add(&mut self, number: u64, group: Option<String>, look: u64) {
        self.0.push(Request { number, group, look });
    }

    /// True where a look after the one with this number is wanted.
    pub fn wants_more_than(&self, look: u64) -> bool {
        self.0.iter().any(|request| request.look > look)
    }

    /// True where some request waits for this group.
    pub fn means(&self, group: &str) -> bool {
        let is_meant = |request: &Request| request.group.as_deref().is_none_or(|meant| meant == group);
        self.0.iter().any(is_meant)
    }

    /// Those for which a look up to `done` will do, and for whose group nothing is under way.
    pub fn take_answered(&mut self, done: u64, is_busy: impl Fn(Option<&str>) -> bool) -> Vec<u64> {
        let is_answered = |request: &mut Request| request.look <= done && !is_busy(request.group.as_deref());
        self.0
            .extract_if(.., is_answered)
            .map(|request| request.number)
            .collect()
    }
}
