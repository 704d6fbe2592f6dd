//! G1 of BLS12-381 as a group of FROST's key generation. Schnorr signatures are not made on it: a key has one use.

use blsful::inner_types::{G1Affine, G1Projective, Scalar};
use frost_core::{Ciphersuite, Field, FieldError, Group, GroupError};
use frost_ed25519::rand_core::{CryptoRng, RngCore};
use sha2::{Digest, Sha512};

use crate::frost::Suite;

/// Starts what is hashed.
const CONTEXT: &str = "chancery-BLS12381G1-SHA512-v1";

/// Keys of threshold BLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bls12381;

/// The numbers below the group's order.
#[derive(Clone, Copy)]
pub struct Numbers;

/// The group of the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys;

impl Field for Numbers {
    type Scalar = Scalar;
    type Serialization = [u8; 32];

    fn zero() -> Scalar {
        Scalar::ZERO
    }

    fn one() -> Scalar {
        Scalar::ONE
    }

    fn invert(scalar: &Scalar) -> Result<Scalar, FieldError> {
        Option::from(scalar.invert()).ok_or(FieldError::InvalidZeroScalar)
    }

    fn random<R: RngCore + CryptoRng>(rng: &mut R) -> Scalar {
        let mut wide = zeroize::Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *wide);
        Scalar::from_bytes_wide(&wide)
    }

    fn serialize(scalar: &Scalar) -> [u8; 32] {
        scalar.to_be_bytes()
    }

    fn little_endian_serialize(scalar: &Scalar) -> [u8; 32] {
        let mut bytes = scalar.to_be_bytes();
        bytes.reverse();
        bytes
    }

    fn deserialize(bytes: &[u8; 32]) -> Result<Scalar, FieldError> {
        Option::from(Scalar::from_be_bytes(bytes)).ok_or(FieldError::MalformedScalar)
    }
}

impl Group for Keys {
    type Field = Numbers;
    type Element = G1Projective;
    type Serialization = [u8; 48];

    fn cofactor() -> Scalar {
        // Only points of the subgroup are read.
        Scalar::ONE
    }

    fn identity() -> G1Projective {
        G1Projective::IDENTITY
    }

    fn generator() -> G1Projective {
        G1Projective::GENERATOR
    }

    fn serialize(element: &G1Projective) -> Result<[u8; 48], GroupError> {
        if bool::from(element.is_identity()) {
            return Err(GroupError::InvalidIdentityElement);
        }
        Ok(G1Affine::from(element).to_compressed())
    }

    fn deserialize(bytes: &[u8; 48]) -> Result<G1Projective, GroupError> {
        // On the curve, in the subgroup, and in the one way of writing it.
        let point: Option<G1Affine> = G1Affine::from_compressed(bytes).into();
        let point = G1Projective::from(point.ok_or(GroupError::MalformedElement)?);
        if bool::from(point.is_identity()) { Err(GroupError::InvalidIdentityElement) } else { Ok(point) }
    }
}

fn hash(what: &str, message: &[u8]) -> [u8; 64] {
    Sha512::new_with_prefix(CONTEXT).chain_update(what).chain_update(message).finalize().into()
}

fn number(what: &str, message: &[u8]) -> Scalar {
    Scalar::from_bytes_wide(&hash(what, message))
}

#[allow(non_snake_case, reason = "the names of RFC 9591")]
impl Ciphersuite for Bls12381 {
    const ID: &'static str = CONTEXT;

    type Group = Keys;
    type HashOutput = [u8; 64];
    type SignatureSerialization = [u8; 80];

    fn H1(message: &[u8]) -> Scalar {
        number("rho", message)
    }

    fn H2(message: &[u8]) -> Scalar {
        number("chal", message)
    }

    fn H3(message: &[u8]) -> Scalar {
        number("nonce", message)
    }

    fn H4(message: &[u8]) -> [u8; 64] {
        hash("msg", message)
    }

    fn H5(message: &[u8]) -> [u8; 64] {
        hash("com", message)
    }

    fn HDKG(message: &[u8]) -> Option<Scalar> {
        Some(number("dkg", message))
    }
}

impl Suite for Bls12381 {
    const DKG: &'static str = "bls12381/dkg/1";
    const SIGN: &'static str = "bls12381/no-schnorr";
    const SIGN_ALL: &'static str = "bls12381/no-schnorr-at-all";
    const REFRESH: &'static str = "bls12381/refresh/1";
    const REPAIR: &'static str = "bls12381/repair/1";
    const RESHARE: &'static str = "bls12381/reshare/1";
    const SCHNORR: bool = false;
}
