//! Reads a streamed answer: a request with a chunked body, whose bytes are counted and thrown away.

use std::io::Read;
use std::net::TcpStream;

use anyhow::{Context, ensure};
use httparse::Status;

use crate::runtime_api::MAX_HEADERS;

pub(crate) struct ChunkedRequest<'a> {
    stream: &'a mut TcpStream,
    buffer: &'a mut [u8],
    /// What has been read and not yet been looked at.
    unread: std::ops::Range<usize>,
}

impl<'a> ChunkedRequest<'a> {
    pub(crate) fn new(stream: &'a mut TcpStream, buffer: &'a mut [u8]) -> Self {
        Self {
            stream,
            buffer,
            unread: 0..0,
        }
    }

    /// Reads the head, which has to be that of a streamed answer.
    pub(crate) fn read_head(&mut self) -> anyhow::Result<()> {
        loop {
            self.read_more()?;
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            let bytes = &self.buffer[self.unread.clone()];
            let Status::Complete(size) = request.parse(bytes).context("it does not speak HTTP/1.1")? else {
                continue;
            };
            let path = request.path.unwrap_or_default();
            ensure!(path.ends_with("/response"), "it called `{path}` in place of streaming");
            let is_chunked = request.headers.iter().any(|header| {
                header.name.eq_ignore_ascii_case("transfer-encoding") && header.value.eq_ignore_ascii_case(b"chunked")
            });
            ensure!(is_chunked, "it answered without streaming");
            self.unread.start += size;
            return Ok(());
        }
    }

    /// Reads the body to its end and returns its length.
    pub(crate) fn read_body(&mut self) -> anyhow::Result<u64> {
        const LINE_END: u64 = 2;
        let mut bytes = 0;
        loop {
            let line = httparse::parse_chunk_size(&self.buffer[self.unread.clone()]);
            let Ok(line) = line else {
                anyhow::bail!("it sent something that is no chunk");
            };
            let Status::Complete((line_bytes, size)) = line else {
                self.read_more()?;
                continue;
            };
            self.unread.start += line_bytes;
            if size == 0 {
                self.read_trailers()?;
                return Ok(bytes);
            }
            bytes += size;
            self.skip(size + LINE_END)?;
        }
    }

    fn skip(&mut self, mut bytes: u64) -> anyhow::Result<()> {
        loop {
            let here = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.unread.len());
            self.unread.start += here;
            bytes -= here as u64;
            if bytes == 0 {
                return Ok(());
            }
            self.read_more()?;
        }
    }

    /// Takes what ends the body. Trailers carry the error of a stream that has failed.
    fn read_trailers(&mut self) -> anyhow::Result<()> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let bytes = &self.buffer[self.unread.clone()];
            let parsed = httparse::parse_headers(bytes, &mut headers).context("it sent garbled trailers")?;
            if let Status::Complete((_, trailers)) = parsed {
                ensure!(trailers.is_empty(), "its stream failed: {trailers:?}");
                return Ok(());
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = &mut self.buffer[self.unread.end..];
        ensure!(!room.is_empty(), "it sent a head that is too large");
        let count = self.stream.read(room).context("it did not go on with its stream")?;
        ensure!(count > 0, "it broke its stream off");
        self.unread.end += count;
        Ok(())
    }
}
