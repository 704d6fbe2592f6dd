//! Every kind of finding: what causes it, and that it says where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod scene;

use std::collections::BTreeSet;

use chancery_policy::{Bundle, FindingCode, PolicyError, Source, Tested};
use scene::{MANIFEST, OPEN, codes, compile, source, with_manifest};

/// A bundle with one defect: what it is, where it must be found.
struct Defect {
    what: &'static str,
    source: Source,
    code: FindingCode,
    file: &'static str,
    line: u32,
}

fn in_policy(what: &'static str, code: FindingCode, line: u32, text: &str) -> Defect {
    Defect { what, source: source(text), code, file: "policies/main.cedar", line }
}

/// `more` is put behind the manifest, so its first line is the one after.
fn in_manifest(what: &'static str, code: FindingCode, line: u32, more: &str) -> Defect {
    let lines = u32::try_from(MANIFEST.lines().count()).unwrap();
    let source = with_manifest(&format!("{MANIFEST}{more}"), OPEN);
    Defect { what, source, code, file: "bundle.toml", line: lines + line }
}

fn in_head(what: &'static str, code: FindingCode, line: u32, from: &str, to: &str) -> Defect {
    assert!(MANIFEST.contains(from), "{from}");
    Defect {
        what,
        source: with_manifest(&MANIFEST.replacen(from, to, 1), OPEN),
        code,
        file: "bundle.toml",
        line,
    }
}

fn with_file(what: &'static str, code: FindingCode, file: &'static str, line: u32, text: &str) -> Defect {
    let mut source = source(OPEN);
    source.files.insert(file.into(), text.into());
    Defect { what, source, code, file, line }
}

fn goal(rest: &str) -> String {
    format!("[[goal]]\nname = \"x\"\ndescription = \"\"\n{rest}")
}

fn case(body: &str) -> String {
    format!(
        "[[case]]\nname = \"x\"\nclient = \"default/c\"\nwallet = \"default/w\"\nchain = \"eip155:1\"\nexpect = \"deny\"\n{body}"
    )
}

const MESSAGE: &str = "[[case.effect]]\nkind = \"message\"\n";

