//! A signature is made in one round: each signer's part is checked alone, and whose is wrong has a name.

use std::collections::{BTreeMap, BTreeSet};

use blsful::inner_types::{G1Affine, G1Projective, G2Affine, G2Projective, Scalar};
use blsful::{
    Bls12381G2Impl, InnerPointShareG2, PublicKey, SecretKeyShare, Signature, SignatureSchemes, SignatureShare,
};
use zeroize::Zeroizing;

use super::Share;
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
use crate::party::PartyId;
use crate::session::{Hash, SessionId, hash};

/// BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_. The proofs of possession that its name asks for are those of the key's making.
const SCHEME: SignatureSchemes = SignatureSchemes::ProofOfPossession;

/// What a quorum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// A checkpoint of the log named so: the text that its own key signs (C2SP tlog-checkpoint).
    Checkpoint(&'a [u8]),
    /// An epoch of a key, by [`Link::name`](crate::epoch::Link::name).
    Epoch(&'a Hash),
}

impl Statement<'_> {
    /// What is signed: `"chancery quorum v1\n" || kind || SHA-256(what)`.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let (kind, what) = match self {
            Self::Checkpoint(note) => ("checkpoint\n", *note),
            Self::Epoch(name) => ("epoch\n", name.as_slice()),
        };
        [b"chancery quorum v1\n", kind.as_bytes(), &hash(what)].concat()
    }
}

/// Whether a key, 48 bytes, signed that: 96 bytes.
#[must_use]
pub fn verify(key: &[u8], statement: &Statement<'_>, signature: &[u8]) -> bool {
    let key = key.try_into().ok().and_then(|key| Option::<G1Affine>::from(G1Affine::from_compressed(key)));
    let signature = point(signature);
    key.zip(signature).is_some_and(|(key, signature)| {
        let key = PublicKey::<Bls12381G2Impl>(G1Projective::from(key));
        Signature::ProofOfPossession(signature).verify(&key, statement.text()).is_ok()
    })
}

fn point(bytes: &[u8]) -> Option<G2Projective> {
    let point: Option<G2Affine> = G2Affine::from_compressed(bytes.try_into().ok()?).into();
    Some(G2Projective::from(point?))
}

fn place(party: PartyId) -> Scalar {
    Scalar::from(u64::from(party.get()))
}

/// One signer's side.
pub struct Sign {
    me: PartyId,
    share: Share,
    signers: BTreeSet<PartyId>,
    text: Vec<u8>,
    own: Option<G2Projective>,
}

impl Sign {
    /// Signs a statement with `signers`, who are as many as the threshold or more, and one of whom is `me` and holds this share.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where they are not.
    pub fn new(
        me: PartyId,
        share: Share,
        signers: &BTreeSet<PartyId>,
        statement: &Statement<'_>,
    ) -> Result<Self, Fault> {
        let threshold = usize::from(share.scheme()?.threshold());
        let holds = share.is_of(me) && signers.contains(&me);
        if holds && signers.len() >= threshold && signers.iter().all(|signer| share.public(*signer).is_some())
        {
            Ok(Self { me, share, signers: signers.clone(), text: statement.text(), own: None })
        } else {
            Err(Fault::nobodys(Reason::Misuse))
        }
    }
}

impl Machine for Sign {
    /// The signature, 96 bytes.
    type Output = Vec<u8>;

    const PROTOCOL: &'static str = "bls12381/sign/1";
    const MAKES_KEYS: bool = false;

    fn public(signature: &Vec<u8>) -> Vec<u8> {
        signature.clone()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let secret = Zeroizing::new(self.share.secret());
        let secret: Option<Scalar> =
            secret.as_slice().try_into().ok().and_then(|bytes| Scalar::from_be_bytes(bytes).into());
        let secret = secret.ok_or_else(out_of_order)?;
        let share = SecretKeyShare::<Bls12381G2Impl>((place(self.me), secret).into());
        let signed = share.sign(SCHEME, &self.text).map_err(|_| out_of_order())?;
        let own = signed.as_raw_value().0.value.0;
        self.own = Some(own);
        Ok(Sent { to_all: G2Affine::from(own).to_compressed().to_vec(), to_each: BTreeMap::new() })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Vec<u8>>, Fault> {
        let own = self.own.take().ok_or_else(out_of_order)?;
        let mut parts = BTreeMap::from([(self.me, own)]);
        for (from, received) in round {
            let malformed = || Fault::by(Reason::Malformed, [*from]);
            parts.insert(*from, point(&received.to_all).ok_or_else(malformed)?);
        }
        if !parts.keys().eq(&self.signers) {
            return Err(out_of_order());
        }
        let lies = |(party, part): &(&PartyId, &G2Projective)| {
            let signature = Signature::<Bls12381G2Impl>::ProofOfPossession(**part);
            let key = self.share.public(**party).map(PublicKey::<Bls12381G2Impl>);
            key.is_none_or(|key| signature.verify(&key, &self.text).is_err())
        };
        let culprits: Vec<PartyId> = parts.iter().filter(lies).map(|(party, _)| *party).collect();
        if !culprits.is_empty() {
            return Err(Fault::by(Reason::SignatureShare, culprits));
        }
        let part = |(party, point)| {
            SignatureShare::ProofOfPossession(InnerPointShareG2((place(party), point).into()))
        };
        let parts: Vec<_> = parts.into_iter().map(part).collect();
        let outcome = |_| Fault::nobodys(Reason::Outcome);
        let signature = Signature::<Bls12381G2Impl>::from_shares(&parts).map_err(outcome)?;
        Ok(Step::Done(G2Affine::from(*signature.as_raw_value()).to_compressed().to_vec()))
    }
}
