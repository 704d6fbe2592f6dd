//! What the template costs and gives, in the terms of ISO/IEC 30136: accuracy with each person's own seed and with one stolen
//! seed, whether two templates of a person can be linked, what can be made of a stolen one, and whether a new version is new.

use aws_lc_rs::hmac;
use chancery_secret::SecretBytes;
use serde::Serialize;

use super::images::{every, person, split};
use super::{Comparison, EvaluateError, Pair, Shown};
use crate::pipeline::Embedding;
use crate::template::{
    AGREEMENT, Binding, HASHES, PROJECTIONS, Template, TemplateError, WORD_BYTES, expanded, weight,
};

/// Versions, and tenants, between which links are looked for.
const APART: usize = 3;
/// Agreements that are counted together: few enough bins that each is filled.
const BIN: usize = 4;
/// Templates that are turned back.
const TURNED_BACK: usize = 100;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Protection {
    /// The scheme and its sizes.
    pub scheme: String,
    /// Listed pairs, each template under its own person's seed.
    pub own_seed: Comparison,
    /// Listed pairs under one seed: what an impostor meets who claims to be the enrolled person, and what a thief of the
    /// seed has.
    pub one_seed: Comparison,
    /// Every pair of two images under one seed.
    pub one_seed_all_pairs: Option<Comparison>,
    /// Between versions of one person's template.
    pub versions: Linkability,
    /// Between tenants.
    pub tenants: Linkability,
    /// From a template and its seed.
    pub with_seed: Preimage,
    /// From a template alone: the estimate is made with another seed.
    pub without_seed: Preimage,
    /// Images whose template of one version is accepted against that of the next: a renewed template must be another.
    pub renewed_accepted: usize,
    /// Of how many.
    pub renewed: usize,
    /// The agreement that is asked for today.
    pub agreement: u32,
}

/// Whether templates under different seeds can be told to be of one person (Gomez-Barrero et al. 2018).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Linkability {
    /// 0 for no link, 1 for certainty.
    pub d_sys: f64,
    /// The same number for two halves of the comparisons of strangers, between which there is no link: what the size of the
    /// sample alone makes of nothing.
    pub floor: f64,
    /// Comparisons of one person's templates.
    pub mated: usize,
    /// Comparisons of strangers'.
    pub non_mated: usize,
}

/// How near an estimate comes to the embedding.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Preimage {
    /// Mean cosine.
    pub cosine: f64,
    /// The largest.
    pub largest: f64,
    /// Estimates that are accepted as the person, under the stolen seed.
    pub accepted: usize,
    /// Of how many.
    pub tried: usize,
}

/// The templates of all images, under one rule for their seeds.
type Set<'a> = Vec<(&'a str, Template)>;

impl Protection {
    pub(super) fn measure(
        shown: &Shown,
        pairs: &[Pair],
        all_pairs: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, EvaluateError> {
        let mut set = |what: String, seed: &dyn Fn(&str) -> Result<SecretBytes, TemplateError>| {
            tell(&format!("templates: {what}"));
            shown
                .faces()
                .map(|(name, face)| Ok((name, Template::make(face, &seed(name)?)?)))
                .collect::<Result<Set<'_>, TemplateError>>()
        };
        let mut versions = Vec::new();
        for version in 1..=APART as u64 {
            let own = |name: &str| seed("tenant 0", person(name), version);
            versions.push(set(format!("each under its own seed, version {version}"), &own)?);
        }
        let mut tenants = Vec::new();
        for tenant in 1..=APART {
            let own = |name: &str| seed(&format!("tenant {tenant}"), person(name), 1);
            tenants.push(set(format!("each under its own seed, tenant {tenant}"), &own)?);
        }
        let one = set("all under one seed".into(), &|_| seed("tenant 0", "stolen", 1))?;
        let first = versions.first().map(Vec::as_slice).unwrap_or_default();
        let second = versions.get(1).map(Vec::as_slice).unwrap_or_default();
        let renewed = first.iter().zip(second).map(|((_, old), (_, new))| old.agreement(new));
        tell("estimates of embeddings");
        let turned_back = |guessed: &str| {
            let seed_of = |name: &str| seed("tenant 0", person(name), 1);
            let mut tries = Vec::new();
            for ((name, face), (_, template)) in shown.faces().zip(first).take(TURNED_BACK) {
                let guess = estimate(template, &seed(guessed, person(name), 1)?, face.expose().len())?;
                let accepted = Template::make(&guess, &seed_of(name)?)?.is_of_the_same(template);
                tries.push((f64::from(guess.cosine(face)), accepted));
            }
            Ok::<_, TemplateError>(Preimage::of(&tries))
        };
        Ok(Self {
            scheme: format!(
                "Index-of-Max, {HASHES} hashes of {PROJECTIONS} projections, {} bytes",
                HASHES / 2
            ),
            own_seed: listed(first, pairs),
            one_seed: listed(&one, pairs),
            one_seed_all_pairs: all_pairs.then(|| Comparison::of(&every(&one, score), false)),
            versions: Linkability::between(&versions, pairs),
            tenants: Linkability::between(&tenants, pairs),
            with_seed: turned_back("tenant 0")?,
            without_seed: turned_back("a guess")?,
            renewed_accepted: renewed.filter(|agreement| *agreement >= AGREEMENT).count(),
            renewed: first.len(),
            agreement: AGREEMENT,
        })
    }
}

/// Seeds as the appliance makes them, but for the key, which is known to all.
fn seed(tenant: &str, subject: &str, version: u64) -> Result<SecretBytes, TemplateError> {
    let binding = Binding { tenant, subject, enrolment: "1", version, models: [0; 32] };
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"chancery face evaluate");
    let mut bytes = hmac::sign(&key, &binding.seed_message()).as_ref().to_vec();
    Ok(SecretBytes::take(&mut bytes)?)
}

