//! What the disk has left.

use std::io;
use std::path::Path;

/// Room that a user without privileges has on the file system of `folder`.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and `stat` is large enough for what is written into it.
    let result = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so all of it is written.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast)] // 32 bits on some systems
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}
