//! What air-gapped devices of other makers take and give by QR code: `crypto-psbt` (BCR-2020-006) for Bitcoin, `eth-sign-request` and
//! `eth-signature` (EIP-4527) for Ethereum. They carry no decision: what is verified, is verified here before they are shown.
//! What comes back proves itself to the appliance. If this is wrong, a device shows something else, or signs nothing.

use chancery_audit::{ColdRequest, ColdSigned, Digest, HexBytes, SignedKind, TlogProof, V1};
use chancery_core::{Payload, causes};
use chancery_intent::{address_of, bitcoin};
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use crate::Error;
use crate::ur::Message;

/// The UR type of a PSBT.
pub const PSBT: &str = "crypto-psbt";
/// The UR type of what an Ethereum device is asked.
pub const ETH_REQUEST: &str = "eth-sign-request";
/// The UR type of its answer.
pub const ETH_SIGNATURE: &str = "eth-signature";
/// Who asks.
const ORIGIN: &str = "chancery";
/// A UUID (IANA's registry of CBOR tags), a key path (BCR-2020-007).
const UUID: Tag = Tag::new(37);
const KEY_PATH: Tag = Tag::new(304);
/// The first index of hardened keys (BIP-32).
const HARDENED: u32 = 1 << 31;

/// What an Ethereum device is asked.
struct Asked<'a> {
    id: &'a [u8; 16],
    data: &'a [u8],
    /// 1: a legacy transaction, 2: typed data, 3: bytes of a message, 4: a typed transaction.
    kind: u8,
    chain_id: u64,
    path: &'a [u32],
    /// Of the master key, where it is known.
    fingerprint: Option<u32>,
    address: Option<[u8; 20]>,
    origin: Option<&'a str>,
}

/// What a device is shown of a request: a UR type and its CBOR. `master` is the fingerprint of the device's master key.
///
/// # Errors
/// [`Error::Failed`] for what no such device signs.
pub fn request(request: &ColdRequest, chain: &str, master: Option<u32>) -> Result<Message, Error> {
    let refuse = |what: &str| Error::Failed(format!("no device is asked so: {what}"));
    let typed;
    let (data, kind) = match &request.receipt.payload {
        Payload::BitcoinPsbt { data } => return Ok(Message::of_bytes(PSBT, data)),
        Payload::EthereumTransaction { data } => {
            // RLP begins a list, EIP-2718 a type.
            (data.as_slice(), if data.first().is_some_and(|first| *first >= 0xc0) { 1 } else { 4 })
        }
        Payload::EthereumMessage { data } => (data.as_slice(), 3),
        Payload::EthereumTypedData { document } => {
            typed = document.to_string().into_bytes();
            (typed.as_slice(), 2)
        }
        _ => return Err(refuse("the types that devices know have none for this payload")),
    };
    let [signing] = request.signings.as_slice() else { return Err(refuse("it is of one signature")) };
    let path = signing.path.as_deref().ok_or_else(|| refuse("the wallet is not one of an account"))?;
    let path: chancery_ceremony::Path =
        path.parse().map_err(|error| refuse(&format!("its path is none: {error}")))?;
    // A message is good on any chain; EIP-4527 then says 1.
    let chain_id = match chain.strip_prefix("eip155:") {
        Some("*") => Some(1),
        Some(id) => id.parse().ok(),
        None => None,
    };
    let address = address_of(signing.public_key.as_bytes()).ok();
    let address = address.and_then(|address| hex::decode(address.to_string().trim_start_matches("0x")).ok());
    let asked = Asked {
        id: request.receipt.decision.request_id.as_bytes(),
        data,
        kind,
        chain_id: chain_id.ok_or_else(|| refuse("the wallet names no chain"))?,
        path: path.steps(),
        fingerprint: master,
        address: address.and_then(|address| address.try_into().ok()),
        origin: Some(ORIGIN),
    };
    asked
        .cbor()
        .map(|cbor| Message { kind: ETH_REQUEST.to_owned(), cbor })
        .map_err(|_| refuse("it cannot be written"))
}

