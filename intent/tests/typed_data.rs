//! EIP-712 documents: the digest agrees with alloy's where both accept, permits read as what they give away, and every
//! document that could show something other than it signs is refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod fixture;

use alloy_dyn_abi::TypedData;
use alloy_primitives::{Address, U256};
use chancery_core::{Code, Payload, limit};
use chancery_intent::model::Kind;
use fixture::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn payload(document: &Value) -> Payload {
    Payload::EthereumTypedData { document: document.clone() }
}

fn alloys_digest(document: &Value) -> [u8; 32] {
    serde_json::from_value::<TypedData>(document.clone()).unwrap().eip712_signing_hash().unwrap().0
}

fn domain_types() -> Value {
    json!([
        { "name": "name", "type": "string" },
        { "name": "version", "type": "string" },
        { "name": "chainId", "type": "uint256" },
        { "name": "verifyingContract", "type": "address" },
    ])
}

fn domain(contract: Address) -> Value {
    json!({ "name": "N", "version": "1", "chainId": 1, "verifyingContract": contract.to_string() })
}

/// A document with a value of every type.
fn every_type() -> Value {
    json!({
        "types": {
            "EIP712Domain": domain_types(),
            "All": [
                { "name": "flag", "type": "bool" },
                { "name": "small", "type": "uint8" },
                { "name": "large", "type": "uint256" },
                { "name": "signed", "type": "int16" },
                { "name": "who", "type": "address" },
                { "name": "text", "type": "string" },
                { "name": "raw", "type": "bytes" },
                { "name": "four", "type": "bytes4" },
                { "name": "numbers", "type": "uint256[][2]" },
                { "name": "parts", "type": "Ns:Part[]" },
                { "name": "part", "type": "Ns:Part" },
            ],
            "Ns:Part": [{ "name": "label", "type": "string" }, { "name": "weight", "type": "uint64" }],
        },
        "primaryType": "All",
        "domain": domain(VAULT),
        "message": {
            "flag": true,
            "small": 255,
            "large": U256::MAX.to_string(),
            "signed": "-32768",
            "who": BOB.to_string(),
            "text": "Grüße",
            "raw": "0x0102",
            "four": "0xdeadbeef",
            "numbers": [["1", "0x2"], []],
            "parts": [{ "label": "a", "weight": 1 }, { "label": "b", "weight": 9007199254740991_u64 }],
            "part": { "label": "", "weight": 0 },
        },
    })
}

#[test]
fn every_type_hashes_as_alloy_has_it() {
    let document = every_type();
    let intent = ask(&payload(&document)).unwrap();
    assert_eq!(*intent.signing_digest(), alloys_digest(&document));
    let description = intent.description();
    assert_eq!((description.chain.as_str(), description.form.as_str()), ("eip155:1", "eip712"));
    assert_eq!(description.effects[0].kind, Kind::TypedData);
    assert_eq!(description.effects[0].contract, Some(VAULT.to_string()));
    let message = &description.detail["message"];
    assert_eq!(message["large"], U256::MAX.to_string());
    assert_eq!(message["numbers"], json!([["1", "2"], []]), "shown as coerced, not as written");
    assert_eq!(message["parts"][1]["weight"], "9007199254740991");
    assert_eq!(description.detail["type"].as_str().unwrap().split(')').count(), 3);
}

#[test]
fn a_domain_is_hashed_as_its_own_type_says() {
    let mut document = every_type();
    document["types"]["EIP712Domain"] = json!([{ "name": "salt", "type": "bytes32" }]);
    document["domain"] = json!({ "salt": format!("0x{}", "11".repeat(32)) });
    let intent = ask(&payload(&document)).unwrap();
    assert_eq!(*intent.signing_digest(), alloys_digest(&document));
    assert_eq!(intent.description().chain, "eip155:*", "no chain id: valid on any chain, and named so");

    // alloy always hashes the members in the standard's order; contracts hash them as their type string has them.
    document["types"]["EIP712Domain"] =
        json!([{ "name": "chainId", "type": "uint256" }, { "name": "name", "type": "string" }]);
    document["domain"] = json!({ "name": "N", "chainId": 1 });
    let swapped = ask(&payload(&document)).unwrap();
    assert_ne!(*swapped.signing_digest(), alloys_digest(&document));
}

