//! A limit counts what went before it: ahead of a new bundle, every request still in a window of its limits gets to hold
//! what the bundle measures of it. Without this a limit would start from zero whenever its definition changes, and a
//! wallet could spend its day's amount twice.

use std::sync::Arc;

use chancery_core::{RequestId, Tenant, UnixMillis};
use chancery_intent::{Description, understand};
use chancery_policy::{Bundle, Limit, Met, Question, Reservation};
use chancery_store::{RequestRow, RequestState, Tx};

use crate::house::Books;
use crate::kept::{self, Kept};
use crate::refusal::Refusal;
use crate::spending::counter_name;

/// LIMIT: requests of one transaction, so that signing goes on beside it.
const PAGE: usize = 64;

/// The way through the requests that a bundle's limits reach back to.
pub(crate) struct Backfill {
    tenant: Tenant,
    bundle: Arc<Bundle>,
    from: UnixMillis,
    after: Option<RequestId>,
    measured: u64,
}

impl Backfill {
    /// `None` where the bundle in force has measured all that `bundle` measures.
    pub fn before(
        bundle: &Arc<Bundle>,
        in_force: Option<&Bundle>,
        tenant: &Tenant,
        now: UnixMillis,
    ) -> Option<Self> {
        // Before the first bundle nothing was permitted.
        let in_force = in_force?;
        let longest = bundle.limits().map(|limit: &Limit| limit.window_ms).max()?;
        (!bundle.measures_as(in_force)).then(|| Self {
            tenant: tenant.clone(),
            bundle: Arc::clone(bundle),
            from: now.plus_ms(longest.saturating_neg()),
            after: None,
            measured: 0,
        })
    }

    /// How many requests are behind it.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// One page of requests, the oldest first; it runs on the store's writer. True once none is left: then the bundle must
    /// come into force in this same transaction, or the next request would be missed.
    pub fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<bool, Refusal> {
        let rows = tx.rows().holding(&self.tenant, self.from, self.after, PAGE)?;
        for row in &rows {
            self.hold(books, tx, row)?;
        }
        self.measured += rows.len() as u64;
        self.after = rows.last().map(|row| row.id).or(self.after);
        Ok(rows.len() < PAGE)
    }

    fn hold(&self, books: &Books, tx: &mut Tx<'_>, row: &RequestRow) -> Result<(), Refusal> {
        let description = self.description(books, row)?;
        let question = Question {
            tenant: &row.tenant,
            client: &row.client,
            wallet: &row.wallet,
            tier: books.wallets.find(&row.tenant, &row.wallet)?.tier(),
            description: &description,
            now: row.decided_ms,
            met: &Met::default(),
        };
        for Reservation { counter, window_ms, amount } in self.bundle.measure(&question) {
            let counter = counter_name(&counter);
            // What was measured at its time stays; an interrupted backfill goes on where it ended.
            if !tx.holds(row.id, &counter)? {
                tx.reserve(row.id, &counter, row.decided_ms, window_ms, amount)?;
            }
        }
        if row.state == RequestState::Released {
            tx.settle(row.id)?;
        }
        Ok(())
    }

    /// What the request does, as this bundle reads it. What no longer decodes, because a contract was registered as
    /// something else since, counts as it was decided.
    fn description(&self, books: &Books, row: &RequestRow) -> Result<Description, Refusal> {
        let kept: Kept = kept::read("record", &row.record)?;
        let wallet = books.wallets.find(&row.tenant, &row.wallet)?;
        match understand(&kept.payload, &wallet.account(), self.bundle.contracts()) {
            Ok(intent) => Ok(intent.description().clone()),
            Err(_) => kept::parse("intent", kept.intent),
        }
    }
}
