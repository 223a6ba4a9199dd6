//! The walls around the child: what it could still do when a hostile file took it over.
//!
//! Set by the child itself before it reads the first byte of the file. Failures are returned: a child without walls
//! must not run.

use std::io;

use super::protocol::Orders;

/// Assumed to be mapped already where the kernel does not tell.
const UNKNOWN_MAPPED_BYTES: u64 = 4 << 30;

/// No memory beyond `memory_bytes`, no processor time beyond `cpu_seconds`, no further file descriptor, no byte
/// written to a file, no core dump, no new privileges, and no life after the parent's.
///
/// # Errors
/// The first limit the kernel refused.
pub(super) fn enclose(orders: &Orders) -> io::Result<()> {
    let address_space = mapped_bytes().saturating_add(orders.memory_bytes);
    close_inherited_files();
    limit(libc::RLIMIT_AS, address_space)?;
    limit(libc::RLIMIT_CPU, orders.cpu_seconds)?;
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_FSIZE, 0)?;
    limit(libc::RLIMIT_NOFILE, 3)?;
    leave_with_parent()
}

/// No further thread or process; to be called on the last thread that is needed. The kernel exempts root.
///
/// # Errors
/// The limit the kernel refused.
pub(super) fn stay_alone() -> io::Result<()> {
    limit(libc::RLIMIT_NPROC, 0)
}

/// Address space in use: the program and its libraries, which differ by gigabytes between builds.
fn mapped_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|field| field.parse::<u64>().ok());
    pages.map_or(UNKNOWN_MAPPED_BYTES, |pages| pages * PAGE_BYTES)
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// Lowers a limit to `value`; one that is lower already stays.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the length of both calls, which keep no pointer.
    unsafe {
        ok(libc::getrlimit(resource, &raw mut limit))?;
        let value = limit.rlim_max.min(value);
        limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        ok(libc::setrlimit(resource, &raw const limit))
    }
}

/// Descriptors that a library opened without close-on-exec. Nothing is lost when an old kernel has no such call.
fn close_inherited_files() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: nothing in this process owns a descriptor above the standard three yet.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

#[cfg(target_os = "linux")]
fn leave_with_parent() -> io::Result<()> {
    // SAFETY: prctl with these options takes plain integers.
    unsafe {
        ok(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))
    }
}

#[cfg(not(target_os = "linux"))]
fn leave_with_parent() -> io::Result<()> {
    Ok(())
}

fn ok(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
