//! An intent in plain words, with the bundle's own names for assets and addresses, and what an approver should look at twice.
//! For people: nothing is decided by it. If it is wrong, somebody approves what they did not read.

use alloy_primitives::U256;
use chancery_core::Change;
use chancery_intent::model::{Description, Effect, Kind};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::registry::{Asset, split_token};

impl Bundle {
    /// What would happen, a sentence an effect, and then the fee: "send 12.5 ETH to exchange (0x...)".
    #[must_use]
    pub fn words(&self, intent: &Description) -> Vec<String> {
        let mut words: Vec<_> = intent.effects.iter().map(|effect| self.sentence(intent, effect)).collect();
        if let Some(fee) = &intent.fee {
            words.push(format!(
                "pay at most {} for the fee",
                self.amount(&fee.asset, Some(fee.maximum), false)
            ));
        }
        words
    }

    /// What to look at twice.
    #[must_use]
    pub fn notes(&self, intent: &Description) -> Vec<String> {
        let mut notes = Vec::new();
        for effect in &intent.effects {
            let account = |address: &String| format!("{}:{address}", intent.chain);
            if let Some(to) =
                effect.destination.as_ref().filter(|to| !self.registry.addresses.contains_key(&account(to)))
            {
                notes.push(format!("{to} is not in the address book"));
            }
            if effect.unlimited {
                notes.push("the amount has no bound".to_owned());
            }
            let asset = effect.asset.as_deref().map(|asset| split_token(asset).0);
            if let Some(asset) = asset.filter(|asset| !self.registry.assets.contains_key(*asset)) {
                notes.push(format!("{asset} is not a registered asset"));
            }
            if effect.kind == Kind::ContractCall
                && effect.method.as_ref().is_none_or(|m| m.signature.is_none())
            {
                notes.push("what the call does is not known: its contract is not registered".to_owned());
            }
            if let (Kind::Change, Some(Change::Policy { proved, .. })) = (effect.kind, told(intent)) {
                notes.push(match proved.as_slice() {
                    [] => "no goal was proved of the new bundle".to_owned(),
                    goals => format!("proved of the new bundle: {}", goals.join(", ")),
                });
            }
            if matches!(effect.kind, Kind::Authorization | Kind::Deployment) {
                notes.push("code decides what happens next".to_owned());
            }
        }
        if intent.form.ends_with("-nonce") {
            notes.push("it stays good until it is used: a durable nonce keeps it".to_owned());
        }
        if let Some(others) = intent.detail.get("other_signers").and_then(Value::as_array) {
            let others: Vec<_> = others.iter().filter_map(Value::as_str).collect();
            notes.push(format!("others sign it too: {}", others.join(", ")));
        }
        notes.dedup();
        notes
    }

    fn sentence(&self, intent: &Description, effect: &Effect) -> String {
        let amount = || match &effect.asset {
            Some(asset) => self.amount(asset, effect.amount, effect.unlimited),
            None => "nothing".to_owned(),
        };
        let to = |address: &Option<String>| match address {
            Some(address) => self.named(&intent.chain, address),
            None => "nobody".to_owned(),
        };
        match effect.kind {
            Kind::Transfer | Kind::TokenTransfer => match &effect.owner {
                Some(owner) => {
                    let owner = self.named(&intent.chain, owner);
                    format!("send {} of {owner} to {}", amount(), to(&effect.destination))
                }
                None => format!("send {} to {}", amount(), to(&effect.destination)),
            },
            Kind::TokenApproval => format!("let {} take {}", to(&effect.destination), amount()),
            Kind::ContractCall => {
                let method = effect.method.as_ref();
                let known = method.and_then(|m| m.signature.clone().or_else(|| Some(m.selector.clone())));
                let sent =
                    effect.amount.filter(|amount| !amount.is_zero()).map(|_| format!(" with {}", amount()));
                let name = known.unwrap_or_else(|| "no method".to_owned());
                format!("call {name} of {}{}", to(&effect.contract), sent.unwrap_or_default())
            }
            Kind::Deployment => "deploy a contract".to_owned(),
            Kind::Authorization => format!("let the code of {} act for the account", to(&effect.destination)),
            Kind::Message => "sign a message".to_owned(),
            Kind::TypedData => format!("sign typed data for {}", to(&effect.contract)),
            Kind::Data => "write data to the chain".to_owned(),
            Kind::Change => changed(intent),
        }
    }

