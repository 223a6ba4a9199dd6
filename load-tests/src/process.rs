//! What the operating system knows of the server's process, and what can be done to it. The same machine and user only.

use std::io;

/// A process that is not this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub i32);

/// A moment of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Memory in use that is in RAM, in KiB.
    pub resident_kib: u64,
    /// Processor time so far, in seconds.
    pub cpu_seconds: f64,
    /// Open files.
    pub files: u64,
}

impl Process {
    /// What it uses now; `None` when it is gone or belongs to somebody else.
    pub fn usage(self) -> Option<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        Some(Usage {
            resident_kib: resident.trim().trim_end_matches(" kB").parse().ok()?,
            cpu_seconds: cpu_seconds(&stat)?,
            files: std::fs::read_dir(format!("/proc/{}/fd", self.0)).ok()?.count() as u64,
        })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone or belongs to somebody else.
    pub fn signal(self, signal: i32) -> io::Result<()> {
        // SAFETY: `kill` takes two integers and touches no memory of ours.
        let result = unsafe { libc::kill(self.0, signal) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// From the line of `/proc/PID/stat`: fields 14 and 15 in clock ticks; the name, field 2, may hold spaces but ends with `)`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: `sysconf` takes an integer and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (per_second > 0).then(|| ticks as f64 / per_second as f64)
}

/// Lets this process open as many files as the system allows; how many those are.
pub fn open_many_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live struct of the type that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live struct of the type that the call reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 { limit.rlim_cur } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_files_and_time() {
        let own = Process(std::process::id() as i32).usage().unwrap();
        assert!(own.resident_kib > 100 && own.files > 2 && own.cpu_seconds >= 0.0, "{own:?}");
        assert_eq!(Process(i32::MAX).usage(), None);
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat).map(|seconds| seconds > 0.0), Some(true));
        assert_eq!(cpu_seconds("no brackets"), None);
    }
}
