//! May a client do what an intent says: a Cedar bundle with obligations, limits, an asset registry and an address book,
//! compiled once and asked many times. Pure but for reading a bundle's folder. It trusts the intent it is given and what
//! `Spending` answers. If it is wrong, keys sign what nobody allowed.

mod answer;
mod bundle;
mod call;
mod case;
mod chain;
mod decide;
mod depth;
mod diff;
mod error;
mod evaluate;
mod explain;
mod fact;
mod goal;
mod limit;
mod manifest;
mod name;
mod obligation;
mod officers;
mod proof;
mod reads;
mod registry;
mod rule;
mod schema;
mod shelf;
mod source;
mod span;
mod tested;
mod units;
mod words;

pub use answer::{Answer, Expected, TestResult};
pub use bundle::{Bundle, RuleSummary};
pub use decide::{Asked, Decision, Permit, decide};
pub use diff::{Change, Difference, Part};
pub use error::{BundleError, Finding, FindingCode, PolicyError};
pub use evaluate::{EffectEvaluation, Evaluation, Fault, Missing, Outcome};
pub use explain::{Candidate, Clause, EffectExplanation, Explanation, MeasuredLimit, Said};
pub use fact::Question;
pub use goal::GoalSummary;
pub use limit::{
    BUCKETS, Counter, Key, Limit, Measure, MemorySpending, Reservation, Spending, SpendingError,
    SupposedSpending, bucket, bucket_ms, oldest_bucket,
};
pub use name::{
    DEFAULT_DENY, EFFECTS_OUT_OF_RANGE, REQUEST_UNREADABLE, RESERVED, RuleName, SPENDING_UNREADABLE,
};
pub use obligation::{Met, Need};
pub use officers::{Delegation, Officers, Standing};
pub use proof::{Claim, Comparison, Example, Modelled, Never, Subject};
pub use source::Source;
pub use tested::Tested;
