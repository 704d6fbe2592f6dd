//! Solana: recorded transactions read as what they did, and messages that somebody would like to be read as something else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_core::{Code, Payload, TokenAccount};
use chancery_intent::contracts::Registry;
use chancery_intent::model::Kind;
use chancery_intent::solana::{Account as Solana, Cluster, Pubkey, address};
use chancery_intent::{Account, Artifact, Intent, IntentError, Signature, understand};
use serde_json::{Value, json};
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::v0::MessageAddressTableLookup;
use solana_message::{Message, MessageHeader, VersionedMessage, v0};

const SYSTEM: &str = "11111111111111111111111111111111";
const TOKEN: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
/// An owner, a mint, and the account of the one for the other: see `associated.rs`.
const WALLET: &str = "B1iGmDJdvmxyUiYM8UEo2Uw2D58EmUrw4KyLYMmrhf8V";
const MINT: &str = "SRMuApVNdxXokk5GT7XD5cUUgXMBCoAz2LHeuAoKWRt";
const OWN: &str = "EDNd1ycsydWYwVmrYZvqYazFqwk1QjBgAUKFjBoz1jKP";
/// Another owner, and its account for the same mint.
const PAYEE: &str = "71e8mDsh3PR6gN64zL1HjwuxyKpgRXrPDUJT7XXojsVd";
const PAYEES: &str = "EF6L8yJT1SoRoDCkAZfSVmaweqMzfhxZiptKi7Tgj5XY";
const STRANGER: &str = "3WUX9wASxyScbA7brDipioKfXS1XEYkQ4vo3Kej9bKei";
const TABLE: &str = "Fpys8GRa5RBWfyeN7AaDUwFGD1zkDCA4z3t4CJLV8dfL";

fn wallet(text: &str) -> Account<'static> {
    Account::Solana(Solana { address: address(text).unwrap(), cluster: Cluster::Mainnet })
}

fn ask(data: Vec<u8>, claims: &[[&str; 2]], registry: &Registry) -> Result<Intent, IntentError> {
    ask_as(WALLET, data, claims, registry)
}

fn ask_as(
    who: &str,
    data: Vec<u8>,
    claims: &[[&str; 2]],
    registry: &Registry,
) -> Result<Intent, IntentError> {
    let claim = |[owner, mint]: &[&str; 2]| TokenAccount { owner: (*owner).into(), mint: (*mint).into() };
    let token_accounts = claims.iter().map(claim).collect();
    understand(&Payload::SolanaTransaction { data, token_accounts }, &wallet(who), registry)
}

fn plain(data: Vec<u8>) -> Result<Intent, IntentError> {
    ask(data, &[], &Registry::default())
}

/// A message of one instruction: the wallet pays, `accounts` follow, and the program is the last.
fn one(program: &str, accounts: &[&str], data: &[u8]) -> Vec<u8> {
    several(&[(program, accounts, data)])
}

fn several(instructions: &[(&str, &[&str], &[u8])]) -> Vec<u8> {
    let mut keys = vec![address(WALLET).unwrap()];
    let mut place = |text: &str| {
        let key = address(text).unwrap();
        let at = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        });
        u8::try_from(at).unwrap()
    };
    let instructions: Vec<_> = instructions
        .iter()
        .map(|(program, accounts, data)| CompiledInstruction {
            accounts: accounts.iter().map(|account| place(account)).collect(),
            program_id_index: place(program),
            data: data.to_vec(),
        })
        .collect();
    let header = MessageHeader { num_required_signatures: 1, ..MessageHeader::default() };
    let message = Message {
        header,
        account_keys: keys,
        recent_blockhash: solana_message::Hash::new_from_array([7; 32]),
        instructions,
    };
    wincode::serialize(&VersionedMessage::Legacy(message)).unwrap()
}

fn amount(tag: u8, amount: u64, rest: &[u8]) -> Vec<u8> {
    [&[tag][..], &amount.to_le_bytes(), rest].concat()
}

fn lamports(amount: u64) -> Vec<u8> {
    [&[2, 0, 0, 0][..], &amount.to_le_bytes()].concat()
}

/// Of an effect, what is there.
fn effect(intent: &Intent, index: usize) -> Value {
    serde_json::to_value(&intent.description().effects[index]).unwrap()
}

fn code(result: Result<Intent, IntentError>) -> Code {
    result.unwrap_err().code()
}

