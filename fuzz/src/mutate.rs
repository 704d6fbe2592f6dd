//! The plain loop: mutates seeds and kept inputs from a seed, and keeps what came out in a way not seen before. Needs no
//! instrumentation, so it runs in the ordinary build; the same seed gives the same inputs.

use std::collections::{BTreeSet, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use crate::{Target, corpus};

/// LIMIT: an input, in bytes.
const INPUT_BYTES: usize = 16 * 1024;
/// LIMIT: inputs that are kept for what they showed.
const POOL: usize = 2_048;
/// Bytes and numbers that parsers trip over.
const BYTES: &[u8] =
    &[0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'"', b'\\', b'\n', b' ', b'{', b'[', b'(', b'@', 0xc0, 0xfd];
const NUMBERS: &[u64] = &[0, 1, 0x7f, 0xff, 0x100, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];
const WORDS: &[&str] = &[
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "9007199254740993",
    "\\u0000",
    "\\ud800",
    "\u{2014} ",
    "[]",
    "{}",
    "\"\"",
    "\n\n",
    "\r\n",
    "0x",
    "00",
    "999999999999999999999",
    "../",
    "\u{fe0f}",
];

/// A run over one target.
pub struct Campaign {
    /// Which inputs; the same number gives the same ones.
    pub seed: u64,
    /// At most so many.
    pub runs: u64,
    /// And no longer than this.
    pub time: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Inputs tried.
    pub runs: u64,
    /// How many the parser took.
    pub accepted: u64,
    /// Ways in which inputs came out.
    pub kinds: usize,
    /// The input that broke the target, with what it said.
    pub broken: Option<(Vec<u8>, String)>,
}

impl Campaign {
    /// Runs; `before` sees every input first, for those that end the process.
    pub fn run(&self, target: &Target, mut before: impl FnMut(&[u8])) -> Ended {
        let started = Instant::now();
        let mut random = Random(self.seed | 1);
        let mut pool = (target.seeds)();
        pool.extend(corpus(target).into_iter().map(|(_, bytes)| bytes));
        let first = pool.len();
        let words = words(&pool);
        let mut kinds = HashSet::new();
        let mut ended = Ended { runs: 0, accepted: 0, kinds: 0, broken: None };
        let mut waiting = pool.clone();
        while ended.runs < self.runs && started.elapsed() < self.time {
            let input = waiting.pop().unwrap_or_else(|| random.mutated(&pool, first, &words));
            before(&input);
            ended.runs += 1;
            match panic::catch_unwind(AssertUnwindSafe(|| (target.check)(&input))) {
                Ok(seen) => {
                    ended.accepted += u64::from(seen.accepted);
                    if kinds.insert((seen.accepted, seen.kind)) && pool.len() < POOL {
                        pool.push(input);
                    }
                }
                Err(payload) => {
                    let text = payload.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    ended.broken = Some((input, text.unwrap_or_default()));
                    break;
                }
            }
        }
        ended.kinds = kinds.len();
        ended
    }
}

/// Runs of letters and digits in the inputs that are text: names, keys, numbers.
fn words(pool: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words: BTreeSet<Vec<u8>> = WORDS.iter().map(|word| word.as_bytes().to_vec()).collect();
    for text in pool.iter().filter_map(|input| std::str::from_utf8(input).ok()) {
        let found = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        words
            .extend(found.filter(|word| (2..=40).contains(&word.len())).map(|word| word.as_bytes().to_vec()));
    }
    words.into_iter().collect()
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % end.max(1)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Every other time of one of the `first` inputs, which what was found since must not crowd out.
    fn mutated(&mut self, pool: &[Vec<u8>], first: usize, words: &[Vec<u8>]) -> Vec<u8> {
        let among = if self.below(2) == 0 { first } else { pool.len() };
        let mut input = self.one(&pool[..among]).clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, pool, words);
        }
        input.truncate(INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let to = at + self.below((input.len() - at).min(64) + 1);
        match self.below(11) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = *self.one(BYTES),
            2 if at < input.len() => {
                input[at] = input[at].wrapping_add(if self.below(2) == 0 { 1 } else { 255 })
            }
            3 => drop(input.drain(at..to)),
            4 => {
                let copy = input[at..to].to_vec();
                let place = self.below(input.len() + 1);
                input.splice(place..place, copy);
            }
            5 => {
                let other = self.one(pool).clone();
                let from = self.below(other.len() + 1);
                let end = from + self.below((other.len() - from).min(256) + 1);
                input.splice(at..to, other[from..end].iter().copied());
            }
            6 => {
                let word = self.one(words).clone();
                input.splice(at..to, word);
            }
            7 => {
                let number = *self.one(NUMBERS);
                let width = *self.one(&[1, 2, 4, 8]);
                let bytes = if self.below(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
                let bytes = if self.below(2) == 0 { &bytes[8 - width..] } else { &bytes[..width] };
                let end = (at + width).min(input.len());
                input.splice(at..end, bytes.iter().copied());
            }
            8 => {
                let count = *self.one(&[2, 8, 64, 512]);
                let unit = input[at..to.min(at + 8)].to_vec();
                let many = unit.repeat(count);
                input.splice(at..at, many);
            }
            9 => input.truncate(at),
            _ => {
                let more: Vec<u8> = (0..self.below(8)).map(|_| self.next().to_le_bytes()[0]).collect();
                input.splice(at..at, more);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seen;

    fn campaign(check: fn(&[u8]) -> Seen, seed: u64) -> Ended {
        let target = Target { name: "none", from: "a test", check, seeds: || vec![b"abc=1".to_vec()] };
        Campaign { seed, runs: 20_000, time: Duration::from_secs(600) }.run(&target, |_| ())
    }

    /// Would catch a loop that finds nothing, and one that cannot be replayed.
    #[test]
    fn a_planted_panic_is_found_again_from_its_seed() {
        fn planted(input: &[u8]) -> Seen {
            assert!(!(input.len() > 6 && input.starts_with(b"abc") && input[4] == 0xff), "planted");
            Seen::refused(&input.len())
        }
        let [one, again] = [7, 7].map(|seed| campaign(planted, seed));
        assert_eq!(one.broken.as_ref().unwrap().1, "planted");
        assert_eq!((one.runs, one.broken), (again.runs, again.broken));
    }
}
