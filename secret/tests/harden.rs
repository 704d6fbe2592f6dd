//! `harden_process` in a process of its own: it would blind the other tests' controls.

use rustix::process::{DumpableBehavior, Resource};

/// Would catch a process whose core dump or `/proc/<pid>/mem` is open to others.
#[test]
fn a_hardened_process_leaves_no_core() {
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::Dumpable, "control");
    chancery_secret::harden_process().unwrap();
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let core = rustix::process::getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
}
