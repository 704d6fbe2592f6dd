//! `cargo xtask demo --ceremony`: a node's keys are made before witnesses, split among five custodians, lost with the node, and
//! restored by three of them; the same wallet signs on. Everybody is played here, or by whoever sits there (`--interactive`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sign::{self, Outcome, Transfer};
use super::{CHAIN_ID, ETHER, WALLET, document, step, text};
use crate::appliance::Appliance;
use crate::ceremony::{self, Held, Reply};
use crate::run::Cmd;
use crate::{Stop, Tree, talk};

const CUSTODIANS: [&str; 5] = ["cy", "di", "ed", "flo", "gus"];
const SIGNERS: [&str; 2] = ["ann", "ben"];
const THRESHOLD: &str = "3";

/// Those who hold a ceremony, and the appliance it is for.
struct Rehearsal<'a> {
    tree: &'a Tree,
    appliance: &'a mut Appliance,
    interactive: bool,
    /// Public keys, in the order of [`SIGNERS`].
    signers: Vec<String>,
}

/// Runs the rehearsal on a fresh appliance.
pub fn show(tree: &Tree, appliance: &mut Appliance, interactive: bool) -> Result<(), Stop> {
    appliance.set("token = ", "\"vault\"")?;
    appliance.set("recoverable = ", "true")?;
    let mut rehearsal = Rehearsal { tree, appliance, interactive, signers: Vec::new() };
    rehearsal.people()?;
    let keys = rehearsal.make()?;
    let (trust, before) = rehearsal.work("before", &keys)?;
    rehearsal.anchor("initialise")?;
    rehearsal.lose()?;
    rehearsal.restore()?;
    let (_, after) = rehearsal.work("after", &keys)?;
    rehearsal.compare(&trust, &before, &after)?;
    rehearsal.drill()?;
    rehearsal.appliance.stop()
}