fn score(a: &Template, b: &Template) -> f64 {
    f64::from(a.agreement(b))
}

fn listed(set: &[(&str, Template)], pairs: &[Pair]) -> Comparison {
    Comparison::of(&split(compared(set, set, pairs).into_iter()), true)
}

/// Each pair's first image in one set against its second in the other; pairs with an image that shows no face are left out.
fn compared(a: &[(&str, Template)], b: &[(&str, Template)], pairs: &[Pair]) -> Vec<(bool, f64)> {
    let find =
        |set: &[(&str, Template)], name: &str| set.binary_search_by(|(found, _)| (*found).cmp(name)).ok();
    pairs
        .iter()
        .filter_map(|pair| {
            let (_, first) = a.get(find(a, &pair.a)?)?;
            let (_, second) = b.get(find(b, &pair.b)?)?;
            Some((pair.same, score(first, second)))
        })
        .collect()
}

impl Linkability {
    /// Every set against every other.
    fn between(sets: &[Set<'_>], pairs: &[Pair]) -> Self {
        let mut all = Vec::new();
        for (at, a) in sets.iter().enumerate() {
            for (other, b) in sets.iter().enumerate() {
                if at != other {
                    all.extend(compared(a, b, pairs));
                }
            }
        }
        let of = |same: bool| -> Vec<f64> {
            all.iter().filter(|(mated, _)| *mated == same).map(|(_, score)| *score).collect()
        };
        let (mated, non_mated) = (of(true), of(false));
        let half = |odd: usize| non_mated.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>();
        Self {
            d_sys: d_sys(&mated, &non_mated),
            floor: d_sys(&half(0), &half(1)),
            mated: mated.len(),
            non_mated: non_mated.len(),
        }
    }
}

/// The mean over mated scores of how much likelier than not each is mated, both being as likely beforehand.
fn d_sys(mated: &[f64], non_mated: &[f64]) -> f64 {
    let bins = |scores: &[f64]| {
        let mut bins = vec![0.0; HASHES / BIN + 1];
        for score in scores {
            if let Some(bin) = bins.get_mut(*score as usize / BIN) {
                *bin += 1.0 / scores.len() as f64;
            }
        }
        bins
    };
    bins(mated)
        .into_iter()
        .zip(bins(non_mated))
        .filter(|(mated, non_mated)| mated > non_mated)
        .map(|(mated, non_mated)| mated * (2.0 * mated / (mated + non_mated) - 1.0))
        .sum()
}

/// The best linear guess at once: the sum over hashes of the projection that was largest, less the mean of its rivals.
fn estimate(template: &Template, seed: &SecretBytes, numbers: usize) -> Result<Embedding, TemplateError> {
    let mut guess = vec![0.0_f32; numbers];
    let mut hashes = template.hashes();
    expanded(seed, numbers, |_, words| {
        let largest = usize::from(hashes.next().unwrap_or_default());
        for (j, row) in words.chunks_exact(numbers * WORD_BYTES).enumerate() {
            let factor = if j == largest { 1.0 } else { 0.0 } - 1.0 / PROJECTIONS as f32;
            for (number, word) in guess.iter_mut().zip(row.chunks_exact(WORD_BYTES)) {
                *number += factor * weight(word) as f32;
            }
        }
    })?;
    Embedding::new(guess).ok_or(TemplateError::Cipher)
}

impl Preimage {
    fn of(tries: &[(f64, bool)]) -> Self {
        Self {
            cosine: tries.iter().map(|(cosine, _)| cosine).sum::<f64>() / tries.len().max(1) as f64,
            largest: tries.iter().map(|(cosine, _)| *cosine).fold(-1.0, f64::max),
            accepted: tries.iter().filter(|(_, accepted)| *accepted).count(),
            tried: tries.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a measure that answers 0 whatever it sees.
    #[test]
    fn linkability_is_one_for_the_linked_and_small_for_the_unlinked() {
        let low: Vec<f64> = (0..4_000).map(|n| 48.0 + f64::from(n % 32)).collect();
        let high: Vec<f64> = low.iter().map(|score| score + 500.0).collect();
        assert!((d_sys(&high, &low) - 1.0).abs() < 1e-9);
        assert!(d_sys(&low, &low) < 1e-9);
        let partly: Vec<f64> = low.iter().map(|score| score + 16.0).collect();
        assert!((d_sys(&partly, &low) - 0.5).abs() < 0.01);
    }

    /// The documents say so: with its seed a template gives the embedding away, without it nothing.
    #[test]
    fn a_template_is_turned_back_with_its_seed_only() {
        let numbers = (0..512_i32).map(|n| (n * n % 101 - 50) as f32).collect();
        let face = Embedding::new(numbers).unwrap();
        let [own, other] = [1, 2].map(|version| seed("t", "s", version).unwrap());
        let template = Template::make(&face, &own).unwrap();
        let near = estimate(&template, &own, 512).unwrap().cosine(&face);
        let far = estimate(&template, &other, 512).unwrap().cosine(&face);
        assert!(near > 0.9 && far.abs() < 0.2, "{near} {far}");
    }
}
