//! Requests that the host signs, checked as AWS's documentation says they are, with nothing of the signer's own code.

use std::fmt::Write as _;

use http_body_util::Full;
use http_body_util::channel::Channel;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const VARIABLES: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
    ("AWS_SESSION_TOKEN", "token/+="),
    ("AWS_REGION", "eu-central-1"),
];
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What signing is for, and how the service compares paths.
struct Service {
    name: &'static str,
    encodes_paths_once_more: bool,
}

const S3: Service = Service {
    name: "s3",
    encodes_paths_once_more: false,
};
const SQS: Service = Service {
    name: "sqs",
    encodes_paths_once_more: true,
};

/// Sends a request to a peer that plays the service, and returns what arrived there.
async fn signed(service: &Service, request: impl FnOnce(&str) -> Request<Full<Bytes>>) -> String {
    let peer = Peer::new().await;
    let outbound = signing_outbound(service, &peer);
    let request = request(&format!("http://{}", peer.address));
    let (response, seen) = tokio::join!(send(&outbound, request), peer.answer(NO_CONTENT));
    response.unwrap();
    seen
}

fn signing_outbound(service: &Service, peer: &Peer) -> Outbound {
    let grant = format!(
        "aws = [{{ service = '{}', endpoint = 'http://{}' }}]",
        service.name, peer.address
    );
    outbound_with(&grant, VARIABLES, &[])
}

/// Signature Version 4, from the receiving end:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
fn is_accepted(request: &str, secret: &str, service: &Service) -> bool {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut line = head.split("\r\n").next().unwrap().split(' ');
    let (method, uri) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let authorization = header(request, "authorization").unwrap();
    let part = |name: &str| {
        let start = authorization.find(&format!("{name}=")).unwrap() + name.len() + 1;
        authorization[start..].split(',').next().unwrap()
    };
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let canonical_path = path
        .split('/')
        .map(|segment| match service.encodes_paths_once_more {
            true => encode(&encode(&decode(segment))),
            false => encode(&decode(segment)),
        })
        .collect::<Vec<_>>()
        .join("/");
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| format!("{}={}", encode(&decode(name)), encode(&decode(value))))
        .collect();
    parameters.sort();
    let signed_headers = part("SignedHeaders");
    let mut canonical_headers = String::new();
    for name in signed_headers.split(';') {
        writeln!(canonical_headers, "{name}:{}", header(request, name).unwrap().trim()).unwrap();
    }
    let claimed_hash = header(request, "x-amz-content-sha256").unwrap();
    if claimed_hash != "UNSIGNED-PAYLOAD" && claimed_hash != hex(&Sha256::digest(body)) {
        return false;
    }
    let canonical_request = format!(
        "{method}\n{canonical_path}\n{}\n{canonical_headers}\n{signed_headers}\n{claimed_hash}",
        parameters.join("&")
    );
    let time = header(request, "x-amz-date").unwrap();
    let scope = format!("{}/eu-central-1/{}/aws4_request", &time[..8], service.name);
    if part("Credential") != format!("AKIDEXAMPLE/{scope}") {
        return false;
    }
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical_request))
    );
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
    hex(&hmac(&key, &text)) == part("Signature")
}

