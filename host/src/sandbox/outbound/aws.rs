//! Which requests go to a service of AWS that a grant names, and are signed on their way.

use percent_encoding::percent_decode_str;

use super::address::{Host, Target};
use crate::manifest::Scheme;
use crate::manifest::grants::AwsGrant;

/// The region where neither a grant nor the function's environment names one, as with AWS's own tools.
const DEFAULT_REGION: &str = "us-east-1";

/// One grant, with the region it means.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) grant: AwsGrant,
    pub(super) region: String,
}

/// The facts of a request that a grant speaks about.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) target: &'a Target,
    pub(super) method: &'a str,
    /// As it stands in the request, without the query.
    pub(super) path: &'a str,
    /// Whether it asks S3 to read another object than its path names.
    pub(super) copies: bool,
}

/// The line of `orlop.toml` that would let a request out and have it signed, or why there is none.
pub(super) type Advice = Result<String, &'static str>;

impl Rule {
    pub(super) fn new(grant: &AwsGrant, region: Option<&str>) -> Self {
        let region = match &grant.region {
            Some(region) => region.as_str(),
            None => region.unwrap_or(DEFAULT_REGION),
        };
        Self {
            grant: grant.clone(),
            region: region.to_owned(),
        }
    }

    pub(super) fn is_s3(&self) -> bool {
        self.grant.service.as_str() == "s3"
    }

    /// Whether the request is one that the grant covers.
    ///
    /// A path with a segment `.` or `..`, escaped or not, is never covered: whoever resolves it ends up elsewhere. Nor
    /// is, by a grant that is restricted in any way, a copy within S3: it would read objects that the grant does not
    /// speak of.
    pub(super) fn covers(&self, facts: &Facts<'_>) -> bool {
        let grant = &self.grant;
        let is_restricted = grant.bucket.is_some() || grant.path.is_some() || grant.methods.is_some();
        self.path_within(facts)
            .is_some_and(|path| grant.covers(facts.method, path))
            && !has_dot_segments(facts.path)
            && !(facts.copies && is_restricted)
    }

    /// What a request would need that goes to this grant's service and that this one does not cover.
    pub(super) fn advice(&self, facts: &Facts<'_>) -> Option<Advice> {
        let grant = &self.grant;
        let own_bucket = grant.bucket.as_ref().map(|bucket| bucket.as_str());
        let (bucket, path) = match self.path_within(facts) {
            Some(path) => (own_bucket, path),
            None => self.bucket_in_path(facts)?,
        };
        if let Some(objection) = objection(facts) {
            return Some(Err(objection));
        }
        // What has a meaning of its own in a grant, or in TOML, cannot be named there.
        let path = Some(path).filter(|path| !path.contains(['"', '\\', '*']));
        let key = |name: &str, value: Option<&str>| value.map(|value| format!("{name} = \"{value}\", "));
        let keys: String = [
            key("service", Some(grant.service.as_str())),
            key("region", grant.region.as_ref().map(|region| region.as_str())),
            key("bucket", bucket),
            key(
                "endpoint",
                grant.endpoint.as_ref().map(|endpoint| endpoint.outbound().as_str()),
            ),
            key("path", path),
        ]
        .into_iter()
        .flatten()
        .collect();
        Some(Ok(format!("aws = [{{ {keys}methods = [\"{}\"] }}]", facts.method)))
    }

