//! The roles that routes ask for, taken from the evidence that the door put into the request. A handler that names a role
//! in its arguments cannot be reached without it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chancery_core::{Code, Tenant};
use chancery_enclave::InSession;
use chancery_identity::{Client, Officer, Operator, Peer};

use crate::problem::Problem;

/// A peer with the role `client`.
pub(crate) struct AsClient(pub Client);
/// A peer with the role `operator`.
pub(crate) struct AsOperator(pub Operator);
/// A peer with the role `officer`.
pub(crate) struct AsOfficer(pub Officer);
/// A peer with the role `auditor`, `operator` or `officer`: who may read every decision of the tenant.
pub(crate) struct AsReader(pub Tenant);
/// Any peer.
pub(crate) struct Anyone(pub Arc<Peer>);

/// Any peer in session.
pub(crate) struct AsInSession(pub InSession);

impl<S: Sync> FromRequestParts<S> for AsInSession {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<InSession>().cloned().map(Self).ok_or_else(session_required)
    }
}

/// What whoever lacks a session is told.
pub(crate) fn session_required() -> Problem {
    Problem::new(Code::SessionRequired).detail("log in: `chancery officer login`")
}

fn peer(parts: &Parts) -> Result<Arc<Peer>, Problem> {
    parts.extensions.get::<Arc<Peer>>().cloned().ok_or_else(|| Problem::new(Code::Unauthenticated))
}

fn needs(role: &str) -> Problem {
    Problem::new(Code::Forbidden).detail(format!("this needs a certificate with the role {role}"))
}

impl<S: Sync> FromRequestParts<S> for AsClient {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match &*peer(parts)? {
            Peer::Client(client) => Ok(Self(client.clone())),
            Peer::Auditor(_) | Peer::Operator(_) | Peer::Officer(_) => Err(needs("`client`")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for AsOperator {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match &*peer(parts)? {
            Peer::Operator(operator) => Ok(Self(operator.clone())),
            Peer::Auditor(_) | Peer::Client(_) | Peer::Officer(_) => Err(needs("`operator`")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for AsOfficer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match &*peer(parts)? {
            Peer::Officer(officer) => Ok(Self(officer.clone())),
            Peer::Auditor(_) | Peer::Client(_) | Peer::Operator(_) => Err(needs("`officer`")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for AsReader {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match &*peer(parts)? {
            Peer::Client(_) => Err(needs("`auditor`, `operator` or `officer`")),
            reader @ (Peer::Auditor(_) | Peer::Operator(_) | Peer::Officer(_)) => {
                Ok(Self(reader.tenant().clone()))
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Anyone {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        peer(parts).map(Self)
    }
}
