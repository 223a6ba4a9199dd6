//! How many files the process may have open: a connection is one, and the usual limit of a shell, 1,024, is less than the
//! connections that are configured.

use std::io;

/// What is open beside connections: the store's files, the log, listeners and event queues.
const OTHERS: u64 = 512;

/// Raises the soft limit to the hard one, and warns where that is not enough for so many connections.
pub fn allow(connections: usize) {
    match raise() {
        Ok(limit) if limit < connections as u64 + OTHERS => tracing::warn!(
            limit,
            max_connections = connections,
            "so many files may be open, which is too few for the connections allowed: see `ulimit -n` and `LimitNOFILE`"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files is unknown"),
    }
}

/// The limit afterwards.
fn raise() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live struct of the type that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live struct of the type that the call reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_can_be_raised_to_what_the_system_allows() {
        let allowed = raise().unwrap();
        assert!(allowed > 0);
        assert_eq!(raise().unwrap(), allowed, "raising it again changes nothing");
    }
}
