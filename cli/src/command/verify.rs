//! `chancery audit verify`: the whole log from its static files, wherever they are. What a run verified can be kept in a
//! state file: a run that was killed is gone on with, and a later one reads what is new and refuses a log that is not the
//! continuation of what was seen. The state is trusted as the trust file is.

use std::path::{Path, PathBuf};

use chancery_audit::{
    Endorsers, Folder, Kept, KeptError, LogError, LogReport, Mirror, MirrorError, Pass, SignedCheckpoint,
    Start, TimestampRoots, Timestamped, Timestamps, Trust, Turn, verify_log,
};
use clap::Args;
use serde_json::json;

use super::trust;
use crate::connection::Connection;
use crate::mirror::Web;
use crate::output::visible;
use crate::progress::Progress;
use crate::{Error, Output, file, when};

/// Entries between two states: 64 full bundles.
const KEEP_EVERY: u64 = 64 * 256;

/// LIMIT: a state file, in bytes: 2^20 open decisions with the longest names.
const STATE_BYTES: u64 = 512 * 1024 * 1024;

/// Where a log's static files are.
#[derive(Args, Debug)]
pub struct Place {
    /// The log's folder of static files
    #[arg(long, value_name = "LOGDIR", conflicts_with = "mirror")]
    dir: Option<PathBuf>,
    /// Where any web server serves the log's static files; the appliance itself without this and `--dir`
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

impl Place {
    pub fn mirror(&self, connection: &Connection, output: &Output) -> Result<Box<dyn Mirror>, Error> {
        Ok(match (&self.dir, &self.mirror) {
            (Some(directory), _) => {
                std::fs::read_dir(directory).map_err(Error::file("read the folder", directory))?;
                Box::new(Folder::at(directory))
            }
            (None, Some(url)) => Box::new(Web::public(url, connection.timeout)?),
            (None, None) => Box::new(Web::appliance(connection, output)?),
        })
    }

    /// The finding as a result, and the error that ends the program.
    pub fn refuse(&self, error: LogError, output: &Output) -> Result<Error, Error> {
        let Some(reason) = error.reason() else { return Ok(self.unanswered(error)) };
        if output.is_json() {
            let document = json!({ "ok": false, "reason": reason.as_str(), "detail": error.to_string() });
            output.document(&document)?;
        }
        Ok(Error::Failed(format!("the log does not verify: {reason}: {error}")))
    }

    /// Nothing was found out about the log.
    fn unanswered(&self, error: LogError) -> Error {
        let (path, source) = match error {
            LogError::Mirror { path, source } => (path, source),
            LogError::Stopped(source) => (String::new(), source),
            finding => return Error::Failed(finding.to_string()),
        };
        let folder = self.dir.as_deref().unwrap_or(Path::new(""));
        source.downcast::<Error>().map_or_else(
            |source| Error::content(&folder.join(path), format!("cannot be read: {source}")),
            |error| *error,
        )
    }
}

/// `chancery audit verify`.
#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// The log's name and keys, from a source you trust
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// A key that may sign policy bundles, `name+hash+base64`, in place of those in the trust file; give it again for more
    #[arg(long, value_name = "KEY", requires = "signatures")]
    policy_key: Vec<String>,
    /// How many of these keys each bundle in the log must be signed by
    #[arg(long, value_name = "N", requires = "policy_key")]
    signatures: Option<usize>,
    /// A checkpoint kept from before: the log must hold its entries first
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "state")]
    since: Option<PathBuf>,
    /// The roots of its time-stamping authorities, in PEM, from the authorities: verify its timestamps too
    #[arg(long, value_name = "PEM")]
    tsa_ca: Option<PathBuf>,
    /// Where this run keeps what it verified, and a later one goes on from it; made where it is not there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Tell of the progress even where standard error is no terminal
    #[arg(long)]
    progress: bool,
}

impl Verify {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<(), Error> {
        let trust = self.trust()?;
        let older = match &self.since {
            None => None,
            Some(path) => Some(
                SignedCheckpoint::open(&file::read(path)?, &trust)
                    .map_err(|error| Error::content(path, format!("is not to be believed: {error}")))?,
            ),
        };
        let roots = self.tsa_ca.as_deref().map(roots).transpose()?;
        let start = match (&older, self.kept(&trust, output)?) {
            (Some(older), _) => Start::Since(older),
            (None, Some(kept)) => Start::From(Box::new(kept)),
            (None, None) => Start::Afresh,
        };
        let mirror = self.place.mirror(connection, output)?;
        let mut progress = Progress::start(output, "verified").shown(self.progress);
        let mut kept_at = None;
        let verify = || {
            let listed = roots.as_ref().map(|_| Timestamps::listed(&*mirror)).transpose()?;
            let report = verify_log(&*mirror, &trust, start, &mut |pass| {
                progress.at(pass.verified(), Some(pass.size()));
                self.keep(pass, &mut kept_at)
            })?;
            let timestamps = listed.zip(roots.as_ref()).map(|(listed, roots)| {
                let trust = report.followed.as_ref().unwrap_or(&trust);
                listed.verify(&*mirror, trust, roots, &report.checkpoint)
            });
            Ok((report, timestamps.transpose()?))
        };
        match verify() {
            Ok((report, timestamps)) => tell(&report, &trust, older.as_ref(), timestamps.as_deref(), output),
            Err(error) => Err(self.place.refuse(error, output)?),
        }
    }

