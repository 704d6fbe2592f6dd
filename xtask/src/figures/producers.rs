//! Who shows what. A producer takes `--quick` and `--runs N`, prints rows on stdout (one JSON object a line) and talk
//! on stderr, and ends with 0 when it could do its work, whether or not the promise held.

/// A built program.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// A binary of the workspace.
    Binary(&'static str),
    /// An example of a crate.
    Example(&'static str),
}

/// One producer.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    /// Its name for `--only`.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// What is run.
    pub program: Program,
    /// With these arguments before the size.
    pub args: &'static [&'static str],
}

/// The promises of this appliance, by their line in the list of promises.
pub const ASSURANCE: &[Producer] = &[
    Producer {
        name: "kill",
        shows: "1: no signature is seen without a durable, verifying audit entry",
        program: Program::Binary("chancery-kill"),
        args: &[],
    },
    Producer {
        name: "door",
        shows: "10: the door cannot be held open",
        program: Program::Example("door"),
        args: &[],
    },
    Producer {
        name: "hsm",
        shows: "12 and 13: an HSM may die, and a lying HSM is caught",
        program: Program::Binary("chancery-hardware-tests"),
        args: &["assurance"],
    },
];

/// The measurements.
pub const BENCH: &[Producer] = &[
    Producer {
        name: "api",
        shows: "signatures through the API against the token alone, latency, own CPU, memory",
        program: Program::Binary("chancery-load"),
        args: &["api"],
    },
    Producer {
        name: "policy",
        shows: "a decision at 10, 1,000 and 10,000 rules",
        program: Program::Example("policy-bench"),
        args: &[],
    },
    Producer {
        name: "store",
        shows: "recorded decisions against raw group commit",
        program: Program::Example("store-bench"),
        args: &[],
    },
];