fn defects() -> Vec<Defect> {
    use FindingCode as F;
    let address = |name: &str, address: &str, chain: &str| {
        format!("[[address]]\nname = \"{name}\"\naddress = \"{address}\"\nchains = [\"{chain}\"]\n")
    };
    let limit = |more: &str| format!("[[limit]]\nname = \"x\"\nmeasure = \"sum\"\nwindow = \"1h\"\n{more}");
    let mut no_manifest = source(OPEN);
    no_manifest.files.remove("bundle.toml");
    let mut huge = source(OPEN);
    huge.files.insert("policies/huge.cedar".into(), " ".repeat(chancery_core::limit::BUNDLE_BYTES));
    let long = format!(
        "@id(\"l\") permit (principal, action, resource) when {{ context.chain != \"{}\" }};",
        "x".repeat(33_000)
    );
    vec![
        Defect {
            what: "no manifest",
            source: no_manifest,
            code: F::ManifestMissing,
            file: "bundle.toml",
            line: 0,
        },
        Defect { what: "too large", source: huge, code: F::Size, file: "bundle.toml", line: 0 },
        with_file("a path outside", F::Path, "policies/../x.cedar", 0, ""),
        with_file("a misnamed rule file", F::Path, "policies/x.ceder", 0, ""),
        in_policy("a policy that is too long", F::Size, 1, &long),
        // policies
        in_policy("not Cedar", F::Syntax, 2, "@id(\"a\") permit (principal, action, resource)\nwhen { ; };"),
        in_policy("no id", F::IdMissing, 2, "\npermit (principal, action, resource);"),
        in_policy(
            "one id twice",
            F::IdDuplicate,
            2,
            &format!("{OPEN}@id(\"open\") forbid (principal, action, resource);"),
        ),
        in_policy(
            "a capital in an id",
            F::IdMalformed,
            1,
            "@id(\"Open\") permit (principal, action, resource);",
        ),
        in_policy(
            "a reserved id",
            F::IdMalformed,
            1,
            "@id(\"default-deny\") permit (principal, action, resource);",
        ),
        in_policy(
            "a misspelt obligation",
            F::AnnotationUnknown,
            1,
            "@id(\"a\") @qourum(\"treasury, 2\") permit (principal, action, resource);",
        ),
        in_policy(
            "an unknown approver group",
            F::ObligationMalformed,
            1,
            "@id(\"a\") @quorum(\"nobody, 2\") permit (principal, action, resource);",
        ),
        in_policy(
            "an expiry of nothing",
            F::ObligationMalformed,
            1,
            "@id(\"a\") @expires(\"1h\") permit (principal, action, resource);",
        ),
        in_policy(
            "an obligation on a forbid",
            F::ObligationOnForbid,
            1,
            "@id(\"a\") @quorum(\"treasury, 2\") forbid (principal, action, resource);",
        ),
        in_policy(
            "approvals read by hand",
            F::ObligationByHand,
            1,
            "@id(\"a\") permit (principal, action, resource) when { context.approvals.treasury >= 2 };",
        ),
        in_policy(
            "vetoes tested by hand",
            F::ObligationByHand,
            1,
            "@id(\"a\") permit (principal, action, resource) when { context has vetoes };",
        ),
        in_policy(
            "a change that asks nobody",
            F::ChangeUnguarded,
            1,
            "@id(\"a\") permit (principal, action == Action::\"change\", resource);",
        ),
        in_policy(
            "a template",
            F::Template,
            1,
            "@id(\"a\") permit (principal == ?principal, action, resource);",
        ),
        in_policy(
            "an attribute that is not there",
            F::Type,
            2,
            "@id(\"a\") permit (principal, action, resource) when {\ncontext.amuont <= 1 };",
        ),
        in_policy(
            "a number compared with text",
            F::Type,
            1,
            "@id(\"a\") permit (principal, action, resource) when { context.amount <= \"1\" };",
        ),
        in_policy(
            "a limit that is not declared",
            F::Suspicious,
            1,
            "@id(\"a\") permit (principal, action, resource) when { context.spent has weekly && context.spent.weekly <= 1 };",
        ),
        in_policy(
            "a rule that can never apply",
            F::Suspicious,
            1,
            "@id(\"a\") forbid (principal, action, resource) when { false };",
        ),
        in_policy(
            "an address in lower case",
            F::Literal,
            1,
            &format!(
                "@id(\"a\") forbid (principal, action, resource) when {{ context.account == Address::\"eip155:1:{}\" }};",
                scene::ALICE.to_lowercase()
            ),
        ),
        in_policy(
            "an address without its chain",
            F::Literal,
            1,
            &format!(
                "@id(\"a\") forbid (principal, action, resource) when {{ context.account == Address::\"{}\" }};",
                scene::ALICE
            ),
        ),
        in_policy(
            "a wallet without its tenant",
            F::Literal,
            1,
            "@id(\"a\") forbid (principal, action, resource == Wallet::\"main\");",
        ),
        in_policy(
            "a token id in an asset",
            F::Literal,
            1,
            &format!(
                "@id(\"a\") forbid (principal, action, resource) when {{ context has asset && context.asset == Asset::\"{}/42\" }};",
                scene::TOKEN
            ),
        ),
        in_policy(
            "a group nobody is in",
            F::Unknown,
            1,
            "@id(\"a\") forbid (principal in ClientGroup::\"backend\", action, resource);",
        ),
        in_policy(
            "an address group nobody is in",
            F::Unknown,
            1,
            "@id(\"a\") forbid (principal, action, resource) when { context.account in AddressGroup::\"payee\" };",
        ),
        // the manifest
        in_head("not TOML", F::Syntax, 1, "version = 1", "version = "),
        in_head("an unknown key", F::Syntax, 2, "name = \"scene\"", "nmae = \"scene\""),
        in_head("another version", F::Value, 1, "version = 1", "version = 2"),
        in_head("a name with a capital", F::Value, 2, "\"scene\"", "\"Scene\""),
        in_head("no offset", F::Value, 3, "approvers", "utc_offset = \"CET\"\napprovers"),
        in_head("an approver group Cedar cannot name", F::Value, 3, "\"risk\"]", "\"risk-team\"]"),
        in_head("an approver group twice", F::Duplicate, 3, "\"risk\"]", "\"treasury\"]"),
        in_head("a client without its tenant", F::Value, 7, "\"default/backend\"", "\"backend\""),
        in_head(
            "a client twice in a group",
            F::Duplicate,
            7,
            "[\"default/backend\"]",
            "[\"default/backend\", \"default/backend\"]",
        ),
        in_head(
            "a unit finer than the asset",
            F::Value,
            18,
            "decimals = 6",
            "decimals = 6\nunit_decimals = 7",
        ),
        in_head("too many decimals", F::Value, 18, "decimals = 6", "decimals = 37"),
        in_head("an asset that is none", F::Value, 18, "\"eip155:1/erc20:", "\"eip155:1/ERC20:"),
        in_head("a price of nothing", F::Value, 23, "\"3000\"", "\"0\""),
        in_head("a price until whenever", F::Value, 23, "2026-01-05T13:00:00Z", "tomorrow"),
        in_manifest(
            "a second price",
            F::Duplicate,
            1,
            "[[price]]\nasset = \"eip155:1/slip44:60\"\nusd = \"1\"\nexpires = \"2026-01-05T13:00:00Z\"\n",
        ),
        in_manifest(
            "a price of an unknown asset",
            F::Unknown,
            1,
            "[[price]]\nasset = \"eip155:2/slip44:60\"\nusd = \"1\"\nexpires = \"2026-01-05T13:00:00Z\"\n",
        ),
        in_manifest(
            "an asset twice",
            F::Duplicate,
            1,
            "[[asset]]\nid = \"eip155:1/slip44:60\"\nname = \"ETC\"\ndecimals = 18\n",
        ),
        in_manifest(
            "an asset's name twice",
            F::Duplicate,
            1,
            "[[asset]]\nid = \"eip155:1/slip44:61\"\nname = \"ETH\"\ndecimals = 18\n",
        ),
        in_manifest("an address that is none", F::Value, 1, &address("bob", "0x12", "eip155:1")),
        in_manifest("a chain that is none", F::Value, 1, &address("bob", scene::BOB, "mainnet")),
        in_manifest("a name in the book twice", F::Duplicate, 1, &address("alice", scene::BOB, "eip155:1")),
        in_manifest(
            "an address in the book twice",
            F::Duplicate,
            1,
            &address("bob", scene::ALICE, "eip155:1"),
        ),
        in_manifest(
            "a contract without its ABI",
            F::Unknown,
            1,
            &format!(
                "[[contract]]\nname = \"v\"\naddress = \"{}\"\nchains = [\"eip155:1\"]\nabi = \"abi/v.json\"\n",
                scene::BOB
            ),
        ),
        in_manifest("a sum over different assets", F::Value, 1, &limit("keys = [\"wallet\"]\n")),
        in_manifest(
            "a limit of an unknown asset",
            F::Unknown,
            1,
            &limit("assets = [\"eip155:9/slip44:60\"]\n"),
        ),
        in_manifest(
            "a limit twice",
            F::Duplicate,
            1,
            &limit("keys = [\"asset\"]\n").replace("\"x\"", "\"daily\""),
        ),
        in_manifest(
            "a limit Cedar cannot name",
            F::Value,
            1,
            &limit("keys = [\"asset\"]\n").replace("\"x\"", "\"per-day\""),
        ),
        in_manifest(
            "a window without a unit",
            F::Value,
            1,
            &limit("keys = [\"asset\"]\n").replace("1h", "1"),
        ),
        in_manifest("a key that is none", F::Syntax, 5, &limit("keys = [\"asset\", \"colour\"]\n")),
        // other files
        with_file("not an ABI", F::Syntax, "abi/v.json", 2, "[\n{\"type\": 1}]"),
        with_file("a test that is not TOML", F::Syntax, "tests/x.toml", 1, "[[case]"),
        with_file(
            "an unknown key in a test",
            F::Syntax,
            "tests/x.toml",
            7,
            &case(&format!("limits = 1\n{MESSAGE}")),
        ),
        with_file("a test of nothing", F::Value, "tests/x.toml", 1, &case("")),
        with_file(
            "a test of an unknown rule",
            F::Unknown,
            "tests/x.toml",
            1,
            &case(&format!("rules = [\"opne\"]\n{MESSAGE}")),
        ),
        with_file(
            "a test of an unknown limit",
            F::Unknown,
            "tests/x.toml",
            1,
            &case(&format!("spent = {{ weekly = 1 }}\n{MESSAGE}")),
        ),
        with_file(
            "a test with an unknown approver",
            F::Unknown,
            "tests/x.toml",
            1,
            &case(&format!("approvals = {{ nobody = 1 }}\n{MESSAGE}")),
        ),
        with_file(
            "a test with a payload that does not decode",
            F::Value,
            "tests/x.toml",
            1,
            &case("payload = { type = \"ethereum.transaction\", data = \"0x02c0\" }\n"),
        ),
        with_file("a goal that is not TOML", F::Syntax, "goals/x.toml", 1, "[[goal]"),
        with_file(
            "an unknown key in a goal",
            F::Syntax,
            "goals/x.toml",
            5,
            &goal("allowed = \"never\"\nwhenn = \"true\"\n"),
        ),
        with_file("a goal that claims nothing", F::Value, "goals/x.toml", 1, &goal("")),
        with_file(
            "a goal that claims two things",
            F::Value,
            "goals/x.toml",
            1,
            &goal("allowed = \"never\"\nquorum = \"treasury, 2\"\n"),
        ),
        with_file(
            "a goal whose name is none",
            F::Value,
            "goals/x.toml",
            1,
            &goal("allowed = \"never\"\n").replace("\"x\"", "\"X\""),
        ),
        with_file(
            "two goals with one name",
            F::Duplicate,
            "goals/x.toml",
            5,
            &goal("allowed = \"never\"\n").repeat(2),
        ),
        with_file(
            "a goal with an unknown approver",
            F::ObligationMalformed,
            "goals/x.toml",
            1,
            &goal("quorum = \"nobody, 2\"\n"),
        ),
        with_file(
            "a goal whose condition is no Cedar",
            F::Syntax,
            "goals/x.toml",
            4,
            &goal("when = \"context.amount >\"\nallowed = \"never\"\n"),
        ),
        with_file(
            "a goal whose condition is two",
            F::Syntax,
            "goals/x.toml",
            4,
            &goal("when = \"true } unless { false\"\nallowed = \"never\"\n"),
        ),
        with_file(
            "a goal that reads what is not there",
            F::Type,
            "goals/x.toml",
            4,
            &goal("when = \"context.amonut > 1\"\nallowed = \"never\"\n"),
        ),
        with_file(
            "a goal that can never be broken",
            F::Suspicious,
            "goals/x.toml",
            4,
            &goal("when = \"context has amonut\"\nallowed = \"never\"\n"),
        ),
        with_file(
            "a goal about a group nobody is in",
            F::Unknown,
            "goals/x.toml",
            4,
            &goal("when = 'context.account in AddressGroup::\"payee\"'\nallowed = \"never\"\n"),
        ),
        with_file(
            "a goal that nests too deep",
            F::Size,
            "goals/x.toml",
            4,
            &goal(&format!("when = \"{}true{}\"\nallowed = \"never\"\n", "(".repeat(40), ")".repeat(40))),
        ),
        with_file(
            "two tests with one name",
            F::Duplicate,
            "tests/x.toml",
            9,
            &format!("{}{}", case(MESSAGE), case(MESSAGE)),
        ),
    ]
}

