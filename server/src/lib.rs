//! The door: who may speak to the appliance, for how long, and in what form it answers.
//!
//! `door` holds TLS, connections and their clocks; `problem` the form of every refusal; `rate` what one client may
//! ask; `routes` the API; `ops` health and metrics for this machine; `telemetry` what is logged and counted; `serve` how
//! all of it starts and stops; `house` what a ceremony has done while it does not.

pub mod door;
mod error;
mod gauges;
pub mod house;
pub mod ops;
mod party;
pub mod problem;
pub mod rate;
pub mod routes;
pub mod serve;
pub mod setup;
pub mod telemetry;
mod walls;

pub use error::ServerError;
