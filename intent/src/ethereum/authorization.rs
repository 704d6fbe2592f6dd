//! EIP-7702 authorizations: those that a transaction carries, signed by others, and the one a payload asks to sign.
//! Either makes an account run another contract's code, so each is an effect of its own, with the account it binds.

use std::sync::LazyLock;

use alloy_eips::eip7702::constants::{MAGIC, SECP256K1N_HALF};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, U256};
use alloy_rlp::{Decodable as _, Encodable as _};
use chancery_core::limit;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};
use serde_json::{Map, Value, json};

use super::Account;
use super::rlp::{self, Shape};
use super::{
    Document, Understood, address_of_point, chain, checked_chain, checked_encoding, checked_nonce,
    checked_size, decimal, other_owner,
};
use crate::IntentError;
use crate::model::{self, Description, Effect, Kind};

/// `chain_id, address, nonce`; the signed tuple goes on with y parity, r and s.
const UNSIGNED: &[Shape] = &[Shape::Integer(32), Shape::Fixed(20), Shape::Integer(8)];
const SIGNED_FIELDS: usize = 6;

static RECOVERY: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The authorizations of one transaction.
pub(super) struct Listed {
    pub effects: Vec<Effect>,
    pub detail: Value,
}

/// The effects of a transaction's authorizations. Chains skip an invalid one and go on; here it is refused, since a
/// list that says more than it does is not worth a signature. One for any chain (chain id 0) was signed by its own
/// authority and binds that one; it passes, with `chain_id` 0 in the detail.
pub(super) fn effects(
    list: &[SignedAuthorization],
    chain_id: u64,
    account: &Account<'_>,
) -> Result<Listed, IntentError> {
    // LIMIT: before any recovery, which costs tens of microseconds each.
    if list.len() > limit::EFFECTS {
        return Err(IntentError::TooComplex { what: "authorizations", limit: limit::EFFECTS });
    }
    let mut effects = Vec::with_capacity(list.len());
    let mut detail = Vec::with_capacity(list.len());
    for signed in list {
        if !signed.chain_id.is_zero() && signed.chain_id != U256::from(chain_id) {
            return Err(IntentError::ChainIdMismatch(signed.chain_id.to_string()));
        }
        let authority = authority(signed)
            .ok_or_else(|| IntentError::malformed("an authorization without a valid signature"))?;
        effects.push(effect(signed.address, other_owner(account, &authority)));
        detail.push(json!({
            "authority": authority.to_string(),
            "address": signed.address.to_string(),
            "chain_id": decimal(signed.chain_id),
            "nonce": decimal(signed.nonce),
        }));
    }
    Ok(Listed { effects, detail: Value::Array(detail) })
}

/// The account that signed, under the rules of EIP-7702: y parity 0 or 1, s in the lower half.
fn authority(signed: &SignedAuthorization) -> Option<Address> {
    if signed.s() > SECP256K1N_HALF {
        return None;
    }
    let id = match signed.y_parity() {
        parity @ (0 | 1) => RecoveryId::from_i32(i32::from(parity)).ok()?,
        _ => return None,
    };
    let compact = [signed.r().to_be_bytes::<32>(), signed.s().to_be_bytes::<32>()].concat();
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let digest = Message::from_digest(signed.inner().signature_hash().0);
    RECOVERY.recover_ecdsa(&digest, &signature).ok().map(|key| address_of_point(&key))
}

fn effect(delegate: Address, owner: Option<String>) -> Effect {
    let delegate = delegate.to_string();
    Effect {
        kind: Kind::Authorization,
        asset: None,
        amount: None,
        unlimited: false,
        destination: Some(delegate.clone()),
        owner,
        contract: Some(delegate),
        method: None,
    }
}

/// Understands `0x05 || rlp([chain_id, address, nonce])`.
pub(crate) fn understand(data: &[u8], account: &Account<'_>) -> Result<Understood, IntentError> {
    checked_size(data)?;
    let Some((&MAGIC, list)) = data.split_first() else {
        return Err(IntentError::malformed("an authorization starts with 0x05"));
    };
    let items = rlp::fields(list, SIGNED_FIELDS)?;
    if items.len() == SIGNED_FIELDS {
        return Err(IntentError::AlreadySigned);
    }
    rlp::check(&items, UNSIGNED)?;
    let mut rest = list;
    let authorization = Authorization::decode(&mut rest).map_err(IntentError::Field)?;
    let mut preimage = vec![MAGIC];
    authorization.encode(&mut preimage);
    let preimage = checked_encoding(preimage, data)?;
    let chain_id =
        checked_chain(&authorization.chain_id, account, "an authorization for chain id 0 is valid on any")?;
    let nonce = checked_nonce(authorization.nonce)?;
    let description = Description {
        v: model::VERSION,
        payload: "ethereum.authorization".into(),
        chain: chain(chain_id),
        form: "authorization".into(),
        account: account.address.to_string(),
        effects: vec![effect(authorization.address, None)],
        fee: None,
        nonce: Some(nonce),
        detail: Map::new(),
    };
    Ok(Understood { description, preimage, document: Document::Authorization(authorization) })
}
