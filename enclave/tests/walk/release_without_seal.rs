//! Recorded is not sealed: only `Sealed` can be released, and its signatures cannot be taken out of it.
//~ error[E0599]: no method named `release` found for struct `Recorded` in the current scope
//~ error[E0616]: field `signatures` of struct `Sealed` is private

use std::sync::Arc;

use chancery_enclave::walk::{Recorded, Sealed};
use chancery_enclave::{House, Released};

async fn short_cut(house: &Arc<House>, recorded: Recorded) -> Released {
    recorded.release(house).await.unwrap()
}

fn peek(sealed: Sealed) -> [u8; 64] {
    sealed.signatures.remove(0).open().bytes
}

fn main() {}
