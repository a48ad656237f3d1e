//! What was seen, as one table a number of connections. Ratios are of the same round; of all rounds the
//! median is shown.

use crate::{contenders::Contender, load::Seen};

/// `seen` has a list for each contender, the first of which is the reference.
pub fn show(contenders: &[Contender], seen: &[Vec<Seen>], connections: u32) {
    println!(
        "\n| {connections} connections | requests/s | of plain hyper | µs of processor each | of plain hyper |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let reference = &seen[0];
    for (contender, seen) in contenders.iter().zip(seen) {
        let rate = |seen: &Seen| seen.requests_per_second;
        let cost = |seen: &Seen| seen.processor_us;
        println!(
            "| {} | {:.0} | {:.3} | {:.1} | {:.2} |",
            contender.name,
            median(seen.iter().map(rate)),
            median(seen.iter().zip(reference).map(|(a, b)| rate(a) / rate(b))),
            median(seen.iter().map(cost)),
            median(seen.iter().zip(reference).map(|(a, b)| cost(a) / cost(b))),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
