//! Logins through the API, beside what OPAQUE, an assertion and the disk cost alone. The client is written from
//! docs/officers.md, and leaves out the stretching of the password, which a client does for itself and no server sees: so
//! that the server is what is measured.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration,
    ClientRegistrationFinishParameters, CredentialResponse, Identifiers, RegistrationResponse, Ristretto255,
    ServerLogin, ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
};
use rand_core::OsRng;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use xtask::Stop;
use xtask::appliance::Programs;
use xtask::figures::row::Bench;
use xtask::talk;

use crate::api::{millis, raw};
use crate::door::{Door, Line, unexpected};
use crate::person::Person;
use crate::stage::Stage;
use crate::{Error, officer};

/// Officers who log in at once.
const OFFICERS: usize = 4;
const PASSWORD: &[u8] = b"a password of the load generator";
const CONTEXT: &[u8] = b"chancery login v1";

struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Identity;
}

/// Measures for so long, and answers the rows.
///
/// # Errors
/// [`Error`] when a single login did not come to its end.
pub fn run(programs: &Programs, folder: &Path, time: Duration) -> Result<Vec<Bench>, Error> {
    let state = folder.join("state");
    let mut stage = Stage::set(programs, &state)?;
    let people = (0..OFFICERS).map(Person::new).collect::<Result<Vec<_>, _>>()?;
    let entries: String = people.iter().map(|person| person.entry("roles = [\"custodian\"]")).collect();
    officer::into_bundle(&stage, &entries)?;
    talk::line(&format!("logins: {OFFICERS} officers enrol"));
    let mut seated = Vec::new();
    for person in people {
        stage.appliance.issue(&person.name, "officer")?;
        let door = Door::read(&stage.appliance.client(&person.name))?;
        let mut seat = Seat { line: door.connect().map_err(broken)?, door, person };
        seat.enrol()?;
        seat.log_in(true)?;
        seated.push(seat);
    }
    talk::line(&format!("logins: for {} s", time.as_secs()));
    let started = Instant::now();
    let logins = thread::scope(|scope| {
        let threads: Vec<_> = seated
            .iter_mut()
            .map(|seat| {
                scope.spawn(move || {
                    let mut count = 0_u32;
                    while started.elapsed() < time {
                        seat.log_in(false)?;
                        count += 1;
                    }
                    Ok::<_, Error>(count)
                })
            })
            .collect();
        let died = || Error::Process { pid: std::process::id(), what: "a client's thread ended".into() };
        threads.into_iter().try_fold(0, |sum, one| Ok::<_, Error>(sum + one.join().map_err(|_| died())??))
    })?;
    let rate = f64::from(logins) / started.elapsed().as_secs_f64();
    stage.appliance.stop()?;

    talk::line("logins: OPAQUE, assertion, stretching and disk alone");
    let opaque = opaque_alone()?;
    let assertion = assertion_alone()?;
    let disk = raw::disk(&state)?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(vec![
        Bench::new(format!("logins through the API, {OFFICERS} officers at once"), "1/s", rate)
            .beside(1.0 / (opaque + assertion).as_secs_f64()),
        Bench::new("the server's part of OPAQUE, alone", "us", micros(opaque)),
        Bench::new("an assertion verified (ES256), alone", "us", micros(assertion)),
        Bench::new("append 512 B and fdatasync, p50 (a login commits twice)", "ms", millis(disk)),
        Bench::new("stretching a password at the client (Argon2id), alone", "ms", millis(stretch_alone()?)),
    ])
}

/// Somebody at an open connection.
struct Seat {
    person: Person,
    door: Door,
    line: Line,
}

impl Seat {
    fn post(&mut self, path: &str, body: &Value) -> Result<Value, Error> {
        let request = self.door.request("POST", path, None, Some(body.to_string().as_bytes()));
        let answer = self.line.call(&request).map_err(broken)?;
        match answer.status {
            200 => Ok(answer.json()),
            204 => Ok(Value::Null),
            _ => Err(unexpected(&format!("POST {path}"), &answer)),
        }
    }

    fn enrol(&mut self) -> Result<(), Error> {
        let code = hex::encode(self.person.code);
        let start = ClientRegistration::<Suite>::start(&mut OsRng, PASSWORD).map_err(opaque)?;
        let body = json!({ "code": code, "request": text(&start.message.serialize()) });
        let answer = self.post("/v1/login/enrolment", &body)?;
        let response = RegistrationResponse::deserialize(&bytes(&answer, "response")).map_err(opaque)?;
        let parameters = ClientRegistrationFinishParameters::default();
        let finish = start.state.finish(&mut OsRng, PASSWORD, response, parameters).map_err(opaque)?;
        let body = json!({ "code": code, "record": text(&finish.message.serialize()) });
        self.post("/v1/login/enrolment/record", &body).map(drop)
    }

