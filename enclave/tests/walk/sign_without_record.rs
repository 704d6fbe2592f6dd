//! Understood is not recorded: only `Recorded` can be sealed.
//~ error[E0599]: no method named `seal` found for struct `Understood` in the current scope

use std::sync::Arc;

use chancery_enclave::House;
use chancery_enclave::walk::{Sealed, Understood};

async fn short_cut(house: &Arc<House>, understood: Understood) -> Sealed {
    understood.seal(house).await.unwrap()
}

fn main() {}
