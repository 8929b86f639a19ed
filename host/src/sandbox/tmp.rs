//! The guest's `/tmp`: a directory of its own below the environment's, made when the guest first asks for it and removed
//! with the sandbox.
//!
//! The environment's `/tmp` is opened once, as a capability. From there on every step goes through directory handles that
//! cannot leave it, so whatever links a guest leaves behind are removed, not followed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tracing::{error, warn};

/// The directory that holds the guests' directories, below the environment's `/tmp`.
pub struct Workspace {
    /// `None` where the environment has no writable `/tmp`; guests then have none either.
    root: Option<Dir>,
    parent: Option<Dir>,
    name: String,
    next: AtomicU64,
}

impl Workspace {
    /// Opens the environment's temporary directory and makes a fresh workspace in it.
    ///
    /// What an earlier run of this very process left behind is removed first. A directory that cannot be written is told
    /// once; functions that need no files work without.
    pub fn new(temporary: &Path) -> Self {
        let name = format!(".orlop-{}", std::process::id());
        let open = || -> io::Result<(Dir, Dir)> {
            let parent = Dir::open_ambient_dir(temporary, ambient_authority())?;
            match parent.symlink_metadata(&name) {
                Ok(metadata) if metadata.is_dir() => parent.remove_dir_all(&name)?,
                Ok(_) => parent.remove_file(&name)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            parent.create_dir(&name)?;
            let root = parent.open_dir(&name)?;
            Ok((parent, root))
        };
        let (parent, root) = match open() {
            Ok((parent, root)) => (Some(parent), Some(root)),
            Err(error) => {
                warn!(
                    directory = %temporary.display(),
                    error = &error as &dyn std::error::Error,
                    "cannot write the temporary directory; guests get no /tmp"
                );
                (None, None)
            }
        };
        Self {
            root,
            parent,
            name,
            next: AtomicU64::new(0),
        }
    }

    /// A private directory, or `None` if the environment has no writable `/tmp`.
    fn directory(&self) -> io::Result<Option<Private>> {
        let Some(root) = &self.root else { return Ok(None) };
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        root.create_dir(&name)?;
        let directory = root.open_dir(&name)?;
        Ok(Some(Private { name, directory }))
    }

    fn remove(&self, private: Private) {
        let Some(root) = &self.root else { return };
        if let Err(error) = root.remove_dir_all(&private.name) {
            error!(
                directory = private.name,
                error = &error as &dyn std::error::Error,
                "cannot remove a guest's temporary directory"
            );
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            // At the end of the process; Lambda drops the whole environment next.
            let _ = parent.remove_dir_all(&self.name);
        }
    }
}

struct Private {
    name: String,
    directory: Dir,
}

/// One sandbox's claim to a private directory.
pub(super) struct GuestTmp {
    workspace: Arc<Workspace>,
    private: Option<Private>,
}

impl GuestTmp {
    pub(super) fn new(workspace: &Arc<Workspace>) -> Self {
        Self {
            workspace: Arc::clone(workspace),
            private: None,
        }
    }

    /// A handle to the directory, which is made now if it is the first one asked for. `None` without a writable `/tmp`.
    pub(super) fn open(&mut self) -> io::Result<Option<std::fs::File>> {
        if self.private.is_none() {
            self.private = self.workspace.directory()?;
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
