//! Where a request ends and the next one begins: a second opinion beside hyper's, and a stricter one.
//!
//! Requests are smuggled where two readers of one connection disagree about that. hyper takes lines that end without a
//! carriage return, a length beside a transfer encoding, and empty lines before a request, because some peers send such
//! things; other readers draw other conclusions from them. So every byte from a client passes [`Framing`] on its way to
//! hyper. It knows only the one spelling that RFC 9112 asks senders for, and stops at the first byte of any other. What
//! is left is read alike by everybody.
//!
//! It keeps no more than one line of a head, and looks at no byte of a body but those between chunks.

use std::mem;

/// The most bytes of a head, or of the lines behind a chunked body. hyper has refused it before.
const MAX_HEAD_BYTES: usize = 2 * super::MAX_BUFFER_BYTES;
/// The most digits of a `Content-Length`. What they can say does not overflow.
const MAX_LENGTH_DIGITS: usize = 19;
/// The most digits of a chunk's size. What they can say does not overflow.
const MAX_CHUNK_DIGITS: usize = 15;

/// How far the bytes of one connection have been read.
#[derive(Debug, Default)]
pub(super) struct Framing {
    place: Place,
    /// The line that is being read, without its end.
    line: Vec<u8>,
    /// The bytes of the head, or of the trailers, that are being read.
    head_bytes: usize,
    head: Head,
}

/// What the head that is being read has said about its body.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    version: Option<Version>,
    length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What is expected of the next byte.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A byte of a line of the head, or the carriage return that ends it.
    #[default]
    Line,
    /// The line feed behind it.
    LineFeed,
    /// So many bytes of a body with a length.
    Body(u64),
    /// The digits of a chunk's size: what they have said, and how many there were.
    ChunkSize(u64, usize),
    /// What may stand behind the size of such a chunk.
    ChunkExtension(u64),
    /// The line feed behind the size.
    ChunkSizeLineFeed(u64),
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The carriage return behind a chunk.
    ChunkEnd,
    /// The line feed behind that.
    ChunkEndLineFeed,
    /// A byte of a line behind the last chunk, or the carriage return that ends it.
    Trailer,
    /// The line feed behind it.
    TrailerLineFeed,
    /// Nothing: the connection cannot be understood any more.
    Refused,
}

/// The client has sent what can be read in more than one way, or in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ambiguous;

impl Framing {
    /// Reads the next bytes of the connection: how many of them, from the first on, can be read in one way only. The
    /// first request that cannot is never complete in these.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            if let Place::Body(left) = self.place {
                let (left, behind) = skipped(left, rest);
                self.place = match left {
                    0 => self.next_head(),
                    left => Place::Body(left),
                };
                rest = behind;
                continue;
            }
            if let Place::Chunk(left) = self.place {
                let (left, behind) = skipped(left, rest);
                self.place = match left {
                    0 => Place::ChunkEnd,
                    left => Place::Chunk(left),
                };
                rest = behind;
                continue;
            }
            match self.step(self.place, byte) {
                Ok(place) => self.place = place,
                Err(Ambiguous) => {
                    self.place = Place::Refused;
                    break;
                }
            }
            rest = behind;
        }
        bytes.len() - rest.len()
    }

    /// Whether bytes have been refused. All that follow are, too.
    pub(super) fn has_refused(&self) -> bool {
        self.place == Place::Refused
    }

    fn step(&mut self, place: Place, byte: u8) -> Result<Place, Ambiguous> {
        match (place, byte) {
            (Place::Line, b'\r') => Ok(Place::LineFeed),
            (Place::Trailer, b'\r') => Ok(Place::TrailerLineFeed),
            (Place::Line | Place::Trailer, byte) => {
                self.keep(byte)?;
                Ok(place)
            }
            (Place::LineFeed, b'\n') => self.end_line(),
            (Place::TrailerLineFeed, b'\n') => self.end_trailer(),
            (Place::ChunkSize(size, digits), byte) if byte.is_ascii_hexdigit() && digits < MAX_CHUNK_DIGITS => {
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit");
                Ok(Place::ChunkSize(size * 16 + u64::from(digit), digits + 1))
            }
            (Place::ChunkSize(_, 0), _) => Err(Ambiguous),
            (Place::ChunkSize(size, _), b';') => Ok(Place::ChunkExtension(size)),
            (Place::ChunkSize(size, _) | Place::ChunkExtension(size), b'\r') => Ok(Place::ChunkSizeLineFeed(size)),
            (Place::ChunkExtension(_), byte) if is_text(byte) => Ok(place),
            (Place::ChunkSizeLineFeed(0), b'\n') => {
                self.head_bytes = 0;
                Ok(Place::Trailer)
            }
            (Place::ChunkSizeLineFeed(size), b'\n') => Ok(Place::Chunk(size)),
            (Place::ChunkEnd, b'\r') => Ok(Place::ChunkEndLineFeed),
            (Place::ChunkEndLineFeed, b'\n') => Ok(Place::ChunkSize(0, 0)),
            (
                Place::LineFeed
                | Place::TrailerLineFeed
                | Place::ChunkSize(..)
                | Place::ChunkExtension(_)
                | Place::ChunkSizeLineFeed(_)
                | Place::ChunkEnd
                | Place::ChunkEndLineFeed
                | Place::Body(_)
                | Place::Chunk(_)
                | Place::Refused,
                _,
            ) => Err(Ambiguous),
        }
    }

    fn keep(&mut self, byte: u8) -> Result<(), Ambiguous> {
        self.head_bytes += 1;
        if !is_text(byte) || self.head_bytes > MAX_HEAD_BYTES {
            return Err(Ambiguous);
        }
        self.line.push(byte);
        Ok(())
    }

    /// A line of the head is complete.
    fn end_line(&mut self) -> Result<Place, Ambiguous> {
        let line = mem::take(&mut self.line);
        if self.head.version.is_none() {
            self.head.version = Some(request_line(&line)?);
        } else if line.is_empty() {
            return self.end_head();
        } else {
            let (name, value) = header(&line)?;
            self.head.take(name, value)?;
        }
        self.reuse(line);
        Ok(Place::Line)
    }

    fn end_head(&mut self) -> Result<Place, Ambiguous> {
        match (self.head.length, self.head.is_chunked) {
            (Some(_), true) => Err(Ambiguous),
            (None, true) if self.head.version == Some(Version::Http10) => Err(Ambiguous),
            (None, true) => Ok(Place::ChunkSize(0, 0)),
            (None | Some(0), false) => Ok(self.next_head()),
            (Some(length), false) => Ok(Place::Body(length)),
        }
    }

    fn end_trailer(&mut self) -> Result<Place, Ambiguous> {
        let line = mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(self.next_head());
        }
        let (name, value) = header(&line)?;
        // What says where a body ends has to stand before it.
        let mut said = Head::default();
        said.take(name, value)?;
        if said.length.is_some() || said.is_chunked {
            return Err(Ambiguous);
        }
        self.reuse(line);
        Ok(Place::Trailer)
    }

    fn next_head(&mut self) -> Place {
        self.head = Head::default();
        self.head_bytes = 0;
        Place::Line
    }

    fn reuse(&mut self, mut line: Vec<u8>) {
        line.clear();
        self.line = line;
    }
}

