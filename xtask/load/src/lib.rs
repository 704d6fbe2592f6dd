//! A client from outside that loads an appliance, kills it, and looks at what it promised. Links no room of the house:
//! it believes the wire, the command line's verifier and the kernel's accounts only.

pub mod api;
pub mod approvals;
pub mod coins;
pub mod door;
pub mod error;
pub mod kill;
pub mod logins;
pub mod officer;
mod person;
pub mod process;
pub mod scratch;
pub mod secrets;
pub mod stage;
pub mod transaction;

pub use error::Error;
