//! The guest's `/tmp`: a directory of its own below the environment's, made when the guest first asks for it and removed
//! with the sandbox.
//!
//! The environment's `/tmp` is opened once, as a capability, when the first guest asks. From there on every step goes through
//! directory handles that cannot leave it, so whatever links a guest leaves behind are removed, not followed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;
use tracing::{debug, error, warn};

use super::Limits;
use super::usage::TmpUsage;
use crate::manifest::grants::Tmp;

/// The names of all workspaces begin so.
const PREFIX: &str = ".orlop-";

/// The directory that holds the guests' directories, below the environment's `/tmp`.
pub struct Workspace {
    temporary: PathBuf,
    /// `None` where the environment has no writable `/tmp`; guests then have none either.
    place: OnceLock<Option<Place>>,
    next: AtomicU64,
}

struct Place {
    parent: Dir,
    name: String,
    root: Dir,
    /// Held for as long as the process lives, which tells a workspace in use from one that was left behind.
    _lock: OwnedFd,
}

impl Workspace {
    /// A workspace in the environment's temporary directory. It is made when the first guest asks for a directory, which costs
    /// a cold start nothing if none does.
    pub fn new(temporary: &Path) -> Self {
        Self {
            temporary: temporary.to_owned(),
            place: OnceLock::new(),
            next: AtomicU64::new(0),
        }
    }

    /// Opens the environment's temporary directory and makes a fresh workspace in it, once.
    ///
    /// What earlier processes left behind is removed first: one that was killed, or that replaced itself. A directory that
    /// cannot be written is told once; functions that need no files work without.
    fn place(&self) -> Option<&Place> {
        let place = self.place.get_or_init(|| {
            Place::new(&self.temporary)
                .inspect_err(|error| {
                    warn!(
                        directory = %self.temporary.display(),
                        error = error as &dyn std::error::Error,
                        "cannot write the temporary directory; guests get no /tmp"
                    );
                })
                .ok()
        });
        place.as_ref()
    }

    /// A private directory, or `None` if the environment has no writable `/tmp`.
    fn directory(&self) -> io::Result<Option<Private>> {
        let Some(Place { root, .. }) = self.place() else {
            return Ok(None);
        };
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        root.create_dir(&name)?;
        let directory = root.open_dir(&name)?;
        Ok(Some(Private { name, directory }))
    }

    fn remove(&self, private: Private) {
        let Some(Place { root, .. }) = self.place() else { return };
        if let Err(error) = remove_all(root, &private.name) {
            error!(
                directory = private.name,
                error = &error as &dyn std::error::Error,
                "cannot remove a guest's temporary directory"
            );
        }
    }
}

