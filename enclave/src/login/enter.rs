//! Logging in: password (KE1, KE2, KE3), then the authenticator's assertion, or a one-time code, or where something is unusual
//! both. What is under way is held in memory, for one officer once, and each step is taken once.

use std::net::IpAddr;
use std::sync::Arc;

use chancery_audit::{Digest, LoginEvent};
use chancery_core::{RequestId, UnixMillis, limit};
use chancery_identity::login::{Mark, Session, Sign, Started, TotpSecret};
use chancery_identity::officer::{OfficerRole, Registered};
use chancery_identity::webauthn::{self, Assertion, Base64Url};
use chancery_identity::{Fingerprint, Peer};
use chancery_policy::Officers;
use chancery_store::{SessionRow, Tx};

use super::{Admitted, Event, Who, failed};
use crate::kept;
use crate::refusal::Refusal;
use crate::start::Enclave;

/// A login that has begun.
pub(super) struct UnderWay {
    id: RequestId,
    began: UnixMillis,
    certificate: Fingerprint,
    step: Step,
}

enum Step {
    Password(Started),
    Factor(Proven),
}

/// The password was right.
#[derive(Clone)]
struct Proven {
    challenge: [u8; 32],
    token: [u8; 32],
    /// Whose assertion was good.
    credential: Option<Base64Url>,
    /// Whether a one-time code was.
    code: bool,
}

impl UnderWay {
    pub(super) fn is_in_time(&self, now: UnixMillis) -> bool {
        now < self.began.plus_ms(limit::LOGIN_MS)
    }

    pub(super) fn is(&self, id: RequestId, certificate: &Fingerprint, now: UnixMillis) -> bool {
        self.id == id && self.certificate == *certificate && self.is_in_time(now)
    }
}

/// What the second factor is asked of.
#[derive(Debug)]
pub struct Factors {
    /// The relying party of the officer's credentials.
    pub relying_party: Option<String>,
    /// Their ids.
    pub credentials: Vec<Base64Url>,
    /// The secret of the officer's one-time codes, veiled, until one has been used.
    pub totp: Option<TotpSecret>,
}

/// Where a login stands after a second factor.
#[derive(Debug)]
pub enum Entered {
    /// A session is open.
    Session {
        /// Its name.
        id: RequestId,
        /// When it ends.
        expires_ms: UnixMillis,
        /// What the officer may do.
        roles: Vec<OfficerRole>,
    },
    /// The other factor is asked for too.
    More {
        /// What is unusual.
        signs: Vec<Sign>,
        /// Whether the assertion is what lacks; else the one-time code.
        assertion: bool,
    },
}

impl Enclave {
    /// Begins a login: its name, and the answer (KE2) to the client's message (KE1). It is the same for somebody whom nobody
    /// knows.
    ///
    /// # Errors
    /// [`Code::LoginLocked`](chancery_core::Code::LoginLocked), [`Code::BadRequest`](chancery_core::Code::BadRequest).
    pub async fn begin_login(&self, peer: &Peer, ke1: &[u8]) -> Result<(RequestId, Vec<u8>), Refusal> {
        let (who, house) = (Who::of(peer)?, self.house());
        let setup = house.logins.setup(house).await?;
        let policy = house.policies.in_force(&who.tenant)?;
        let person = who.person(policy.bundle().officers());
        let (id, there, by) = (RequestId::fresh(), Arc::clone(&house.books), who.clone());
        let admitted = house.store.write(move |tx| {
            there.disk.admit()?;
            let now = there.clock.now()?;
            let admitted = by.admit(tx, now)?;
            if let Admitted::As(_) = admitted {
                by.record(tx, now, Event::at(LoginEvent::Begun, id))?;
            }
            Ok::<_, Refusal>(admitted)
        });
        let account = admitted.await?.into_inner().account()?;
        let file = account.file(person.and_then(|person| person.enrolment.as_ref()));
        let (started, ke2) = setup.begin(&who.identifier(person), file, ke1)?;
        let (began, certificate) = (house.clock.now()?, who.certificate);
        let login = UnderWay { id, began, certificate, step: Step::Password(started) };
        house.logins.put(&who, login, began)?;
        Ok((id, ke2))
    }

    /// Takes the client's last message (KE3), which is right only where the password was.
    ///
    /// # Errors
    /// [`Code::LoginFailed`](chancery_core::Code::LoginFailed).
    pub async fn prove_password(&self, peer: &Peer, id: RequestId, ke3: &[u8]) -> Result<Factors, Refusal> {
        let (who, house) = (Who::of(peer)?, self.house());
        let now = house.clock.now()?;
        let login = house.logins.take(&who, id, now).ok_or_else(failed)?;
        let UnderWay { step: Step::Password(started), began, certificate, .. } = login else {
            return Err(failed());
        };
        let agreed = match started.finish(ke3) {
            Ok(agreed) => agreed,
            Err(error) => {
                tracing::info!(officer = %who.id, %error, "a password was refused");
                who.tell(&house.books, Event::at(LoginEvent::PasswordRefused, id)).await?;
                return Err(failed());
            }
        };
        let (challenge, token) = (agreed.challenge(id.as_bytes())?, agreed.token(id.as_bytes())?.digest());
        let step = Step::Factor(Proven { challenge, token, credential: None, code: false });
        house.logins.put(&who, UnderWay { id, began, certificate, step }, now)?;
        let (setup, policy) = (house.logins.setup(house).await?, house.policies.in_force(&who.tenant)?);
        let officers = policy.bundle().officers();
        let person = who.person(officers);
        let credentials = person.map(|person| &person.credentials[..]).unwrap_or_default();
        let account = house.store.read(|rows| rows.account(&who.tenant, &who.id))?;
        let totp = match super::account(account.as_deref())?.has_used_codes() {
            true => None,
            false => Some(agreed.veil(id.as_bytes(), &setup.totp_secret(&who.identifier(person))?)?),
        };
        Ok(Factors {
            totp,
            relying_party: officers.party().map(|party| party.id.clone()),
            credentials: credentials.iter().map(|credential| credential.id.clone()).collect(),
        })
    }

