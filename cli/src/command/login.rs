//! `chancery officer invite | enrol | login | logout`: the client's side of OPAQUE, and the second factor. The password goes no
//! further than this process; the challenge and the session's token are made here, not told by the server.
//! If this is wrong, a server that lies gets a password or an assertion.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_core::{ClientId, RequestId, Tenant, UnixMillis};
use chancery_identity::login::{Agreed, Code, Enrolling, Entering, LoginError, TotpSecret};
use chancery_identity::webauthn::Base64Url;
use chancery_secret::Pin;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::connection::{ClientFile, Connection};
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::passkey::{Passkey, assertion};
use crate::session::Session;
use crate::typed::{PasswordFrom, code};
use crate::{Error, Exit, Output, file, pki, when};

/// How long a code is good when nobody says.
const INVITED_MS: i64 = 7 * 86_400_000;

/// `chancery officer invite`.
#[derive(Args, Debug)]
#[command(
    after_help = "The line on standard output goes into the officer's entry in `bundle.toml`; whoever signs that bundle lets the \
    person set a password. The code goes to the person by another way. A new line takes the password before it away.\n\n\
    Examples:\n  chancery officer invite ann\n  chancery officer invite ann --until 2027-01-31T18:00:00Z --out ann.code"
)]
pub struct Invite {
    /// The officer, as in the certificate
    #[arg(value_name = "NAME")]
    name: ClientId,
    /// Until when the code is good; seven days without
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<UnixMillis>,
    /// The file to make with the code, for its owner only; standard error without
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Invite {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let made = Code::fresh().map_err(failed)?;
        let digest = hex::encode(made.digest(&Tenant::default(), &self.name));
        let until = when::show(self.until.unwrap_or_else(|| when::now().plus_ms(INVITED_MS)));
        if let Some(path) = &self.out {
            file::write_new(path, made.text().as_bytes(), file::SECRET)?;
        }
        if output.is_json() {
            let shown = self.out.is_none().then(|| made.text().to_string());
            output.document(
                &json!({ "officer": self.name, "code_sha256": digest, "until": until, "code": shown }),
            )?;
            return Ok(Exit::Ok);
        }
        output.line(&format!("enrolment = {{ code_sha256 = \"{digest}\", until = \"{until}\" }}"))?;
        match &self.out {
            Some(path) => output.say(&format!("the code for `{}` is in `{}`", self.name, path.display())),
            None => output.say(&format!("the code for `{}`, shown once: {}", self.name, *made.text())),
        }
        Ok(Exit::Ok)
    }
}

/// `chancery officer enrol`.
#[derive(Args, Debug)]
#[command(
    after_help = "Asks for the code and twice for the password, and prints the secret of your one-time codes: put it into an \
    application for them. It is shown again at each login until you have used a code.\n\n\
    Examples:\n  chancery officer enrol\n  chancery officer enrol --code-file ann.code --password-file ann.password"
)]
pub struct Enrol {
    /// Read the code from a file that only you may read; typed without
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordFrom,
}

impl Enrol {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        let invited = code("code", self.code_file.as_deref())?;
        let invited = std::str::from_utf8(invited.expose()).unwrap_or_default();
        let password = self.password.read(true)?;
        let (enrolling, request) = Enrolling::begin(password.expose()).map_err(failed)?;
        let body = json!({ "code": invited, "request": Base64Url(request) });
        let answer = api.call(&Call::post(&["login", "enrolment"], body))?;
        let response = bytes(&answer, &answer.json()?, "response")?;
        let record = enrolling.finish(password.expose(), &response).map_err(failed)?;
        let body = json!({ "code": invited, "record": Base64Url(record) });
        api.call(&Call::post(&["login", "enrolment", "record"], body))?;
        // Shows that the password is the one that was kept, and gets the secret of the one-time codes.
        let told = Proven::prove(&api, &password)?.secret(connection)?;
        if output.is_json() {
            output.document(&json!({ "totp": told }))?;
        } else {
            show(told.as_ref(), output)?;
        }
        output.say("enrolled: `chancery officer login` logs you in");
        Ok(Exit::Ok)
    }
}

