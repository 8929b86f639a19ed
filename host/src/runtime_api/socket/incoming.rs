//! Reads responses: heads, and bodies however they are framed.

use std::io;
use std::net::TcpStream;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use httparse::{EMPTY_HEADER, Header, Status};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::runtime_api::connection::{MAX_HEADER_BYTES, MAX_HEADERS};
use crate::runtime_api::wire::Fields;

/// What is asked of the system in one call, at most, in bytes.
const READ_BYTES: usize = 64 << 10;
/// A response with no more headers than this needs no allocation for them.
const FEW_HEADERS: usize = 48;
/// The size of a chunk and its extensions may take so much, in bytes.
const MAX_CHUNK_LINE_BYTES: usize = 16 << 10;

/// The head of a response, and what the connection needs to know of its body.
pub(in crate::runtime_api) struct Head {
    pub(in crate::runtime_api) status: StatusCode,
    pub(super) framing: Framing,
    /// The connection ends with it.
    pub(super) is_last: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What has arrived and has not been used.
#[derive(Default)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    used: usize,
}

impl Incoming {
    fn rest(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Marks `count` bytes as used. When nothing is left, the buffer's beginning is free again.
    fn consume(&mut self, count: usize) {
        self.used += count;
        if self.is_empty() {
            self.buffer.clear();
            self.used = 0;
        }
    }

    /// Waits for more.
    fn fill(&mut self, socket: &TcpStream) -> io::Result<()> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.reserve(READ_BYTES);
        match receive(socket, &mut self.buffer)? {
            0 => Err(unexpected_end()),
            _ => Ok(()),
        }
    }

    /// Reads the head of a response, past those that only announce one.
    pub(super) fn head<T>(&mut self, socket: &TcpStream, heed: impl Fn(&mut Fields<'_>) -> T) -> io::Result<(Head, T)> {
        loop {
            if let Some((length, head, heeded)) = parse_head(self.rest(), &heed)? {
                self.consume(length);
                if head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Err(invalid("an answer in another protocol"));
                }
                if !head.status.is_informational() {
                    return Ok((head, heeded));
                }
            } else if self.rest().len() > MAX_HEADER_BYTES {
                return Err(invalid("more headers than are taken"));
            } else {
                self.fill(socket)?;
            }
        }
    }

    pub(super) fn body(&mut self, socket: &TcpStream, framing: Framing, limit: u64) -> io::Result<Option<Bytes>> {
        match framing {
            Framing::Length(length) if length > limit => Ok(None),
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| invalid("a body beyond all measure"))?;
                self.exactly(socket, length).map(Some)
            }
            Framing::Chunked => self.chunked(socket, limit),
            Framing::UntilClose => self.until_close(socket, limit),
        }
    }

    fn exactly(&mut self, socket: &TcpStream, length: usize) -> io::Result<Bytes> {
        let here = self.rest();
        if length <= here.len() {
            let body = Bytes::copy_from_slice(&here[..length]);
            self.consume(length);
            return Ok(body);
        }
        let mut body = Vec::with_capacity(length);
        body.extend_from_slice(here);
        self.consume(body.len());
        while body.len() < length {
            if receive(socket, &mut body)? == 0 {
                return Err(unexpected_end());
            }
        }
        // The system may have been offered more room than was asked for.
        self.buffer.extend_from_slice(&body[length..]);
        body.truncate(length);
        Ok(body.into())
    }

    fn chunked(&mut self, socket: &TcpStream, limit: u64) -> io::Result<Option<Bytes>> {
        let mut body = Vec::new();
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(self.rest()) {
                    Ok(Status::Complete(parsed)) => break parsed,
                    Ok(Status::Partial) if self.rest().len() > MAX_CHUNK_LINE_BYTES => {
                        return Err(invalid("a chunk with more extensions than are taken"));
                    }
                    Ok(Status::Partial) => self.fill(socket)?,
                    Err(_) => return Err(invalid("a chunk without a size")),
                }
            };
            self.consume(line);
            if size == 0 {
                self.skip_trailers(socket)?;
                return Ok(Some(body.into()));
            }
            if size.saturating_add(body.len() as u64) > limit {
                return Ok(None);
            }
            let mut left = usize::try_from(size).map_err(|_| invalid("a chunk beyond all measure"))?;
            while left > 0 {
                if self.is_empty() {
                    self.fill(socket)?;
                }
                let here = self.rest();
                let here = &here[..left.min(here.len())];
                body.extend_from_slice(here);
                let count = here.len();
                self.consume(count);
                left -= count;
            }
            while self.rest().len() < 2 {
                self.fill(socket)?;
            }
            if !self.rest().starts_with(b"\r\n") {
                return Err(invalid("a chunk that is longer than it says"));
            }
            self.consume(2);
        }
    }

    fn skip_trailers(&mut self, socket: &TcpStream) -> io::Result<()> {
        let mut left = MAX_HEADER_BYTES;
        loop {
            let Some(end) = self.rest().iter().position(|byte| *byte == b'\n') else {
                if self.rest().len() > left {
                    return Err(invalid("more trailers than are taken"));
                }
                self.fill(socket)?;
                continue;
            };
            let is_empty = matches!(&self.rest()[..end], b"" | b"\r");
            left = left.saturating_sub(end + 1);
            self.consume(end + 1);
            if is_empty {
                return Ok(());
            }
        }
    }

    fn until_close(&mut self, socket: &TcpStream, limit: u64) -> io::Result<Option<Bytes>> {
        let mut body = self.rest().to_vec();
        self.consume(body.len());
        loop {
            if body.len() as u64 > limit {
                return Ok(None);
            }
            body.reserve(READ_BYTES);
            if receive(socket, &mut body)? == 0 {
                return Ok(Some(body.into()));
            }
        }
    }
}

