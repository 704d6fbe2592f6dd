//! One question to one solver process: can this policy ever hold, or ever fail? A process that was late or confused is left
//! to die, and the next question gets a new one.

use std::time::Duration;

use cedar_policy::{Policy, Request, RequestEnv, Schema};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy};
use chancery_core::causes;
use chancery_policy::Never;

use crate::ProveError;
use crate::process::Process;
use crate::solver::Solver;

/// LIMIT: the longest that one question may be given.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// What a solver says.
pub(crate) enum Answer {
    /// It never happens.
    Never,
    /// It happens, for instance here.
    Sometimes(Box<Request>),
    /// Nothing is known, and why.
    Unknown(String),
}

/// A solver's process, started again where it must be.
pub(crate) struct Asker<'s> {
    solver: &'s Solver,
    limit: Duration,
    process: Option<CedarSymCompiler<Process>>,
}

impl<'s> Asker<'s> {
    pub fn new(solver: &'s Solver, limit: Duration) -> Self {
        Self { solver, limit: limit.min(LONGEST), process: None }
    }

    /// Asks whether `policy` can hold, or fail.
    ///
    /// # Errors
    /// [`ProveError::Solver`] only when no process can be started.
    pub async fn ask(
        &mut self,
        policy: &Policy,
        environment: &RequestEnv,
        schema: &Schema,
        never: Never,
    ) -> Result<Answer, ProveError> {
        let compiled = match CompiledPolicy::compile(policy, environment, schema) {
            Ok(compiled) => compiled,
            Err(error) => {
                return Ok(Answer::Unknown(format!("it cannot be put to a solver: {}", told(&error))));
            }
        };
        let mut process = match self.process.take() {
            Some(process) => process,
            None => {
                let solver = self.solver.start(self.limit)?;
                let failed = |error: Error| ProveError::Solver {
                    path: self.solver.path().to_owned(),
                    what: causes(&error),
                };
                CedarSymCompiler::new(solver).map_err(failed)?
            }
        };
        let question = async {
            match never {
                Never::Holds => process.check_never_matches_with_counterexample_opt(&compiled).await,
                Never::Fails => process.check_never_errors_with_counterexample_opt(&compiled).await,
            }
        };
        // The solver has the same limit of its own; a little more for one that does not know it.
        let patience = self.limit.saturating_add(self.limit / 4).saturating_add(Duration::from_millis(500));
        match tokio::time::timeout(patience, question).await {
            Ok(Ok(None)) => {
                self.process = Some(process);
                Ok(Answer::Never)
            }
            Ok(Ok(Some(found))) => {
                self.process = Some(process);
                Ok(Answer::Sometimes(Box::new(found.request)))
            }
            Ok(Err(Error::SolverUnknown)) => {
                self.process = Some(process);
                Ok(Answer::Unknown(format!("the solver does not know within {} ms", self.limit.as_millis())))
            }
            Ok(Err(error)) => Ok(Answer::Unknown(told(&error))),
            Err(_) => Ok(Answer::Unknown(format!("no answer within {} ms", self.limit.as_millis()))),
        }
    }
}

/// LIMIT: characters of a solver's or compiler's reason; the terms they show can be as large as a bundle.
const REASON: usize = 300;

fn told(error: &Error) -> String {
    let reason = match error {
        Error::ModelInvalid { .. } => "the solver's answer does not satisfy what it was asked".to_owned(),
        Error::PolicyNotWellTyped { errs } => {
            errs.first().map_or_else(|| error.to_string(), |first| format!("{error}: {first}"))
        }
        other => causes(other),
    };
    match reason.char_indices().nth(REASON) {
        Some((at, _)) => format!("{} ...", reason.get(..at).unwrap_or_default()),
        None => reason,
    }
}
