//! What a process passes to its successor when it re-executes itself in place.
//!
//! A guest that runs past its deadline in compiled code cannot be interrupted; the process replaces itself instead, under
//! the same process id. Lambda sees one runtime throughout, so what Lambda knows of it has to survive: the extension that it
//! registered and the descriptor that it logs to.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The environment variable that carries it from a process to its successor.
pub const VARIABLE: &str = "_ORLOP_HANDOVER";

/// Travels in the environment variable [`VARIABLE`], as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// How often this process has replaced itself.
    pub restarts: u32,
    /// The identifier of the internal extension, if one is registered.
    pub extension: Option<String>,
    /// The predecessor could not post the event's error: why. The successor ends the process.
    pub failure: Option<String>,
}

impl Handover {
    /// What [`Self::re_execute`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether there was a predecessor.
    pub fn is_resumed(&self) -> bool {
        self.restarts > 0
    }

    /// Replaces the process with a fresh run of its own program, with the same arguments, environment and process id.
    /// Returns only if that failed.
    pub fn re_execute(&self, arguments: &[String]) -> io::Error {
        let json = match serde_json::to_string(self) {
            Ok(json) => json,
            Err(error) => return error.into(),
        };
        // The link leads to the program even if its file has been replaced or removed.
        let mut command = Command::new("/proc/self/exe");
        let program = arguments.first().map_or("bootstrap", String::as_str);
        command.arg0(program).args(arguments.iter().skip(1)).env(VARIABLE, json);
        let error = command.exec();
        if error.kind() != io::ErrorKind::NotFound {
            return error;
        }
        // Without `/proc`, the name it was started by has to do.
        Command::new(program)
            .args(arguments.iter().skip(1))
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .exec()
    }
}