    /// Takes a second factor, and opens a session where it is enough.
    ///
    /// # Errors
    /// [`Code::LoginFailed`](chancery_core::Code::LoginFailed).
    pub async fn prove_factor(
        &self,
        peer: &Peer,
        id: RequestId,
        from: IpAddr,
        assertion: Option<Assertion>,
        code: Option<&str>,
    ) -> Result<Entered, Refusal> {
        let (who, house) = (Who::of(peer)?, self.house());
        let now = house.clock.now()?;
        let login = house.logins.take(&who, id, now).ok_or_else(failed)?;
        let UnderWay { step: Step::Factor(mut proven), began, certificate, .. } = login else {
            return Err(failed());
        };
        let setup = house.logins.setup(house).await?;
        let policy = house.policies.in_force(&who.tenant)?;
        let officers = policy.bundle().officers();
        let person = who.person(officers).cloned();
        let step = match code {
            Some(code) => setup.totp_step(&who.identifier(person.as_ref()), code, now)?,
            None => None,
        };
        let asserted = match (&assertion, &person) {
            (Some(assertion), Some(person)) => verified(assertion, person, officers, &proven.challenge),
            _ => None,
        };
        let given = assertion.is_some() || code.is_some();
        let right = given && assertion.is_some() == asserted.is_some() && code.is_some() == step.is_some();
        proven.credential = proven.credential.or(asserted);
        let attempt = Attempt {
            who: who.clone(),
            id,
            person: person.filter(|_| right),
            network: Mark::of_network(setup, from)?,
            step,
            proven,
            session_ms: house.logins.session_ms,
        };
        let there = Arc::clone(&house.books);
        let entered = house.store.write(move |tx| {
            there.disk.admit()?;
            attempt.judge(tx, there.clock.now()?)
        });
        let (entered, proven) = entered.await?.into_inner().ok_or_else(failed)?;
        if let Entered::More { .. } = entered {
            house.logins.put(&who, UnderWay { id, began, certificate, step: Step::Factor(proven) }, now)?;
        }
        Ok(entered)
    }
}

/// The credential of an assertion that holds.
fn verified(
    assertion: &Assertion,
    person: &Registered,
    officers: &Officers,
    challenge: &[u8; 32],
) -> Option<Base64Url> {
    let credential = person.credential(&assertion.credential)?;
    let verified = webauthn::verify(assertion, &credential.key, officers.party()?, challenge);
    if let Err(error) = verified {
        tracing::info!(officer = %person.id, %error, "an assertion was refused");
        return None;
    }
    Some(credential.id.clone())
}

/// A second factor that was looked at, before the account was.
struct Attempt {
    who: Who,
    id: RequestId,
    /// The officer, where every factor that was given is right.
    person: Option<Registered>,
    network: Mark,
    step: Option<u64>,
    proven: Proven,
    session_ms: i64,
}

impl Attempt {
    /// The transaction: `None` where the login ends in nothing.
    fn judge(self, tx: &mut Tx<'_>, now: UnixMillis) -> Result<Option<(Entered, Proven)>, Refusal> {
        let Self { who, id, person, network, step, mut proven, session_ms } = self;
        let mut account = who.account(tx)?;
        let digest = |credential: &Base64Url| Digest::of(&credential.0);
        let event =
            |event| Event { credential: proven.credential.as_ref().map(digest), ..Event::at(event, id) };
        let fresh = step.is_none_or(|step| account.use_step(step));
        let person = person.filter(|person| fresh && account.file(person.enrolment.as_ref()).is_some());
        let Some((person, enrolment)) =
            person.and_then(|person| person.enrolment.clone().map(|enrolment| (person, enrolment)))
        else {
            who.put(tx, &account)?;
            who.record(tx, now, event(LoginEvent::FactorRefused))?;
            return Ok(None);
        };
        let code = proven.code || step.is_some();
        let device = proven.credential.as_ref().map(Mark::of_device);
        let signs = account.known().signs(device.as_ref(), &network, now);
        let both = code && device.is_some();
        if !signs.is_empty() && !both {
            who.put(tx, &account)?;
            let event = Event { signs: signs.clone(), ..event(LoginEvent::SteppedUp) };
            who.record(tx, now, event)?;
            proven.code = code;
            return Ok(Some((Entered::More { signs, assertion: device.is_none() }, proven)));
        }
        account.entered(device, network, now);
        who.put(tx, &account)?;
        let event = Event { signs, ..event(LoginEvent::Opened) };
        let session = Session {
            opened_ms: now,
            expires_ms: now.plus_ms(session_ms),
            certificate: Base64Url(who.certificate.as_bytes().to_vec()),
            credential: proven.credential.clone(),
            enrolment: Base64Url(enrolment.code_sha256.to_vec()),
        };
        let row = SessionRow {
            id,
            token: proven.token,
            tenant: who.tenant.clone(),
            officer: who.id.clone(),
            expires_ms: session.expires_ms,
            record: kept::write(&session)?,
        };
        tx.open_session(&row, now)?;
        who.record(tx, now, event)?;
        let roles = person.roles.into_iter().collect();
        Ok(Some((Entered::Session { id, expires_ms: session.expires_ms, roles }, proven)))
    }
}
