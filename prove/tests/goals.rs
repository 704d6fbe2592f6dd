//! Goals through a real solver: what holds is proved, what does not is shown, and every example that is shown is decided by
//! the bundle as it says. Would catch a proof about something other than what decides. Without a solver these tests say so
//! and pass; `cargo xtask test` brings one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use chancery_policy::{Answer, Bundle, Example, Outcome, Source, Subject};
use chancery_prove::{Options, Proof, Prover, Report, Solver, Verdict};

const MANIFEST: &str = r#"version = 1
name = "goals"
approvers = ["treasury", "risk"]
factors = ["face"]
[groups.clients]
backends = ["default/backend"]
[groups.wallets]
hot = ["default/main"]
[[asset]]
id = "eip155:1/slip44:60"
name = "ETH"
decimals = 18
groups = ["ether"]
[[asset]]
id = "eip155:1/erc20:0x5FbDB2315678afecb367f032d93F642f64180aa3"
name = "USDX"
decimals = 6
[[price]]
asset = "eip155:1/slip44:60"
usd = "3150.25"
expires = "2026-01-05T18:00:00Z"
[[address]]
name = "exchange"
address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
chains = ["eip155:1"]
groups = ["payees"]
[[address]]
name = "supplier"
address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
chains = ["eip155:1"]
groups = ["payees", "friends"]
[[limit]]
name = "daily"
measure = "sum"
keys = ["wallet", "asset"]
window = "24h"
[[limit]]
name = "worth"
measure = "usd"
keys = ["client"]
window = "24h"
"#;

/// Ether to payees, two approvals above one ether, nothing above ten a day.
const POLICIES: &str = r#"
@id("small") permit (principal in ClientGroup::"backends", action == Action::"transfer", resource in WalletGroup::"hot")
when { context has asset && context.asset in AssetGroup::"ether" && context has destination &&
       context.destination in AddressGroup::"payees" && context.amount <= 1000000000 };
@id("large") @quorum("treasury, 2") @veto("risk")
permit (principal in ClientGroup::"backends", action == Action::"transfer", resource in WalletGroup::"hot")
when { context has asset && context.asset in AssetGroup::"ether" && context has destination &&
       context.destination in AddressGroup::"payees" };
@id("most") forbid (principal, action, resource)
when { context.spent has daily && context.spent.daily > 10000000000 };
"#;

fn prover(rules: bool) -> Option<Prover> {
    match Solver::find() {
        Ok(solver) => {
            Some(Prover::new(solver, Options { rules, limit: Duration::from_secs(60), ..Options::default() }))
        }
        Err(error) => {
            println!("skipped: {error}; `cargo xtask setup` brings one");
            None
        }
    }
}

fn bundle(policies: &str, goals: &str) -> Bundle {
    with_manifest(MANIFEST, policies, goals)
}

fn with_manifest(manifest: &str, policies: &str, goals: &str) -> Bundle {
    let files = [("bundle.toml", manifest), ("policies/main.cedar", policies), ("goals/main.toml", goals)];
    let source = Source { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() };
    Bundle::compile(&source).unwrap_or_else(|error| panic!("{error}"))
}

fn goal(name: &str, rest: &str) -> String {
    format!("[[goal]]\nname = \"{name}\"\ndescription = \"\"\n{rest}\n")
}

fn prove(prover: &Prover, bundle: &Bundle, old: Option<&Bundle>) -> Report {
    let report = prover.prove(bundle, old, &|_, _, proof| println!("{proof}")).unwrap();
    for proof in &report.proofs {
        if let Verdict::Broken { example } = &proof.verdict {
            confirm(bundle, &proof.subject, example);
        }
    }
    report
}

/// The printed case, pasted into the bundle, is read as any other and decided as the example says.
fn confirm(bundle: &Bundle, subject: &Subject, example: &Example) {
    let mut source = bundle.source().clone();
    source.files.insert("tests/example.toml".into(), example.case.clone());
    let pasted = Bundle::compile(&source).unwrap_or_else(|error| panic!("{error}\n{}", example.case));
    let result = pasted.test().pop().unwrap();
    let expected = match subject {
        Subject::Goal(_) | Subject::Against => Outcome::Allowed,
        Subject::Error(_) => Outcome::Denied,
        Subject::Dead(_) => return,
    };
    let Answer::Evaluation(said) = &result.answer else { panic!("{}", result.answer) };
    assert_eq!(said.outcome, expected, "{}", example.case);
    assert!(!result.passed, "a case that the bundle should mend passes already:\n{}", example.case);
    if let Subject::Error(rule) = subject {
        assert!(said.errors.iter().any(|fault| fault.rule.as_str() == rule));
    }
}