impl Asked<'_> {
    fn cbor(&self) -> Result<Vec<u8>, minicbor::encode::Error<std::convert::Infallible>> {
        let mut to = Encoder::new(Vec::new());
        let optional = u64::from(self.address.is_some()) + u64::from(self.origin.is_some());
        to.map(5 + optional)?.u8(1)?.tag(UUID)?.bytes(self.id)?;
        to.u8(2)?.bytes(self.data)?.u8(3)?.u8(self.kind)?.u8(4)?.u64(self.chain_id)?;
        to.u8(5)?.tag(KEY_PATH)?.map(1 + u64::from(self.fingerprint.is_some()))?;
        to.u8(1)?.array(2 * self.path.len() as u64)?;
        for step in self.path {
            to.u32(step & !HARDENED)?.bool(*step >= HARDENED)?;
        }
        if let Some(fingerprint) = self.fingerprint {
            to.u8(2)?.u32(fingerprint)?;
        }
        if let Some(address) = &self.address {
            to.u8(6)?.bytes(address)?;
        }
        if let Some(origin) = self.origin {
            to.u8(7)?.str(origin)?;
        }
        Ok(to.into_writer())
    }
}

/// What a device signed, as it is brought to the appliance.
///
/// # Errors
/// [`Error::Failed`] says what the answer is not.
pub fn brought(answer: &Message, request: &ColdRequest) -> Result<ColdSigned, Error> {
    let refuse = |what: String| Error::Failed(format!("that is no answer to this request: {what}"));
    let decision = &request.receipt.decision;
    let signatures = match answer.kind.as_str() {
        PSBT | "psbt" => {
            let psbt = answer.bytes().ok_or_else(|| refuse("it holds no PSBT".to_owned()))?;
            of_psbt(psbt, request).map_err(refuse)?
        }
        ETH_SIGNATURE => {
            let (id, signature) = eth_signature(&answer.cbor).map_err(|what| refuse(what.to_string()))?;
            if id.is_some_and(|id| id != *decision.request_id.as_bytes()) {
                return Err(refuse("it is for another one".to_owned()));
            }
            vec![signature.as_slice().into()]
        }
        other => return Err(refuse(format!("its type is `{other}`"))),
    };
    let proof = TlogProof::parse(&request.receipt.decision_proof).map_err(|error| refuse(causes(&error)))?;
    let bytes = request.bytes().map_err(|error| refuse(causes(&error)))?;
    Ok(ColdSigned {
        v: V1,
        kind: SignedKind::Is,
        tenant: decision.tenant.clone(),
        request_id: decision.request_id,
        wallet: decision.wallet.clone(),
        decision_leaf: proof.index(),
        request_sha256: Digest::of(&bytes),
        signatures,
    })
}

/// The signatures that were asked for, in their order: that of the inputs.
fn of_psbt(psbt: &[u8], request: &ColdRequest) -> Result<Vec<HexBytes>, String> {
    let inputs = bitcoin::partial_signatures(psbt).map_err(|error| causes(&error))?;
    let mut inputs = inputs.iter();
    let next = |signing: &chancery_audit::ColdSigning| {
        let own = |(key, _): &&([u8; 33], [u8; 64])| key.as_slice() == signing.public_key.as_bytes();
        let found = inputs.find_map(|input| input.iter().find(own));
        found.map(|(_, signature)| signature.as_slice().into())
    };
    let found: Vec<HexBytes> = request.signings.iter().map_while(next).collect();
    match found.len() == request.signings.len() {
        true => Ok(found),
        false => Err(format!(
            "it has {} of {} signatures, as BIP-174 has them before an input is finalised",
            found.len(),
            request.signings.len()
        )),
    }
}