    /// The bucket that a request's path names, if it does, and the path within it, where the request goes to this grant's
    /// service.
    fn bucket_in_path<'a>(&self, facts: &Facts<'a>) -> Option<(Option<&'a str>, &'a str)> {
        if !(self.is_s3() && self.is_at(facts.target, &facts.target.host)) {
            return None;
        }
        let rest = facts.path.strip_prefix('/')?;
        let (bucket, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
        Some(match (is_bucket, path) {
            (true, "") => (Some(bucket), "/"),
            (true, path) => (Some(bucket), path),
            (false, _) => (None, facts.path),
        })
    }

    /// The path that the grant's own `path` is compared with, if the request goes to the grant's service and bucket.
    fn path_within<'a>(&self, facts: &Facts<'a>) -> Option<&'a str> {
        let (target, path) = (facts.target, facts.path);
        match &self.grant.bucket {
            None => {
                let is_any_bucket = self.is_s3() && self.grant.endpoint.is_none();
                (self.is_at(target, &target.host)
                    || (is_any_bucket && parents(&target.host).any(|parent| self.is_at(target, &parent))))
                .then_some(path)
            }
            Some(bucket) => {
                let bucket = bucket.as_str();
                if self.is_at(target, &target.host) {
                    return match path.strip_prefix('/')?.strip_prefix(bucket)? {
                        "" => Some("/"),
                        rest => rest.starts_with('/').then_some(rest),
                    };
                }
                let Host::Name(name) = &target.host else {
                    return None;
                };
                let rest = name.strip_prefix(bucket)?.strip_prefix('.')?;
                self.is_at(target, &Host::Name(rest.to_owned())).then_some(path)
            }
        }
    }

    /// Whether the service is at that host, with the target's scheme and port.
    fn is_at(&self, target: &Target, host: &Host) -> bool {
        match &self.grant.endpoint {
            Some(endpoint) => endpoint
                .outbound()
                .matches(target.scheme.name(), &host.to_string(), Some(target.port)),
            None => {
                let service = self.grant.service.as_str();
                let suffix = domain(&self.region);
                target.scheme == Scheme::Https
                    && target.port == Scheme::Https.default_port()
                    && *host == Host::Name(format!("{service}.{}.{suffix}", self.region))
            }
        }
    }
}

/// The domain of AWS's services in a region.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

/// The hosts that a host is a sub-domain of, nearest first.
fn parents(host: &Host) -> impl Iterator<Item = Host> {
    let mut name = match host {
        Host::Name(name) => name.as_str(),
        Host::Address(_) => "",
    };
    std::iter::from_fn(move || {
        name = name.split_once('.')?.1;
        Some(Host::Name(name.to_owned()))
    })
}

fn has_dot_segments(path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| matches!(segment, b"." | b".."))
}