fn verdict<'r>(report: &'r Report, name: &str) -> &'r Proof {
    let named = |proof: &&Proof| match &proof.subject {
        Subject::Goal(own) => own == name,
        _ => false,
    };
    report.proofs.iter().find(named).unwrap()
}

const PROVED: &[(&str, &str)] = &[
    (
        "tokens-stay",
        "when = 'context has asset && context.asset == Asset::\"eip155:1/erc20:0x5FbDB2315678afecb367f032d93F642f64180aa3\"'\nallowed = \"never\"",
    ),
    (
        "only-transfers",
        "actions = [\"token_transfer\", \"token_approval\", \"contract_call\", \"deployment\", \"authorization\", \"message\", \"typed_data\"]\nallowed = \"never\"",
    ),
    (
        "payees-only",
        "allowed_only = 'context has destination && context.destination in AddressGroup::\"payees\"'",
    ),
    ("large-needs-two", "when = 'context.amount > 1000000000'\nquorum = \"treasury, 2\""),
    ("nothing-above-ten", "when = 'context.amount > 10000000000'\nallowed = \"never\""),
    ("ten-a-day", "allowed_only = 'context.spent has daily && context.spent.daily <= 10000000000'"),
    (
        "value-needs-two",
        "# 3,150.25 USD for one ether\nwhen = 'context has value_usd_cents && context.value_usd_cents > 315025'\nquorum = \"treasury, 2\"",
    ),
    ("one-chain", "when = 'context.chain != \"eip155:1\"'\nallowed = \"never\""),
    (
        "only-the-backend",
        "allowed_only = 'principal == Client::\"default/backend\" && resource == Wallet::\"default/main\"'",
    ),
    (
        "never-negative",
        "when = 'context.amount < 0 || context.spent has daily && context.spent.daily < context.amount'\nallowed = \"never\"",
    ),
];

const BROKEN: &[(&str, &str)] = &[
    ("two-approvals-always", "quorum = \"treasury, 2\""),
    ("half-an-ether", "when = 'context.amount > 500000000'\nquorum = \"treasury, 2\""),
    ("three-approvals", "when = 'context.amount > 1000000000'\nquorum = \"treasury, 3\""),
    (
        "never-to-friends",
        "when = 'context has destination && context.destination in AddressGroup::\"friends\"'\nallowed = \"never\"",
    ),
    (
        "exchange-only",
        "allowed_only = 'context has destination && context.destination == Address::\"eip155:1:0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"'",
    ),
    ("nine-a-day", "allowed_only = 'context.spent has daily && context.spent.daily <= 9000000000'"),
    (
        "value-bounded",
        "when = 'context has value_usd_cents && context.value_usd_cents > 3000000'\nallowed = \"never\"",
    ),
    ("face", "when = 'context.amount > 1000000000'\nfactor = \"face\""),
    ("never-at-night", "when = 'context.time.weekday == 6 && context.time.hour < 6'\nallowed = \"never\""),
    ("no-fees", "when = 'context.fee > 100'\nallowed = \"never\""),
    ("signed-by-the-client", "when = '!context.request_signed'\nallowed = \"never\""),
    ("never-signed-by-the-client", "when = 'context.request_signed'\nallowed = \"never\""),
    ("a-day-to-think", "when = 'context.amount > 1000000000'\ndelay = \"24h\""),
];

#[test]
fn what_holds_is_proved() {
    let Some(prover) = prover(false) else { return };
    let goals: String = PROVED.iter().map(|(name, rest)| goal(name, rest)).collect();
    let report = prove(&prover, &bundle(POLICIES, &goals), None);
    for (name, _) in PROVED {
        assert_eq!(verdict(&report, name).verdict, Verdict::Proved, "{name}");
    }
    assert!(report.is_good());
}

