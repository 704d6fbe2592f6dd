//! Dependency walls, read from `cargo metadata`. Two tables: which room may depend on which, and which crates from
//! outside only some rooms may name. `deny.toml` holds the second table again, over the whole graph.

use std::collections::BTreeMap;

use cargo_metadata::Metadata;

use super::Finding;

/// A room and the rooms it may depend on. The order of the table is the order of the house, from the ground up:
/// a room depends on rooms above its own line only, so the table itself cannot hold a cycle.
const ROOMS: &[(&str, &[&str])] = &[
    ("chancery-core", &[]),
    ("chancery-secret", &["chancery-core"]),
    ("chancery-sandbox", &[]),
    // Opens seeds and nothing else: the worker that holds one runs it, and the machine of a cold wallet.
    ("chancery-hd", &["chancery-secret"]),
    ("chancery-store", &["chancery-core", "chancery-secret"]),
    ("chancery-identity", &["chancery-core", "chancery-secret", "chancery-store"]),
    ("chancery-intent", &["chancery-core"]),
    // Bytes from cameras and nets of others: it knows no request, store or token.
    ("chancery-biometrics", &["chancery-secret"]),
    ("chancery-policy", &["chancery-core", "chancery-store", "chancery-identity", "chancery-intent"]),
    ("chancery-prove", &["chancery-core", "chancery-policy"]),
    (
        "chancery-audit",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-store",
            "chancery-identity",
            "chancery-intent",
            "chancery-policy",
        ],
    ),
    // A witness is another organisation's program: of this house it shares the formats and nothing that signs or decides.
    ("chancery-witness", &["chancery-core", "chancery-audit"]),
    ("chancery-hsm", &["chancery-core", "chancery-secret", "chancery-sandbox", "chancery-hd"]),
    // Protocols without I/O: they know no request, store or token.
    ("chancery-mpc", &[]),
    // A token before and beside the daemon, with people in the room: nothing that serves links it.
    (
        "chancery-ceremony",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-hd",
            "chancery-intent",
            "chancery-audit",
            "chancery-hsm",
        ],
    ),
    (
        "chancery-enclave",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-sandbox",
            "chancery-store",
            "chancery-identity",
            "chancery-intent",
            "chancery-policy",
            "chancery-prove",
            "chancery-audit",
            "chancery-hsm",
            "chancery-mpc",
        ],
    ),
    (
        "chancery-server",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-sandbox",
            "chancery-store",
            "chancery-identity",
            "chancery-intent",
            "chancery-policy",
            "chancery-audit",
            "chancery-enclave",
        ],
    ),
    // It signs requests as `identity` verifies them: one place says what is signed.
    (
        "chancery-cli",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-identity",
            "chancery-intent",
            "chancery-policy",
            "chancery-prove",
            "chancery-audit",
            "chancery-ceremony",
        ],
    ),
    ("chancery-hardware-tests", &["chancery-core", "chancery-secret", "chancery-hsm"]),
    // Puts bytes to every room that parses some; ships nothing.
    (
        "chancery-fuzz",
        &[
            "chancery-core",
            "chancery-intent",
            "chancery-identity",
            "chancery-policy",
            "chancery-audit",
            "chancery-hsm",
            "chancery-ceremony",
        ],
    ),
    // The tasks drive binaries and link no room.
    ("xtask", &[]),
    // But for shares in words, which it joins to know what it looks for.
    ("chancery-load", &["xtask", "chancery-hd", "chancery-secret"]),
    // The simulation puts the rooms on a machine of its own; nothing that ships depends on it.
    (
        "chancery-sim",
        &[
            "chancery-core",
            "chancery-secret",
            "chancery-store",
            "chancery-identity",
            "chancery-policy",
            "chancery-audit",
            "chancery-hsm",
            "chancery-enclave",
            "chancery-mpc",
            "xtask",
        ],
    ),
];

