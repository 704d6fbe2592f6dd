//! Decisions for people and spreadsheets: JSON lines and CSV, filtered. Every text cell is made harmless, because a
//! spreadsheet runs what begins like a formula. Nothing here is evidence: that is what receipts and the log are for.

use std::collections::BTreeMap;
use std::io::Write;

use chancery_core::{ClientId, UnixMillis, WalletId};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::record::{Decision, Outcome, Record};

/// Which decisions: those for which every given field matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The wallet.
    pub wallet: Option<WalletId>,
    /// The client.
    pub client: Option<ClientId>,
    /// The decision (`allowed`, `pending`, `denied`) or how it ended (`released`, `failed`, `expired`).
    pub outcome: Option<String>,
    /// Decided at this time or later.
    pub from: Option<UnixMillis>,
    /// Decided before this time.
    pub to: Option<UnixMillis>,
}

impl Filter {
    /// Whether a row passes.
    #[must_use]
    pub fn passes(&self, row: &Row) -> bool {
        self.may_pass(&row.decision)
            && self.outcome.as_deref().is_none_or(|wanted| {
                wanted == row.decision.outcome.as_str()
                    || row.end.as_ref().is_some_and(|end| wanted == end.outcome.as_str())
            })
    }

    fn may_pass(&self, decision: &Decision) -> bool {
        self.wallet.as_ref().is_none_or(|wallet| *wallet == decision.wallet)
            && self.client.as_ref().is_none_or(|client| *client == decision.client)
            && self.from.is_none_or(|from| decision.time_ms >= from)
            && self.to.is_none_or(|to| decision.time_ms < to)
    }
}

/// One decision and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The decision's place in the log.
    pub leaf: u64,
    /// The decision.
    pub decision: Decision,
    /// The outcome's place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_leaf: Option<u64>,
    /// How it ended, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Outcome>,
}

/// The rows of a sequence of log entries that pass `filter`, in the log's order. Holds the rows it returns.
pub fn rows(entries: impl IntoIterator<Item = (u64, Record)>, filter: &Filter) -> Vec<Row> {
    let mut rows = BTreeMap::new();
    for (leaf, record) in entries {
        match record {
            Record::Decision(decision) if filter.may_pass(&decision) => {
                rows.insert(leaf, Row { leaf, decision, end_leaf: None, end: None });
            }
            Record::Outcome(outcome) => {
                if let Some(row) = rows.get_mut(&outcome.decision_leaf) {
                    row.end_leaf = Some(leaf);
                    row.end = Some(outcome);
                }
            }
            Record::Decision(_)
            | Record::Approval(_)
            | Record::Wallet(_)
            | Record::Policy(_)
            | Record::Login(_)
            | Record::Ceremony(_)
            | Record::Authority(_)
            | Record::Client(_)
            | Record::Revocation(_)
            | Record::Rotation(_) => {}
        }
    }
    rows.into_values().filter(|row| filter.passes(row)).collect()
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output cannot be written.
    #[error("cannot write the export")]
    Write(#[from] std::io::Error),
    /// A row cannot be encoded.
    #[error("cannot encode a row")]
    Json(#[from] serde_json::Error),
    /// The CSV writer failed.
    #[error("cannot write the export")]
    Csv(#[from] csv::Error),
}

/// Writes rows as JSON, one a line.
///
/// # Errors
/// [`ExportError`].
pub fn write_json_lines<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    mut out: impl Write,
) -> Result<(), ExportError> {
    for row in rows {
        serde_json::to_writer(&mut out, row)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

const COLUMNS: [&str; 18] = [
    "leaf",
    "time",
    "tenant",
    "request_id",
    "client",
    "certificate",
    "wallet",
    "payload",
    "outcome",
    "rules",
    "missing",
    "bundle",
    "request_digest",
    "signing_digest",
    "end",
    "end_time",
    "end_leaf",
    "reason",
];

/// Writes rows as CSV (RFC 4180) under a header line. Times are RFC 3339 in UTC, lists are joined by `; `.
///
/// # Errors
/// [`ExportError`].
pub fn write_csv<'a>(rows: impl IntoIterator<Item = &'a Row>, out: impl Write) -> Result<(), ExportError> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for row in rows {
        let decision = &row.decision;
        let missing: Vec<_> = decision.missing.iter().map(ToString::to_string).collect();
        let end = row.end.as_ref();
        let cells: [String; COLUMNS.len()] = [
            row.leaf.to_string(),
            rfc3339(decision.time_ms),
            decision.tenant.to_string(),
            decision.request_id.to_string(),
            decision.client.to_string(),
            decision.certificate.to_string(),
            decision.wallet.to_string(),
            decision.payload.clone(),
            decision.outcome.as_str().to_owned(),
            decision.rules.join("; "),
            missing.join("; "),
            decision.bundle.to_string(),
            decision.request_digest.to_string(),
            decision.signing_digest.to_string(),
            end.map_or_else(String::new, |end| end.outcome.as_str().to_owned()),
            end.map_or_else(String::new, |end| rfc3339(end.time_ms)),
            row.end_leaf.map_or_else(String::new, |leaf| leaf.to_string()),
            end.and_then(|end| end.reason.clone()).unwrap_or_default(),
        ];
        csv.write_record(cells.map(harmless))?;
    }
    csv.flush()?;
    Ok(())
}

/// Text that a spreadsheet shows and does not run: an apostrophe before what would begin a formula (OWASP, CSV
/// injection).
fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell }
}

/// A time as RFC 3339 has it, in UTC.
#[must_use]
pub fn rfc3339(time: UnixMillis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_a_spreadsheet_would_run_are_made_harmless() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(harmless(cell.to_owned()), format!("'{cell}"));
        }
        assert_eq!(harmless("treasury-1".to_owned()), "treasury-1");
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(rfc3339(UnixMillis(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
