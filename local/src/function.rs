//! What is deployed: a program in runtime mode, and what Lambda's configuration would say about it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The account in every ARN here.
pub const ACCOUNT: &str = "000000000000";
/// The region in every ARN here.
pub const REGION: &str = "us-east-1";

/// One function. Its environments are child processes of this program.
#[derive(Debug, Clone)]
pub struct Function {
    /// The function's name, as callers and logs know it.
    pub name: String,
    /// The runtime.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it runs; `None` is where this program runs.
    pub working_directory: Option<PathBuf>,
    /// Its environment, to which the platform adds what Lambda sets (runtime contract §5). A variable that stands here counts,
    /// whatever the platform would say.
    pub variables: Vec<(String, String)>,
    /// The memory setting, in MiB. It is told to the function and reported; nothing here enforces it.
    pub memory_mib: u32,
    /// The timeout of one event.
    pub timeout: Duration,
    /// The most environments at once; beyond it callers are throttled.
    pub concurrency: NonZeroU32,
    /// On Lambda Managed Instances: the events that one environment takes at a time.
    pub events_per_environment: Option<NonZeroU32>,
}

impl Function {
    /// The ARN, with the caller's qualifier if there is one.
    pub fn arn(&self, qualifier: Option<&str>) -> String {
        let suffix = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}{suffix}", self.name)
    }

    /// What the function sets this variable to.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().rev().find(|(set, _)| set == name)?;
        Some(value)
    }
}
