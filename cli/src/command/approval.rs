//! `chancery approval`: an officer looks at what waits, and speaks. Nothing that the server says is approved: the payload is
//! decoded here, the bundle is compiled here and must be of its hash, and the challenge is computed from what was shown.
//! If this is wrong, an officer approves something else than what was on the screen.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, stdin};
use std::path::PathBuf;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_audit::{Act, Digest, Matter};
use chancery_core::{Change, ClientId, Payload, RequestId, Tenant, UnixMillis, WalletId};
use chancery_identity::webauthn::Base64Url;
use chancery_intent::model::Description;
use chancery_policy::{Bundle, Source};
use clap::{ArgGroup, Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::time_cell;
use super::sign::missing;
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::passkey::{Passkey, assertion};
use crate::recheck::recheck;
use crate::{Error, Exit, Output, when};

/// `chancery approval`.
#[derive(Subcommand, Debug)]
pub enum Approval {
    /// List what waits for you (officer)
    #[command(after_help = "Examples:\n  chancery approval list\n  chancery approval list --json")]
    List {
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show a request in plain words, decoded here (officer)
    #[command(after_help = "Examples:\n  chancery approval show 019a0000-0000-7000-8000-000000000000")]
    Show {
        /// The request
        id: RequestId,
    },
    /// Print the challenge for an authenticator elsewhere, as the options of `navigator.credentials.get` (officer)
    #[command(
        after_help = "Examples:\n  chancery approval challenge 019a0000-0000-7000-8000-000000000000 --group treasury > options.json"
    )]
    Challenge {
        /// The request
        id: RequestId,
        /// The approver group you speak for
        #[arg(long, value_name = "GROUP")]
        group: String,
        /// For a veto
        #[arg(long)]
        veto: bool,
    },
    /// Approve a request, for one of your groups (officer)
    #[command(
        after_help = format!("{SPEAK}\n\nExamples:\n  chancery approval approve \
        019a0000-0000-7000-8000-000000000000 --group treasury --passkey ann.passkey")
    )]
    Approve(Speak),
    /// Veto a request, for one of your groups (officer)
    #[command(
        after_help = format!("{SPEAK}\n\nExamples:\n  chancery approval veto \
        019a0000-0000-7000-8000-000000000000 --group risk --assertion assertion.json --yes")
    )]
    Veto(Speak),
}

const SPEAK: &str = "\
The request is shown first, and you are asked; `--yes` does not ask. The assertion is made by a passkey in a file, or \
elsewhere over what `chancery approval challenge` prints.";

/// What an officer says.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("with").required(true).args(["passkey", "assertion"]))]
pub struct Speak {
    /// The request
    id: RequestId,
    /// The approver group you speak for
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// A passkey in a file, as `chancery officer passkey` makes it
    #[arg(long, value_name = "FILE")]
    passkey: Option<PathBuf>,
    /// An assertion as a browser writes it (`JSON.stringify`); `-` for standard input
    #[arg(long, value_name = "FILE")]
    assertion: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A request as the server tells it; every member is checked before it is shown.
#[derive(Deserialize)]
struct Sheet {
    request_id: RequestId,
    state: String,
    client: ClientId,
    wallet: WalletId,
    expires_ms: Option<UnixMillis>,
    payload: Payload,
    files: Option<BTreeMap<String, String>>,
    intent: Value,
    missing: Vec<Value>,
    bundle: Digest,
    groups: Vec<String>,
    relying_party: Option<String>,
    credentials: Vec<Base64Url>,
}

/// A request that was decoded here, under a bundle that was compiled here.
struct Seen {
    sheet: Sheet,
    bundle: Rc<Bundle>,
    description: Description,
    assumed: Vec<String>,
    /// What another bundle would have otherwise, computed here.
    differences: Vec<String>,
}

impl Approval {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        match self {
            Self::List { limit } => list(&api, *limit, output),
            Self::Show { id } => Desk::new(&api).fetch(*id)?.show(output),
            Self::Challenge { id, group, veto } => {
                let act = if *veto { Act::Veto } else { Act::Approve };
                Desk::new(&api).fetch(*id)?.options(act, group, output)
            }
            Self::Approve(speak) => speak.run(Act::Approve, &api, output),
            Self::Veto(speak) => speak.run(Act::Veto, &api, output),
        }
    }
}

