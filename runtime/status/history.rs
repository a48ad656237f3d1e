//! What the journal tells of each group: what serves, why it was swapped last, why it was not since.
//! Knows only records as they were written, those of other versions included.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// One group as the journal knows it.
#[derive(Clone, Debug, Default, Serialize)]
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
}

/// All groups that the records name and that are not gone, by name.
pub fn histories(records: &[Value]) -> BTreeMap<String, GroupHistory> {
    let mut groups = BTreeMap::<String, GroupHistory>::new();
    for (place, record) in records.iter().enumerate() {
        let kind = record["event"].as_str().unwrap_or_default();
        if kind == "ready" {
            groups = begin(record, &records[..place]);
            continue;
        }
        let Some(name) = record["group"].as_str() else {
            // What is wrong with the tree concerns all.
            if kind == "rejected" {
                groups
                    .values_mut()
                    .for_each(|group| group.rejected = Some(record.clone()));
            }
            continue;
        };
        let generation = record["generation"].as_u64();
        if kind == "retired" {
            // Of what serves, it is the group's end.
            if groups
                .get(name)
                .is_some_and(|group| group.generation == generation)
            {
                groups.remove(name);
            }
            continue;
        }
        let group = groups.entry(name.to_owned()).or_default();
        match kind {
            "swapped" => {
                *group = GroupHistory {
                    generation,
                    ready: group.ready.take(),
                    swapped: Some(record.clone()),
                    ..GroupHistory::default()
                };
            }
            "rejected" => group.rejected = Some(record.clone()),
            "trapped" => group.trapped = Some(record.clone()),
            "reverted" => group.generation = record["to"].as_u64(),
            _ => {}
        }
    }
    groups
}

/// The groups of a server that is ready. What it refuses at its start is said just before that.
fn begin(ready: &Value, before: &[Value]) -> BTreeMap<String, GroupHistory> {
    let refusals: Vec<&Value> = before
        .iter()
        .rev()
        .take_while(|record| record["event"] == "rejected")
        .collect();
    let groups = ready["groups"].as_array().into_iter().flatten();
    let history = |group: &Value| {
        let generation = group["generation"].as_u64();
        let of_this = |refusal: &&&Value| {
            let group_refused = refusal["group"] == group["group"] && refusal["kept"].as_u64() == generation;
            group_refused || refusal["group"].is_null()
        };
        GroupHistory {
            generation,
            ready: ready["time"].as_str().map(str::to_owned),
            rejected: refusals.iter().find(of_this).map(|refusal| (*refusal).clone()),
            ..GroupHistory::default()
        }
    };
    groups
        .filter_map(|group| Some((group["group"].as_str()?.to_owned(), history(group))))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        assert_eq!(groups["shop"].rejected, Some(rejected));
        assert!(groups["api"].rejected.is_none());

        records.push(json!({ "event": "rejected", "kept": null, "time": "t3" }));
        assert_eq!(
            histories(&records)["api"].rejected.as_ref().unwrap()["time"],
            "t3"
        );

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
