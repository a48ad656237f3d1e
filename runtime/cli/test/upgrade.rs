//! `wasmhost test --upgrade OLD NEW`: the report of a trial, for people and as JSON.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{own_program, stop_by_signal, stopped};
use crate::{
    analysis::{Comparison, Fate, Surface, against, state},
    cli::{print, records, runtime},
    diagnostic::Diagnostic,
    project::Location,
    release::components::provide_aside,
    testing::{Count, Recording, SwapReport, UpgradeReport, UpgradeSpec, Wrong, upgrade},
};

pub fn run(
    old: &Path,
    new: &Path,
    replay: Option<&Path>,
    clients: usize,
    json: bool,
) -> Result<ExitCode, Vec<Diagnostic>> {
    let recording = replay.map(Recording::read).transpose();
    let recording = recording.map_err(|error| vec![error])?;
    let cut = recording.as_ref().map_or(0, |recording| recording.cut);
    let told = runtime()?.block_on(async {
        let (old, new) = (surface(old).await?, surface(new).await?);
        Ok(Told {
            comparison: against::between(&old, &new),
            fates: [state::fates(&old, &new), state::fates(&new, &old)],
            cut,
        })
    });
    let told = told.map_err(|error: Diagnostic| vec![error])?;
    let (_listening, stop) = stop_by_signal()?;
    let report = upgrade(&UpgradeSpec {
        old: old.to_owned(),
        new: new.to_owned(),
        requests: recording.unwrap_or_default().requests,
        clients,
        program: Some(own_program()?),
        stop: stop.clone(),
    });
    if stop.is_ordered() {
        return Err(vec![stopped()]);
    }
    let report = report.map_err(|wrong| vec![impossible(old, wrong)])?;
    print(&if json {
        told.json(&report)
    } else {
        told.text(&report)
    })?;
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

async fn surface(root: &Path) -> Result<Surface, Diagnostic> {
    let components = provide_aside(root).await?;
    let (surface, _) = Surface::read(&Location::new(root, components.path())).await;
    Ok(surface)
}

fn impossible(old: &Path, wrong: Wrong) -> Diagnostic {
    let message = format!(
        "the upgrade cannot be tried out: there is no {}: {}",
        wrong.expected, wrong.found
    );
    let diagnostic = Diagnostic::new("upgrade-impossible", message).file(PathBuf::from(old));
    if wrong.machine {
        diagnostic.machine()
    } else {
        diagnostic.help("`wasmhost check` tells what is wrong with a tree")
    }
}

/// What is told beside what the trial came to.
struct Told {
    comparison: Comparison,
    /// Of the way there, and back.
    fates: [Vec<Fate>; 2],
    /// Recorded requests without a whole body.
    cut: usize,
}

impl Told {
    fn text(&self, report: &UpgradeReport) -> String {
        let compared = self.comparison.to_string();
        let mut text = format!("interfaces:\n  {}\n", indented(compared.trim_end()));
        let [there, back] = &report.swaps;
        let [fates_there, fates_back] = &self.fates;
        text += &swap("to the new tree", there, fates_there);
        text += &swap("back to the old tree", back, fates_back);
        let load = &report.load;
        let _ = writeln!(
            text,
            "load: {} requests in turn, {} answers, {} failed, {} mixed",
            report.requests,
            load.answers,
            load.failed.count,
            load.mixed
                .as_ref()
                .map_or("?".into(), |mixed| mixed.count.to_string())
        );
        let mixed = load.mixed.iter();
        for told in mixed.chain([&load.failed]).flat_map(|count| &count.told) {
            let _ = writeln!(text, "  {}", indented(told));
        }
        for (lines, what) in [
            (&report.failing_before, "fails on the old tree already, not asked"),
            (&report.unsteady, "differs by itself, so its body is not compared"),
        ] {
            for line in lines {
                let _ = writeln!(text, "  {line}: {what}");
            }
        }
        let cut = self.cut;
        if cut > 0 {
            let _ = writeln!(text, "  {cut} recorded requests have no whole body, not asked");
        }
        let _ = writeln!(text, "changed answers: {}", report.changed.len());
        for changed in &report.changed {
            let _ = writeln!(text, "  {}: {}", changed.request, changed.what);
        }
        let verdict = match report.is_sound() {
            true => "ok",
            false => "FAILED",
        };
        text + &format!("upgrade: {verdict}\n")
    }

    fn json(&self, report: &UpgradeReport) -> String {
        let swap = |swap: &SwapReport, fates: &[Fate]| {
            json!({
                "ms": swap.took.as_secs_f64() * 1000.0,
                "swapped": swap.swapped,
                "rejected": swap.rejected,
                "state": swapped(swap, fates).collect::<Vec<_>>(),
                "memory": {
                    "before": swap.before.memory,
                    "after": swap.after.memory,
                    "peak": swap.after.peak_memory,
                },
            })
        };
        let count = |count: &Count| json!({ "count": count.count, "told": count.told });
        let changed: Vec<Value> = report
            .changed
            .iter()
            .map(|changed| json!({ "request": changed.request, "what": changed.what }))
            .collect();
        let [there, back] = &report.swaps;
        let [fates_there, fates_back] = &self.fates;
        let told = json!({
            "sound": report.is_sound(),
            "interfaces": self.comparison,
            "to_new": swap(there, fates_there),
            "to_old": swap(back, fates_back),
            "requests": report.requests,
            "answers": report.load.answers,
            "failed": count(&report.load.failed),
            "mixed": report.load.mixed.as_ref().map(count),
            "changed": changed,
            "unsteady": report.unsteady,
            "failing_before": report.failing_before,
            "cut": self.cut,
        });
        format!("{told}\n")
    }
}

/// Of the groups that did move on.
fn swapped<'a>(swap: &SwapReport, fates: &'a [Fate]) -> impl Iterator<Item = &'a Fate> {
    let groups = swap.swapped.iter().filter_map(|record| record["group"].as_str());
    let groups: BTreeSet<String> = groups.map(str::to_owned).collect();
    fates.iter().filter(move |fate| groups.contains(&fate.group))
}

fn swap(what: &str, swap: &SwapReport, fates: &[Fate]) -> String {
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = format!(
        "{what}: {:.1} ms; memory {:.1} MiB before, {:.1} MiB after, {:.1} MiB at most\n",
        swap.took.as_secs_f64() * 1000.0,
        megabytes(swap.before.memory),
        megabytes(swap.after.memory),
        megabytes(swap.after.peak_memory)
    );
    for record in &swap.swapped {
        let _ = writeln!(
            text,
            "  {}@{} (from {}): {}, in {} ms",
            record["group"].as_str().unwrap_or_default(),
            record["generation"],
            record["from"],
            records::causes(record),
            record["ms"]["total"]
        );
    }
    for Fate {
        group,
        component,
        why,
        ..
    } in swapped(swap, fates)
    {
        let whose = component
            .as_ref()
            .map_or_else(|| group.clone(), ToString::to_string);
        let _ = match why {
            None => writeln!(text, "  state of {whose}: carried over"),
            Some(why) => writeln!(text, "  state of {whose}: lost ({why})"),
        };
    }
    for record in &swap.rejected {
        let _ = writeln!(text, "  refused: {}", indented(&records::refusal(record)));
    }
    if swap.swapped.is_empty() && swap.rejected.is_empty() {
        text += "  nothing to swap: the contents are the same\n";
    }
    text
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}
