//! What the schema itself refuses, tried through the API and by hand in SQL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use chancery_core::{RequestId, Serial, Tenant, UnixMillis};
use chancery_store::{
    AuthorityRow, BanRow, CertificateRow, RequestRow, RequestState, ShareRow, Store, StoreError, WalletRow,
};
use fixture::{finish, open, record, request};
use rusqlite::Connection;

/// A store with one leaf, one released request, one wallet and one bundle, opened as a bare database.
async fn bare(directory: &std::path::Path) -> Connection {
    let store = open(directory);
    store
        .write(|tx| -> Result<(), StoreError> {
            let row = record(tx, request("k", RequestState::Permitted, 1))?;
            finish(tx, row.id, RequestState::Released)?;
            record(tx, request("open", RequestState::Permitted, 1))?;
            tx.insert_wallet(&WalletRow {
                tenant: row.tenant.clone(),
                id: "w".parse().unwrap(),
                created_ms: UnixMillis(1),
                leaf: 0,
                record: vec![1],
            })?;
            tx.insert_authority(&AuthorityRow {
                tenant: row.tenant.clone(),
                created_ms: UnixMillis(1),
                leaf: 0,
                record: vec![1],
            })?;
            for serial in [1, 2] {
                tx.insert_certificate(&certificate(serial), UnixMillis(1))?;
            }
            tx.revoke_certificate(&row.tenant, &Serial::from_bytes([2; 20]), UnixMillis(2), 0)?;
            tx.keep_share(&share(1))?;
            tx.certify_share(&[1; 32], b"all")?;
            tx.ban(&row.tenant, &ban())?;
            tx.put_bundle(&row.tenant, &[7; 32], b"bundle")?;
            tx.activate_bundle(&row.tenant, &[7; 32], UnixMillis(2), 0)
        })
        .await
        .unwrap();
    store.close().await;
    let database = Connection::open(directory.join("store.sqlite")).unwrap();
    database.execute_batch("PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON").unwrap();
    database
}

/// A share of `w`.
fn share(session: u8) -> ShareRow {
    ShareRow {
        session: [session; 32],
        tenant: Tenant::default(),
        wallet: "w".parse().unwrap(),
        epoch: 0,
        created_ms: UnixMillis(1),
        record: vec![1],
        sealed: vec![2],
        certificate: None,
    }
}

fn ban() -> BanRow {
    BanRow { wallet: "w".parse().unwrap(), party: 2, banned_ms: UnixMillis(1), session: [1; 32] }
}

/// Would catch a share that is lost or of use too early, a session that is used twice, and a ban that is forgotten.
#[tokio::test]
async fn shares_bans_and_last_words_stay() {
    let directory = tempfile::tempdir().unwrap();
    drop(bare(directory.path()).await);
    let store = open(directory.path());
    let tenant = Tenant::default();
    let changes = || store.read(|rows| rows.share_changes()).unwrap();
    assert_eq!(changes(), 2, "a share that is of use, and a ban");
    store.write(|tx| tx.keep_share(&share(2))).await.unwrap();
    let twice = store.write(|tx| tx.keep_share(&share(2))).await;
    assert!(matches!(twice, Err(StoreError::AlreadyExists { .. })), "{twice:?}");
    store
        .write(|tx| tx.ban(&Tenant::default(), &BanRow { banned_ms: UnixMillis(9), ..ban() }))
        .await
        .unwrap();
    assert_eq!(store.read(|rows| rows.bans(&tenant)).unwrap(), [ban()], "the first one stands");
    assert_eq!(changes(), 2, "what is not certified is of no use yet");
    assert!(store.read(|rows| rows.is_banned(&tenant, &ban().wallet, 2)).unwrap());
    assert!(!store.read(|rows| rows.is_banned(&tenant, &ban().wallet, 1)).unwrap());

    let row = started(&store, RequestState::Permitted, 1).await.unwrap();
    assert!(!store.read(|rows| rows.has_spoken(row.id)).unwrap());
    store.write(move |tx| tx.speak(&[5; 32], row.id)).await.unwrap();
    assert!(store.read(|rows| rows.has_spoken(row.id)).unwrap());
    let again = store.write(move |tx| tx.speak(&[5; 32], row.id)).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    store.write(move |tx| finish(tx, row.id, RequestState::Failed)).await.unwrap();
    let late = store.write(move |tx| tx.speak(&[6; 32], row.id)).await;
    assert!(matches!(late, Err(StoreError::Refused { .. })), "{late:?}");
}

