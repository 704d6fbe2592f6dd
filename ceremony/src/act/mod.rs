//! The acts of the steps, one file each kind of thing: what is done to the token, and what is shown of it.

mod custodians;
mod end;
mod keys;
mod rotate;
mod seed;
mod tls;
mod token;

pub(crate) use keys::prove;
