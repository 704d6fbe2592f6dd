//! `chancery events`: what happened, and what happens. Each event is an entry of the log, told in its order.

use chancery_audit::EVENTS;
use chancery_core::limit;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::connection::Connection;
use crate::events::Heard;
use crate::http::{Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery events`.
#[derive(Args, Debug)]
#[command(
    after_help = "A client hears of its own requests, everybody else of all that happens. The number in front is the log index: \
    `--after` goes on behind it. With `--json` each event is one line: type, timestamp and data.\n\n\
    Examples:\n  chancery events --follow\n  chancery events --follow --only request.pending\n  \
    chancery events --after 1200 --json\n  chancery events --only login.password-refused --only login.stolen"
)]
pub struct Events {
    /// Go on for ever, beginning with what happens next or behind `--after`
    #[arg(long)]
    follow: bool,
    /// Begin behind this log index
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Only events of this name; may be given several times
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(EVENTS))]
    only: Vec<String>,
    /// At most this many entries are read; for ever with `--follow`
    #[arg(long, value_name = "N", default_value_t = 10_000, conflicts_with = "follow")]
    limit: usize,
}

impl Events {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        if self.follow {
            let call = Call::get(&["events"]).query("after", self.after.map(|index| index.to_string()));
            api.listen(&call, |heard| self.heard(heard, output))?;
            return Ok(Exit::Ok);
        }
        let (mut after, mut left) = (self.after.map(|index| index.to_string()), self.limit);
        while left > 0 {
            let page = left.min(limit::PAGE_ROWS);
            let call = Call::get(&["events"]).query("after", after).query("limit", Some(page.to_string()));
            let answer = api.call(&call)?;
            let document = answer.json()?;
            let events = answer.rows(&document, "events")?;
            for event in events {
                self.show(event, output)?;
            }
            left = left.saturating_sub(events.len());
            after = document.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(Exit::Ok)
    }

    fn heard(&self, heard: &Heard, output: &Output) -> Result<(), Error> {
        let event = serde_json::from_str(&heard.data);
        let event: Value = event.map_err(|_| Error::Answer {
            call: "GET /v1/events".to_owned(),
            what: "is not JSON".to_owned(),
        })?;
        self.show(&event, output)?;
        output.flush()
    }

    fn show(&self, event: &Value, output: &Output) -> Result<(), Error> {
        let name = event.get("type").and_then(Value::as_str).unwrap_or_default();
        if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
            return Ok(());
        }
        if output.is_json() {
            return output.json_line(event);
        }
        let about = ["/data/wallet", "/data/client", "/data/request_id", "/data/idempotency_key"];
        let record =
            ["/data/record/wallet", "/data/record/officer", "/data/record/bundle", "/data/record/ceremony"];
        let words: Vec<String> = match event.pointer("/data/request_id") {
            Some(_) => about.map(|pointer| cell(event, pointer)).into(),
            None => {
                record.iter().filter(|at| event.pointer(at).is_some()).map(|at| cell(event, at)).collect()
            }
        };
        output.line(&format!(
            "{:>8}  {}  {name:<22}  {}",
            cell(event, "/data/index"),
            cell(event, "/timestamp"),
            words.join("  ")
        ))
    }
}
