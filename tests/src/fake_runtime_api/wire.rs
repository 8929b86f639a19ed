//! HTTP/1.1 as bytes: what a server reads and a client of the emulator reads back.
//!
//! Everything is done by hand on a blocking socket, so that a test can see and break each byte.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

/// A header or trailer list as it was on the wire: order, case and repetitions kept, values as bytes.
pub type Headers = Vec<(String, Vec<u8>)>;

const MAX_HEADERS: usize = 256;
const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// Buffered reading from one side of a connection.
#[derive(Debug)]
pub(crate) struct Source {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What comes before a request's body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Headers,
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Source {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads up to the end of the next request's headers; `None` if the peer closed the connection before it began.
    pub(crate) fn request_head(&mut self) -> io::Result<Option<RequestHead>> {
        loop {
            let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut slots);
            if let httparse::Status::Complete(length) = request.parse(&self.buffer).map_err(invalid)? {
                let head = RequestHead {
                    method: request.method.unwrap_or_default().to_owned(),
                    path: request.path.unwrap_or_default().to_owned(),
                    headers: owned(request.headers),
                };
                self.buffer.drain(..length);
                return Ok(Some(head));
            }
            match self.fill() {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(cut_short()),
                // An idle connection may be reset as well as closed.
                Err(_) if self.buffer.is_empty() => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads up to the end of a response's headers: its status and the headers.
    pub(crate) fn response_head(&mut self) -> io::Result<(u16, Headers)> {
        loop {
            let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut slots);
            if let httparse::Status::Complete(length) = response.parse(&self.buffer).map_err(invalid)? {
                let head = (response.code.unwrap_or_default(), owned(response.headers));
                self.buffer.drain(..length);
                return Ok(head);
            }
            if self.fill()? == 0 {
                return Err(cut_short());
            }
        }
    }

    /// Reads a body, handing on each piece as it arrives or each chunk whole, and returns the trailers.
    pub(crate) fn body(&mut self, framing: Framing, mut piece: impl FnMut(&[u8])) -> io::Result<Headers> {
        self.body_until(framing, |bytes| {
            piece(bytes);
            Ok(())
        })
    }

    /// As [`Self::body`], until a piece is refused.
    pub(crate) fn body_until(
        &mut self,
        framing: Framing,
        mut piece: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Headers> {
        match framing {
            Framing::Length(mut left) => {
                while left > 0 {
                    if self.buffer.is_empty() && self.fill()? == 0 {
                        return Err(cut_short());
                    }
                    let length = left.min(self.buffer.len());
                    piece(&self.buffer[..length])?;
                    self.buffer.drain(..length);
                    left -= length;
                }
                Ok(Headers::new())
            }
            Framing::UntilClose => loop {
                piece(&self.buffer)?;
                self.buffer.clear();
                if self.fill()? == 0 {
                    return Ok(Headers::new());
                }
            },
            Framing::Chunked => loop {
                let line = self.line()?;
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| usize::from_str_radix(digits, 16).ok());
                let size = size.ok_or_else(|| invalid("chunk size"))?;
                if size == 0 {
                    return self.trailers();
                }
                let chunk = self.exactly(size)?;
                if self.line()? != b"" {
                    return Err(invalid("chunk longer than its size"));
                }
                piece(&chunk)?;
            },
        }
    }

    fn trailers(&mut self) -> io::Result<Headers> {
        let mut trailers = Headers::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .ok_or_else(|| invalid("trailer without a colon"))?;
            let (name, value) = line.split_at(colon);
            trailers.push((
                String::from_utf8_lossy(name).into_owned(),
                value[1..].trim_ascii().to_vec(),
            ));
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(invalid("line without an end"));
            }
            if self.fill()? == 0 {
                return Err(cut_short());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(cut_short());
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(length) => {
                    self.buffer.extend_from_slice(&piece[..length]);
                    return Ok(length);
                }
            }
        }
    }
}

/// How the body of a *request* with these headers ends; nothing declared means that there is none.
pub(crate) fn request_framing(headers: &Headers) -> io::Result<Framing> {
    Ok(declared(headers)?.unwrap_or(Framing::Length(0)))
}

/// How the body of a *response* with these headers ends; nothing declared means at the end of the connection.
pub(crate) fn response_framing(headers: &Headers) -> io::Result<Framing> {
    Ok(declared(headers)?.unwrap_or(Framing::UntilClose))
}

fn declared(headers: &Headers) -> io::Result<Option<Framing>> {
    if let Some(encoding) = value(headers, "transfer-encoding") {
        return match encoding.eq_ignore_ascii_case(b"chunked") {
            true => Ok(Some(Framing::Chunked)),
            false => Err(invalid("transfer encoding")),
        };
    }
    let Some(length) = value(headers, "content-length") else {
        return Ok(None);
    };
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length
        .map(|length| Some(Framing::Length(length)))
        .ok_or_else(|| invalid("content length"))
}

/// The value of the first header called `name`, in any case.
pub(crate) fn value<'headers>(headers: &'headers Headers, name: &str) -> Option<&'headers [u8]> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

/// One header line.
pub(crate) fn header_line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n"].concat()
}

fn owned(headers: &[httparse::Header<'_>]) -> Headers {
    headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect()
}

fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the connection closed in the middle")
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
