//! The worker process: the vendor's module, one login, and one thread for each session. It holds no policy and makes no
//! decision; it ends when its parent does, and ends itself when only a fresh process can help.

mod catalogue;
mod channel;
mod counter;
mod custody;
pub(crate) mod fault;
pub(crate) mod keys;
pub(crate) mod module;
pub(crate) mod probe;
mod seeds;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chancery_core::causes;
use chancery_sandbox::{Keeps, Kind, wall_in};
use chancery_secret::{SecretBytes, exit_now, harden_process};

use crate::custody::BACKUP_KEY_BYTES;
use crate::wire::{Class, Fault, PROTOCOL, Start, Started, Task};
use crate::wrap::SECRET_BYTES;
use channel::{Channel, Jobs};
use module::Module;
use session::Signer;

/// Exit code: the parent closed the channel.
const EXIT_DONE: u8 = 0;
/// Exit code: a fresh process may help.
const EXIT_REINITIALISE: u8 = 75;
/// Exit code: started by hand, or by an executable of another version.
const EXIT_USAGE: u8 = 64;

/// Runs the worker. The executable calls this when its only argument is `hsm-worker`; everything else comes over the
/// socket that its parent put in place of standard input.
#[must_use]
pub fn worker_main() -> ExitCode {
    let Ok(mut channel) = harden_process().and_then(|()| Channel::take()) else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"hsm-worker is started by its parent, with a socket for standard input\n",
        );
        return ExitCode::from(EXIT_USAGE);
    };
    let Ok(start) = channel.read_start() else { return ExitCode::from(EXIT_USAGE) };
    let prepared = prepare(&mut channel, &start);
    match prepared {
        Ok((started, Then::Serve(signers))) => serve(channel, &started, signers),
        Ok((started, Then::HandOver(secret))) => {
            let handed = channel.tell(&started).and_then(|()| channel.hand_over(&secret));
            drop(secret);
            exit_now(if handed.is_ok() { EXIT_DONE } else { EXIT_REINITIALISE })
        }
        Ok((started, Then::Leave)) => leave(&channel, &started, EXIT_DONE),
        Err(fault) => leave(&channel, &Started::Refused(fault), EXIT_REINITIALISE),
    }
}

/// What a worker does after its first frame.
enum Then {
    Serve(Vec<Signer>),
    HandOver(SecretBytes),
    Leave,
}

fn leave(channel: &Channel, started: &Started, code: u8) -> ! {
    let _ = channel.tell(started);
    exit_now(code)
}

/// Everything up to the first frame: module, token, login, probe, sessions.
fn prepare(channel: &mut Channel, start: &Start) -> Result<(Started, Then), Fault> {
    if start.protocol != PROTOCOL {
        return Err(Fault {
            class: Class::Refused,
            what: "the executable was replaced: restart it".to_owned(),
        });
    }
    wall_in(Kind::Module, &keeps(start)).map_err(|error| Fault::new(Class::Fatal, causes(&error)))?;
    let module = Module::load(start.module.as_ref(), start.init_argument.as_deref())?;
    let told = |token| Started::Ready { token, mechanisms: Vec::new(), findings: Vec::new() };
    if start.task == Task::Initialise {
        let (so_pin, pin) = (channel.read_pin()?, channel.read_pin()?);
        return Ok((told(module.init_token(&start.token, &so_pin, &pin)?), Then::Leave));
    }
    if let Task::Entrust { key, label } = &start.task {
        let (so_pin, pin, secret) =
            (channel.read_pin()?, channel.read_pin()?, channel.read_secret(BACKUP_KEY_BYTES)?);
        let slot = module.open(&start.token, start.serial.as_deref())?;
        custody::entrust(&slot, &so_pin, &pin, key, label, &secret)?;
        return Ok((Started::BackedUp(Vec::new()), Then::Leave));
    }
    let pin = channel.read_pin()?;
    let slot = module.open(&start.token, start.serial.as_deref())?;
    let first = slot.login(&pin)?;
    drop(pin);
    match &start.task {
        Task::Wrap(sealing) => {
            let secret = channel.read_secret(SECRET_BYTES)?;
            return Ok((Started::Wrapped(keys::encrypt(&first, sealing, &secret)?), Then::Leave));
        }
        Task::Unwrap(sealing, wrapped) => {
            let secret = keys::decrypt(&first, sealing, wrapped)?;
            return Ok((told(slot.token().clone()), Then::HandOver(secret)));
        }
        Task::Survey => {
            let (keys, others) = custody::survey(&first)?;
            return Ok((Started::Surveyed(keys, others), Then::Leave));
        }
        Task::BackUp { under, keys } => {
            return Ok((Started::BackedUp(custody::back_up(&first, under, keys)?), Then::Leave));
        }
        Task::Restore(keys) => {
            let secret = channel.read_secret(BACKUP_KEY_BYTES)?;
            custody::restore(&first, &secret, keys)?;
            return Ok((Started::BackedUp(Vec::new()), Then::Leave));
        }
        Task::Serve | Task::Initialise | Task::Entrust { .. } => {}
    }
    let findings = probe::ask(&slot, &first)?;
    let mechanisms = slot.mechanisms()?;
    let started = Started::Ready { token: slot.token().clone(), mechanisms, findings };
    let slot = Arc::new(slot);
    let mut signers = vec![Signer::new(Arc::clone(&slot), first)];
    while signers.len() < start.sessions {
        let session = slot.session()?;
        signers.push(Signer::new(Arc::clone(&slot), session));
    }
    Ok((started, Then::Serve(signers)))
}

/// What the module finds: the system's own files, what its environment names, and devices.
fn keeps(start: &Start) -> Keeps {
    let system = ["/usr", "/lib", "/lib64", "/etc", "/opt", "/proc", "/sys", "/dev"].map(PathBuf::from);
    let named = std::env::vars_os().map(|(_, value)| PathBuf::from(value)).filter(|path| path.is_absolute());
    Keeps {
        read: system.into_iter().chain(named).chain([PathBuf::from(&start.module)]).collect(),
        write: start.writable.iter().map(PathBuf::from).collect(),
        devices: vec!["/dev".into()],
        ..Keeps::default()
    }
}

fn serve(channel: Channel, started: &Started, signers: Vec<Signer>) -> ! {
    if channel.tell(started).is_err() {
        exit_now(EXIT_DONE);
    }
    let line = channel.line();
    let Ok(jobs) = channel.into_jobs() else { exit_now(EXIT_REINITIALISE) };
    let jobs = Arc::new(jobs);
    for signer in signers {
        let (jobs, line) = (Arc::clone(&jobs), Arc::clone(&line));
        let thread = std::thread::Builder::new().name("hsm-session".to_owned());
        if thread.spawn(move || work(signer, &jobs, &line)).is_err() {
            exit_now(EXIT_REINITIALISE);
        }
    }
    // The parent's end closes when it stops or dies; whatever the module is doing then, nobody waits for it.
    jobs.outlive_parent();
    exit_now(EXIT_DONE)
}

fn work(mut signer: Signer, jobs: &Jobs, line: &channel::Line) {
    loop {
        let lost = match jobs.take() {
            Ok(Some((number, request))) => {
                let reply = signer.answer(request);
                let lost = session::is_lost(&reply);
                if line.answer(number, &reply).is_err() {
                    exit_now(EXIT_DONE);
                }
                lost
            }
            // Nothing to do: see that this very session is alive, before a customer finds that it is not.
            Ok(None) => signer.check().is_err(),
            Err(_) => exit_now(EXIT_DONE),
        };
        if lost {
            exit_now(EXIT_REINITIALISE);
        }
    }
}
