//! One record is one signature.
//~ error[E0382]: use of moved value: `recorded`

use std::sync::Arc;

use chancery_enclave::House;
use chancery_enclave::walk::Recorded;

async fn twice(house: &Arc<House>, recorded: Recorded) {
    let _ = recorded.seal(house).await;
    let _ = recorded.seal(house).await;
}

fn main() {}
