//! A ceremony from agreement to end. Each step is asked for, begun on record, done, shown, agreed with and recorded, in this
//! order; after a crash `run` goes on with the step that has no end on record, and that step is done again from its start.

use std::path::PathBuf;
use std::sync::Arc;

use chancery_audit::Digest;
use chancery_core::{Mode, UnixMillis, config};
use chancery_hsm::{Custody, Settings};
use chancery_secret::{Pin, SecretBytes};
use serde_json::{Value, json};

use crate::console::Console;
use crate::error::CeremonyError;
use crate::kind::Act;
use crate::script::Script;
use crate::store::TRANSCRIPT;
use crate::transcript::{Event, Hand, Stand, Transcript};

/// Who and what must be in the room.
pub struct Room {
    /// Where the ceremony's files are.
    pub folder: PathBuf,
    /// Where the shares of an earlier ceremony are, for a script that names them.
    pub shares: Option<PathBuf>,
    /// Where the backup of an earlier ceremony is.
    pub backup: Option<PathBuf>,
    /// How tokens are reached; label, PIN, and leave to make recoverable keys are the ceremony's own.
    pub hsm: config::Hsm,
    /// `chanceryd`: the executable of the HSM worker, and of what is done to the house.
    pub worker: PathBuf,
    /// The appliance's configuration, for what is done to the house.
    pub config: PathBuf,
    /// The door's certificate and its key.
    pub door: Door,
    /// The keys of everybody who signs.
    pub hands: Vec<Box<dyn Hand>>,
    /// The people.
    pub console: Console,
    /// The clock.
    pub now: fn() -> UnixMillis,
}

/// Where the door finds its certificate and the key of it.
#[derive(Clone, Debug)]
pub struct Door {
    /// In PEM.
    pub certificate: PathBuf,
    /// In PEM, for its owner only.
    pub key: PathBuf,
}

/// A ceremony that may begin, or go on.
pub struct Stage {
    pub(crate) script: Script,
    pub(crate) room: Room,
    pub(crate) settings: Settings,
    pub(crate) pins: Pins,
}

/// PINs that were asked for, in secret memory until the ceremony ends.
#[derive(Default)]
pub(crate) struct Pins {
    pub so: Option<Pin>,
    pub user: Option<Pin>,
}

/// How a ceremony ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The script.
    pub script: Digest,
    /// The transcript's last entry, which stands for all.
    pub transcript: Digest,
    /// Entries.
    pub entries: usize,
}

impl Stage {
    /// Sets the stage: the script must be the one that was agreed, and everybody who signs must be there.
    ///
    /// # Errors
    /// [`CeremonyError::OtherScript`], [`CeremonyError::Absent`] and [`CeremonyError::Stranger`].
    pub fn set(script: Script, agreed: &str, room: Room) -> Result<Self, CeremonyError> {
        let found = script.hash()?.to_string();
        if found != agreed {
            return Err(CeremonyError::OtherScript { found, agreed: agreed.to_owned() });
        }
        let keys = script.signer_keys()?;
        if let Some(key) = keys.iter().find(|key| !room.hands.iter().any(|hand| hand.key() == *key)) {
            return Err(CeremonyError::Absent(key.name().to_owned()));
        }
        if let Some(hand) = room.hands.iter().find(|hand| !keys.contains(hand.key())) {
            return Err(CeremonyError::Stranger(hand.key().name().to_owned()));
        }
        let hsm = config::Hsm { token: script.token.clone(), recoverable: true, ..room.hsm.clone() };
        let settings = Settings { worker: Arc::new(room.worker.clone()), hsm, mode: Mode::Production };
        Ok(Self { script, room, settings, pins: Pins::default() })
    }

    /// Carries the ceremony out, from its start or from where it was left.
    ///
    /// # Errors
    /// [`CeremonyError`]; whatever it is, the same call goes on from the step that has no end on record.
    pub async fn run(&mut self) -> Result<Ended, CeremonyError> {
        let mut transcript = Transcript::open(&self.script, &self.room.folder.join(TRANSCRIPT))?;
        self.introduce(&mut transcript)?;
        let count = self.script.steps.len();
        loop {
            let (step, again) = match transcript.stand() {
                Stand::Within(step) => (step, true),
                Stand::Next(step) if step < count => (step, false),
                Stand::Next(_) => break,
                Stand::Fresh | Stand::Closed => return Err(CeremonyError::Closed),
            };
            let Some(act) = self.script.steps.get(step).copied() else { break };
            let left = if again { " (it was begun, and its end is not on record)" } else { "" };
            self.room.console.say(&format!("\nstep {} of {count}: {}{left}", step + 1, act.says()))?;
            if !self.room.console.agrees("shall it be done?")? {
                return Err(CeremonyError::Stopped { step: step + 1 });
            }
            // ORDER: on record before it is done, so that what a crash leaves of it is known to be ours.
            self.write(&mut transcript, Event::Begun, Some(step), Value::Null)?;
            let facts = self.act(act, again).await?;
            for line in lines(&facts) {
                self.room.console.say(&format!("  {line}"))?;
            }
            if !self.room.console.agrees("does everybody agree with what was seen?")? {
                return Err(CeremonyError::Disputed { step: step + 1 });
            }
            self.write(&mut transcript, Event::Done, Some(step), facts)?;
        }
        self.write(&mut transcript, Event::Closed, None, Value::Null)?;
        let (script, entries) = (self.script.hash()?, transcript.entries().len());
        let transcript = transcript.head().ok_or(CeremonyError::Closed)?;
        self.room.console.say(&format!("\nclosed: {entries} entries, transcript {transcript}"))?;
        Ok(Ended { script, transcript, entries })
    }

