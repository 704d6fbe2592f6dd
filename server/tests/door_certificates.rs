//! ASSURANCE line 11: certificates rotate and revoke while the door serves. `--nocapture` prints
//! `assurance certificates <what> ...` for each figure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test support; the figures are the point"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use chancery_server::ServerError;
use chancery_server::door::{Certificates, Door};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::ClientConfig;
use support::{CLIENT, Ca, GET_WHO, House, client_params, exchange, list, numbered, replace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep, timeout};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than any of this takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The value of one line of the metrics page.
fn metric(house: &House, line: &str) -> i64 {
    let page = house.metrics.encode();
    let value = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Waits for a value of the metrics page.
async fn until(house: &House, line: &str, wanted: i64) {
    let reached = async {
        while metric(house, line) != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, reached)
        .await
        .unwrap_or_else(|_| panic!("{line} never was {wanted}:\n{}", house.metrics.encode()));
}

/// Looks at the files now and waits until what is on disk is in force.
async fn renewed(house: &House, certificates: &Certificates, before: i64) {
    certificates.renew();
    until(house, "chancery_certificates_renewals_total", before + 1).await;
}

async fn asks(house: &House, tls: &Arc<ClientConfig>) -> std::io::Result<u16> {
    let mut stream = house.connect(tls).await?;
    Ok(exchange(&mut stream, GET_WHO).await?.status)
}

/// A house with a revocation list, and where the list is.
fn revoking(ca: &Ca, serials: &[&[u8]]) -> (House, PathBuf) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("ca.crl");
    replace(&path, list(ca, serials, DAY).pem().unwrap().as_bytes());
    let house = House::open_of(ca, files, |settings| settings.tls.crl = vec![path.clone()]);
    (house, path)
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_like_every_other() {
    let ca = Ca::new();
    let (house, _) = revoking(&ca, &[&[0x51]]);
    let error = asks(&house, &house.tls(Some(numbered(&ca, &[0x51])), &["http/1.1"])).await.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    assert_eq!(format!("{inner:?}"), "Some(AlertReceived(AccessDenied))");
    let neighbour = house.tls(Some(numbered(&ca, &[0x52])), &["http/1.1"]);
    assert_eq!(asks(&house, &neighbour).await.unwrap(), 200);
}

#[tokio::test]
async fn a_list_that_ends_closes_the_door_and_says_so() {
    let ca = Ca::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("ca.crl");
    replace(&path, list(&ca, &[], DAY).der());
    let clock = support::clock_at(support::now_ms());
    let set = clock.clone();
    let house = House::open_of(&ca, files, |settings| {
        settings.tls.crl = vec![path.clone()];
        settings.clock = clock;
    });
    let tls = house.tls(Some(ca.issue(&client_params(&[CLIENT], 9))), &["http/1.1"]);
    assert_eq!(asks(&house, &tls).await.unwrap(), 200);
    assert_eq!(house.certificates.standing(), (true, "in date".to_owned()));
    let left =
        metric(&house, "chancery_certificate_seconds_left{kind=\"crl\",index=\"2\",name=\"CN=authority\"}");
    assert!((86_000..=86_400).contains(&left), "{left}");

    set.set(chancery_core::UnixMillis(support::now_ms() + 2 * 24 * 3_600 * 1_000));
    assert!(asks(&house, &tls).await.is_err(), "an expired list admits nobody");
    let (ready, detail) = house.certificates.standing();
    assert!(!ready && detail.contains("revocation list of `CN=authority` has ended"), "{detail}");
    assert_eq!(metric(&house, "chancery_certificates_ready"), 0);

    replace(&path, list(&ca, &[], 9 * DAY).der());
    renewed(&house, &house.certificates, 0).await;
    assert_eq!(asks(&house, &tls).await.unwrap(), 200, "a new list opens it again");
    assert!(house.certificates.standing().0);
}

/// Reads until the other side ends, and says when.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Instant {
    let mut buffer = [0; 4_096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    Instant::now()
}

/// Revocation by a list, and distrust of a whole authority: idle, busy and waiting connections of both protocols end,
/// without anybody asking the door to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_back_ends_open_connections() {
    for (what, serials) in [("revoked", vec![&[0x51_u8][..]]), ("distrusted", vec![])] {
        let (theirs, ours) = (Ca::named("theirs"), Ca::named("ours"));
        let files = tempfile::tempdir().unwrap();
        let (crl, both) = (files.path().join("theirs.crl"), format!("{}{}", theirs.pem, ours.pem));
        let our_crl = files.path().join("ours.crl");
        replace(&crl, list(&theirs, &[], DAY).pem().unwrap().as_bytes());
        replace(&our_crl, list(&ours, &[], DAY).pem().unwrap().as_bytes());
        let mut client_ca = PathBuf::new();
        let house = House::open_of(&ours, files, |settings| {
            client_ca = settings.tls.client_ca.clone().unwrap();
            replace(&client_ca, both.as_bytes());
            settings.tls.crl = vec![crl.clone(), our_crl.clone()];
        });
        let tls = |alpn| house.tls(Some(numbered(&theirs, &[0x51])), &[alpn]);
        let mut idle = house.connect(&tls("http/1.1")).await.unwrap();
        assert_eq!(exchange(&mut idle, GET_WHO).await.unwrap().status, 200);
        let mut waiting = house.connect(&tls("http/1.1")).await.unwrap();
        waiting.write_all(b"GET /slow?n=30000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut http2 = house.connect(&tls("h2")).await.unwrap();
        http2.write_all(&support::h2::hello(&[])).await.unwrap();
        http2.flush().await.unwrap();
        let mut busy = house.connect(&tls("http/1.1")).await.unwrap();
        let busy = tokio::spawn(async move {
            let mut answered = Instant::now();
            while exchange(&mut busy, GET_WHO).await.is_ok_and(|answer| answer.status == 200) {
                answered = Instant::now();
            }
            answered
        });
        let resumable = tls("http/1.1");
        assert_eq!(asks(&house, &resumable).await.unwrap(), 200);
        let mut neighbour = house.enter("http/1.1").await;
        assert_eq!(exchange(&mut neighbour, GET_WHO).await.unwrap().status, 200);
        sleep(Duration::from_millis(300)).await;

        let began = Instant::now();
        if serials.is_empty() {
            replace(&client_ca, ours.pem.as_bytes());
        } else {
            replace(&crl, list(&theirs, &serials, DAY).pem().unwrap().as_bytes());
        }
        let ended = timeout(LONG, async {
            tokio::join!(closed(&mut idle), closed(&mut waiting), closed(&mut http2), busy)
        });
        let (idle, waiting, http2, busy) = ended.await.expect("an open connection outlived its certificate");
        // The clocks of silence would end them too, later: the cause says that it was this.
        until(&house, "chancery_connections_cut_total{cause=\"identity\"}", 4).await;
        for (connection, at) in [("idle", idle), ("waiting", waiting), ("h2", http2), ("busy", busy.unwrap())]
        {
            let ms = at.saturating_duration_since(began).as_millis();
            println!("assurance certificates {what} connection={connection} ended_ms={ms}");
        }
        assert!(asks(&house, &resumable).await.is_err(), "a ticket must not outlive its certificate's word");
        assert_eq!(exchange(&mut neighbour, GET_WHO).await.unwrap().status, 200, "nobody else is disturbed");
    }
}

/// Files that must not come into force. After each, the last good set serves, and the right files mend it.
#[tokio::test]
async fn bad_files_keep_the_last_good_set() {
    let ca = Ca::new();
    let (house, crl) = revoking(&ca, &[]);
    let tls = house.files.clone();
    let client_ca = tls.client_ca.clone().unwrap();
    let good: Vec<(PathBuf, Vec<u8>)> = [&tls.certificate, &tls.key, &client_ca, &crl]
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .into();
    let dated = |from: SystemTime, until: SystemTime| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::from_pem(std::str::from_utf8(&good[1].1).unwrap()).unwrap();
        ca.sign(&params, &key).into_bytes()
    };
    let now = SystemTime::now();
    let half = good[3].1[..good[3].1.len() / 2].to_vec();
    let cells: Vec<(&str, &Path, Option<Vec<u8>>)> = vec![
        ("key of another certificate", &tls.key, Some(KeyPair::generate().unwrap().serialize_pem().into())),
        ("certificate expired", &tls.certificate, Some(dated(now - 9 * DAY, now - DAY))),
        ("certificate not yet valid", &tls.certificate, Some(dated(now + DAY, now + 9 * DAY))),
        ("certificate of another key", &tls.certificate, Some(Ca::new().pem.into())),
        ("no certificate", &tls.certificate, Some(Vec::new())),
        ("certificate missing", &tls.certificate, None),
        ("key missing", &tls.key, None),
        ("authority is none", &client_ca, Some(good[0].1.clone())),
        ("authority is noise", &client_ca, Some(b"noise".to_vec())),
        ("authority without a list", &client_ca, Some(Ca::named("other").pem.into())),
        ("list half written", &crl, Some(half)),
        ("list empty", &crl, Some(Vec::new())),
        ("list of another key", &crl, Some(list(&Ca::new(), &[], DAY).pem().unwrap().into())),
        ("list of another name", &crl, Some(list(&Ca::named("other"), &[], DAY).pem().unwrap().into())),
        ("list expired", &crl, Some(support::list_from(&ca, &[], now - 9 * DAY, now - DAY).der().to_vec())),
        (
            "list dated ahead",
            &crl,
            Some(support::list_from(&ca, &[], now + DAY, now + 9 * DAY).der().to_vec()),
        ),
    ];
    let client = house.tls(Some(ca.client(CLIENT)), &["http/1.1"]);
    let mut open = house.enter("http/1.1").await;
    let count = cells.len();
    for (cell, path, bytes) in cells {
        match bytes {
            Some(bytes) => replace(path, &bytes),
            None => std::fs::remove_file(path).unwrap(),
        }
        house.certificates.renew();
        until(&house, "chancery_certificates_refused", 1).await;
        let (ready, detail) = house.certificates.standing();
        let named = [path, &tls.key, &client_ca].iter().any(|path| detail.contains(path.to_str().unwrap()));
        assert!(ready && named, "{cell}: {detail}");
        assert_eq!(asks(&house, &client).await.unwrap(), 200, "{cell}: the last good set must serve");
        assert_eq!(exchange(&mut open, GET_WHO).await.unwrap().status, 200, "{cell}");
        assert_eq!(metric(&house, "chancery_certificates_renewals_total"), 0, "{cell} came into force");
        for (path, bytes) in &good {
            replace(path, bytes);
        }
        house.certificates.renew();
        until(&house, "chancery_certificates_refused", 0).await;
    }
    println!("assurance certificates refused cells={count} in_force=0");
    assert_eq!(
        metric(&house, "chancery_certificates_refusals_total"),
        i64::try_from(count).unwrap(),
        "each was told once"
    );

    // A door does not open with what it would not take.
    let mut settings = support::settings(tls.clone());
    settings.tls.crl = vec![crl.clone()];
    replace(&crl, support::list_from(&ca, &[], now - 9 * DAY, now - DAY).der());
    assert!(matches!(Door::bind(settings), Err(ServerError::ClientAuthorities { .. })));
}