impl Rehearsal<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.appliance.dir.join(name)
    }

    fn ceremony(&self, word: &str) -> Cmd {
        self.appliance.chancery(None).dir(&self.appliance.dir).args(["ceremony", word])
    }

    fn people(&mut self) -> Result<(), Stop> {
        for name in SIGNERS {
            let made = self.appliance.chancery(None).args(["policy", "keygen", name, "--out"]);
            self.signers.push(made.arg(self.at(&format!("{name}.key"))).asked()?.trim().to_owned());
        }
        step("chancery policy keygen", "ann will act and ben look on; what they saw they sign");
        Ok(())
    }

    /// The script's hash, as it was printed.
    fn plan(&self, kind: &str, more: &[String]) -> Result<String, Stop> {
        let plan = self.ceremony("plan").args([kind, "--dir", kind]);
        let plan = plan
            .args(["--operator"])
            .args(self.signers.first())
            .args(["--witness"])
            .args(self.signers.get(1));
        let hash = plan.args(more).asked()?.trim().to_owned();
        step("chancery ceremony plan", &format!("`{kind}`; everybody agrees on the script's hash {hash}"));
        Ok(hash)
    }

    fn make(&mut self) -> Result<Vec<Value>, Stop> {
        let mut more =
            vec!["--threshold".to_owned(), THRESHOLD.to_owned(), "--wallet".to_owned(), WALLET.to_owned()];
        for name in CUSTODIANS {
            let made =
                self.ceremony("custodian").args([name, "--out"]).arg(self.at(&format!("{name}.identity")));
            more.extend(["--custodian".to_owned(), made.asked()?.trim().to_owned()]);
        }
        step("chancery ceremony custodian", "five people have an age identity each, which never leaves them");
        let hash = self.plan("initialise", &more)?;

        let other = self.hold("initialise", &"0".repeat(64), &[], &[], None)?;
        refused(&other, "agreed was", "another script than the one that was agreed: refused")?;
        if !self.interactive {
            let killed = self.hold("initialise", &hash, &[], &[], Some("make the keys"))?;
            if killed.code.is_some() {
                return Err(killed.unexpected("killed while keys are made"));
            }
            step("kill -9", "while the keys are made: the same command goes on with that step");
        }
        done(&self.hold("initialise", &hash, &[], &CUSTODIANS, None)?)?;
        let verified = self.verify("initialise", &hash)?;
        let entries = verified.pointer("/entries").and_then(Value::as_array).into_iter().flatten();
        let made = entries.rev().find_map(|entry| {
            entry.pointer("/facts/keys").filter(|_| entry.get("act") == Some(&"keys".into()))
        });
        let made = made.and_then(Value::as_array).cloned();
        made.ok_or_else(|| Stop::answer("chancery ceremony verify", verified))
    }

    fn verify(&self, folder: &str, hash: &str) -> Result<Value, Stop> {
        let verify = self.appliance.chancery(None).dir(&self.appliance.dir);
        let said = verify.args(["--json", "ceremony", "verify", "--hash", hash, folder]).asked()?;
        let document = document("chancery ceremony verify", &said)?;
        step("chancery ceremony verify", &format!("`{folder}`, offline: signatures, order, script, files"));
        Ok(document)
    }

    /// The wallet takes its key and signs; the trust file, and the receipt.
    fn work(&mut self, name: &str, keys: &[Value]) -> Result<(PathBuf, PathBuf), Stop> {
        self.appliance.start()?;
        let label = format!("chancery/default/{WALLET}");
        let key = keys.iter().find(|key| key.get("label").and_then(Value::as_str) == Some(&label));
        let id = text(key.unwrap_or(&Value::Null), "/id")?;
        let operator = || self.appliance.chancery(Some("operator"));
        operator()
            .args(["wallet", "create", WALLET, "--chain-id", &CHAIN_ID.to_string(), "--key", &id])
            .quiet()?;
        self.appliance.apply(&self.tree.root.join("policy/examples/treasury"))?;
        let trust = self.at(&format!("{name}.trust.json"));
        operator().args(["trust", "fetch", "--out"]).arg(&trust).quiet()?;
        let asked =
            sign::ask(self.tree, self.appliance, name, &Transfer { nonce: 0, amount: ETHER, token: None })?;
        let Outcome::Released { .. } = asked.outcome else { return Err(asked.unexpected("released")) };
        step("chancery sign", &format!("`{WALLET}` has its key from the ceremony, and signs 1 ETH"));
        Ok((trust, asked.receipt))
    }

    fn anchor(&self, folder: &str) -> Result<(), Stop> {
        self.appliance
            .chancery(Some("operator"))
            .dir(&self.appliance.dir)
            .args(["ceremony", "anchor", folder])
            .quiet()?;
        step(
            "chancery ceremony anchor",
            "the transcript's hash is in the log: its time is nobody's to choose",
        );
        Ok(())
    }

    fn lose(&mut self) -> Result<(), Stop> {
        self.appliance.stop()?;
        for name in ["hsm/tokens", "store", "log"] {
            let path = self.at(name);
            fs::remove_dir_all(&path).map_err(Stop::file(&path))?;
        }
        let tokens = self.at("hsm/tokens");
        fs::create_dir(&tokens).map_err(Stop::file(&tokens))?;
        step("rm", "token, store and log are gone: what is left is public, or with the custodians");
        Ok(())
    }

    fn restore(&mut self) -> Result<(), Stop> {
        let sources = ["--shares", "initialise"];
        let hash = self.plan("restore", &sources.map(str::to_owned))?;
        if !self.interactive {
            let few = self.hold("restore", &hash, &sources, &["di", "gus"], None)?;
            refused(&few, "2 of 3 shares", "two of three who are needed: refused, and the others are named")?;
            let share = self.at("initialise/shares/cy.age");
            let whole = fs::read(&share).map_err(Stop::file(&share))?;
            let mut bad = whole.clone();
            if let Some(last) = bad.last_mut() {
                *last ^= 1;
            }
            fs::write(&share, bad).map_err(Stop::file(&share))?;
            let held = self.hold("restore", &hash, &sources, &["cy", "di", "ed", "gus"], None)?;
            fs::write(&share, whole).map_err(Stop::file(&share))?;
            if !held.talk.contains("the share of `cy` is bad") {
                return Err(held.unexpected("told of the bad share"));
            }
            done(&held)?;
            step("chancery ceremony run", "the share of cy was changed: it is named, and does not count");
        } else {
            done(&self.hold("restore", &hash, &sources, &CUSTODIANS, None)?)?;
        }
        self.verify("restore", &hash)?;
        // SoftHSM2 wraps no Ed25519 key, so the log's own is not in the backup.
        self.appliance.rename("localhost/chancery-2")?;
        step("chancery.toml", "another `log.origin`: the log was lost with its key, the wallets were not");
        Ok(())
    }

    fn compare(&self, trust: &Path, before: &Path, after: &Path) -> Result<(), Stop> {
        let key = |path: &Path| {
            let receipt = fs::read_to_string(path).map_err(Stop::file(path))?;
            text(&document("a receipt", &receipt)?, "/decision/public_key")
        };
        let (first, second) = (key(before)?, key(after)?);
        if first != second {
            return Err(Stop::Unmet(format!("the wallet's key was {first}, and is {second}")));
        }
        let verify = self.appliance.chancery(None).args(["receipt", "verify", "--trust"]).arg(trust);
        verify.arg(before).quiet()?;
        step(
            "chancery receipt verify",
            "the same wallet under the same key, and the old receipt verifies as before",
        );
        Ok(())
    }

    fn drill(&self) -> Result<(), Stop> {
        let command =
            self.appliance.chancery(None).dir(&self.appliance.dir).args(["ceremony", "drill", "--shares"]);
        let held = self.play(command.arg("initialise"), &["di", "flo", "gus"], None)?;
        if held.code != Some(0) {
            return Err(held.unexpected("rehearsed"));
        }
        step(
            "chancery ceremony drill",
            "a restore into a throw-away token, as it should be done every quarter:",
        );
        for line in held.talk.lines().filter(|line| line.contains("RTO") || line.contains("RPO")) {
            talk::line(&format!("{:<28}   {}", "", line.trim()));
        }
        Ok(())
    }

    fn hold(
        &self,
        folder: &str,
        hash: &str,
        more: &[&str],
        present: &[&str],
        kill_at: Option<&str>,
    ) -> Result<Held, Stop> {
        let run = self
            .ceremony("run")
            .args(["--dir", folder, "--hash", hash, "--config"])
            .arg(self.appliance.config());
        let keys = SIGNERS.map(|name| self.at(&format!("{name}.key")));
        let run = keys.iter().fold(run, |run, key| run.arg("--key").arg(key)).args(more);
        if self.interactive && kill_at.is_none() {
            return self.ask(run);
        }
        self.play(run, present, kill_at)
    }

    /// Leaves the questions to whoever sits there.
    fn ask(&self, command: Cmd) -> Result<Held, Stop> {
        talk::line(&format!(
            "\nNow it is you. The PINs are in {}: type what they say. A custodian's identity is in NAME.identity beside them; \
             an empty line for whoever is not here.\n",
            self.at("hsm").display()
        ));
        let status = command.command().status().map_err(|source| command.unstarted(source))?;
        Ok(Held { code: status.code(), talk: String::new() })
    }

    /// Plays everybody who is `present` and agrees; ends the program where the step that `kill_at` names is asked for.
    fn play(&self, command: Cmd, present: &[&str], kill_at: Option<&str>) -> Result<Held, Stop> {
        let mut told = String::new();
        ceremony::hold(command, |question| {
            if question.step != told {
                told = question.step.to_owned();
                talk::line(&format!("{:<28}   {told}", ""));
            }
            match kill_at.is_some_and(|name| question.step.contains(name)) {
                true => Ok(Reply::Kill),
                false => self.answer(question.text, present).map(Reply::Say),
            }
        })
    }

    fn answer(&self, question: &str, present: &[&str]) -> Result<String, Stop> {
        let read = |name: &str| {
            let path = self.at(name);
            fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(Stop::file(&path))
        };
        match question.split_once(": your age identity") {
            Some((name, _)) if present.contains(&name) => read(&format!("{name}.identity")),
            Some(_) => Ok(String::new()),
            None if question.contains("security officer") => read("hsm/so-pin"),
            None if question.contains("user") => read("hsm/pin"),
            None => Ok("yes".to_owned()),
        }
    }
}

fn done(held: &Held) -> Result<(), Stop> {
    if held.code == Some(0) { Ok(()) } else { Err(held.unexpected("held to its end")) }
}

fn refused(held: &Held, why: &str, told: &str) -> Result<(), Stop> {
    if held.code == Some(0) || !(held.talk.contains(why) || held.talk.is_empty()) {
        return Err(held.unexpected(why));
    }
    step("chancery ceremony run", told);
    Ok(())
}
