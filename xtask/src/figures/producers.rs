//! Who shows what. A producer is a built program of this workspace: one that prints rows, or a test that prints figures
//! between its results. It ends with 0 when it could do its work, whether or not the promise held.

use super::read::{self, Said};
use super::row::{Bench, Promise};

/// A built program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A binary of the workspace.
    Binary(&'static str),
    /// An example of a crate.
    Example(&'static str),
    /// A test of a crate.
    Test {
        /// The crate.
        package: &'static str,
        /// The test's file, or the library for the tests inside it.
        target: &'static str,
    },
    /// The fuzz targets: by a plain loop, at the full size by libFuzzer with instrumented crates.
    Fuzz,
    /// Changed code against its tests. Hours: only where it is asked for by name.
    Mutants,
}

/// How a producer is told how many runs to make.
#[derive(Clone, Copy, Debug)]
pub enum Runs {
    /// It is not.
    Fixed,
    /// By `--runs N`.
    Flag,
    /// By a variable of its environment; at the full size, this many.
    Variable(&'static str, u64),
}

/// One producer of rows of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Producer<R: 'static> {
    /// Its name for `--only`.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// What is run.
    pub program: Program,
    /// Its arguments at the size that fits a normal test run.
    pub quick: &'static [&'static str],
    /// Its arguments at the full size.
    pub full: &'static [&'static str],
    /// How many runs it makes.
    pub runs: Runs,
    /// Reads its rows out of what it said.
    pub read: fn(&Said) -> Result<Vec<R>, String>,
}

