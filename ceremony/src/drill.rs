//! A drill: the last backup, and shares as their holders bring them, into a throw-away SoftHSM2 token with PINs that nobody knows.
//! Every signing key proves itself, then the token is destroyed. Answers how long it took and how old the backup was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::{KeyId, Mode, UnixMillis, config};
use chancery_hsm::{Custody, Hsm, KeyRef, NewToken, PublicKey, Settings, Use, init_token};
use chancery_secret::{Pin, SecretBytes};

use crate::act::prove;
use crate::backup::{Backup, Kept};
use crate::console::Console;
use crate::error::CeremonyError;
use crate::share::Shares;
use crate::vss;

/// What a drill needs.
pub struct Drill {
    /// The folder with the shares.
    pub shares: PathBuf,
    /// The folder with the backup.
    pub backup: PathBuf,
    /// SoftHSM2.
    pub module: PathBuf,
    /// The executable of the HSM worker.
    pub worker: PathBuf,
    /// A folder for the throw-away token, which the caller removes.
    pub scratch: PathBuf,
}

/// How a drill went.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// Keys that came back.
    pub keys: usize,
    /// Of them, those that signed under the public key of the backup.
    pub proved: usize,
    /// Keys that the backup has not got.
    pub left_out: Vec<String>,
    /// Who brought a good share.
    pub came: Vec<String>,
    /// Whose share was bad.
    pub bad: Vec<String>,
    /// From the first question to the last proof: the recovery time, as far as the keys go.
    pub took: Duration,
    /// Of it, waiting for the custodians.
    pub waited: Duration,
    /// The backup's age: what was made since is what would be lost.
    pub age: Duration,
}

impl Drill {
    /// Rehearses a restore.
    ///
    /// # Errors
    /// [`CeremonyError`] with what would keep a restore from succeeding.
    pub async fn run(&self, console: &mut Console, now: UnixMillis) -> Result<Drilled, CeremonyError> {
        let started = Instant::now();
        let (shares, backup) = (Shares::read(&self.shares)?, Backup::read(&self.backup)?);
        if shares.backup_key != backup.backup_key {
            return Err(CeremonyError::Mismatch("shares and backup are of two backup keys".to_owned()));
        }
        let gathered = shares.gather(&self.shares, console)?;
        let waited = started.elapsed();
        let key = vss::backup_key(&gathered.secret)?;
        let hsm = self.token()?;
        let (so, user) = (pin()?, pin()?);
        init_token(&NewToken { worker: self.worker.clone(), hsm: hsm.clone() }, &so, &user).await?;
        let settings = Settings { worker: Arc::new(self.worker.clone()), hsm, mode: Mode::Production };
        let wrapped: Vec<_> = backup.keys.iter().map(Kept::to_wrapped).collect();
        let custody = Custody::new(settings, user);
        custody.restore(&key, &wrapped).await?;
        let (settings, user) = custody.into_parts();
        let hsm = Hsm::start(settings, user).await?;
        let mut proved = 0;
        for key in &wrapped {
            if let Use::Sign(algorithm) = key.uses {
                let public = PublicKey::parse(algorithm, &key.public)
                    .map_err(|error| CeremonyError::Mismatch(error.to_string()))?;
                prove(&hsm, KeyRef { id: KeyId::from_bytes(key.id), public }).await?;
                proved += 1;
            }
        }
        let took = started.elapsed();
        for key in &wrapped {
            hsm.destroy(KeyId::from_bytes(key.id)).await?;
        }
        hsm.stop().await;
        let age = u64::try_from(now.0.saturating_sub(backup.made_ms.0)).unwrap_or(0);
        Ok(Drilled {
            keys: wrapped.len(),
            proved,
            left_out: backup.left_out,
            came: gathered.came,
            bad: gathered.bad,
            took,
            waited,
            age: Duration::from_millis(age),
        })
    }

    fn token(&self) -> Result<config::Hsm, CeremonyError> {
        let (tokens, conf) = (self.scratch.join("tokens"), self.scratch.join("softhsm2.conf"));
        crate::store::make_folder(&tokens)?;
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        crate::store::write(&conf, text.as_bytes())?;
        let environment = [("SOFTHSM2_CONF".to_owned(), path(&conf))].into();
        Ok(config::Hsm {
            module: self.module.clone(),
            token: "chancery-drill".to_owned(),
            pin: config::SecretSource::Fd(0),
            sessions: 1,
            queue: chancery_core::limit::HSM_QUEUE,
            call_ms: chancery_core::limit::HSM_CALL_MS,
            environment,
            writable: vec![tokens],
            init_argument: None,
            recoverable: true,
        })
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A PIN of 128 random bits that nobody sees.
fn pin() -> Result<Pin, CeremonyError> {
    let random = SecretBytes::random(16)?;
    let mut text = [0; 32];
    hex::encode_to_slice(random.expose(), &mut text)
        .map_err(|error| CeremonyError::NoAnswer(error.to_string()))?;
    Ok(Pin::new(SecretBytes::take(&mut text)?)?)
}
