//! Space on the disks that hold the store and the log. Below the reserve nothing new is decided, so that what is under
//! way can still be ended and recorded: a full disk in the middle of a walk would leave it open until someone made room.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_core::Code;
use chancery_core::config::Config;

use crate::refusal::Refusal;

/// The disks, as they were last looked at.
pub(crate) struct Disk {
    folders: [PathBuf; 2],
    reserve_bytes: u64,
    free_bytes: AtomicU64,
}

impl Disk {
    /// The disks of a configuration whose folders exist.
    pub fn of(config: &Config) -> Self {
        let disk = Self {
            folders: [config.store.directory.clone(), config.log.directory.clone()],
            reserve_bytes: u64::from(config.store.reserve_mib) * 1024 * 1024,
            free_bytes: AtomicU64::new(0),
        };
        disk.look();
        disk
    }

    /// Looks again. A disk that does not say counts as full.
    pub fn look(&self) {
        let free = |folder: &PathBuf| match rustix::fs::statvfs(folder) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "the disk does not say what is free");
                0
            }
        };
        self.free_bytes.store(self.folders.iter().map(free).min().unwrap_or(0), Ordering::Relaxed);
    }

    /// What is free on the fuller of the two, in bytes.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Whether there is room for something new.
    ///
    /// # Errors
    /// [`Code::DiskFull`].
    pub fn admit(&self) -> Result<(), Refusal> {
        let (free, reserve) = (self.free_bytes(), self.reserve_bytes);
        if free >= reserve {
            return Ok(());
        }
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let detail = format!("{} MiB are free and {} are kept in reserve", mib(free), mib(reserve));
        Err(Refusal::new(Code::DiskFull, detail).retry_after(30))
    }
}