/// The same document with one place replaced.
fn with(place: &str, value: Value) -> Value {
    let mut document = every_type();
    *document.pointer_mut(place).unwrap() = value;
    document
}

fn malformed(document: &Value, what: &str) {
    match ask(&payload(document)) {
        Ok(_) => panic!("understood: {what}"),
        Err(error) => assert_eq!(error.code(), Code::PayloadMalformed, "{what}: {error}"),
    }
}

#[test]
fn values_that_could_be_read_in_two_ways() {
    let bad_checksum = BOB.to_string().replace("b0", "B0").replacen("B0", "b0", 1);
    for (place, value, what) in [
        ("flag", json!("true"), "a boolean as text is true in JavaScript even where it says false"),
        ("flag", json!(1), "a number for a boolean"),
        ("small", json!(256), "beyond uint8"),
        ("small", json!(-1), "a negative for an unsigned"),
        ("small", json!(1.5), "a fraction"),
        ("small", json!(1.0), "a float"),
        (
            "large",
            json!(9_007_199_254_740_992_u64),
            "an integer beyond 2^53 - 1 has no certain value in JSON",
        ),
        ("large", json!(1e30), "a float beyond 2^64"),
        ("large", json!(""), "no digits"),
        ("large", json!("0x"), "no digits"),
        ("large", json!("01"), "a leading zero"),
        ("large", json!("1_000"), "a digit separator"),
        ("large", json!("0b1"), "binary"),
        ("large", json!("+1"), "a sign"),
        ("large", json!(" 1"), "a space"),
        ("large", json!(format!("{}0", U256::MAX)), "beyond 2^256"),
        ("large", json!(null), "null"),
        ("signed", json!("-32769"), "below int16"),
        ("signed", json!("32768"), "beyond int16"),
        ("signed", json!("-0"), "minus zero"),
        ("signed", json!("-0x1"), "a negative in hexadecimal"),
        ("signed", json!("--1"), "two signs"),
        ("who", json!("0xb0"), "a short address"),
        ("who", json!(BOB.to_string().trim_start_matches("0x")), "an address without 0x"),
        ("who", json!(bad_checksum), "a wrong checksum"),
        ("who", json!(7), "a number for an address"),
        ("text", json!(7), "a number for a text"),
        ("raw", json!("0102"), "bytes without 0x, which others hash as text"),
        ("raw", json!("0x010"), "half a byte"),
        ("raw", json!([1, 2]), "bytes as a list"),
        ("four", json!("0xdeadbe"), "too few bytes"),
        ("four", json!("0xdeadbeef00"), "too many bytes"),
        ("numbers", json!([[]]), "too few items"),
        ("numbers", json!([[], [], []]), "too many items"),
        ("numbers", json!({ "0": [], "1": [] }), "an object for a list"),
        ("part", json!(null), "null for a struct"),
        ("part", json!({ "label": "" }), "a member missing"),
        ("part", json!({ "label": "", "weight": 0, "note": "x" }), "a member that is shown but not signed"),
        ("parts", json!([["a", 1]]), "a list for a struct"),
    ] {
        malformed(&with(&format!("/message/{place}"), value), what);
    }
}