impl Head {
    /// What a header says about the body, if it is one of the two that do.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Ambiguous> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_number = (1..=MAX_LENGTH_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
            if self.length.is_some() || !is_number {
                return Err(Ambiguous);
            }
            let digits = value.iter().map(|digit| u64::from(digit - b'0'));
            self.length = Some(digits.fold(0, |number, digit| number * 10 + digit));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.is_chunked = true;
        }
        Ok(())
    }
}

/// What is left of a body of which so many bytes are to come, and what follows those of them that are here.
fn skipped(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (left - count as u64, &bytes[count..])
}

/// `METHOD TARGET HTTP/1.x`, with one space in both places.
fn request_line(line: &[u8]) -> Result<Version, Ambiguous> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Ambiguous);
    };
    let is_target = !target.is_empty() && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    match version {
        _ if !is_token(method) || !is_target => Err(Ambiguous),
        b"HTTP/1.0" => Ok(Version::Http10),
        b"HTTP/1.1" => Ok(Version::Http11),
        _ => Err(Ambiguous),
    }
}

/// Name and value of a header. A line that begins with a space, which once continued the one before, has no name.
fn header(line: &[u8]) -> Result<(&[u8], &[u8]), Ambiguous> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Ambiguous)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(Ambiguous);
    }
    Ok((name, value.trim_ascii()))
}

/// Whether it can be the name of a method or of a header (RFC 9110 §5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token)
}

/// Whether it may stand in a line: no control character but the tabulator.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken; the same, whatever pieces they come in.
    fn taken(bytes: &[u8]) -> usize {
        let whole = Framing::default().read(bytes);
        for size in [1, 2, 7] {
            let mut framing = Framing::default();
            let mut count = 0;
            for piece in bytes.chunks(size) {
                count += framing.read(piece);
            }
            assert_eq!(count, whole, "in pieces of {size} bytes");
        }
        whole
    }

    fn is_taken(text: &str) -> bool {
        taken(text.as_bytes()) == text.len()
    }

    #[test]
    fn requests_in_the_one_spelling_pass_one_after_the_other() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a?b HTTP/1.0\r\nContent-Length: 3\r\n\r\n\r\n\0",
            "POST / HTTP/1.1\r\ntransfer-encoding:Chunked\r\n\r\n3;a=b\r\nabc\r\n00\r\nX: y\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost:\ta \t\r\nEmpty:\r\nX-Odd: caf\u{e9}\r\n\r\n",
        ] {
            assert!(is_taken(request), "{request:?}");
            assert!(is_taken(&request.repeat(3)), "{request:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_more_than_one_way_is_refused_before_its_head_is_complete() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\u{7f}\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(!is_taken(head), "{head:?}");
            let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let behind = format!("{good}{head}");
            let count = taken(behind.as_bytes());
            assert!((good.len()..behind.len()).contains(&count), "{behind:?}");
        }
    }

    #[test]
    fn chunks_have_one_spelling_as_well() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "\r\n0\r\n\r\n",
            "zz\r\n",
            "-1\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1;a\nb\r\na\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\n\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nContent-Length: 3\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1000000000000000\r\n",
        ] {
            assert!(!is_taken(&format!("{head}{body}")), "{body:?}");
        }
    }

    #[test]
    fn bytes_of_a_body_are_never_taken_for_a_request() {
        let smuggled = "GET / HTTP/1.1\nHost: b\n\n";
        let length = smuggled.len();
        assert!(is_taken(&format!(
            "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{smuggled}GET / HTTP/1.1\r\n\r\n"
        )));
        assert!(is_taken(&format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        )));
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut framing = Framing::default();
        let count = framing.read(&vec![b'a'; 4 * MAX_HEAD_BYTES]);
        assert_eq!((count, framing.has_refused()), (MAX_HEAD_BYTES, true));
        assert_eq!(framing.line.len(), MAX_HEAD_BYTES);
    }
}