#[test]
fn what_does_not_hold_is_shown_by_a_request_that_is_really_allowed() {
    let Some(prover) = prover(false) else { return };
    let goals: String = BROKEN.iter().map(|(name, rest)| goal(name, rest)).collect();
    let report = prove(&prover, &bundle(POLICIES, &goals), None);
    for (name, _) in BROKEN {
        assert!(matches!(verdict(&report, name).verdict, Verdict::Broken { .. }), "{name}");
    }
    assert!(!report.is_good());
}

#[test]
fn dead_and_failing_rules_are_found() {
    let Some(prover) = prover(true) else { return };
    let policies = format!(
        "{POLICIES}\
         @id(\"dead\") permit (principal, action == Action::\"transfer\", resource) when {{ context.amount > 5 && context.amount < 4 }};\n\
         @id(\"elsewhere\") forbid (principal, action, resource) when {{ context.chain == \"eip155:5\" && context has destination && context.destination in AddressGroup::\"payees\" }};\n\
         @id(\"overflows\") forbid (principal, action, resource) when {{ context.amount + context.fee > 9000000000000000000 }};\n\
         @id(\"guarded\") forbid (principal, action, resource) when {{ context.amount < 100 && context.amount + 5 > 200 }};\n"
    );
    let report = prove(&prover, &bundle(&policies, ""), None);
    let bad: Vec<_> =
        report.failures().map(|proof| (proof.subject.clone(), proof.verdict == Verdict::Proved)).collect();
    assert_eq!(
        bad,
        [
            (Subject::Dead("dead".into()), true),
            (Subject::Dead("elsewhere".into()), true),
            (Subject::Dead("guarded".into()), true),
            (Subject::Error("overflows".into()), false),
        ]
    );
}

/// An erroring forbid is skipped by Cedar and denies here: what is proved must be what decides.
#[test]
fn a_rule_that_fails_denies_in_proofs_too() {
    let Some(prover) = prover(false) else { return };
    let fails = "@id(\"open\") permit (principal, action, resource);\n\
                 @id(\"fails\") forbid (principal, action, resource) when { context.fee + 9223372036854775807 < 0 };\n";
    let goals = goal("no-fee-passes", "when = 'context.fee > 0'\nallowed = \"never\"");
    let report = prove(&prover, &bundle(fails, &goals), None);
    assert_eq!(verdict(&report, "no-fee-passes").verdict, Verdict::Proved);
}

/// Groups are written out as members, but actions have theirs in the schema.
#[test]
fn a_rule_about_the_group_of_all_actions_is_no_dead_rule() {
    let Some(prover) = prover(true) else { return };
    let open = "@id(\"open\") permit (principal, action, resource) when { action in Action::\"sign\" && principal in [ClientGroup::\"backends\"] };";
    let goals = goal("nothing", "allowed = \"never\"")
        + &goal("others", "when = 'principal != Client::\"default/backend\"'\nallowed = \"never\"");
    let report = prove(&prover, &bundle(open, &goals), None);
    let bad: Vec<_> = report.failures().map(|proof| proof.subject.clone()).collect();
    assert_eq!(bad, [Subject::Goal("nothing".into())]);
}

/// The example's goal, and what there is without its one forbid.
#[test]
fn guarded_wallets_need_the_client() {
    let Some(prover) = prover(false) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples/guarded");
    let mut source = Source::from_directory(&folder).unwrap();
    let report = prove(&prover, &Bundle::compile(&source).unwrap(), None);
    assert!(report.is_good());
    let policies = source.files.get_mut("policies/guarded.cedar").unwrap();
    *policies = policies.replace("unless { context.request_signed }", "when { context.unlimited }");
    source.files.remove("tests/guarded.toml");
    let report = prove(&prover, &Bundle::compile(&source).unwrap(), None);
    let broken = &verdict(&report, "guarded-wallets-need-the-client").verdict;
    assert!(matches!(broken, Verdict::Broken { .. }), "{broken:?}");
}

