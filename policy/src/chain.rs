//! What there is on which chain: the kinds of effects, and the payloads and forms that usually carry them. Cases are written by it,
//! and the examples that a proof finds.

use chancery_intent::change::NAMESPACE;
use chancery_intent::model::Kind;

/// All the satoshi there will ever be.
pub(crate) const MOST_SATOSHI: u64 = 2_100_000_000_000_000;

/// Whether a chain is a Bitcoin network's.
pub(crate) fn is_bitcoin(chain: &str) -> bool {
    chain.starts_with("bip122:")
}

/// Whether a chain is a Solana cluster's.
pub(crate) fn is_solana(chain: &str) -> bool {
    chain.starts_with("solana:")
}

/// Whether a chain is that of a tenant's changes.
pub(crate) fn is_appliance(chain: &str) -> bool {
    chain.strip_prefix(NAMESPACE).is_some_and(|rest| rest.starts_with(':'))
}

/// Whether there are effects of this kind on this chain.
pub(crate) fn occurs(kind: Kind, chain: &str) -> bool {
    match kind {
        Kind::Change => is_appliance(chain),
        _ if is_appliance(chain) => false,
        _ if is_bitcoin(chain) => matches!(kind, Kind::Transfer | Kind::Data | Kind::Message),
        _ if is_solana(chain) => matches!(
            kind,
            Kind::Transfer | Kind::TokenTransfer | Kind::TokenApproval | Kind::ContractCall | Kind::Data
        ),
        _ => kind != Kind::Data,
    }
}

/// The type of payload that an effect of this kind usually has.
pub(crate) fn usual(kind: Kind, chain: &str) -> &'static str {
    let bitcoin = is_bitcoin(chain);
    match kind {
        Kind::Change => "appliance.change",
        Kind::Message if bitcoin => "bitcoin.message",
        _ if bitcoin => "bitcoin.psbt",
        _ if is_solana(chain) => "solana.transaction",
        Kind::Message => "ethereum.message",
        Kind::TypedData => "ethereum.typed_data",
        Kind::Authorization => "ethereum.authorization",
        _ => "ethereum.transaction",
    }
}

/// The forms that payloads of this type have, the usual one first.
pub(crate) fn forms(payload: &str) -> &'static [&'static str] {
    match payload {
        "bitcoin.psbt" => &["psbt0", "psbt2"],
        "bitcoin.message" => &["bip322"],
        "solana.transaction" => &["v0", "legacy", "v0-nonce", "legacy-nonce"],
        "ethereum.message" => &["eip191"],
        "ethereum.typed_data" => &["eip712"],
        "ethereum.authorization" => &["authorization"],
        "appliance.change" => &["policy.apply", "wallet.create", "client.add", "client.revoke"],
        _ => &["eip1559", "legacy", "eip2930", "eip4844", "eip7702"],
    }
}
