//! What the journal tells of each group: what serves, why it was swapped last, why it was not since.
//! Knows only records as they were written, those of other versions included.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One group as the journal knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupHistory {
    /// The generation that serves, or served when the journal ends; `None` where the group is down.
    pub generation: Option<u64>,
    /// When the server that serves it was ready.
    pub ready: Option<String>,
    /// Its last swap in that server.
    pub swapped: Option<Value>,
    /// The last refusal since.
    pub rejected: Option<Value>,
    /// The last trap since.
    pub trapped: Option<Value>,
    /// Why that swap was taken back.
    pub reverted: Option<Value>,
}

/// All groups that the records name and that are not gone, by name.
pub fn histories(records: &[Value]) -> BTreeMap<String, GroupHistory> {
    let mut histories = Histories::default();
    records.iter().for_each(|record| histories.tell(record));
    histories.groups
}

/// What is known after each record, told one after another.
#[derive(Default)]
pub struct Histories {
    groups: BTreeMap<String, GroupHistory>,
    /// The last refusals of each group and of the tree that nothing else came after.
    refusals: Vec<Value>,
    /// The last `committed` or `stale`.
    fleet: Option<Value>,
}

/// All that is known, as a record at a place of the journal before which records are missing.
#[derive(Serialize, Deserialize)]
struct State {
    event: String,
    time: String,
    groups: BTreeMap<String, GroupHistory>,
}

/// The name of such a record.
pub const STATE: &str = "state";

impl Histories {
    /// All that is known, as a line; `None` where nothing is.
    pub fn state(&self) -> Option<String> {
        let state = State {
            event: STATE.into(),
            time: jiff::Timestamp::now().to_string(),
            groups: self.groups.clone(),
        };
        // Keys are texts, which always can be written.
        serde_json::to_string(&state)
            .ok()
            .filter(|_| !self.groups.is_empty())
    }

    pub fn groups(&self) -> &BTreeMap<String, GroupHistory> {
        &self.groups
    }

    pub fn fleet(&self) -> Option<&Value> {
        self.fleet.as_ref()
    }

    pub fn tell(&mut self, record: &Value) {
        match record["event"].as_str().unwrap_or_default() {
            // What another version wrote, perhaps, tells nothing.
            STATE => {
                if let Ok(state) = State::deserialize(record) {
                    self.groups = state.groups;
                }
            }
            "lost" | "refused" => {}
            "committed" | "stale" => self.fleet = Some(record.clone()),
            "ready" => self.begin(record),
            "rejected" => self.reject(record),
            "mended" => self.mend(record),
            kind => {
                self.refusals.clear();
                if let Some(name) = record["group"].as_str() {
                    self.tell_of(name, kind, record);
                }
            }
        }
    }

    /// The groups of a server that is ready. What it refuses at its start is said just before that.
    fn begin(&mut self, ready: &Value) {
        let refusals = std::mem::take(&mut self.refusals);
        let groups = ready["groups"].as_array().into_iter().flatten();
        let history = |group: &Value| {
            let generation = group["generation"].as_u64();
            let of_this = |refusal: &&Value| {
                let group_refused =
                    refusal["group"] == group["group"] && refusal["kept"].as_u64() == generation;
                group_refused || refusal["group"].is_null()
            };
            GroupHistory {
                generation,
                ready: ready["time"].as_str().map(str::to_owned),
                rejected: refusals.iter().rev().find(of_this).cloned(),
                ..GroupHistory::default()
            }
        };
        self.groups = groups
            .filter_map(|group| Some((group["group"].as_str()?.to_owned(), history(group))))
            .collect();
    }

    fn reject(&mut self, refusal: &Value) {
        self.refusals.retain(|other| other["group"] != refusal["group"]);
        self.refusals.push(refusal.clone());
        match refusal["group"].as_str() {
            Some(name) => self.groups.entry(name.to_owned()).or_default().rejected = Some(refusal.clone()),
            // What is wrong with the tree concerns all.
            None => {
                let groups = self.groups.values_mut();
                groups.for_each(|group| group.rejected = Some(refusal.clone()));
            }
        }
    }