/// `chancery officer login`.
#[derive(Args, Debug)]
#[command(
    after_help = "Password, then your authenticator: a passkey in a file, or with `--assertion` one elsewhere, whose options \
    for `navigator.credentials.get` are printed on standard error. Without either a one-time code is asked for, which is \
    enough where nothing is unusual; where something is, both are asked for.\n\n\
    Examples:\n  chancery officer login --passkey ann.passkey\n  chancery officer login --assertion -\n  \
    chancery officer login --password-file ann.password --code-file ann.totp"
)]
pub struct Login {
    #[command(flatten)]
    password: PasswordFrom,
    /// A passkey in a file, as `chancery officer passkey` makes it
    #[arg(long, value_name = "FILE", conflicts_with = "assertion")]
    passkey: Option<PathBuf>,
    /// An assertion as a browser writes it (`JSON.stringify`), read once the options are printed; `-` for standard input
    #[arg(long, value_name = "FILE")]
    assertion: Option<PathBuf>,
    /// Read the one-time code from a file that only you may read; typed without, where one is asked for
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Entered {
    Open { session: RequestId, expires_ms: UnixMillis, roles: Vec<String> },
    More { needs: String, because: Vec<String> },
}

impl Login {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let directory = connection.directory()?;
        // An earlier session would stay open unseen. Somebody may have ended it meanwhile, which is as good.
        if let Ok(Some(earlier)) = Session::read(directory) {
            end(connection, &earlier, output).ok();
        }
        Session::forget(directory)?;
        let api = Api::open(connection, output)?;
        let proven = Proven::prove(&api, &self.password.read(false)?)?;
        let told = proven.secret(connection)?;
        if !output.is_json() {
            show(told.as_ref(), output)?;
        }
        let by_code = self.passkey.is_none() && self.assertion.is_none();
        let first = if by_code { "totp" } else { "assertion" };
        let mut entered = proven.enter(&api, self.factor(first, &proven, output)?)?;
        if let Entered::More { needs, because } = &entered {
            output.say(&format!("unusual ({}): {needs} is asked for too", because.join(", ")));
            entered = proven.enter(&api, self.factor(needs, &proven, output)?)?;
        }
        let Entered::Open { session, expires_ms, roles } = entered else {
            return Err(Error::Failed("the server asks for more than there is".to_owned()));
        };
        if session != proven.login {
            return Err(Error::Failed("the server opened another session than this one".to_owned()));
        }
        let token = proven.agreed.token(proven.login.as_bytes()).map_err(failed)?;
        Session::keep(directory, session, expires_ms, &token)?;
        if output.is_json() {
            output.document(
                &json!({ "session": session, "expires_ms": expires_ms, "roles": roles, "totp": told }),
            )?;
        } else {
            output.line(&format!("session   {session}, until {}", when::show(expires_ms)))?;
            output.line(&format!("roles     {}", roles.join(", ")))?;
        }
        Ok(Exit::Ok)
    }

    /// A second factor, as the server takes it.
    fn factor(&self, which: &str, proven: &Proven, output: &Output) -> Result<Value, Error> {
        if which == "totp" {
            let code = code("one-time code", self.code_file.as_deref())?;
            return Ok(json!({ "totp": std::str::from_utf8(code.expose()).unwrap_or_default() }));
        }
        let challenge = proven.agreed.challenge(proven.login.as_bytes()).map_err(failed)?;
        let assertion = match (&self.passkey, &self.assertion) {
            (Some(path), _) => Passkey::read(path)?.assert(&challenge)?,
            (None, Some(path)) => {
                let allowed = proven.credentials.iter().map(|id| json!({ "type": "public-key", "id": id }));
                let options = json!({
                    "challenge": URL_SAFE_NO_PAD.encode(challenge),
                    "rpId": proven.relying_party,
                    "allowCredentials": allowed.collect::<Vec<_>>(),
                    "userVerification": "required",
                });
                output.say(&options.to_string());
                assertion(path)?
            }
            (None, None) => {
                return Err(Error::Usage {
                    detail: "an authenticator is asked for".to_owned(),
                    hint: "`--passkey FILE` or `--assertion FILE` says where it is",
                });
            }
        };
        Ok(json!({ "assertion": assertion }))
    }
}

/// A login whose password was right.
struct Proven {
    login: RequestId,
    agreed: Agreed,
    relying_party: Option<String>,
    credentials: Vec<String>,
    totp: Option<TotpSecret>,
}

