//! What follows from what: the control plane as a state machine. Decides when to look at the tree, what
//! to build, what to publish and what to refuse. Pure: time and looks are passed in, deeds come out.
//! Knows no files, no wasm, no sockets.
//!
//! ```text
//!            hint, request, patience over
//!                       │
//!   at rest ──▶ look ───┴──▶ nothing new ──▶ at rest
//!                 │ not finished, or gone: look again when patience is over
//!                 ▼
//!               build ──▶ ready, and a second look agrees ──▶ commit or refuse ──▶ at rest
//!                 │ another look sees other content
//!                 └──▶ give up, build that
//! ```

mod hold;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use self::hold::Hold;
use super::{
    asked::Asked,
    build::Build,
    debounce::{Burst, QUIET},
    judge::{Group, Verdict},
    reversal::Reversals,
    subject::{Pending, Subject},
};
pub use super::{
    deeds::{Deed, Input, Looked, Readiness, Sight, State},
    subject::{GONE, UNFINISHED},
};
use crate::{kept::Withdrawn, project::Digest};

/// When content that is being built is looked at for the second time.
pub const CONFIRM: Duration = Duration::from_millis(10);

/// The state of the control plane.
#[derive(Debug, Default)]
pub struct Control {
    groups: BTreeMap<String, Group>,
    tree: Subject,
    /// Hints that no look has answered.
    burst: Option<Burst>,
    look: Option<Look>,
    build: Option<Build>,
    /// Groups that changed while another build was under way: they are looked at again after that.
    passed_over: BTreeSet<String>,
    /// A look is wanted then.
    look_at: Option<Instant>,
    looks: u64,
    builds: u64,
    asked: Asked,
    reversals: Reversals,
    /// Groups that stay as they are.
    pinned: BTreeSet<String>,
    /// Only what is asked for is taken.
    frozen: bool,
    hold: Hold,
}

#[derive(Debug)]
struct Look {
    number: u64,
    since: Instant,
    /// Nothing hinted at a change: what it finds may be a part of one.
    is_for_request: bool,
}

impl Control {
    /// Tells what serves, or was refused, from the start.
    pub fn begin(&mut self, group: &str, sight: Sight, serves: bool) {
        let group = self.groups.entry(group.to_owned()).or_default();
        if serves {
            group.serve(sight);
        } else {
            group.subject.refused = Some(sight.digest);
        }
    }