    fn mend(&mut self, mended: &Value) {
        self.refusals
            .retain(|refusal| refusal["group"] != mended["group"]);
        for (name, group) in &mut self.groups {
            let is_mended = |refusal: &mut Value| match mended["group"].as_str() {
                Some(mended) => name == mended,
                None => refusal["group"].is_null(),
            };
            if group.rejected.take_if(is_mended).is_some() {
                // What was refused of the group itself, before the tree was.
                let of_this = |refusal: &&Value| refusal["group"].as_str() == Some(name);
                group.rejected = self.refusals.iter().find(of_this).cloned();
            }
        }
    }

    fn tell_of(&mut self, name: &str, kind: &str, record: &Value) {
        let generation = record["generation"].as_u64();
        if kind == "retired" {
            // Of what serves, it is the group's end.
            let serves = |group: &GroupHistory| group.generation == generation;
            if self.groups.get(name).is_some_and(serves) {
                self.groups.remove(name);
            }
            return;
        }
        let group = self.groups.entry(name.to_owned()).or_default();
        match kind {
            "swapped" => {
                *group = GroupHistory {
                    generation,
                    ready: group.ready.take(),
                    swapped: Some(record.clone()),
                    ..GroupHistory::default()
                };
            }
            "trapped" => group.trapped = Some(record.clone()),
            "reverted" => {
                group.generation = record["to"].as_u64();
                group.reverted = Some(record.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_stands_for_all_records_before_it() {
        let records = [
            json!({ "event": "ready", "time": "t0", "groups": [
                { "group": "shop", "generation": 1 }, { "group": "api", "generation": null }] }),
            json!({ "event": "swapped", "group": "shop", "generation": 2, "time": "t1" }),
            json!({ "event": "trapped", "group": "shop", "generation": 2, "time": "t2" }),
            json!({ "event": "rejected", "group": "shop", "kept": 2, "time": "t3" }),
        ];
        let mut told = Histories::default();
        assert_eq!(told.state(), None);
        records.iter().for_each(|record| told.tell(record));
        let state: Value = serde_json::from_str(&told.state().unwrap()).unwrap();
        assert_eq!(histories(std::slice::from_ref(&state)), histories(&records));
        let mut twice = records.to_vec();
        twice.insert(2, json!({ "event": "lost", "count": 7 }));
        twice.push(state);
        assert_eq!(histories(&twice), histories(&records));
    }

    #[test]
    fn the_last_swap_and_what_was_refused_since() {
        let ready = json!({ "event": "ready", "time": "t0", "groups": [
            { "group": "shop", "generation": 1 }, { "group": "api", "generation": 1 }] });
        let swapped = json!({ "event": "swapped", "group": "shop", "generation": 2, "time": "t1" });
        let retired = |number| json!({ "event": "retired", "group": "shop", "generation": number });
        let rejected = json!({ "event": "rejected", "group": "shop", "kept": 2, "time": "t2" });
        let mut records = vec![ready.clone(), swapped.clone(), retired(1), rejected.clone()];
        let groups = histories(&records);
        assert_eq!(groups["shop"].generation, Some(2));
        assert_eq!(groups["shop"].swapped, Some(swapped));
        assert_eq!(groups["shop"].rejected.as_ref(), Some(&rejected));
        assert!(groups["api"].rejected.is_none());

        records.push(json!({ "event": "rejected", "kept": null, "time": "t3" }));
        assert_eq!(
            histories(&records)["api"].rejected.as_ref().unwrap()["time"],
            "t3"
        );

        records.push(json!({ "event": "mended", "time": "t4" }));
        let groups = histories(&records);
        assert_eq!(
            groups["shop"].rejected,
            Some(rejected),
            "that is still what lies there"
        );
        assert_eq!(groups["api"].rejected, None);
        records.push(json!({ "event": "mended", "group": "shop", "time": "t4" }));
        assert_eq!(histories(&records)["shop"].rejected, None);

        records.push(retired(2));
        assert!(!histories(&records).contains_key("shop"), "no component is left");

        records.push(json!({ "event": "rejected", "group": "api", "kept": 1, "time": "t4" }));
        records.push(ready);
        let groups = histories(&records);
        assert_eq!(
            groups["api"].rejected.as_ref().unwrap()["time"],
            "t4",
            "refused at the start"
        );
        assert_eq!(
            (groups["shop"].generation, &groups["shop"].swapped),
            (Some(1), &None)
        );
    }
}
