//! Chance from a seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Streams that are split off do not disturb each other,
//! so one more draw in one place changes nothing elsewhere. Not for secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed and a name.
    #[must_use]
    pub fn of(seed: u64, name: &str) -> Self {
        let mut dice = Self(seed);
        for byte in name.bytes() {
            dice.0 = dice.number() ^ u64::from(byte);
        }
        dice
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.number() % end }
    }

    /// A number from `first` to `last`, small ones as often as large ones of another magnitude.
    pub fn spread(&mut self, first: u64, last: u64) -> u64 {
        let magnitudes = u64::from((last / first.max(1)).max(1).ilog2()) + 1;
        let low = first.max(1) << self.below(magnitudes);
        low.saturating_add(self.below(low)).clamp(first, last)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Fills bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            chunk.iter_mut().zip(number).for_each(|(byte, from)| *byte = from);
        }
    }
}
