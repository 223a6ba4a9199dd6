//! How much main memory there is to be had, by the system's account and by that of the container around this process.

use std::fs;

/// What may still be used of the main memory without swapping; `None` where the system does not say.
#[must_use]
pub fn free_bytes() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let group = left_in_group(&read("/sys/fs/cgroup/memory.max"), &read("/sys/fs/cgroup/memory.stat"));
    [available(&read("/proc/meminfo")), group].into_iter().flatten().min()
}

/// What programs may take without swapping.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// What a container may still take; its page cache gives way, so only the rest of its use counts.
fn left_in_group(limit: &str, stat: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used: u64 = stat.lines().find_map(|line| line.strip_prefix("anon "))?.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_system_and_the_container_leave() {
        assert_eq!(available("MemTotal:  24000000 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemFree: 1 kB\n"), None);
        assert_eq!(left_in_group("1000\n", "anon 300\nfile 600\n"), Some(700));
        assert_eq!(left_in_group("100\n", "anon 300\nfile 600\n"), Some(0));
        assert_eq!(left_in_group("max\n", "anon 300\n"), None);
    }
}
