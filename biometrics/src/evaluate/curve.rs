//! From scores to errors. A pair is accepted when its score is at least the threshold: the false match rate (FMR) is the part
//! of impostor pairs that is accepted, the false non-match rate (FNMR) the part of genuine pairs that is not.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Pair;

/// Samples with replacement for an interval of the EER.
const RESAMPLED: usize = 500;
/// Points of a curve.
const POINTS: usize = 120;
/// 95 % of a normal distribution.
const Z: f64 = 1.959_964;

/// Scores of genuine and impostor pairs, each sorted.
#[derive(Clone, Debug)]
pub struct Scores {
    genuine: Vec<f64>,
    impostor: Vec<f64>,
}

/// The equal error rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Eer {
    /// A part of 1.
    pub rate: f64,
    /// The threshold there.
    pub threshold: f64,
    /// Of 95 % (bootstrap over pairs).
    pub interval: Option<(f64, f64)>,
}

/// A threshold, and the errors at it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Operating {
    /// The FMR that was asked for: the threshold is the least that does not pass it.
    pub asked: f64,
    /// The FMR at the threshold.
    pub fmr: f64,
    /// The FNMR at the threshold.
    pub fnmr: f64,
    /// Of 95 % around the FNMR (Wilson).
    pub interval: Option<(f64, f64)>,
    /// The threshold.
    pub threshold: f64,
    /// Whether there are impostors enough to see such an FMR: ten would be accepted at it.
    pub resolved: bool,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// False match rate.
    pub fmr: f64,
    /// False non-match rate.
    pub fnmr: f64,
}

/// A detection error trade-off, by falling FMR.
pub type Curve = Vec<Point>;

impl Scores {
    /// Takes scores in any order.
    #[must_use]
    pub fn new(mut genuine: Vec<f64>, mut impostor: Vec<f64>) -> Self {
        genuine.sort_by(f64::total_cmp);
        impostor.sort_by(f64::total_cmp);
        Self { genuine, impostor }
    }

    /// Scores of genuine pairs, ascending.
    #[must_use]
    pub fn genuine(&self) -> &[f64] {
        &self.genuine
    }

    /// Scores of impostor pairs, ascending.
    #[must_use]
    pub fn impostor(&self) -> &[f64] {
        &self.impostor
    }

    /// Both errors at a threshold.
    #[must_use]
    pub fn errors(&self, threshold: f64) -> Point {
        Point { fmr: 1.0 - below(&self.impostor, threshold), fnmr: below(&self.genuine, threshold) }
    }

    /// The threshold at which an FMR is not passed, and the errors there.
    #[must_use]
    pub fn at(&self, asked: f64, intervals: bool) -> Operating {
        let count = self.impostor.len();
        let accepted = (asked * count as f64).floor() as usize;
        // The best impostor who must not pass; above every score where none may.
        let refused = count.checked_sub(accepted + 1).and_then(|at| self.impostor.get(at));
        let threshold = refused.map_or(f64::NEG_INFINITY, |score| score.next_up());
        let Point { fmr, fnmr } = self.errors(threshold);
        let interval = intervals.then(|| wilson(fnmr, self.genuine.len()));
        Operating { asked, fmr, fnmr, interval, threshold, resolved: asked * count as f64 >= 10.0 }
    }

    /// The equal error rate.
    #[must_use]
    pub fn eer(&self, intervals: bool) -> Eer {
        let (rate, threshold) = self.crossing();
        let interval = intervals.then(|| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let mut rates: Vec<f64> = (0..RESAMPLED)
                .map(|_| {
                    let again = |scores: &[f64], random: &mut Random| {
                        scores.iter().map(|_| random.pick(scores)).collect::<Vec<_>>()
                    };
                    let genuine = again(&self.genuine, &mut random);
                    Self::new(genuine, again(&self.impostor, &mut random)).crossing().0
                })
                .collect();
            rates.sort_by(f64::total_cmp);
            let part = |part: f64| rates.get((part * RESAMPLED as f64) as usize).copied().unwrap_or(rate);
            (part(0.025), part(0.975))
        });
        Eer { rate, threshold, interval }
    }

    /// Where FNMR passes FMR: the mean of both at the score where they are nearest.
    fn crossing(&self) -> (f64, f64) {
        let mut nearest = (f64::INFINITY, 0.5, 0.0);
        // FNMR grows with the threshold and FMR falls: one of two neighbours is the nearest.
        let mut sorted = [self.genuine.as_slice(), &self.impostor].concat();
        sorted.sort_by(f64::total_cmp);
        let cross = sorted.partition_point(|threshold| {
            let Point { fmr, fnmr } = self.errors(*threshold);
            fnmr < fmr
        });
        for at in [cross.checked_sub(1), Some(cross)].into_iter().flatten() {
            if let Some(threshold) = sorted.get(at) {
                let Point { fmr, fnmr } = self.errors(*threshold);
                if (fmr - fnmr).abs() < nearest.0 {
                    nearest = ((fmr - fnmr).abs(), f64::midpoint(fmr, fnmr), *threshold);
                }
            }
        }
        (nearest.1, nearest.2)
    }

    /// Errors at FMRs from 1 down to one impostor, evenly on a logarithmic scale.
    #[must_use]
    pub fn curve(&self) -> Curve {
        let least = 1.0 / self.impostor.len().max(1) as f64;
        let step = |at: usize| least.powf(at as f64 / (POINTS - 1) as f64);
        (0..POINTS)
            .map(|at| {
                let Operating { fmr, fnmr, .. } = self.at(step(at), false);
                Point { fmr, fnmr }
            })
            .collect()
    }
}