    /// Says what this is, and has everybody agree to it once.
    fn introduce(&mut self, transcript: &mut Transcript) -> Result<(), CeremonyError> {
        let (kind, origin) = (self.script.kind.as_str(), self.script.origin.clone());
        let hash = self.script.hash()?;
        self.room.console.say(&format!("ceremony `{kind}` for {origin}, token `{}`", self.script.token))?;
        self.room.console.say(&format!("script {hash}"))?;
        for (person, key) in self.script.signers.clone().iter().zip(self.script.signer_keys()?) {
            self.room.console.say(&format!("  {} {}", person.role.as_str(), key.name()))?;
        }
        for custodian in self.script.custodians.clone() {
            self.room.console.say(&format!("  custodian {}", custodian.name))?;
        }
        match transcript.stand() {
            Stand::Fresh => {}
            Stand::Closed => return Err(CeremonyError::Closed),
            Stand::Next(_) | Stand::Within(_) => {
                return self.room.console.say("it was interrupted, and goes on");
            }
        }
        if !self.room.console.agrees("is this the script that was agreed, and is everybody here?")? {
            return Err(CeremonyError::Stopped { step: 1 });
        }
        let people: Vec<_> = self.script.signer_keys()?.iter().map(|key| key.name().to_owned()).collect();
        self.write(transcript, Event::Agreed, None, json!({ "present": people }))
    }

    fn write(
        &self,
        transcript: &mut Transcript,
        event: Event,
        step: Option<usize>,
        facts: Value,
    ) -> Result<(), CeremonyError> {
        transcript.append(&self.room.hands, (self.room.now)(), event, step, facts)
    }

    async fn act(&mut self, act: Act, again: bool) -> Result<Value, CeremonyError> {
        match act {
            Act::Token => self.token(again).await,
            Act::Keys => self.keys(again).await,
            Act::Split => self.split(again).await,
            Act::BackUp => self.back_up().await,
            Act::Restore => self.restore().await,
            Act::Reshare => self.reshare(),
            Act::LogKeys | Act::Rewrap => self.rotate().await,
            Act::Retire => self.retire().await,
            Act::DealSeed => self.deal_seed().await,
            Act::TlsKey => self.tls_key(again),
            Act::TlsCertificate => self.tls_certificate(again),
            Act::Destroy => self.destroy(again).await,
        }
    }

    /// The user PIN, asked for once.
    pub(crate) fn user_pin(&mut self) -> Result<Pin, CeremonyError> {
        match &self.pins.user {
            Some(pin) => copy(pin),
            None => copy(self.pins.user.insert(self.room.console.pin("the token's user PIN")?)),
        }
    }

    /// The security officer's PIN, asked for once.
    pub(crate) fn so_pin(&mut self) -> Result<Pin, CeremonyError> {
        match &self.pins.so {
            Some(pin) => copy(pin),
            None => copy(self.pins.so.insert(self.room.console.pin("the security officer's PIN")?)),
        }
    }

    pub(crate) fn custody(&mut self) -> Result<Custody, CeremonyError> {
        Ok(Custody::new(self.settings.clone(), self.user_pin()?))
    }
}

/// One more copy of a PIN in secret memory, for a worker of its own.
pub(crate) fn copy(pin: &Pin) -> Result<Pin, CeremonyError> {
    Ok(Pin::new(SecretBytes::read_exact(pin.expose(), pin.expose().len())?)?)
}

/// Facts as people read them.
fn lines(facts: &Value) -> Vec<String> {
    let one = |name: &str, value: &Value| match value {
        Value::String(text) => vec![format!("{name}: {text}")],
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().map(|item| match item {
                Value::String(text) => format!("  {text}"),
                Value::Object(members) => {
                    let members = members.iter().map(|(name, value)| {
                        format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                    });
                    format!("  {}", members.collect::<Vec<_>>().join(", "))
                }
                other => format!("  {other}"),
            });
            std::iter::once(format!("{name}:")).chain(items).collect()
        }
        other => vec![format!("{name}: {other}")],
    };
    facts.as_object().into_iter().flatten().flat_map(|(name, value)| one(name, value)).collect()
}
