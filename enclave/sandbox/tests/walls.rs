//! The walls against this kernel: each thing that must go on does, each thing that must not is tried and refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "test code")]

use std::io::Read as _;
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use chancery_sandbox::{Launcher, Program};

fn walled() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    deps.parent().unwrap().parent().unwrap().join("examples/walled")
}

/// SIGSYS: a call that ends the process.
const SIGSYS: i32 = 31;

/// Would catch a wall with a hole, and one that keeps the appliance from its work.
#[test]
fn what_is_kept_goes_on_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["read", "write", "other"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("file"), name).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let beside = TcpListener::bind(("127.0.0.1", port.wrapping_add(1)));
    let attempt = |what: &str| {
        Command::new(walled())
            .args([what, folder.path().to_str().unwrap(), &port.to_string()])
            .output()
            .unwrap()
    };
    let first = attempt("threads");
    let standing = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.status.success(), "{first:?}");
    for kept in ["read-kept", "write-kept", "connect-kept"] {
        let output = attempt(kept);
        assert!(output.status.success(), "{kept}: {output:?}");
    }
    if standing.trim() == "Whole" {
        let mut refused = vec!["write-where-read", "read-other", "read-by-link", "listen"];
        refused.extend(beside.is_ok().then_some("connect-other"));
        for refused in refused {
            let output = attempt(refused);
            assert_eq!(output.status.code(), Some(1), "{refused}: {output:?}");
        }
    } else {
        eprintln!("skipped: this kernel's Landlock is not whole ({})", standing.trim());
    }
    let deadly = attempt("chroot");
    assert_eq!(deadly.status.signal(), Some(SIGSYS), "{deadly:?}");
    for program in ["program", "program-by-module"] {
        assert!(!attempt(program).status.success(), "{program}");
    }
}

/// Would catch a launcher that starts what is not on its list, leaves a program behind, or says nothing of how it ended.
#[test]
fn the_launcher_starts_what_is_on_its_list() {
    let shell = |script: &str| Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: [("ONLY".into(), "this".into())].into(),
    };
    let launcher = Launcher::start(&walled(), &[shell("env; exit 3"), shell("sleep 600")]).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let start = |program: u8| {
        let (mut talk, talker) = std::io::pipe().unwrap();
        let launched = launcher.launch(program, [null.as_fd(), talker.as_fd(), talker.as_fd()]);
        drop(talker);
        let mut said = String::new();
        (launched, move || {
            talk.read_to_string(&mut said).unwrap();
            said
        })
    };
    let ending = |mut leash: std::os::unix::net::UnixStream| {
        let mut text = String::new();
        leash.read_to_string(&mut text).unwrap();
        text
    };
    let (launched, said) = start(0);
    let said = said();
    assert!(said.contains("ONLY=this") && !said.contains("PATH=/root"), "{said}");
    assert_eq!(ending(launched.unwrap().leash), "exit status: 3");

    let (launched, _) = start(1);
    let launched = launched.unwrap();
    launched.leash.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ending(launched.leash), "signal: 9 (SIGKILL)");

    // Dropped, as by an end of this process: it is killed as well.
    let (launched, _) = start(1);
    let pid = launched.unwrap().pid;
    let gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !PathBuf::from(format!("/proc/{pid}")).exists()
    });
    assert!(gone, "process {pid} was left behind");

    let (launched, _) = start(2);
    assert!(launched.is_err(), "there is no third");
}
