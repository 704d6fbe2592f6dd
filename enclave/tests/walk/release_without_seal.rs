//! Recorded is not sealed: only `Sealed` can be released, and its signatures cannot be taken out of it.

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
