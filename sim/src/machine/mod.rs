//! The simulated machine under this thread: time that passes only while everything waits, randomness from the seed, a disk
//! that may lose what was not synced, and the moment at which it all ends. The code of the appliance does not know: its
//! calls of the C library are answered here (`calls`). What a seed decides, it decides through here alone.

mod calls;
pub mod dice;
mod disk;
mod plan;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};

use dice::Dice;
use disk::Disk;
pub use disk::{Content, File};
pub use plan::{Error, Plan};
use sha2::{Digest, Sha256};

/// 2027-01-15T08:00:00Z: the moment at which each simulation begins, in milliseconds since 1970.
pub const BEGINNING_MS: i64 = 1_800_000_000_000;
/// LIMIT: lines of the trace that are kept for whoever reads it.
const LINES: usize = 100_000;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed: what it wrote is in the page cache still.
    Killed,
    /// With the power: only what the disk kept.
    Power,
}

/// What a file call would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Read at a place.
    Read,
    /// Write so many bytes at a place.
    Write {
        /// Where.
        at: u64,
        /// How many.
        bytes: usize,
    },
    /// Give it a length.
    Resize(u64),
    /// Sync a file.
    Sync,
    /// Sync a folder's names.
    SyncFolder,
    /// Rename or remove a name.
    Name,
}

/// What shall become of a file call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done, at most so many bytes of it.
    Done(usize),
    /// It fails with this number of `errno`.
    Failed(i32),
}

struct Machine {
    now_ns: u64,
    /// How far the wall clock is off, in milliseconds.
    wall_ms: i64,
    entropy: Dice,
    dice: Dice,
    disk: Disk,
    plan: Plan,
    /// It dies when the call under way is done.
    dying: bool,
    dead: Option<Death>,
    hash: Sha256,
    lines: Vec<String>,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// Whether this thread runs on a simulated machine.
fn on() -> bool {
    ON.try_with(Cell::get).unwrap_or(false)
}

/// The machine itself reads files while it is held here; those calls go to the system.
fn with<T>(work: impl FnOnce(&mut Machine) -> T) -> Option<T> {
    let worked = MACHINE.try_with(|machine| machine.try_borrow_mut().ok()?.as_mut().map(work));
    worked.ok().flatten()
}

/// Puts this thread on a machine whose disk is below the empty folder `root`, for good.
///
/// # Errors
/// What the system says.
pub fn boot(seed: u64, root: &Path, disk_lies: bool) -> io::Result<()> {
    let machine = Machine {
        now_ns: 0,
        wall_ms: BEGINNING_MS,
        entropy: Dice::of(seed, "entropy"),
        dice: Dice::of(seed, "disk"),
        disk: Disk::below(root, disk_lies)?,
        plan: Plan::default(),
        dying: false,
        dead: None,
        hash: Sha256::new(),
        lines: Vec::new(),
    };
    MACHINE.with(|place| *place.borrow_mut() = Some(machine));
    ON.with(|on| on.set(true));
    Ok(())
}

/// Sets what will go wrong from here on.
pub fn expect(plan: Plan) {
    with(|machine| machine.plan = plan);
}

/// Moves the wall clock.
pub fn shift_clock(ms: i64) {
    with(|machine| machine.wall_ms += ms);
    note(format!("the wall clock moves by {ms} ms"));
}

/// Writes a line of the trace.
pub fn note(line: impl AsRef<str>) {
    with(|machine| machine.note(line.as_ref()));
}

/// The trace's hash so far, and its lines.
#[must_use]
pub fn trace() -> (String, Vec<String>) {
    with(|machine| (hex::encode(machine.hash.clone().finalize()), machine.lines.clone())).unwrap_or_default()
}

/// Milliseconds since the beginning.
#[must_use]
pub fn now_ms() -> u64 {
    with(|machine| machine.now_ns / 1_000_000).unwrap_or_default()
}

/// Whether the process lives. What a dead one still says, nobody hears.
#[must_use]
pub fn alive() -> bool {
    with(|machine| machine.dead.is_none()).unwrap_or(true)
}

/// The process ends here.
pub fn die(how: Death) {
    with(|machine| machine.die(how));
}

/// Another process starts on what the last one left. Everything of the last one must be dropped by now.
///
/// # Errors
/// What the system says.
pub fn restart() -> io::Result<()> {
    with(|machine| {
        let dead = machine.dead.take();
        machine.dying = false;
        machine.note(&format!("restart after {dead:?}"));
        match dead {
            Some(Death::Power) => machine.disk.lose_power(&mut machine.dice),
            _ => Ok(()),
        }
    })
    .unwrap_or(Ok(()))
}

/// A copy of everything on the disk, as whoever runs it makes one while no process lives.
///
/// # Errors
/// What the system says.
pub fn copy() -> io::Result<Content> {
    with(|machine| machine.disk.copy()).unwrap_or_else(|| Ok(Content::new()))
}

/// The disk holds this instead.
///
/// # Errors
/// What the system says.
pub fn put_back(content: Content) -> io::Result<()> {
    with(|machine| machine.disk.hold(content)).unwrap_or(Ok(()))
}

impl Machine {
    fn note(&mut self, line: &str) {
        let line = format!("{:>9.3} {line}", self.now_ns as f64 / 1e9);
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        if self.lines.len() < LINES {
            self.lines.push(line);
        }
    }

