//! The report: a table for people, one JSON document for programs.

use std::io::{self, Write};

use chancery_hsm::Token;
use chancery_hsm::conformance::{Outcome, Rate, Row};
use serde::Serialize;

use crate::vectors::{By, Tally};

#[derive(Serialize)]
struct Conformance<'a> {
    token: &'a Token,
    mechanisms: &'a [String],
    rows: &'a [Row],
}

pub(crate) fn conformance(
    out: &mut impl Write,
    token: &Token,
    mechanisms: &[String],
    rows: &[Row],
    json: bool,
) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &Conformance { token, mechanisms, rows })?;
        return writeln!(out);
    }
    for row in rows {
        let outcome = match row.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotSupported => "-",
            Outcome::Noted => "noted",
        };
        writeln!(out, "{:<18} {:<20} {outcome:<6} {}", row.check, row.subject, row.detail)?;
    }
    Ok(())
}

pub(crate) fn vectors(out: &mut impl Write, tallies: &[Tally], json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, tallies)?;
        return writeln!(out);
    }
    for tally in tallies {
        let by = if tally.by == By::House { "house" } else { "token" };
        let skipped: usize = tally.skipped.values().sum();
        let (noted, failed) = (tally.noted.len(), tally.failed.len());
        writeln!(
            out,
            "{:<32} {by} {:>5} vectors {:>5} passed {skipped:>4} skipped {noted:>3} noted {failed:>3} failed",
            tally.file, tally.total, tally.passed
        )?;
        for (reason, count) in &tally.skipped {
            writeln!(out, "    skipped {count}: {reason}")?;
        }
        for note in &tally.noted {
            writeln!(out, "    noted tcId {}: {}", note.id, note.what)?;
        }
        for failure in &tally.failed {
            writeln!(out, "    failed tcId {}: {}", failure.id, failure.what)?;
        }
    }
    Ok(())
}

pub(crate) fn rates(out: &mut impl Write, rates: &[Rate], json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, rates)?;
        return writeln!(out);
    }
    for Rate { algorithm, threads, per_second, cpu_us, .. } in rates {
        writeln!(
            out,
            "{algorithm:<10} {threads:>2} threads {per_second:>8.0} signatures/s {cpu_us:>6.1} us CPU each"
        )?;
    }
    Ok(())
}
