//! The four rounds that put a passphrase between the shares and the secret (SLIP-39, "Encryption of the master secret").
//! Every passphrase decrypts to something: a wrong one is told by no check, on purpose.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::share::Common;

const ROUNDS: [u8; 4] = [0, 1, 2, 3];
/// PBKDF2's, of one of the rounds, at exponent 0.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(2_499);
const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

pub(super) fn encrypt(secret: &[u8], passphrase: &[u8], common: &Common) -> Zeroizing<Vec<u8>> {
    rounds(secret, passphrase, common, &ROUNDS)
}

pub(super) fn decrypt(encrypted: &[u8], passphrase: &[u8], common: &Common) -> Zeroizing<Vec<u8>> {
    let [a, b, c, d] = ROUNDS;
    rounds(encrypted, passphrase, common, &[d, c, b, a])
}

fn rounds(input: &[u8], passphrase: &[u8], common: &Common, order: &[u8]) -> Zeroizing<Vec<u8>> {
    let (left, right) = input.split_at(input.len() / 2);
    let (mut left, mut right) = (Zeroizing::new(left.to_vec()), Zeroizing::new(right.to_vec()));
    for round in order {
        let key = Zeroizing::new([&[*round], passphrase].concat());
        let salt = Zeroizing::new([&common.salt()[..], &right].concat());
        let mut mask = Zeroizing::new(vec![0; right.len()]);
        let iterations = ITERATIONS.saturating_mul(TWO.saturating_pow(common.iteration_exponent.into()));
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, &key, &mut mask);
        left.iter_mut().zip(mask.iter()).for_each(|(left, mask)| *left ^= mask);
        std::mem::swap(&mut left, &mut right);
    }
    Zeroizing::new([&right[..], &left].concat())
}
