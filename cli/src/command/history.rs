//! Decisions read back through the API with what was asked, for `policy replay` and `audit re-evaluate`.

use chancery_audit::{Receipt, Row};
use chancery_core::UnixMillis;
use serde_json::Value;

use super::audit;
use crate::http::{Api, Call};
use crate::progress::Progress;
use crate::replay::Recorded;
use crate::{Error, Output};

/// LIMIT: decisions of one run, held in memory with their payloads.
pub const DECISIONS: usize = 1_000_000;

/// Every decision from `from` on, before `to`, in the log's order.
pub fn read(
    api: &Api<'_>,
    from: Option<UnixMillis>,
    to: Option<UnixMillis>,
    output: &Output,
) -> Result<Vec<Recorded>, Error> {
    let query = [("from", from.map(|at| at.to_string())), ("to", to.map(|at| at.to_string()))];
    let mut rows: Vec<Row> = Vec::new();
    let mut progress = Progress::start(output, "listed");
    api.each_page("decisions", audit::DECISIONS, &query, DECISIONS, |page: &[Value]| {
        for row in page {
            rows.push(audit::recorded(row)?);
        }
        progress.at(rows.len() as u64, None);
        Ok(())
    })?;
    if rows.len() == DECISIONS {
        return Err(Error::Usage {
            detail: format!("more than {DECISIONS} decisions"),
            hint: "take a shorter time with `--from` and `--to`",
        });
    }
    rows.sort_by_key(|row| row.leaf);
    let mut progress = Progress::start(output, "fetched");
    let total = Some(rows.len() as u64);
    let mut recorded = Vec::with_capacity(rows.len());
    for (done, row) in rows.into_iter().enumerate() {
        progress.at(done as u64, total);
        let id = row.decision.request_id.to_string();
        let answer = api.call(&Call::get(&["requests", &id, "receipt"]))?;
        let receipt = Receipt::parse(&answer.bytes)
            .map_err(|error| answer.unexpected(&format!("is no receipt: {error}")))?;
        if receipt.decision != row.decision {
            return Err(answer.unexpected("is about another decision than the log lists"));
        }
        recorded.push(Recorded { row, receipt });
    }
    Ok(recorded)
}