/// Why no grant that is restricted in any way covers such a request, whatever it names.
fn objection(facts: &Facts<'_>) -> Option<&'static str> {
    if has_dot_segments(facts.path) {
        Some("its path has a segment `.` or `..`, and whoever resolves that ends up elsewhere")
    } else if facts.copies {
        Some(
            "it copies within S3 (x-amz-copy-source), for which a grant must have no `bucket`, no `methods` and no `path`",
        )
    } else {
        None
    }
}

/// What a request would need, if its host is one of AWS's usual ones.
pub(super) fn advice(facts: &Facts<'_>) -> Option<Advice> {
    let Host::Name(name) = &facts.target.host else {
        return None;
    };
    let rest = name
        .strip_suffix(".amazonaws.com")
        .or_else(|| name.strip_suffix(".amazonaws.com.cn"))?;
    let (rest, region) = rest.rsplit_once('.')?;
    let (bucket, service) = match rest.rsplit_once('.') {
        None => (None, rest),
        Some((bucket, "s3")) => (Some(bucket), "s3"),
        Some(_) => return None,
    };
    if let Some(objection) = objection(facts) {
        return Some(Err(objection));
    }
    let bucket = bucket
        .map(|bucket| format!(", bucket = \"{bucket}\""))
        .unwrap_or_default();
    Some(Ok(format!(
        "aws = [{{ service = \"{service}\", region = \"{region}\"{bucket} }}]"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(grant: &str, method: &str, uri: &str) -> bool {
        covers_copy(grant, method, uri, false)
    }

    fn covers_copy(grant: &str, method: &str, uri: &str, copies: bool) -> bool {
        let uri: http::Uri = uri.parse().unwrap();
        Rule::new(&toml::from_str(grant).unwrap(), Some("eu-central-1")).covers(&Facts {
            target: &Target::of(&uri).unwrap(),
            method,
            path: uri.path(),
            copies,
        })
    }

    #[test]
    fn a_service_is_at_its_regional_host_over_tls_and_nowhere_else() {
        let grant = "service = 'sqs'";
        assert!(covers(grant, "POST", "https://sqs.eu-central-1.amazonaws.com/"));
        for elsewhere in [
            "https://sqs.us-east-1.amazonaws.com/",
            "http://sqs.eu-central-1.amazonaws.com/",
            "http://sqs.eu-central-1.amazonaws.com:443/",
            "https://sqs.eu-central-1.amazonaws.com:8443/",
            "https://sqs.eu-central-1.amazonaws.com.evil.example/",
            "https://evil.sqs.eu-central-1.amazonaws.com/",
            "https://sns.eu-central-1.amazonaws.com/",
        ] {
            assert!(!covers(grant, "POST", elsewhere), "{elsewhere}");
        }
        assert!(covers(
            "service = 'sqs'\nregion = 'cn-north-1'",
            "POST",
            "https://sqs.cn-north-1.amazonaws.com.cn/"
        ));
    }

    #[test]
    fn a_bucket_is_meant_in_both_styles_of_address() {
        let grant = "service = 's3'\nbucket = 'my-site'\npath = '/site/*'\nmethods = ['PUT']";
        for inside in [
            "https://my-site.s3.eu-central-1.amazonaws.com/site/index.html",
            "https://s3.eu-central-1.amazonaws.com/my-site/site/index.html",
        ] {
            assert!(covers(grant, "PUT", inside), "{inside}");
            assert!(!covers(grant, "GET", inside), "{inside}");
        }
        for outside in [
            "https://my-site.s3.eu-central-1.amazonaws.com/my-site/site/index.html",
            "https://my-site.s3.eu-central-1.amazonaws.com/other/index.html",
            "https://s3.eu-central-1.amazonaws.com/site/index.html",
            "https://s3.eu-central-1.amazonaws.com/my-site-2/site/index.html",
            "https://other.s3.eu-central-1.amazonaws.com/site/index.html",
            "https://x.my-site.s3.eu-central-1.amazonaws.com/site/index.html",
            "https://s3.eu-central-1.amazonaws.com/my-site/site/../other",
            "https://s3.eu-central-1.amazonaws.com/my-site/site/..%2f..%2fother",
        ] {
            assert!(!covers(grant, "PUT", outside), "{outside}");
        }
    }

    #[test]
    fn no_path_leads_from_one_bucket_into_another() {
        let grant = "service = 's3'\nbucket = 'mine'\nendpoint = 'http://127.0.0.1:5000'";
        assert!(covers(grant, "GET", "http://127.0.0.1:5000/mine"));
        assert!(covers(grant, "GET", "http://127.0.0.1:5000/mine/key"));
        for other in [
            "/yours/key",
            "/mine/../yours/key",
            "/mine/%2e%2e/yours/key",
            "//mine/key",
            "/",
        ] {
            assert!(
                !covers(grant, "GET", &format!("http://127.0.0.1:5000{other}")),
                "{other}"
            );
        }
        assert!(!covers(grant, "GET", "http://127.0.0.1:5001/mine/key"));
    }

    #[test]
    fn a_grant_without_a_bucket_is_for_all_of_them() {
        let grant = "service = 's3'";
        assert!(covers(grant, "GET", "https://s3.eu-central-1.amazonaws.com/any/key"));
        assert!(covers(grant, "GET", "https://any.s3.eu-central-1.amazonaws.com/key"));
        assert!(covers(grant, "GET", "https://a.b.s3.eu-central-1.amazonaws.com/key"));
        assert!(!covers(
            grant,
            "GET",
            "https://s3.eu-central-1.amazonaws.com.evil.example/"
        ));
        assert!(!covers(grant, "GET", "https://evil-s3.eu-central-1.amazonaws.com/"));
    }

    #[test]
    fn a_named_endpoint_takes_the_place_of_the_usual_hosts() {
        let grant = "service = 's3'\nbucket = 'mine'\nendpoint = 'https://store.example'";
        assert!(covers(grant, "GET", "https://store.example/mine/key"));
        assert!(covers(grant, "GET", "https://mine.store.example/key"));
        assert!(!covers(grant, "GET", "https://mine.s3.eu-central-1.amazonaws.com/key"));
        assert!(!covers(grant, "GET", "https://yours.store.example/key"));
    }

    #[test]
    fn a_copy_cannot_read_beyond_the_grant() {
        let uri = "https://mine.s3.eu-central-1.amazonaws.com/key";
        assert!(!covers_copy("service = 's3'\nbucket = 'mine'", "PUT", uri, true));
        assert!(!covers_copy("service = 's3'\nmethods = ['PUT']", "PUT", uri, true));
        assert!(covers_copy("service = 's3'", "PUT", uri, true));
    }

    #[test]
    fn a_refused_call_to_a_granted_service_needs_a_grant_that_signs() {
        let endpoint = "http://127.0.0.1:5000";
        let rule = |grant: &str| Rule::new(&toml::from_str(grant).unwrap(), None);
        let granted = rule(&format!("service = 's3'\nbucket = 'mine'\nendpoint = '{endpoint}'"));
        for (path, named) in [
            (
                "/yours/a/key",
                r#"bucket = "yours", endpoint = "http://127.0.0.1:5000", path = "/a/key""#,
            ),
            (
                "/yours",
                r#"bucket = "yours", endpoint = "http://127.0.0.1:5000", path = "/""#,
            ),
            ("/yours/*", r#"bucket = "yours", endpoint = "http://127.0.0.1:5000""#),
            ("/", r#"endpoint = "http://127.0.0.1:5000", path = "/""#),
            (
                "/Yours/key",
                r#"endpoint = "http://127.0.0.1:5000", path = "/Yours/key""#,
            ),
            ("//key", r#"endpoint = "http://127.0.0.1:5000", path = "//key""#),
        ] {
            let uri: http::Uri = format!("{endpoint}{path}").parse().unwrap();
            let facts = Facts {
                target: &Target::of(&uri).unwrap(),
                method: "PUT",
                path: uri.path(),
                copies: false,
            };
            let line = granted.advice(&facts).unwrap().unwrap();
            assert_eq!(
                line,
                format!(r#"aws = [{{ service = "s3", {named}, methods = ["PUT"] }}]"#)
            );
            // Pasted into the file, it does what the message says.
            let grants: crate::manifest::Grants = toml::from_str(&line).unwrap();
            assert!(Rule::new(&grants.aws[0], None).covers(&facts), "{line}");
        }
    }

    #[test]
    fn for_what_no_such_grant_covers_there_is_a_reason_in_place_of_a_line() {
        let advice = |uri: &str, copies| {
            let uri: http::Uri = uri.parse().unwrap();
            let target = Target::of(&uri).unwrap();
            let facts = Facts {
                target: &target,
                method: "PUT",
                path: uri.path(),
                copies,
            };
            let grant = toml::from_str("service = 's3'\nbucket = 'mine'").unwrap();
            let granted = Rule::new(&grant, Some("eu-central-1"));
            granted.advice(&facts).or_else(|| super::advice(&facts)).unwrap()
        };
        for host in ["mine.s3.eu-central-1", "yours.s3.eu-central-1", "sqs.us-east-1"] {
            let reason = advice(&format!("https://{host}.amazonaws.com/a/%2e%2e/b"), false).unwrap_err();
            assert!(reason.contains("`..`"), "{reason}");
        }
        let reason = advice("https://s3.eu-central-1.amazonaws.com/yours/key", true).unwrap_err();
        assert!(reason.contains("x-amz-copy-source"), "{reason}");
    }

    #[test]
    fn the_grant_that_a_refused_call_to_aws_would_need_is_suggested() {
        let suggest = |uri: &str| {
            let uri: http::Uri = uri.parse().unwrap();
            advice(&Facts {
                target: &Target::of(&uri).unwrap(),
                method: "GET",
                path: uri.path(),
                copies: false,
            })
            .map(Result::unwrap)
        };
        assert_eq!(
            suggest("https://my.site.s3.eu-central-1.amazonaws.com/x").as_deref(),
            Some(r#"aws = [{ service = "s3", region = "eu-central-1", bucket = "my.site" }]"#)
        );
        assert_eq!(
            suggest("https://sqs.us-east-1.amazonaws.com/").as_deref(),
            Some(r#"aws = [{ service = "sqs", region = "us-east-1" }]"#)
        );
        assert_eq!(suggest("https://amazonaws.com/"), None);
        assert_eq!(suggest("https://abc.execute-api.us-east-1.amazonaws.com/"), None);
        assert_eq!(suggest("https://api.stripe.com/"), None);
    }
}