impl Place {
    fn new(temporary: &Path) -> io::Result<Self> {
        let parent = Dir::open_ambient_dir(temporary, ambient_authority())?;
        remove_abandoned(&parent)?;
        let mut suffix = 0;
        loop {
            // Containers that share a directory may share a process id as well.
            let name = match suffix {
                0 => format!("{PREFIX}{}", std::process::id()),
                _ => format!("{PREFIX}{}-{suffix}", std::process::id()),
            };
            match parent.create_dir(&name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    suffix += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            // Until it is locked, another process that starts just now may take it for abandoned.
            match lock(&parent, &name)? {
                Some(lock) => {
                    let root = parent.open_dir(&name)?;
                    return Ok(Self {
                        parent,
                        name,
                        root,
                        _lock: lock,
                    });
                }
                None => suffix += 1,
            }
        }
    }
}

/// Opens and locks a directory; `None` if it is gone, or locked by somebody else.
fn lock(parent: &Dir, name: impl AsRef<Path>) -> io::Result<Option<OwnedFd>> {
    let name = name.as_ref();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Whoever held the lock before may have removed the directory.
    let (opened, named) = (fstat(&directory)?, statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
    Ok(named
        .is_ok_and(|named| named.st_ino == opened.st_ino)
        .then_some(directory))
}

/// Removes the workspaces that no living process has locked.
fn remove_abandoned(parent: &Dir) -> io::Result<()> {
    for entry in parent.entries()? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // What is no directory, is in use, or belongs to another user, stays.
        let Ok(Some(_lock)) = lock(parent, &name) else { continue };
        if let Err(error) = remove_all(parent, &name.to_string_lossy()) {
            debug!(
                error = &error as &dyn std::error::Error,
                "cannot remove the files of an earlier process"
            );
        }
    }
    Ok(())
}

/// Removes the directory `name` of `parent` with all that is in it.
///
/// A guest can nest directories deeper than the process has descriptors or stack. So what lies below is not descended into: it
/// is moved up beside `name`, under a name that begins so, and taken in turn.
fn remove_all(parent: &Dir, name: &str) -> io::Result<()> {
    let mut count = 0_u64;
    let mut pending = vec![name.to_owned()];
    while let Some(next) = pending.pop() {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(parent, &*next, flags, Mode::empty()) {
            Ok(directory) => Dir::from_std_file(directory.into()),
            // Another process takes it for abandoned, too.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        // While entries go, a listing may miss some.
        loop {
            let mut is_empty = true;
            for entry in directory.entries()? {
                let entry = entry?;
                is_empty = false;
                let entry_name = entry.file_name();
                if !entry.file_type()?.is_dir() {
                    directory.remove_file(entry_name)?;
                } else if directory.remove_dir(&entry_name).is_err() {
                    let moved = format!("{name}.{count}");
                    count += 1;
                    directory.rename(entry_name, parent, &moved)?;
                    pending.push(moved);
                }
            }
            if is_empty {
                break;
            }
        }
        parent.remove_dir(&next)?;
    }
    Ok(())
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(Some(Place { parent, name, .. })) = self.place.get() {
            // At the end of the process; what stays is removed by the next one.
            let _ = remove_all(parent, name);
        }
    }
}

struct Private {
    name: String,
    directory: Dir,
}

/// One sandbox's claim to a directory.
pub(super) struct GuestTmp {
    workspace: Arc<Workspace>,
    tmp: Tmp,
    limits: Limits,
    private: Option<Private>,
    usage: TmpUsage,
}

impl GuestTmp {
    pub(super) fn new(workspace: &Arc<Workspace>, tmp: Tmp, limits: &Limits) -> Self {
        Self {
            workspace: Arc::clone(workspace),
            tmp,
            limits: limits.clone(),
            private: None,
            usage: TmpUsage::default(),
        }
    }

    /// What is used of the directory. Nobody counts in one that belongs to all.
    pub(super) fn usage(&self) -> &TmpUsage {
        &self.usage
    }

    /// A handle to the directory, which is made now if it is the first one asked for. `None` without a writable `/tmp`.
    pub(super) fn open(&mut self) -> io::Result<Option<std::fs::File>> {
        if self.tmp == Tmp::Shared {
            let Some(Place { parent, .. }) = self.workspace.place() else {
                return Ok(None);
            };
            return Ok(Some(parent.try_clone()?.into_std_file()));
        }
        if self.private.is_none() {
            self.private = self.workspace.directory()?;
            if let Some(private) = &self.private {
                self.usage = TmpUsage::of(private.directory.try_clone()?, &self.limits);
            }
        }
        let Some(private) = &self.private else { return Ok(None) };
        private
            .directory
            .try_clone()
            .map(|directory| Some(directory.into_std_file()))
    }
}

impl Drop for GuestTmp {
    fn drop(&mut self) {
        if let Some(private) = self.private.take() {
            self.workspace.remove(private);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_deeper_than_there_are_descriptors_is_removed_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let parent = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        parent.create_dir("outside").unwrap();
        parent.write("outside/canary", "").unwrap();
        parent.create_dir("deep").unwrap();
        // From the inside out, as paths have a longest length.
        parent.create_dir("inner").unwrap();
        parent.symlink("../../outside", "inner/link").unwrap();
        for depth in 0..3000 {
            let outer = format!("outer-{depth}");
            parent.create_dir(&outer).unwrap();
            parent.rename("inner", &parent, format!("{outer}/inner")).unwrap();
            parent.write(format!("{outer}/file"), "").unwrap();
            parent.rename(outer, &parent, "inner").unwrap();
        }
        parent.rename("inner", &parent, "deep/inner").unwrap();
        remove_all(&parent, "deep").unwrap();
        let left = parent.entries().unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["outside"]);
        assert!(parent.exists("outside/canary"));
    }
}