    fn named(&self, chain: &str, address: &str) -> String {
        match self.registry.addresses.get(&format!("{chain}:{address}")) {
            Some(known) => format!("{} ({address})", known.name),
            None => address.to_owned(),
        }
    }

    fn amount(&self, asset: &str, amount: Option<U256>, unlimited: bool) -> String {
        let (id, token) = split_token(asset);
        let known = self.registry.assets.get(id);
        let name = known.map_or(id, |asset| asset.name.as_str());
        match (amount, token, known) {
            _ if unlimited => format!("any amount of {name}"),
            (_, Some(token), _) => format!("{name} number {token}"),
            (Some(amount), None, Some(Asset { decimals, .. })) => {
                format!("{} {name}", decimal(amount, *decimals))
            }
            (Some(amount), None, None) => format!("{amount} smallest units of {name}"),
            (None, None, _) => format!("an amount of {name} that is not told"),
        }
    }
}

/// What a change of the appliance does, in a sentence; what differs is told line by line beside it.
fn changed(intent: &Description) -> String {
    match told(intent) {
        Some(Change::Policy { bundle, previous, .. }) => {
            format!("put policy bundle {bundle} in force instead of {previous}")
        }
        Some(Change::Wallet { wallet, design }) => {
            let design: Vec<_> = design.iter().map(|(name, value)| format!("{name} {value}")).collect();
            format!("make wallet `{wallet}` around a fresh key: {}", design.join(", "))
        }
        Some(Change::Client { client, public_key, days, beside }) => {
            let key = hex::decode(public_key).map(|der| hex::encode(Sha256::digest(der)));
            let key = key.unwrap_or_else(|_| "a key that is none".to_owned());
            let beside = match &beside[..] {
                [] => "no other certificate of that name holds".to_owned(),
                others => {
                    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
                    format!(
                        "beside {} of that name, which go on to hold: {}",
                        others.len(),
                        others.join(", ")
                    )
                }
            };
            format!(
                "issue a certificate to `{client}` for {days} days, for the key with SHA-256 {key}; {beside}"
            )
        }
        Some(Change::Revocation { certificates, reason }) => {
            let certificates: Vec<_> =
                certificates.iter().map(|(serial, client)| format!("{serial} of `{client}`")).collect();
            format!("take back {}: {reason}", certificates.join(", "))
        }
        None => "change the appliance in a way that this program does not know".to_owned(),
    }
}

fn told(intent: &Description) -> Option<Change> {
    serde_json::from_value(intent.detail.get("change")?.clone()).ok()
}

/// An amount with its decimal point; no digit is lost.
fn decimal(amount: U256, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = format!("{:0>width$}", amount.to_string(), width = places + 1);
    let (whole, fraction) =
        digits.split_at_checked(digits.len().saturating_sub(places)).unwrap_or((&digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_is_lost() {
        for (amount, decimals, text) in [
            (0_u64, 18, "0"),
            (1, 18, "0.000000000000000001"),
            (12_500_000_000_000_000_000, 18, "12.5"),
            (100, 2, "1"),
            (101, 2, "1.01"),
            (7, 0, "7"),
            (70, 0, "70"),
        ] {
            assert_eq!(decimal(U256::from(amount), decimals), text);
        }
        assert_eq!(decimal(U256::MAX, 77).len(), 79, "every digit of the largest amount");
    }
}
