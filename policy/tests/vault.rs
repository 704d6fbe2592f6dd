//! The example bundles of Bitcoin and Solana, and what a bundle says about decoding them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;

use chancery_intent::Contracts as _;
use chancery_intent::solana::{Cluster, address};
use chancery_policy::{Bundle, Source, Tested};

fn vault() -> Source {
    Source::from_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vault")).unwrap()
}

#[test]
fn the_vault_passes_its_own_tests() {
    let policy = Tested::compile(&vault()).unwrap_or_else(|error| panic!("{error:#?}"));
    assert_eq!(policy.bundle().test().len(), 11);
    assert!(
        !policy.bundle().contracts().anyone_can_pay(),
        "inputs stay closed unless a bundle says otherwise"
    );
}

/// Would catch a table that is read on another cluster, out of order, or with accounts that are none.
#[test]
fn the_payouts_pass_their_own_tests_and_a_bundle_says_what_tables_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/payouts");
    let payouts = Source::from_directory(&folder).unwrap();
    let policy = Tested::compile(&payouts).unwrap_or_else(|error| panic!("{error:#?}"));
    assert_eq!(policy.bundle().test().len(), 13);

    let [table, first, second] = [
        "Fpys8GRa5RBWfyeN7AaDUwFGD1zkDCA4z3t4CJLV8dfL",
        "71e8mDsh3PR6gN64zL1HjwuxyKpgRXrPDUJT7XXojsVd",
        "3WUX9wASxyScbA7brDipioKfXS1XEYkQ4vo3Kej9bKei",
    ];
    let with = |chain: &str, accounts: &str, times: usize| {
        let mut source = payouts.clone();
        let entry = format!(
            "\n[[lookup_table]]\nname = \"desk\"\nchain = \"{chain}\"\naddress = \"{table}\"\naccounts = [{accounts}]\n"
        );
        source.files.get_mut("bundle.toml").unwrap().push_str(&entry.repeat(times));
        Tested::compile(&source)
    };
    let both = format!("\"{first}\", \"{second}\"");
    let policy = with(Cluster::Devnet.chain(), &both, 1).unwrap_or_else(|error| panic!("{error:#?}"));
    let [table, first, second] = [table, first, second].map(|text| address(text).unwrap());
    let contracts = policy.bundle().contracts();
    assert_eq!(contracts.lookup_table(Cluster::Devnet, &table), Some(&[first, second][..]));
    assert_eq!(contracts.lookup_table(Cluster::Mainnet, &table), None);
    for (chain, accounts, times, why) in [
        ("eip155:1", both.as_str(), 1, "no cluster"),
        (Cluster::Devnet.chain(), "", 1, "nothing in it"),
        (Cluster::Devnet.chain(), "\"desk\"", 1, "no address"),
        (Cluster::Devnet.chain(), both.as_str(), 2, "said twice"),
    ] {
        assert!(with(chain, accounts, times).is_err(), "{why}");
    }
}

