//! What one function's grants allow, and the one line that says what was refused.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::address::{AddressKind, Host, Target};
use super::aws::{self, Advice, Facts, Rule};
use super::error::Error;
use super::platform::Platform;
use crate::manifest::{Grants, Outbound};

/// The number of targets whose refusal is logged. A guest chooses the targets, so there must be an end to it.
const MAX_LOGGED: usize = 64;
/// Why the platform's own services are out of bounds.
pub(super) const PLATFORM: &str = "where the platform's own services are; it is closed to guests";
/// Why loopback addresses are out of bounds, and the host's other addresses with them.
pub(super) const THIS_MACHINE: &str = "which is this machine; only a grant that names the address opens it";

/// The grants of one function that concern HTTP.
pub(super) struct AllowList {
    function: String,
    outbound: Vec<Outbound>,
    aws: Vec<Rule>,
    platform: Arc<Platform>,
    logged: Mutex<HashSet<String>>,
}

/// Leave to go to one target.
pub(super) struct Permit<'a> {
    /// The patterns that match the target by its name.
    patterns: Vec<&'a Outbound>,
    /// The grant by which the request is signed.
    pub(super) signed_by: Option<&'a Rule>,
}

impl AllowList {
    pub(super) fn new(function: &str, grants: &Grants, platform: &Arc<Platform>) -> Self {
        let region = platform.region.as_deref();
        Self {
            function: function.to_owned(),
            outbound: grants.outbound.clone(),
            aws: grants.aws.iter().map(|grant| Rule::new(grant, region)).collect(),
            platform: Arc::clone(platform),
            logged: Mutex::new(HashSet::new()),
        }
    }

    /// Whether the request may leave. A grant that signs comes before one that does not.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`], or [`Error::Uncovered`] or [`Error::AddressProhibited`] where no grant could help. The first
    /// refusal of a target is in the log.
    pub(super) fn permit(&self, facts: &Facts<'_>) -> Result<Permit<'_>, Error> {
        let target = facts.target;
        let matches =
            |pattern: &&Outbound| pattern.matches(target.scheme.name(), &target.host.to_string(), Some(target.port));
        if let Some(rule) = self.aws.iter().find(|rule| rule.covers(facts)) {
            let endpoint = rule.grant.endpoint.as_ref().map(|endpoint| endpoint.outbound());
            return Ok(Permit {
                patterns: endpoint.into_iter().filter(matches).collect(),
                signed_by: Some(rule),
            });
        }
        let patterns: Vec<&Outbound> = self.outbound.iter().filter(matches).collect();
        if patterns.is_empty() {
            return Err(self.denied(facts));
        }
        Ok(Permit {
            patterns,
            signed_by: None,
        })
    }

    fn denied(&self, facts: &Facts<'_>) -> Error {
        let target = facts.target;
        let error = match &target.host {
            Host::Address(address) if self.is_closed(*address, target.port) => prohibited(target, *address, PLATFORM),
            Host::Address(_) | Host::Name(_) => match self.advice(facts) {
                Ok(grant) => Error::Denied {
                    target: target.to_string(),
                    grant,
                    section: format!("[functions.{}.grants]", toml_key(&self.function)),
                },
                Err(reason) => Error::Uncovered {
                    target: target.to_string(),
                    reason,
                },
            },
        };
        self.log(target, &error);
        error
    }

    /// The line that would allow a request.
    fn advice(&self, facts: &Facts<'_>) -> Advice {
        let granted = self.aws.iter().find_map(|rule| rule.advice(facts));
        granted
            .or_else(|| aws::advice(facts))
            .unwrap_or_else(|| Ok(format!("outbound = [\"{}\"]", facts.target.origin())))
    }

    /// Whether an address is closed to every grant.
    fn is_closed(&self, address: IpAddr, port: u16) -> bool {
        AddressKind::of(address) == AddressKind::Metadata || self.platform.is_at(address, port)
    }

    /// Logs a refusal, once for each target.
    pub(super) fn log(&self, target: &Target, refusal: &Error) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() > MAX_LOGGED || !logged.insert(target.to_string()) {
            return;
        }
        let function = self.function.as_str();
        if logged.len() > MAX_LOGGED {
            warn!(function, "more requests were refused; no more of them are logged");
        } else {
            warn!(function, "refused a request of the guest: {refusal}");
        }
    }
}

impl Permit<'_> {
    /// Why an address that the target's name has led to is out of bounds, if it is.
    ///
    /// Loopback and link-local addresses are open only to a grant that names the very address; private ones are open to
    /// every name that is granted, because VPC endpoints and databases live there.
    pub(super) fn objection(&self, address: IpAddr) -> Option<&'static str> {
        let is_named = self.names(address);
        match AddressKind::of(address) {
            AddressKind::Ordinary => None,
            AddressKind::Metadata => Some(PLATFORM),
            AddressKind::Loopback | AddressKind::Unspecified => (!is_named).then_some(THIS_MACHINE),
            AddressKind::LinkLocal => {
                (!is_named).then_some("a link-local address; only a grant that names the address opens it")
            }
            AddressKind::NoPeer => Some("which is no address of one peer"),
        }
    }

    /// Whether a grant names the very address.
    pub(super) fn names(&self, address: IpAddr) -> bool {
        self.patterns.iter().any(|pattern| pattern.names_address(address))
    }
}

pub(super) fn prohibited(target: &Target, address: IpAddr, reason: &str) -> Error {
    Error::AddressProhibited {
        target: target.to_string(),
        address,
        reason: reason.to_owned(),
    }
}

/// A name as it is written as a key of TOML.
fn toml_key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
