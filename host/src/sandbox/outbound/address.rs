//! Where a request goes, read strictly, and what kind of place an address is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::error::Error;
use crate::manifest::Scheme;

/// Scheme, host and port of a request: what grants speak about. Two spellings of one place are one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// In lower case, without a trailing dot.
    Name(String),
    /// An IPv4 address that came in the clothes of IPv6 is an IPv4 address here.
    Address(IpAddr),
}

impl Target {
    /// The target of an absolute URI.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUri`] for a scheme other than `http` and `https`, and for an authority with user information, an
    /// empty or impossible port, or a host that is neither a name nor the usual spelling of an address.
    pub(super) fn of(uri: &Uri) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::InvalidUri(reason.to_owned());
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(invalid("the scheme is neither `http` nor `https`")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("there is no host"))?.as_str();
        let (host, port) = read_authority(authority).map_err(invalid)?;
        let port = port.unwrap_or(scheme.default_port());
        Ok(Self { scheme, host, port })
    }

    /// `scheme://host`, and the port where it is not the scheme's own: the form of a grant.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.authority())
    }

    /// The value of the `Host` header: the host, and the port where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}:{}", self.scheme.name(), self.host, self.port)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

/// Host and port of `host[:port]`; the error is a reason.
pub(super) fn read_authority(authority: &str) -> Result<(Host, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("user information before the host is not accepted");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, rest) = rest
                .split_once(']')
                .ok_or("the bracket before the host is not closed")?;
            let address: Ipv6Addr = inside.parse().map_err(|_| "the host in brackets is no IPv6 address")?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or("what follows the host is no port")?),
            };
            (Host::Address(IpAddr::V6(address).to_canonical()), port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (read_host(host)?, Some(port)),
            None => (read_host(authority)?, None),
        },
    };
    Ok((host, port.map(read_port).transpose()?))
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| is_number && *port > 0)
        .ok_or("the port is no number from 1 to 65535")
}

/// A host without brackets. What ends like a number must be an IPv4 address in its usual spelling, by the rule of the
/// URL standard ("ends in a number checker"); `0177.1`, `0x7f000001` and `2130706433` are refused rather than
/// interpreted.
fn read_host(text: &str) -> Result<Host, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("the host is no name");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_decimal = last.bytes().all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_decimal || is_hexadecimal {
        let address: Ipv4Addr = name
            .parse()
            .map_err(|_| "the host is an unusual spelling of an address")?;
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    Ok(Host::Name(name))
}

/// What kind of place an address is, as far as it matters for what may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressKind {
    /// Public or private: private networks are where a function's databases and VPC endpoints are.
    Ordinary,
    /// This machine.
    Loopback,
    /// No address of a peer; Linux takes it for this machine.
    Unspecified,
    /// The neighbourhood, which in AWS is the platform's services.
    LinkLocal,
    /// Instance metadata and container credentials.
    Metadata,
    /// Multicast, broadcast and what is reserved for the future.
    NoPeer,
}

impl AddressKind {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            // EC2's instance metadata, ECS's task credentials, EKS's pod identity.
            [169, 254, 169, 254] | [169, 254, 170, 2 | 23] => Self::Metadata,
            [169, 254, ..] => Self::LinkLocal,
            [224..=255, ..] => Self::NoPeer,
            _ => Self::Ordinary,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // The same services as above; AWS keeps this prefix for them.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254 | 0x23] => Self::Metadata,
            [0xfd00, 0x0ec2, ..] | [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::NoPeer,
            // Addresses that a gateway translates into the IPv4 address within: the deprecated IPv4-compatible form,
            // NAT64 (RFC 6052) and 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                Self::of_v4(Ipv4Addr::new(a, b, c, d))
            }
            _ => Self::Ordinary,
        }
    }

    /// Whether a connection to it ends on this machine.
    pub(super) fn is_this_machine(self) -> bool {
        matches!(self, Self::Loopback | Self::Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Result<String, String> {
        let uri: Uri = uri.parse().map_err(|error| format!("not even a URI: {error}"))?;
        Target::of(&uri)
            .map(|target| target.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_place_has_one_name_however_it_is_spelt() {
        for (spelling, expected) in [
            ("https://api.example.com", "https://api.example.com:443"),
            ("https://API.Example.com.:443/x", "https://api.example.com:443"),
            ("HTTP://localhost", "http://localhost:80"),
            ("http://127.0.0.1.:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]:80"),
            ("http://[::ffff:127.0.0.1]", "http://127.0.0.1:80"),
            ("http://[::ffff:7f00:1]", "http://127.0.0.1:80"),
            ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example:80"),
            ("http://cafe/", "http://cafe:80"),
            ("http://1password.com", "http://1password.com:80"),
        ] {
            assert_eq!(target(spelling).as_deref(), Ok(expected), "{spelling}");
        }
    }

    #[test]
    fn disguised_and_malformed_hosts_are_no_targets() {
        for odd in [
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.0x1/",
            "http://127.0.0.01/",
            "http://127.0.0.1.2/",
            "http://256.0.0.1/",
            "http://1.2.3.4../",
            "http://a..b/",
            "http://.a/",
            "http://user@example.com/",
            "http://user:password@example.com/",
            "http://granted.example:80@127.0.0.1/",
            "http://127.0.0.1%2f@example.com/",
            "http://ex%61mple.com/",
            "http://[::1/",
            "http://[::1%25lo]/",
            "http://[::1]x/",
            "http://[127.0.0.1]/",
            "http://::1/",
            "http://example.com:/",
            "http://example.com:0/",
            "http://example.com:+80/",
            "http://example.com:65536/",
            "http://example.com:80:80/",
            "ftp://example.com/",
            "/relative",
            "example.com:80",
        ] {
            assert!(target(odd).is_err(), "{odd}: {:?}", target(odd));
        }
        assert!(target("http://u@h/").is_err_and(|reason| reason.contains("user information")));
        assert!(target(&format!("http://{}.com/", "a".repeat(64))).is_err());
        assert!(target(&format!("http://{}com/", "a.".repeat(126))).is_err());
    }

    #[test]
    fn an_origin_leaves_the_schemes_own_port_out() {
        let origin = |uri: &str| Target::of(&uri.parse().unwrap()).unwrap().origin();
        assert_eq!(origin("https://a.example:443/x"), "https://a.example");
        assert_eq!(origin("http://a.example:443/x"), "http://a.example:443");
        assert_eq!(origin("http://[::1]:80"), "http://[::1]");
    }

    #[test]
    fn addresses_of_this_machine_and_of_the_platform_are_told_apart_in_every_disguise() {
        use AddressKind::{LinkLocal, Loopback, Metadata, NoPeer, Ordinary, Unspecified};
        for (kind, addresses) in [
            (
                Loopback,
                &["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"][..],
            ),
            (Unspecified, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"]),
            (LinkLocal, &["169.254.100.1", "fe80::1", "febf::1", "fd00:ec2::253"]),
            (
                Metadata,
                &[
                    "169.254.169.254",
                    "169.254.170.2",
                    "169.254.170.23",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "::ffff:169.254.169.254",
                    "::169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                ],
            ),
            (NoPeer, &["224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1"]),
            (
                Ordinary,
                &[
                    "8.8.8.8",
                    "10.0.0.1",
                    "172.16.0.1",
                    "192.168.0.1",
                    "100.64.0.1",
                    "fd12::1",
                    "2600::1",
                    "64:ff9b::a00:1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(AddressKind::of(address.parse().unwrap()), kind, "{address}");
            }
        }
    }
}