/// Certificate, key and authority change a hundred times, old and new overlapping as the documentation says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_fail_no_handshake() {
    const ROTATIONS: i64 = 100;
    const CLIENTS: usize = 8;
    let first = Ca::named("authority 0");
    let files = tempfile::tempdir().unwrap();
    let crl = files.path().join("all.crl");
    let lists = |authorities: &[&Ca]| -> String {
        authorities.iter().map(|ca| list(ca, &[], DAY).pem().unwrap()).collect()
    };
    replace(&crl, lists(&[&first]).as_bytes());
    let house = Arc::new(House::open_of(&first, files, |settings| settings.tls.crl = vec![crl.clone()]));
    // What clients hold: whom they trust and who they are. They change when the door already takes the new ones.
    let held = Arc::new(RwLock::new((first.root(), first.client(CLIENT))));
    let (stop, handshakes, failures) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (house, held, stop) = (Arc::clone(&house), Arc::clone(&held), Arc::clone(&stop));
            let (handshakes, failures) = (Arc::clone(&handshakes), Arc::clone(&failures));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let held = held.read().await;
                    // A configuration of its own: each handshake is whole, none resumes.
                    let tls = support::tls_trusting(&held.0, &held.1);
                    handshakes.fetch_add(1, Ordering::SeqCst);
                    match asks(&house, &tls).await {
                        Ok(200) => {}
                        other => {
                            failures.fetch_add(1, Ordering::SeqCst);
                            println!("a handshake failed: {other:?}");
                        }
                    }
                }
            })
        })
        .collect();
    let mut old = first;
    for rotation in 1..=ROTATIONS {
        let new = Ca::named(&format!("authority {rotation}"));
        let before = metric(&house, "chancery_certificates_renewals_total");
        // The list comes first: an authority without one is refused, a list without its authority is idle.
        replace(&crl, lists(&[&old, &new]).as_bytes());
        renewed(&house, &house.certificates, before).await;
        replace(house.files.client_ca.as_ref().unwrap(), format!("{}{}", old.pem, new.pem).as_bytes());
        renewed(&house, &house.certificates, before + 1).await;
        {
            // Clients trust both while the server's certificate changes.
            let mut held = held.write().await;
            held.0 = [old.root(), new.root()].concat();
            held.1 = new.client(CLIENT);
        }
        let (certificate, key) = support::server_pem(&new);
        // Between these two the files do not match, and the last good set serves.
        replace(&house.files.certificate, certificate.as_bytes());
        house.certificates.renew();
        replace(&house.files.key, key.as_bytes());
        renewed(&house, &house.certificates, before + 2).await;
        held.write().await.0 = new.root();
        replace(house.files.client_ca.as_ref().unwrap(), new.pem.as_bytes());
        renewed(&house, &house.certificates, before + 3).await;
        replace(&crl, lists(&[&new]).as_bytes());
        renewed(&house, &house.certificates, before + 4).await;
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let sets = metric(&house, "chancery_certificates_renewals_total");
    let (handshakes, failures) = (handshakes.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
    println!(
        "assurance certificates rotations rotations={ROTATIONS} sets={sets} handshakes={handshakes} failures={failures}"
    );
    assert_eq!(failures, 0);
    assert!(handshakes > 100, "nobody came: {handshakes}");
}
