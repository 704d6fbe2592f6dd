//! `chancery policy replay`: what a draft would have decided about what was really asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chancery_core::UnixMillis;
use clap::Args;
use serde_json::json;

use super::compile;
use crate::command::history;
use crate::connection::Connection;
use crate::http::Api;
use crate::replay::{Asked, Event, Replay, events, reach_ms};
use crate::{Error, Exit, Output, when};

/// `chancery policy replay`.
#[derive(Args, Debug)]
#[command(
    after_help = "Needs an auditor's or operator's certificate. Requests are asked in the log's order and limits are counted \
    along, from the longest window of the draft before `--from`. What the draft allows and was refused then counts as spent.\n\n\
    Exit codes: 0 when nothing would change, 1 when something would.\n\nExamples:\n  \
    chancery policy replay policies/draft --from -30d\n  chancery policy replay policies/draft --from -7d --json"
)]
pub struct ReplayCommand {
    /// The draft's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Not before: RFC 3339, milliseconds since 1970, or relative such as `-30d`
    #[arg(long, value_name = "TIME", default_value = "-30d", allow_hyphen_values = true, value_parser = when::parse)]
    from: UnixMillis,
    /// Before: the same forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    to: Option<UnixMillis>,
}

impl ReplayCommand {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let draft = compile(&self.directory, output)?;
        let api = Api::open(connection, output)?;
        let start = self.from.plus_ms(reach_ms(&draft).saturating_neg());
        let recorded = history::read(&api, Some(start), self.to, output)?;
        let mut replay = Replay::default();
        let (mut decisions, mut changed) = (0_usize, Vec::new());
        let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for event in events(&recorded) {
            match event {
                Event::Ended(one, end) => replay.end(one, end),
                Event::Waits(one) => replay.wait(one, &draft),
                Event::Decided(one) => {
                    let asked = replay.decide(one, &draft);
                    if asked.time_ms >= self.from {
                        decisions += 1;
                        *counts.entry((asked.then, asked.now.clone())).or_default() += 1;
                        if !asked.agrees {
                            changed.push(asked);
                        }
                    }
                }
            }
        }
        let counts: Vec<_> = counts
            .into_iter()
            .map(|((then, now), count)| json!({ "then": then, "now": now, "count": count }))
            .collect();
        if output.is_json() {
            output.document(&json!({
                "bundle": draft.hash(),
                "from_ms": self.from,
                "decisions": decisions,
                "counts": counts,
                "changed": changed,
            }))?;
        } else {
            let rows: Vec<_> = changed.iter().map(row).collect();
            if !rows.is_empty() {
                output.table(["REQUEST", "TIME", "CLIENT", "WALLET", "THEN", "NOW", "RULES"], &rows)?;
            }
            output.say(&format!("{} of {decisions} decisions would change", changed.len()));
        }
        Ok(if changed.is_empty() { Exit::Ok } else { Exit::Failed })
    }
}

/// A decision that comes out otherwise.
pub fn row(asked: &Asked) -> [String; 7] {
    [
        asked.request_id.to_string(),
        when::show(asked.time_ms),
        asked.client.to_string(),
        asked.wallet.to_string(),
        asked.then.to_owned(),
        asked.now.clone(),
        format!("{} -> {}", asked.then_rules.join(", "), asked.now_rules.join(", ")),
    ]
}
