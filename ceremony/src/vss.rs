//! Feldman's verifiable secret sharing on P-256, by `vsss-rs`: any `threshold` shares give the secret, fewer give nothing but
//! its public commitment, and each share is checked alone against the commitments. The library computes in ordinary
//! memory of a process that nobody may look into and that ends with the ceremony; what is kept is in secret memory.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use chancery_secret::SecretBytes;
use p256::elliptic_curve::common::getrandom::SysRng;
use p256::elliptic_curve::ff::PrimeField;
use p256::elliptic_curve::group::GroupEncoding;
use p256::elliptic_curve::rand_core::UnwrapErr;
use p256::{ProjectivePoint, Scalar};
use vsss_rs::{
    DefaultShare, FeldmanVerifierSet, IdentifierPrimeField, ReadableShareSet, ShareVerifierGroup, ValueGroup,
    feldman,
};
use zeroize::Zeroize;

use crate::error::CeremonyError;

/// A scalar's encoding, in bytes.
pub(crate) const SCALAR_BYTES: usize = 32;

type Element = IdentifierPrimeField<Scalar>;
type Share = DefaultShare<Element, Element>;
type Verifier = ShareVerifierGroup<ProjectivePoint>;

/// A secret dealt out. Share `i` is of index `i + 1`.
pub(crate) struct Dealt {
    /// Compressed points; the first is the secret's own.
    pub commitments: Vec<Vec<u8>>,
    pub shares: Vec<SecretBytes>,
}

fn failed(error: impl std::fmt::Debug) -> CeremonyError {
    CeremonyError::Sharing(format!("{error:?}"))
}

/// A fresh secret: a scalar that is not zero.
pub(crate) fn fresh() -> Result<SecretBytes, CeremonyError> {
    loop {
        let secret = SecretBytes::random(SCALAR_BYTES)?;
        // All but about one in 2^32 are below the order.
        if scalar(secret.expose()).is_some_and(|scalar| scalar != Scalar::ZERO) {
            return Ok(secret);
        }
    }
}

/// Deals a secret to `count` holders.
pub(crate) fn deal(secret: &SecretBytes, threshold: usize, count: usize) -> Result<Dealt, CeremonyError> {
    let mut secret = IdentifierPrimeField(scalar(secret.expose()).ok_or_else(|| failed("not a scalar"))?);
    let dealt = feldman::split_secret::<Share, Verifier>(threshold, count, &secret, None, UnwrapErr(SysRng));
    secret.0.zeroize();
    let (mut shares, verifiers) = dealt.map_err(failed)?;
    let verifiers = <Vec<Verifier> as FeldmanVerifierSet<Share, Verifier>>::verifiers(&verifiers);
    let commitments: Vec<_> = verifiers.iter().map(|point| point.0.to_bytes().to_vec()).collect();
    let mut kept = Vec::new();
    for (share, index) in shares.iter_mut().zip(1_u8..) {
        let right = share.identifier.0 == Scalar::from(u64::from(index));
        let mut bytes = share.value.0.to_repr();
        share.value.0.zeroize();
        kept.push(SecretBytes::take(&mut bytes)?);
        if !right {
            return Err(failed("the shares are numbered otherwise"));
        }
    }
    for (share, index) in kept.iter().zip(1_u8..) {
        if !fits(&commitments, index, share.expose()) {
            return Err(failed("a share does not fit its commitments"));
        }
    }
    Ok(Dealt { commitments, shares: kept })
}

