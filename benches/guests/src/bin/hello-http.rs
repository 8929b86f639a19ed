//! Greets over HTTP, with bindings to the interfaces and nothing else.

use orlop_bench_guests::greeting;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let text = greeting(target.split_once('?').map_or("", |(_, query)| query));
        let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())]);
        let response = OutgoingResponse::new(headers.expect("the header is a valid one"));
        let body = response.body().expect("nobody has taken the body");
        ResponseOutparam::set(response_out, Ok(response));
        let stream = body.write().expect("nobody has taken the stream");
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("somebody reads the body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("there is no Content-Length to differ from");
    }
}

fn main() {}
