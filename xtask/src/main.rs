//! `cargo xtask`: the one entry point for every task of this repository. It links no room and drives the built
//! binaries, so that it builds in seconds. Data goes to stdout, talk to stderr.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::run()
}
