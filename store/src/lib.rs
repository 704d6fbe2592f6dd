//! The one transaction: idempotency, limits, decisions and the log commit together or not at all. SQLite with a WAL
//! synced at every commit, one writer thread, a few readers. It knows rows, not meanings: no cryptography, no policy,
//! no tree. Trusts the disk to keep what it synced. If this is wrong, a signature can exist without its record.

mod addresses;
mod approvals;
mod certificates;
mod checkpoint;
mod directory;
mod error;
mod fault;
mod health;
#[cfg(test)]
mod injected;
mod limits;
mod link;
mod officers;
#[cfg(test)]
mod plans;
mod pool;
mod reader;
mod renewals;
mod rows;
mod schema;
mod shares;
mod store;
mod told;
mod tx;
mod writer;

pub use addresses::Addresses;
pub use error::StoreError;
pub use fault::{Fatal, abort};
pub use health::Health;
pub use limits::bucket_width_ms;
pub use reader::{LEAF_HASHES, LEAVES, Reader};
pub use rows::{
    ApprovalRow, AuthorityRow, BundleRow, CertificateRow, LeafRow, RequestFilter, RequestRow, RequestState,
    SessionRow, WalletRow,
};
pub use schema::FORMAT;
pub use shares::{BanRow, ShareRow, Unentered};
pub use store::Store;
pub use tx::{COUNTER_BYTES, RECORD_BYTES, Tx};
pub use writer::{Committed, Hand};

/// Hears of the log's growth, on the writer thread: after COMMIT, before the jobs of that batch are answered. It must
/// not block for long, and must not panic: a tree that missed a leaf cannot go on, so the process then ends.
pub trait Observer: Send {
    /// Leaves `first_index ..` with these hashes are durable. Called in order, without gaps, never for nothing.
    fn committed(&mut self, first_index: u64, leaf_hashes: &[[u8; 32]]);
}
