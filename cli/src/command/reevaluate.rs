//! `chancery audit re-evaluate`: each decision asked again of the bundle of its time. The record does not hold what limits
//! had used up; it is counted again from the decisions before, as far back as the longest window reaches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chancery_audit::Endorsement;
use chancery_core::{RequestId, UnixMillis};
use chancery_policy::{Bundle, Source};
use clap::Args;
use serde_json::json;

use super::{audit, history, policy};
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::replay::{Event, Recorded, Replay, events, reach_ms};
use crate::{Error, Exit, Output};

/// `chancery audit re-evaluate`.
#[derive(Args, Debug)]
#[command(
    after_help = "Payloads are decoded again with the contracts and tokens that the bundle of the time knew, and limits are \
    counted again from the decisions before, as far back as the longest window of any bundle concerned. Approvals that came later are not part \
    of the decision and are not asked.\n\nExit codes: 0 when every decision comes out as recorded, 1 when one does not.\n\n\
    Examples:\n  chancery audit re-evaluate 019a0000-0000-7000-8000-000000000000\n  \
    chancery audit re-evaluate --all --from -7d --wallet treasury"
)]
pub struct Reevaluate {
    /// The request
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    id: Option<RequestId>,
    /// Every decision that the filters let through
    #[arg(long)]
    all: bool,
    /// A key that may sign bundles, `name+hash+base64`; give it again for more
    #[arg(long, value_name = "KEY", requires = "signatures")]
    policy_key: Vec<String>,
    /// How many of these keys each bundle must be signed by
    #[arg(long, value_name = "N", requires = "policy_key")]
    signatures: Option<usize>,
    #[command(flatten)]
    filter: audit::Filter,
}

/// A bundle of the time, and who signed it.
struct Known {
    bundle: Arc<Bundle>,
    signatures: Vec<Endorsement>,
}

impl Reevaluate {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        let wanted = self.wanted(&api)?;
        let mut bundles: HashMap<String, Known> = HashMap::new();
        for (_, _, hash) in &wanted {
            known(&mut bundles, &api, hash)?;
        }
        let first = wanted.iter().map(|(_, at, _)| *at).min();
        let last = wanted.iter().map(|(_, at, _)| at.plus_ms(1)).max();
        let reach = bundles.values().map(|known| reach_ms(&known.bundle)).max().unwrap_or(0);
        let recorded = match first {
            Some(first) => history::read(&api, Some(first.plus_ms(reach.saturating_neg())), last, output)?,
            None => Vec::new(),
        };
        let wanted: HashMap<RequestId, ()> = wanted.iter().map(|(id, ..)| (*id, ())).collect();
        let mut replay = Replay::default();
        let mut asked = Vec::new();
        for event in events(&recorded) {
            match event {
                Event::Ended(one, end) => replay.end(one, end),
                Event::Waits(one) => replay.wait(one, &*known(&mut bundles, &api, &hash(one))?),
                Event::Decided(one) => {
                    let bundle = known(&mut bundles, &api, &hash(one))?;
                    let again = replay.decide(one, &bundle);
                    if wanted.contains_key(&again.request_id) {
                        asked.push(again);
                    }
                }
            }
        }
        let signed = self.signed(&bundles)?;
        let differ: Vec<_> = asked.iter().filter(|asked| !asked.agrees).collect();
        if output.is_json() {
            output.document(
                &json!({ "decisions": asked.len(), "agree": asked.len() - differ.len(), "differ": differ, "bundles": signed }),
            )?;
        } else {
            let rows: Vec<_> = differ.iter().map(|asked| policy::replayed(asked)).collect();
            if !rows.is_empty() {
                output.table(["REQUEST", "TIME", "CLIENT", "WALLET", "RECORDED", "AGAIN", "RULES"], &rows)?;
            }
            for (hash, keys) in &signed {
                let keys = if keys.is_empty() { "nobody".to_owned() } else { keys.join(", ") };
                output.say(&format!("bundle {hash} is signed by {keys}"));
            }
            output.say(&format!(
                "{} of {} decisions come out as recorded",
                asked.len() - differ.len(),
                asked.len()
            ));
        }
        if differ.is_empty() {
            Ok(Exit::Ok)
        } else {
            Err(Error::Failed(format!("{} decisions come out otherwise than recorded", differ.len())))
        }
    }

    /// Who signed each bundle, by its hash; their signatures were verified when it was fetched.
    fn signed<'k>(
        &self,
        bundles: &'k HashMap<String, Known>,
    ) -> Result<BTreeMap<&'k str, Vec<&'k str>>, Error> {
        let needed = self.signatures.unwrap_or(0);
        let mut signed = BTreeMap::new();
        for (hash, known) in bundles {
            let keys: Vec<&str> = known.signatures.iter().map(|one| one.key.as_str()).collect();
            let found = self.policy_key.iter().filter(|key| keys.contains(&key.as_str())).count();
            if found < needed {
                return Err(Error::Failed(format!(
                    "bundle {hash} is signed by {found} of the keys given, not by {needed}"
                )));
            }
            signed.insert(hash.as_str(), keys);
        }
        Ok(signed)
    }

    /// The decisions asked for: request, time, bundle.
    fn wanted(&self, api: &Api<'_>) -> Result<Vec<(RequestId, UnixMillis, String)>, Error> {
        let rows = match self.id {
            Some(id) => {
                vec![api.call(&Call::get(&["audit", "decisions", &id.to_string()]))?.json()?]
            }
            None => api.pages("decisions", audit::DECISIONS, &self.filter.query(), history::DECISIONS)?,
        };
        let one = |row| {
            let decision = audit::recorded(row)?.decision;
            Ok((decision.request_id, decision.time_ms, decision.bundle.to_string()))
        };
        rows.iter().map(one).collect()
    }
}

fn hash(recorded: &Recorded) -> String {
    recorded.row.decision.bundle.to_string()
}

/// A bundle that is or was in force, fetched and compiled once.
fn known(bundles: &mut HashMap<String, Known>, api: &Api<'_>, hash: &str) -> Result<Arc<Bundle>, Error> {
    if let Some(known) = bundles.get(hash) {
        return Ok(Arc::clone(&known.bundle));
    }
    let answer = api.call(&Call::get(&["policy", hash]))?;
    let document = answer.json()?;
    let signatures = policy::signatures(api, &document, hash)?;
    let source = json!({ "files": document.get("files") });
    let source: Source =
        serde_json::from_value(source).map_err(|_| answer.unexpected("has no bundle's files"))?;
    if source.hash() != hash {
        return Err(answer.unexpected("has files that are not those of its hash"));
    }
    let bundle = Bundle::compile(&source)
        .map_err(|error| Error::Failed(format!("bundle {hash} does not compile here: {error}")))?;
    let bundle = Arc::new(bundle);
    bundles.insert(hash.to_owned(), Known { bundle: Arc::clone(&bundle), signatures });
    Ok(bundle)
}
