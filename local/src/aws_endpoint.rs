//! One address for everything that is AWS's, so that `AWS_ENDPOINT_URL` is all that a client needs: Lambda's Invoke API and SQS;
//! and the page, which is what a browser finds there.

use http::StatusCode;

use crate::invoke_api::InvokeApi;
use crate::page::Page;
use crate::queue::{MAX_REQUEST_BYTES, Queues};
use crate::server::{self, Request, Response};

/// The rooms behind the address. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct AwsEndpoint {
    /// Lambda.
    pub invoke_api: InvokeApi,
    /// SQS.
    pub queues: Queues,
    /// What a browser gets.
    pub page: Page,
}

impl AwsEndpoint {
    /// Answers a request, unless a page of another place makes a browser send it.
    pub async fn answer(&self, request: Request) -> Response {
        if Queues::concerns(&request) {
            return self.queue(request).await;
        }
        let (parts, body) = request.into_parts();
        if !server::is_local(&parts) {
            return server::forbidden();
        }
        let is_invoke = InvokeApi::takes(&parts);
        let request = Request::from_parts(parts, body);
        match is_invoke {
            true => self.invoke_api.answer(request).await,
            false => self.page.answer(request).await,
        }
    }

    async fn queue(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if !server::is_local(&parts) {
            return server::forbidden();
        }
        match server::read(body, MAX_REQUEST_BYTES).await {
            Ok(body) => self
                .queues
                .answer(http::Request::from_parts(parts, body))
                .await
                .map(server::full),
            Err(error) => server::respond(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", error.to_string()),
        }
    }
}