    /// Tells that something lies on disk that is not to be taken, from the start.
    pub fn begin_withdrawn(&mut self, group: &str, withdrawn: Withdrawn) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group.withdrawn = Some(withdrawn);
    }

    pub fn begin_pinned(&mut self, group: &str) {
        self.pinned.insert(group.to_owned());
    }

    /// What was taken back of a group, or of all, may be taken once more.
    pub fn forgive(&mut self, group: Option<&str>) {
        for (name, other) in &mut self.groups {
            if group.is_none_or(|group| group == name) {
                other.withdrawn = None;
            }
        }
    }

    /// From here on only what is asked for is taken.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// From here on every change is taken again.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Tells that the tree as a whole was refused from the start.
    pub fn begin_refused(&mut self, tree: Digest) {
        self.tree.refuse(tree);
    }

    /// What follows from `input`.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Deed> {
        let mut deeds = Vec::new();
        match input {
            Input::Hint => self.burst.get_or_insert_with(|| Burst::begin(now)).extend(now),
            Input::Asked { request, group } => self.asked.add(request, group, self.looks + 1),
            Input::Looked(looked) => self.looked(now, looked, &mut deeds),
            Input::Built { build, ready } => {
                if let Some(current) = self.build.as_mut().filter(|current| current.number == build) {
                    current.ready = Some(ready);
                }
            }
            Input::HandedOver { build, taken } => {
                if let Some(current) = self.build.as_mut().filter(|current| current.number == build) {
                    current.handed_over(&taken);
                }
            }
            Input::GoBack { group } => self.reversals.want(group),
            Input::WentBack { group, content } => self.went_back(now, &group, content),
            Input::Pin { group, pinned } => self.pin(now, group, pinned, &mut deeds),
            Input::LetGo => self.let_go(now, &mut deeds),
            Input::GiveUp => self.give_up(&mut deeds),
            Input::Woken => {}
        }
        self.go_back(now, &mut deeds);
        if !self.holds_back(&mut deeds) {
            self.hand_over(&mut deeds);
            self.commit(now, &mut deeds);
        }
        self.answer(&mut deeds);
        self.order_look(now, &mut deeds);
        deeds
    }

    /// When to be woken, if nothing else happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.look.is_some() {
            return None;
        }
        let burst = self.burst.as_ref().map(Burst::over_at);
        burst.into_iter().chain(self.look_at).min()
    }

    fn order_look(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        let due = self.wake_at().is_some_and(|at| at <= now);
        // Who asks while a burst is under way is answered after it: its files belong together.
        let asked = self.burst.is_none() && self.asked.wants_more_than(self.looks);
        if self.look.is_some() || !(due || asked) {
            return;
        }
        self.looks += 1;
        let burst = self.burst.take();
        self.look_at = self.look_at.filter(|at| *at > now);
        self.look = Some(Look {
            number: self.looks,
            since: burst.map_or(now, |burst| burst.first),
            is_for_request: !due,
        });
        deeds.push(Deed::Look);
    }

    fn looked(&mut self, now: Instant, looked: Looked, deeds: &mut Vec<Deed>) {
        let Some(look) = self.look.take() else { return };
        let sights = match looked {
            Ok(sights) => sights,
            Err(digest) => return self.unreadable(now, digest, deeds),
        };
        self.tree = Subject::default();
        self.passed_over.clear();
        self.note_unsettled(now, &sights, deeds);
        let restless = self.confirm(look.number, &sights, deeds);

        let building = self
            .build
            .as_ref()
            .map(|build| build.groups.keys().cloned().collect::<BTreeSet<_>>());
        let names: BTreeSet<String> = self.groups.keys().chain(sights.keys()).cloned().collect();
        let (mut build, mut refuse, mut remove) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for name in names {
            let is_building = building.as_ref().is_some_and(|building| building.contains(&name));
            let is_asked_for = !self.frozen || self.asked.means(&name);
            if is_building || self.pinned.contains(&name) || !is_asked_for {
                continue;
            }
            if self.reversals.concern(&name) {
                self.passed_over.insert(name);
                continue;
            }
            match self.groups.entry(name.clone()).or_default().judge(
                now,
                sights.get(&name),
                !self.hold.holds(),
            ) {
                Verdict::Rest => {}
                Verdict::Wait(until) => self.wake_by(until),
                Verdict::Build => drop(build.insert(name)),
                Verdict::Refuse => drop(refuse.insert(name)),
                Verdict::Remove => drop(remove.insert(name)),
            }
        }
        let remove = self.hold.keep(remove);
        if self.hold.holds() && !self.passed_over.is_empty() {
            // All of a release is built at once, and some of it cannot be yet.
            self.passed_over.append(&mut build);
        }
        self.groups
            .retain(|name, group| !remove.contains(name) && !group.is_nothing(sights.get(name)));
        if !refuse.is_empty() {
            deeds.push(Deed::Refuse(refuse));
        }
        if !remove.is_empty() {
            deeds.push(Deed::Remove(remove));
        }
        if !build.is_subset(&restless) {
            // A file that changes for ever must not hold up other groups: its group has its turn later.
            self.passed_over.extend(build.intersection(&restless).cloned());
            build.retain(|name| !restless.contains(name));
        }
        if !build.is_empty() {
            self.begin_build(now, look, build, &sights, deeds);
        }
    }

    /// One build at a time: what else changed meanwhile has its turn after the commit.
    fn begin_build(
        &mut self,
        now: Instant,
        look: Look,
        groups: BTreeSet<String>,
        sights: &BTreeMap<String, Sight>,
        deeds: &mut Vec<Deed>,
    ) {
        if self.build.is_some() {
            self.passed_over.extend(groups);
            return;
        }
        self.builds += 1;
        let sighted = groups
            .iter()
            .filter_map(|name| Some((name.clone(), sights.get(name)?.clone())));
        self.build = Some(Build {
            number: self.builds,
            groups: sighted.collect(),
            confirmed: false,
            began_after: self.looks,
            ready: None,
            handing_over: false,
        });
        deeds.push(Deed::Build {
            build: self.builds,
            groups,
            since: look.since,
        });
        self.wake_by(now + if look.is_for_request { QUIET } else { CONFIRM });
    }

    fn note_unsettled(&mut self, now: Instant, sights: &BTreeMap<String, Sight>, deeds: &mut Vec<Deed>) {
        let mut unsettled = BTreeSet::new();
        for (name, group) in &mut self.groups {
            let digest = sights.get(name).map(|sight| sight.digest);
            if group.unsettled.seen(now, digest) {
                unsettled.insert(name.clone());
            }
        }
        if !unsettled.is_empty() {
            deeds.push(Deed::SayUnsettled(unsettled));
        }
    }

    /// Compares what is being built with what lies there now. Other content: the newest wins. Returns
    /// the groups that changed meanwhile.
    fn confirm(
        &mut self,
        look: u64,
        sights: &BTreeMap<String, Sight>,
        deeds: &mut Vec<Deed>,
    ) -> BTreeSet<String> {
        let Some(build) = &mut self.build else {
            return BTreeSet::new();
        };
        let changed = |(name, sight): &(&String, &Sight)| sights.get(*name) != Some(*sight);
        let changed: BTreeSet<String> = build
            .groups
            .iter()
            .filter(changed)
            .map(|(name, _)| name.clone())
            .collect();
        if changed.is_empty() {
            build.confirmed |= look > build.began_after;
        } else if build.handing_over {
            // It is too late: what is newer has its turn after the commit.
            self.passed_over.extend(changed);
            return BTreeSet::new();
        } else {
            deeds.push(Deed::GiveUp { build: build.number });
            self.build = None;
        }
        changed
    }

    /// All but the commit is done: what serves hands its state over.
    fn hand_over(&mut self, deeds: &mut Vec<Deed>) {
        let Some(build) = self.build.as_mut().filter(|build| build.is_whole()) else {
            return;
        };
        let groups = build.heirs();
        if !groups.is_empty() && !build.handing_over {
            build.handing_over = true;
            deeds.push(Deed::HandOver {
                build: build.number,
                groups,
            });
        }
    }

    fn commit(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        let Some(Build {
            number,
            groups,
            ready: Some(ready),
            ..
        }) = self.build.take_if(|build| build.is_done())
        else {
            return;
        };
        let (mut publish, mut refuse) = (BTreeSet::new(), BTreeSet::new());
        for (name, sight) in groups {
            let group = self.groups.entry(name.clone()).or_default();
            if ready.get(&name) == Some(&Readiness::Ready) {
                group.serve(sight);
                publish.insert(name);
            } else {
                group.refuse(sight.digest);
                refuse.insert(name);
            }
        }
        deeds.push(Deed::Commit {
            build: number,
            publish,
            refuse,
        });
        self.hold.again();
        if !self.passed_over.is_empty() {
            self.wake_by(now);
        }
    }

    /// Has groups go back that nothing stands in the way of. A hand-over ends first.
    fn go_back(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        for group in self.reversals.wanted() {
            if self.clear_way(now, &group, deeds) {
                self.reversals.begin(&group);
                deeds.push(Deed::GoBack(group));
            }
        }
    }

    fn went_back(&mut self, now: Instant, group: &str, content: Option<Sight>) {
        self.reversals.end(group);
        if let Some(content) = content {
            self.groups.entry(group.to_owned()).or_default().go_back(content);
        }
        if !self.passed_over.is_empty() {
            self.wake_by(now);
        }
    }

    fn pin(&mut self, now: Instant, group: String, pinned: bool, deeds: &mut Vec<Deed>) {
        if pinned {
            self.clear_way(now, &group, deeds);
            self.pinned.insert(group);
        } else if self.pinned.remove(&group) {
            self.wake_by(now);
        }
    }

    /// Gives up what is being built of a group. False where it is too late for that.
    fn clear_way(&mut self, now: Instant, group: &str, deeds: &mut Vec<Deed>) -> bool {
        let Some(build) = self
            .build
            .take_if(|build| self.hold.holds() || build.groups.contains_key(group))
        else {
            return true;
        };
        if build.handing_over {
            self.build = Some(build);
            return false;
        }
        deeds.push(Deed::GiveUp { build: build.number });
        // They have their turn after that, and whoever waits for them waits for that.
        self.passed_over.extend(build.groups.into_keys());
        self.wake_by(now);
        true
    }

    /// The tree as a whole makes no sense: all goes on as it was, and after a while that is said.
    fn unreadable(&mut self, now: Instant, digest: Digest, deeds: &mut Vec<Deed>) {
        // No group is seen, so none is given time: whoever waits for one would wait for ever.
        let groups = self.groups.values_mut();
        groups.for_each(|group| group.subject.patience = None);
        if let Some(build) = self.build.take_if(|build| !build.handing_over) {
            deeds.push(Deed::GiveUp { build: build.number });
        }
        self.passed_over.clear();
        if self.tree.refused == Some(digest) {
            self.tree.patience = None;
            return;
        }
        let patience = if self.hold.holds() { Duration::ZERO } else { GONE };
        match self.tree.wait(now, Pending::Content(digest), patience) {
            Some(until) => self.wake_by(until),
            None => {
                self.tree.refuse(digest);
                deeds.push(Deed::RefuseTree);
            }
        }
    }

    /// A request is answered when what a look after its arrival found of its group has come to an end.
    fn answer(&mut self, deeds: &mut Vec<Deed>) {
        let done = self.looks - u64::from(self.look.is_some());
        let mut asked = std::mem::take(&mut self.asked);
        let answered = asked.take_answered(done, |group| self.is_busy(group));
        self.asked = asked;
        if !answered.is_empty() {
            deeds.push(Deed::Answer(answered));
        }
    }

    /// True where something is about to become of a group, or of any.
    fn is_busy(&self, group: Option<&str>) -> bool {
        let is_meant = |name: &String| group.is_none_or(|group| group == name);
        let is_patient =
            |(name, group): (&String, &Group)| is_meant(name) && group.subject.patience.is_some();
        let mut building = self.build.iter().flat_map(|build| build.groups.keys());
        building.any(is_meant)
            || self.passed_over.iter().any(is_meant)
            || self.tree.patience.is_some()
            || self.groups.iter().any(is_patient)
    }

    fn wake_by(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::ContentId;

    /// A group's content as the tests write it: its components, and `?` or `!` where it is not whole.
    fn sight(text: &str) -> Sight {
        let state = match text.chars().last() {
            Some('?') => State::Unfinished,
            Some('!') => State::Wrong,
            _ => State::Whole,
        };
        let names = text
            .trim_end_matches(['?', '!'])
            .split(' ')
            .filter_map(|part| part.split('=').next());
        Sight {
            digest: Digest::of(text.as_bytes()),
            contents: names
                .filter(|name| !name.is_empty())
                .map(|name| ContentId::File(name.into()))
                .collect(),
            state,
        }
    }

    struct Timeline {
        control: Control,
        start: Instant,
        log: Vec<String>,
    }

    impl Timeline {
        fn new(serving: &[(&str, &str)]) -> Self {
            let mut control = Control::default();
            for (group, content) in serving {
                control.begin(group, sight(content), true);
            }
            Self {
                control,
                start: Instant::now(),
                log: Vec::new(),
            }
        }

        fn step(&mut self, ms: u64, input: Input) -> &mut Self {
            let now = self.start + Duration::from_millis(ms);
            for deed in self.control.step(now, input) {
                self.log.push(match deed {
                    Deed::Look => format!("{ms} look"),
                    Deed::Build { groups, .. } => format!("{ms} build {groups:?}"),
                    Deed::Held { .. } => format!("{ms} held"),
                    Deed::HandOver { groups, .. } => format!("{ms} hand over {groups:?}"),
                    Deed::GoBack(group) => format!("{ms} go back {group}"),
                    Deed::GiveUp { .. } => format!("{ms} give up"),
                    Deed::Commit { publish, refuse, .. } => {
                        format!("{ms} publish {publish:?} refuse {refuse:?}")
                    }
                    Deed::Remove(groups) => format!("{ms} remove {groups:?}"),
                    Deed::Refuse(groups) => format!("{ms} refuse {groups:?}"),
                    Deed::SayUnsettled(groups) => format!("{ms} say unsettled {groups:?}"),
                    Deed::RefuseTree => format!("{ms} refuse the tree"),
                    Deed::Answer(requests) => format!("{ms} answer {requests:?}"),
                });
            }
            self
        }

        fn hint(&mut self, ms: u64) -> &mut Self {
            self.step(ms, Input::Hint)
        }

        /// A request of any group.
        fn asked(&mut self, ms: u64, request: u64) -> &mut Self {
            self.step(ms, Input::Asked { request, group: None })
        }

        fn asked_of(&mut self, ms: u64, request: u64, group: &str) -> &mut Self {
            let group = Some(group.to_owned());
            self.step(ms, Input::Asked { request, group })
        }

        fn woken(&mut self, ms: u64) -> &mut Self {
            self.step(ms, Input::Woken)
        }

        fn looked(&mut self, ms: u64, groups: &[(&str, &str)]) -> &mut Self {
            let sights = groups
                .iter()
                .map(|(name, content)| ((*name).to_owned(), sight(content)))
                .collect();
            self.step(ms, Input::Looked(Ok(sights)))
        }

        fn built(&mut self, ms: u64, build: u64, ready: &[(&str, bool)]) -> &mut Self {
            let readiness = |ready| match ready {
                true => Readiness::Ready,
                false => Readiness::Refused,
            };
            let ready = ready
                .iter()
                .map(|(name, ready)| ((*name).to_owned(), readiness(*ready)))
                .collect();
            self.step(ms, Input::Built { build, ready })
        }

        /// The group inherits the state of what serves.
        fn built_heir(&mut self, ms: u64, build: u64, group: &str) -> &mut Self {
            let ready = BTreeMap::from([(group.to_owned(), Readiness::Inherits)]);
            self.step(ms, Input::Built { build, ready })
        }

        fn handed_over(&mut self, ms: u64, build: u64, group: &str, taken: bool) -> &mut Self {
            let taken = BTreeMap::from([(group.to_owned(), taken)]);
            self.step(ms, Input::HandedOver { build, taken })
        }

        fn go_back(&mut self, ms: u64, group: &str) -> &mut Self {
            let group = group.to_owned();
            self.step(ms, Input::GoBack { group })
        }

        fn went_back(&mut self, ms: u64, group: &str, content: Option<&str>) -> &mut Self {
            let (group, content) = (group.to_owned(), content.map(sight));
            self.step(ms, Input::WentBack { group, content })
        }

        fn pin(&mut self, ms: u64, group: &str, pinned: bool) -> &mut Self {
            let group = group.to_owned();
            self.step(ms, Input::Pin { group, pinned })
        }

        fn expect(&self, expected: &[&str]) {
            assert_eq!(self.log, expected);
        }
    }

    #[test]
    fn a_change_is_looked_at_built_confirmed_and_published() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline
            .hint(0)
            .hint(10)
            .woken(20)
            .woken(30)
            .looked(31, &[("shop", "a=2")]);
        timeline
            .built(35, 1, &[("shop", true)])
            .woken(41)
            .looked(42, &[("shop", "a=2")]);
        timeline.expect(&[
            "30 look",
            "31 build {\"shop\"}",
            "41 look",
            "42 publish {\"shop\"} refuse {}",
        ]);
        assert_eq!(timeline.control.wake_at(), None, "at rest");
    }

    #[test]
    fn state_is_handed_over_last_and_what_is_newer_has_its_turn_after_that() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=2")]);
        timeline.built_heir(25, 1, "shop").woken(31);
        timeline.looked(32, &[("shop", "a=2")]);
        timeline.hint(33).woken(53).looked(54, &[("shop", "a=3")]);
        timeline
            .handed_over(60, 1, "shop", true)
            .looked(61, &[("shop", "a=3")]);
        timeline.built_heir(62, 2, "shop").woken(71);
        timeline
            .looked(72, &[("shop", "a=3")])
            .handed_over(80, 2, "shop", false);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "31 look",
            "32 hand over {\"shop\"}",
            "53 look",
            "60 publish {\"shop\"} refuse {}",
            "60 look",
            "61 build {\"shop\"}",
            "71 look",
            "72 hand over {\"shop\"}",
            "80 publish {} refuse {\"shop\"}",
        ]);
        assert_eq!(timeline.control.wake_at(), None, "at rest");
    }

    #[test]
    fn what_was_taken_back_is_not_taken_again_before_it_changes() {
        let mut timeline = Timeline::new(&[("shop", "a=2")]);
        timeline.go_back(0, "shop").went_back(5, "shop", Some("a=1"));
        timeline.hint(10).woken(30).looked(31, &[("shop", "a=2")]);
        timeline.hint(40).woken(60).looked(61, &[("shop", "a=3")]);
        timeline.built(65, 1, &[("shop", true)]).woken(71);
        timeline.looked(72, &[("shop", "a=3")]);
        timeline.hint(80).woken(100).looked(101, &[("shop", "a=2")]);
        timeline.expect(&[
            "0 go back shop",
            "30 look",
            "60 look",
            "61 build {\"shop\"}",
            "71 look",
            "72 publish {\"shop\"} refuse {}",
            "100 look",
            "101 build {\"shop\"}",
        ]);
    }

    #[test]
    fn a_group_that_goes_back_gives_its_build_up_and_takes_what_is_newer_after_that() {
        let mut timeline = Timeline::new(&[("shop", "a=2"), ("api", "b=1")]);
        let now = [("shop", "a=3"), ("api", "b=2")];
        timeline.hint(0).woken(20).looked(21, &now);
        timeline.go_back(25, "shop").looked(26, &now);
        timeline.built(30, 2, &[("api", true)]);
        timeline
            .went_back(31, "shop", Some("a=1"))
            .woken(36)
            .looked(37, &now);
        timeline.looked(38, &now);
        timeline.expect(&[
            "20 look",
            "21 build {\"api\", \"shop\"}",
            "25 give up",
            "25 go back shop",
            "25 look",
            "26 build {\"api\"}",
            "31 look",
            "37 publish {\"api\"} refuse {}",
            "37 look",
            "38 build {\"shop\"}",
        ]);
    }

    #[test]
    fn a_group_goes_back_after_its_hand_over_and_stays_where_it_cannot() {
        let mut timeline = Timeline::new(&[("shop", "a=2")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=3")]);
        timeline.built_heir(25, 1, "shop").woken(31);
        timeline.looked(32, &[("shop", "a=3")]).go_back(33, "shop");
        timeline.handed_over(40, 1, "shop", true).woken(41);
        timeline.went_back(50, "shop", None);
        timeline.hint(60).woken(80).looked(81, &[("shop", "a=3")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "31 look",
            "32 hand over {\"shop\"}",
            "40 publish {\"shop\"} refuse {}",
            "41 go back shop",
            "80 look",
        ]);
    }

    #[test]
    fn a_group_that_is_gone_can_serve_again() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        let without = [("api", "b=1")];
        timeline.hint(0).woken(20).looked(21, &without);
        timeline.woken(271).looked(272, &without);
        timeline.go_back(300, "shop").went_back(301, "shop", Some("a=1"));
        timeline.hint(400).woken(420).looked(421, &without);
        timeline.expect(&[
            "20 look",
            "271 look",
            "272 remove {\"shop\"}",
            "300 go back shop",
            "420 look",
        ]);
        assert_eq!(timeline.control.wake_at(), None, "at rest");
    }

    #[test]
    fn a_pinned_group_stays_whatever_comes_until_it_is_not() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=2")]);
        timeline.pin(22, "shop", true).looked(23, &[("shop", "a=2")]);
        timeline.hint(30).woken(50).looked(51, &[]);
        timeline.woken(400).pin(500, "shop", false);
        timeline.looked(501, &[("shop", "a=3")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "22 give up",
            "22 look",
            "50 look",
            "500 look",
            "501 build {\"shop\"}",
        ]);
    }

    #[test]
    fn what_is_held_is_committed_when_that_is_asked_for() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline.control.hold();
        timeline.asked(0, 1).looked(2, &[("shop", "a=2")]);
        timeline
            .built(5, 1, &[("shop", true)])
            .woken(22)
            .looked(23, &[("shop", "a=2")]);
        timeline.step(300, Input::LetGo);
        timeline.expect(&[
            "0 look",
            "2 build {\"shop\"}",
            "22 look",
            "23 held",
            "300 publish {\"shop\"} refuse {}",
            "300 remove {\"api\"}",
            "300 answer [1]",
        ]);
        assert_eq!(timeline.control.wake_at(), None, "at rest");
    }

    #[test]
    fn what_is_held_and_given_up_changes_nothing_and_may_come_again() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.control.hold();
        for (start, build) in [(0, 1), (100, 2)] {
            timeline.asked(start, 1).looked(start + 2, &[("shop", "a=2")]);
            timeline.built(start + 5, build, &[("shop", build == 2)]);
            timeline.woken(start + 22).looked(start + 23, &[("shop", "a=2")]);
            timeline.step(start + 30, if build == 1 { Input::GiveUp } else { Input::LetGo });
            timeline.control.forget();
        }
        timeline.expect(&[
            "0 look",
            "2 build {\"shop\"}",
            "22 look",
            "23 held",
            "30 give up",
            "30 answer [1]",
            "100 look",
            "102 build {\"shop\"}",
            "122 look",
            "123 held",
            "130 publish {\"shop\"} refuse {}",
            "130 answer [1]",
        ]);
    }

    #[test]
    fn the_newest_wins() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=2")]).hint(25);
        timeline
            .woken(31)
            .looked(32, &[("shop", "a=3")])
            .built(33, 1, &[("shop", true)]);
        timeline
            .built(40, 2, &[("shop", true)])
            .woken(42)
            .looked(43, &[("shop", "a=3")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "31 look",
            "32 give up",
            "32 build {\"shop\"}",
            "42 look",
            "43 publish {\"shop\"} refuse {}",
        ]);
    }

    #[test]
    fn the_same_content_is_neither_swapped_nor_refused_twice() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=1")]);
        timeline
            .hint(100)
            .woken(120)
            .looked(121, &[("shop", "a=2")])
            .built(122, 1, &[("shop", false)]);
        timeline.woken(131).looked(132, &[("shop", "a=2")]);
        timeline.hint(200).woken(220).looked(221, &[("shop", "a=2")]);
        timeline.hint(300).woken(320).looked(321, &[("shop", "a=1")]);
        timeline.expect(&[
            "20 look",
            "120 look",
            "121 build {\"shop\"}",
            "131 look",
            "132 publish {} refuse {\"shop\"}",
            "220 look",
            "320 look",
        ]);
    }

    #[test]
    fn what_is_not_finished_has_two_seconds() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=core?")]);
        timeline.woken(2021).looked(2022, &[("shop", "a=core?")]);
        timeline.expect(&["20 look", "2021 look", "2022 refuse {\"shop\"}"]);
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("shop", "a=core?")])
            .hint(500)
            .woken(520);
        timeline.looked(521, &[("shop", "a=2")]);
        timeline.expect(&["20 look", "520 look", "521 build {\"shop\"}"]);
    }

    #[test]
    fn what_is_gone_has_a_short_grace() {
        let mut timeline = Timeline::new(&[("shop", "a=1 b=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("shop", "a=1")])
            .hint(30)
            .woken(50);
        timeline.looked(51, &[("shop", "a=1 b=1")]);
        timeline
            .hint(100)
            .woken(120)
            .looked(121, &[("shop", "b=2")])
            .woken(371)
            .looked(372, &[("shop", "b=2")]);
        timeline.expect(&[
            "20 look",
            "50 look",
            "120 look",
            "371 look",
            "372 build {\"shop\"}",
        ]);

        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("api", "b=1")])
            .woken(271)
            .looked(272, &[("api", "b=1")]);
        timeline.expect(&["20 look", "271 look", "272 remove {\"shop\"}"]);
    }

    #[test]
    fn a_request_is_answered_after_a_look_that_began_after_it() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.asked(0, 1).asked(1, 2).looked(2, &[("shop", "a=1")]);
        timeline
            .looked(4, &[("shop", "a=2")])
            .built(6, 1, &[("shop", true)]);
        timeline.woken(24).looked(25, &[("shop", "a=2")]);
        timeline.expect(&[
            "0 look",
            "2 answer [1]",
            "2 look",
            "4 build {\"shop\"}",
            "24 look",
            "25 publish {\"shop\"} refuse {}",
            "25 answer [2]",
        ]);
    }

    #[test]
    fn a_request_waits_for_its_own_group_alone() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline
            .asked_of(0, 1, "shop")
            .looked(2, &[("shop", "a=core?"), ("api", "b=1")]);
        timeline
            .asked_of(10, 2, "api")
            .looked(12, &[("shop", "a=2"), ("api", "b=1")]);
        timeline
            .woken(32)
            .built(33, 1, &[("shop", true)])
            .looked(34, &[("shop", "a=2"), ("api", "b=1")]);
        timeline.expect(&[
            "0 look",
            "10 look",
            "12 build {\"shop\"}",
            "12 answer [2]",
            "32 look",
            "34 publish {\"shop\"} refuse {}",
            "34 answer [1]",
        ]);
    }

    #[test]
    fn a_request_in_a_burst_waits_for_its_end() {
        let mut timeline = Timeline::new(&[("shop", "a=1 b=1")]);
        timeline.hint(0).asked(5, 1).hint(15).woken(20).woken(35);
        timeline.looked(36, &[("shop", "a=2 b=2")]);
        timeline.expect(&["35 look", "36 build {\"shop\"}"]);
        // Before the first hint of it has come, content that a request found is given the quiet time.
        let mut timeline = Timeline::new(&[("shop", "a=1 b=1")]);
        timeline.asked(0, 1).looked(1, &[("shop", "a=2 b=1")]);
        timeline.built(3, 1, &[("shop", false)]).hint(15).woken(35);
        timeline
            .looked(36, &[("shop", "a=2 b=2")])
            .built(37, 2, &[("shop", true)])
            .woken(46)
            .looked(47, &[("shop", "a=2 b=2")]);
        timeline.expect(&[
            "0 look",
            "1 build {\"shop\"}",
            "35 look",
            "36 give up",
            "36 build {\"shop\"}",
            "46 look",
            "47 publish {\"shop\"} refuse {}",
            "47 answer [1]",
        ]);
    }

    #[test]
    fn what_grows_and_is_not_finished_has_two_seconds_in_all() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=c?")]);
        timeline.hint(1500).woken(1520).looked(1521, &[("shop", "a=co?")]);
        timeline.woken(2021).looked(2022, &[("shop", "a=cor?")]);
        timeline.expect(&["20 look", "1520 look", "2021 look", "2022 refuse {\"shop\"}"]);
    }

    /// Found by a long simulation, at seed 12442.
    #[test]
    fn what_was_whole_in_between_has_two_seconds_anew() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=c?")]);
        timeline.hint(1000).woken(1020).looked(1021, &[("shop", "a=2")]);
        timeline.woken(2031).looked(2032, &[("shop", "a=cor?")]);
        timeline.woken(4032).looked(4033, &[("shop", "a=cor?")]);
        timeline.expect(&[
            "20 look",
            "1020 look",
            "1021 build {\"shop\"}",
            "2031 look",
            "2032 give up",
            "4032 look",
            "4033 refuse {\"shop\"}",
        ]);
    }

    #[test]
    fn a_change_of_another_group_has_its_turn_after_the_commit() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("shop", "a=2"), ("api", "b=1")]);
        timeline
            .woken(31)
            .looked(32, &[("shop", "a=2"), ("api", "b=2")])
            .built(40, 1, &[("shop", true)]);
        timeline.looked(41, &[("shop", "a=2"), ("api", "b=2")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "31 look",
            "40 publish {\"shop\"} refuse {}",
            "40 look",
            "41 build {\"api\"}",
        ]);
    }

    #[test]
    fn a_request_waits_for_a_change_that_was_passed_over() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("shop", "a=2"), ("api", "b=1")]);
        timeline
            .asked(31, 1)
            .looked(32, &[("shop", "a=2"), ("api", "b=2")])
            .built(40, 1, &[("shop", true)]);
        timeline
            .looked(41, &[("shop", "a=2"), ("api", "b=2")])
            .built(50, 2, &[("api", true)])
            .woken(51)
            .looked(52, &[("shop", "a=2"), ("api", "b=2")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"shop\"}",
            "31 look",
            "40 publish {\"shop\"} refuse {}",
            "40 look",
            "41 build {\"api\"}",
            "51 look",
            "52 publish {\"api\"} refuse {}",
            "52 answer [1]",
        ]);
    }

    #[test]
    fn no_request_waits_for_a_group_that_is_not_seen_any_more() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        let wrong = || Input::Looked(Err(Digest::of(b"wrong")));
        timeline.hint(0).woken(20).looked(21, &[("shop", "a=core?")]);
        timeline.asked(30, 1).step(31, wrong());
        timeline.woken(281).step(282, wrong());
        timeline.expect(&[
            "20 look",
            "30 look",
            "281 look",
            "282 refuse the tree",
            "282 answer [1]",
        ]);
    }

    #[test]
    fn a_group_that_changes_for_ever_does_not_hold_up_another() {
        let mut timeline = Timeline::new(&[("shop", "a=1"), ("api", "b=1")]);
        timeline
            .hint(0)
            .woken(20)
            .looked(21, &[("shop", "a=2"), ("api", "b=2")]);
        timeline
            .woken(31)
            .looked(32, &[("shop", "a=3"), ("api", "b=2")])
            .built(40, 2, &[("api", true)]);
        timeline.woken(42).looked(43, &[("shop", "a=4"), ("api", "b=2")]);
        timeline.looked(45, &[("shop", "a=5"), ("api", "b=2")]);
        timeline.expect(&[
            "20 look",
            "21 build {\"api\", \"shop\"}",
            "31 look",
            "32 give up",
            "32 build {\"api\"}",
            "42 look",
            "43 publish {\"api\"} refuse {}",
            "43 look",
            "45 build {\"shop\"}",
        ]);
    }

    #[test]
    fn a_tree_that_makes_no_sense_is_said_once_and_after_a_while() {
        let mut timeline = Timeline::new(&[("shop", "a=1")]);
        let wrong = || Input::Looked(Err(Digest::of(b"wrong")));
        timeline
            .hint(0)
            .woken(20)
            .step(21, wrong())
            .woken(271)
            .step(272, wrong());
        timeline.hint(300).woken(320).step(321, wrong());
        timeline.expect(&["20 look", "271 look", "272 refuse the tree", "320 look"]);
    }
}
