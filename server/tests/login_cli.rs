//! The way of an officer with the real command line: invited, enrolled, logged in with a passkey and with a password typed at a
//! terminal, logged out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;
mod passkey;
mod people;

use std::path::Path;
use std::process::Command;

use appliance::{Appliance, chancery};
use chancery_identity::login::TotpSecret;
use people::{ORIGIN, now, with_officers};
use serde_json::{Value, json};

fn run(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(chancery().unwrap()).arg("--json").args(arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), talk)
}

/// The way of an officer with the real command line. Would catch a command that says more than it should, keeps a session open
/// to others, or forgets to send it.
#[tokio::test]
async fn officers_use_the_command_line() {
    use std::os::unix::fs::PermissionsExt as _;
    if chancery().is_none() {
        return;
    }
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.reconfigure("rate =", "officers = { require_session = [\"officer\"] }\nrate =");
    appliance.start();
    let at = |name: &str| appliance.at(name).to_str().unwrap().to_owned();
    let secret = |name: &str, text: &str| {
        std::fs::write(appliance.at(name), text).unwrap();
        std::fs::set_permissions(appliance.at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let party = ["--rp-id", "chancery.example", "--origin", ORIGIN];
    let [passkey, code] = ["ann.passkey", "ann.code"].map(at);
    let (_, made, talk) = run(&[&["officer", "passkey", "ann", "--out", &passkey][..], &party].concat());
    let (exit, invited, _) = run(&["officer", "invite", "ann", "--out", &code]);
    assert_eq!((exit, &invited["code"]), (0, &Value::Null), "a code in a file is not printed: {talk}");
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let entry = format!(
        "[[officer]]\nid = \"ann\"\nroles = [\"approver\"]\n\
         enrolment = {{ code_sha256 = \"{}\", until = \"{}\" }}\n\
         [[officer.credential]]\nid = \"{}\"\nkey = \"{}\"\nheld = \"software\"\n",
        text(&invited, "code_sha256"),
        text(&invited, "until"),
        text(&made, "id"),
        text(&made, "key"),
    );
    let bundle = with_officers(&entry);
    appliance.furnish("treasury", &bundle).await;
    let ann = appliance.client_directory("officer", "ann");
    let ann = ann.to_str().unwrap();
    let [password, totp] = ["ann.password", "ann.totp"].map(at);
    secret("ann.password", "correct horse battery staple\n");
    let call = |arguments: &[&str]| run(&[&["--client", ann][..], arguments].concat());

    let (exit, _, talk) = call(&["approval", "list"]);
    assert!(exit != 0 && talk.contains("session-required") && talk.contains("officer login"), "{talk}");
    let with = ["--password-file", &password];
    let (exit, enrolled, talk) = call(&[&["officer", "enrol", "--code-file", &code][..], &with].concat());
    assert_eq!(exit, 0, "{talk}");
    let uri = enrolled["totp"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Chancery:ann?secret="), "{uri}");
    let base32 = enrolled["totp"]["secret"].as_str().unwrap();
    secret("ann.totp", &totp_of(base32));
    let (exit, entered, talk) =
        call(&[&["officer", "login", "--passkey", &passkey, "--code-file", &totp][..], &with].concat());
    assert_eq!((exit, &entered["roles"]), (0, &json!(["approver"])), "{talk}");
    assert!(talk.contains("unusual (new-device, new-network)"), "{talk}");
    let kept = Path::new(ann).join("session.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(call(&["approval", "list"]).0, 0);
    let (_, listed, _) = call(&["session", "list"]);
    assert_eq!(
        (&listed["sessions"][0]["officer"], &listed["sessions"][0]["own"]),
        (&json!("ann"), &json!(true))
    );

    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (exit, _, talk) = call(&[&["officer", "login", "--passkey", &passkey][..], &with].concat());
    assert!(exit == 7 && talk.contains("only you may read"), "{exit} {talk}");
    secret("ann.password", "incorrect horse battery staple\n");
    let (exit, _, talk) = call(&[&["officer", "login", "--passkey", &passkey][..], &with].concat());
    assert!(exit != 0 && talk.contains("the password is another") && !talk.contains("horse"), "{talk}");
    assert!(!kept.exists(), "a login begins without the session before it");
    secret("ann.password", "correct horse battery staple\n");
    assert_eq!(call(&[&["officer", "login", "--passkey", &passkey][..], &with].concat()).0, 0);
    assert_eq!(call(&[&["officer", "login", "--passkey", &passkey][..], &with].concat()).0, 0);
    let (_, listed, _) = call(&["session", "list"]);
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "a login ends the one before it: {listed}");
    assert_eq!(call(&["officer", "logout"]).0, 0);
    assert!(!kept.exists() && call(&["approval", "list"]).0 != 0);

    // At a terminal nothing is shown of what is typed; without one nobody is asked.
    let typed = typed(
        &["--client", ann, "officer", "login", "--passkey", &passkey],
        "correct horse battery staple\n",
    );
    assert!(typed.contains("roles     approver") && !typed.contains("horse"), "{typed}");
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(chancery().unwrap());
    let alone = alone.args(["--client", ann, "officer", "login", "--passkey", &passkey]).output().unwrap();
    let talk = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && talk.contains("there is no terminal"), "{talk}");
}

/// What a terminal shows of a command that asks for something, and is answered.
fn typed(arguments: &[&str], answer: &str) -> String {
    use std::io::{Read as _, Write as _};
    let command = format!("{} {}", chancery().unwrap().display(), arguments.join(" "));
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = terminal.stdout.take().unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"password: ") {
        let mut byte = [0];
        assert_eq!(shown.read(&mut byte).unwrap(), 1, "it ended: {}", String::from_utf8_lossy(&text));
        text.extend(byte);
    }
    terminal.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    shown.read_to_end(&mut text).unwrap();
    assert!(terminal.wait().unwrap().success(), "{}", String::from_utf8_lossy(&text));
    String::from_utf8_lossy(&text).into_owned()
}

/// What an application for one-time codes shows for a secret in base32 (RFC 4648).
fn totp_of(base32: &str) -> String {
    let mut bits = 0_u64;
    let mut count = 0;
    let mut bytes = Vec::new();
    for symbol in base32.bytes() {
        let value = if symbol.is_ascii_uppercase() { symbol - b'A' } else { symbol - b'2' + 26 };
        bits = (bits << 5) | u64::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    TotpSecret::new(bytes.into()).unwrap().code(now()).unwrap()
}
