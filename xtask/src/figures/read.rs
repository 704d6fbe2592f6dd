//! Rows out of what a producer said: its own rows, or the figures that tests print between their results.
//! A test that failed is a broken promise even where its figures look well.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::row::Promise;

/// A stall must have ended by then, in milliseconds.
const STALL_MS: u64 = 10_000;

/// A revoked client's open connection must have ended by then, in milliseconds: one look at the files, and a second.
const REVOKED_MS: u64 = 1_500;

/// What a producer said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its stdout.
    pub stdout: String,
    /// Whether it ended with 0.
    pub ended_well: bool,
}

/// One JSON row a line and nothing else.
///
/// # Errors
/// The first line that is no row, or that the producer did not end well.
pub fn rows<R: DeserializeOwned>(said: &Said) -> Result<Vec<R>, String> {
    if !said.ended_well {
        return Err("it did not end well".into());
    }
    let lines = said.stdout.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).map_err(|error| format!("not a row: {error}: {line}")))
        .collect()
}

/// `assurance door <phase> closed_ms=<n>`, or `... still open`.
///
/// # Errors
/// When there is no such line.
pub fn stalls(said: &Said) -> Result<Vec<Promise>, String> {
    let phases: Vec<(&str, Option<u64>)> = door(said)
        .filter(|(phase, _)| *phase != "crowd")
        .map(|(phase, rest)| (phase, value(rest, "closed_ms")))
        .collect();
    let longest = phases.iter().max_by_key(|(_, closed_ms)| closed_ms.unwrap_or(u64::MAX));
    let Some((longest, closed_ms)) = longest else { return Err("it told of no phase".into()) };
    let open =
        phases.iter().filter(|(_, closed_ms)| closed_ms.is_none_or(|closed_ms| closed_ms > STALL_MS)).count();
    let failures = counted(open, said);
    Ok(vec![Promise {
        promise: "the door cannot be held open: every silence ends".into(),
        test: "server door_stall".into(),
        runs: phases.len() as u64,
        failures,
        figure: match closed_ms {
            Some(closed_ms) => {
                format!("{} ways to be silent; `{longest}` lasted longest, {closed_ms} ms", phases.len())
            }
            None => format!("`{longest}` was never closed"),
        },
        goal: format!("each closed within {STALL_MS} ms"),
        met: failures == 0,
    }])
}

/// `assurance door crowd stalled=.. honest=.. failures=.. p99_alone_us=.. p99_crowd_us=.. ratio=..`.
///
/// # Errors
/// When there is no such line.
pub fn crowd(said: &Said) -> Result<Vec<Promise>, String> {
    let (_, line) = door(said).find(|(phase, _)| *phase == "crowd").ok_or("it told of no crowd")?;
    let (honest, failed) = (value::<u64>(line, "honest"), value::<usize>(line, "failures"));
    let (Some(honest), Some(failed)) = (honest, failed) else { return Err(format!("not a crowd: {line}")) };
    let text = |key| value::<String>(line, key).unwrap_or_else(|| "?".into());
    let failures = counted(failed, said);
    Ok(vec![Promise {
        promise: "the door cannot be held open: beside stalled sockets, honest requests are answered".into(),
        test: "server door_crowd".into(),
        runs: honest,
        failures,
        figure: format!(
            "{} stalled sockets; p99 {} us alone, {} us beside them: x {}",
            text("stalled"),
            text("p99_alone_us"),
            text("p99_crowd_us"),
            text("ratio"),
        ),
        goal: "no honest request fails (p99 should stay within x 2)".into(),
        met: failures == 0,
    }])
}

