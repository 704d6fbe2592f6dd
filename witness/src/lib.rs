//! A witness of transparency logs (c2sp.org/tlog-witness): it remembers the largest tree it has seen of each log and
//! cosigns only what grew from it. Run by another organisation than the log's, it is what keeps the log from telling two
//! stories. If this is wrong, a rolled-back or forked log is vouched for.

mod folder;
mod judge;
mod key;
mod memory;
mod serve;

pub use folder::{Folder, WitnessError};
pub use judge::{Judged, Witness};
pub use key::Key;
pub use serve::{Ended, serve};