/// The signatures prove that the bytes are those that somebody signed: of a recording, nothing else is believed.
#[test]
fn recorded_transactions_are_read_as_what_they_did() {
    let file: Value = serde_json::from_str(include_str!("vectors/solana.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let raw = STANDARD.decode(vector["transaction"].as_str().unwrap()).unwrap();
        let (count, rest) = raw.split_first().unwrap();
        let (signatures, message) = rest.split_at(64 * usize::from(*count));
        let signatures: Vec<[u8; 64]> = signatures.as_chunks().0.to_vec();
        let read: VersionedMessage = wincode::deserialize(message).unwrap();
        let keys = read.static_account_keys();
        for (key, signature) in keys.iter().zip(&signatures) {
            UnparsedPublicKey::new(&ED25519, key.as_ref()).verify(message, signature).expect(name);
        }
        let place = usize::try_from(vector["wallet_signs"].as_u64().unwrap()).unwrap();
        let wallet = keys[place].to_string();
        let intent = ask_as(&wallet, message.to_vec(), &[], &Registry::default()).expect(name);
        let found = serde_json::to_value(intent.description()).unwrap();
        let expected =
            vector["effects"].to_string().replace("\"C/", &format!("\"{}/", Cluster::Mainnet.chain()));
        assert_eq!(found["effects"], serde_json::from_str::<Value>(&expected).unwrap(), "{name}");
        assert_eq!(found["form"], vector["form"], "{name}");
        assert_eq!(found["fee"]["maximum"], vector["fee"], "{name}");
        assert_eq!(
            found["detail"]["fee_payer"].is_null(),
            place == 0,
            "{name}: who pays, where it is not the wallet"
        );
        assert_eq!(intent.signed(&intent.signings()[0]), message, "{name}: exactly these bytes are signed");

        // Put together again, it is what was sent; where others sign too, only our signature comes out.
        let (r, s) = signatures[place].split_at(32);
        let made = Signature { r: r.try_into().unwrap(), s: s.try_into().unwrap(), y_parity: None };
        let Artifact::Solana { signature, transaction } = intent.finish(&[made]).unwrap() else { panic!() };
        assert_eq!(signature, signatures[place]);
        assert_eq!(transaction, (*count == 1).then(|| raw.clone()), "{name}");
    }
}

/// Would catch a parser that is content with a prefix, with another spelling, or with an index to nowhere.
#[test]
fn a_message_has_one_form() {
    let good = one(SYSTEM, &[WALLET, STRANGER], &lamports(5));
    assert_eq!(effect(&plain(good.clone()).unwrap(), 0)["amount"], "5");
    assert_eq!(code(plain(Vec::new())), Code::PayloadEmpty);
    assert_eq!(code(plain([&good[..], &[0]].concat())), Code::PayloadTrailingBytes);
    for end in 1..good.len() {
        assert!(plain(good[..end].to_vec()).is_err(), "cut at {end}");
    }
    for version in [0x81, 0x82, 0xff] {
        let versioned = [&[version][..], &good].concat();
        assert_eq!(code(plain(versioned)), Code::TransactionTypeUnknown, "{version:#x}");
    }
    // The number of accounts, spelled with a byte more than it needs.
    let mut long = good.clone();
    long.splice(3..4, [good[3] | 0x80, 0]);
    assert!(plain(long).is_err());
    for (place, byte, why) in
        [(0, 0, "nobody signs"), (0, 9, "more sign than there are"), (1, 1, "the payer only reads")]
    {
        let mut bad = good.clone();
        bad[place] = byte;
        assert!(plain(bad).is_err(), "{why}");
    }
    let mut twice = good.clone();
    let (first, second) = (4..36, 36..68);
    twice.copy_within(first, second.start);
    assert_eq!(code(plain(twice)), Code::PayloadMalformed, "one account twice");
    let memo = |size: usize| one("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr", &[], &vec![b'a'; size]);
    let most = 1_232 - 65 - memo(0).len() - 1;
    assert!(plain(memo(most)).is_ok(), "a packet that is full");
    assert_eq!(code(plain(memo(most + 1))), Code::PayloadTooLarge, "no packet takes it");
    let other = ask_as(PAYEE, good, &[], &Registry::default());
    assert_eq!(code(other), Code::NothingToSign, "the wallet does not sign it");
}

/// Would catch an amount, a recipient or an owner that is read from the wrong place.
#[test]
fn each_token_instruction_is_told() {
    let none = Registry::default();
    let token = Cluster::Mainnet.token(&address(MINT).unwrap());
    let own = [WALLET, MINT];

    // To a token account whose owner is claimed: the claim proves itself, and the owner gains.
    let checked = |to| one(TOKEN, &[OWN, MINT, to, WALLET], &amount(12, 7, &[6]));
    let told = effect(&ask(checked(PAYEES), &[[PAYEE, MINT]], &none).unwrap(), 0);
    assert_eq!(told["destination"], PAYEE);
    assert_eq!((&told["asset"], &told["amount"]), (&json!(token), &json!("7")));
    assert!(told.get("owner").is_none(), "from the wallet's own account");
    // Without the claim it is the account that gains, and a claim about another account is refused.
    assert_eq!(effect(&plain(checked(PAYEES)).unwrap(), 0)["destination"], PAYEES);
    assert_eq!(code(ask(checked(STRANGER), &[[PAYEE, MINT]], &none)), Code::PayloadMalformed);
    assert_eq!(effect(&plain(checked(OWN)).unwrap(), 0)["destination"], WALLET, "to oneself");

    // What does not say its mint needs a proof of it.
    let unchecked = one(TOKEN, &[OWN, PAYEES, WALLET], &amount(3, 9, &[]));
    assert_eq!(code(plain(unchecked.clone())), Code::MintUnknown);
    let intent = ask(unchecked.clone(), &[own, [PAYEE, MINT]], &none).unwrap();
    assert_eq!(effect(&intent, 0)["asset"], token);
    assert_eq!(effect(&intent, 0)["destination"], PAYEE);
    let proved = &intent.description().detail["token_accounts"];
    assert_eq!(proved[0], json!({ "account": OWN, "owner": WALLET, "mint": MINT }));

    // From an account that is not the wallet's associated one, whose it is cannot be told.
    let other = one(TOKEN, &[STRANGER, MINT, PAYEES, WALLET], &amount(12, 7, &[6]));
    assert_eq!(effect(&plain(other).unwrap(), 0)["owner"], STRANGER);
    // By somebody else's word, beside ours.
    let theirs = one(TOKEN, &[STRANGER, MINT, PAYEES, PAYEE], &amount(12, 7, &[6]));
    assert_eq!(effect(&plain(theirs).unwrap(), 0)["owner"], PAYEE);

    for (data, unlimited) in [(amount(13, 5, &[6]), false), (amount(13, u64::MAX, &[6]), true)] {
        let told = effect(&plain(one(TOKEN, &[OWN, MINT, STRANGER, WALLET], &data)).unwrap(), 0);
        assert_eq!((&told["kind"], &told["destination"]), (&json!("token_approval"), &json!(STRANGER)));
        assert_eq!(told.get("unlimited").is_some(), unlimited);
    }
    let approve = one(TOKEN, &[OWN, STRANGER, WALLET], &amount(4, 5, &[]));
    assert_eq!(effect(&ask(approve, &[own], &none).unwrap(), 0)["destination"], STRANGER);
    let revoke = effect(&ask(one(TOKEN, &[OWN, WALLET], &[5]), &[own], &none).unwrap(), 0);
    assert_eq!((&revoke["kind"], &revoke["amount"]), (&json!("token_approval"), &json!("0")));

    // Closing sends on whatever lamports there are: to others, an amount that nobody can bound.
    let close = effect(&plain(one(TOKEN, &[OWN, STRANGER, WALLET], &[9])).unwrap(), 0);
    assert_eq!((&close["kind"], &close["destination"]), (&json!("transfer"), &json!(STRANGER)));
    assert!(close.get("amount").is_none());
    let home = effect(&plain(one(TOKEN, &[OWN, WALLET, WALLET], &[9])).unwrap(), 0);
    assert_eq!(home["method"]["signature"], "closeAccount");

    // A known instruction with other bytes might still be acted on.
    for data in
        [amount(3, 9, &[0]), amount(12, 7, &[]), amount(12, 7, &[6, 0]), vec![5, 0], vec![9, 0], vec![3]]
    {
        let refused = ask(one(TOKEN, &[OWN, MINT, PAYEES, WALLET], &data), &[own], &none);
        assert_eq!(code(refused), Code::PayloadMalformed, "{data:?}");
    }
    let lacking = one(TOKEN, &[OWN, MINT, PAYEES], &amount(12, 7, &[6]));
    assert_eq!(code(plain(lacking)), Code::PayloadMalformed);
    // Everything else of the program may do anything: the owner is set, for one.
    let unknown = effect(&plain(one(TOKEN, &[OWN, WALLET], &[6, 2, 0])).unwrap(), 0);
    assert_eq!((&unknown["kind"], &unknown["unlimited"]), (&json!("contract_call"), &json!(true)));
}

/// Would catch a transfer that hides behind another's name: a payment beside a payment, or bytes behind one.
#[test]
fn every_instruction_counts() {
    let pay = lamports(5);
    let two = several(&[(SYSTEM, &[WALLET, PAYEE], &pay), (SYSTEM, &[WALLET, STRANGER], &pay)]);
    let intent = plain(two).unwrap();
    let kinds: Vec<_> = intent.description().effects.iter().map(|effect| effect.kind).collect();
    assert_eq!(kinds, [Kind::Transfer, Kind::Transfer]);
    assert_eq!(effect(&intent, 1)["destination"], STRANGER);
    for data in [[&pay[..], &[0]].concat(), pay[..11].to_vec()] {
        assert_eq!(code(plain(one(SYSTEM, &[WALLET, PAYEE], &data))), Code::PayloadMalformed);
    }
    // A nonce counts at the first instruction alone.
    let advance: (&str, &[&str], &[u8]) = (SYSTEM, &[STRANGER, TABLE, WALLET], &[4, 0, 0, 0]);
    let form = |data| plain(data).unwrap().description().form.clone();
    assert_eq!(form(several(&[advance, (SYSTEM, &[WALLET, PAYEE], &pay)])), "legacy-nonce");
    assert_eq!(form(several(&[(SYSTEM, &[WALLET, PAYEE], &pay), advance])), "legacy");
    // An account that is made in somebody's name, and is not theirs.
    let program = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL";
    let made = |account| one(program, &[WALLET, account, PAYEE, MINT, SYSTEM, TOKEN], &[1]);
    assert!(plain(made(PAYEES)).is_ok());
    assert_eq!(code(plain(made(STRANGER))), Code::PayloadMalformed);
    let nothing = one("ComputeBudget111111111111111111111111111111", &[], &[2, 1, 0, 0, 0]);
    assert_eq!(code(plain(nothing)), Code::PayloadMalformed, "it does nothing");
}

fn through_table(index: u8) -> Vec<u8> {
    let keys = [WALLET, OWN, MINT, TOKEN].map(|text| address(text).unwrap());
    let message = v0::Message {
        header: MessageHeader { num_required_signatures: 1, ..MessageHeader::default() },
        account_keys: keys.to_vec(),
        recent_blockhash: solana_message::Hash::new_from_array([7; 32]),
        instructions: vec![CompiledInstruction {
            program_id_index: 3,
            accounts: vec![1, 2, 4, 0],
            data: amount(12, 7, &[6]),
        }],
        address_table_lookups: vec![MessageAddressTableLookup {
            account_key: address(TABLE).unwrap(),
            writable_indexes: vec![index],
            readonly_indexes: Vec::new(),
        }],
    };
    wincode::serialize(&VersionedMessage::V0(message)).unwrap()
}

/// The signature commits to a place in a table, not to what is there. Would catch a client's word being taken for it.
#[test]
fn what_a_table_holds_is_the_bundles_word() {
    let none = Registry::default();
    assert_eq!(code(plain(through_table(1))), Code::LookupTableUnknown);
    let held: Vec<Pubkey> = [STRANGER, PAYEES].map(|text| address(text).unwrap()).to_vec();
    let table =
        |cluster| none.clone().with_lookup_tables([((cluster, address(TABLE).unwrap()), held.clone())]);
    let known = table(Cluster::Mainnet);
    let intent = ask(through_table(1), &[[PAYEE, MINT]], &known).unwrap();
    assert_eq!(effect(&intent, 0)["destination"], PAYEE);
    assert_eq!(
        intent.description().detail["lookup_tables"],
        json!({ TABLE: { "1": PAYEES } }),
        "it is shown"
    );
    assert_eq!(effect(&ask(through_table(0), &[], &known).unwrap(), 0)["destination"], STRANGER);
    assert_eq!(code(ask(through_table(2), &[], &known)), Code::LookupTableUnknown, "behind its end");
    let elsewhere = ask(through_table(1), &[], &table(Cluster::Devnet));
    assert_eq!(code(elsewhere), Code::LookupTableUnknown, "on another cluster it is another table");
}