/// HMAC-SHA256 (RFC 2104) with a key of at most a block.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let pad = |fill: u8| {
        let mut block = [fill; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_request_to_s3_carries_a_signature_that_s3_accepts() {
    for uri in [
        "/bucket/key",
        "/bucket/a%20b/(1)+~!'*=@:&,;$.png",
        "/bucket/%C3%BC%2Fx/",
        "/bucket//a//b",
        "/bucket?list-type=2&prefix=a%2Fb&acl&x=%C3%BC",
        "/",
    ] {
        let request = signed(&S3, |origin| {
            Request::put(format!("{origin}{uri}"))
                .header("content-type", "text/plain")
                .header("content-length", "4")
                .header("x-amz-meta-owner", "me")
                .body(Full::new(Bytes::from("body")))
                .unwrap()
        })
        .await;
        assert!(is_accepted(&request, SECRET, &S3), "{request}");
        assert!(!is_accepted(&request, "another secret", &S3));
        assert!(!is_accepted(&request.replacen("PUT /", "PUT /x", 1), SECRET, &S3));
        assert!(!is_accepted(
            &request.replacen("owner: me", "owner: you", 1),
            SECRET,
            &S3
        ));
        assert_eq!(header(&request, "x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
        assert_eq!(header(&request, "x-amz-security-token"), Some("token/+="));
    }
}

#[tokio::test]
async fn a_request_to_another_service_is_signed_with_its_body() {
    for uri in ["/", "/123456789012/queue%20x", "/?Action=SendMessage&MessageBody=a%20b"] {
        let request = signed(&SQS, |origin| {
            Request::post(format!("{origin}{uri}"))
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", "AmazonSQS.SendMessage")
                .body(Full::new(Bytes::from("{}")))
                .unwrap()
        })
        .await;
        assert!(is_accepted(&request, SECRET, &SQS), "{request}");
        assert_eq!(
            header(&request, "x-amz-content-sha256"),
            Some(hex(&Sha256::digest("{}")).as_str())
        );
        let forged = format!("{}[]", request.strip_suffix("{}").unwrap());
        assert!(!is_accepted(&forged, SECRET, &SQS));
    }
}

#[tokio::test]
async fn what_a_guest_puts_into_the_hosts_own_headers_does_not_count() {
    let request = signed(&S3, |origin| {
        Request::get(format!("{origin}/bucket/key"))
            .header("authorization", "AWS4-HMAC-SHA256 Credential=forged")
            .header("x-amz-date", "20000101T000000Z")
            .header("x-amz-security-token", "forged")
            .header("x-amz-content-sha256", "forged")
            .header("host", "forged.example")
            .body(Full::default())
            .unwrap()
    })
    .await;
    assert!(
        !request.contains("forged") && !request.contains("20000101"),
        "{request}"
    );
    assert!(is_accepted(&request, SECRET, &S3), "{request}");
    assert!(!request.contains(SECRET));
}

#[tokio::test]
async fn credentials_without_a_token_are_not_given_one_by_the_guest() {
    let peer = Peer::new().await;
    let origin = format!("http://{}", peer.address);
    let grant = format!("aws = [{{ service = 's3', endpoint = '{origin}' }}]");
    let outbound = outbound_with(&grant, &[VARIABLES[0], VARIABLES[1], VARIABLES[3]], &[]);
    let request = Request::get(format!("{origin}/bucket/key"))
        .header("x-amz-security-token", "forged")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (response, seen) = tokio::join!(send(&outbound, request), peer.answer(NO_CONTENT));
    response.unwrap();
    assert_eq!(header(&seen, "x-amz-security-token"), None);
    assert!(is_accepted(&seen, SECRET, &S3), "{seen}");
}

#[tokio::test]
async fn a_small_body_of_unknown_length_is_measured_for_s3() {
    let peer = Peer::new().await;
    let outbound = signing_outbound(&S3, &peer);
    let (mut pieces, body) = Channel::<Bytes>::new(2);
    pieces.send_data(Bytes::from("pie")).await.unwrap();
    pieces.send_data(Bytes::from("ces")).await.unwrap();
    drop(pieces);
    let request = Request::put(format!("http://{}/b/k", peer.address)).body(body).unwrap();
    let (response, seen) = tokio::join!(send(&outbound, request), peer.answer(NO_CONTENT));
    response.unwrap();
    assert_eq!(header(&seen, "content-length"), Some("6"));
    assert!(seen.ends_with("\r\n\r\npieces"));
}

#[tokio::test]
async fn a_body_that_cannot_be_held_is_an_error_that_says_what_to_do() {
    let peer = Peer::new().await;
    for service in [S3, SQS] {
        let outbound = signing_outbound(&service, &peer);
        let (mut pieces, body) = Channel::<Bytes>::new(1);
        let request = Request::post(format!("http://{}/b/k", peer.address))
            .body(body)
            .unwrap();
        let (result, ()) = tokio::join!(send(&outbound, request), async {
            let piece = Bytes::from(vec![0; 1 << 20]);
            while pieces.send_data(piece.clone()).await.is_ok() {}
        });
        match (service.name, result.err()) {
            ("s3", Some(Error::LengthRequired)) | ("sqs", Some(Error::RequestBodyTooLarge { .. })) => {}
            (name, other) => panic!("{name}: {other:?}"),
        }
    }
    assert!(peer.was_spared());
}

#[tokio::test]
async fn a_guest_that_does_not_finish_its_body_is_given_up_at_the_deadline() {
    let peer = Peer::new().await;
    let outbound = signing_outbound(&SQS, &peer);
    let (_pieces, body) = Channel::<Bytes>::new(1);
    let request = Request::post(format!("http://{}/", peer.address)).body(body).unwrap();
    let deadline = Instant::now() + Duration::from_millis(10);
    let result = outbound.send(request, Timeouts::default(), deadline).await;
    assert!(matches!(result.err(), Some(Error::DeadlineExceeded)));
}

#[tokio::test]
async fn a_grant_that_signs_without_credentials_is_an_error_of_configuration() {
    let peer = Peer::new().await;
    let grant = format!("aws = [{{ service = 's3', endpoint = 'http://{}' }}]", peer.address);
    let outbound = outbound(&grant);
    let refusal = refusal(&outbound, &format!("http://{}/b/k", peer.address)).await;
    assert!(matches!(refusal, Error::NoCredentials { .. }), "{refusal}");
    assert!(peer.was_spared());
}

#[tokio::test]
async fn only_what_the_grant_covers_is_signed_or_let_out() {
    let peer = Peer::new().await;
    let origin = format!("http://{}", peer.address);
    let grant = format!(
        "aws = [{{ service = 's3', bucket = 'mine', methods = ['GET'], path = '/site/*', endpoint = '{origin}' }}]"
    );
    let outbound = outbound_with(&grant, VARIABLES, &[]);
    for path in [
        "/mine/other",
        "/yours/site/x",
        "/mine/site/../x",
        "/mine/site/%2e%2e/x",
        "/",
    ] {
        let refusal = refusal(&outbound, &format!("{origin}{path}")).await;
        match path.contains("..") || path.contains("%2e") {
            true => assert!(matches!(refusal, Error::Uncovered { .. }), "{path}: {refusal}"),
            false => assert!(matches!(refusal, Error::Denied { .. }), "{path}: {refusal}"),
        }
    }
    let put = Request::put(format!("{origin}/mine/site/x"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let Some(Error::Denied { grant, .. }) = send(&outbound, put).await.err() else {
        panic!("a method that is not granted was let out");
    };
    let widened = outbound_with(&grant, VARIABLES, &[]);
    let put = Request::put(format!("{origin}/mine/site/x"));
    let (response, _) = tokio::join!(
        send(&widened, put.body(Full::<Bytes>::default()).unwrap()),
        peer.answer(NO_CONTENT)
    );
    assert_eq!(response.unwrap().0.status(), 204, "{grant}");
    let uri = format!("{origin}/mine/site/x");
    let (body, seen) = tokio::join!(fetch(&outbound, &uri), peer.answer(NO_CONTENT));
    body.unwrap();
    assert!(is_accepted(&seen, SECRET, &S3), "{seen}");
}

#[tokio::test]
async fn what_is_granted_without_a_signature_gets_none() {
    let peer = Peer::new().await;
    let origin = format!("http://{}", peer.address);
    let outbound = outbound_with(&format!("outbound = ['{origin}']"), VARIABLES, &[]);
    let (body, seen) = tokio::join!(fetch(&outbound, &origin), peer.answer(NO_CONTENT));
    body.unwrap();
    assert_eq!(header(&seen, "authorization"), None);
    assert!(!seen.contains("AKIDEXAMPLE") && !seen.contains("token/+="));
}
