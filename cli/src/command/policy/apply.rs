//! `chancery policy apply`: sends a bundle that compiles and passes its tests, and waits until it is in force or refused,
//! however long the appliance proves and counts.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use chancery_core::Code;
use chancery_policy::Tested;
use clap::Args;
use serde_json::{Value, json};

use super::compile;
use crate::command::sign::asked;
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::{Error, Exit, Output, file};

/// Between two looks at a change under way.
const LOOK: Duration = Duration::from_secs(1);
/// What is not finished yet.
const ACCEPTED: u16 = 202;

/// `chancery policy apply`.
#[derive(Args, Debug)]
#[command(
    after_help = "The appliance asks who signed, compiles, runs the tests and proves the goals itself, and has new limits count \
    what went before; what that takes is waited for and told of. Interrupting this command stops only the waiting. One change \
    is made at a time.\n\n\
    Where the policy in force governs changes, the bundle waits for whom its rules name, and comes into force by \
    itself after their last word: `chancery request show ID` says how it stands.\n\n\
    Exit codes: 0 when the bundle is in force, 1 when it fails here, 3 when it waits, 4 when it is denied, 5 when the appliance \
    refuses it.\n\nExamples:\n  \
    chancery policy apply policies/treasury\n  \
    chancery policy apply policies/treasury --signature ann.note --signature bob.note"
)]
pub struct Apply {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A signed note over the bundle, as `chancery policy sign` makes it; give it again for more
    #[arg(long, value_name = "FILE")]
    signature: Vec<PathBuf>,
}

impl Apply {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let tested = Tested::of(compile(&self.directory, output)?)
            .map_err(|error| Error::Failed(format!("{error}; `chancery policy test` shows them")))?;
        let bundle = tested.bundle();
        let api = Api::open(connection, output)?;
        let notes = self.signature.iter().map(|path| file::read_text(path)).collect::<Result<Vec<_>, _>>()?;
        let mut body = json!({ "files": bundle.source().files });
        if let Some(body) = body.as_object_mut().filter(|_| !notes.is_empty()) {
            body.insert("signatures".to_owned(), notes.into());
        }
        let mut answer = api.call(&Call::put(&["policy"], body))?;
        let mut told = String::new();
        while answer.status == ACCEPTED {
            let document = answer.json()?;
            if document.get("state").is_some() {
                return asked(&document, output);
            }
            let step = step(&document);
            if step != told {
                output.say(&step);
                told = step;
            }
            thread::sleep(LOOK);
            answer = look(&api, &answer, bundle.hash())?;
        }
        let document = answer.json()?;
        if answer.text(&document, "/bundle")? != bundle.hash() {
            let sent = bundle.hash();
            return Err(answer.unexpected(&format!("names another bundle than the one sent, {sent}")));
        }
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.say(&format!("bundle `{}` is in force", bundle.name()));
            output.line(bundle.hash())?;
        }
        Ok(Exit::Ok)
    }
}

/// How the change stands that `before` told of. An appliance that was started anew knows nothing of it, but what is in force.
fn look(api: &Api<'_>, before: &Answer, bundle: &str) -> Result<Answer, Error> {
    let id = before.text(&before.json()?, "/request_id")?;
    match api.call(&Call::get(&["policy", "changes", &id])) {
        Err(Error::Problem(problem)) if problem.is(Code::NotFound) => {}
        answer => return answer,
    }
    let lost = || {
        Error::Failed(
            "the appliance was started anew before the bundle came into force: apply it again".to_owned(),
        )
    };
    match api.call(&Call::get(&["policy"])) {
        Ok(answer) if answer.text(&answer.json()?, "/bundle")? == bundle => Ok(answer),
        Ok(_) => Err(lost()),
        Err(Error::Problem(problem)) if problem.is(Code::NoPolicy) => Err(lost()),
        Err(error) => Err(error),
    }
}

/// How far the appliance is, in words.
fn step(change: &Value) -> String {
    let number = |name: &str| change.get(name).and_then(Value::as_u64);
    let done = number("done").unwrap_or(0);
    match (change.get("step").and_then(Value::as_str), number("of")) {
        (Some("proving"), Some(of)) => format!("the appliance has proved {done} of {of} goals"),
        (Some("looking-back"), _) => format!("its limits have counted {done} earlier requests"),
        (Some(step), _) => format!("the appliance is {step}"),
        (None, _) => "the appliance is at work".to_owned(),
    }
}
