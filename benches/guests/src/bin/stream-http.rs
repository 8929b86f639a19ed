//! Streams over HTTP as many bytes as the query asks for, with bindings to the interfaces and nothing else.

use orlop_bench_guests::pieces;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

struct Stream;

wasip2::http::proxy::export!(Stream);

impl Guest for Stream {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("nobody has taken the body");
        ResponseOutparam::set(response_out, Ok(response));
        let stream = body.write().expect("nobody has taken the stream");
        for piece in pieces(target.split_once('?').map_or("", |(_, query)| query)) {
            write(&stream, piece).expect("somebody reads the body");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("there is no Content-Length to differ from");
    }
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    Ok(())
}

fn main() {}