#[test]
fn documents_that_show_other_than_they_sign() {
    let plain = json!([{ "name": "x", "type": "uint8" }]);
    for (place, value, what) in [
        ("/primaryType", json!("None"), "a primary type that is not there"),
        ("/primaryType", json!("uint8"), "a primary type that is no struct"),
        ("/primaryType", json!("Ns:Part[]"), "a list for a primary type"),
        ("/primaryType", json!("EIP712Domain"), "a domain alone"),
        ("/primaryType", json!(1), "a number for a name"),
        ("/types/All/0/name", json!("flag,uint8 extra"), "a name that forges the type string"),
        ("/types/All/0/name", json!("small"), "one name for two members"),
        ("/types/All/0/name", json!(""), "no name"),
        ("/types/All/0/type", json!("uint"), "an alias, which hashes as another type"),
        ("/types/All/0/type", json!("uint7"), "no such width"),
        ("/types/All/0/type", json!("uint08"), "a width with a zero"),
        ("/types/All/0/type", json!("bytes33"), "no such size"),
        ("/types/All/0/type", json!("function"), "a type EIP-712 does not have"),
        ("/types/All/0/type", json!("(bool)"), "a tuple"),
        ("/types/All/0/type", json!("bool[0]"), "a list of none"),
        ("/types/All/0/type", json!("bool[01]"), "a size with a zero"),
        ("/types/All/0/type", json!("bool["), "half a list"),
        ("/types/All/0/type", json!("bool[]x"), "letters after a list"),
        ("/types/All/0/type", json!("None"), "a type that is not there"),
        ("/types/All/0/type", json!("All"), "a type within itself"),
        ("/types/Ns:Part/0/type", json!("All"), "two types within each other"),
        (
            "/types/All/0",
            json!({ "name": "flag", "type": "bool", "note": "" }),
            "a third word about a member",
        ),
        ("/types/All/0", json!(["flag", "bool"]), "a list for a member"),
        ("/types/EIP712Domain/2/type", json!("string"), "a chain id that is not a number"),
        ("/types/EIP712Domain/0/name", json!("title"), "a domain member nobody knows"),
        ("/domain", json!({ "name": "N" }), "a domain without its members"),
        ("/domain", json!([]), "a list for a domain"),
        ("/message", json!("{}"), "a text for a message"),
        ("/types", json!([]), "a list for the types"),
    ] {
        malformed(&with(place, value), what);
    }
    for (place, name, what) in [
        ("/types", "uint8", "a struct named like an elementary type"),
        ("/types", "A(B", "a struct name that forges the type string"),
        ("", "note", "a word beside the document"),
        ("/domain", "salt", "a domain member that is shown but not signed"),
        ("/message", "note", "a member that is shown but not signed"),
    ] {
        let mut document = every_type();
        document.pointer_mut(place).unwrap()[name] = plain.clone();
        malformed(&document, what);
    }
    for place in ["types", "domain", "message", "primaryType"] {
        let mut document = every_type();
        document.as_object_mut().unwrap().remove(place);
        malformed(&document, place);
    }
    let mut document = every_type();
    document["types"].as_object_mut().unwrap().remove("EIP712Domain");
    malformed(&document, "a domain without a type: some hash it as empty, others by what is in it");
    malformed(&json!("{}"), "a document as text");
}

#[test]
fn names_that_would_forge_the_type_string() {
    // Consistent throughout, so that only the check of identifiers stands between them and a digest.
    for forged in ["flag,bool extra", "flag)All(bool x", "flag ", "1flag", "flag\u{e9}", "a:b"] {
        let mut document = every_type();
        document["types"]["All"][0]["name"] = json!(forged);
        let message = document["message"].as_object_mut().unwrap();
        let value = message.remove("flag").unwrap();
        message.insert(forged.to_owned(), value);
        malformed(&document, forged);
    }
}

#[test]
fn a_chain_id_cannot_hide_in_another_type_or_name() {
    for (name, ty, value) in [
        ("chainId", "string", json!("137")),
        ("chainId", "uint64", json!(137)),
        ("chainId", "uint256[]", json!([137])),
        ("chainid", "uint256", json!(137)),
        ("verifyingContract", "bytes20", json!(format!("0x{}", "11".repeat(20)))),
    ] {
        let mut document = every_type();
        document["types"]["EIP712Domain"] = fields(&[(name, ty)]);
        document["domain"] = json!({ name: value });
        malformed(&document, &format!("{ty} {name}"));
    }
}

