//! How many processors the engine takes the machine for.
//!
//! It divides each part of its pool of instances by the number of processors, and asks the standard library for that number four times.
//! Each answer begins with the files of the process's control groups, in which a quota may stand: eighty system calls in all, a
//! tenth of a cold start, for a division that matters where many threads make instances at a time. So where one does, they are not
//! found meanwhile, and the processors that the process may run on count.

/// Runs `make`, on a thread that finds no control groups until it returns. With another C library than glibc, it finds them.
pub(super) fn without_quotas<T>(make: impl FnOnce() -> T) -> T {
    HIDDEN.set(true);
    let made = make();
    HIDDEN.set(false);
    made
}

std::thread_local! {
    static HIDDEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(target_env = "gnu")]
mod opening {
    use std::ffi::{CStr, c_char, c_int};

    use super::HIDDEN;

    /// Where the standard library looks up the control groups of the process.
    const CONTROL_GROUPS: &CStr = c"/proc/self/cgroup";

    /// `open64(3)`, by which the standard library opens files, in the place of glibc's, which is weak. Control groups are hidden as
    /// where the kernel has none: `ENOENT`.
    ///
    /// # Safety
    ///
    /// As for `open(2)`: `path` is a C string.
    #[expect(unsafe_code, reason = "the signature is libc's, but for the ellipsis")]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
        // SAFETY: as above; and `errno` is the thread's own.
        unsafe {
            if HIDDEN.get() && CStr::from_ptr(path) == CONTROL_GROUPS {
                *libc::__errno_location() = libc::ENOENT;
                return -1;
            }
            libc::openat(libc::AT_FDCWD, path, flags, mode)
        }
    }
}