#[test]
fn a_bundle_may_leave_inputs_open_and_nothing_else() {
    let with = |setting: &str| {
        let mut source = vault();
        source.files.get_mut("bundle.toml").unwrap().push_str(&format!("\n[bitcoin]\n{setting}\n"));
        Tested::compile(&source)
    };
    assert!(with("anyone_can_pay = true").unwrap().bundle().contracts().anyone_can_pay());
    assert!(!with("anyone_can_pay = false").unwrap().bundle().contracts().anyone_can_pay());
    for bad in ["anyone_can_pay = \"yes\"", "sighash = [\"none\"]", "single = true"] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_address_of_another_network_is_a_finding() {
    let mut source = vault();
    let bundle = source.files.get_mut("bundle.toml").unwrap();
    *bundle = bundle.replace(
        "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    );
    assert!(Tested::compile(&source).is_err(), "a rule about it could never apply");
}

fn with_case(case: &str) -> Result<Bundle, String> {
    let mut source = vault();
    let head = "[[case]]\nname = \"tried\"\nclient = \"default/backend\"\nwallet = \"default/vault\"\n";
    let case = if case.contains("chain = ") {
        case.to_owned()
    } else {
        format!("chain = \"bip122:0f9188f13cb7b2c71f2a335e3a4fc328\"\n{case}")
    };
    source.files.insert("tests/tried.toml".into(), format!("{head}{case}"));
    Bundle::compile(&source).map_err(|error| error.to_string())
}

/// Would catch a case that passes although no Bitcoin transaction can do what it says.
#[test]
fn a_case_that_no_transaction_can_be_is_a_finding() {
    let effect = |rest: &str| with_case(&format!("expect = \"deny\"\n[[case.effect]]\n{rest}"));
    let coin = "asset = \"BTC\"\namount = \"1\"";
    effect(&format!("kind = \"transfer\"\n{coin}\ndestination = \"exchange\"")).unwrap();
    for (rest, told) in [
        (format!("kind = \"token_transfer\"\n{coin}"), "is a `token_transfer`"),
        ("kind = \"typed_data\"".to_owned(), "is a `typed_data`"),
        (format!("kind = \"transfer\"\nowner = \"exchange\"\n{coin}"), "not of Bitcoin"),
        ("kind = \"transfer\"\nunlimited = true\nasset = \"BTC\"".to_owned(), "not of Bitcoin"),
        (
            "kind = \"transfer\"\nasset = \"bip122:000000000019d6689c085ae165831e93/slip44:0\"\namount = \"1\"".to_owned(),
            "all there is",
        ),
        ("kind = \"transfer\"\nasset = \"BTC\"\namount = \"2_100_000_000_000_001\"".to_owned(), "no more than"),
        (format!("kind = \"data\"\nchange = true\n{coin}"), "`change`"),
    ] {
        let error = effect(&rest).unwrap_err();
        assert!(error.contains(told), "{rest}\n{error}");
    }
    let on_ethereum = |rest: &str| {
        with_case(&format!("chain = \"eip155:1\"\nexpect = \"deny\"\n[[case.effect]]\n{rest}")).unwrap_err()
    };
    assert!(on_ethereum("kind = \"data\"").contains("is a `data`"));
    assert!(on_ethereum("kind = \"transfer\"\nchange = true").contains("`change`"));
}

/// Would catch a payload decoded for another wallet than the case's, or not at all.
#[test]
fn a_payload_is_decoded_for_the_wallet_of_the_case() {
    let key = "public_key = \"02c7f12003196442943d8588e01aee840423cc54fc1521526a3b85c2b0cbd58872\"";
    let payload = "expect = \"allow\"\n[case.payload]\ntype = \"bitcoin.message\"\ndata = \"0x6869\"\n";
    let account = |more: &str| {
        let bundle = with_case(&format!("{more}\n{payload}"))?;
        let (description, explanation) = bundle.explain_case("tried").unwrap().unwrap();
        assert_eq!(explanation.evaluation.rules[0].as_str(), "messages");
        Ok::<_, String>(description.account.clone())
    };
    let simple = account(key).unwrap();
    assert!(simple.starts_with("bcrt1q"), "{simple}");
    assert_ne!(simple, account(&format!("{key}\ndescriptor = \"wsh(pk(@0))\"")).unwrap());
    for (more, told) in [
        (String::new(), "public_key"),
        ("public_key = \"02\"".to_owned(), "tried"),
        (format!("{key}\ndescriptor = \"wpkh(@1)\""), "tried"),
        (format!("{key}\ndescriptor = \"pkh(@0)\""), "the payload"),
        (format!("{key}\naccount = \"exchange\""), "follows from"),
        (format!("{key}\nfee = {{ asset = \"BTC\", amount = \"1\" }}"), "beside it"),
    ] {
        let error = account(&more).unwrap_err();
        assert!(error.contains(told), "{more}\n{error}");
    }
    let idle = with_case(&format!("{key}\nexpect = \"allow\"\n[[case.effect]]\nkind = \"message\"\n"));
    assert!(idle.unwrap_err().contains("`public_key`"), "a key that decodes nothing");
}

/// Would catch a bundle that could not hold what decoding refuses, or a case that takes any refusal for the one it names.
#[test]
fn a_case_may_expect_that_decoding_refuses() {
    let key = "public_key = \"02c7f12003196442943d8588e01aee840423cc54fc1521526a3b85c2b0cbd58872\"";
    let case = |expected: &str, data: &str| {
        let payload = format!("[case.payload]\ntype = \"bitcoin.psbt\"\ndata = \"{data}\"");
        with_case(&format!("{key}\n{expected}\n{payload}"))
    };
    let malformed = |expected| case(expected, "cHNidP8A").map(|bundle| bundle.test().pop().unwrap());
    for (expected, passed) in [
        ("expect = \"refused\"", true),
        ("expect = \"refused\"\ncode = \"payload-malformed\"", true),
        ("expect = \"refused\"\ncode = \"sighash-not-allowed\"", false),
    ] {
        let result = malformed(expected).unwrap();
        assert_eq!(result.passed, passed, "{expected}: {}", result.answer);
        assert_eq!(result.answer.to_string(), "refused (payload-malformed)");
    }
    for (expected, told) in [
        ("expect = \"deny\"", "the payload: "),
        ("expect = \"deny\"\ncode = \"payload-malformed\"", "`code`"),
        ("expect = \"refused\"\ncode = \"unheard-of\"", "`unheard-of`"),
        ("expect = \"refused\"\nrules = [\"messages\"]", "`rules`"),
    ] {
        let error = malformed(expected).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    let message = with_case(&format!(
        "{key}\nexpect = \"refused\"\n[case.payload]\ntype = \"bitcoin.message\"\ndata = \"0x6869\""
    ));
    let result = message.unwrap().test().pop().unwrap();
    assert!(!result.passed && result.answer.to_string().starts_with("allowed"), "{}", result.answer);
    let effects = with_case("expect = \"refused\"\n[[case.effect]]\nkind = \"message\"").unwrap_err();
    assert!(effects.contains("`payload`"), "{effects}");
}
