//! A component that the build script compiled.

use std::ops::Deref;
use std::path::Path;

/// One compiled guest or example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    name: &'static str,
    path: &'static str,
}

impl Component {
    // Called by the modules that the build script writes.
    pub(crate) const fn new(name: &'static str, path: &'static str) -> Self {
        Self { name, path }
    }

    /// The name of its program, without `.wasm`; what a test gives as handler.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its `.wasm` lies.
    pub fn path(&self) -> &'static Path {
        Path::new(self.path)
    }
}

impl Deref for Component {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.path()
    }
}

impl AsRef<Path> for Component {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}
