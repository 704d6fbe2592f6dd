//! `chancery init`, `client` and `serve-config`: what is made, with which modes, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chancery_core::config::{Config, SecretSource};
use serde_json::Value;
use support::{chancery, init, mode, text};
use x509_parser::prelude::*;

struct State {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl State {
    fn made(more: &[&str]) -> Self {
        let state = Self::empty();
        init(&state.path, more).ends(0);
        state
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        Self { path, _folder: folder }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    fn config(&self) -> Config {
        Config::parse(&std::fs::read_to_string(self.at("chancery.toml")).unwrap(), &self.path).unwrap()
    }

    fn check(&self) -> support::Ran {
        chancery(&["serve-config", "check", text(&self.at("chancery.toml")), "--json"])
    }
}

fn errors(ran: &support::Ran) -> Vec<String> {
    let document = ran.json();
    let findings = document["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .iter()
        .filter(|finding| finding["level"] == "error")
        .map(|finding| format!("{}: {}", text(&finding["key"]), text(&finding["message"])))
        .collect()
}

fn certificate<T>(path: &Path, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let pem = std::fs::read(path).unwrap();
    let (_, pem) = parse_x509_pem(&pem).unwrap();
    look(&pem.parse_x509().unwrap())
}

#[test]
fn everything_secret_is_for_its_owner_only() {
    let state = State::made(&[]);
    for folder in ["", "pki", "clients", "clients/operator", "clients/auditor"] {
        assert_eq!(mode(&state.at(folder)), 0o700, "folder `{folder}`");
    }
    for key in ["pki/ca-key.pem", "pki/server-key.pem", "clients/operator/key.pem", "clients/auditor/key.pem"]
    {
        assert_eq!(mode(&state.at(key)), 0o600, "{key}");
        assert!(std::fs::read_to_string(state.at(key)).unwrap().contains("PRIVATE KEY"), "{key}");
    }
    for public in ["chancery.toml", "pki/ca.pem", "pki/server.pem", "clients/operator/client.toml"] {
        let content = std::fs::read_to_string(state.at(public)).unwrap();
        assert!(!content.contains("PRIVATE"), "a key lies open in {public}");
    }
}

#[test]
fn the_configuration_is_read_as_it_was_asked_for() {
    let state = State::made(&[
        "--host",
        "signer.example.com",
        "--listen",
        "127.0.0.1:1843",
        "--origin",
        "example.com/log",
    ]);
    let config = state.config();
    assert_eq!(config.listen.api.port(), 1843);
    assert_eq!(config.log.origin, "example.com/log");
    assert_eq!(config.hsm.token, "signing");
    assert!(!config.mode.is_production());
    assert!(matches!(config.hsm.pin, SecretSource::File(_)));

    let text = std::fs::read_to_string(state.at("chancery.toml")).unwrap();
    for (before, line) in text.lines().zip(text.lines().skip(1)).filter(|(_, line)| line.contains(" = ")) {
        assert!(line.starts_with('#') || before.starts_with('#'), "the key in `{line}` is not explained");
    }
    let client = std::fs::read_to_string(state.at("clients/operator/client.toml")).unwrap();
    assert!(client.contains("https://signer.example.com:1843"), "{client}");
}

#[test]
fn production_takes_its_pin_from_a_credential() {
    let state = State::empty();
    init(&state.path, &["--production"]).ends(2);
    assert!(!state.at("chancery.toml").exists(), "production without anybody who signs policy");
    let key = chancery(&["policy", "keygen", "ann", "--out", text(&state.path.with_file_name("ann.key"))]);
    let key = key.ends(0).stdout;
    init(&state.path, &["--production", "--policy-key", "ann"]).ends(2);
    init(&state.path, &["--production", "--policy-key", key.trim()]).ends(0);
    let config = state.config();
    assert!(config.mode.is_production());
    assert_eq!((config.policy.keys, config.policy.signatures), (vec![key.trim().to_owned()], 1));
    // An appliance that is installed by the page on operation finds its PIN.
    let unit = include_str!("../../packaging/chanceryd.service");
    let given = |name: &str| unit.contains(&format!("LoadCredentialEncrypted={name}\n"));
    assert!(matches!(&config.hsm.pin, SecretSource::Credential(name) if given(name)));
}

#[test]
fn names_cannot_break_out_of_the_configuration() {
    let state = State::empty();
    let hostile = "x\"\nmode = \"production\"\n#";
    init(&state.path, &["--origin", hostile]).ends(2);
    assert!(!state.at("chancery.toml").exists());
    let state = State::empty();
    std::fs::write(state.path.with_file_name("vendor.so"), "").unwrap();
    let module = state.path.with_file_name("vendor.so");
    let token = "a\"\ncall_ms = 1\nb = \"";
    chancery(&["init", "--dir", text(&state.path), "--module", text(&module), "--token", token]).ends(0);
    let config = state.config();
    assert_eq!(config.hsm.token, token, "a label was read as keys of the file");
    assert_eq!(config.hsm.call_ms, chancery_core::limit::HSM_CALL_MS);
}

#[test]
fn nothing_that_exists_is_written_over() {
    let state = State::made(&[]);
    let before = std::fs::read(state.at("pki/ca.pem")).unwrap();
    let ran = init(&state.path, &[]).ends(7);
    assert!(ran.stderr.contains("exists already"), "{}", ran.stderr);
    // Also where a broken-off run left no configuration.
    std::fs::remove_file(state.at("chancery.toml")).unwrap();
    init(&state.path, &[]).ends(7);
    assert_eq!(std::fs::read(state.at("pki/ca.pem")).unwrap(), before, "the authority was replaced");
    assert!(!state.at("chancery.toml").exists());
}

#[test]
fn a_missing_daemon_is_found_before_anything_is_made() {
    let state = State::empty();
    let module = state.path.with_file_name("libsofthsm2.so");
    std::fs::write(&module, "").unwrap();
    let ran = chancery(&[
        "init",
        "--dir",
        text(&state.path),
        "--softhsm",
        "--module",
        text(&module),
        "--chanceryd",
        "/nonexistent/chanceryd",
    ])
    .ends(2);
    assert!(ran.stderr.contains("chanceryd"), "{}", ran.stderr);
    assert!(!state.path.exists(), "a folder was made all the same");
}

/// A daemon of four lines stands for the real one, to see how it is called.
#[test]
fn the_token_is_made_by_the_daemon_and_no_pin_is_in_its_arguments_or_environment() {
    let state = State::empty();
    let beside = |name: &str| state.path.with_file_name(name);
    std::fs::write(beside("libsofthsm2.so"), "").unwrap();
    let daemon = beside("chanceryd");
    let seen = beside("seen");
    std::fs::write(&daemon, format!("#!/bin/sh\necho \"$@\" > '{0}'\nenv >> '{0}'\n", text(&seen))).unwrap();
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
    let module = beside("libsofthsm2.so");
    let ran = chancery(&[
        "init",
        "--dir",
        text(&state.path),
        "--softhsm",
        "--module",
        text(&module),
        "--chanceryd",
        text(&daemon),
    ])
    .ends(0);
    assert!(ran.stderr.contains("DEVELOPMENT ONLY"), "SoftHSM must be loud: {}", ran.stderr);

    let seen = std::fs::read_to_string(&seen).unwrap();
    assert!(seen.starts_with("hsm-init --config "), "{seen}");
    for name in ["pin", "so-pin"] {
        let pin = std::fs::read_to_string(state.at("hsm").join(name)).unwrap();
        assert_eq!(pin.len(), 32, "`{name}` is not 128 bits in hexadecimal");
        assert_eq!(mode(&state.at("hsm").join(name)), 0o600, "{name}");
        assert!(!seen.contains(&pin), "`{name}` was in the arguments or the environment");
        assert!(!ran.stderr.contains(&pin) && !ran.stdout.contains(&pin), "`{name}` was printed");
    }
    let conf = state.config().hsm.environment.get("SOFTHSM2_CONF").unwrap().clone();
    assert!(std::fs::read_to_string(conf).unwrap().contains("objectstore.backend = file"));
    assert_eq!(mode(&state.at("hsm/tokens")), 0o700);

    // A daemon that fails: everything else stands, and the step to repeat is told.
    let state = State::empty();
    std::fs::write(state.path.with_file_name("libsofthsm2.so"), "").unwrap();
    let daemon = state.path.with_file_name("chanceryd");
    std::fs::write(&daemon, "#!/bin/sh\necho the token is full >&2\nexit 9\n").unwrap();
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
    let module = state.path.with_file_name("libsofthsm2.so");
    let ran = chancery(&[
        "init",
        "--dir",
        text(&state.path),
        "--softhsm",
        "--module",
        text(&module),
        "--chanceryd",
        text(&daemon),
    ])
    .ends(7);
    assert!(
        ran.stderr.contains("the token is full") && ran.stderr.contains("hsm-init --config"),
        "{}",
        ran.stderr
    );
    state.config();
}

#[test]
fn the_server_certificate_names_its_hosts_and_is_signed_by_an_authority_that_signs_nothing_deeper() {
    let state =
        State::made(&["--host", "signer.example.com", "--host", "192.0.2.7", "--host", "2001:db8::7"]);
    let authority = std::fs::read(state.at("pki/ca.pem")).unwrap();
    let (_, authority) = parse_x509_pem(&authority).unwrap();
    let authority = authority.parse_x509().unwrap();
    let constraints = authority.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let years = (authority.validity().not_after.timestamp() - authority.validity().not_before.timestamp())
        / 31_556_952;
    assert!((9..=10).contains(&years), "the authority lasts {years} years");

    certificate(&state.at("pki/server.pem"), |server| {
        assert_eq!(server.issuer(), authority.subject());
        let usage = server.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert!(!server.is_ca());
        let names = &server.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(
            names,
            &[
                GeneralName::DNSName("signer.example.com"),
                GeneralName::IPAddress(&[192, 0, 2, 7]),
                GeneralName::IPAddress(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            ]
        );
    });
}

#[test]
fn a_client_certificate_carries_exactly_one_name() {
    let state = State::made(&[]);
    let out = state.at("payments");
    chancery(&[
        "client",
        "issue",
        "payments",
        "--role",
        "client",
        "--dir",
        text(&state.path),
        "--out",
        text(&out),
        "--days",
        "30",
        "--tenant",
        "acme",
    ])
    .ends(0);
    certificate(&out.join("cert.pem"), |client| {
        let names = &client.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names, &[GeneralName::URI("chancery://acme/client/payments")]);
        let usage = client.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!client.is_ca());
        let days =
            (client.validity().not_after.timestamp() - client.validity().not_before.timestamp()) / 86_400;
        assert_eq!(days, 30);
    });
    assert_eq!(mode(&out.join("key.pem")), 0o600);
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(out.join("key.pem")).unwrap()).unwrap();
    certificate(&out.join("cert.pem"), |client| {
        assert_eq!(
            client.public_key().raw,
            rcgen::PublicKeyData::subject_public_key_info(&key),
            "another key's"
        );
    });

