//! Officers' logins: who may enrol, enter and be in session, each step recorded in the transaction that it changes the account
//! in. The protocol is `identity`'s; here it meets the bundle in force, the store, the log and the secret that the HSM keeps.
//! If this is wrong, somebody reads what an officer may read, or a password can be guessed.

mod enrol;
mod enter;
mod session;
pub(crate) mod setup;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_audit::{self as audit, Digest, Login, LoginEvent, V1};
use chancery_core::{ClientId, Code, RequestId, Tenant, UnixMillis, limit};
use chancery_identity::login::{Account, Admission, LoginError, Setup, Sign};
use chancery_identity::officer::{OfficerRole, Registered};
use chancery_identity::{Fingerprint, Peer};
use chancery_policy::Officers;
use chancery_store::Tx;
use tokio::sync::OnceCell;

use crate::house::Books;
use crate::kept;
use crate::refusal::Refusal;

pub use enter::{Entered, Factors};
pub use session::{InSession, OpenSession};

use enter::UnderWay;

/// What logins need beside the books.
pub(crate) struct Logins {
    origin: String,
    session_ms: i64,
    setup: OnceCell<Setup>,
    /// One for each officer: who begins again gives up what was begun.
    under_way: Mutex<HashMap<(Tenant, ClientId), UnderWay>>,
}

impl Logins {
    /// For the appliance whose log is `origin`.
    pub fn new(origin: &str, session_s: u32) -> Self {
        Self {
            origin: origin.to_owned(),
            session_ms: i64::from(session_s).saturating_mul(1_000),
            setup: OnceCell::new(),
            under_way: Mutex::default(),
        }
    }

    fn put(&self, who: &Who, login: UnderWay, now: UnixMillis) -> Result<(), Refusal> {
        let mut all = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= limit::LOGINS {
            all.retain(|_, login| login.is_in_time(now));
        }
        let key = (who.tenant.clone(), who.id.clone());
        if all.len() >= limit::LOGINS && !all.contains_key(&key) {
            return Err(Refusal::new(Code::Overloaded, "too many logins are under way").retry_after(1));
        }
        all.insert(key, login);
        Ok(())
    }

    /// Takes the login of this name out: each of its steps is taken once.
    fn take(&self, who: &Who, id: RequestId, now: UnixMillis) -> Option<UnderWay> {
        let mut all = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (who.tenant.clone(), who.id.clone());
        if !all.get(&key)?.is(id, &who.certificate, now) {
            return None;
        }
        all.remove(&key)
    }
}

/// Who stands at the door, as the certificate says.
#[derive(Clone, Debug)]
struct Who {
    tenant: Tenant,
    id: ClientId,
    certificate: Fingerprint,
    auditor: bool,
}

impl Who {
    fn of(peer: &Peer) -> Result<Self, Refusal> {
        let auditor = match peer {
            Peer::Officer(_) => false,
            Peer::Auditor(_) => true,
            Peer::Client(_) | Peer::Operator(_) => {
                let detail = "this needs a certificate with the role `officer` or `auditor`";
                return Err(Refusal::new(Code::Forbidden, detail));
            }
        };
        let (tenant, id) = (peer.tenant().clone(), peer.id().clone());
        Ok(Self { tenant, id, certificate: *peer.fingerprint(), auditor })
    }