/// A certificate that ends at 5,000.
fn certificate(serial: u8) -> CertificateRow {
    CertificateRow {
        tenant: Tenant::default(),
        serial: Serial::from_bytes([serial; 20]),
        client: "chancery://default/client/c".parse().unwrap(),
        key: [serial; 32],
        until_ms: UnixMillis(5_000),
        request: RequestId::fresh(),
        leaf: 0,
        der: vec![serial],
        revoked_ms: None,
        revoked_leaf: None,
    }
}

/// Would catch one that was taken back and is on no list, one that holds and is, and a key with two certificates.
#[tokio::test]
async fn a_certificate_holds_until_it_ends_or_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    drop(bare(directory.path()).await);
    let store = open(directory.path());
    let (tenant, client) = (Tenant::default(), "chancery://default/client/c".parse().unwrap());
    let holding = |now| {
        let rows = store.read(|rows| rows.certificates_of(&client, UnixMillis(now))).unwrap();
        rows.into_iter().map(|row| row.serial.as_bytes()[0]).collect::<Vec<_>>()
    };
    let listed = |now| store.read(|rows| rows.revoked(&tenant, UnixMillis(now))).unwrap().len();
    assert_eq!((holding(5_000), listed(5_000)), (vec![1], 1));
    assert_eq!((holding(5_001), listed(5_001)), (vec![], 0), "what has ended needs no list");
    for again in [1, 3] {
        let row = CertificateRow { key: [1; 32], ..certificate(again) };
        let twice = store.write(move |tx| tx.insert_certificate(&row, UnixMillis(3))).await;
        assert!(matches!(twice, Err(StoreError::AlreadyExists { .. })), "{twice:?}");
    }
    let page = |after: Option<&CertificateRow>| {
        let rows = store.read(|rows| rows.certificates(&tenant, after, 1)).unwrap();
        rows.into_iter().next()
    };
    let first = page(None).unwrap();
    let second = page(Some(&first)).unwrap();
    assert_eq!((first.revoked_ms, second.revoked_ms), (None, Some(UnixMillis(2))));
    assert_eq!(page(Some(&second)), None);
}

#[tokio::test]
async fn sql_by_hand_cannot_break_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let database = bare(directory.path()).await;
    for (sql, rule) in [
        ("UPDATE leaf SET body = x'00' WHERE idx = 0", "a leaf is never changed"),
        ("DELETE FROM leaf WHERE idx = 2", "a leaf is never removed"),
        ("INSERT INTO leaf VALUES (9, zeroblob(32), x'')", "a leaf takes the next index"),
        ("INSERT OR REPLACE INTO leaf VALUES (1, zeroblob(32), x'')", "a leaf takes the next index"),
        ("INSERT INTO leaf VALUES (3, zeroblob(31), x'')", "CHECK constraint failed"),
        ("UPDATE request SET state = 'failed' WHERE state = 'released'", "does not follow"),
        ("UPDATE request SET state = 'released', released = x'00' WHERE state = 'permitted'", "CHECK"),
        ("UPDATE request SET state = 'released', outcome_leaf = 1 WHERE state = 'permitted'", "CHECK"),
        ("UPDATE request SET released = x'00' WHERE state = 'released'", "written once"),
        ("UPDATE request SET outcome_leaf = 0 WHERE state = 'released'", "written once"),
        ("UPDATE request SET outcome_leaf = 99 WHERE state = 'permitted'", "FOREIGN KEY"),
        ("UPDATE request SET request_digest = zeroblob(32)", "never changed"),
        ("UPDATE request SET idempotency_key = 'other'", "a key is freed only"),
        ("UPDATE request SET idempotency_key = NULL WHERE state = 'released'", "a key is freed only"),
        ("DELETE FROM request", "a request is never removed"),
        ("UPDATE wallet SET record = x''", "a wallet is never changed"),
        ("INSERT OR REPLACE INTO wallet VALUES ('default', 'w', 1, 0, x'')", "a wallet is never removed"),
        ("UPDATE authority SET record = x''", "an authority is never changed"),
        ("DELETE FROM authority", "an authority is never removed"),
        ("UPDATE certificate SET until_ms = 9", "a certificate is never changed"),
        ("DELETE FROM certificate", "a certificate is never removed"),
        ("UPDATE certificate SET revoked_ms = 9 WHERE revoked_ms IS NULL", "CHECK"),
        (
            "UPDATE certificate SET revoked_ms = NULL, revoked_leaf = NULL WHERE revoked_ms IS NOT NULL",
            "taken back once",
        ),
        ("UPDATE share SET sealed = x'00'", "a share is never changed"),
        ("UPDATE share SET certificate = x'00'", "a share is certified once"),
        ("DELETE FROM share", "a share is never removed"),
        (
            "INSERT INTO share VALUES (zeroblob(32), 'default', 'w', 0, 1, x'', x'', x'00')",
            "a share is kept before it is certified",
        ),
        ("UPDATE ban SET party = 3", "a ban is never changed"),
        ("DELETE FROM ban", "a ban is never removed"),
        ("UPDATE bundle SET canonical = x''", "a bundle is never changed"),
        ("DELETE FROM activation", "an activation is never removed"),
    ] {
        let error = database.execute(sql, []).expect_err(sql).to_string();
        assert!(error.contains(rule), "`{sql}`: {error}");
    }
}