/// Whether a share is the one that was dealt under this index.
pub(crate) fn fits(commitments: &[Vec<u8>], index: u8, share: &[u8]) -> bool {
    let Some(points) = commitments.iter().map(|bytes| point(bytes)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let Some(value) = scalar(share) else { return false };
    let set =
        <Vec<Verifier> as FeldmanVerifierSet<Share, Verifier>>::feldman_set_with_generator_and_verifiers(
            ValueGroup(ProjectivePoint::GENERATOR),
            &points,
        );
    let mut share = element(index, value);
    let fits = set.verify_share(&share).is_ok();
    share.value.0.zeroize();
    fits
}

/// Joins shares, each of which fits the commitments.
pub(crate) fn join(
    commitments: &[Vec<u8>],
    shares: &[(u8, SecretBytes)],
) -> Result<SecretBytes, CeremonyError> {
    let mut elements = Vec::new();
    for (index, share) in shares {
        elements.push(element(*index, scalar(share.expose()).ok_or_else(|| failed("not a scalar"))?));
    }
    let joined = elements.combine();
    elements.iter_mut().for_each(|share| share.value.0.zeroize());
    let mut joined = joined.map_err(failed)?.0;
    let public = (ProjectivePoint::GENERATOR * joined).to_bytes().to_vec();
    let mut bytes = joined.to_repr();
    joined.zeroize();
    let secret = SecretBytes::take(&mut bytes)?;
    if commitments.first() == Some(&public) { Ok(secret) } else { Err(failed("they join to another secret")) }
}

/// The AES-256 backup key that a secret stands for: HKDF-SHA256 (RFC 5869).
pub(crate) fn backup_key(secret: &SecretBytes) -> Result<SecretBytes, CeremonyError> {
    struct Len;
    impl KeyType for Len {
        fn len(&self) -> usize {
            chancery_hsm::BACKUP_KEY_BYTES
        }
    }
    let mut key = [0; chancery_hsm::BACKUP_KEY_BYTES];
    Salt::new(HKDF_SHA256, b"chancery")
        .extract(secret.expose())
        .expand(&[b"backup key v1".as_slice()], Len)
        .and_then(|okm| okm.fill(&mut key))
        .map_err(failed)?;
    Ok(SecretBytes::take(&mut key)?)
}

fn element(index: u8, value: Scalar) -> Share {
    DefaultShare {
        identifier: IdentifierPrimeField(Scalar::from(u64::from(index))),
        value: IdentifierPrimeField(value),
    }
}

fn scalar(bytes: &[u8]) -> Option<Scalar> {
    let mut repr = <Scalar as PrimeField>::Repr::default();
    if bytes.len() != SCALAR_BYTES {
        return None;
    }
    repr.copy_from_slice(bytes);
    let scalar = Option::from(Scalar::from_repr(repr));
    repr.zeroize();
    scalar
}

fn point(bytes: &[u8]) -> Option<Verifier> {
    let mut repr = <ProjectivePoint as GroupEncoding>::Repr::default();
    if bytes.len() != repr.len() {
        return None;
    }
    repr.copy_from_slice(bytes);
    Option::from(ProjectivePoint::from_bytes(&repr)).map(ValueGroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a threshold that is another than was asked for, and a share that is taken for another's.
    #[test]
    fn any_three_of_five_join_and_two_do_not() {
        let secret = fresh().unwrap();
        let dealt = deal(&secret, 3, 5).unwrap();
        assert_eq!((dealt.commitments.len(), dealt.shares.len()), (3, 5));
        let share = |at: usize| {
            let copy = SecretBytes::read_exact(dealt.shares[at].expose(), SCALAR_BYTES).unwrap();
            (u8::try_from(at + 1).unwrap(), copy)
        };
        for a in 0..5 {
            for b in a + 1..5 {
                assert!(join(&dealt.commitments, &[share(a), share(b)]).is_err(), "two are too few");
                for c in b + 1..5 {
                    assert!(join(&dealt.commitments, &[share(c), share(a), share(b)]).unwrap() == secret);
                }
            }
        }
        for (at, share) in dealt.shares.iter().enumerate() {
            for index in 0..=6_u8 {
                assert_eq!(fits(&dealt.commitments, index, share.expose()), usize::from(index) == at + 1);
            }
            let mut bytes = share.expose().to_vec();
            bytes[31] ^= 1;
            assert!(!fits(&dealt.commitments, u8::try_from(at + 1).unwrap(), &bytes));
        }
        let again = deal(&secret, 2, 2).unwrap();
        assert_eq!(again.commitments[0], dealt.commitments[0], "the same secret");
        assert!(
            join(
                &again.commitments,
                &[(1, SecretBytes::read_exact(again.shares[0].expose(), 32).unwrap()), share(1)]
            )
            .is_err(),
            "shares of two deals do not mix"
        );
    }
}
