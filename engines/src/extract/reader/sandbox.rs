//! The walls around the child: what it could still do when a hostile file took it over.
//!
//! Set by the child itself before it reads the first byte of the file. Failures are returned: a child without walls
//! must not run.

use std::io;

use super::protocol::Orders;

/// Assumed to be mapped already where the kernel does not tell.
const UNKNOWN_MAPPED_BYTES: u64 = 4 << 30;

/// No memory beyond `memory_bytes`, no processor time beyond `cpu_seconds`, no further file descriptor (and so no file and no
/// socket), no byte written to a file, no core dump, no new privileges, and no life after the parent's.
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

/// No further thread or process, and no call of the kernel but those that reading and writing the open files and keeping order in
/// one's own memory need; to be called on the last thread that is needed.
///
/// # Errors
/// The limit or filter that the kernel refused.
pub(super) fn stay_alone() -> io::Result<()> {
    // The kernel exempts root from this one; the filter exempts nobody.
    limit(libc::RLIMIT_NPROC, 0)?;
    filter_calls()
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

/// Lowers a limit to `value`; one that is lower already stays. May be called between fork and exec.
pub(in crate::extract) fn limit(resource: Resource, value: u64) -> io::Result<()> {
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

/// No new privileges, and the parent's end is the child's. May be called between fork and exec.
#[cfg(target_os = "linux")]
pub(in crate::extract) fn leave_with_parent() -> io::Result<()> {
    // SAFETY: prctl with these options takes plain integers.
    unsafe {
        ok(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))
    }
}

#[cfg(not(target_os = "linux"))]
pub(in crate::extract) fn leave_with_parent() -> io::Result<()> {
    Ok(())
}

/// Calls that are answered; every other one fails as if it were not permitted, in all threads.
#[cfg(target_os = "linux")]
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Threads that wait for each other and end, and what the standard library asks on the way.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Nothing but [`CALLS`], and signals only to itself (`abort` sends one). Where the kernel knows no filters, the limits must do.
#[cfg(target_os = "linux")]
fn filter_calls() -> io::Result<()> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch,
    };
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let other = |error: seccompiler::BackendError| io::Error::other(error);
    let own = u64::from(std::process::id());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own).map_err(other)?;
    let mut rules: std::collections::BTreeMap<_, _> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself]).map_err(other)?]);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).map_err(other)?;
    let program: BpfProgram = filter.try_into().map_err(other)?;
    match seccompiler::apply_filter_all_threads(&program) {
        Ok(()) => Ok(()),
        Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
        {
            Ok(())
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn filter_calls() -> io::Result<()> {
    Ok(())
}

fn ok(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
