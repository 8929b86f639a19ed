//! Orlop's own variables: one parser per kind of value, and the list of all names.

use std::time::Duration;

use bytesize::ByteSize;

use super::{Environment, invalid};
use crate::artifact::{Bounds, InitBounds};
use crate::error::InitError;

/// Every `ORLOP_` variable; the user guide documents each under `docs/configuration.md`.
const NAMES: &[&str] = &[
    "ORLOP_BASE_PATH",
    "ORLOP_BATCH",
    "ORLOP_BATCH_CONCURRENCY",
    "ORLOP_CA_CERTIFICATES",
    "ORLOP_CONTENT_TYPE",
    "ORLOP_DEADLINE_MARGIN",
    "ORLOP_GRACEFUL_SHUTDOWN",
    "ORLOP_INIT_TIMEOUT",
    "ORLOP_ISOLATION",
    "ORLOP_LIMIT_COMPILE_MEMORY",
    "ORLOP_LIMIT_COMPILE_TIME",
    "ORLOP_LIMIT_COMPONENT",
    "ORLOP_LIMIT_EVENT",
    "ORLOP_LIMIT_HANDLES",
    "ORLOP_LIMIT_HOST_CALL_DATA",
    "ORLOP_LIMIT_INSTANCES",
    "ORLOP_LIMIT_MEMORIES",
    "ORLOP_LIMIT_MEMORY",
    "ORLOP_LIMIT_OUTPUT",
    "ORLOP_LIMIT_RANDOM",
    "ORLOP_LIMIT_RESOURCES",
    "ORLOP_LIMIT_SNAPSHOT_MEMORY",
    "ORLOP_LIMIT_SNAPSHOT_TIME",
    "ORLOP_LIMIT_STACK",
    "ORLOP_LIMIT_TABLES",
    "ORLOP_LIMIT_TABLE_ENTRIES",
    "ORLOP_LIMIT_TMP",
    "ORLOP_LIMIT_TMP_ENTRIES",
    "ORLOP_PASS_THROUGH_PATH",
    "ORLOP_RESPONSE_MODE",
    "ORLOP_SECOND_WALL",
    "ORLOP_STRIP_STAGE",
    "ORLOP_TIMEOUT",
    "ORLOP_VERIFY_ARTIFACT",
    "ORLOP_WORLD",
];

/// The `ORLOP_` variables of an environment, all of them known.
pub(super) struct Settings<'a> {
    environment: &'a Environment,
}

impl<'a> Settings<'a> {
    pub(super) fn new(environment: &'a Environment) -> Result<Self, InitError> {
        for name in environment.names().filter(|name| name.starts_with("ORLOP_")) {
            if !NAMES.contains(&name) {
                return Err(InitError::InvalidConfiguration(format!(
                    "{name} is no setting of this version; the nearest is {}",
                    nearest(name)
                )));
            }
        }
        Ok(Self::of_any(environment))
    }

    /// Of an environment that may have variables for others, too.
    pub(super) fn of_any(environment: &'a Environment) -> Self {
        Self { environment }
    }

    /// What compiling may take.
    pub(super) fn compiling(&self) -> Result<Bounds, InitError> {
        let Bounds {
            memory_bytes,
            time,
            init,
            component_bytes,
        } = Bounds::default();
        Ok(Bounds {
            memory_bytes: self.size("ORLOP_LIMIT_COMPILE_MEMORY", memory_bytes)?,
            time: self.duration("ORLOP_LIMIT_COMPILE_TIME", time)?,
            init: InitBounds {
                time: self.duration("ORLOP_LIMIT_SNAPSHOT_TIME", init.time)?,
                memory_bytes: self.size("ORLOP_LIMIT_SNAPSHOT_MEMORY", init.memory_bytes)?,
            },
            component_bytes: self.size("ORLOP_LIMIT_COMPONENT", component_bytes)?,
        })
    }

