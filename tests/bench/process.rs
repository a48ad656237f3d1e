//! What a process takes of the machine, as Linux tells it.

use std::fs;

/// User and system time of a process so far, in milliseconds.
pub fn processor_ms(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<f64>().unwrap())
        .sum();
    ticks * 10.0
}

/// What must not pile up, by name.
pub fn sizes(pid: u32) -> [(&'static str, u64); 4] {
    [
        ("resident memory, KiB", resident_kib(pid)),
        ("threads", status(pid, "Threads:")),
        (
            "open files",
            fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
        ),
        ("compiled code, KiB", compiled_kib(pid)),
    ]
}

/// Memory that holds machine code that was compiled here: executable, and of no file.
pub fn compiled_kib(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let bytes = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let file = fields.nth(3);
        let (from, to) = range.split_once('-')?;
        let length = u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?;
        (rights.contains('x') && file.is_none()).then_some(length)
    });
    bytes.sum::<u64>() / 1024
}

/// Memory that is there in fact, not only promised.
pub fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