fn list(api: &Api<'_>, limit: usize, output: &Output) -> Result<Exit, Error> {
    let mut rows = api.pages("approvals", &["approvals"], &[], limit)?;
    let mut desk = Desk::new(api);
    for row in &mut rows {
        let (name, said) = match desk.words(row) {
            Ok(words) => ("words", json!(words)),
            // One that says something else than it does must not hide the others.
            Err(error) => ("distrust", json!(error.chain())),
        };
        if let Some(members) = row.as_object_mut() {
            // Neither is the server's to say.
            members.retain(|member, _| member != "words" && member != "distrust");
            members.insert(name.to_owned(), said);
        }
    }
    if output.is_json() {
        output.document(&json!({ "approvals": rows }))?;
        return Ok(Exit::Ok);
    }
    let row = |row: &Value| {
        [
            cell(row, "/request_id"),
            time_cell(row, "/time_ms"),
            cell(row, "/client"),
            cell(row, "/wallet"),
            cell(row, "/groups"),
            missing(row.get("missing")).join("; or "),
            match row.get("distrust") {
                None => texts(row.get("words")).join("; "),
                Some(_) => format!("DO NOT APPROVE: {}", cell(row, "/distrust")),
            },
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    output.table(["REQUEST", "TIME", "CLIENT", "WALLET", "YOUR GROUPS", "MISSING", "DOES"], &rows)?;
    Ok(Exit::Ok)
}

/// What many requests are looked at with: read and compiled once.
struct Desk<'a> {
    api: &'a Api<'a>,
    in_force: Option<(Digest, Rc<Bundle>)>,
    keys: BTreeMap<WalletId, Vec<u8>>,
}

impl<'a> Desk<'a> {
    fn new(api: &'a Api<'a>) -> Self {
        Self { api, in_force: None, keys: BTreeMap::new() }
    }

    fn read(&self, path: &[&str]) -> Result<(Answer, Value), Error> {
        let answer = self.api.call(&Call::get(path))?;
        let document = answer.json()?;
        Ok((answer, document))
    }

    fn fetch(&mut self, id: RequestId) -> Result<Seen, Error> {
        let (answer, document) = self.read(&["approvals", &id.to_string()])?;
        let sheet: Sheet =
            serde_json::from_value(document).map_err(|_| answer.unexpected("is not a request to approve"))?;
        if sheet.request_id != id {
            return Err(answer.unexpected("is another request"));
        }
        let (bundle, description, assumed) = self.decode(&sheet)?;
        let differences = differences(&sheet, &bundle)?;
        Ok(Seen { sheet, bundle, description, assumed, differences })
    }

    /// What a listed request does, in words.
    fn words(&mut self, row: &Value) -> Result<Vec<String>, Error> {
        let sheet: Sheet = serde_json::from_value(row.clone())
            .map_err(|_| Error::Failed("it is not a request to approve".to_owned()))?;
        let (bundle, description, _) = self.decode(&sheet)?;
        Ok(bundle.words(&description))
    }

    /// Decodes the payload here; what the server says must be the same.
    fn decode(&mut self, sheet: &Sheet) -> Result<(Rc<Bundle>, Description, Vec<String>), Error> {
        let (answer, document) = self.read(&["requests", &sheet.request_id.to_string()])?;
        let digest: Digest = answer
            .text(&document, "/signing_digest")?
            .parse()
            .map_err(|_| answer.unexpected("has no signing digest"))?;
        let key = self.key(&sheet.wallet)?;
        let found =
            recheck(&sheet.payload, &sheet.intent, digest.as_bytes(), Some(&key)).map_err(|what| {
                Error::Failed(format!(
                    "the server says something else than the payload does, nothing was approved: {what}"
                ))
            })?;
        let description = serde_json::from_value(sheet.intent.clone())
            .map_err(|_| answer.unexpected("holds an intent of another format"))?;
        Ok((self.bundle(&sheet.bundle)?, description, found.assumed))
    }

    fn key(&mut self, wallet: &WalletId) -> Result<Vec<u8>, Error> {
        if let Some(key) = self.keys.get(wallet) {
            return Ok(key.clone());
        }
        let (answer, document) = self.read(&["wallets", wallet.as_str()])?;
        let key = hex::decode(answer.text(&document, "/public_key")?)
            .map_err(|_| answer.unexpected("has no public key"))?;
        self.keys.insert(wallet.clone(), key.clone());
        Ok(key)
    }

    fn bundle(&mut self, hash: &Digest) -> Result<Rc<Bundle>, Error> {
        if let Some((known, bundle)) = &self.in_force
            && known == hash
        {
            return Ok(Rc::clone(bundle));
        }
        let (answer, document) = self.read(&["policy", &hash.to_string()])?;
        let source: Source = serde_json::from_value(json!({ "files": document.get("files") }))
            .map_err(|_| answer.unexpected("has no bundle's files"))?;
        let bundle = Bundle::compile(&source)
            .map_err(|error| Error::Failed(format!("the bundle in force does not compile here: {error}")))?;
        if bundle.hash() != hash.to_string() {
            return Err(answer.unexpected("has files that are not those of its hash"));
        }
        let bundle = Rc::new(bundle);
        self.in_force = Some((*hash, Rc::clone(&bundle)));
        Ok(bundle)
    }
}

/// The texts of a list.
fn texts(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Seen {
    fn show(&self, output: &Output) -> Result<Exit, Error> {
        let Sheet { request_id, state, client, wallet, expires_ms, missing: needs, groups, bundle, .. } =
            &self.sheet;
        let (words, notes) = (self.bundle.words(&self.description), self.bundle.notes(&self.description));
        if output.is_json() {
            output.document(&json!({
                "request_id": request_id, "state": state, "client": client, "wallet": wallet, "words": words,
                "differences": self.differences, "notes": notes, "assumed": self.assumed, "missing": needs, "groups": groups, "bundle": bundle,
                "expires_ms": expires_ms, "intent": self.sheet.intent,
            }))?;
            return Ok(Exit::Ok);
        }
        output.line(&format!("request   {request_id}, {state}"))?;
        output.line(&format!(
            "asked by  client `{client}` of wallet `{wallet}` ({})",
            self.description.account
        ))?;
        for (name, lines) in
            [("does", &words), ("differs", &self.differences), ("mind", &notes), ("rests on", &self.assumed)]
        {
            for line in lines {
                output.line(&format!("{name:<8}  {line}"))?;
            }
        }
        for need in missing(Some(&json!(needs))) {
            output.line(&format!("missing   {need}"))?;
        }
        output.line(&format!("bundle    {bundle} (`{}`)", self.bundle.name()))?;
        output.line(&format!("groups    {}", groups.join(", ")))?;
        if let Some(at) = expires_ms {
            output.line(&format!("expires   {}", when::show(*at)))?;
        }
        Ok(Exit::Ok)
    }

    fn challenge(&self, act: Act, group: &str) -> Result<[u8; 32], Error> {
        let Sheet { request_id, client, wallet, intent, bundle, groups, .. } = &self.sheet;
        if !groups.iter().any(|known| known == group) {
            return Err(Error::Failed(match &groups[..] {
                [] => "you speak for none of the groups about this request".to_owned(),
                some => {
                    let some = some.join("`, `");
                    format!("you can speak for `{some}` about this request, not for `{group}`")
                }
            }));
        }
        let tenant = Tenant::default();
        let matter = Matter::new(act, group, &tenant, *request_id, client, wallet, intent, bundle);
        matter.challenge().map_err(|error| Error::Failed(error.to_string()))
    }

    fn options(&self, act: Act, group: &str, output: &Output) -> Result<Exit, Error> {
        let allowed = self.sheet.credentials.iter().map(|id| json!({ "type": "public-key", "id": id }));
        output.document(&json!({
            "challenge": URL_SAFE_NO_PAD.encode(self.challenge(act, group)?),
            "rpId": self.sheet.relying_party,
            "allowCredentials": allowed.collect::<Vec<_>>(),
            "userVerification": "required",
        }))?;
        Ok(Exit::Ok)
    }
}

/// What a change of the policy would have otherwise than the bundle in force, computed from the files of both.
fn differences(sheet: &Sheet, in_force: &Bundle) -> Result<Vec<String>, Error> {
    let Payload::ApplianceChange { change: Change::Policy { bundle, previous, differences, .. } } =
        &sheet.payload
    else {
        return Ok(Vec::new());
    };
    let refuse = |what: &str| Err(Error::Failed(format!("nothing was approved: {what}")));
    let Some(files) = &sheet.files else {
        return refuse("the server does not show the new bundle's files");
    };
    let new = Bundle::compile(&Source { files: files.clone() })
        .map_err(|error| Error::Failed(format!("the new bundle does not compile here: {error}")))?;
    if new.hash() != bundle {
        return refuse("the files shown are not those of the new bundle's hash");
    }
    if in_force.hash() != previous {
        return refuse("another bundle came into force since this change was asked for");
    }
    let found = new.diff(in_force);
    if found.lines() != *differences {
        return refuse("what the change says of the differences is not what differs");
    }
    Ok(found.to_string().lines().map(str::to_owned).collect())
}

impl Speak {
    fn run(&self, act: Act, api: &Api<'_>, output: &Output) -> Result<Exit, Error> {
        let seen = Desk::new(api).fetch(self.id)?;
        let challenge = seen.challenge(act, &self.group)?;
        if !output.is_json() {
            seen.show(output)?;
        }
        if !self.yes && !agreed(act, output)? {
            return Err(Error::Failed("nothing was said".to_owned()));
        }
        let assertion = match (&self.passkey, &self.assertion) {
            (Some(path), _) => Passkey::read(path)?.assert(&challenge)?,
            (None, Some(path)) => assertion(path)?,
            (None, None) => return Err(Error::Failed("no assertion".to_owned())),
        };
        let body =
            json!({ "act": act, "group": self.group, "bundle": seen.sheet.bundle, "assertion": assertion });
        let answer = api.call(&Call::post(&["approvals", &self.id.to_string()], body))?;
        let document = answer.json()?;
        let state = answer.text(&document, "/state")?;
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.line(&format!("said      {act} for `{}`; the request is {state}", self.group))?;
            for need in missing(document.get("missing")) {
                output.line(&format!("missing   {need}"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// Asks at the terminal; without one nobody can agree.
fn agreed(act: Act, output: &Output) -> Result<bool, Error> {
    if !stdin().is_terminal() {
        return Err(Error::Usage {
            detail: "nobody can be asked: standard input is no terminal".to_owned(),
            hint: "`--yes` says so beforehand",
        });
    }
    output.flush()?;
    output.say(&format!("{act} this? Type `yes`."));
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(Error::Output)?;
    Ok(line.trim() == "yes")
}