    /// One login to its end; the first is asked for a one-time code too.
    fn log_in(&mut self, first: bool) -> Result<(), Error> {
        let start = ClientLogin::<Suite>::start(&mut OsRng, PASSWORD).map_err(opaque)?;
        let answer = self.post("/v1/login", &json!({ "ke1": text(&start.message.serialize()) }))?;
        let login = answer.get("login").and_then(Value::as_str).unwrap_or_default().to_owned();
        let ke2 = CredentialResponse::deserialize(&bytes(&answer, "ke2")).map_err(opaque)?;
        let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), Identifiers::default(), None);
        let finish = start.state.finish(&mut OsRng, PASSWORD, ke2, parameters).map_err(opaque)?;
        let path = format!("/v1/login/{login}/password");
        let told = self.post(&path, &json!({ "ke3": text(&finish.message.serialize()) }))?;
        let id = hex::decode(login.replace('-', "")).unwrap_or_default();
        let challenge: [u8; 32] = expand(&finish.session_key, b"chancery login challenge v1\n", &id)?;
        let mut factor = json!({ "assertion": self.person.assertion(&challenge)? });
        if first && let Some(factor) = factor.as_object_mut() {
            let mut secret = expand::<20>(&finish.session_key, b"chancery totp v1\n", &id)?;
            secret.iter_mut().zip(bytes(&told, "totp")).for_each(|(pad, byte)| *pad ^= byte);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let totp = totp_rs::Builder::new().with_secret(secret).build();
            let totp = totp.map_err(|error| Stop::answer("a secret of codes", error))?;
            factor.insert("totp".into(), totp.generate(now).to_string().into());
        }
        let path = format!("/v1/login/{login}/factor");
        let entered = self.post(&path, &factor)?;
        match entered.get("state").and_then(Value::as_str) {
            Some("open") => Ok(()),
            _ => Err(Stop::answer("an open session", entered).into()),
        }
    }
}

fn expand<const N: usize>(key: &[u8], label: &[u8], id: &[u8]) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let key = Hkdf::<Sha256>::from_prk(key).map_err(|_| Stop::answer("a key of a login", "none"))?;
    let done = key.expand_multi_info(&[label, id], &mut bytes);
    done.map_err(|_| Stop::answer("a key of a login", "none"))?;
    Ok(bytes)
}

/// The mean time of `act`.
fn mean(times: u32, mut act: impl FnMut() -> Result<(), Error>) -> Result<Duration, Error> {
    let started = Instant::now();
    for _ in 0..times {
        act()?;
    }
    Ok(started.elapsed() / times)
}

/// What the server computes of one login's OPAQUE: KE2, and whether KE3 is right.
fn opaque_alone() -> Result<Duration, Error> {
    let setup = ServerSetup::<Suite>::new(&mut OsRng);
    let start = ClientRegistration::<Suite>::start(&mut OsRng, PASSWORD).map_err(opaque)?;
    let answer = ServerRegistration::<Suite>::start(&setup, start.message, b"who").map_err(opaque)?;
    let parameters = ClientRegistrationFinishParameters::default();
    let finish = start.state.finish(&mut OsRng, PASSWORD, answer.message, parameters).map_err(opaque)?;
    let file = ServerRegistration::finish(finish.message);
    let context = || ServerLoginParameters { context: Some(CONTEXT), ..ServerLoginParameters::default() };
    let mut spent = Duration::ZERO;
    const TIMES: u32 = 200;
    for _ in 0..TIMES {
        let start = ClientLogin::<Suite>::start(&mut OsRng, PASSWORD).map_err(opaque)?;
        let begun = Instant::now();
        let file = Some(file.clone());
        let answer = ServerLogin::start(&mut OsRng, &setup, file, start.message, b"who", context());
        let answer = answer.map_err(opaque)?;
        spent += begun.elapsed();
        let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), Identifiers::default(), None);
        let finish = start.state.finish(&mut OsRng, PASSWORD, answer.message, parameters).map_err(opaque)?;
        let begun = Instant::now();
        answer.state.finish(finish.message, context()).map_err(opaque)?;
        spent += begun.elapsed();
    }
    Ok(spent / TIMES)
}

pub(crate) fn assertion_alone() -> Result<Duration, Error> {
    let person = Person::new(0)?;
    let message = [7_u8; 69];
    let signature = person.pair.sign(&SystemRandom::new(), &message);
    let signature = signature.map_err(|_| Stop::answer("a signature", "none"))?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, person.pair.public_key().as_ref());
    mean(1_000, || {
        Ok(key
            .verify(&message, signature.as_ref())
            .map_err(|_| Stop::answer("a signature", "a wrong one"))?)
    })
}

fn stretch_alone() -> Result<Duration, Error> {
    let unable = |error: argon2::Error| Stop::answer("Argon2id", error);
    let parameters = Params::new(64 * 1024, 3, 4, None).map_err(unable)?;
    let stretch = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let mut out = [0; 64];
    mean(5, || Ok(stretch.hash_password_into(PASSWORD, &[0; 16], &mut out).map_err(unable)?))
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes(document: &Value, name: &str) -> Vec<u8> {
    let text = document.get(name).and_then(Value::as_str).unwrap_or_default();
    URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}

fn opaque(error: opaque_ke::errors::ProtocolError) -> Error {
    Stop::answer("a message of OPAQUE", format!("{error:?}")).into()
}

fn broken(source: std::io::Error) -> Error {
    Error::Connection { call: "a login".into(), source }
}