/// A crate from outside, who may name it, and why nobody else.
const WALLS: &[(&str, &[&str], &str)] = &[
    ("cryptoki", &["chancery-hsm"], "a vendor's module may crash: it lives in the worker process alone"),
    ("cryptoki-sys", &[], "PKCS#11 is reached through `cryptoki` alone"),
    (
        "libc",
        &["chancery-secret", "chancery-sim"],
        "raw system calls need `unsafe`, which only `secret` writes, and the machine that a simulation stands on",
    ),
    ("axum", &["chancery-server"], "only the door speaks HTTP to the outside"),
    (
        "hyper",
        &["chancery-server", "chancery-witness", "chancery-load"],
        "only the door and a witness listen; the load generator is a client",
    ),
    (
        "hyper-util",
        &["chancery-server", "chancery-witness", "chancery-load"],
        "only the door and a witness listen; the load generator is a client",
    ),
    (
        "tokio-rustls",
        &["chancery-server", "chancery-load"],
        "only the door listens; the load generator is a client",
    ),
    (
        "rustls",
        &["chancery-server", "chancery-cli", "chancery-load"],
        "TLS ends at the door; the others are its clients",
    ),
    (
        "reqwest",
        &["chancery-cli", "chancery-enclave", "chancery-server"],
        "the command line is a client, the enclave asks witnesses and time-stamping authorities, the link asks other parties",
    ),
    ("rusqlite", &["chancery-store"], "one writer owns the database"),
    (
        "opaque-ke",
        &["chancery-identity", "chancery-load"],
        "passwords are proved in one profile; the load generator is a client from outside",
    ),
    ("dkls23", &["chancery-mpc"], "threshold protocols are run in one place, in sessions"),
    ("blsful", &["chancery-mpc"], "threshold protocols are run in one place, in sessions"),
    ("frost-core", &["chancery-mpc"], "threshold protocols are run in one place, in sessions"),
    ("cms", &["chancery-audit"], "timestamps of others are read in one place"),
    ("der", &["chancery-audit"], "timestamps of others are read in one place"),
    (
        "cedar-policy",
        &["chancery-policy", "chancery-prove"],
        "policies are evaluated in one place, stricter than Cedar alone; the prover passes its types on",
    ),
    ("landlock", &["chancery-sandbox"], "what a process keeps is said in one place"),
    ("seccompiler", &["chancery-sandbox"], "what a process keeps is said in one place"),
    ("cedar-policy-symcc", &["chancery-prove"], "solvers are run and believed in one place"),
    (
        "ur",
        &["chancery-cli", "chancery-server"],
        "what crosses to a machine apart is written and read in one place; tests of the door play a device",
    ),
    ("minicbor", &["chancery-cli"], "what crosses to a machine apart is written and read in one place"),
    ("qrcode", &["chancery-cli"], "what crosses to a machine apart is shown in one place"),
    (
        "age",
        &["chancery-ceremony", "chancery-load"],
        "shares are sealed and opened in one place; the search for secrets opens them to know what it looks for",
    ),
    ("vsss-rs", &["chancery-ceremony"], "secrets are dealt and joined in one place"),
    ("p256", &["chancery-ceremony"], "the curve of the shares; all else is aws-lc"),
    ("coset", &["chancery-ceremony"], "transcripts are written and read in one place"),
    // Server and enclave name it for their tests alone, which make transactions.
    (
        "alloy-consensus",
        &["chancery-enclave", "chancery-intent", "chancery-load", "chancery-server", "chancery-fuzz"],
        "outside bytes are decoded in `intent`; fuzzing compares",
    ),
    (
        "alloy-dyn-abi",
        &["chancery-intent", "chancery-load", "chancery-fuzz"],
        "outside bytes are decoded in `intent`; fuzzing compares",
    ),
    (
        "bitcoin",
        &["chancery-hd", "chancery-intent", "chancery-load", "chancery-server", "chancery-fuzz"],
        "outside bytes are decoded in `intent`; the others make them, to try it, or compare keys",
    ),
    ("rten", &["chancery-biometrics"], "nets run where they can reach nothing"),
    ("zune-jpeg", &["chancery-biometrics"], "images are decoded where there is nothing to take"),
    ("png", &["chancery-biometrics"], "images are decoded where there is nothing to take"),
    ("image-webp", &["chancery-biometrics"], "images are decoded where there is nothing to take"),
    ("solana-address", &["chancery-intent"], "outside bytes are decoded in `intent`"),
    ("solana-message", &["chancery-intent"], "outside bytes are decoded in `intent`"),
    ("wincode", &["chancery-intent"], "outside bytes are decoded in `intent`"),
    ("miniscript", &["chancery-intent"], "what a descriptor derives is asked in one place"),
    (
        "bitcoinconsensus",
        &["chancery-intent", "chancery-load", "chancery-server"],
        "the network's own code is the judge in tests; nothing that ships calls it",
    ),
];

