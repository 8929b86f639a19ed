//! Where outbound requests may go.

use std::net::IpAddr;

use super::values::{Written, written};

/// The longest name of a host, in bytes (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;
/// The longest part of a host's name, in bytes (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

written!(Outbound);

/// The protocol of an outbound request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme of that name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Its name in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant where none is named.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where requests may go: `scheme://host[:port]`, the host a name, `*.` and a name, or an address.
///
/// `*.example.com` is every sub-domain at any depth and not `example.com` itself. Without a port, the scheme's own is
/// meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    text: String,
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// The host of an [`Outbound`], in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    SubDomainsOf(String),
    Address(IpAddr),
}

impl Outbound {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a request may go there. The host is as in a URL: a name in any case, with or without a dot at its end,
    /// or an address, that of IPv6 with or without brackets. Without a port, the scheme's own is meant.
    pub fn matches(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let Some(scheme) = Scheme::parse(scheme) else {
            return false;
        };
        scheme == self.scheme && port.unwrap_or(scheme.default_port()) == self.port && self.host.matches(host)
    }

    /// Whether the pattern is for one host only.
    pub(super) fn is_one_host(&self) -> bool {
        !matches!(self.host, Host::SubDomainsOf(_))
    }

    /// Whether the pattern names this very address, and so may lead where names may not: to loopback and link-local
    /// addresses. `localhost` names the loopback addresses (RFC 6761 §6.3).
    pub fn names_address(&self, address: IpAddr) -> bool {
        match &self.host {
            Host::Name(name) => name == "localhost" && address.is_loopback(),
            Host::SubDomainsOf(_) => false,
            Host::Address(named) => *named == address,
        }
    }
}

impl Host {
    fn matches(&self, host: &str) -> bool {
        if let Some(address) = address(host) {
            return match self {
                Self::Address(named) => *named == address,
                Self::Name(_) | Self::SubDomainsOf(_) => false,
            };
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match self {
            Self::Name(name) => *name == host,
            Self::SubDomainsOf(name) => host
                .strip_suffix(name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(is_name),
            Self::Address(_) => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.starts_with('[') || text.contains(':') {
            return text
                .starts_with('[')
                .then(|| address(text))
                .flatten()
                .map(Self::Address);
        }
        if let Some(address) = address(text) {
            return Some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(parent) => is_name(parent).then(|| Self::SubDomainsOf(parent.to_owned())),
            None => is_name(&name).then_some(Self::Name(name)),
        }
    }
}

/// The address that a URL's host is, if it is one.
fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Whether a text is a host's name. Its last part is not a number: resolvers read `127.1` and `0x7f000001` as
/// addresses.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with(|first: char| first.is_ascii_digit())
        && (last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= LONGEST_HOST && !is_number && text.split('.').all(is_label)
}

impl Written for Outbound {
    const ACCEPTED: &'static str = "scheme://host[:port] and nothing more, such as \"https://api.example.com\", \
                                    \"https://*.example.com:8443\" or \"http://[::1]:8080\"; the scheme http or https, \
                                    the host a name in ASCII, or `*.` before a name, or an address";

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = Scheme::parse(scheme)?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, read_port(port)?),
            Some(_) | None => (rest, scheme.default_port()),
        };
        Some(Self {
            text: text.to_owned(),
            scheme,
            host: Host::parse(host)?,
            port,
        })
    }
}

/// A port from 1 to 65535, digits only.
fn read_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(text: &str) -> Outbound {
        Outbound::read(text).unwrap_or_else(|| panic!("{text}"))
    }

    fn allows(pattern: &str, scheme: &str, host: &str, port: impl Into<Option<u16>>) -> bool {
        outbound(pattern).matches(scheme, host, port.into())
    }

    #[test]
    fn a_host_is_matched_in_any_case_with_or_without_its_last_dot() {
        for host in ["api.stripe.com", "API.Stripe.COM", "api.stripe.com."] {
            assert!(allows("https://api.stripe.com", "https", host, None), "{host}");
            assert!(allows("HTTPS://Api.stripe.com.", "https", host, 443), "{host}");
        }
        for host in [
            "stripe.com",
            "xapi.stripe.com",
            "api.stripe.com..",
            "api.stripe.com.evil",
            "",
        ] {
            assert!(!allows("https://api.stripe.com", "https", host, None), "{host}");
        }
    }

    #[test]
    fn scheme_and_port_must_be_those_of_the_grant() {
        assert!(allows("http://h:8080", "http", "h", 8080));
        assert!(!allows("http://h:8080", "http", "h", None));
        assert!(!allows("http://h", "https", "h", 80));
        assert!(!allows("https://h", "https", "h", 8443));
        assert!(allows("https://h:443", "HTTPS", "h", None));
        assert!(!allows("https://h", "ftp", "h", None));
    }

    #[test]
    fn a_star_stands_for_sub_domains_only() {
        for host in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM."] {
            assert!(allows("https://*.example.com", "https", host, None), "{host}");
        }
        for host in [
            "example.com",
            ".example.com",
            "aexample.com",
            "a..example.com",
            "a/.example.com",
            "1.2.3.4",
        ] {
            assert!(!allows("https://*.example.com", "https", host, None), "{host}");
        }
    }

    #[test]
    fn an_address_is_matched_as_an_address_and_never_by_a_name() {
        assert!(allows("http://127.0.0.1:8080", "http", "127.0.0.1", 8080));
        assert!(!allows("http://127.0.0.1", "http", "127.1", None));
        assert!(!allows("http://127.0.0.1", "http", "[::ffff:127.0.0.1]", None));
        for host in ["[::1]", "::1", "[0:0:0:0:0:0:0:1]"] {
            assert!(allows("http://[::1]", "http", host, None), "{host}");
        }
        assert!(allows("http://[::1]:81", "http", "[::1]", 81));
    }

    #[test]
    fn only_a_literal_address_and_localhost_name_an_address() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(outbound("http://127.0.0.1").names_address(loopback));
        assert!(outbound("http://localhost").names_address(loopback));
        assert!(outbound("http://localhost").names_address("::1".parse().unwrap()));
        for other in ["http://127.0.0.2", "http://rebound.example", "http://*.localhost"] {
            assert!(!outbound(other).names_address(loopback), "{other}");
        }
    }

    #[test]
    fn what_is_no_place_for_requests_is_refused() {
        for odd in [
            "",
            "api.stripe.com",
            "://h",
            "ftp://h",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.b",
            "https://*example.com",
            "https://h/",
            "https://h/path",
            "https://h?x",
            "https://u@h",
            "https://h:0",
            "https://h:65536",
            "https://h:+80",
            "https://h:",
            "https://h:*",
            "https://::1",
            "https://[::1",
            "https://[127.0.0.1]",
            "https://[fe80::1%25eth0]",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://bücher.example",
            "https://a..b",
            "https://h h",
            "https://h\r\nx",
            " https://h",
        ] {
            assert_eq!(Outbound::read(odd), None, "{odd:?}");
        }
    }
}