/// Would catch a request that is made ready after its end, or twice under one bundle.
#[tokio::test]
async fn a_request_waits_for_a_signature_once_under_each_bundle_while_it_waits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let row = started(&store, RequestState::Pending, 0).await.unwrap();
    let (id, leaf) = (row.id, row.decision_leaf.unwrap());
    store.write(move |tx| tx.make_ready(id, &[1; 32], leaf)).await.unwrap();
    let again = store.write(move |tx| tx.make_ready(id, &[1; 32], leaf)).await;
    assert!(matches!(again, Err(StoreError::Refused { .. })), "{again:?}");
    let next = move |tx: &mut chancery_store::Tx<'_>| {
        let leaf = tx.append_leaf(b"ready", &[9; 32])?;
        tx.make_ready(id, &[2; 32], leaf).map(|()| leaf)
    };
    let newest = store.write(next).await.unwrap().into_inner();
    let ready = store.read(|rows| rows.ready(id)).unwrap();
    assert_eq!(ready, [([2; 32], newest), ([1; 32], leaf)], "the newest first");
    store.write(move |tx| finish(tx, id, RequestState::Expired)).await.unwrap();
    let late = store.write(move |tx| tx.make_ready(id, &[3; 32], leaf)).await;
    assert!(matches!(late, Err(StoreError::Refused { .. })), "{late:?}");
}

async fn started(store: &Store, state: RequestState, n: usize) -> Result<RequestRow, StoreError> {
    let key = format!("{}-{n}", state.as_str());
    Ok(store.write(move |tx| record(tx, request(&key, state, 1))).await?.into_inner())
}

#[tokio::test]
async fn only_the_legal_moves_are_possible() {
    use RequestState::{Denied, Expired, Failed, Pending, Permitted, Released};
    let legal = [
        (Permitted, Released),
        (Permitted, Failed),
        (Pending, Permitted),
        (Pending, Denied),
        (Pending, Expired),
        (Pending, Failed),
    ];
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut n = 0;
    for from in RequestState::ALL {
        for to in RequestState::ALL {
            n += 1;
            // How a request comes to stand at `from`.
            let start = match from {
                Permitted | Denied | Pending => from,
                Released | Failed => Permitted,
                Expired => Pending,
            };
            let id = started(&store, start, n).await.unwrap().id;
            if start != from {
                store.write(move |tx| finish(tx, id, from)).await.unwrap();
            }
            let moved = store.write(move |tx| finish(tx, id, to)).await;
            let found = store.read(|rows| rows.request(id)).unwrap().unwrap().state;
            if legal.contains(&(from, to)) {
                moved.unwrap();
                assert_eq!(found, to);
            } else {
                assert!(matches!(moved, Err(StoreError::Refused { .. })), "{from:?} to {to:?}: {moved:?}");
                assert_eq!(found, from);
            }
        }
    }
    for start in [Released, Expired, Failed] {
        assert!(started(&store, start, 0).await.is_err(), "a request started as {start:?}");
    }
}

