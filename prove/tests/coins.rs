//! Goals about Bitcoin through a real solver: what holds is proved, and what does not is shown by a transaction that there
//! can be, written as its outputs and decided by the bundle itself. Without a solver these tests say so and pass; `cargo xtask
//! test` brings one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use chancery_policy::{Answer, Bundle, Outcome, Source, Subject};
use chancery_prove::{Options, Prover, Report, Solver, Verdict};

const CHAIN: &str = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";

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

fn vault() -> Source {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples");
    Source::from_directory(&examples.join("vault")).unwrap()
}

fn compiled(source: &Source) -> Bundle {
    Bundle::compile(source).unwrap_or_else(|error| panic!("{error}"))
}

fn prove(prover: &Prover, bundle: &Bundle, old: Option<&Bundle>) -> Report {
    prover.prove(bundle, old, &|_, _, proof| println!("{proof}")).unwrap()
}

/// The example that breaks a claim, pasted: it must read as any other case and be allowed.
fn pasted(source: &Source, report: &Report, subject: &Subject) -> String {
    let proof = report.proofs.iter().find(|proof| proof.subject == *subject).unwrap();
    let Verdict::Broken { example } = &proof.verdict else { panic!("{proof}") };
    let mut source = source.clone();
    source.files.retain(|path, _| !path.starts_with("tests/"));
    source.files.insert("tests/example.toml".into(), example.case.clone());
    let result = compiled(&source).test().pop().unwrap();
    let Answer::Evaluation(said) = &result.answer else { panic!("{}", result.answer) };
    assert_eq!((said.outcome, result.passed), (Outcome::Allowed, false), "{}", example.case);
    example.case.clone()
}

#[test]
fn the_vault_keeps_its_goals_and_allows_no_more_than_itself() {
    let Some(prover) = prover(true) else { return };
    let bundle = compiled(&vault());
    let report = prove(&prover, &bundle, Some(&bundle));
    assert!(report.is_good(), "{:?}", report.failures().collect::<Vec<_>>());
    assert_eq!(report.proofs.iter().filter(|proof| matches!(proof.subject, Subject::Goal(_))).count(), 5);
}

/// Would catch an example on another chain, of another coin, or one that no transaction can be.
#[test]
fn what_a_loose_vault_allows_is_shown_as_a_transaction() {
    let Some(prover) = prover(false) else { return };
    let old = compiled(&vault());
    let goal = |name: &str| Subject::Goal(name.to_owned());
    for (from, to, broken, shows) in [
        (
            "context.destination in AddressGroup::\"payees\" &&",
            "",
            "only-to-payees",
            &["kind = \"transfer\"", "slip44:0\"", "destination = \"bcrt1"][..],
        ),
        (
            "context.spent.daily <= 100000000",
            "true",
            "a-bitcoin-a-day",
            &["kind = \"transfer\"", "slip44:0\""],
        ),
        (
            "context.fee <= 50000",
            "context.fee <= 50001",
            "miners-get-a-fee",
            &["amount = \"50001\"", "slip44:0\""],
        ),
        (
            "@id(\"messages\")",
            "@id(\"notes\") permit (principal, action == Action::\"data\", resource);\n@id(\"messages\")",
            "nothing-else",
            &["kind = \"data\"", "destination = \"script-6a"],
        ),
    ] {
        let mut source = vault();
        source.files.retain(|path, _| !path.starts_with("tests/"));
        let text = source.files.get_mut("policies/payments.cedar").unwrap();
        assert!(text.contains(from), "{from}");
        *text = text.replace(from, to);
        let report = prove(&prover, &compiled(&source), Some(&old));
        for subject in [goal(broken), Subject::Against] {
            let case = pasted(&source, &report, &subject);
            assert!(case.contains("chain = \"bip122:") && !case.contains("0x"), "{case}");
            for line in shows {
                assert!(case.contains(line), "no {line} in\n{case}");
            }
        }
    }
}

/// A message is shown with the form that it has on Bitcoin, and a rule about a PSBT with a PSBT's.
#[test]
fn examples_have_the_payloads_form() {
    let Some(prover) = prover(false) else { return };
    let policies = [
        "@id(\"messages\") permit (principal, action == Action::\"message\", resource) when { context.payload == \"bitcoin.message\" };",
        "@id(\"second\") permit (principal, action == Action::\"transfer\", resource) when { context.form == \"psbt2\" && context.amount > 7 };",
    ];
    let mut source = vault();
    source.files.retain(|path, _| path == "bundle.toml");
    source.files.insert("policies/main.cedar".into(), policies.join("\n"));
    let goals = ["message", "transfer"].map(|action| {
        format!("[[goal]]\nname = \"{action}\"\ndescription = \"\"\nactions = [\"{action}\"]\nallowed = \"never\"\n")
    });
    source.files.insert("goals/main.toml".into(), goals.join("\n"));
    let report = prove(&prover, &compiled(&source), None);
    let message = pasted(&source, &report, &Subject::Goal("message".into()));
    assert!(message.contains("kind = \"message\"") && message.contains("chain = \"bip122:"), "{message}");
    let noise = ["amount", "asset", "waited", "method"].iter().find(|word| message.contains(**word));
    assert_eq!(noise, None, "{message}");
    let second = pasted(&source, &report, &Subject::Goal("transfer".into()));
    assert!(second.contains("form = \"psbt2\"") && second.contains("chain = \"bip122:"), "{second}");
    let known = second.contains(CHAIN) || second.contains("bip122:000000000019d6689c085ae165831e93");
    assert!(known, "{second}");
}
