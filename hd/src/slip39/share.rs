//! One share in words: the numbers that say where it belongs, its value, and an RS1024 checksum over both.

use std::sync::LazyLock;

use chancery_secret::SecretBytes;
use zeroize::Zeroizing;

use super::SHARES;
use crate::HdError;

/// The 1,024 words of SLIP-39, sorted.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("words.txt").lines().collect());

/// Words of identifier and flags, of the share's place, and of the checksum.
const ID_WORDS: usize = 2;
const PLACE_WORDS: usize = 2;
const CHECKSUM_WORDS: usize = 3;
const META_WORDS: usize = ID_WORDS + PLACE_WORDS + CHECKSUM_WORDS;
/// Words of a share of 128 bits, and of 512: the shortest and the longest.
const LEAST_WORDS: usize = META_WORDS + 13;
const MOST_WORDS: usize = META_WORDS + 52;

/// Why shares give no secret. `place` counts them from 0; no message holds a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// No such split.
    #[error(
        "not a split: 1 to {SHARES} shares of each group, and of groups, and no more needed than there are"
    )]
    Plan,
    /// No such secret.
    #[error("a secret to be split has 16 to 64 bytes, an even number")]
    Secret,
    /// A share cannot be read.
    #[error("share {}: {what}", .place + 1)]
    Share {
        /// Which.
        place: usize,
        /// What it is not.
        what: &'static str,
    },
    /// A share is of another set, or there twice.
    #[error("share {} is of another split, or there twice", .place + 1)]
    Other {
        /// Which.
        place: usize,
    },
    /// Not exactly as many as are needed.
    #[error("not the number of shares, or of groups, that the split needs")]
    TooFew,
    /// They are not of one secret.
    #[error("the shares do not belong together: their secret's digest does not hold")]
    Digest,
}

/// What all shares of one split agree in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    /// 15 bits.
    pub identifier: u16,
    pub extendable: bool,
    pub iteration_exponent: u8,
    pub groups_needed: u8,
    pub groups: u8,
}

impl Common {
    pub fn salt(&self) -> Vec<u8> {
        let old = [b"shamir".as_slice(), &self.identifier.to_be_bytes()].concat();
        if self.extendable { Vec::new() } else { old }
    }

    fn customization(extendable: bool) -> &'static [u8] {
        if extendable { b"shamir_extendable" } else { b"shamir" }
    }
}

/// One share.
pub(super) struct Share {
    pub common: Common,
    pub group: u8,
    pub member: u8,
    pub threshold: u8,
    pub value: Zeroizing<Vec<u8>>,
}

impl Share {
    /// Its words, with a space between two.
    pub fn words(&self) -> Result<SecretBytes, HdError> {
        let Common { identifier, extendable, iteration_exponent, groups_needed, groups } = self.common;
        let id = (u32::from(identifier) << 5) | (u32::from(extendable) << 4) | u32::from(iteration_exponent);
        let nibbles = [
            self.group,
            groups_needed.saturating_sub(1),
            groups.saturating_sub(1),
            self.member,
            self.threshold.saturating_sub(1),
        ];
        let place = nibbles.iter().fold(0, |place, nibble| (place << 4) | u32::from(*nibble));
        let mut symbols = Zeroizing::new(Vec::with_capacity(MOST_WORDS));
        for number in [id, place] {
            symbols.extend([ten_bits(number >> 10), ten_bits(number)]);
        }
        // The value is a number, filled up with zero bits at its front.
        let mut bits = (10 - (self.value.len() * 8) % 10) % 10;
        let mut window = 0_u32;
        for byte in self.value.iter() {
            window = (window << 8) | u32::from(*byte);
            bits += 8;
            while bits >= 10 {
                bits -= 10;
                symbols.push(ten_bits(window >> bits));
            }
        }
        let check =
            polymod(Common::customization(extendable), symbols.iter().copied().chain([0; CHECKSUM_WORDS]))
                ^ 1;
        symbols.extend([20, 10, 0].map(|shift| ten_bits(check >> shift)));
        let words: Option<Vec<&str>> =
            symbols.iter().map(|symbol| WORDS.get(usize::from(*symbol)).copied()).collect();
        let mut text = Zeroizing::new(words.unwrap_or_default().join(" ").into_bytes());
        Ok(SecretBytes::take(&mut text)?)
    }

