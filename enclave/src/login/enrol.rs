//! Setting a password. The code is good where the bundle in force names its hash, before its time is over, once for ever: an
//! earlier bundle that comes into force again lets nobody enrol anew.

use std::sync::Arc;

use chancery_audit::LoginEvent;
use chancery_core::{Code, UnixMillis};
use chancery_identity::Peer;
use chancery_identity::login::{self, Setup};
use chancery_identity::officer::Registered;
use chancery_store::Tx;

use super::{Admitted, Event, Who};
use crate::refusal::Refusal;
use crate::start::Enclave;

impl Enclave {
    /// Answers the first message of an enrolment.
    ///
    /// # Errors
    /// [`Code::EnrolmentRefused`], [`Code::LoginLocked`], [`Code::BadRequest`].
    pub async fn enrolment(&self, peer: &Peer, code: &str, request: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (who, house) = (Who::of(peer)?, self.house());
        let setup = house.logins.setup(house).await?;
        let person = self.let_enrol(who.clone(), code, None).await?;
        Ok(setup.register(&who.identifier(Some(&person)), request)?)
    }

    /// Keeps the password of an enrolment. Every session of the officer ends.
    ///
    /// # Errors
    /// As [`Self::enrolment`].
    pub async fn enrol(&self, peer: &Peer, code: &str, record: &[u8]) -> Result<(), Refusal> {
        let file = Setup::registered(record)?;
        self.let_enrol(Who::of(peer)?, code, Some(file)).await.map(|_| ())
    }

    /// Whether the code is good, and with a password file, that it is used up and the password kept.
    async fn let_enrol(&self, who: Who, code: &str, file: Option<Vec<u8>>) -> Result<Registered, Refusal> {
        let books = Arc::clone(&self.house().books);
        let policy = books.policies.in_force(&who.tenant)?;
        let code = login::Code::parse(code)?.digest(&who.tenant, &who.id);
        let person = who.person(policy.bundle().officers()).cloned();
        let there = Arc::clone(&books);
        let enrolled = books.store.write(move |tx| {
            there.disk.admit()?;
            let now = there.clock.now()?;
            let mut account = match who.admit(tx, now)? {
                Admitted::As(account) => account,
                Admitted::Not(ms) => return Ok(Err(Admitted::Not(ms))),
            };
            let Some(person) = person.filter(|person| names(person, &code, now)) else {
                return refuse(&who, tx, now);
            };
            if tx.rows().code_is_used(&who.tenant, &code)? {
                return refuse(&who, tx, now);
            }
            if let Some(file) = file {
                tx.use_code(&who.tenant, &code)?;
                account.enrol(&code, file);
                who.put(tx, &account)?;
                tx.end_sessions(&who.tenant, &who.id)?;
                who.record(tx, now, Event::of(LoginEvent::Enrolled))?;
            }
            Ok::<_, Refusal>(Ok(Some(person)))
        });
        match enrolled.await?.into_inner() {
            Ok(Some(person)) => Ok(person),
            Ok(None) => Err(Refusal::new(Code::EnrolmentRefused, Code::EnrolmentRefused.title())),
            Err(not) => Err(not.account().err().unwrap_or_else(super::failed)),
        }
    }
}

/// Whether the bundle lets the person enrol with this code, now.
fn names(person: &Registered, code: &[u8; 32], now: UnixMillis) -> bool {
    person.enrolment.as_ref().is_some_and(|enrolment| enrolment.code_sha256 == *code && now < enrolment.until)
}

type Outcome = Result<Option<Registered>, Admitted>;

fn refuse(who: &Who, tx: &mut Tx<'_>, now: UnixMillis) -> Result<Outcome, Refusal> {
    who.record(tx, now, Event::of(LoginEvent::EnrolmentRefused))?;
    Ok(Ok(None))
}
