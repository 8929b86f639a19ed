//! What was known against the engine when this program was built, in our own words.
//!
//! A list of the faults that the next patch release of wasmtime's 48.0 line mends and that the pinned one has. Whoever moves
//! to another wasmtime writes it anew, with the date.

/// When the list was last looked over, as year, month and day.
pub(super) const AS_OF: &str = "2026-11-27";
/// The version of the engine that the list is about.
pub(super) const ABOUT: &str = "48.0.8";
/// The version that mends them all.
pub(super) const MENDED_IN: &str = "48.0.9";

/// A known fault of the engine.
pub(super) struct Advisory {
    /// How its identifier begins, in GitHub's database of advisories.
    pub(super) id: &'static str,
    /// What is wrong.
    pub(super) fault: &'static str,
    /// Whether a guest can get at it here.
    pub(super) reach: Reach,
}

/// Whether a guest can get at a fault here.
pub(super) enum Reach {
    /// It cannot, and why.
    No(&'static str),
    /// Components with this feature can, and no others.
    With(&'static str),
}

/// The feature that WASI 0.3 is built on.
const ASYNC: &str = "component-model-async";

/// All that are known.
pub(super) const ADVISORIES: &[Advisory] = &[
    Advisory {
        id: "GHSA-5m8g",
        fault: "empty writes to the engine's own output stream take memory without an end",
        reach: Reach::No("output goes through streams of Orlop's own, which are bounded"),
    },
    Advisory {
        id: "GHSA-43j2",
        fault: "a fault in garbage-collected types",
        reach: Reach::No("garbage collection is switched off"),
    },
    Advisory {
        id: "GHSA-wvgq",
        fault: "a fault in garbage-collected types",
        reach: Reach::No("garbage collection is switched off"),
    },
    Advisory {
        id: "GHSA-xrvr",
        fault: "cancelling a stream or a future leaves it in a state that it must not have",
        reach: Reach::With(ASYNC),
    },
    Advisory {
        id: "GHSA-hj27",
        fault: "a host function that looks up exports of its caller's module can be confused",
        reach: Reach::No("no host function of Orlop's does that"),
    },
    Advisory {
        id: "GHSA-rc4p-x33f-vpr2",
        fault: "an engine built without garbage collection can be made to abort",
        reach: Reach::No("it is built in, and switched off when it runs"),
    },
    Advisory {
        id: "GHSA-2674-w29h-wqvj",
        fault: "an engine built without threads can be made to abort",
        reach: Reach::No("they are built in, and switched off when it runs"),
    },
    Advisory {
        id: "GHSA-f8mm",
        fault: "bodies over HTTP/2 can take processor time without an end",
        reach: Reach::No("outgoing requests speak HTTP/1.1 only, by code of Orlop's own"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_about_the_engine_that_is_built_in() {
        assert_eq!(
            ABOUT,
            orlop_host::engine::WASMTIME_VERSION,
            "write the list of advisories anew for this version, and set the date"
        );
    }
}