    fn parsed<T>(
        &self,
        name: &str,
        default: T,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, InitError> {
        debug_assert!(NAMES.contains(&name), "{name} is missing in the list of names");
        match self.environment.get(name) {
            None => Ok(default),
            Some(value) => parse(value).ok_or_else(|| invalid(name, value, accepted)),
        }
    }

    /// A duration such as `100ms`, `2s` or `15m`.
    pub(super) fn duration(&self, name: &str, default: Duration) -> Result<Duration, InitError> {
        self.parsed(name, default, "a duration such as 2s or 100ms", |value| {
            humantime::parse_duration(value)
                .ok()
                .filter(|duration| *duration <= Duration::from_secs(86_400))
        })
    }

    /// As [`Self::duration`], if it is set.
    pub(super) fn optional_duration(&self, name: &str) -> Result<Option<Duration>, InitError> {
        match self.environment.get(name) {
            None => Ok(None),
            Some(_) => self.duration(name, Duration::ZERO).map(Some),
        }
    }

    /// Any text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        debug_assert!(NAMES.contains(&name), "{name} is missing in the list of names");
        self.environment.get(name).map(str::to_owned)
    }

    /// A size in bytes such as `64MiB`; at least 1.
    pub(super) fn size(&self, name: &str, default: u64) -> Result<u64, InitError> {
        self.parsed(
            name,
            default,
            "a size such as 64MiB, at least 1 byte and at most 1TiB",
            |value| {
                let size = value.parse::<ByteSize>().ok()?.as_u64();
                (1..=1 << 40).contains(&size).then_some(size)
            },
        )
    }

    /// A size that fits the address space.
    pub(super) fn size_usize(&self, name: &str, default: usize) -> Result<usize, InitError> {
        let size = self.size(name, default as u64)?;
        usize::try_from(size).map_err(|_| invalid(name, &size.to_string(), "a size that fits the address space"))
    }