    /// Reads words, in any case and with any white space between two.
    pub fn read(words: &SecretBytes, place: usize) -> Result<Self, ShareError> {
        let wrong = |what| ShareError::Share { place, what };
        let text = std::str::from_utf8(words.expose()).map_err(|_| wrong("it is no text"))?;
        let mut symbols = Zeroizing::new(Vec::with_capacity(MOST_WORDS));
        for word in text.split_ascii_whitespace().take(MOST_WORDS + 1) {
            let word = Zeroizing::new(word.to_ascii_lowercase());
            let found =
                WORDS.binary_search(&word.as_str()).map_err(|_| wrong("a word is none of the list"))?;
            symbols.push(u16::try_from(found).unwrap_or_default());
        }
        if !(LEAST_WORDS..=MOST_WORDS).contains(&symbols.len()) {
            return Err(wrong("it has too few words, or too many"));
        }
        let padding = ((symbols.len() - META_WORDS) * 10) % 16;
        if padding > 8 {
            return Err(wrong("no share has that many words"));
        }
        let number =
            |symbols: &[u16]| symbols.iter().fold(0, |number, symbol| (number << 10) | u32::from(*symbol));
        let (id, rest) = symbols.split_at(ID_WORDS);
        let (at, rest) = rest.split_at(PLACE_WORDS);
        let (value, _) = rest.split_at(rest.len() - CHECKSUM_WORDS);
        let (id, at) = (number(id), number(at));
        let extendable = (id >> 4) & 1 == 1;
        if polymod(Common::customization(extendable), symbols.iter().copied()) != 1 {
            return Err(wrong("its checksum does not hold: a word is wrong"));
        }
        let nibble = |shift: u32| u8::try_from((at >> shift) & 15).unwrap_or_default();
        let common = Common {
            identifier: u16::try_from(id >> 5).unwrap_or_default(),
            extendable,
            iteration_exponent: u8::try_from(id & 15).unwrap_or_default(),
            groups_needed: nibble(12) + 1,
            groups: nibble(8) + 1,
        };
        if common.groups_needed > common.groups {
            return Err(wrong("it needs more groups than there are"));
        }
        let value = unpad(value, padding).ok_or(wrong("its filling is not zero"))?;
        Ok(Self { common, group: nibble(16), member: nibble(4), threshold: nibble(0) + 1, value })
    }
}

fn ten_bits(number: u32) -> u16 {
    u16::try_from(number & 1023).unwrap_or_default()
}

/// The bytes behind `padding` bits of zero.
fn unpad(symbols: &[u16], padding: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() * 10 / 8));
    let (mut window, mut bits) = (0_u32, 0);
    let mut filling = padding;
    for symbol in symbols {
        window = (window << 10) | u32::from(*symbol);
        bits += 10;
        if filling > 0 {
            bits -= filling;
            if window >> bits != 0 {
                return None;
            }
            filling = 0;
        }
        while bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((window >> bits) & 255).ok()?);
        }
    }
    Some(bytes)
}

/// RS1024: a Reed-Solomon code over GF(1024).
fn polymod(customization: &[u8], symbols: impl Iterator<Item = u16>) -> u32 {
    const GENERATOR: [u32; 10] = [
        0x00e0_e040,
        0x01c1_c080,
        0x0383_8100,
        0x0707_0200,
        0x0e0e_0009,
        0x1c0c_2412,
        0x3808_6c24,
        0x3090_fc48,
        0x21b1_f890,
        0x03f3_f120,
    ];
    let customization = customization.iter().map(|byte| u32::from(*byte));
    customization.chain(symbols.map(u32::from)).fold(1, |check, symbol| {
        let top = check >> 20;
        let check = ((check & 0x000f_ffff) << 10) ^ symbol;
        GENERATOR
            .iter()
            .enumerate()
            .filter(|(bit, _)| (top >> bit) & 1 == 1)
            .fold(check, |check, (_, part)| check ^ part)
    })
}
