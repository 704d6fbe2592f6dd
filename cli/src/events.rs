//! A stream of server-sent events (WHATWG HTML, 9.2), as far as this server writes one: `id`, `event` and one line of `data`.

/// LIMIT: one event, in bytes: a log entry and a little around it.
const EVENT_BYTES: usize = 256 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Names it, for whoever goes on behind it.
    pub id: String,
    /// What it says; nothing where the server only says where it is.
    pub data: String,
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    heard: Heard,
}

/// A stream that this program does not go on with: an event without an end.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Parser {
    /// What became whole with these bytes.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, TooLong> {
        let mut whole = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() + self.heard.data.len() >= EVENT_BYTES {
                    return Err(TooLong);
                }
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            match line.split_once(':').map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)))
            {
                None if line.is_empty() => {
                    let heard = std::mem::take(&mut self.heard);
                    whole.extend((!heard.id.is_empty()).then_some(heard));
                }
                Some(("id", value)) => self.heard.id = value.to_owned(),
                Some(("data", value)) => self.heard.data.push_str(value),
                // Comments, the event's name, which its data has too, and what a later server may add.
                _ => {}
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_bytes_come_in() {
        let stream = b":\n\nid: 6\n\nid: 7\nevent: request.pending\ndata: {\"a\":1}\n\n: still here\n\nid: 9\ndata: {}\n\nid: 10\nda";
        let expected = [("6", ""), ("7", "{\"a\":1}"), ("9", "{}")]
            .map(|(id, data)| Heard { id: id.to_owned(), data: data.to_owned() });
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let heard: Vec<_> = stream.chunks(size).flat_map(|chunk| parser.take(chunk).unwrap()).collect();
            assert_eq!(heard, expected, "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_fills_no_memory() {
        let mut parser = Parser::default();
        assert_eq!((0..10).find_map(|_| parser.take(&[b'x'; 64 * 1024]).err()), Some(TooLong));
    }
}