#[test]
fn documents_for_other_chains() {
    let chain = |id: Value| code_of(&payload(&with("/domain/chainId", id)));
    assert_eq!(chain(json!(137)), Code::ChainIdMismatch);
    assert_eq!(chain(json!("18446744073709551617")), Code::ChainIdMismatch, "1 in its low 64 bits");
    assert_eq!(chain(json!(0)), Code::ChainIdMissing);
    assert!(ask(&payload(&with("/domain/chainId", json!("0xa")))).is_ok(), "chain 10 is the wallet's too");
}

#[test]
fn documents_too_deep_or_with_too_many_types() {
    let nested = |levels: usize| (0..levels).fold(json!("1"), |inner, _| json!([inner]));
    let list = |levels: usize| {
        let mut document = with("/types/All/0/type", json!(format!("uint8{}", "[]".repeat(levels))));
        document["message"]["flag"] = nested(levels);
        document
    };
    assert!(ask(&payload(&list(limit::NESTING - 3))).is_ok());
    assert_eq!(code_of(&payload(&list(limit::NESTING - 2))), Code::PayloadTooComplex);

    let types = |count: usize| {
        let mut document = every_type();
        for n in 3..count {
            document["types"][format!("T{n}")] = json!([]);
        }
        document
    };
    assert!(ask(&payload(&types(64))).is_ok());
    assert_eq!(code_of(&payload(&types(65))), Code::PayloadTooComplex);
}

#[test]
fn types_that_double_at_each_step_cost_nothing() {
    // 60 types of two members each: as a tree of types it has 2^60 leaves, as a list of types 60.
    let mut document = every_type();
    for n in 0..60 {
        let next = if n == 59 { "uint8".to_owned() } else { format!("D{}[]", n + 1) };
        document["types"][format!("D{n}")] =
            json!([{ "name": "a", "type": next }, { "name": "b", "type": next }]);
    }
    document["types"]["All"] = json!([{ "name": "d", "type": "D0" }]);
    document["message"] = json!({ "d": { "a": [], "b": [] } });
    assert!(ask(&payload(&document)).is_ok());
}

fn permit(types: &Value, primary: &str, contract: Address, message: &Value) -> Value {
    let mut document = json!({
        "types": types, "primaryType": primary, "domain": domain(contract), "message": message,
    });
    document["types"]["EIP712Domain"] = domain_types();
    document
}

fn fields(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect()
}

fn eip2612(owner: Address, value: &str) -> Value {
    let types = json!({ "Permit": fields(&[
        ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"), ("deadline", "uint256"),
    ]) });
    let message = json!({
        "owner": owner.to_string(), "spender": BOB.to_string(), "value": value, "nonce": 0, "deadline": "99",
    });
    permit(&types, "Permit", COIN_TOKEN, &message)
}

#[test]
fn an_eip_2612_permit_is_an_approval() {
    let document = eip2612(WALLET, "9");
    let intent = ask(&payload(&document)).unwrap();
    assert_eq!(*intent.signing_digest(), alloys_digest(&document));
    let effect = &intent.description().effects[0];
    assert_eq!(effect.kind, Kind::TokenApproval);
    assert_eq!(effect.asset, Some(format!("eip155:1/erc20:{COIN_TOKEN}")));
    assert_eq!((effect.amount, effect.unlimited), (Some(U256::from(9)), false));
    assert_eq!(effect.destination, Some(BOB.to_string()));
    assert_eq!(effect.owner, None);
    assert_eq!(effect.contract, Some(COIN_TOKEN.to_string()));
    assert_eq!(intent.description().detail["message"]["deadline"], "99");
    assert_eq!(
        one_effect(&payload(&eip2612(CAROL, "9"))).owner,
        Some(CAROL.to_string()),
        "for another's tokens"
    );
    assert!(one_effect(&payload(&eip2612(WALLET, &U256::MAX.to_string()))).unlimited);
}

