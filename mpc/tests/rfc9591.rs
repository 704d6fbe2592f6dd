//! The signing machine over the vector of RFC 9591 for Ed25519: what it sends in each round, and the signature, are the RFC's. Its
//! other suites are not this appliance's; BIP-340 signatures of FROST have no published vector and are verified in `frost.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use chancery_mpc::frost::{Ed25519, Share, Sign};
use chancery_mpc::{PartyId, Random};
use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::{Identifier, VerifyingKey};
use frost_ed25519::rand_core::{CryptoRng, Error, RngCore, impls};
use serde_json::Value;
use support::{Run, outcomes, party, scheme};

/// The RFC's bytes, once.
struct Given(Vec<u8>);

impl RngCore for Given {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, into: &mut [u8]) {
        into.copy_from_slice(&self.0.drain(..into.len()).collect::<Vec<_>>());
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(into);
        Ok(())
    }
}

impl CryptoRng for Given {}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_published_signature_is_made() {
    let vector: Value = serde_json::from_str(include_str!("vectors/rfc9591-ed25519.json")).unwrap();
    let key = VerifyingKey::<Ed25519>::deserialize(&bytes(&vector["key"])).unwrap();
    let secrets: BTreeMap<u8, SigningShare<Ed25519>> = vector["shares"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(number, share)| (number.parse().unwrap(), SigningShare::deserialize(&bytes(share)).unwrap()))
        .collect();
    let id = |number: u8| Identifier::<Ed25519>::try_from(u16::from(number)).unwrap();
    let verifying =
        secrets.iter().map(|(number, share)| (id(*number), VerifyingShare::from(*share))).collect();
    let group = PublicKeyPackage::new(verifying, key, Some(2)).serialize().unwrap();
    let share = |number: u8| {
        let secret = secrets[&number];
        let own =
            KeyPackage::new(id(number), secret, VerifyingShare::from(secret), key, 2).serialize().unwrap();
        Share::<Ed25519>::from_bytes(&postcard::to_stdvec(&(own, &group)).unwrap()).unwrap()
    };

    let signers: BTreeSet<PartyId> =
        vector["signers"].as_object().unwrap().keys().map(|number| party(number.parse().unwrap())).collect();
    let of = |me: &PartyId| &vector["signers"][me.to_string()];
    let machine = |me: &PartyId| {
        let random =
            [&of(me)["hiding_nonce_randomness"], &of(me)["binding_nonce_randomness"]].map(bytes).concat();
        let message = bytes(&vector["message"]);
        (*me, Sign::new(share(me.get()), &signers, message, Random::of(Given(random))).unwrap())
    };
    let mut compared = 0;
    let came = Run::of(scheme(2, 3)).run_over(signers.iter().map(machine).collect(), &mut |envelope, _| {
        let of = of(&envelope.from);
        let expected = match envelope.step {
            1 => [&of["hiding_nonce_commitment"], &of["binding_nonce_commitment"]].map(bytes).concat(),
            _ => bytes(&of["sig_share"]),
        };
        // The library's commitments begin with a header.
        assert!(envelope.to_all.ends_with(&expected), "step {} of {:?}", envelope.step, envelope.from);
        compared += 1;
        vec![envelope]
    });
    assert_eq!(compared, 4);
    for signature in outcomes(came).values() {
        assert_eq!(*signature, bytes(&vector["signature"]));
    }
}
