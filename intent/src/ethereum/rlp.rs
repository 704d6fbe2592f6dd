//! RLP seen strictly (Ethereum yellow paper, appendix B): tells truncated, trailing and non-canonical bytes apart before
//! alloy decodes the fields. Trusts nothing. If it is wrong, the re-encoding in `transaction` still refuses the bytes,
//! only under a vaguer code.

use crate::IntentError;

/// What a field must look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// A big-endian number of at most so many bytes, without leading zeros.
    Integer(usize),
    /// A string of any length.
    Bytes,
    /// A string of exactly so many bytes.
    Fixed(usize),
    /// An address, or nothing where a contract is made.
    Recipient,
    /// A list of exactly these.
    List(&'static [Shape]),
    /// A list of any number of these.
    Each(&'static Shape),
}

/// One item: a string, or a list whose items are still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub list: bool,
    pub body: &'a [u8],
}

/// The items of the one list that `bytes` must be, at most `most` of them.
pub(super) fn fields(bytes: &[u8], most: usize) -> Result<Vec<Item<'_>>, IntentError> {
    let (item, rest) = split(bytes)?;
    if !item.list {
        return Err(IntentError::malformed("an RLP string where a list belongs"));
    }
    if !rest.is_empty() {
        return Err(IntentError::Trailing { bytes: rest.len() });
    }
    items(item.body, most)
}

/// The items in the body of a list, at most `most` of them.
pub(super) fn items(mut body: &[u8], most: usize) -> Result<Vec<Item<'_>>, IntentError> {
    let mut items = Vec::with_capacity(most);
    while !body.is_empty() {
        if items.len() == most {
            return Err(IntentError::malformed("too many RLP fields"));
        }
        let (item, rest) = split(body)?;
        items.push(item);
        body = rest;
    }
    Ok(items)
}