#[test]
fn what_is_not_quite_a_permit_is_typed_data() {
    let mut wider = eip2612(WALLET, "9");
    wider["types"]["Permit"].as_array_mut().unwrap().push(json!({ "name": "memo", "type": "string" }));
    wider["message"]["memo"] = json!("");
    assert_eq!(one_effect(&payload(&wider)).kind, Kind::TypedData, "another type hash than any token checks");
    let mut nowhere = eip2612(WALLET, "9");
    nowhere["types"]["EIP712Domain"].as_array_mut().unwrap().pop();
    nowhere["domain"].as_object_mut().unwrap().remove("verifyingContract");
    assert_eq!(one_effect(&payload(&nowhere)).kind, Kind::TypedData, "no token named");
}

#[test]
fn permits_of_other_standards() {
    let dai = permit(
        &json!({ "Permit": fields(&[
            ("holder", "address"), ("spender", "address"), ("nonce", "uint256"), ("expiry", "uint256"), ("allowed", "bool"),
        ]) }),
        "Permit",
        COIN_TOKEN,
        &json!({ "holder": WALLET.to_string(), "spender": BOB.to_string(), "nonce": 0, "expiry": 0, "allowed": true }),
    );
    let effect = one_effect(&payload(&dai));
    assert_eq!((effect.kind, effect.unlimited), (Kind::TokenApproval, true));
    let mut revoked = dai;
    revoked["message"]["allowed"] = json!(false);
    let effect = one_effect(&payload(&revoked));
    assert_eq!((effect.amount, effect.unlimited), (Some(U256::ZERO), false));

    for primary in ["TransferWithAuthorization", "ReceiveWithAuthorization"] {
        let authorized = permit(
            &json!({ primary: fields(&[
                ("from", "address"), ("to", "address"), ("value", "uint256"),
                ("validAfter", "uint256"), ("validBefore", "uint256"), ("nonce", "bytes32"),
            ]) }),
            primary,
            COIN_TOKEN,
            &json!({
                "from": WALLET.to_string(), "to": BOB.to_string(), "value": "9",
                "validAfter": 0, "validBefore": 9, "nonce": format!("0x{}", "07".repeat(32)),
            }),
        );
        let effect = one_effect(&payload(&authorized));
        assert_eq!((effect.kind, effect.amount), (Kind::TokenTransfer, Some(U256::from(9))), "{primary}");
        assert_eq!(effect.destination, Some(BOB.to_string()), "{primary}");
    }
}

fn permit2(primary: &str, list: bool, contract: Address, count: usize, amount: &str) -> Value {
    let ty = if list { "PermitDetails[]" } else { "PermitDetails" };
    let detail = json!({ "token": COIN_TOKEN.to_string(), "amount": amount, "expiration": 5, "nonce": 0 });
    let details = if list { json!(vec![detail; count]) } else { detail };
    let mut document = permit(
        &json!({
            primary: fields(&[("details", ty), ("spender", "address"), ("sigDeadline", "uint256")]),
            "PermitDetails": fields(&[("token", "address"), ("amount", "uint160"), ("expiration", "uint48"), ("nonce", "uint48")]),
        }),
        primary,
        contract,
        &json!({ "details": details, "spender": BOB.to_string(), "sigDeadline": "5" }),
    );
    document["types"]["EIP712Domain"].as_array_mut().unwrap().remove(1);
    document["domain"].as_object_mut().unwrap().remove("version");
    document
}

