//! The whole run: claims in order, one solver process beside another question after another, on a thread whose stack is
//! large enough for the largest bundle's conditions.

use std::time::{Duration, Instant};

use chancery_policy::{Bundle, Claim, Subject};

use crate::ProveError;
use crate::ask::{Answer, Asker};
use crate::report::{Proof, Report, Verdict, took_ms};
use crate::solver::Solver;

/// LIMIT: the stack of the thread that puts claims together. They nest as deep as the rules they are made of.
const STACK_BYTES: usize = 64 << 20;

/// How to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long the solver may take over one question.
    pub limit: Duration,
    /// How long the whole run may take; what is not asked by then is not proved.
    pub total: Duration,
    /// Also ask of each rule whether it ever applies, and whether it can fail.
    pub rules: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: Duration::from_secs(30), total: Duration::from_secs(600), rules: false }
    }
}

/// Told of each proof as it is made: how many are done, of how many, and the proof.
pub type Progress<'p> = &'p (dyn Fn(usize, usize, &Proof) + Sync);

/// Proves claims about bundles.
#[derive(Clone, Debug)]
pub struct Prover {
    solver: Solver,
    options: Options,
}

impl Prover {
    /// With this solver.
    #[must_use]
    pub fn new(solver: Solver, options: Options) -> Self {
        Self { solver, options }
    }

    /// Proves every goal of a bundle; with an `old` one, that the bundle allows nothing that the old one does not; and with
    /// [`Options::rules`], of each rule that it applies to something and never fails. Blocks until all is asked.
    ///
    /// # Errors
    /// [`ProveError`] when nothing could be asked; what was asked and not proved is in the report.
    pub fn prove(
        &self,
        bundle: &Bundle,
        old: Option<&Bundle>,
        progress: Progress<'_>,
    ) -> Result<Report, ProveError> {
        std::thread::scope(|scope| {
            let work = || self.run(bundle, old, progress);
            let thread = std::thread::Builder::new().name("prove".to_owned()).stack_size(STACK_BYTES);
            let thread = thread.spawn_scoped(scope, work).map_err(ProveError::Run)?;
            thread
                .join()
                .unwrap_or_else(|_| Err(ProveError::Run(std::io::Error::other("the prover panicked"))))
        })
    }

    fn run(
        &self,
        bundle: &Bundle,
        old: Option<&Bundle>,
        progress: Progress<'_>,
    ) -> Result<Report, ProveError> {
        let unwritable = ProveError::Unwritable;
        let mut claims = bundle.goal_claims().map_err(unwritable)?;
        if self.options.rules {
            claims.extend(bundle.dead_claims().map_err(unwritable)?);
            claims.extend(bundle.error_claims().map_err(unwritable)?);
        }
        if let Some(old) = old {
            let comparison = bundle.compare(old).map_err(unwritable)?;
            claims.extend(comparison.claims().map_err(unwritable)?);
        }
        // One verdict for each subject, over all the kinds of effect it is about, in the order of first mention.
        let mut subjects: Vec<(Subject, Vec<Claim<'_>>)> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        for claim in claims {
            let place = *places.entry(claim.subject().clone()).or_insert_with(|| {
                subjects.push((claim.subject().clone(), Vec::new()));
                subjects.len() - 1
            });
            subjects.get_mut(place).into_iter().for_each(|(_, claims)| claims.push(claim.clone()));
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProveError::Run)?;
        let mut asker = Asker::new(&self.solver, self.options.limit);
        let mut proofs = Vec::new();
        let total = subjects.len();
        let started = Instant::now();
        for (subject, claims) in subjects {
            if started.elapsed() >= self.options.total {
                let reason = format!("not asked within {} s", self.options.total.as_secs());
                proofs.push(Proof {
                    subject,
                    verdict: Verdict::Unproved { reason },
                    action: None,
                    took_ms: 0,
                });
                continue;
            }
            let proof = runtime.block_on(one(&mut asker, subject, &claims))?;
            progress(proofs.len() + 1, total, &proof);
            proofs.push(proof);
        }
        let against = old.map(|old| old.hash().to_owned());
        Ok(Report { bundle: bundle.hash().to_owned(), against, proofs })
    }
}

/// One subject: proved where every claim is; an example outweighs a claim about which nothing is known.
async fn one(asker: &mut Asker<'_>, subject: Subject, claims: &[Claim<'_>]) -> Result<Proof, ProveError> {
    let started = Instant::now();
    let mut result = (Verdict::Proved, None);
    for claim in claims {
        match verdict(asker, claim).await? {
            Verdict::Proved => {}
            broken @ Verdict::Broken { .. } => {
                result = (broken, Some(claim.kind().as_str()));
                break;
            }
            unproved => result = (unproved, Some(claim.kind().as_str())),
        }
    }
    let (verdict, action) = result;
    Ok(Proof { subject, verdict, action, took_ms: took_ms(started.elapsed()) })
}

async fn verdict(asker: &mut Asker<'_>, claim: &Claim<'_>) -> Result<Verdict, ProveError> {
    let (environment, never) = (claim.environment(), claim.never());
    let seen = match asker.ask(claim.policy(), &environment, claim.schema(), never).await? {
        Answer::Never => return Ok(Verdict::Proved),
        Answer::Unknown(reason) => return Ok(Verdict::Unproved { reason }),
        Answer::Sometimes(request) => request,
    };
    let mut reason =
        "the solver found that it can happen, but no request that can be written down".to_owned();
    for policy in claim.writable(&seen) {
        if let Answer::Sometimes(request) = asker.ask(&policy, &environment, claim.schema(), never).await? {
            match claim.example(&request) {
                Ok(example) => return Ok(Verdict::Broken { example: Box::new(example) }),
                Err(why) => reason = why,
            }
        }
    }
    match claim.example(&seen) {
        Ok(example) => Ok(Verdict::Broken { example: Box::new(example) }),
        Err(_) => Ok(Verdict::Unproved { reason }),
    }
}