/// Holds each item to its shape. The counts must be equal.
pub(super) fn check(items: &[Item<'_>], shapes: &[Shape]) -> Result<(), IntentError> {
    if items.len() != shapes.len() {
        return Err(IntentError::malformed(format!("{} RLP fields, not {}", items.len(), shapes.len())));
    }
    items.iter().zip(shapes).try_for_each(|(item, shape)| conform(*item, shape))
}

fn conform(item: Item<'_>, shape: &Shape) -> Result<(), IntentError> {
    if item.list != matches!(shape, Shape::List(_) | Shape::Each(_)) {
        return Err(IntentError::malformed("an RLP list and an RLP string in each other's place"));
    }
    match shape {
        Shape::Integer(_) if item.body.first() == Some(&0) => {
            Err(IntentError::not_canonical("a number with leading zeros"))
        }
        Shape::Integer(most) if item.body.len() > *most => {
            Err(IntentError::malformed(format!("a number of more than {most} bytes")))
        }
        Shape::Fixed(size) if item.body.len() != *size => {
            Err(IntentError::malformed(format!("a string of {} bytes, not {size}", item.body.len())))
        }
        Shape::Recipient if !matches!(item.body.len(), 0 | 20) => {
            Err(IntentError::malformed("a recipient that is not an address"))
        }
        Shape::Integer(_) | Shape::Bytes | Shape::Fixed(_) | Shape::Recipient => Ok(()),
        Shape::List(shapes) => {
            let mut body = item.body;
            for shape in *shapes {
                let (inner, rest) = split(body)?;
                conform(inner, shape)?;
                body = rest;
            }
            if body.is_empty() { Ok(()) } else { Err(IntentError::malformed("too many RLP fields")) }
        }
        Shape::Each(shape) => {
            let mut body = item.body;
            while !body.is_empty() {
                let (inner, rest) = split(body)?;
                conform(inner, shape)?;
                body = rest;
            }
            Ok(())
        }
    }
}

/// The first item and what follows it.
pub(super) fn split(bytes: &[u8]) -> Result<(Item<'_>, &[u8]), IntentError> {
    let truncated = || IntentError::malformed("RLP ends early");
    let (&first, rest) = bytes.split_first().ok_or_else(truncated)?;
    let (list, length, rest) = match first {
        0x00..=0x7f => {
            let (body, rest) = bytes.split_at(1);
            return Ok((Item { list: false, body }, rest));
        }
        0x80..=0xb7 => (false, usize::from(first - 0x80), rest),
        0xb8..=0xbf => {
            let (length, rest) = long_length(first - 0xb7, rest)?;
            (false, length, rest)
        }
        0xc0..=0xf7 => (true, usize::from(first - 0xc0), rest),
        0xf8..=0xff => {
            let (length, rest) = long_length(first - 0xf7, rest)?;
            (true, length, rest)
        }
    };
    let (body, rest) = rest.split_at_checked(length).ok_or_else(truncated)?;
    if first == 0x81 && body.first().is_some_and(|byte| *byte < 0x80) {
        return Err(IntentError::not_canonical("a single byte with a length before it"));
    }
    Ok((Item { list, body }, rest))
}

fn long_length(size: u8, rest: &[u8]) -> Result<(usize, &[u8]), IntentError> {
    let (digits, rest) =
        rest.split_at_checked(usize::from(size)).ok_or_else(|| IntentError::malformed("RLP ends early"))?;
    if digits.first() == Some(&0) {
        return Err(IntentError::not_canonical("a length with leading zeros"));
    }
    let length = digits.iter().fold(0_u64, |length, digit| (length << 8) | u64::from(*digit));
    if length < 56 {
        return Err(IntentError::not_canonical("a long length for a short body"));
    }
    let length = usize::try_from(length).map_err(|_| IntentError::malformed("RLP ends early"))?;
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::Code;

    fn code(bytes: &[u8], shapes: &[Shape]) -> Option<Code> {
        fields(bytes, 16).and_then(|items| check(&items, shapes)).err().map(|error| error.code())
    }

    #[test]
    fn each_fault_has_its_own_code() {
        use Code::{
            PayloadMalformed as Malformed, PayloadNotCanonical as NotCanonical,
            PayloadTrailingBytes as Trailing,
        };
        let number = &[Shape::Integer(8)];
        assert_eq!(code(&[0xc1, 0x05], number), None);
        assert_eq!(code(&[0xc1, 0x80], number), None, "zero is the empty string");
        for (bytes, expected, what) in [
            (&[0xc2, 0x05][..], Malformed, "a list cut short"),
            (&[0xc1, 0x82], Malformed, "an item beyond its list"),
            (&[0x05], Malformed, "no list"),
            (&[0xc1, 0x05, 0x00], Trailing, "a byte after the list"),
            (&[0xc1, 0x00], NotCanonical, "zero as a byte"),
            (&[0xc3, 0x82, 0x00, 0x05], NotCanonical, "a leading zero"),
            (&[0xc2, 0x81, 0x05], NotCanonical, "a length before a single byte"),
            (&[0xf8, 0x01, 0x05], NotCanonical, "a long length for a short list"),
            (&[0xc4, 0xb8, 0x02, 0x05, 0x05], NotCanonical, "a long length for a short string"),
            (&[0xf9, 0x00, 0x38], NotCanonical, "a length with a leading zero"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Malformed, "a length beyond memory"),
            (&[0xca, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1], Malformed, "a number too large"),
            (&[0xc2, 0x05, 0x05], Malformed, "two fields for one"),
            (&[0xc1, 0xc0], Malformed, "a list for a number"),
        ] {
            assert_eq!(code(bytes, number), Some(expected), "{what}");
        }
    }

    #[test]
    fn nested_lists_are_held_to_their_shape() {
        let shape = &[Shape::Each(&Shape::List(&[Shape::Fixed(2), Shape::Recipient]))];
        assert_eq!(code(&[0xc1, 0xc0], shape), None);
        assert_eq!(code(&[0xc6, 0xc5, 0xc4, 0x82, 1, 2, 0x80], shape), None);
        for (bytes, what) in [
            (&[0xc5, 0xc4, 0xc3, 0x82, 1, 2][..], "a field missing"),
            (&[0xc7, 0xc6, 0xc5, 0x82, 1, 2, 0x80, 0x80], "a field too many"),
            (&[0xc4, 0xc3, 0xc2, 1, 0x80], "a string too short"),
            (&[0xc6, 0xc5, 0xc4, 0x82, 1, 2, 0x07], "a recipient of one byte"),
        ] {
            assert_eq!(code(bytes, shape), Some(Code::PayloadMalformed), "{what}");
        }
    }
}
