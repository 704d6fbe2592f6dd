//! What an entry of the log is called where somebody is told of it: `request.released`, `login.opened`.

use crate::approval::Act;
use crate::login::LoginEvent;
use crate::record::{End, Record, Verdict};

/// Every name, in the order of their records.
pub const EVENTS: [&str; 27] = [
    "request.allowed",
    "request.pending",
    "request.denied",
    "request.approved",
    "request.vetoed",
    "request.released",
    "request.failed",
    "request.expired",
    "wallet.created",
    "policy.activated",
    "ceremony.recorded",
    "authority.created",
    "client.added",
    "client.revoked",
    "log.key-named",
    "log.key-rotated",
    "login.enrolled",
    "login.enrolment-refused",
    "login.begun",
    "login.password-refused",
    "login.factor-refused",
    "login.turned-away",
    "login.stepped-up",
    "login.opened",
    "login.closed",
    "login.revoked",
    "login.stolen",
];

impl Record {
    /// Its name, one of [`EVENTS`].
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self {
            Self::Decision(decision) => match decision.outcome {
                Verdict::Allowed => "request.allowed",
                Verdict::Pending => "request.pending",
                Verdict::Denied => "request.denied",
            },
            Self::Approval(approval) => match approval.act {
                Act::Approve => "request.approved",
                Act::Veto => "request.vetoed",
            },
            Self::Outcome(outcome) => match outcome.outcome {
                End::Released => "request.released",
                End::Failed => "request.failed",
                End::Expired => "request.expired",
            },
            Self::Wallet(_) => "wallet.created",
            Self::Policy(_) => "policy.activated",
            Self::Ceremony(_) => "ceremony.recorded",
            Self::Authority(_) => "authority.created",
            Self::Client(_) => "client.added",
            Self::Revocation(_) => "client.revoked",
            Self::Rotation(rotation) => match rotation.vouched {
                None => "log.key-named",
                Some(_) => "log.key-rotated",
            },
            Self::Login(login) => match login.event {
                LoginEvent::Enrolled => "login.enrolled",
                LoginEvent::EnrolmentRefused => "login.enrolment-refused",
                LoginEvent::Begun => "login.begun",
                LoginEvent::PasswordRefused => "login.password-refused",
                LoginEvent::FactorRefused => "login.factor-refused",
                LoginEvent::TurnedAway => "login.turned-away",
                LoginEvent::SteppedUp => "login.stepped-up",
                LoginEvent::Opened => "login.opened",
                LoginEvent::Closed => "login.closed",
                LoginEvent::Revoked => "login.revoked",
                LoginEvent::Stolen => "login.stolen",
            },
        }
    }
}