/// The part of sorted `scores` that is below `threshold`.
fn below(scores: &[f64], threshold: f64) -> f64 {
    scores.partition_point(|score| *score < threshold) as f64 / scores.len().max(1) as f64
}

/// Wilson's interval of 95 % for a part of `count`.
fn wilson(part: f64, count: usize) -> (f64, f64) {
    let n = count.max(1) as f64;
    let middle = part + Z * Z / (2.0 * n);
    let half = Z * (part * (1.0 - part) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    (((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0))
}

/// The part of listed pairs that is judged rightly, each fold at the threshold that is best on the others; `None` with
/// fewer than two folds.
#[must_use]
pub fn accuracy(pairs: &[Pair], scores: &[f64]) -> Option<f64> {
    let folds: BTreeSet<u32> = pairs.iter().map(|pair| pair.fold).collect();
    if folds.len() < 2 {
        return None;
    }
    let scored = || pairs.iter().zip(scores);
    let right = |fold: u32| {
        let (genuine, impostor): (Vec<_>, Vec<_>) =
            scored().filter(|(pair, _)| pair.fold != fold).partition(|(pair, _)| pair.same);
        let score = |(_, score): (&Pair, &f64)| *score;
        let others =
            Scores::new(genuine.into_iter().map(score).collect(), impostor.into_iter().map(score).collect());
        let wrong = |threshold: f64| {
            let Point { fmr, fnmr } = others.errors(threshold);
            fmr * others.impostor.len() as f64 + fnmr * others.genuine.len() as f64
        };
        let best =
            others.genuine.iter().chain(&others.impostor).min_by(|a, b| wrong(**a).total_cmp(&wrong(**b)));
        let best = best.copied().unwrap_or_default();
        scored().filter(|(pair, score)| pair.fold == fold && pair.same == (**score >= best)).count()
    };
    Some(folds.iter().map(|fold| right(*fold)).sum::<usize>() as f64 / pairs.len().max(1) as f64)
}

/// Numbers for resampling, the same each time (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn pick(&mut self, from: &[f64]) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        from.get((number as usize * from.len()) >> 32).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 genuine scores 0.50 to 1.49 and 1,000 impostors 0.000 to 0.599 by steps: every rate can be counted by hand.
    fn scores() -> Scores {
        Scores::new(
            (50..150).map(|n| f64::from(n) / 100.0).collect(),
            (0..1000).map(|n| f64::from(n) * 0.0006).collect(),
        )
    }

    #[test]
    fn errors_are_counted() {
        let Point { fmr, fnmr } = scores().errors(0.55);
        assert!((fnmr - 0.05).abs() < 1e-9 && (fmr - 0.083).abs() < 1e-9, "{fmr} {fnmr}");
        let Operating { fmr, fnmr, threshold, .. } = scores().at(1e-2, false);
        assert!((fmr - 0.01).abs() < 1e-9 && (fnmr - 0.10).abs() < 1e-9 && (threshold - 0.5934).abs() < 1e-4);
        assert!(!scores().at(1e-3, false).resolved && scores().at(1e-2, false).resolved);
        assert!(scores().at(1e-4, false).fmr.abs() < 1e-12, "none may pass");
    }

    #[test]
    fn the_equal_error_is_where_both_meet() {
        let Eer { rate, interval, .. } = scores().eer(true);
        // At 0.5602: 7 of 100 below, 66 of 1,000 not.
        assert!((rate - 0.068).abs() < 1e-9, "{rate}");
        let (low, high) = interval.unwrap();
        assert!(low < rate && rate < high && high - low < 0.1, "{low} {high}");
        let apart = Scores::new(vec![0.9, 0.8], vec![0.1, 0.2]);
        assert!(apart.eer(false).rate.abs() < 1e-12);
        let upside_down = Scores::new(vec![0.1, 0.2], vec![0.9, 0.8]);
        assert!(upside_down.eer(false).rate > 0.9);
    }

    /// Brown, Cai and DasGupta 2001: 1 of 20.
    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson(0.05, 20);
        assert!((low - 0.0089).abs() < 1e-4 && (high - 0.2361).abs() < 1e-4, "{low} {high}");
        assert!(wilson(0.0, 100).0.abs() < 1e-12);
    }

    #[test]
    fn a_threshold_is_judged_on_other_folds() {
        let pair = |same, fold| Pair { a: String::new(), b: String::new(), same, fold };
        let pairs = [pair(true, 1), pair(false, 1), pair(true, 2), pair(false, 2)];
        assert_eq!(accuracy(&pairs, &[0.9, 0.1, 0.8, 0.2]), Some(0.75), "0.8 is below the best of fold 1");
        assert_eq!(accuracy(&pairs[..2], &[0.9, 0.1]), None);
    }
}