    fn trust(&self) -> Result<Trust, Error> {
        let trust = trust::read(&self.trust)?;
        let Some(needed) = self.signatures else { return Ok(trust) };
        let endorsers = Endorsers::new(&self.policy_key, needed).map_err(|error| Error::Usage {
            detail: error.to_string(),
            hint: "`--policy-key` takes a line of `chancery policy keygen`, `--signatures` no more than there are keys",
        })?;
        Ok(trust.with_endorsers(endorsers))
    }

    /// What an earlier run kept. A damaged state is not gone on from and not refused: the whole log is read again.
    fn kept(&self, trust: &Trust, output: &Output) -> Result<Option<Kept>, Error> {
        let Some(path) = self.state.as_deref().filter(|path| path.exists()) else { return Ok(None) };
        match Kept::parse(&file::read_up_to(path, STATE_BYTES)?, trust) {
            Ok(kept) => Ok(Some(kept)),
            Err(KeptError::Damaged(what)) => {
                output.say(&format!(
                    "warning: `{}` cannot be gone on from ({what}): the log is verified from its first entry, and \
                     what was seen of it before is forgotten",
                    path.display()
                ));
                Ok(None)
            }
            Err(error) => Err(Error::content(path, format!("cannot be gone on from: {error}"))),
        }
    }

    /// Keeps the first state, because it names the checkpoint seen, the last, and one now and then.
    fn keep(&self, pass: &Pass<'_>, kept_at: &mut Option<u64>) -> Result<(), MirrorError> {
        let Some(path) = &self.state else { return Ok(()) };
        let verified = pass.verified();
        let due = kept_at.is_none_or(|kept| verified - kept >= KEEP_EVERY);
        if due || verified == pass.size() {
            file::replace(path, &pass.keep(), file::PUBLIC)?;
            *kept_at = Some(verified);
        }
        Ok(())
    }
}

fn turn(turn: &Turn) -> serde_json::Value {
    json!({ "leaf": turn.leaf, "before": turn.before.key, "after": turn.after.key })
}

fn roots(path: &Path) -> Result<TimestampRoots, Error> {
    TimestampRoots::from_pem(&file::read(path)?)
        .map_err(|error| Error::content(path, format!("holds no roots of an authority: {error}")))
}

fn tell(
    report: &LogReport,
    trust: &Trust,
    since: Option<&SignedCheckpoint>,
    timestamps: Option<&[Timestamped]>,
    output: &Output,
) -> Result<(), Error> {
    let (head, counts) = (report.checkpoint.checkpoint(), report.counts);
    let (needed, keys) = (trust.endorsers().needed(), trust.endorsers().keys());
    let newest = timestamps.and_then(|all| all.iter().max_by_key(|one| (one.size, one.timestamp.time())));
    if output.is_json() {
        return output.document(&json!({
            "ok": true,
            "origin": head.origin,
            "size": head.size,
            "root": hex::encode(head.root),
            "since": since.map(SignedCheckpoint::size),
            "resumed_from": report.resumed_from,
            "decisions": counts.decisions,
            "outcomes": counts.outcomes,
            "wallets": counts.wallets,
            "policies": counts.policies,
            "logins": counts.logins,
            "ceremonies": counts.ceremonies,
            "clients": counts.clients,
            "rotations": report.turns.iter().map(turn).collect::<Vec<_>>(),
            "followed": report.followed.is_some(),
            "policy_keys": keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "policy_signatures": needed,
            "open": report.open,
            "timestamps": timestamps.map(|all| json!({
                "count": all.len(),
                "newest": newest.map(|newest| json!({
                    "size": newest.size,
                    "time_ms": newest.timestamp.time(),
                    "authority": newest.timestamp.authority(),
                })),
            })),
        }));
    }
    output.line(&format!("log `{}`: {} entries verify", head.origin, head.size))?;
    output.line(&format!("root      {}", hex::encode(head.root)))?;
    output.line(&format!("decisions {}", counts.decisions))?;
    output.line(&format!("outcomes  {} ({} allowed decisions without one)", counts.outcomes, report.open))?;
    output.line(&format!("wallets   {}", counts.wallets))?;
    let signed = match needed {
        0 => "who must have signed them was not said: `--policy-key`".to_owned(),
        needed => format!("each signed by {needed} of the {} policy keys", keys.len()),
    };
    output.line(&format!("policies  {} ({signed})", counts.policies))?;
    output.line(&format!("logins    {}", counts.logins))?;
    output.line(&format!("ceremonies {}", counts.ceremonies))?;
    output.line(&format!("clients   {} (certificates issued or taken back)", counts.clients))?;
    for Turn { leaf, before, after } in &report.turns {
        let (before, after) = (&before.key, &after.key);
        output.line(&format!(
            "keys      checkpoints of up to {leaf} entries are signed by {before:?}, larger ones by {after:?}, for which \
             {before:?} vouches in entry {leaf}"
        ))?;
    }
    if report.followed.is_some() {
        output.line("the trust file is of before that: `chancery trust follow` makes the one of after")?;
    }
    if let (Some(all), Some(newest)) = (timestamps, newest) {
        let (time, by) = (when::show(newest.timestamp.time()), visible(newest.timestamp.authority()));
        output.line(&format!(
            "timestamps {}: the first {} entries were there at {time}, says `{by}`",
            all.len(),
            newest.size
        ))?;
    } else if timestamps.is_some() {
        output.line("timestamps none")?;
    }
    if report.resumed_from > 0 {
        output.line(&format!("the first {} entries were verified before", report.resumed_from))?;
    }
    match since {
        Some(since) => {
            output.line(&format!("the first {} entries are those of the older checkpoint", since.size()))
        }
        None => Ok(()),
    }
}
