//! Memory for secrets, and the few acts on the process that need `unsafe`: the only crate that writes it or names `libc`.
//! Trusts the kernel to keep `memfd_secret` pages out of every other process, swap file and core dump.
//! If this is wrong, a PIN can be read from outside the process that uses it.

mod bytes;
mod heap;
mod page;
mod pin;
mod process;
mod typed;

pub use bytes::{SecretBytes, SecretError};
pub use heap::WipingHeap;
pub use page::{Protection, protection};
pub use pin::{PIN_BYTES, Pin, PinError};
pub use process::{close_inherited, exit_now, harden_process, inherited};
pub use typed::typed;