    fn die(&mut self, how: Death) {
        if self.dead.is_none() {
            self.note(&format!("the process ends: {how:?}"));
            self.dead = Some(how);
        }
    }

    fn fate(&mut self, call: Call, name: &str) -> Fate {
        if self.dead.is_some() {
            return if call == Call::Read { Fate::Done(usize::MAX) } else { Fate::Failed(libc::EIO) };
        }
        if call != Call::Read {
            self.note(&format!("{call:?} {name}"));
        }
        match self.plan.next(call, &mut self.dice) {
            plan::Next::Well => Fate::Done(usize::MAX),
            plan::Next::Part(bytes) => {
                self.note(&format!("  only {bytes} bytes"));
                Fate::Done(bytes)
            }
            plan::Next::Fails(errno) => {
                self.note(&format!("  {call:?} {name} fails: errno {errno}"));
                Fate::Failed(errno)
            }
            plan::Next::Dies { how, part } => {
                if let Some(part) = part {
                    self.dying = true;
                    self.plan.how(how);
                    return Fate::Done(part);
                }
                self.die(how);
                Fate::Failed(libc::EIO)
            }
        }
    }

    /// After a call was done: the process ends where it was to end in it.
    fn done(&mut self) {
        if std::mem::take(&mut self.dying) {
            let how = self.plan.death();
            self.die(how);
        }
    }
}

// What `calls` asks.

fn fill(bytes: &mut [u8]) -> bool {
    with(|machine| machine.entropy.fill(bytes)).is_some()
}

/// Nanoseconds on the wall (since 1970) or since the beginning.
fn time_ns(wall: bool) -> Option<u64> {
    with(|machine| {
        let wall_ms = if wall { machine.wall_ms } else { 0 };
        machine.now_ns.wrapping_add_signed(wall_ms.saturating_mul(1_000_000))
    })
}

/// Everything waits: time passes.
fn idle(ms: u64) -> bool {
    with(|machine| machine.now_ns += ms * 1_000_000).is_some()
}

fn device() -> Option<u64> {
    with(|machine| machine.disk.device())
}

fn before(call: Call, file: File, path: impl FnOnce() -> Option<PathBuf>) -> Option<Fate> {
    with(|machine| {
        let name = machine.disk.called(file, path);
        let fate = machine.fate(call, &name);
        if call == Call::Sync && matches!(fate, Fate::Failed(_)) && machine.dead.is_none() {
            // Failed, but persisted; or failed and never to be persisted.
            if machine.dice.percent(30) { machine.disk.synced(file) } else { machine.disk.dropped(file) }
        }
        fate
    })
}

fn before_folder(call: Call, path: &Path) -> Option<Fate> {
    with(|machine| {
        let inside = path.strip_prefix(machine.disk.root()).ok()?.to_string_lossy().into_owned();
        Some(machine.fate(call, &inside))
    })
    .flatten()
}

fn wrote(file: File, at: u64, bytes: &[u8]) {
    with(|machine| {
        machine.disk.wrote(file, at, bytes);
        machine.done();
    });
}

fn resized(file: File, length: u64) {
    with(|machine| {
        machine.disk.resized(file, length);
        machine.done();
    });
}

fn synced(file: File) {
    with(|machine| {
        machine.disk.synced(file);
        machine.done();
    });
}

fn synced_folder(path: &Path) {
    with(|machine| {
        machine.disk.synced_folder(path);
        machine.done();
    });
}

/// A name was changed; the file of this number lost its last one by it.
fn renamed(unlinked: Option<u64>) {
    with(|machine| {
        if let Some(number) = unlinked {
            machine.disk.unlinked(number);
        }
        machine.done();
    });
}
