//! What Prometheus' client libraries tell about a process, read from `/proc`.
//!
//! Where there is no `/proc`, there are no such samples.

use super::Samples;
use std::fs;

/// What the kernel counts processor time in, as it shows it to programs: hundredths of a second on
/// every architecture that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds the samples of this process.
pub(super) fn show(samples: &mut Samples) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if let Some(times) = Times::parse(&read("/proc/self/stat")) {
        let help = "Total user and system CPU time spent in seconds.";
        samples.counter("process_cpu_seconds_total", help, &[], times.cpu_seconds);
        if let Some(boot) = boot_second(&read("/proc/stat")) {
            let help = "Start time of the process since unix epoch in seconds.";
            samples.gauge("process_start_time_seconds", help, &[], boot + times.start_seconds_after_boot);
        }
    }
    let status = read("/proc/self/status");
    for (field, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory size in bytes."),
        ("VmSize:", "process_virtual_memory_bytes", "Virtual memory size in bytes."),
    ] {
        if let Some(bytes) = size_bytes(&status, field) {
            samples.gauge(name, help, &[], bytes);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        // One of them is the directory itself, while it is being read.
        samples.gauge("process_open_fds", help, &[], (open.count().saturating_sub(1)) as f64);
    }
}

#[derive(Debug, PartialEq)]
struct Times {
    cpu_seconds: f64,
    start_seconds_after_boot: f64,
}

impl Times {
    /// Reads `/proc/<pid>/stat`. The name of the program comes second, in brackets, and may hold
    /// anything, so counting starts after its end.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // proc(5) counts from 1 and the first of `fields` is number 3.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            start_seconds_after_boot: ticks(22)? / TICKS_PER_SECOND,
        })
    }
}

fn boot_second(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn size_bytes(status: &str, field: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let stat =
            "42 (odd ) name) S 1 42 42 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 5 0 12345 1000 200 184467";
        let times = Times { cpu_seconds: 3.0, start_seconds_after_boot: 123.45 };
        assert_eq!(Times::parse(stat), Some(times));
        assert_eq!(Times::parse("42 (cut off) S 1"), None);
        assert_eq!(Times::parse(""), None);
        assert_eq!(boot_second("cpu 1 2 3\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
        assert_eq!(size_bytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2_097_152.0));
        assert_eq!(size_bytes("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_is_described() {
        let mut samples = Samples::default();
        show(&mut samples);
        let mut text = String::new();
        samples.write(&mut text);
        for name in [
            "cpu_seconds_total",
            "open_fds",
            "resident_memory_bytes",
            "start_time_seconds",
            "virtual_memory_bytes",
        ] {
            let start = format!("process_{name} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&start)).expect(name);
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{name} {value}");
        }
    }
}
