//! BIP-174's maps as they stand in the bytes: pairs of key and value, in the order they were sent. Reading keeps everything
//! and allows one encoding of each length, so that writing gives the same bytes; nothing is interpreted here.
//! If this were lax, two readers could see two transactions in one PSBT.

use crate::IntentError;

const CUT_SHORT: &str = "the PSBT ends too early";

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], IntentError> {
        let count = usize::try_from(count).map_err(|_| IntentError::malformed(CUT_SHORT))?;
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or_else(|| IntentError::malformed(CUT_SHORT))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], IntentError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| IntentError::malformed(CUT_SHORT))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A compact size in its shortest form.
    pub fn compact_size(&mut self) -> Result<u64, IntentError> {
        let [first] = self.array()?;
        let (value, least) = match first {
            0xfd => (u16::from_le_bytes(self.array()?).into(), 0xfd),
            0xfe => (u32::from_le_bytes(self.array()?).into(), 0x1_0000),
            0xff => (u64::from_le_bytes(self.array()?), 0x1_0000_0000),
            small => (small.into(), 0),
        };
        if value < least {
            return Err(IntentError::not_canonical("a length is not in its shortest form"));
        }
        Ok(value)
    }

    pub fn ended(&self) -> Result<(), IntentError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(IntentError::Trailing { bytes }),
        }
    }
}

pub(super) fn write_compact_size(value: u64, out: &mut Vec<u8>) {
    if let Ok(small @ 0..=0xfc) = u8::try_from(value) {
        out.push(small);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xfd);
        out.extend(value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xfe);
        out.extend(value.to_le_bytes());
    } else {
        out.push(0xff);
        out.extend(value.to_le_bytes());
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_compact_size(bytes.len() as u64, out);
    out.extend(bytes);
}

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub keytype: u64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// One map.
#[derive(Clone, Debug, Default)]
pub(super) struct Map(pub Vec<Pair>);

impl Map {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, IntentError> {
        let mut pairs = Vec::new();
        let mut seen = std::collections::HashSet::new();
        loop {
            let length = reader.compact_size()?;
            if length == 0 {
                return Ok(Self(pairs));
            }
            let whole = reader.take(length)?;
            if !seen.insert(whole) {
                return Err(IntentError::malformed("a map of the PSBT holds one key twice"));
            }
            let mut key = Reader(whole);
            let keytype = key.compact_size()?;
            let length = reader.compact_size()?;
            pairs.push(Pair { keytype, key: key.0.to_vec(), value: reader.take(length)?.to_vec() });
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        for Pair { keytype, key, value } in &self.0 {
            let mut whole = Vec::with_capacity(key.len().saturating_add(1));
            write_compact_size(*keytype, &mut whole);
            whole.extend(key);
            write_bytes(&whole, out);
            write_bytes(value, out);
        }
        out.push(0);
    }

    /// Puts a pair in the place of the one with this key, or at the end.
    pub fn put(&mut self, keytype: u64, key: Vec<u8>, value: Vec<u8>) {
        match self.0.iter_mut().find(|pair| pair.keytype == keytype && pair.key == key) {
            Some(pair) => pair.value = value,
            None => self.0.push(Pair { keytype, key, value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::Code;

    #[test]
    fn a_length_has_one_form() {
        for value in [0, 0xfc, 0xfd, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut bytes = Vec::new();
            write_compact_size(value, &mut bytes);
            assert_eq!(Reader(&bytes).compact_size().unwrap(), value);
        }
        for long in [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 1, 0, 0, 0, 0, 0, 0, 0]] {
            let error = Reader(long).compact_size().unwrap_err();
            assert_eq!(error.code(), Code::PayloadNotCanonical, "{long:02x?}");
        }
        assert_eq!(Reader(&[0xfd, 1]).compact_size().unwrap_err().code(), Code::PayloadMalformed);
    }

    #[test]
    fn a_map_comes_back_as_it_was_sent() {
        // Type 2 before type 1: the order is the sender's.
        let bytes = [2, 2, 7, 1, 9, 1, 1, 0, 0];
        let map = Map::read(&mut Reader(&bytes)).unwrap();
        let mut out = Vec::new();
        map.write(&mut out);
        assert_eq!(out, bytes);
        assert!(Map::read(&mut Reader(&[1, 1, 0, 1, 1, 0, 0])).is_err(), "one key twice");
        assert!(Map::read(&mut Reader(&[1, 1, 0])).is_err(), "no end");
        assert!(Map::read(&mut Reader(&[0xfe, 0xff, 0xff, 0xff, 0x7f, 1])).is_err(), "a key longer than all");
    }
}
