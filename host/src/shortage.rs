//! Limits that the system sets this process, known by the errors in which they show when they are too small to start.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

/// Which limit is too small, with what raises it, if one of these causes is about a limit.
pub fn behind<'a>(mut causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> Option<String> {
    causes.find_map(|cause| {
        // The engine passes some of them on as they come from the system.
        let bare = cause.downcast_ref::<Errno>().map(|errno| io::Error::from(*errno));
        explain(bare.as_ref().or(cause.downcast_ref())?)
    })
}

/// What to say of an error of the system's.
pub fn reason(error: &io::Error) -> String {
    explain(error).unwrap_or_else(|| error.to_string())
}

/// That the process may open so many descriptors more.
///
/// # Errors
///
/// Of the operating system, if it may not.
pub fn has_descriptors(count: usize) -> io::Result<()> {
    let spare: Result<Vec<OwnedFd>, Errno> = (0..count).map(|_| fcntl_dupfd_cloexec(io::stderr(), 0)).collect();
    Ok(spare.map(drop)?)
}

fn explain(error: &io::Error) -> Option<String> {
    let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
    let address_space = getrlimit(Resource::As).current;
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(format!(
            "{error}: this process may have {} open at a time, which is too few; raise the limit (`ulimit -n`)",
            limit(Resource::Nofile)
        )),
        Errno::FBIG => Some(format!(
            "{error}: this process may write files of {} bytes, and memory of guests begins as one; raise the limit (`ulimit -f`)",
            limit(Resource::Fsize)
        )),
        // Without that limit it is the machine that has no more.
        Errno::NOMEM => address_space.map(|bytes| {
            format!(
                "{error}: this process may have {bytes} bytes of address space, and each memory of a guest sets aside more than 4 GiB; raise the limit (`ulimit -v`)"
            )
        }),
        _ => None,
    }
}
