//! What ceremonies are for, and of which steps each consists.

use serde::{Deserialize, Serialize};

/// What a ceremony is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A new token, its first keys, and their first backup.
    Initialise,
    /// A backup of the keys that a token has by now.
    Backup,
    /// A backup's keys into a new token.
    Restore,
    /// The backup key to other custodians. The wallets' keys and the backups stay as they are.
    Reshare,
    /// Another backup key, for custodians old or new, and a backup under it.
    RotateBackupKey,
    /// Other keys for the log, which the ones before vouch for, and the end of the Ed25519 one before.
    RotateLogKey,
    /// Other keys to encrypt under, everything encrypted anew, a backup, and the end of the keys before.
    RotateKek,
    /// Another key for the door's certificate.
    RotateTlsKey,
    /// The seed of one wallet to custodians, in words.
    SeedShares,
    /// The end of keys.
    Destroy,
}

impl Kind {
    /// Every kind, in the order of a key's life.
    pub const ALL: [Self; 10] = [
        Self::Initialise,
        Self::Backup,
        Self::Restore,
        Self::Reshare,
        Self::RotateBackupKey,
        Self::RotateLogKey,
        Self::RotateKek,
        Self::RotateTlsKey,
        Self::SeedShares,
        Self::Destroy,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialise => "initialise",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Reshare => "reshare",
            Self::RotateBackupKey => "rotate-backup-key",
            Self::RotateLogKey => "rotate-log-key",
            Self::RotateKek => "rotate-kek",
            Self::RotateTlsKey => "rotate-tls-key",
            Self::SeedShares => "seed-shares",
            Self::Destroy => "destroy",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What it is for, for people who choose one.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Initialise => "A new token, its keys, shares of a backup key, a backup",
            Self::Backup => "A backup of the keys that the token has by now",
            Self::Restore => "A backup into a new token",
            Self::Reshare => "The same backup key to other custodians",
            Self::RotateBackupKey => "Another backup key, and a backup under it",
            Self::RotateLogKey => {
                "Other keys for the log, which those before vouch for; no daemon serves meanwhile"
            }
            Self::RotateKek => {
                "Other keys to encrypt under, every secret encrypted anew, a backup; no daemon serves meanwhile"
            }
            Self::RotateTlsKey => "Another key for the door's certificate",
            Self::SeedShares => {
                "The seed of one HD wallet to custodians, in words (SLIP-39); no daemon serves meanwhile"
            }
            Self::Destroy => "The end of keys",
        }
    }

    /// What is done, in this order.
    #[must_use]
    pub fn acts(self) -> &'static [Act] {
        match self {
            Self::Initialise => &[Act::Token, Act::Keys, Act::Split, Act::BackUp],
            Self::Backup => &[Act::BackUp],
            Self::Restore => &[Act::Token, Act::Restore],
            Self::Reshare => &[Act::Reshare],
            Self::RotateBackupKey => &[Act::Split, Act::BackUp, Act::Destroy],
            Self::RotateLogKey => &[Act::Keys, Act::LogKeys, Act::Retire],
            Self::RotateKek => &[Act::Keys, Act::Rewrap, Act::BackUp, Act::Retire],
            Self::RotateTlsKey => &[Act::TlsKey, Act::TlsCertificate],
            Self::SeedShares => &[Act::DealSeed],
            Self::Destroy => &[Act::Destroy],
        }
    }

    /// Whether it deals shares.
    pub(crate) fn deals(self) -> bool {
        matches!(self, Self::Initialise | Self::Reshare | Self::RotateBackupKey | Self::SeedShares)
    }
}

/// One step's act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Make the token, set its PINs, see whether it is honest.
    Token,
    /// Make keys on it.
    Keys,
    /// Make a backup key, put it on the token, and deal it to the custodians.
    Split,
    /// Wrap the token's keys under the backup key.
    BackUp,
    /// Join shares, and unwrap a backup into the token.
    Restore,
    /// Join shares, and deal the same backup key to other custodians.
    Reshare,
    /// Name the log's new keys in the log, have those before vouch for them, and put them in force.
    LogKeys,
    /// Encrypt every secret of the store anew.
    Rewrap,
    /// Destroy the keys that were replaced, and show that they are gone.
    Retire,
    /// Open a wallet's seed, and deal it to the custodians.
    DealSeed,
    /// Make a key beside the door's, and ask for a certificate for it.
    TlsKey,
    /// Put key and certificate in the place of those before.
    TlsCertificate,
    /// Destroy keys, and show that they are gone.
    Destroy,
}

impl Act {
    /// What it does, for the people in the room.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Token => "make the token, set its PINs, and see whether it is honest",
            Self::Keys => "make the keys on the token",
            Self::Split => "make a backup key, put it on the token, and deal it to the custodians",
            Self::BackUp => "wrap the token's keys under the backup key",
            Self::Restore => "join the custodians' shares, and unwrap the backup into the token",
            Self::Reshare => "join the custodians' shares, and deal the backup key to the new custodians",
            Self::LogKeys => {
                "name the new keys in the log, have the keys before vouch for them, and put them in force"
            }
            Self::Rewrap => "encrypt every secret of the store anew under the new keys",
            Self::Retire => "destroy the keys that were replaced, and show that they are gone",
            Self::DealSeed => {
                "open the wallet's seed, and deal it to the custodians in words that nobody else sees"
            }
            Self::TlsKey => "make a key beside the door's, and ask for a certificate for it",
            Self::TlsCertificate => {
                "put the key and the certificate that was issued for it in the place of those before"
            }
            Self::Destroy => "destroy the keys that the script names, and show that they are gone",
        }
    }
}
