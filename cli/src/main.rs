//! The binary `chancery`. Everything is in the library.

use std::process::ExitCode;

use chancery_secret::WipingHeap;

#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

fn main() -> ExitCode {
    chancery_cli::run(std::env::args_os()).into()
}