#[test]
fn each_defect_is_found_where_it_is() {
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for defect in defects() {
        let Err(error) = compile(&defect.source) else {
            wrong.push(format!("{} was not found", defect.what));
            continue;
        };
        let finding = &error.findings[0];
        let placed = (finding.file.as_str(), finding.line) == (defect.file, defect.line);
        if codes(&error).iter().any(|code| *code != defect.code) || !placed || finding.message.ends_with('.')
        {
            wrong.push(format!(
                "{}: not {} at {}:{}, but\n{error}",
                defect.what, defect.code, defect.file, defect.line
            ));
        }
        found.insert(finding.code);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<_> = FindingCode::ALL.iter().copied().collect();
    assert_eq!(found, all, "a kind of finding that no test causes");
}

#[test]
fn all_findings_are_told_at_once() {
    let policies = "permit (principal, action, resource);\n@id(\"a\") @vet(\"x\") forbid (principal, action, resource);\n";
    let mut source = with_manifest(&MANIFEST.replacen("\"scene\"", "\"Scene\"", 1), policies);
    source.files.insert("tests/x.toml".into(), case(""));
    let error = compile(&source).unwrap_err();
    assert_eq!(
        codes(&error),
        [FindingCode::Value, FindingCode::IdMissing, FindingCode::AnnotationUnknown, FindingCode::Value]
    );
    let text = error.to_string();
    assert!(text.contains("policies/main.cedar:1:1: the policy has no `@id` [id-missing]\n    hint: put `@id(\"some-name\")`"), "{text}");
}

#[test]
fn findings_are_bounded() {
    let policies = "permit (principal, action, resource);\n".repeat(300);
    let error = compile(&source(&policies)).unwrap_err();
    assert_eq!((error.findings.len(), error.more), (200, 100));
    assert_eq!(error.findings[199].line, 200, "each policy is found at its own line");
}

#[test]
fn a_bundle_with_a_failing_test_cannot_be_applied() {
    let mut source = source(OPEN);
    source.files.insert("tests/x.toml".into(), case(MESSAGE));
    let bundle = Bundle::compile(&source).unwrap();
    assert!(!bundle.test()[0].passed, "it expects a denial, and everything is open");
    let refused = Tested::compile(&source).unwrap_err();
    assert!(matches!(&refused, PolicyError::Untested { failed } if failed.len() == 1), "{refused}");
    assert_eq!(refused.to_string(), "1 of the bundle's own tests failed: `x`");
    source.files.insert("tests/x.toml".into(), case(MESSAGE).replace("deny", "allow"));
    assert!(Tested::compile(&source).is_ok());
}

#[test]
fn a_test_that_names_rules_fails_on_others() {
    let mut source = source(&format!("{OPEN}@id(\"also\") permit (principal, action, resource);"));
    let named = |rules: &str| case(&format!("rules = {rules}\n{MESSAGE}")).replace("deny", "allow");
    for (rules, passes) in [("[\"open\"]", false), ("[\"also\", \"open\"]", true), ("[]", false)] {
        source.files.insert("tests/x.toml".into(), named(rules));
        assert_eq!(Bundle::compile(&source).unwrap().test()[0].passed, passes, "{rules}");
    }
}

#[test]
fn a_folder_with_a_stray_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("bundle.toml", MANIFEST);
    write("policies/main.cedar", OPEN);
    write("README.md", "for people");
    let read = Source::from_directory(folder.path()).unwrap();
    assert_eq!(read, source(OPEN), "a README is no part of a bundle");
    for stray in ["policies/stop.cedar.bak", "policies/sub/stop.cedar", "stop.cedar", "tests/x.cedar"] {
        write(stray, "");
        let refused = Source::from_directory(folder.path()).unwrap_err();
        assert!(matches!(refused, PolicyError::Refused { .. }), "{stray}: {refused}");
        let top = folder.path().join(stray);
        if stray.contains("/sub/") {
            std::fs::remove_dir_all(top.parent().unwrap()).unwrap();
        } else {
            std::fs::remove_file(top).unwrap();
        }
    }
    write("tests/large.toml", &" ".repeat(chancery_core::limit::BUNDLE_BYTES));
    assert!(
        matches!(Source::from_directory(folder.path()), Err(PolicyError::Refused { .. })),
        "more than a bundle may hold"
    );
    assert!(matches!(Source::from_directory(&folder.path().join("none")), Err(PolicyError::Read { .. })));
}