    /// A whole number; at least 1.
    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize, InitError> {
        self.parsed(name, default, "a whole number from 1 to 10000000", |value| {
            value.parse().ok().filter(|count| (1..=10_000_000).contains(count))
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, InitError> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let (last, others) = words.split_last().expect("a choice has words");
        let accepted = format!("{} or {last}", others.join(", "));
        self.parsed(name, None, &accepted, |value| {
            choices
                .iter()
                .find(|(word, _)| *word == value)
                .map(|(_, choice)| Some(*choice))
        })
    }

    /// A media type that can be sent as a header.
    pub(super) fn content_type(&self, name: &str) -> Result<Option<String>, InitError> {
        self.parsed(name, None, "a media type such as text/plain; charset=utf-8", |value| {
            let is_media_type = value
                .split_once('/')
                .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
            (is_media_type && value.bytes().all(|byte| (b' '..0x7f).contains(&byte))).then(|| Some(value.to_owned()))
        })
    }
}

/// The known name that shares the most parts with `name`.
fn nearest(name: &str) -> &'static str {
    let distance = |known: &str| strsim::damerau_levenshtein(known, name);
    NAMES
        .iter()
        .min_by_key(|known| distance(known))
        .expect("there are names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_DEADLINE_MARGIN, DEFAULT_INIT_TIMEOUT, DEFAULT_MAX_EVENT_BYTES};
    use crate::sandbox::Limits;

    #[test]
    fn every_setting_is_documented() {
        let page = include_str!("../../../docs/configuration.md");
        for name in NAMES {
            assert!(
                page.contains(&format!("`{name}`")),
                "{name} is missing in docs/configuration.md"
            );
        }
    }

    #[test]
    fn the_documented_defaults_are_those_that_hold() {
        let page = include_str!("../../../docs/configuration.md");
        let documented = |name: &str| {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let mut cells = row.unwrap_or_default().split('|').map(str::trim);
            // After the form, which has a cell for the key before it in the other table.
            let is_form = |cell: &&str| ["size", "count", "duration"].contains(cell);
            cells.by_ref().find(is_form).and(cells.next()).unwrap_or_default()
        };
        let size = |name| documented(name).parse::<ByteSize>().unwrap().as_u64();
        let count = |name| documented(name).parse::<usize>().unwrap();
        let duration = |name| humantime::parse_duration(documented(name)).unwrap();
        let Limits {
            // What it is made of is tested where it is made.
            memory_bytes: _,
            memories,
            tables,
            table_entries,
            instances,
            stack_bytes,
            handles,
            resources,
            host_call_bytes,
            random_bytes,
            output_bytes,
            tmp_bytes,
            tmp_entries,
        } = Limits::default();
        for (name, default) in [
            ("ORLOP_LIMIT_MEMORIES", memories),
            ("ORLOP_LIMIT_TABLES", tables),
            ("ORLOP_LIMIT_TABLE_ENTRIES", table_entries),
            ("ORLOP_LIMIT_INSTANCES", instances),
            ("ORLOP_LIMIT_HANDLES", handles),
            ("ORLOP_LIMIT_RESOURCES", resources),
            ("ORLOP_LIMIT_TMP_ENTRIES", tmp_entries),
        ] {
            assert_eq!(count(name), default, "{name}");
        }
        let Bounds {
            memory_bytes,
            time,
            init,
            component_bytes,
        } = Bounds::default();
        for (name, default) in [
            ("ORLOP_LIMIT_STACK", stack_bytes as u64),
            ("ORLOP_LIMIT_HOST_CALL_DATA", host_call_bytes as u64),
            ("ORLOP_LIMIT_RANDOM", random_bytes),
            ("ORLOP_LIMIT_OUTPUT", output_bytes),
            ("ORLOP_LIMIT_TMP", tmp_bytes),
            ("ORLOP_LIMIT_EVENT", DEFAULT_MAX_EVENT_BYTES),
            ("ORLOP_LIMIT_COMPILE_MEMORY", memory_bytes),
            ("ORLOP_LIMIT_SNAPSHOT_MEMORY", init.memory_bytes),
            ("ORLOP_LIMIT_COMPONENT", component_bytes),
        ] {
            assert_eq!(size(name), default, "{name}");
        }
        assert_eq!(duration("ORLOP_LIMIT_COMPILE_TIME"), time);
        assert_eq!(duration("ORLOP_LIMIT_SNAPSHOT_TIME"), init.time);
        assert_eq!(duration("ORLOP_DEADLINE_MARGIN"), DEFAULT_DEADLINE_MARGIN);
        assert_eq!(duration("ORLOP_INIT_TIMEOUT"), DEFAULT_INIT_TIMEOUT);
    }

    #[test]
    fn values_are_taken_to_the_ends_of_their_ranges_and_not_beyond() {
        const TEBIBYTE: u64 = 1 << 40;
        let environment = |name: &'static str, value: &str| Environment::from_pairs([(name, value)]);
        for (bytes, is_within) in [
            (0, false),
            (1, true),
            (2, true),
            (TEBIBYTE - 1, true),
            (TEBIBYTE, true),
            (TEBIBYTE + 1, false),
        ] {
            let environment = environment("ORLOP_LIMIT_TMP", &bytes.to_string());
            let size = Settings::new(&environment).unwrap().size("ORLOP_LIMIT_TMP", 7);
            assert_eq!(size.ok(), is_within.then_some(bytes), "{bytes}");
        }
        for (number, is_within) in [
            (0, false),
            (1, true),
            (2, true),
            (9_999_999, true),
            (10_000_000, true),
            (10_000_001, false),
        ] {
            let environment = environment("ORLOP_LIMIT_TABLES", &number.to_string());
            let count = Settings::new(&environment).unwrap().count("ORLOP_LIMIT_TABLES", 7);
            assert_eq!(count.ok(), is_within.then_some(number), "{number}");
        }
        for (value, seconds) in [("86399s", Some(86_399)), ("1day", Some(86_400)), ("86401s", None)] {
            let environment = environment("ORLOP_TIMEOUT", value);
            let settings = Settings::new(&environment).unwrap();
            let duration = settings.duration("ORLOP_TIMEOUT", Duration::ZERO);
            assert_eq!(duration.ok(), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