#[tokio::test]
async fn no_state_stands_without_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let refused = async |row: RequestRow, why: &str| {
        let answer = store.write(move |tx| tx.insert_request(&row)).await;
        assert!(matches!(answer, Err(StoreError::Refused { .. })), "{why}: {answer:?}");
    };
    refused(request("a", RequestState::Permitted, 1), "permitted without a decision leaf").await;
    let mut dangling = request("b", RequestState::Denied, 1);
    dangling.decision_leaf = Some(5);
    refused(dangling, "a decision leaf that is not in the log").await;
    let mut endless = request("c", RequestState::Pending, 1);
    endless.expires_ms = None;
    refused(endless, "pending for ever").await;
    let mut early = request("d", RequestState::Denied, 1);
    early.released = Some(vec![1]);
    refused(early, "a denial with a signature").await;

    let unreserved = request("e", RequestState::Denied, 1);
    let id = unreserved.id;
    let answer = store.write(move |tx| tx.reserve(id, "c", UnixMillis(1), 1_000, 1)).await;
    assert!(matches!(answer, Err(StoreError::Refused { .. })), "a reservation of no request: {answer:?}");
    let twice = request("f", RequestState::Permitted, 1);
    let answer = store.write(move |tx| {
        let id = record(tx, twice)?.id;
        tx.reserve(id, "c", UnixMillis(1), 1_000, 1)?;
        tx.reserve(id, "c", UnixMillis(2), 1_000, 1)
    });
    let answer = answer.await;
    assert!(matches!(answer, Err(StoreError::AlreadyExists { .. })), "counted twice: {answer:?}");
    let answer = store.write(move |tx| finish(tx, id, RequestState::Failed)).await;
    assert!(matches!(answer, Err(StoreError::Unknown { kind: "request" })), "{answer:?}");
    assert_eq!(store.read(|rows| rows.tree_size()).unwrap(), 0);
}

#[tokio::test]
async fn wallets_and_bundles_keep_their_history() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let tenant = chancery_core::Tenant::default();
    let wallet = WalletRow {
        tenant: tenant.clone(),
        id: "w".parse().unwrap(),
        created_ms: UnixMillis(1),
        leaf: 0,
        record: vec![1],
    };
    let row = wallet.clone();
    store
        .write(move |tx| -> Result<(), StoreError> {
            tx.append_leaf(b"wallet", &[0; 32])?;
            tx.insert_wallet(&row)?;
            for (n, hash) in [[1; 32], [2; 32], [1; 32]].into_iter().enumerate() {
                let leaf = tx.append_leaf(b"policy", &[0; 32])?;
                tx.put_bundle(&row.tenant, &hash, &hash[..4])?;
                tx.activate_bundle(&row.tenant, &hash, UnixMillis(n as i64), leaf)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let again = wallet.clone();
    let taken = store.write(move |tx| tx.insert_wallet(&again)).await;
    assert!(matches!(taken, Err(StoreError::AlreadyExists { kind: "wallet" })), "{taken:?}");
    let unknown = store.write(move |tx| tx.activate_bundle(&wallet.tenant, &[9; 32], UnixMillis(9), 0)).await;
    assert!(matches!(unknown, Err(StoreError::Refused { .. })), "{unknown:?}");
    store
        .read(|rows| {
            assert_eq!(rows.wallets(&tenant, None, 10)?.len(), 1);
            assert_eq!(rows.wallets(&tenant, Some(&"w".parse().unwrap()), 10)?.len(), 0);
            assert!(
                rows.wallet(&"other".parse().unwrap(), &"w".parse().unwrap())?.is_none(),
                "another tenant"
            );
            let active = rows.active_bundle(&tenant)?.unwrap();
            assert_eq!((active.hash, active.leaf, active.applied_ms.0), ([1; 32], 3, 2));
            assert_eq!(active.canonical, [1; 4]);
            assert_eq!(rows.activation(&tenant)?, Some(active.leaf));
            assert_eq!(rows.bundle(&tenant, &[2; 32])?.unwrap().leaf, 2);
            assert!(rows.bundle(&tenant, &[9; 32])?.is_none());
            assert_eq!(rows.leaves(1..100)?.len(), 3);
            assert_eq!(rows.leaf(3)?.unwrap().body, b"policy");
            assert!(rows.leaf(4)?.is_none());
            assert_eq!(rows.leaf_hashes(0..4)?.len(), 4);
            for bad in [rows.leaf(u64::MAX).is_err(), rows.leaves(0..u64::MAX).is_err()] {
                assert!(bad, "a number beyond SQLite's integers was taken");
            }
            Ok(())
        })
        .unwrap();
}
