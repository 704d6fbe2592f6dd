//! Pages of requests against a plain filter over all of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod fixture;

use chancery_core::limit::PAGE_ROWS;
use chancery_core::{RequestId, Tenant, UnixMillis};
use chancery_store::{RequestFilter, RequestRow, RequestState, Store, StoreError};
use fixture::{finish, open, record, request};

/// 240 requests of two tenants, two wallets, three clients and every state; three share each decision time.
async fn filled(store: &Store) -> Vec<RequestRow> {
    let ids = store
        .write(|tx| -> Result<Vec<RequestId>, StoreError> {
            let mut ids = Vec::new();
            for n in 0..240_usize {
                let end = RequestState::ALL[n % 6];
                let start = match end {
                    RequestState::Released | RequestState::Failed => RequestState::Permitted,
                    RequestState::Expired => RequestState::Pending,
                    other => other,
                };
                let mut row = request(&format!("k{n}"), start, 1_000 + n as i64 / 3);
                row.tenant = if n % 5 == 0 { "other".parse().unwrap() } else { Tenant::default() };
                row.wallet = format!("w{}", n / 7 % 2).parse().unwrap();
                row.client = format!("c{}", n / 11 % 3).parse().unwrap();
                let row = record(tx, row)?;
                if start != end {
                    finish(tx, row.id, end)?;
                }
                ids.push(row.id);
            }
            Ok(ids)
        })
        .await
        .unwrap()
        .into_inner();
    ids.into_iter().rev().map(|id| store.read(|rows| rows.request(id)).unwrap().unwrap()).collect()
}

fn matches(filter: &RequestFilter, row: &RequestRow) -> bool {
    filter.tenant == row.tenant
        && filter.wallet.as_ref().is_none_or(|wallet| *wallet == row.wallet)
        && filter.client.as_ref().is_none_or(|client| *client == row.client)
        && filter.state.is_none_or(|state| state == row.state)
        && filter.from.is_none_or(|from| row.decided_ms >= from)
        && filter.to.is_none_or(|to| row.decided_ms < to)
}

#[tokio::test]
async fn every_filter_gives_every_match_once_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let all = filled(&store).await;
    let mut listings = 0;
    for choice in 0..32_u32 {
        for state in RequestState::ALL {
            let on = |bit: u32| choice & (1 << bit) != 0;
            let mut filter = RequestFilter {
                wallet: on(0).then(|| "w1".parse().unwrap()),
                client: on(1).then(|| "c2".parse().unwrap()),
                state: on(2).then_some(state),
                from: on(3).then_some(UnixMillis(1_020)),
                to: on(4).then_some(UnixMillis(1_061)),
                limit: 7,
                ..RequestFilter::all(Tenant::default())
            };
            let expected: Vec<_> = all.iter().filter(|row| matches(&filter, row)).cloned().collect();
            let mut found = Vec::new();
            loop {
                let page = store.read(|rows| rows.requests(&filter)).unwrap();
                assert!(page.len() <= 7);
                found.extend(page.iter().cloned());
                if page.len() < 7 {
                    break;
                }
                filter.after = page.last().map(|row| row.id);
            }
            assert_eq!(found, expected, "{filter:?}");
            listings += usize::from(!expected.is_empty());
        }
    }
    assert!(listings > 100, "the filters matched next to nothing: {listings}");
}

#[tokio::test]
async fn a_page_has_its_bounds_and_a_cursor_its_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let all = filled(&store).await;
    for limit in [0, PAGE_ROWS + 1, usize::MAX] {
        let filter = RequestFilter { limit, ..RequestFilter::all(Tenant::default()) };
        assert!(store.read(|rows| rows.requests(&filter)).is_err(), "{limit}");
        assert!(store.read(|rows| rows.unresolved(limit)).is_err(), "{limit}");
    }
    let foreign = all.iter().find(|row| row.tenant != Tenant::default()).unwrap().id;
    for after in [foreign, RequestId::fresh()] {
        let filter = RequestFilter { after: Some(after), ..RequestFilter::all(Tenant::default()) };
        let answer = store.read(|rows| rows.requests(&filter));
        assert!(matches!(answer, Err(StoreError::Unknown { .. })), "another tenant's cursor tells something");
    }
}

#[tokio::test]
async fn what_is_due_and_what_is_open_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let all = filled(&store).await;
    let open = store.read(|rows| rows.unresolved(PAGE_ROWS)).unwrap();
    assert_eq!(open.len(), 40);
    assert!(open.iter().all(|row| row.state == RequestState::Permitted));
    let now = UnixMillis(2_030);
    let mut due: Vec<_> = all
        .iter()
        .filter(|row| row.state == RequestState::Pending && row.expires_ms.unwrap() <= now)
        .map(|row| row.id)
        .collect();
    let found = store.read(|rows| rows.expired(now, PAGE_ROWS)).unwrap();
    assert!(found.is_sorted_by_key(|row| row.expires_ms), "the longest waiting first");
    let mut found: Vec<_> = found.into_iter().map(|row| row.id).collect();
    found.sort();
    due.sort();
    assert!(!due.is_empty() && due.len() < 40);
    assert_eq!(found, due);
}
