//! A request as its parts: what is written to a socket as it stands, and what HTTP libraries want in a form of their own.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, Request};

/// A request to the Runtime API.
///
/// Each answer is one, on the way between guest and caller. Parsing a path that was put together here, and a map for five
/// headers, would take a microsecond of it.
#[derive(Debug)]
pub(super) struct Message<B> {
    pub(super) method: Method,
    /// Escaped where it needs to be.
    pub(super) path: Cow<'static, str>,
    /// Each name once.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: B,
}

impl<B> Message<B> {
    pub(super) fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }

    /// For a library, with the body that it takes.
    pub(super) fn into_request<C>(self, body: impl FnOnce(B) -> C) -> Request<C> {
        let mut request = Request::new(body(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("paths are built from escaped segments");
        request.headers_mut().extend(self.headers);
        request
    }
}
