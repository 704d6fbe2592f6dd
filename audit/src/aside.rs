//! Work that takes long or waits for a disk, beside the threads that answer. If this is wrong, a slow disk stops the door.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `work` on a thread of its own and awaits it; `None` where it panicked. On a runtime of one thread it is done at once
/// on that one: who runs everything on one thread wants one order of things, as a simulation does.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}
