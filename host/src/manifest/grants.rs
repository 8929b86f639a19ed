//! What one function may do beyond computing. Nothing is granted that does not stand here.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::outbound::Outbound;
use super::values::{VariableName, Written, is_path_byte, table, written};

table! {
    Grants: "a table of grants",
    AwsGrant: "a table such as { service = \"s3\" }",
}

/// The longest name of a service or a region, in bytes; it is a part of a host's name.
const LONGEST_AWS_NAME: usize = 63;

/// The grants of one function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Grants {
    /// Where the guest may send HTTP requests.
    pub outbound: Vec<Outbound>,
    /// Requests to AWS that the host signs on their way, with credentials that the guest does not see.
    pub aws: Vec<AwsGrant>,
    /// Variables that are withheld by default and given to this guest.
    pub environment: Vec<VariableName>,
    /// What the guest sees as `/tmp`.
    pub tmp: Option<Tmp>,
}

/// What the guest sees as `/tmp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Tmp {
    /// A directory of its own.
    Private,
    /// The environment's `/tmp`, to exchange files with extensions.
    Shared,
}

/// Requests to one service of AWS that may leave, and that the host signs. What is left out may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AwsGrant {
    /// The service's name in signatures, such as `s3`, `sqs` or `execute-api`.
    pub service: AwsName,
    /// The region. Default: the function's own.
    pub region: Option<AwsName>,
    /// The bucket, for the service `s3`.
    pub bucket: Option<Bucket>,
    /// Where the service is, if not where AWS has it.
    pub endpoint: Option<Endpoint>,
    /// The methods of the requests. Default: all.
    pub methods: Option<Vec<Method>>,
    /// The path of the requests; `*` at its end stands for any rest. With a bucket, the path below it. Default: all.
    pub path: Option<PathPrefix>,
}

impl AwsGrant {
    /// Whether the grant covers a request's method and path, as they stand in the request; with a bucket, the path
    /// below it.
    pub fn covers(&self, method: &str, path: &str) -> bool {
        let method_matches = |methods: &Vec<Method>| methods.iter().any(|known| known.as_str() == method);
        self.methods.as_ref().is_none_or(method_matches) && self.path.as_ref().is_none_or(|known| known.matches(path))
    }
}

written!(AwsName, Bucket, Endpoint, Method, PathPrefix);

/// The name of a service or of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsName(String);

impl AwsName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for AwsName {
    const ACCEPTED: &'static str =
        "a name as AWS writes it, such as \"s3\" or \"eu-central-1\": lower-case letters, digits and `-`";

    fn read(text: &str) -> Option<Self> {
        let is_name = (1..=LONGEST_AWS_NAME).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        is_name.then(|| Self(text.to_owned()))
    }
}

/// The name of an S3 bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket(String);

impl Bucket {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for Bucket {
    const ACCEPTED: &'static str = "the name of a bucket: 3 to 63 lower-case letters, digits, `.` and `-`";

    fn read(text: &str) -> Option<Self> {
        let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let is_bucket = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| is_edge(*byte) || b".-".contains(byte))
            && !text.contains("..")
            && [bytes.first(), bytes.last()]
                .into_iter()
                .flatten()
                .all(|byte| is_edge(*byte));
        is_bucket.then(|| Self(text.to_owned()))
    }
}

/// Where a service is: as [`Outbound`], one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Outbound);

impl Endpoint {
    /// The place as a pattern that matches it alone.
    pub fn outbound(&self) -> &Outbound {
        &self.0
    }
}

impl Written for Endpoint {
    const ACCEPTED: &'static str = "scheme://host[:port] and nothing more, such as \"http://127.0.0.1:5000\"";

    fn read(text: &str) -> Option<Self> {
        let outbound = Outbound::read(text)?;
        outbound.is_one_host().then_some(Self(outbound))
    }
}

/// The method of a request, in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(String);

impl Method {
    /// The method.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for Method {
    const ACCEPTED: &'static str = "a method in capitals such as \"POST\"; for any method leave the key out";

    fn read(text: &str) -> Option<Self> {
        let is_method = (1..=32).contains(&text.len())
            && text != "ANY"
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        is_method.then(|| Self(text.to_owned()))
    }
}

/// A path, or with `*` at its end all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix {
    start: String,
    is_prefix: bool,
}

impl PathPrefix {
    /// Whether a path, as it stands in a request, is meant.
    ///
    /// A path with a segment `.` or `..`, escaped or not, is under no prefix: whoever resolves it may end up elsewhere.
    pub fn matches(&self, path: &str) -> bool {
        if !self.is_prefix {
            return path == self.start;
        }
        let decoded = percent_decode_str(path).collect::<Vec<u8>>();
        let leads_elsewhere = decoded
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|segment| matches!(segment, b"." | b".."));
        path.starts_with(&self.start) && !leads_elsewhere
    }
}

impl std::fmt::Display for PathPrefix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.is_prefix { "*" } else { "" };
        write!(formatter, "{}{end}", self.start)
    }
}

impl Written for PathPrefix {
    const ACCEPTED: &'static str = "a path such as \"/site/index.html\" or \"/site/*\", beginning with `/`, with `*` \
                                    at most at the end, without the segments `.` and `..`";

    fn read(text: &str) -> Option<Self> {
        let start = text.strip_suffix('*').unwrap_or(text);
        let is_path = start.starts_with('/')
            && start.bytes().all(|byte| is_path_byte(byte) && byte != b'*')
            && !start.split('/').any(|segment| matches!(segment, "." | ".."));
        is_path.then(|| Self {
            start: start.to_owned(),
            is_prefix: start.len() < text.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_path_cannot_leave_its_prefix() {
        let path = PathPrefix::read("/site/*").unwrap();
        for inside in ["/site/", "/site/a.html", "/site/a/b", "/site/..a", "/site/%41"] {
            assert!(path.matches(inside), "{inside}");
        }
        for outside in [
            "/site",
            "/sites/a",
            "/",
            "/site/../x",
            "/site/%2e%2E/x",
            "/site/a%2F..%2Fx",
            "/site/..\\x",
            "/site/.",
        ] {
            assert!(!path.matches(outside), "{outside}");
        }
        let one = PathPrefix::read("/queue").unwrap();
        assert!(one.matches("/queue") && !one.matches("/queue/1"));
        for odd in ["site/*", "/a*b", "/a/../*", "", "*", "/a b", "/ü", "/a?x", "/**"] {
            assert_eq!(PathPrefix::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn names_of_aws_and_methods_are_checked() {
        for odd in ["", "S3", "s3!", "eu central"] {
            assert_eq!(AwsName::read(odd), None, "{odd}");
        }
        for odd in ["ab", "My-site", "a..b", "-ab", "ab.", "a/b"] {
            assert_eq!(Bucket::read(odd), None, "{odd}");
        }
        for odd in ["", "get", "ANY", "*", "GET POST"] {
            assert_eq!(Method::read(odd), None, "{odd}");
        }
        assert_eq!(Endpoint::read("https://*.example.com"), None);
        assert!(Bucket::read("my.site-1").is_some() && Method::read("M-SEARCH").is_some());
    }
}
