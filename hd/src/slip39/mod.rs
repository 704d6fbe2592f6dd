//! SLIP-39: a master secret split into shares of words, any threshold of which gives it back. Groups of shares may need
//! one another. A share that was miswritten is refused by its own checksum, and a set that belongs together by a digest.
//! Trusts the kernel's randomness. If this is wrong, a backup restores another seed, or too few shares tell it.

mod cipher;
mod field;
mod share;

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use chancery_secret::SecretBytes;
use zeroize::Zeroizing;

use self::field::{Point, interpolate};
pub use self::share::ShareError;
use self::share::{Common, Share};
use crate::HdError;

/// LIMIT: shares of a group, and groups.
pub const SHARES: usize = 16;
/// Where the secret stands on its polynomial, and the digest that tells whether it came back.
const SECRET: u8 = 255;
const DIGEST: u8 = 254;
const DIGEST_BYTES: usize = 4;

/// How many shares a group has, and how many of them it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Needed.
    pub threshold: u8,
    /// Made; at most [`SHARES`].
    pub shares: u8,
}

/// How a secret is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Groups needed.
    pub groups_needed: u8,
    /// The groups.
    pub groups: Vec<Group>,
    /// The passphrase is stretched by 10,000 x 2^this rounds of PBKDF2; at most 15.
    pub iteration_exponent: u8,
}

impl Plan {
    /// Any `threshold` of `shares`.
    #[must_use]
    pub fn any(threshold: u8, shares: u8) -> Self {
        Self { groups_needed: 1, groups: vec![Group { threshold, shares }], iteration_exponent: 1 }
    }

    fn check(&self) -> Result<(), ShareError> {
        let within = |needed: u8, made: usize| needed >= 1 && usize::from(needed) <= made && made <= SHARES;
        let groups = self.groups.iter().all(|group| {
            // SLIP-39 forbids several shares of which one is enough: copies of one share do the same.
            within(group.threshold, group.shares.into()) && (group.threshold > 1 || group.shares == 1)
        });
        let good = within(self.groups_needed, self.groups.len()) && groups && self.iteration_exponent <= 15;
        if good { Ok(()) } else { Err(ShareError::Plan) }
    }
}

/// Splits a secret of 16 to 64 bytes, an even number. Answers each group's shares, in words.
///
/// # Errors
/// [`ShareError::Plan`], [`ShareError::Secret`]; no secret memory, no randomness.
pub fn split(
    secret: &SecretBytes,
    passphrase: &SecretBytes,
    plan: &Plan,
) -> Result<Vec<Vec<SecretBytes>>, HdError> {
    plan.check()?;
    if !(16..=64).contains(&secret.len()) || !secret.len().is_multiple_of(2) {
        return Err(ShareError::Secret.into());
    }
    let mut identifier = [0; 2];
    identifier.copy_from_slice(SecretBytes::random(2)?.expose());
    let common = Common {
        identifier: u16::from_be_bytes(identifier) >> 1,
        extendable: true,
        iteration_exponent: plan.iteration_exponent,
        groups_needed: plan.groups_needed,
        groups: u8::try_from(plan.groups.len()).map_err(|_| ShareError::Plan)?,
    };
    let encrypted = cipher::encrypt(secret.expose(), passphrase.expose(), &common);
    let groups = points(plan.groups_needed, common.groups, &encrypted)?;
    let group = |(place, (point, group)): (usize, (Point, &Group))| {
        points(group.threshold, group.shares, &point.y)?
            .into_iter()
            .map(|member| {
                let share = Share {
                    common: common.clone(),
                    group: u8::try_from(place).map_err(|_| ShareError::Plan)?,
                    member: member.x,
                    threshold: group.threshold,
                    value: member.y,
                };
                share.words()
            })
            .collect()
    };
    groups.into_iter().zip(&plan.groups).enumerate().map(group).collect()
}

/// The secret of a set of shares that is enough for it, and no share more than each group needs.
///
/// # Errors
/// [`ShareError`] says of which share what is wrong, or that the set is none.
pub fn combine(shares: &[SecretBytes], passphrase: &SecretBytes) -> Result<SecretBytes, HdError> {
    let mut common: Option<Common> = None;
    let mut groups: BTreeMap<u8, Vec<Share>> = BTreeMap::new();
    for (place, words) in shares.iter().enumerate() {
        let share = Share::read(words, place)?;
        if *common.get_or_insert_with(|| share.common.clone()) != share.common {
            return Err(ShareError::Other { place }.into());
        }
        let group = groups.entry(share.group).or_default();
        if group
            .first()
            .is_some_and(|first| first.threshold != share.threshold || first.value.len() != share.value.len())
            || group.iter().any(|other| other.member == share.member)
        {
            return Err(ShareError::Other { place }.into());
        }
        group.push(share);
    }
    let common = common.ok_or(ShareError::TooFew)?;
    if groups.len() != usize::from(common.groups_needed) {
        return Err(ShareError::TooFew.into());
    }
    let mut points = Vec::with_capacity(groups.len());
    for (x, group) in groups {
        let threshold = group.first().map_or(0, |share| share.threshold);
        if group.len() != usize::from(threshold) {
            return Err(ShareError::TooFew.into());
        }
        let members: Vec<Point> =
            group.into_iter().map(|share| Point { x: share.member, y: share.value }).collect();
        points.push(Point { x, y: recover(threshold, &members)? });
    }
    let encrypted = recover(common.groups_needed, &points)?;
    let mut secret = cipher::decrypt(&encrypted, passphrase.expose(), &common);
    Ok(SecretBytes::take(&mut secret)?)
}

/// Points of a random polynomial through the secret, of which `threshold` tell it.
fn points(threshold: u8, count: u8, secret: &[u8]) -> Result<Vec<Point>, HdError> {
    if threshold == 1 {
        return Ok((0..count).map(|x| Point { x, y: Zeroizing::new(secret.to_vec()) }).collect());
    }
    let random = |len: usize| SecretBytes::random(len).map(|random| Zeroizing::new(random.expose().to_vec()));
    let mut base = Vec::with_capacity(threshold.into());
    let free = threshold.saturating_sub(2);
    for x in 0..free {
        base.push(Point { x, y: random(secret.len())? });
    }
    let padding = random(secret.len().saturating_sub(DIGEST_BYTES))?;
    let digest = Zeroizing::new([&digest(&padding, secret)[..], &padding].concat());
    base.push(Point { x: DIGEST, y: digest });
    base.push(Point { x: SECRET, y: Zeroizing::new(secret.to_vec()) });
    let more = (free..count).map(|x| Point { x, y: interpolate(&base, x) }).collect::<Vec<_>>();
    base.truncate(free.into());
    base.extend(more);
    Ok(base)
}

fn recover(threshold: u8, points: &[Point]) -> Result<Zeroizing<Vec<u8>>, ShareError> {
    let secret = interpolate(points, SECRET);
    if threshold == 1 {
        return points.first().map(|point| point.y.clone()).ok_or(ShareError::TooFew);
    }
    let expected = interpolate(points, DIGEST);
    let (found, padding) = expected.split_at_checked(DIGEST_BYTES).ok_or(ShareError::Digest)?;
    if digest(padding, &secret) == found { Ok(secret) } else { Err(ShareError::Digest) }
}

fn digest(padding: &[u8], secret: &[u8]) -> [u8; DIGEST_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, padding), secret);
    let mut digest = [0; DIGEST_BYTES];
    digest.iter_mut().zip(tag.as_ref()).for_each(|(byte, tag)| *byte = *tag);
    digest
}
