//! Who gets in: every bad certificate is refused, every good one is named, and TLS is what the design says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use chancery_core::Mode;
use chancery_server::ServerError;
use chancery_server::door::Door;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::ClientConfig;
use support::{CLIENT, Ca, GET_WHO, House, client_params, exchange};

/// True if the door answers a request over this configuration. In TLS 1.3 a client learns of its refusal when it reads.
async fn admitted(house: &House, tls: &Arc<ClientConfig>) -> Result<u16, std::io::Error> {
    let mut stream = house.connect(tls).await?;
    Ok(exchange(&mut stream, GET_WHO).await?.status)
}

#[tokio::test]
async fn every_bad_certificate_is_refused_with_the_same_alert() {
    let house = House::open();
    let with = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = client_params(&[CLIENT], 1);
        change(&mut params);
        house.ca.issue(&params)
    };
    let day = std::time::Duration::from_secs(24 * 3_600);
    let cells = [
        ("other authority", Ca::new().client(CLIENT)),
        ("expired", house.ca.issue(&client_params(&[CLIENT], -1))),
        (
            "not yet valid",
            with(&|params| params.not_before = (std::time::SystemTime::now() + day / 2).into()),
        ),
        ("no usage", with(&|params| params.extended_key_usages.clear())),
        (
            "server's usage",
            with(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("no name", house.ca.issue(&client_params(&[], 1))),
        ("two names", house.ca.issue(&client_params(&[CLIENT, "chancery://default/operator/root"], 1))),
        ("unknown role", house.ca.client("chancery://default/admin/backend")),
        ("malformed name", house.ca.client("chancery://default/client/Backend")),
    ];
    let count = cells.len();
    let mut alerts = Vec::new();
    for (cell, identity) in cells {
        let error = admitted(&house, &house.tls(Some(identity), &["http/1.1"])).await.expect_err(cell);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        alerts.push((cell, format!("{inner:?}")));
    }
    for (cell, alert) in &alerts {
        assert_eq!(alert, "Some(AlertReceived(AccessDenied))", "{cell} must look like every other refusal");
    }
    let page = house.metrics.encode();
    assert!(page.contains(&format!("handshakes_failed_total{{cause=\"certificate\"}} {count}")), "{page}");
    assert!(!page.contains("chancery_requests_total{"), "a refused peer reached a route");
}

#[tokio::test]
async fn nobody_enters_without_a_certificate() {
    let house = House::open();
    assert!(admitted(&house, &house.tls(None, &["http/1.1"])).await.is_err());
    // The connection would refuse a peer without a chain as well; this says that TLS itself did.
    let page = house.metrics.encode();
    assert!(page.contains("handshakes_failed_total{cause=\"no-certificate\"} 1"), "{page}");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let house = House::open();
    let old =
        house.tls_with(Some(house.ca.client(CLIENT)), &["http/1.1"], &[&rustls::version::TLS12]).unwrap();
    let error = house.connect(&old).await.expect_err("TLS 1.2 must not connect");
    assert!(error.to_string().contains("ProtocolVersion"), "refused for another reason: {error}");
}

#[tokio::test]
async fn the_key_exchange_is_hybrid_post_quantum() {
    let house = House::open();
    let stream = house.enter("h2").await;
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn each_role_is_named_over_both_protocols() {
    let house = House::open();
    for role in ["client", "auditor", "operator"] {
        let name = format!("chancery://acme/{role}/who");
        let mut stream =
            house.connect(&house.tls(Some(house.ca.client(&name)), &["http/1.1"])).await.unwrap();
        let answer = exchange(&mut stream, GET_WHO).await.unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        let (peer, id) = body.split_once(' ').unwrap();
        assert_eq!(format!("chancery://{peer}"), name);
        assert!(answer.head.contains(&format!("x-request-id: {id}")), "{}", answer.head);

        let client = support::library_client(&house, house.ca.client(&name));
        let response = client.get("/who").await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(name.ends_with(body.split_once(' ').unwrap().0));
    }
}

#[tokio::test]
async fn a_resumed_session_still_has_its_identity() {
    let house = House::open();
    let tls = house.tls(Some(house.ca.client("chancery://default/auditor/again")), &["http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = house.connect(&tls).await.unwrap();
        let answer = exchange(&mut stream, GET_WHO).await.unwrap();
        assert!(String::from_utf8(answer.body).unwrap().starts_with("default/auditor/again "));
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[1], rustls::HandshakeKind::Resumed, "the second handshake must exercise the ticket");
}

/// TLS checks a certificate once, when a session begins. Expiry must bite later too: on an open connection and on a ticket.
#[tokio::test]
async fn an_expired_certificate_ends_open_connections_and_tickets() {
    let clock = support::clock_at(support::now_ms());
    let house = House::open_with(|settings| settings.clock = clock.clone());
    let tls = house.tls(Some(house.ca.client(CLIENT)), &["http/1.1"]);
    let mut stream = house.connect(&tls).await.unwrap();
    assert_eq!(exchange(&mut stream, GET_WHO).await.unwrap().status, 200);
    clock.set(chancery_core::UnixMillis(support::now_ms() + 2 * 24 * 3_600 * 1_000));
    let answer = exchange(&mut stream, GET_WHO).await.unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthenticated")));
    assert!(exchange(&mut stream, GET_WHO).await.is_err(), "the connection must end");
    assert!(admitted(&house, &tls).await.is_err(), "a ticket must not outlive its certificate");
}

#[tokio::test]
async fn the_doors_own_files_are_checked() {
    let ca = Ca::new();
    let files = tempfile::tempdir().unwrap();
    let good = support::tls_files(&ca, files.path());
    let bind = |change: &dyn Fn(&mut chancery_server::door::Settings)| {
        let mut settings = support::settings(good.clone());
        change(&mut settings);
        Door::bind(settings).map(|door| door.local_addr())
    };
    let mode = |bits| std::fs::set_permissions(&good.key, PermissionsExt::from_mode(bits)).unwrap();

    for open in [0o644, 0o640, 0o604, 0o660] {
        mode(open);
        let error = bind(&|settings| settings.mode = Mode::Production).unwrap_err();
        assert!(matches!(error, ServerError::KeyOpenToOthers { .. }), "{open:o}: {error}");
        assert!(bind(&|_| {}).is_ok(), "development only warns");
    }
    for closed in [0o600, 0o400] {
        mode(closed);
        assert!(bind(&|settings| settings.mode = Mode::Production).is_ok(), "{closed:o}");
    }

    let empty = files.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = files.path().join("missing.pem");
    for path in [&empty, &missing] {
        for change in [
            &(|settings: &mut chancery_server::door::Settings| settings.tls.certificate = path.clone())
                as &dyn Fn(&mut chancery_server::door::Settings),
            &|settings| settings.tls.key = path.clone(),
            &|settings| settings.tls.client_ca = Some(path.clone()),
        ] {
            let error = bind(change).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "the message must name the file: {error}");
        }
    }
    let error =
        bind(&|settings| settings.tls.client_ca = Some(settings.tls.certificate.clone())).unwrap_err();
    assert!(matches!(error, ServerError::ClientAuthorities { .. }), "a leaf is no authority: {error}");
}