#[test]
fn permit2_documents_are_approvals_of_each_token() {
    let effect = one_effect(&payload(&permit2("PermitSingle", false, PERMIT2, 1, "9")));
    assert_eq!((effect.kind, effect.amount), (Kind::TokenApproval, Some(U256::from(9))));
    assert_eq!(effect.asset, Some(format!("eip155:1/erc20:{COIN_TOKEN}")));
    assert_eq!(effect.destination, Some(BOB.to_string()));
    let most: U256 = (U256::ONE << 160) - U256::ONE;
    assert!(one_effect(&payload(&permit2("PermitSingle", false, PERMIT2, 1, &most.to_string()))).unlimited);
    assert_eq!(effects(&payload(&permit2("PermitBatch", true, PERMIT2, 3, "9"))).len(), 3);
    assert_eq!(code_of(&payload(&permit2("PermitBatch", true, PERMIT2, 65, "9"))), Code::PayloadTooComplex);
    assert_eq!(code_of(&payload(&permit2("PermitBatch", true, PERMIT2, 0, "9"))), Code::PayloadMalformed);
    let elsewhere = one_effect(&payload(&permit2("PermitSingle", false, STRANGER, 1, "9")));
    assert_eq!(elsewhere.kind, Kind::TypedData, "only Permit2 itself acts on it");
}

#[test]
fn one_time_permits_are_approvals_with_or_without_a_witness() {
    for (primary, witness) in [("PermitTransferFrom", false), ("PermitWitnessTransferFrom", true)] {
        let mut list = vec![
            ("permitted", "TokenPermissions"),
            ("spender", "address"),
            ("nonce", "uint256"),
            ("deadline", "uint256"),
        ];
        let mut message = json!({
            "permitted": { "token": COIN_TOKEN.to_string(), "amount": "9" },
            "spender": BOB.to_string(), "nonce": "1", "deadline": "5",
        });
        let mut types = json!({ "TokenPermissions": fields(&[("token", "address"), ("amount", "uint256")]) });
        if witness {
            list.push(("witness", "Order"));
            message["witness"] = json!({ "price": "3" });
            types["Order"] = fields(&[("price", "uint256")]);
        }
        types[primary] = fields(&list);
        let effect = one_effect(&payload(&permit(&types, primary, PERMIT2, &message)));
        assert_eq!((effect.kind, effect.amount), (Kind::TokenApproval, Some(U256::from(9))), "{primary}");
        assert_eq!(effect.asset, Some(format!("eip155:1/erc20:{COIN_TOKEN}")), "{primary}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "0x[0-9a-f]{0,64}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,6}", inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    /// Whatever a client puts where, the answer is an intent or an error, and an intent has alloy's digest.
    #[test]
    fn any_value_anywhere_is_understood_as_alloy_does_or_refused(
        place in prop::sample::select(vec![
            "/message/flag", "/message/small", "/message/large", "/message/signed", "/message/who", "/message/text",
            "/message/raw", "/message/four", "/message/numbers", "/message/parts", "/message/part", "/message",
            "/domain/name", "/domain/chainId", "/domain", "/types/All/0", "/types/All/0/type", "/types", "/primaryType",
        ]),
        value in any_json(),
    ) {
        let document = with(place, value);
        if let Ok(intent) = ask(&payload(&document)) {
            prop_assert_eq!(*intent.signing_digest(), alloys_digest(&document));
        }
    }

    /// Numbers, texts and lists of any content hash as alloy has them, and are shown as they are hashed.
    #[test]
    fn valid_documents_agree_with_alloy(
        large in any::<[u8; 32]>(),
        signed in any::<i16>(),
        text in ".{0,40}",
        raw in prop::collection::vec(any::<u8>(), 0..80),
        numbers in prop::collection::vec(any::<u64>(), 0..8),
    ) {
        let mut document = every_type();
        let message = &mut document["message"];
        message["large"] = json!(U256::from_be_bytes(large).to_string());
        message["signed"] = json!(signed);
        message["text"] = json!(text);
        message["raw"] = json!(format!("0x{}", hex::encode(&raw)));
        message["numbers"] = json!([numbers.iter().map(ToString::to_string).collect::<Vec<_>>(), []]);
        let intent = ask(&payload(&document)).unwrap();
        prop_assert_eq!(*intent.signing_digest(), alloys_digest(&document));
        let shown = &intent.description().detail["message"];
        prop_assert_eq!(&shown["large"], &document["message"]["large"]);
        prop_assert_eq!(&shown["signed"], &json!(signed.to_string()));
        prop_assert_eq!(&shown["text"], &json!(text));
    }
}
