//! AWS as `moto` plays it: S3 that checks signatures, and the roles whose credentials they are made with.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use crate::fake_runtime_api::header_line;
use crate::process::{PATIENCE, Process};
use crate::stock::{Response, receive};
use crate::tools;

/// What the server says once it listens, before its address.
const LISTENING: &str = " * Running on http://";

/// What a request needs to be taken for one of that service as long as nobody checks signatures.
const UNCHECKED: &str = "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/SERVICE/aws4_request, \
                         SignedHeaders=host, Signature=none";

/// The name of the role that [`Moto::credentials`] are of.
const ROLE: &str = "function";

/// A `moto` server on a port of its own, killed when this is dropped.
///
/// It lets every request through until [`Self::check_signatures`].
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    /// Killed when dropped.
    _process: Process,
}

/// Temporary credentials of a role, as Lambda gives them to a function.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: String,
}

impl Credentials {
    /// The variables in which a function has them.
    pub fn variables(&self) -> [(&str, &str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", &self.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
            ("AWS_SESSION_TOKEN", &self.session_token),
        ]
    }
}

impl Moto {
    /// Starts it with these buckets in it.
    ///
    /// # Panics
    ///
    /// If it cannot be installed, or does not listen within [`PATIENCE`].
    pub fn start(buckets: &[&str]) -> Self {
        let mut command = tools::moto_server();
        command.args(["--host", "127.0.0.1", "--port", "0"]);
        let process = Process::start(command);
        let line = process.wait_for_log(|line| line.starts_with(LISTENING));
        let address = line.trim_start_matches(LISTENING).trim_end();
        let address = address.parse().expect("moto names its address");
        let moto = Self {
            address,
            _process: process,
        };
        for bucket in buckets {
            moto.expect("PUT", &format!("/{bucket}"), &[], b"");
        }
        moto
    }

    /// `http://127.0.0.1:PORT`, the endpoint of every service.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Credentials of a new role that may do anything with S3.
    ///
    /// # Panics
    ///
    /// If signatures are checked already.
    pub fn credentials(&self) -> Credentials {
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        self.call(
            "iam",
            &[
                "Action=CreateRole&Version=2010-05-08&AssumeRolePolicyDocument={}&RoleName=",
                ROLE,
            ],
        );
        self.call(
            "iam",
            &[
                "Action=PutRolePolicy&Version=2010-05-08&PolicyName=all&PolicyDocument=",
                policy,
                "&RoleName=",
                ROLE,
            ],
        );
        let role = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test&RoleArn=arn:aws:iam::123456789012:role/";
        let answer = self.call("sts", &[role, ROLE]);
        let text = |element: &str| {
            let (_, rest) = answer.split_once(&format!("<{element}>"))?;
            Some(rest.split_once("</")?.0.to_owned())
        };
        let text = |element| text(element).unwrap_or_else(|| panic!("no {element} in {answer}"));
        Credentials {
            access_key_id: text("AccessKeyId"),
            secret_access_key: text("SecretAccessKey"),
            session_token: text("SessionToken"),
        }
    }

    /// From now on a request needs a signature made with the credentials of a role that may do what it asks for.
    pub fn check_signatures(&self) {
        self.check_after("0");
    }

    /// From now on no signature is looked at again.
    pub fn trust_everybody(&self) {
        self.check_after("inf");
    }

    /// The content of an object and its type; `None` if there is none, whatever the reason.
    ///
    /// # Panics
    ///
    /// If signatures are checked.
    pub fn object(&self, bucket: &str, key: &str) -> Option<(String, Vec<u8>)> {
        let unchecked = UNCHECKED.replace("SERVICE", "s3");
        let response = self.request(
            "GET",
            &format!("/{bucket}/{key}"),
            &[("authorization", &unchecked)],
            b"",
        );
        assert!(
            matches!(response.status, 200 | 404),
            "{}: {}",
            response.status,
            response.text()
        );
        let types = response.header("content-type");
        let content_type = types.first().map(|value| String::from_utf8_lossy(value).into_owned());
        (response.status == 200).then(|| (content_type.unwrap_or_default(), response.body))
    }

    /// The keys in a bucket, sorted; at most 1,000.
    ///
    /// # Panics
    ///
    /// If signatures are checked.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let unchecked = UNCHECKED.replace("SERVICE", "s3");
        let listing = self.expect(
            "GET",
            &format!("/{bucket}?list-type=2"),
            &[("authorization", &unchecked)],
            b"",
        );
        let parts = listing.split("<Key>").skip(1);
        parts
            .filter_map(|part| Some(part.split_once("</Key>")?.0.to_owned()))
            .collect()
    }

    fn check_after(&self, actions: &str) {
        let headers = [("content-type", "text/plain")];
        self.expect("POST", "/moto-api/reset-auth", &headers, actions.as_bytes());
    }

    fn call(&self, service: &str, form: &[&str]) -> String {
        let unchecked = UNCHECKED.replace("SERVICE", service);
        let headers = [
            ("authorization", unchecked.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.expect("POST", "/", &headers, form.concat().as_bytes())
    }

    fn expect(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let response = self.request(method, target, headers, body);
        assert_eq!(response.status, 200, "{method} {target}: {}", response.text());
        response.text()
    }

    /// Sends a request without a signature.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let length = body.len().to_string();
        let host = self.address.to_string();
        let own = [
            ("host", host.as_str()),
            ("connection", "close"),
            ("content-length", &length),
        ];
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in own.iter().chain(headers) {
            request.extend(header_line(name, value.as_bytes()));
        }
        request.extend(b"\r\n");
        request.extend(body);
        let exchange = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&request)?;
            receive(stream, method == "HEAD")
        };
        exchange().unwrap_or_else(|error| panic!("moto does not answer {method} {target}: {error}"))
    }
}