/// Waits for bytes and appends them. 0 means that there will be no more.
fn receive(socket: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(socket, spare_capacity(buffer)) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The head of a response at the beginning of `bytes` and its length, or `None` if it is not complete.
fn parse_head<T>(bytes: &[u8], heed: impl Fn(&mut Fields<'_>) -> T) -> io::Result<Option<(usize, Head, T)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut few = [EMPTY_HEADER; FEW_HEADERS];
    match parse_head_into(bytes, &mut few, &heed) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![EMPTY_HEADER; MAX_HEADERS];
            parse_head_into(bytes, &mut many, &heed)
        }
        other => other,
    }
    .map_err(|error| invalid(&error.to_string()))?
    .map(|(length, head, heeded)| Ok((length, head?, heeded)))
    .transpose()
}

type ParsedHead<T> = Option<(usize, io::Result<Head>, T)>;

fn parse_head_into<'b, T>(
    bytes: &'b [u8],
    headers: &mut [Header<'b>],
    heed: impl Fn(&mut Fields<'_>) -> T,
) -> Result<ParsedHead<T>, httparse::Error> {
    let mut response = httparse::Response::new(headers);
    let Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let head = Head::new(&response);
    let mut fields = response.headers.iter().map(|header| (header.name, header.value));
    Ok(Some((length, head, heed(&mut fields))))
}

impl Head {
    fn new(response: &httparse::Response<'_, '_>) -> io::Result<Self> {
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| invalid("a status that is none"))?;
        let is_first_version = response.version == Some(0);
        let (mut is_last, mut stays) = (false, false);
        let mut length = None;
        let mut coding: Option<&[u8]> = None;
        for Header { name, value } in response.headers.iter() {
            if name.eq_ignore_ascii_case(CONNECTION.as_str()) {
                is_last |= has_token(value, b"close");
                stays |= has_token(value, b"keep-alive");
            } else if name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str()) {
                coding = Some(value);
            } else if name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) {
                let this: Option<u64> = std::str::from_utf8(value).ok().and_then(parse_length);
                let this = this.ok_or_else(|| invalid("a length that is no number"))?;
                if length.replace(this).is_some_and(|other| other != this) {
                    return Err(invalid("two lengths of one body"));
                }
            }
        }
        let framing = match (status, coding, length) {
            (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _, _) => Framing::Length(0),
            (status, _, _) if status.is_informational() => Framing::Length(0),
            (_, Some(coding), _) => match coding.rsplit(|byte| *byte == b',').next() {
                Some(last) if last.trim_ascii().eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
                Some(_) | None => Framing::UntilClose,
            },
            (_, None, Some(length)) => Framing::Length(length),
            (_, None, None) => Framing::UntilClose,
        };
        Ok(Self {
            status,
            framing,
            is_last: is_last || (is_first_version && !stays),
        })
    }
}

/// Digits and nothing else; `parse` alone would take a sign.
fn parse_length(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(token))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it sent {reason}"))
}

fn unexpected_end() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it was closed before the message was complete",
    )
}