/// `assurance certificates rotations rotations=.. sets=.. handshakes=.. failures=..`, `.. refused cells=.. in_force=..`
/// and, for each open connection, `.. <revoked|distrusted> connection=.. ended_ms=..`.
///
/// # Errors
/// When one of the three is missing.
pub fn certificates(said: &Said) -> Result<Vec<Promise>, String> {
    let lines = || told(said, "certificates");
    let numbers = |what, of, failed| {
        let (_, line) = lines().find(|(kind, _)| *kind == what)?;
        Some((line, value::<u64>(line, of)?, value::<usize>(line, failed)?))
    };
    let (rotation, handshakes, failed) =
        numbers("rotations", "handshakes", "failures").ok_or("it told of no rotation")?;
    let (_, cells, in_force) = numbers("refused", "cells", "in_force").ok_or("it told of no bad file")?;
    let ended: Vec<(&str, u64)> = lines()
        .filter(|(kind, _)| matches!(*kind, "revoked" | "distrusted"))
        .map(|(kind, line)| (kind, value(line, "ended_ms").unwrap_or(u64::MAX)))
        .collect();
    let (_, longest_ms) = ended.iter().max_by_key(|(_, ms)| ms).ok_or("it told of no open connection")?;
    let late = ended.iter().filter(|(_, ms)| *ms > REVOKED_MS).count();
    let row = |promise: &str, runs, failures, figure, goal: String| {
        let failures = counted(failures, said);
        let (promise, test) = (promise.into(), "server door_certificates".into());
        Promise { promise, test, runs, failures, figure, goal, met: failures == 0 }
    };
    Ok(vec![
        row(
            "certificate, key and authority rotate under load",
            handshakes,
            failed,
            format!(
                "{} rotations in {} sets; {handshakes} whole handshakes meanwhile, {failed} failed",
                value::<u64>(rotation, "rotations").unwrap_or(0),
                value::<u64>(rotation, "sets").unwrap_or(0)
            ),
            "100 rotations, no failed handshake".into(),
        ),
        row(
            "revocation and distrust end open connections",
            ended.len() as u64,
            late,
            format!(
                "{} open connections, idle, waiting and busy; the last ended after {longest_ms} ms",
                ended.len()
            ),
            format!("each within {REVOKED_MS} ms of the new file"),
        ),
        row(
            "bad files leave the last good certificates in force",
            cells,
            in_force,
            format!("{cells} kinds of bad file, {in_force} came into force"),
            "none comes into force".into(),
        ),
    ])
}

/// `assurance log <what> files=.. runs=.. refused=.. harmless=.. different=..`.
///
/// # Errors
/// When there is no such line, or one that does not add up.
pub fn log(said: &Said) -> Result<Vec<Promise>, String> {
    let row = |(what, line): (&str, &str)| {
        let number = |key| value::<u64>(line, key).ok_or_else(|| format!("not a figure: {what} {line}"));
        let (runs, files) = (number("runs")?, number("files")?);
        let [refused, harmless, different] = [number("refused")?, number("harmless")?, number("different")?];
        if runs == 0 || refused + harmless + different != runs {
            return Err(format!("it does not add up: {what} {line}"));
        }
        let (promise, test) = match what {
            "files" => ("an auditor is shown no cut or changed file", "audit tamper"),
            "resumed" => ("nor is one who goes on from where he was", "audit tamper"),
            "state" => ("a torn or changed state is not gone on from", "audit tamper"),
            "start" => ("the appliance starts over no cut or changed file of store or log", "audit tamper"),
            "older" => ("an older store under a newer head does not start", "audit tamper"),
            "whole" => ("an older copy of the whole state does not start (witnesses)", "server witness"),
            other => return Err(format!("nobody knows `{other}`")),
        };
        let failures = counted(usize::try_from(different).unwrap_or(usize::MAX), said);
        Ok(Promise {
            promise: promise.into(),
            test: test.into(),
            runs,
            failures,
            figure: format!(
                "{files} files; {refused} refused, {harmless} changed nothing, {different} gave another answer"
            ),
            goal: "no other answer".into(),
            met: failures == 0,
        })
    };
    let rows: Vec<Promise> = told(said, "log").map(row).collect::<Result<_, _>>()?;
    if rows.is_empty() { Err("it told of no damage".into()) } else { Ok(rows) }
}

/// `assurance model sequences runs=.. failures=.. requests=.. ..`.
///
/// # Errors
/// When there is no such line.
pub fn model(said: &Said) -> Result<Vec<Promise>, String> {
    let (_, line) = told(said, "model").next().ok_or("it told of no sequence")?;
    let (runs, failed) = (value::<u64>(line, "runs"), value::<usize>(line, "failures"));
    let (Some(runs), Some(failed)) = (runs, failed) else { return Err(format!("not a run: {line}")) };
    let failures = counted(failed, said);
    let number = |key| value::<u64>(line, key).unwrap_or(0);
    Ok(vec![Promise {
        promise: "policy, limits, obligations and idempotency decide as their model does".into(),
        test: "enclave model".into(),
        runs,
        failures,
        figure: format!(
            "{} requests: {} allowed, {} pending, {} denied, {} retries, {} conflicts; {} failed or expired; {} bundles, {} \
             reservations looked back on; {} counters compared",
            number("requests"),
            number("allowed"),
            number("pending"),
            number("denied"),
            number("retries"),
            number("conflicts"),
            number("ended"),
            number("bundles"),
            number("looked_back"),
            number("totals"),
        ),
        goal: "100,000 random bundles and sequences, no disagreement".into(),
        met: failures == 0,
    }])
}

