//! Every statement of a request's walk and of a listing, asked for its query plan: none may walk a table or sort,
//! because a store is slow then in proportion to its age.

use chancery_core::{Tenant, UnixMillis};
use rusqlite::StatementStatus;

use crate::link::Link;
use crate::reader::{self, listing};
use crate::{
    RequestFilter, RequestState, addresses, approvals, certificates, limits, officers, renewals, schema,
    shares, told, tx,
};

fn store(directory: &std::path::Path) -> Link {
    let path = directory.join("store.sqlite");
    std::fs::File::create(&path).unwrap();
    let link = Link::writer(&path).unwrap();
    link.make_durable().unwrap();
    schema::create(&link).unwrap();
    link
}

fn plan(link: &Link, sql: &str) -> Vec<String> {
    let mut statement = link.raw().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![rusqlite::types::Null; statement.parameter_count()];
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Steps that cost more as the table grows. `max(rowid)` reads "SEARCH"; a subquery's own rows are bounded.
fn heavy(step: &str) -> bool {
    step.contains("SCAN") || step.contains("TEMP B-TREE") || step.contains("AUTOMATIC")
}

#[test]
fn no_hot_statement_walks_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let link = store(directory.path());
    for sql in [
        reader::sql::REQUEST,
        reader::sql::REQUEST_BY_KEY,
        reader::sql::EXPIRED,
        reader::sql::UNRESOLVED,
        reader::sql::HOLDING,
        reader::sql::CURSOR,
        reader::sql::WALLET,
        reader::sql::WALLETS,
        reader::sql::ACTIVE_BUNDLE,
        reader::sql::ACTIVATION,
        reader::sql::BUNDLE,
        reader::sql::KEPT_BUNDLE,
        reader::sql::WRAPPED,
        reader::sql::LEAF,
        reader::sql::LEAVES,
        reader::sql::LEAF_HASHES,
        reader::sql::TREE_SIZE,
        reader::sql::NEWEST,
        renewals::sql::RENEWED,
        renewals::sql::RENEWALS,
        shares::sql::SHARE,
        shares::sql::SHARES_OF,
        shares::sql::KEEP,
        shares::sql::CERTIFY,
        shares::sql::SPEAK,
        shares::sql::SPOKE,
        shares::sql::BAN,
        shares::sql::BANS_ALL,
        shares::sql::BANNED,
        told::sql::TOLD,
        told::sql::PUT_TOLD,
        tx::sql::INSERT_REQUEST,
        tx::sql::FINISH_REQUEST,
        tx::sql::FREE_KEY,
        tx::sql::INSERT_WALLET,
        tx::sql::PUT_BUNDLE,
        tx::sql::ACTIVATE,
        tx::sql::USE_NONCE,
        tx::sql::KEEP_WRAPPED,
        addresses::sql::ADDRESSES,
        addresses::sql::PUT_ADDRESSES,
        approvals::sql::APPROVE,
        approvals::sql::APPROVALS,
        approvals::sql::MAKE_READY,
        approvals::sql::READY,
        approvals::sql::DECIDE_AGAIN,
        approvals::sql::WAIT,
        approvals::sql::WAITED,
        certificates::sql::AUTHORITY,
        certificates::sql::INSERT_AUTHORITY,
        certificates::sql::CERTIFICATE,
        certificates::sql::BY_REQUEST,
        certificates::sql::BY_KEY,
        certificates::sql::CERTIFICATES,
        certificates::sql::HOLDING,
        certificates::sql::UNENDED,
        certificates::sql::REVOKED,
        certificates::sql::INSERT_CERTIFICATE,
        certificates::sql::REVOKE,
        officers::sql::ACCOUNT,
        officers::sql::PUT_ACCOUNT,
        officers::sql::USE_CODE,
        officers::sql::USED_CODE,
        officers::sql::SESSION,
        officers::sql::SESSION_OF,
        officers::sql::SESSIONS,
        officers::sql::OPEN_SESSION,
        officers::sql::END_SESSION,
        officers::sql::END_SESSIONS,
        officers::sql::END_OLDEST,
        officers::sql::SWEEP_SESSIONS,
        limits::sql::SPENT,
        limits::sql::BUCKET,
        limits::sql::ADD,
        limits::sql::SUBTRACT,
        limits::sql::RESERVE,
        limits::sql::SETTLE,
        limits::sql::HELD,
        limits::sql::HOLDS,
        limits::sql::RETURN,
        limits::sql::GONE,
        limits::sql::SWEEP,
        limits::sql::DROP,
    ] {
        let steps = plan(&link, sql);
        assert!(!steps.iter().any(|step| heavy(step)), "{sql}\n{steps:#?}");
    }
}

