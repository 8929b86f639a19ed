//! Task roots with many components, as one image has that serves many functions.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// So many components; how the cost grows shows in the steps.
pub(crate) const SIZES: [usize; 3] = [1, 10, 50];

/// Components that differ in their names and bytes, and the routes to them.
pub(crate) struct Fleet {
    pub(crate) task_root: PathBuf,
    pub(crate) artifacts: Vec<PathBuf>,
}

impl Fleet {
    /// Leads to one component of every fleet, by the last of its routes.
    pub(crate) const PATH: &str = "/last";

    /// Makes the fleet of that size in the folder `work`, from one component. Calls `compile` with each copy and with the
    /// artifact to be made of it.
    pub(crate) fn make(
        size: usize,
        component: &Path,
        work: &Path,
        mut compile: impl FnMut(&Path, &Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let task_root = work.join(format!("components-{size}"));
        let original = fs::read(component).with_context(|| format!("cannot read `{}`", component.display()))?;
        fs::create_dir_all(&task_root).with_context(|| format!("cannot make `{}`", task_root.display()))?;
        let copy = work.join("copy.wasm");
        let mut manifest = String::new();
        let mut artifacts = Vec::new();
        for number in (0..size).rev() {
            let name = match number {
                0 => "last".to_owned(),
                number => format!("hello-{number}"),
            };
            fs::write(&copy, distinct(&original, &name))
                .with_context(|| format!("cannot write `{}`", copy.display()))?;
            let artifact = task_root.join(&name).with_extension("cwasm");
            compile(&copy, &artifact)?;
            artifacts.push(artifact);
            // Writing to a string cannot fail.
            let _ = writeln!(
                manifest,
                "[functions.{name}]\n[[routes]]\npath = \"/{name}\"\nfunction = \"{name}\""
            );
        }
        let file = task_root.join("orlop.toml");
        fs::write(&file, manifest).with_context(|| format!("cannot write `{}`", file.display()))?;
        Ok(Self { task_root, artifacts })
    }

    pub(crate) fn title(&self) -> String {
        match self.artifacts.len() {
            1 => "1 component".to_owned(),
            size => format!("{size} components"),
        }
    }
}

/// The component with a custom section, which means nothing, of that content.
fn distinct(component: &[u8], content: &str) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    const SECTION_NAME: &str = "copy";
    let length = |bytes: usize| u8::try_from(bytes).ok().filter(|length| *length < 0x80);
    let section_bytes = 1 + SECTION_NAME.len() + content.len();
    let head = [
        CUSTOM,
        length(section_bytes).expect("the section is short enough for a length of one byte"),
        length(SECTION_NAME.len()).expect("so is its name"),
    ];
    [component, &head, SECTION_NAME.as_bytes(), content.as_bytes()].concat()
}
