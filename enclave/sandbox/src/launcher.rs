//! Who starts programs for a process that cannot: a small process from before the walls, with a list of programs that is told once and
//! not changed. It starts nothing else, whatever it is asked, and what it started ends with whoever asked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// LIMIT: the list of programs, in bytes.
const LIST_BYTES: usize = 64 * 1024;
/// LIMIT: time for a program to be started.
const START: Duration = Duration::from_secs(10);
/// How many descriptors a request carries: the program's standard streams, and the leash.
const DESCRIPTORS: usize = 4;

/// A program that may be started, with nothing but this environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// What it is called with.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub environment: BTreeMap<OsString, OsString>,
}

/// The asking end.
#[derive(Debug)]
pub struct Launcher {
    requests: OwnedFd,
}

/// A program that was started. It is killed when this is dropped, whoever drops it, and however.
#[derive(Debug)]
pub struct Launched {
    /// Its process id.
    pub pid: u32,
    /// Ends when the program has: then how it ended was said here. Shut it for writing to kill the program.
    pub leash: UnixStream,
}

impl Launcher {
    /// Starts the launcher: `me` with the argument `launcher`, which must call [`launcher_main`].
    ///
    /// # Errors
    /// The system's.
    pub fn start(me: &Path, programs: &[Program]) -> io::Result<Self> {
        let (requests, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let list = written(programs)?;
        if list.len() > LIST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many programs"));
        }
        // It lives as long as the other end is open, and nobody waits for it.
        Command::new(me)
            .arg("launcher")
            .env_clear()
            // A terminal's interrupt is for whoever asked, which ends in order.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        rustix::net::send(&requests, &list, SendFlags::NOSIGNAL)?;
        Ok(Self { requests })
    }

    /// Starts the program at a place of the list.
    ///
    /// # Errors
    /// The system's, and the launcher's where it could not start it.
    pub fn launch(&self, program: u8, streams: [BorrowedFd<'_>; 3]) -> io::Result<Launched> {
        let (leash, theirs) = UnixStream::pair()?;
        let [input, output, errors] = streams;
        let passed = [input, output, errors, theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&passed));
        sendmsg(&self.requests, &[IoSlice::new(&[program])], &mut control, SendFlags::NOSIGNAL)?;
        drop(theirs);
        leash.set_read_timeout(Some(START))?;
        let mut pid = [0; 4];
        (&leash).read_exact(&mut pid).map_err(|_| io::Error::other("the launcher did not start it"))?;
        leash.set_read_timeout(None)?;
        Ok(Launched { pid: u32::from_le_bytes(pid), leash })
    }
}

/// The launcher's process. Its standard input is the other end.
#[must_use]
pub fn launcher_main() -> ExitCode {
    if rustix::thread::set_no_new_privs(true).is_err() {
        return ExitCode::FAILURE;
    }
    let requests = io::stdin();
    let requests = requests.as_fd();
    let mut told = vec![0; LIST_BYTES];
    let programs = match rustix::net::recv(requests, &mut told[..], RecvFlags::empty()) {
        Ok((length, _)) => read(told.get(..length).unwrap_or_default()),
        _ => None,
    };
    let Some(programs) = programs else {
        let _ = io::stderr()
            .write_all(b"the launcher is started by its parent, with a socket for standard input\n");
        return ExitCode::FAILURE;
    };
    let mut held: Vec<JoinHandle<()>> = Vec::new();
    while let Ok(Some((program, passed))) = heard(requests) {
        held.retain(|one| !one.is_finished());
        if let (Some(program), Ok(passed)) = (programs.get(usize::from(program)), passed.try_into()) {
            // What fails shows at its leash, which closes.
            held.extend(start(program, passed).ok());
        }
    }
    // Whoever asked has ended, and so has every leash: what was started is killed.
    for one in held {
        let _ = one.join();
    }
    ExitCode::SUCCESS
}

/// One request, and the descriptors that came with it.
fn heard(requests: BorrowedFd<'_>) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut program = [0; 1];
    let got = recvmsg(requests, &mut [IoSliceMut::new(&mut program)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut passed = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed.extend(descriptors);
        }
    }
    let [program] = program;
    Ok(Some((program, passed)))
}

fn start(program: &Program, passed: [OwnedFd; DESCRIPTORS]) -> io::Result<JoinHandle<()>> {
    let [input, output, errors, leash] = passed;
    let mut leash = UnixStream::from(leash);
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(&program.environment)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .spawn()?;
    Ok(std::thread::spawn(move || {
        let told = leash.write_all(&child.id().to_le_bytes());
        let held = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let held = held.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let (Ok(()), Some(held)) = (told, &held) {
            let mut ends = [PollFd::new(held, PollFlags::IN), PollFd::new(&leash, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut ends, None) {}
        }
        // Nobody else reaps it, so the process is still that one: it has ended, or the leash has.
        let _ = child.kill();
        if let Ok(status) = child.wait() {
            let _ = leash.write_all(status.to_string().as_bytes());
        }
    }))
}

type Written = (Vec<u8>, Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

fn written(programs: &[Program]) -> io::Result<Vec<u8>> {
    let bytes = |text: &OsString| text.as_bytes().to_vec();
    let all = programs.iter().map(|program| -> Written {
        let environment = program.environment.iter().map(|(name, value)| (bytes(name), bytes(value)));
        let path = program.path.as_os_str().as_bytes().to_vec();
        (path, program.arguments.iter().map(bytes).collect(), environment.collect())
    });
    Ok(serde_json::to_vec(&all.collect::<Vec<_>>())?)
}

fn read(list: &[u8]) -> Option<Vec<Program>> {
    let text = OsString::from_vec;
    let all: Vec<Written> = serde_json::from_slice(list).ok()?;
    let program = |(path, arguments, environment): Written| Program {
        path: text(path).into(),
        arguments: arguments.into_iter().map(text).collect(),
        environment: environment.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
    };
    Some(all.into_iter().map(program).collect())
}