/// Request and `r || s`.
fn eth_signature(cbor: &[u8]) -> Result<(Option<[u8; 16]>, [u8; 64]), minicbor::decode::Error> {
    let wrong = |what| minicbor::decode::Error::message(what);
    let mut from = Decoder::new(cbor);
    let count = from.map()?.ok_or_else(|| wrong("its length is not told"))?;
    let (mut id, mut signature) = (None, None);
    for _ in 0..count {
        match from.u8()? {
            1 if from.tag()? == UUID => id = Some(from.bytes()?.try_into().map_err(|_| wrong("no UUID"))?),
            2 => signature = from.bytes()?.first_chunk().copied(),
            3 => drop(from.str()?),
            _ => return Err(wrong("it has a member that EIP-4527 does not know")),
        }
    }
    Ok((id, signature.ok_or_else(|| wrong("it holds no signature"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ur::{parts, received};

    /// KeystoneHQ/keystone-airgaped-base, `ur-registry-eth`, the test cases that EIP-4527 names.
    const ID: &str = "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d";
    const UNSIGNED: &str = "f849808609184e72a00082271094000000000000000000000000000000000000000080a47f7465737432000000000000000000000000000000000000000000000000000000600057808080";
    const REQUEST: &str = "ur:eth-sign-request/oladtpdagdndcawmgtfrkigrpmndutdnbtkgfssbjnaohdgryagalalnascsgljpnbaelfdibemwaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaelaoxlbjyihjkjyeyaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaeaehnaehglalalaaxadaaadahtaaddyoeadlecsdwykadykadykaewkadwkaocybgeehfksatisjnihjyhsjnhsjkjetlnndant";
    const SIGNATURE: &str = "ur:eth-signature/oeadtpdagdndcawmgtfrkigrpmndutdnbtkgfssbjnaohdfptywtosrftahprdctrkbegylogdghjkbafhflamfwlohghtpsseaozorsimnybbtnnbiynlckenbtfmeeamsabnaeoxasjkwswfkekiieckhpecckssptndzelnwfecylbwdlsgvazt";
    const SIGNED: &str = "d4f0a7bcd95bba1fbb1051885054730e3f47064288575aacc102fbbf6a9a14daa066991e360d3e3406c20c00a40973eff37c7d641e5b351ec4a99bfe86f335f7";
    /// BCR-2020-006, `crypto-psbt`.
    const PSBT_UR: &str = "ur:crypto-psbt/hdosjojkidjyzmadaenyaoaeaeaeaohdvsknclrejnpebncnrnmnjojofejzeojlkerdonspkpkkdkykfelokgprpyutkpaeaeaeaeaezmzmzmzmlslgaaditiwpihbkispkfgrkbdaslewdfycprtjsprsgksecdratkkhktikewdcaadaeaeaeaezmzmzmzmaojopkwtayaeaeaeaecmaebbtphhdnjstiambdassoloimwmlyhygdnlcatnbggtaevyykahaeaeaeaecmaebbaeplptoevwwtyakoonlourgofgvsjydpcaltaemyaeaeaeaeaeaeaeaeaebkgdcarh";

    #[test]
    fn published_requests_and_answers_agree() {
        let id = hex::decode(ID).unwrap();
        let asked = Asked {
            id: id.as_slice().try_into().unwrap(),
            data: &hex::decode(UNSIGNED).unwrap(),
            kind: 1,
            chain_id: 1,
            path: &[HARDENED | 44, HARDENED | 1, HARDENED | 1, 0, 1],
            fingerprint: Some(0x1234_5678),
            address: None,
            origin: Some("metamask"),
        };
        let message = Message { kind: ETH_REQUEST.to_owned(), cbor: asked.cbor().unwrap() };
        assert_eq!(parts(&message).unwrap(), [REQUEST]);

        let answer = received(SIGNATURE).unwrap();
        assert_eq!(answer.kind, ETH_SIGNATURE);
        let (request, signature) = eth_signature(&answer.cbor).unwrap();
        assert_eq!(
            (hex::encode(request.unwrap()), hex::encode(signature)),
            (ID.to_owned(), SIGNED.to_owned())
        );

        let psbt = received(&PSBT_UR.to_ascii_uppercase()).unwrap();
        assert!(psbt.bytes().unwrap().starts_with(b"psbt\xff") && psbt.bytes().unwrap().len() == 167);
        assert_eq!(parts(&Message::of_bytes(PSBT, psbt.bytes().unwrap())).unwrap(), [PSBT_UR]);
        assert_eq!(bitcoin::partial_signatures(psbt.bytes().unwrap()).unwrap(), [vec![], vec![]]);
    }

    #[test]
    fn an_answer_has_a_whole_signature_and_nothing_unknown() {
        let answer = received(SIGNATURE).unwrap().cbor;
        assert!(eth_signature(&answer[..answer.len() - 1]).is_err());
        let mut unknown = answer.clone();
        *unknown.get_mut(1).unwrap() = 9;
        assert!(eth_signature(&unknown).is_err());
    }
}