/// One workspace crate and what it names.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What it depends on, for its tests and its build too: a test that reaches around the public door tests another
    /// house.
    pub dependencies: Vec<String>,
}

/// The workspace crates of `metadata`.
#[must_use]
pub fn packages(metadata: &Metadata) -> Vec<Package> {
    let one = |package: &&cargo_metadata::Package| Package {
        name: package.name.to_string(),
        dependencies: package.dependencies.iter().map(|dependency| dependency.name.clone()).collect(),
    };
    metadata.workspace_packages().iter().map(one).collect()
}

/// Every dependency that a wall forbids, and every crate without a line in the table.
#[must_use]
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(allowed) = rooms.get(package.name.as_str()) else {
            findings.push(Finding::new(
                "walls",
                &package.name,
                "this crate has no line in the table of rooms (xtask/src/tidy/walls.rs)",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if rooms.contains_key(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                findings.push(Finding::new(
                    "walls",
                    &package.name,
                    format!(
                        "may not depend on `{dependency}`: rooms depend on earlier rooms of the walk only"
                    ),
                ));
            }
            if let Some((_, wrappers, why)) = WALLS.iter().find(|(name, ..)| name == dependency)
                && !wrappers.contains(&package.name.as_str())
            {
                findings.push(Finding::new(
                    "walls",
                    &package.name,
                    format!("may not name `{dependency}`: {why}"),
                ));
            }
        }
    }
    findings
}

/// The table's own order: a room that may depend on a later one would allow a cycle.
#[must_use]
pub fn check_table(table: &[(&str, &[&str])]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, (room, allowed)) in table.iter().enumerate() {
        for dependency in *allowed {
            if !table.iter().take(line).any(|(earlier, _)| earlier == dependency) {
                findings.push(Finding::new(
                    "walls",
                    room,
                    format!("is allowed `{dependency}`, which comes later"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn finds(name: &str, dependencies: &[&str]) -> usize {
        check(&[package(name, dependencies)]).len()
    }

    #[test]
    fn rooms_depend_downwards_only() {
        assert_eq!(finds("chancery-policy", &["chancery-intent", "chancery-core"]), 0);
        assert_eq!(finds("chancery-intent", &["chancery-policy"]), 1, "a room may not read a later room");
        assert_eq!(finds("chancery-core", &["chancery-store"]), 1);
        assert_eq!(finds("chancery-server", &["chancery-hsm"]), 1, "only the enclave reaches the signer");
        assert_eq!(finds("chancery-enclave", &["chancery-hsm"]), 0);
        assert_eq!(finds("xtask", &["chancery-core"]), 1);
    }

    #[test]
    fn outside_crates_stay_behind_their_wall() {
        for (name, dependency) in [
            ("chancery-enclave", "cryptoki"),
            ("chancery-core", "libc"),
            ("chancery-enclave", "axum"),
            ("chancery-cli", "tokio-rustls"),
            ("chancery-audit", "rusqlite"),
            ("chancery-enclave", "cedar-policy"),
        ] {
            assert_eq!(finds(name, &[dependency]), 1, "{name} -> {dependency}");
        }
        for (name, dependency) in
            [("chancery-hsm", "cryptoki"), ("chancery-secret", "libc"), ("chancery-cli", "rustls")]
        {
            assert_eq!(finds(name, &[dependency]), 0, "{name} -> {dependency}");
        }
    }

    #[test]
    fn a_new_crate_needs_a_line() {
        assert_eq!(finds("chancery-attic", &[]), 1);
    }

    #[test]
    fn the_table_has_an_order() {
        assert_eq!(check_table(ROOMS), []);
        let wrong: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &[])];
        assert_eq!(check_table(wrong).len(), 1);
    }
}