#[test]
fn no_listing_walks_a_table_or_sorts() {
    let directory = tempfile::tempdir().unwrap();
    let link = store(directory.path());
    for choice in 0..32_u32 {
        for state in [None].into_iter().chain(RequestState::ALL.map(Some)) {
            let on = |bit: u32| choice & (1 << bit) != 0;
            let filter = RequestFilter {
                wallet: on(0).then(|| "w".parse().unwrap()),
                client: on(1).then(|| "c".parse().unwrap()),
                state,
                from: on(2).then_some(UnixMillis(1)),
                to: on(3).then_some(UnixMillis(2)),
                ..RequestFilter::all(Tenant::default())
            };
            let (sql, values) = listing(&filter, on(4).then_some((1, 1)), 10);
            let steps = plan(&link, &sql);
            assert!(!steps.iter().any(|step| heavy(step)), "{sql}\n{steps:#?}");
            let narrowed = on(0) || on(1) || !matches!(state, None | Some(RequestState::Released));
            let by_time = steps.iter().any(|step| step.contains("request_by_time"));
            assert_ne!(narrowed, by_time, "not the index that narrows most: {sql}\n{steps:#?}");
            let statement = link.raw().prepare(&sql).unwrap();
            assert_eq!(statement.parameter_count(), values.len(), "{sql}");
        }
    }
}

#[test]
fn a_statement_that_walks_would_be_seen() {
    let directory = tempfile::tempdir().unwrap();
    let link = store(directory.path());
    for sql in [
        "SELECT id FROM request WHERE signing_digest = ?1",
        "SELECT id FROM request WHERE tenant = ?1 ORDER BY expires_ms",
        "DELETE FROM reservation WHERE counter = ?1 AND settled = 0 OR amount = 1",
    ] {
        assert!(plan(&link, sql).iter().any(|step| heavy(step)), "{sql}: this test cannot fail");
    }
}

/// Also covers the append of a leaf, whose plan names walks over the tables that refer to leaves: SQLite makes them
/// only while a foreign key is broken, which an immediate one never is.
#[test]
fn recording_costs_the_same_after_ten_thousand_requests() {
    // SQLite counts the steps of its machine: a figure without a clock. The triggers' plans are in it too.
    let directory = tempfile::tempdir().unwrap();
    let link = store(directory.path());
    let steps = |from: u32, to: u32| {
        let mut most = 0;
        for n in from..to {
            let mut leaf = link.raw().prepare_cached(tx::sql::APPEND_LEAF).unwrap();
            leaf.reset_status(StatementStatus::VmStep);
            leaf.execute((n, [0_u8; 32], b"body")).unwrap();
            let mut request = link.raw().prepare_cached(tx::sql::INSERT_REQUEST).unwrap();
            request.reset_status(StatementStatus::VmStep);
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let key = n.to_string();
            request
                .execute(rusqlite::params![
                    id,
                    "t",
                    "c",
                    "w",
                    key,
                    [0_u8; 32],
                    [0_u8; 32],
                    "permitted",
                    n,
                    None::<i64>,
                    n,
                    None::<i64>,
                    b"{}",
                    None::<Vec<u8>>
                ])
                .unwrap();
            let mut finish = link.raw().prepare_cached(tx::sql::FINISH_REQUEST).unwrap();
            finish.reset_status(StatementStatus::VmStep);
            finish.execute((id, "released", n, b"s")).unwrap();
            let all = [&leaf, &request, &finish];
            most = most.max(all.iter().map(|one| one.get_status(StatementStatus::VmStep)).sum());
        }
        most
    };
    link.control("BEGIN").unwrap();
    let young = steps(0, 100);
    steps(100, 10_000);
    let old = steps(10_000, 10_100);
    link.control("COMMIT").unwrap();
    assert!(old <= young + 8, "{young} steps at first, {old} after 10,000 requests");
}