fn allows_more(prover: &Prover, new: &Bundle, old: &Bundle) -> Verdict {
    let report = prove(prover, new, Some(old));
    let proof = report.proofs.into_iter().find(|proof| proof.subject == Subject::Against).unwrap();
    if let Verdict::Broken { example } = &proof.verdict {
        assert_ne!(example.before.as_ref().unwrap().outcome, Outcome::Allowed);
    }
    proof.verdict
}

#[test]
fn a_looser_bundle_is_told_from_a_tighter_one() {
    let Some(prover) = prover(false) else { return };
    let old = bundle(POLICIES, "");
    let loosened = |verdict: Verdict| matches!(verdict, Verdict::Broken { .. });
    let change = |from: &str, to: &str| {
        assert!(POLICIES.contains(from));
        bundle(&POLICIES.replace(from, to), "")
    };
    assert_eq!(allows_more(&prover, &old, &old), Verdict::Proved, "the same");
    assert_eq!(allows_more(&prover, &change("treasury, 2", "treasury, 3"), &old), Verdict::Proved, "tighter");
    assert!(loosened(allows_more(&prover, &change("treasury, 2", "treasury, 1"), &old)), "one approval less");
    assert!(
        loosened(allows_more(&prover, &change("<= 1000000000 }", "<= 1000000001 }"), &old)),
        "one gwei more"
    );
    assert!(loosened(allows_more(&prover, &change("@veto(\"risk\")", ""), &old)), "a veto less");
    let manifest = |from: &str, to: &str| {
        assert!(MANIFEST.contains(from));
        with_manifest(&MANIFEST.replacen(from, to, 1), POLICIES, "")
    };
    let book =
        manifest("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x90F79bf6EB2c4f870365E785982E1f101E93b906");
    assert!(loosened(allows_more(&prover, &book, &old)), "another payee by the same name");
    let fewer = manifest("groups = [\"payees\"]", "groups = [\"friends\"]");
    assert_eq!(allows_more(&prover, &fewer, &old), Verdict::Proved, "a payee less");
    let window = manifest(
        "keys = [\"wallet\", \"asset\"]\nwindow = \"24h\"",
        "keys = [\"wallet\", \"asset\"]\nwindow = \"1h\"",
    );
    assert!(loosened(allows_more(&prover, &window, &old)), "a shorter window forgets sooner");
    let asset = format!(
        "{MANIFEST}[[asset]]\nid = \"eip155:1/erc20:0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0\"\nname = \"NEW\"\ndecimals = 6\ngroups = [\"others\"]\n"
    );
    assert_eq!(
        allows_more(&prover, &with_manifest(&asset, POLICIES, ""), &old),
        Verdict::Proved,
        "an asset that no rule allows"
    );
    let asset = asset.replace("\"others\"", "\"ether\"");
    assert!(
        loosened(allows_more(&prover, &with_manifest(&asset, POLICIES, ""), &old)),
        "an asset that a rule allows"
    );
}

/// A solver that hangs, one that talks nonsense, and one that is not there: none of them proves anything.
#[test]
fn without_a_good_answer_nothing_is_proved() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("chancery-prove-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let goals = goal("g", "when = 'context.amount > 10000000000'\nallowed = \"never\"");
    for (name, script) in [
        ("hangs", "#!/bin/sh\nexec sleep 60\n"),
        ("unknown", "#!/bin/sh\nwhile read line; do [ \"$line\" = \"(check-sat)\" ] && echo unknown; done\n"),
        ("nonsense", "#!/bin/sh\nwhile read line; do echo 'unsat?'; done\n"),
        ("dies", "#!/bin/sh\nexit 1\n"),
        (
            "sat-without-model",
            "#!/bin/sh\nwhile read line; do [ \"$line\" = \"(check-sat)\" ] && echo sat && echo '(' && echo ')'; done\n",
        ),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = Options { limit: Duration::from_millis(300), ..Options::default() };
        let prover = Prover::new(Solver::at(&path).unwrap(), options);
        let report =
            prover.prove(&bundle(POLICIES, &goals), None, &|_, _, proof| println!("{name}: {proof}"));
        let Ok(report) = report else { continue };
        assert!(!report.is_good(), "{name}");
        assert!(matches!(verdict(&report, "g").verdict, Verdict::Unproved { .. }), "{name}");
    }
    assert!(Solver::at(Path::new("/nonexistent/cvc5")).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
