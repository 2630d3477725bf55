//! How much room there is on the disk that a folder is on.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;

/// In bytes. What only the administrator of the system may use counts neither as free nor as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub total: u64,
    /// Folders with the same number are on the same file system.
    pub file_system: u64,
}

/// Of a folder, absolute or as seen from the data folder, where all processes of the server run.
pub fn room(folder: &str) -> std::io::Result<Room> {
    let file_system = std::fs::metadata(folder)?.dev();
    let path = CString::new(folder)?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a C string; the structure is only read when the call has filled it.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        stat.assume_init()
    };
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(Room {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: used.saturating_add(stat.f_bavail).saturating_mul(stat.f_frsize),
        file_system,
    })
}