/// `figure {...}` lines, each before the line `test <name> ... ok` of the test it belongs to.
///
/// # Errors
/// When no test ran, or a figure is none.
pub fn hsm(said: &Said) -> Result<Vec<Promise>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Figure {
        name: String,
        runs: u64,
        failures: u64,
        note: String,
    }
    let mut figures: Vec<Figure> = Vec::new();
    let mut promises = Vec::new();
    for line in said.stdout.lines() {
        if let Some(figure) = line.strip_prefix("figure ") {
            figures.push(
                serde_json::from_str(figure).map_err(|error| format!("not a figure: {error}: {line}"))?,
            );
        }
        let Some((name, result)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        else {
            continue;
        };
        let failed = u64::from(result != "ok");
        let failures = figures.iter().map(|figure| figure.failures).sum::<u64>().max(failed);
        let told: Vec<String> = figures
            .iter()
            .map(|figure| {
                [figure.name.as_str(), figure.note.as_str()].join(": ").trim_end_matches(": ").to_owned()
            })
            .collect();
        let (room, what) = name.split_once("::").unwrap_or(("", name));
        promises.push(Promise {
            promise: match room {
                "faults" => "an HSM may die: nothing wrong is signed, and it comes back",
                _ => "a lying HSM is caught: nothing it forges is released",
            }
            .into(),
            test: format!("hsm {}", what.replace('_', " ")),
            runs: figures.iter().map(|figure| figure.runs).sum::<u64>().max(1),
            failures,
            figure: if told.is_empty() { result.to_owned() } else { told.join("; ") },
            goal: "0 broken".into(),
            met: failures == 0,
        });
        figures.clear();
    }
    match (promises.is_empty(), said.ended_well || promises.iter().any(|promise| !promise.met)) {
        (false, true) => Ok(promises),
        (true, _) => Err("no test ran".into()),
        (false, false) => Err("it did not end well, and no test says why".into()),
    }
}

/// `assurance vectors {...}`, one for each file of published vectors and way that they were put.
///
/// # Errors
/// When there is no such line, or one that is none.
pub fn vectors(said: &Said) -> Result<Vec<Promise>, String> {
    #[derive(Deserialize)]
    struct Tally {
        file: String,
        by: String,
        total: usize,
        passed: usize,
        skipped: BTreeMap<String, usize>,
        #[serde(default)]
        noted: Vec<serde_json::Value>,
        failed: Vec<serde_json::Value>,
    }
    let lines = said.stdout.lines().filter_map(|line| line.strip_prefix("assurance vectors "));
    let tallies: Vec<Tally> = lines
        .map(|line| serde_json::from_str(line).map_err(|error| format!("not a tally: {error}: {line}")))
        .collect::<Result<_, _>>()?;
    let mut ways: BTreeMap<&str, Vec<&Tally>> = BTreeMap::new();
    for tally in &tallies {
        ways.entry(&tally.by).or_default().push(tally);
    }
    let row = |(by, tallies): (&str, Vec<&Tally>)| {
        let sum = |of: fn(&Tally) -> usize| tallies.iter().map(|tally| of(tally)).sum::<usize>();
        let skipped: BTreeMap<&str, usize> =
            tallies.iter().flat_map(|tally| &tally.skipped).fold(BTreeMap::new(), |mut all, (why, count)| {
                *all.entry(why.as_str()).or_default() += count;
                all
            });
        let (total, passed) = (sum(|tally| tally.total), sum(|tally| tally.passed));
        let (noted, failed) = (sum(|tally| tally.noted.len()), sum(|tally| tally.failed.len()));
        // A vector that nobody counted is as bad as a wrong one.
        let lost = total.abs_diff(passed + skipped.values().sum::<usize>() + noted + failed);
        let failures = counted(failed + lost, said);
        let why: Vec<String> =
            skipped.iter().map(|(why, count)| format!("{count} skipped ({why})")).collect();
        let mut figure = vec![format!("{} files, {passed} passed", tallies.len())];
        figure.extend(why);
        if noted > 0 {
            figure.push(format!("{noted} wrong where nothing is asked of it"));
        }
        figure.extend(tallies.iter().filter(|tally| !tally.failed.is_empty()).map(|tally| {
            format!("{} failed: {}", tally.file, serde_json::Value::from(tally.failed.clone()))
        }));
        Promise {
            promise: "cryptography and formats agree with the published vectors".into(),
            test: format!("vectors, {by}"),
            runs: total as u64,
            failures,
            figure: figure.join("; "),
            goal: "every vector passed, or skipped for a reason".into(),
            met: failures == 0,
        }
    };
    if ways.is_empty() { Err("it told of no vector".into()) } else { Ok(ways.into_iter().map(row).collect()) }
}

