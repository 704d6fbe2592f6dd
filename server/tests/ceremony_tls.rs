//! Another key for the door's certificate, while the door serves: asked for, issued elsewhere, put in place, and taken live. Would
//! catch a key that is readable by others, a certificate of another key or name, and a crash that leaves the door without either.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod ceremony_room;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ceremony_room::{House, everybody};

/// What the door shows, in PEM.
fn shown(house: &House) -> String {
    let api = house.appliance.running().api.clone();
    let asked = Command::new("openssl")
        .args(["s_client", "-connect", &api, "-servername", "localhost"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is needed");
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let from = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{text}"));
    let end = "-----END CERTIFICATE-----";
    text[from..from + text[from..].find(end).unwrap() + end.len()].to_owned()
}

#[tokio::test]
async fn the_door_takes_another_key_while_it_serves() {
    const WITHIN: [(&str, u32); 4] = [("openat", 2), ("write", 2), ("fsync", 1), ("rename", 1)];
    let mut house = House::new();
    house.initialise();
    house.appliance.start();
    let (before, at) = (shown(&house), |name: &str| house.appliance.at(name));
    let old = fs::read(at("pki/server-key.pem")).unwrap();
    let hash = house.plan("rotate-tls-key", "door", &[]);
    house.hold_through("door", &hash, &[], &WITHIN, Some("step 2"));
    let next = at("pki/server-key.pem.next");
    assert_eq!(fs::metadata(&next).unwrap().mode() & 0o777, 0o600);
    assert_eq!((shown(&house), fs::read(at("pki/server-key.pem")).unwrap()), (before.clone(), old));

    // A certificate of another key: the one that is in force.
    fs::copy(at("pki/server.pem"), at("door/certificate.pem")).unwrap();
    let mut last = String::new();
    let refused = house.run("door", &hash, &[], |_, question| everybody(question, &mut last));
    assert!(refused.talk.contains("is not of the key that was made"), "{refused:?}");

    let request = fs::read_to_string(at("door/request.pem")).unwrap();
    let issued = house.appliance.certify(&request);
    fs::write(at("door/certificate.pem"), &issued).unwrap();
    let made = fs::read(&next).unwrap();
    house.hold_through("door", &hash, &[], &WITHIN, None);
    assert!(!next.exists() && fs::read(at("pki/server-key.pem")).unwrap() == made);
    assert_eq!(fs::metadata(at("pki/server-key.pem")).unwrap().mode() & 0o777, 0o600);
    let text = issued.trim().replace('\r', "");
    let asked = Instant::now();
    while shown(&house).replace('\r', "") != text {
        assert!(asked.elapsed() < Duration::from_secs(10), "the door still shows the certificate of before");
        std::thread::sleep(Duration::from_millis(100));
    }
    let verified = house.verify("door", &hash);
    let entries = verified["entries"].to_string();
    assert!(!entries.contains("PRIVATE KEY"), "{entries}");
    for entry in fs::read_dir(at("door")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"));
    }
    house.appliance.stop();
    house.appliance.start();
}