impl Proven {
    fn prove(api: &Api<'_>, password: &Pin) -> Result<Self, Error> {
        let (entering, ke1) = Entering::begin(password.expose()).map_err(failed)?;
        let answer = api.call(&Call::post(&["login"], json!({ "ke1": Base64Url(ke1) })))?;
        let document = answer.json()?;
        let login: RequestId = answer.text(&document, "/login")?.parse()?;
        let ke2 = bytes(&answer, &document, "ke2")?;
        let (ke3, agreed) = entering.finish(password.expose(), &ke2).map_err(|error| match error {
            LoginError::Refused => {
                Error::Failed("the password is another, or nobody of your name has enrolled here".to_owned())
            }
            other => failed(other),
        })?;
        let body = json!({ "ke3": Base64Url(ke3) });
        let answer = api.call(&Call::post(&["login", &login.to_string(), "password"], body))?;
        let told: Told = serde_json::from_value(answer.json()?)
            .map_err(|_| answer.unexpected("is not what a second factor is made of"))?;
        let totp = match told.totp {
            Some(Base64Url(veiled)) => {
                let veiled = TotpSecret::new(Zeroizing::new(veiled))
                    .map_err(|_| answer.unexpected("holds no secret of codes"))?;
                Some(agreed.veil(login.as_bytes(), &veiled).map_err(failed)?)
            }
            None => None,
        };
        Ok(Self { login, agreed, relying_party: told.relying_party, credentials: told.credentials, totp })
    }

    /// The secret of the one-time codes for whom the certificate names, where it is still told.
    fn secret(&self, connection: &Connection) -> Result<Option<Value>, Error> {
        let Some(secret) = &self.totp else { return Ok(None) };
        let client = ClientFile::read(connection.directory()?)?;
        let seen = pki::read_all(&client.certificate, &file::read(&client.certificate)?)?;
        let name =
            seen.first().and_then(|leaf| leaf.uris.first()?.rsplit('/').next()?.parse::<ClientId>().ok());
        let name = name.ok_or_else(|| Error::content(&client.certificate, "names no officer"))?;
        Ok(Some(json!({ "secret": *secret.text(), "uri": *secret.uri(&name) })))
    }

    fn enter(&self, api: &Api<'_>, factor: Value) -> Result<Entered, Error> {
        let answer = api.call(&Call::post(&["login", &self.login.to_string(), "factor"], factor))?;
        serde_json::from_value(answer.json()?)
            .map_err(|_| answer.unexpected("does not say where the login stands"))
    }
}

/// What the server tells of the second factor.
#[derive(Deserialize)]
struct Told {
    relying_party: Option<String>,
    credentials: Vec<String>,
    #[serde(default)]
    totp: Option<Base64Url>,
}

/// The secret of the one-time codes, for people.
fn show(told: Option<&Value>, output: &Output) -> Result<(), Error> {
    let Some(told) = told else { return Ok(()) };
    output.line(&format!("codes     {}", cell(told, "/secret")))?;
    output.line(&format!("          {}", cell(told, "/uri")))
}

/// Ends the session of the client directory.
pub fn logout(connection: &Connection, output: &Output) -> Result<Exit, Error> {
    let directory = connection.directory()?;
    let Some(session) = Session::read(directory)? else {
        Session::forget(directory)?;
        output.say("there was no session");
        return Ok(Exit::Ok);
    };
    let ended = end(connection, &session, output);
    // Also where the server cannot be asked: what is forgotten here opens nothing.
    Session::forget(directory)?;
    ended?;
    output.say("logged out");
    Ok(Exit::Ok)
}

fn end(connection: &Connection, session: &Session, output: &Output) -> Result<(), Error> {
    let id = session.id().to_string();
    Api::open(connection, output)?.call(&Call::delete(&["sessions", &id])).map(drop)
}

fn bytes(answer: &Answer, document: &Value, name: &str) -> Result<Vec<u8>, Error> {
    let text = document.as_object().and_then(|members: &Map<_, _>| members.get(name)).and_then(Value::as_str);
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or_else(|| answer.unexpected(&format!("has no `{name}` in base64url")))
}

fn failed(error: LoginError) -> Error {
    Error::Failed(error.to_string())
}