/// The promises of this appliance, by their line in the list of promises.
pub const ASSURANCE: &[Producer<Promise>] = &[
    Producer {
        name: "kill",
        shows: "1: no signature is seen without a durable, verifying audit entry",
        program: Program::Binary("chancery-kill"),
        quick: &["--quick"],
        full: &[],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "kill",
        shows: "1: a ceremony that is killed goes on, and no key is lost",
        program: Program::Binary("chancery-kill"),
        quick: &["--of", "ceremony", "--quick"],
        full: &["--of", "ceremony"],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "log",
        shows: "3: the log cannot be cut, torn, flipped or rolled back unseen",
        program: Program::Test { package: "chancery-audit", target: "tamper" },
        quick: &["--nocapture"],
        full: &["--nocapture"],
        // Positions of each file: every byte of its last 64 KiB.
        runs: Runs::Variable("TAMPER_POSITIONS", 65_536),
        read: read::log,
    },
    Producer {
        name: "rollback",
        shows: "3: an older copy of the whole state does not start where witnesses are asked for",
        program: Program::Test { package: "chancery-server", target: "witness" },
        quick: &["--nocapture"],
        full: &["--nocapture"],
        runs: Runs::Fixed,
        read: read::log,
    },
    Producer {
        name: "secrets",
        shows: "8: PINs, passwords, secrets of codes, identities, seeds and their shares are in no memory, command line, core or file, and the search finds a canary",
        program: Program::Binary("chancery-load"),
        quick: &["secrets"],
        full: &["secrets"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "faults",
        shows: "2: I/O faults release nothing",
        program: Program::Binary("chancery-kill"),
        quick: &["--fault", "EIO,ENOSPC,SHORT", "--runs", "40"],
        full: &["--fault", "EIO,ENOSPC,SHORT"],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "sim",
        shows: "4: order and crash bugs replay from a seed",
        program: Program::Binary("chancery-sim"),
        quick: &["--quick"],
        full: &[],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "parties",
        shows: "4: parties of a key: no nonce twice, no key lost, no mixed epochs, whatever is lost, late or set back",
        program: Program::Binary("chancery-sim"),
        quick: &["--of", "parties", "--quick"],
        full: &["--of", "parties"],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "policy",
        shows: "7: policy decides as its model does",
        program: Program::Test { package: "chancery-enclave", target: "chancery_enclave" },
        quick: &["model::", "--nocapture"],
        full: &["model::", "--nocapture"],
        runs: Runs::Variable("CHANCERY_MODEL_RUNS", 100_000),
        read: read::model,
    },
    Producer {
        name: "stall",
        shows: "10: no silence holds the door open",
        program: Program::Test { package: "chancery-server", target: "door_stall" },
        quick: &["--nocapture"],
        full: &["--nocapture"],
        runs: Runs::Fixed,
        read: read::stalls,
    },
    Producer {
        name: "crowd",
        shows: "10: no crowd of stalled sockets keeps an honest client out",
        program: Program::Test { package: "chancery-server", target: "door_crowd" },
        quick: &["--nocapture"],
        full: &["--nocapture"],
        runs: Runs::Fixed,
        read: read::crowd,
    },
    Producer {
        name: "certificates",
        shows: "11: certificates rotate and revoke live",
        program: Program::Test { package: "chancery-server", target: "door_certificates" },
        quick: &["--nocapture"],
        full: &["--nocapture"],
        runs: Runs::Fixed,
        read: read::certificates,
    },
    Producer {
        name: "hsm",
        shows: "12, 13: an HSM may die, and a lying HSM is caught",
        program: Program::Test { package: "chancery-hsm", target: "softhsm2" },
        quick: &["faults", "tamper", "nss_softokn", "another_public_key"],
        full: &["faults", "tamper", "nss_softokn", "another_public_key"],
        runs: Runs::Variable("HSM_CYCLES", 100),
        read: read::hsm,
    },
    vectors("chancery-hardware-tests", "vectors", "5: Wycheproof, before release and through the token"),
    vectors(
        "chancery-hd",
        "derivation",
        "5: derived keys, phrases and shares: BIP-32, 39, 44, 49, 84, 86, SLIP-10, 39",
    ),
    vectors("chancery-audit", "wycheproof", "5: Wycheproof, where notes and receipts are verified"),
    vectors("chancery-audit", "published", "5: trees and logs: RFC 6962, RFC 9162, C2SP"),
    vectors("chancery-audit", "chancery_audit", "5: the tiles of C2SP"),
    vectors("chancery-intent", "chancery_intent", "5: the vectors of Bitcoin's proposals"),
    vectors("chancery-intent", "vectors", "5: the vectors of Ethereum's proposals"),
    vectors("chancery-identity", "chancery_identity", "5: the vectors of HTTP message signatures"),
    vectors("chancery-intent", "suites", "5: ethereum/tests, and the cases of ethers"),
    Producer {
        name: "fuzz",
        shows: "16: no bytes from outside break a parser",
        program: Program::Fuzz,
        quick: &["--quick"],
        full: &["--seconds", "60"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "mutants",
        shows: "15: tests would notice",
        program: Program::Mutants,
        quick: &[],
        full: &[],
        // Mutants of each place.
        runs: Runs::Flag,
        read: read::rows,
    },
];

/// Tests that go through published vectors.
const fn vectors(package: &'static str, target: &'static str, shows: &'static str) -> Producer<Promise> {
    let program = Program::Test { package, target };
    let arguments = &["--nocapture", "published", "agree"];
    let (quick, full, runs) = (arguments, arguments, Runs::Fixed);
    Producer { name: "vectors", shows, program, quick, full, runs, read: read::vectors }
}

/// The measurements.
pub const BENCH: &[Producer<Bench>] = &[
    Producer {
        name: "api",
        shows: "signatures through the API against the token alone, latency, own CPU, memory",
        program: Program::Binary("chancery-load"),
        quick: &["api", "--quick"],
        full: &["api"],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "crowds",
        shows: "signatures and latency at 1 to 1,024 clients, signatures at 1 to 10,000 wallets",
        program: Program::Binary("chancery-load"),
        quick: &["crowds", "--quick"],
        full: &["crowds"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "growth",
        shows: "every figure again as the recorded decisions grow to a million (--runs 10000000: to ten)",
        program: Program::Binary("chancery-load"),
        quick: &["growth", "--quick"],
        full: &["growth"],
        runs: Runs::Flag,
        read: read::rows,
    },
    Producer {
        name: "login",
        shows: "officers' logins, beside OPAQUE, an assertion and the disk alone",
        program: Program::Binary("chancery-load"),
        quick: &["logins", "--quick"],
        full: &["logins"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "approvals",
        shows: "from an officer's last word to the release",
        program: Program::Binary("chancery-load"),
        quick: &["approvals", "--quick"],
        full: &["approvals"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "decode",
        shows: "understanding each kind of payload, beside a library's parse and hash",
        program: Program::Example("decode"),
        quick: &["--quick"],
        full: &[],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "policy",
        shows: "a decision at 10, 1,000 and 10,000 rules",
        program: Program::Example("decisions"),
        quick: &["--quick"],
        full: &[],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "hd",
        shows: "the key of one address from its seed, beside a library alone",
        program: Program::Example("derive"),
        quick: &["--quick"],
        full: &[],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "log",
        shows: "an inclusion proof, and the verification of a whole log against raw SHA-256",
        program: Program::Example("whole_log"),
        // Entries.
        quick: &["50000"],
        full: &["1000000"],
        runs: Runs::Fixed,
        read: read::rows,
    },
    Producer {
        name: "store",
        shows: "recorded decisions against raw group commit",
        program: Program::Example("group_commit"),
        // Seconds a turn, turns.
        quick: &["0.5", "3"],
        full: &["0.5", "15"],
        runs: Runs::Fixed,
        read: read::rows,
    },
];
