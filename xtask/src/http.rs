//! HTTP/1.1 from the client's side, over any stream: as much as our own servers and a local chain need. Small, so that
//! a load generator spends its time on the other side. Trusts neither length nor form of what comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// LIMIT: one answer's head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// LIMIT: one answer's body, in bytes.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The bytes of a request. `headers` are whole lines without their end.
#[must_use]
pub fn request(method: &str, host: &str, path: &str, headers: &[String], body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Reads one answer; what the stream holds beyond it stays in `left` for the next.
///
/// # Errors
/// `InvalidData` for what is not an answer, `UnexpectedEof` when the stream ends inside it, or the stream's own error.
pub fn read_answer(stream: &mut impl Read, left: &mut Vec<u8>) -> io::Result<Answer> {
    let (head_length, status, body_length) = loop {
        if let Some(end) = find(left, b"\r\n\r\n") {
            let head = left.get(..end).unwrap_or_default();
            let (status, length) = parse_head(head)?;
            break (end + 4, status, length);
        }
        if left.len() > HEAD_BYTES {
            return Err(invalid("the head of the answer is too long"));
        }
        read_more(stream, left)?;
    };
    if body_length > BODY_BYTES {
        return Err(invalid("the body of the answer is too long"));
    }
    while left.len() < head_length + body_length {
        read_more(stream, left)?;
    }
    let rest = left.split_off(head_length + body_length);
    let body = left.split_off(head_length);
    *left = rest;
    Ok(Answer { status, body })
}

/// One call over a connection of its own, in plain HTTP: health, metrics, a local chain.
///
/// # Errors
/// As [`read_answer`], and when there is no connection.
pub fn call(to: SocketAddr, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(&request(method, &to.to_string(), path, &["connection: close".into()], body))?;
    read_answer(&mut stream, &mut Vec::new())
}

fn read_more(stream: &mut impl Read, left: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            left.extend_from_slice(chunk.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

/// Status and body length. Chunked answers are not ours and are refused.
fn parse_head(head: &[u8]) -> io::Result<(u16, usize)> {
    let head = std::str::from_utf8(head).map_err(|_| invalid("the head of the answer is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("the answer has no status"))?;
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the answer comes in chunks"));
        }
    }
    match length {
        Some(length) => Ok((status, length)),
        None if status == 204 || status == 304 => Ok((status, 0)),
        None => Err(invalid("the answer has no length")),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_in_one_stream_are_two() {
        let mut stream: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 204 No Content\r\n\r\n";
        let mut left = Vec::new();
        assert_eq!(
            read_answer(&mut stream, &mut left).unwrap(),
            Answer { status: 200, body: b"ab".to_vec() }
        );
        assert_eq!(read_answer(&mut stream, &mut left).unwrap().status, 204);
        assert_eq!(read_answer(&mut stream, &mut left).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn half_an_answer_is_none() {
        for bad in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/2 200\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert!(read_answer(&mut bad.as_bytes(), &mut Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_carries_its_length() {
        let text = String::from_utf8(request("POST", "h", "/p", &["a: b".into()], Some(b"{}"))).unwrap();
        assert_eq!(
            text,
            "POST /p HTTP/1.1\r\nhost: h\r\na: b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
