//! A policy change that takes longer than anybody waits in one breath: where it stands can be asked, another one is told to
//! come later, signing goes on, and a stop in between leaves the old bundle or the new one. The solver here is a program that
//! says nothing until a file is there, and then that all is proved: what it proves is not what these tests are about.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use appliance::{Answer, Appliance, bundle, chancery, treasury};
use serde_json::Value;

fn with_goals() -> Value {
    bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples/treasury"))
}

/// An appliance whose solver waits for the file `gate`, and for nothing else.
fn prepare() -> Option<Appliance> {
    let appliance = Appliance::prepare()?;
    let (solver, gate) = (appliance.at("slow-solver"), appliance.at("gate"));
    let script = format!(
        "#!/bin/sh\nuntil [ -e '{}' ]; do sleep 0.05; done\n\
         while read -r line; do [ \"$line\" = '(check-sat)' ] && echo unsat; done\n",
        gate.display()
    );
    std::fs::write(&solver, script).unwrap();
    std::fs::set_permissions(&solver, std::fs::Permissions::from_mode(0o755)).unwrap();
    appliance.reconfigure("[hsm]", &format!("[policy]\nsolver = {solver:?}\nproof_ms = 600000\n[hsm]"));
    Some(appliance)
}

fn open_gate(appliance: &Appliance) {
    std::fs::write(appliance.at("gate"), "").unwrap();
}

/// Brings the bundle with goals, and has it answered 202 with the place to look at.
async fn bring(appliance: &Appliance) -> (Answer, String) {
    let operator = appliance.peer("operator", "op");
    let accepted = operator.put("/v1/policy", &with_goals()).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let place = format!("/v1/policy/changes/{}", accepted.body["request_id"].as_str().unwrap());
    (accepted, place)
}

/// Would catch a change that ends with the door's patience, two at a time, and one that keeps signing waiting.
#[tokio::test]
async fn what_takes_long_goes_on_and_says_how_far_it_is() {
    let Some(mut appliance) = prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let operator = appliance.peer("operator", "op");
    let old = operator.get("/v1/policy").await.body;
    let (accepted, place) = bring(&appliance).await;
    assert_eq!(
        (&accepted.body["step"], &accepted.body["done"], &accepted.body["of"]),
        (&"proving".into(), &0.into(), &3.into())
    );
    assert_ne!(accepted.body["bundle"], old["bundle"]);
    let response = operator.client.get(format!("{}{place}", operator.base)).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (202, place.as_str())
    );
    assert_eq!(appliance.peer("auditor", "ann").get(&place).await.status, 202);
    assert_eq!(appliance.peer("client", "backend").get(&place).await.code(), "forbidden");

    let second = appliance.peer("operator", "two").put("/v1/policy", &treasury()).await;
    assert_eq!((second.status, second.code()), (409, "change-in-progress"), "{second:?}");
    assert!(second.body["detail"].as_str().unwrap().contains(&place), "{second:?}");
    assert_eq!(operator.get("/v1/policy").await.body, old, "the old bundle decides meanwhile");
    let backend = appliance.peer("client", "backend");
    // Chain 31337, nonce 0, 1 ETH to the exchange: the treasury's own test case.
    let ether = "02f1827a6980843b9aca0084773594008252089470997970c51812dc3a010c7d01b50e0d17dc79c8880de0b6b3a764000080c0";
    assert_eq!(backend.sign("treasury", &hex::decode(ether).unwrap(), "meanwhile").await.status, 200);

    open_gate(&appliance);
    let mut ended = operator.get(&place).await;
    while ended.status == 202 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ended = operator.get(&place).await;
    }
    assert_eq!((ended.status, &ended.body["bundle"]), (200, &accepted.body["bundle"]), "{ended:?}");
    assert_eq!(operator.get("/v1/policy").await.body, ended.body);
    // The next change takes its place, also one that is refused.
    let mut broken = with_goals();
    broken["files"]["policies/ether.cedar"] = "permit".into();
    assert_eq!(operator.apply(&broken).await.code(), "bundle-invalid");
    assert_eq!(operator.get(&place).await.code(), "not-found");
    assert_eq!(operator.get("/v1/policy").await.body["bundle"], accepted.body["bundle"]);
}

/// Would catch a stop that waits for a solver, and a restart that finds a change half made.
#[tokio::test]
async fn a_stop_in_between_leaves_the_old_bundle_and_no_trace() {
    let Some(mut appliance) = prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let old = appliance.peer("operator", "op").get("/v1/policy").await.body;
    for kill in [true, false] {
        let (_, place) = bring(&appliance).await;
        if kill {
            appliance.kill();
        } else {
            assert!(appliance.stop().success(), "it stops in order, whatever the solver does");
        }
        appliance.start();
        let operator = appliance.peer("operator", "op");
        assert_eq!(operator.get(&place).await.code(), "not-found");
        assert_eq!(operator.get("/v1/policy").await.body, old, "kill: {kill}");
    }
    open_gate(&appliance);
    let operator = appliance.peer("operator", "op");
    let applied = operator.apply(&with_goals()).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let log = chancery_audit::Folder::at(&appliance.at("log"));
    let trust = appliance.trust().await;
    appliance.stop();
    let report =
        chancery_audit::verify_log(&log, &trust, chancery_audit::Start::Afresh, &mut |_| Ok(())).unwrap();
    assert_eq!(report.counts.policies, 2, "only what came into force is on record");
}

/// Would catch a command that gives up, says nothing while it waits, or calls a lost change done.
#[tokio::test]
async fn the_command_waits_tells_how_far_it_is_and_how_it_ended() {
    let Some(mut appliance) = prepare() else { return };
    let Some(program) = chancery() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples/treasury");
    for killed in [true, false] {
        let client = appliance.client_directory("operator", "op");
        let mut child = Command::new(&program)
            .arg("--client")
            .arg(client)
            .args(["policy", "apply"])
            .arg(&example)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let told = talk.next().unwrap();
        assert_eq!(told, "the appliance has proved 0 of 3 goals");
        if killed {
            let address = appliance.running().api.clone();
            appliance.kill();
            appliance.reconfigure("api = \"127.0.0.1:0\"", &format!("api = {address:?}"));
            appliance.start();
        } else {
            open_gate(&appliance);
        }
        let rest: Vec<String> = talk.collect();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let in_force = appliance.peer("operator", "op").get("/v1/policy").await.body["bundle"].clone();
        if killed {
            assert_eq!((output.status.code(), said.as_str()), (Some(1), ""), "{rest:?}");
            assert!(rest.last().unwrap().contains("started anew"), "{rest:?}");
        } else {
            assert_eq!(output.status.code(), Some(0), "{rest:?}");
            assert_eq!(in_force, said.trim_end());
            assert!(rest.last().unwrap().contains("is in force"), "{rest:?}");
        }
    }
}