    /// The officer of that name, where the certificate's role is one of the officer's.
    fn person<'a>(&self, officers: &'a Officers) -> Option<&'a Registered> {
        let role = |person: &&Registered| !self.auditor || person.roles.contains(&OfficerRole::Auditor);
        officers.find(&self.id).filter(role)
    }

    /// What OPAQUE and one-time codes know the person by: another enrolment is another person to them. So an answer to an
    /// enrolment is no help in guessing the password of the one before.
    fn identifier(&self, person: Option<&Registered>) -> Vec<u8> {
        let enrolment = person.and_then(|person| person.enrolment.as_ref());
        let code = enrolment.map_or([0; 32], |enrolment| enrolment.code_sha256);
        format!("{}/{}/{}", self.tenant, self.id, hex::encode(code)).into_bytes()
    }

    fn account(&self, tx: &Tx<'_>) -> Result<Account, Refusal> {
        account(tx.rows().account(&self.tenant, &self.id)?.as_deref())
    }

    fn put(&self, tx: &mut Tx<'_>, account: &Account) -> Result<(), Refusal> {
        Ok(tx.put_account(&self.tenant, &self.id, &kept::write(account)?)?)
    }

    /// Counts a try, or records once that it came too early.
    fn admit(&self, tx: &mut Tx<'_>, now: UnixMillis) -> Result<Admitted, Refusal> {
        let mut account = self.account(tx)?;
        match account.admit(now) {
            Admission::Admitted => {
                self.put(tx, &account)?;
                Ok(Admitted::As(Box::new(account)))
            }
            Admission::Wait { ms, first } => {
                if first {
                    self.put(tx, &account)?;
                    self.record(tx, now, Event::of(LoginEvent::TurnedAway))?;
                }
                Ok(Admitted::Not(ms))
            }
        }
    }

    fn record(&self, tx: &mut Tx<'_>, now: UnixMillis, event: Event) -> Result<(), Refusal> {
        let Event { event, login, credential, signs, by } = event;
        let record = Login {
            v: V1,
            tenant: self.tenant.clone(),
            time_ms: now,
            officer: self.id.clone(),
            certificate: Digest::from_bytes(*self.certificate.as_bytes()),
            event,
            by,
            login,
            credential,
            signs,
        };
        audit::append(tx, &audit::Record::Login(record))?;
        Ok(())
    }

    /// Records one event by itself.
    async fn tell(&self, books: &Arc<Books>, event: Event) -> Result<(), Refusal> {
        let (who, there) = (self.clone(), Arc::clone(books));
        let written = books.store.write(move |tx| {
            there.disk.admit()?;
            who.record(tx, there.clock.now()?, event)
        });
        written.await.map(|_| ())
    }
}

/// The account as it was kept; nobody's where there is none.
fn account(record: Option<&[u8]>) -> Result<Account, Refusal> {
    record.map_or_else(|| Ok(Account::default()), |record| kept::read("account", record))
}

/// Whether a try may go on.
enum Admitted {
    As(Box<Account>),
    /// Not before so many milliseconds have passed.
    Not(i64),
}

impl Admitted {
    fn account(self) -> Result<Account, Refusal> {
        match self {
            Self::As(account) => Ok(*account),
            Self::Not(ms) => {
                let seconds = u32::try_from(ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX);
                Err(Refusal::new(Code::LoginLocked, Code::LoginLocked.title()).retry_after(seconds))
            }
        }
    }
}

/// What is recorded, beside who and when.
#[derive(Clone, Debug)]
struct Event {
    event: LoginEvent,
    login: Option<RequestId>,
    credential: Option<Digest>,
    signs: Vec<Sign>,
    by: Option<ClientId>,
}

impl Event {
    fn of(event: LoginEvent) -> Self {
        Self { event, login: None, credential: None, signs: Vec::new(), by: None }
    }

    fn at(event: LoginEvent, login: RequestId) -> Self {
        Self { login: Some(login), ..Self::of(event) }
    }
}

/// Every way in which a login does not go on, as the wire tells it.
fn failed() -> Refusal {
    Refusal::new(Code::LoginFailed, Code::LoginFailed.title())
}

/// A message that is none of the protocol says nothing of a person; the rest is a fault of this appliance.
impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Message | LoginError::Password | LoginError::Code => {
                Self::new(Code::BadRequest, error.to_string())
            }
            LoginError::Refused => failed(),
            LoginError::Memory(_) | LoginError::Unable(_) => Self::fault(Code::Internal, &error),
        }
    }
}