    let shown = chancery(&["client", "show", "--client", text(&out), "--json"]).ends(0).json();
    assert_eq!(shown["certificate"]["uris"][0], "chancery://acme/client/payments");
    assert_eq!(shown["valid_now"], true);

    // A second one of the name would replace the key in use.
    chancery(&["client", "issue", "operator", "--role", "operator", "--dir", text(&state.path)]).ends(7);
    // Longer than the authority.
    let long = ["client", "issue", "x", "--role", "client", "--dir", text(&state.path), "--days", "3653"];
    chancery(&long).ends(2);
    assert!(!state.at("clients/x").exists());
}

#[test]
fn an_authority_whose_key_was_swapped_issues_nothing() {
    let (state, other) = (State::made(&[]), State::made(&[]));
    std::fs::copy(other.at("pki/ca-key.pem"), state.at("pki/ca-key.pem")).unwrap();
    let ran = chancery(&["client", "issue", "a", "--role", "client", "--dir", text(&state.path)]).ends(7);
    assert!(ran.stderr.contains("is not the key of `ca.pem`"), "{}", ran.stderr);
}

#[test]
fn a_fresh_configuration_can_be_served_once_the_pin_is_there() {
    let state = State::made(&[]);
    assert_eq!(errors(&state.check().ends(1)).len(), 1, "only the PIN is missing");
    std::fs::write(state.at("hsm/pin"), "1234").unwrap();
    std::fs::set_permissions(state.at("hsm/pin"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(errors(&state.check().ends(0)), Vec::<String>::new());
}

#[test]
fn every_problem_of_a_configuration_is_listed() {
    let state = State::made(&[]);
    let other = State::made(&[]);
    std::fs::write(state.at("hsm/pin"), "").unwrap();
    std::fs::set_permissions(state.at("hsm/pin"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::copy(other.at("pki/server-key.pem"), state.at("pki/server-key.pem")).unwrap();
    std::fs::set_permissions(state.at("pki/server-key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::copy(state.at("clients/operator/cert.pem"), state.at("pki/server.pem")).unwrap();
    std::fs::copy(state.at("clients/operator/cert.pem"), state.at("pki/ca.pem")).unwrap();
    std::fs::remove_file(state.path.with_file_name("vendor.so")).unwrap();
    std::fs::write(state.at("log"), "").unwrap();
    let errors = errors(&state.check().ends(1));
    for expected in [
        "tls.certificate: is not made for servers",
        "tls.certificate: names no host",
        "tls.key: others may use",
        "tls.key: is not the key of `tls.certificate`",
        "tls.client_ca: holds a certificate that is no authority",
        "log.directory:",
        "hsm.module: there is no module",
        "hsm.pin: others may use",
        "is empty",
    ] {
        assert!(errors.iter().any(|error| error.contains(expected)), "`{expected}` is not among {errors:#?}");
    }
    // Text and JSON tell the same.
    let ran = chancery(&["serve-config", "check", text(&state.at("chancery.toml"))]).ends(1);
    assert_eq!(
        ran.stdout.lines().filter(|line| line.starts_with("error: ")).count(),
        errors.len(),
        "{}",
        ran.stdout
    );
}

#[test]
fn certificates_out_of_date_are_errors() {
    let state = State::made(&[]);
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let ended = params.self_signed(&key).unwrap().pem();
    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    params.not_before = rcgen::date_time_ymd(2998, 1, 1);
    let to_come = params.self_signed(&key).unwrap().pem();
    for (pem, expected) in [(ended, "ended on 2021-01-01"), (to_come, "is not valid before 2998-01-01")] {
        std::fs::write(state.at("pki/server.pem"), pem).unwrap();
        let errors = errors(&state.check().ends(1));
        assert!(errors.iter().any(|error| error.contains(expected)), "`{expected}` is not among {errors:#?}");
    }
}

#[test]
fn a_configuration_that_does_not_parse_is_a_finding() {
    let state = State::made(&[]);
    std::fs::write(state.at("chancery.toml"), "version = 1\nmodus = 3\n").unwrap();
    assert_eq!(errors(&state.check().ends(1)).len(), 1);
    chancery(&["serve-config", "check", text(&state.at("none.toml"))]).ends(7);
}

fn revoked(state: &State) -> (Vec<String>, i64) {
    let pem = std::fs::read(state.at("pki/ca.crl")).unwrap();
    let (_, pem) = parse_x509_pem(&pem).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&pem.contents).unwrap();
    let serials = list.iter_revoked_certificates().map(|entry| hex::encode(entry.raw_serial())).collect();
    certificate(&state.at("pki/ca.pem"), |ca| list.verify_signature(ca.public_key()).unwrap());
    (serials, list.next_update().unwrap().timestamp())
}

/// A list that ends before its authority would shut every client out one day, with nothing having been revoked.
#[test]
fn the_first_list_is_empty_and_ends_with_the_authority() {
    let state = State::made(&[]);
    let end = certificate(&state.at("pki/ca.pem"), |ca| ca.validity().not_after.timestamp());
    assert_eq!(revoked(&state), (vec![], end));
    assert_eq!(state.config().tls.crl, [state.at("pki/ca.crl")]);
}

#[test]
fn revoking_adds_to_the_list_and_touches_nothing_else() {
    let (state, other) = (State::made(&[]), State::made(&[]));
    let (dir, cert) = (state.path.clone(), state.at("clients/operator/cert.pem"));
    let revoke = |more: &[&str]| chancery(&[&["client", "revoke", "--dir", text(&dir)], more].concat());
    let serial = certificate(&cert, |cert| hex::encode(cert.raw_serial()));
    revoke(&["--cert", text(&cert)]).ends(0);
    revoke(&["--serial", "51:a2"]).ends(0);
    let mut expected = vec!["51a2".to_owned(), serial];
    expected.sort();
    let mut found = revoked(&state).0;
    found.sort();
    assert_eq!(found, expected);

    let before = std::fs::read(state.at("pki/ca.crl")).unwrap();
    revoke(&["--cert", text(&other.at("clients/operator/cert.pem"))]).ends(7);
    revoke(&["--serial", "not hex"]).ends(2);
    revoke(&[]).ends(2);
    assert_eq!(std::fs::read(state.at("pki/ca.crl")).unwrap(), before, "a refusal writes nothing");

    revoke(&["--renew", "--days", "7"]).ends(0);
    let (serials, until) = revoked(&state);
    assert_eq!(serials.len(), 2);
    let week = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap() + 7 * 86_400;
    assert!((week - 60..=week).contains(&until));
    std::fs::copy(other.at("pki/ca.crl"), state.at("pki/ca.crl")).unwrap();
    revoke(&["--renew"]).ends(7);
}

#[test]
fn the_check_reads_revocation_lists() {
    let state = State::made(&[]);
    let found = errors(&state.check());
    assert!(!found.iter().any(|error| error.starts_with("tls.")), "{found:#?}");
    let ran = chancery(&["serve-config", "check", text(&state.at("chancery.toml"))]);
    assert!(
        ran.stdout.contains("tls.crl: the list of `CN=Chancery CA localhost/chancery`"),
        "{}",
        ran.stdout
    );
    let other = State::made(&[]);
    std::fs::copy(other.at("pki/ca.crl"), state.at("pki/ca.crl")).unwrap();
    let found = errors(&state.check());
    assert!(found.iter().any(|error| error.contains("there is no list signed by")), "{found:#?}");
    std::fs::write(state.at("pki/ca.crl"), "").unwrap();
    let found = errors(&state.check());
    assert!(found.iter().any(|error| error.contains("holds no revocation list")), "{found:#?}");
}