/// The phase and the rest of each `assurance door` line.
fn door(said: &Said) -> impl Iterator<Item = (&str, &str)> {
    told(said, "door")
}

/// The word after `assurance <of>` and the rest of each such line.
fn told<'a>(said: &'a Said, of: &'static str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let of = move |line: &'a str| line.strip_prefix("assurance ")?.strip_prefix(of)?.strip_prefix(' ');
    said.stdout.lines().filter_map(move |line| of(line)?.split_once(' '))
}

/// The value of `key=` in a line of words.
fn value<T: std::str::FromStr>(line: &str, key: &str) -> Option<T> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?.parse().ok()
}

/// What was counted, but at least one when the program says that it failed.
fn counted(failures: usize, said: &Said) -> u64 {
    (failures as u64).max(u64::from(!said.ended_well))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stdout: &str, ended_well: bool) -> Said {
        Said { stdout: stdout.into(), ended_well }
    }

    const ROW: &str =
        r#"{"promise":"a","test":"t","runs":1,"failures":0,"figure":"f","goal":"g","met":true}"#;

    #[test]
    fn a_producer_of_rows_prints_rows_only() {
        assert_eq!(rows::<Promise>(&said(&format!("{ROW}\n\n{ROW}\n"), true)).unwrap().len(), 2);
        assert!(rows::<Promise>(&said(ROW, false)).is_err(), "a crash after a good row");
        assert!(rows::<Promise>(&said("hello", true)).is_err());
        assert!(rows::<Promise>(&said(r#"{"promise":"a"}"#, true)).is_err(), "half a row");
    }

    #[test]
    fn a_phase_that_stays_open_breaks_the_promise() {
        let good =
            "running 2 tests\nassurance door headers closed_ms=8003\nassurance door body closed_ms=8100\n";
        let row = stalls(&said(good, true)).unwrap().remove(0);
        assert!(row.met && row.runs == 2 && row.figure.contains("`body` lasted longest, 8100 ms"), "{row:?}");
        for bad in ["assurance door tls still open\n", "assurance door tls closed_ms=10001\n"] {
            let row = stalls(&said(&format!("{good}{bad}"), true)).unwrap().remove(0);
            assert_eq!((row.met, row.failures), (false, 1), "{bad}");
        }
        assert!(!stalls(&said(good, false)).unwrap().remove(0).met, "the test itself failed");
        assert!(stalls(&said("running 2 tests\n", true)).is_err(), "silence is no proof");
    }

    #[test]
    fn a_failed_honest_request_breaks_the_promise() {
        let line = |failures| {
            format!(
                "assurance door crowd stalled=1990..2000 honest=800 failures={failures} p99_alone_us=900 \
                 p99_crowd_us=1200 ratio=1.33\n"
            )
        };
        let row = crowd(&said(&line(0), true)).unwrap().remove(0);
        assert!(row.met && row.runs == 800 && row.figure.ends_with("x 1.33"), "{row:?}");
        assert!(!crowd(&said(&line(1), true)).unwrap().remove(0).met);
        assert!(!crowd(&said(&line(0), false)).unwrap().remove(0).met);
        assert!(crowd(&said("", true)).is_err());
    }

    #[test]
    fn a_failed_handshake_and_a_late_end_break_their_promise() {
        let text = |failures, ended_ms, in_force| {
            format!(
                "assurance certificates rotations rotations=100 sets=500 handshakes=4000 failures={failures}\n\
                 assurance certificates revoked connection=idle ended_ms={ended_ms}\n\
                 assurance certificates refused cells=16 in_force={in_force}\n"
            )
        };
        let met = |text: &str, ended_well| {
            certificates(&said(text, ended_well)).unwrap().iter().map(|row| row.met).collect::<Vec<_>>()
        };
        assert_eq!(met(&text(0, 500, 0), true), [true, true, true]);
        assert_eq!(met(&text(1, 1_501, 1), true), [false, false, false]);
        assert_eq!(met(&text(0, 500, 0), false), [false, false, false]);
        for missing in ["rotations", "revoked", "refused"] {
            let text = text(0, 500, 0).replace(&format!("certificates {missing} "), "certificates other ");
            assert!(certificates(&said(&text, true)).is_err(), "silence about {missing} is no proof");
        }
    }

    #[test]
    fn a_damage_that_gives_another_answer_breaks_the_promise() {
        let line = |harmless, different| {
            format!(
                "assurance log files files=6 runs=10 refused=8 harmless={harmless} different={different}\n"
            )
        };
        let row = log(&said(&line(2, 0), true)).unwrap().remove(0);
        assert!(row.met && row.runs == 10 && row.figure.contains("8 refused, 2 changed nothing"), "{row:?}");
        assert!(!log(&said(&line(1, 1), true)).unwrap().remove(0).met);
        assert!(!log(&said(&line(2, 0), false)).unwrap().remove(0).met, "the test itself failed");
        assert!(log(&said(&line(1, 0), true)).is_err(), "one of them is not accounted for");
        assert!(log(&said(&line(2, 0).replace("files ", "other "), true)).is_err());
        assert!(log(&said("running 3 tests\n", true)).is_err(), "silence is no proof");
    }

    #[test]
    fn a_vector_that_fails_or_is_lost_breaks_the_promise() {
        let tally = |by: &str, passed, failed| {
            format!(
                "assurance vectors {{\"file\":\"f\",\"by\":\"{by}\",\"total\":9,\"passed\":{passed},\
                 \"skipped\":{{\"odd\":2}},\"failed\":{failed}}}\n"
            )
        };
        let rows = |text: &str, ended_well| vectors(&said(text, ended_well)).unwrap();
        let good = format!("{}{}", tally("a", 7, "[]"), tally("b", 7, "[]"));
        let told = rows(&good, true);
        assert_eq!(told.iter().map(|row| (row.runs, row.met)).collect::<Vec<_>>(), [(9, true), (9, true)]);
        assert_eq!(told[0].figure, "1 files, 7 passed; 2 skipped (odd)");
        assert!(!rows(&tally("a", 6, "[5]"), true)[0].met, "a wrong answer");
        assert!(!rows(&tally("a", 6, "[]"), true)[0].met, "a vector nobody counted");
        assert!(!rows(&good, false)[0].met, "the test itself failed");
        assert!(vectors(&said("", true)).is_err(), "silence is no proof");
    }

    #[test]
    fn a_disagreement_with_the_model_breaks_the_promise() {
        let line = |failures| {
            format!("assurance model sequences runs=9 failures={failures} requests=50 allowed=7\n")
        };
        let row = model(&said(&line(0), true)).unwrap().remove(0);
        assert!(row.met && row.runs == 9 && row.figure.starts_with("50 requests: 7 allowed"), "{row:?}");
        assert!(!model(&said(&line(1), true)).unwrap().remove(0).met);
        assert!(!model(&said(&line(0), false)).unwrap().remove(0).met);
        assert!(model(&said("running 1 test\n", true)).is_err(), "silence is no proof");
    }

    #[test]
    fn figures_belong_to_the_test_that_follows() {
        let text = "figure {\"name\":\"swapped\",\"runs\":9,\"failures\":0,\"note\":\"0 wrong\"}\n\
                    test faults::a_swap ... ok\ntest tamper::a_flip ... ok\n";
        let rows = hsm(&said(text, true)).unwrap();
        assert_eq!((rows[0].runs, rows[0].figure.as_str()), (9, "swapped: 0 wrong"));
        assert_eq!((rows[1].runs, rows[1].met), (1, true));
        let failed = hsm(&said("test faults::a_swap ... FAILED\n", false)).unwrap();
        assert!(!failed[0].met);
        assert!(hsm(&said(text, false)).is_err(), "it failed and no test says why");
        assert!(hsm(&said("", true)).is_err(), "no test ran");
    }
}
