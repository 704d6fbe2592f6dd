//! Being in session: the token that is shown names a row, and what the row is bound to must hold now, under the bundle in
//! force. A token that comes with another certificate ends its session.

use std::sync::Arc;

use chancery_audit::LoginEvent;
use chancery_core::{ClientId, Code, RequestId, Tenant, UnixMillis, limit};
use chancery_identity::Peer;
use chancery_identity::login::{Binding, Session, Token};
use chancery_identity::officer::OfficerRole;
use chancery_store::SessionRow;

use super::{Event, Who};
use crate::kept;
use crate::refusal::Refusal;
use crate::start::Enclave;

/// Evidence: whoever asks is in session. Only [`Enclave::session`] makes it.
#[derive(Clone, Debug)]
pub struct InSession {
    who: Who,
    id: RequestId,
    administrator: bool,
}

impl InSession {
    /// The session's name.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Whether the session of this officer is this one's to see and end.
    fn may(&self, tenant: &Tenant, officer: &ClientId) -> bool {
        self.who.tenant == *tenant && (self.administrator || self.who.id == *officer)
    }
}

/// A session as it is listed.
#[derive(Debug)]
pub struct OpenSession {
    /// Its name.
    pub id: RequestId,
    /// Whose it is.
    pub officer: ClientId,
    /// What it is bound to.
    pub session: Session,
}

impl Enclave {
    /// Finds whoever shows this token in session.
    ///
    /// # Errors
    /// [`Code::SessionRequired`] for every way in which it is none.
    pub async fn session(&self, peer: &Peer, token: Token) -> Result<InSession, Refusal> {
        let (who, house) = (Who::of(peer)?, self.house());
        let (now, digest) = (house.clock.now()?, token.digest());
        let Some(row) = house.store.read(|rows| rows.session(&digest))? else { return Err(required()) };
        let session: Session = kept::read("session", &row.record)?;
        let policy = house.policies.in_force(&row.tenant)?;
        let officers = policy.bundle().officers();
        match session.binding(&who.certificate, officers.find(&row.officer), now) {
            Binding::Holds => {}
            Binding::Ended => return Err(required()),
            Binding::Stolen => {
                tracing::warn!(session = %row.id, officer = %row.officer, shown_by = %peer,
                    "a session was shown with another certificate, and is ended");
                self.end(who.clone(), row, LoginEvent::Stolen).await?;
                return Err(required());
            }
        }
        let person = who.person(officers).ok_or_else(required)?;
        let administrator = person.roles.contains(&OfficerRole::Administrator);
        Ok(InSession { id: row.id, administrator, who })
    }

    /// Whether this session is still open, for whoever goes on in it.
    #[must_use]
    pub fn is_open(&self, session: &InSession) -> bool {
        let open = || {
            let house = self.house();
            let row = house.store.read(|rows| rows.session_of(session.id)).ok()??;
            let kept: Session = kept::read("session", &row.record).ok()?;
            let policy = house.policies.in_force(&row.tenant).ok()?;
            let person = policy.bundle().officers().find(&row.officer);
            Some(kept.is_open(person, house.clock.now().ok()?))
        };
        open().unwrap_or(false)
    }

    /// The sessions that are open: one's own, and for an administrator those of everybody.
    ///
    /// # Errors
    /// Whatever keeps the store from being read.
    pub fn sessions(&self, by: &InSession) -> Result<Vec<OpenSession>, Refusal> {
        let house = self.house();
        let now = house.clock.now()?;
        let from = (!by.administrator).then_some(&by.who.id);
        let most = if by.administrator { limit::PAGE_ROWS } else { limit::SESSIONS };
        let rows = house.store.read(|rows| rows.sessions(&by.who.tenant, from, most))?;
        let policy = house.policies.in_force(&by.who.tenant)?;
        let mut open = Vec::new();
        for SessionRow { id, tenant, officer, record, .. } in rows {
            let session: Session = kept::read("session", &record)?;
            let person = policy.bundle().officers().find(&officer);
            if by.may(&tenant, &officer) && session.is_open(person, now) {
                open.push(OpenSession { id, officer, session });
            }
        }
        Ok(open)
    }

    /// Ends a session: one's own, or for an administrator anybody's.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is none that is one's to end.
    pub async fn end_session(&self, by: InSession, id: RequestId) -> Result<(), Refusal> {
        let row = self.house().store.read(|rows| rows.session_of(id))?;
        let none = || Refusal::new(Code::NotFound, format!("no session `{id}`"));
        let row = row.filter(|row| by.may(&row.tenant, &row.officer)).ok_or_else(none)?;
        let own = row.officer == by.who.id;
        self.end(by.who, row, if own { LoginEvent::Closed } else { LoginEvent::Revoked }).await
    }

    async fn end(&self, by: Who, row: SessionRow, event: LoginEvent) -> Result<(), Refusal> {
        let books = Arc::clone(&self.house().books);
        let there = Arc::clone(&books);
        let ended = books.store.write(move |tx| {
            let now: UnixMillis = there.clock.now()?;
            if tx.end_session(row.id)? {
                let other = (by.id != row.officer).then(|| by.id.clone());
                let whose = Who { tenant: row.tenant, id: row.officer, ..by };
                whose.record(tx, now, Event { by: other, ..Event::at(event, row.id) })?;
            }
            Ok::<_, Refusal>(())
        });
        ended.await.map(|_| ())
    }
}

fn required() -> Refusal {
    let detail = "log in: `chancery officer login`";
    Refusal::new(Code::SessionRequired, detail)
}
