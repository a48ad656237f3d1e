//! Rows of medians, as Markdown.

/// `| name | median | least | most |` of values in one unit.
pub fn row(name: &str, unit: &str, values: &[f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = median(values);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    println!(
        "| {name} | {median:.1} {unit} | {least:.1} | {most:.1} | {} |",
        sorted.len()
    );
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

pub fn head(title: &str) {
    println!("\n| {title} | median | min | max | of |\n| --- | --- | --- | --- | --- |");
}

/// The value below which so many of a thousand are.
pub fn per_mille(values: &mut [f64], share: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * share / 1000).min(values.len() - 1)]
}
