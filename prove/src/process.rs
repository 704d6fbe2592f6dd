//! One process of the solver: SMT-LIB 2 in, one line for each question out, and a model of several where there is one. What is not one
//! of the answers that SMT-LIB knows is an error, and an error proves nothing.

use std::any::Any;
use std::io;
use std::process::Stdio;

use cedar_policy_symcc::SmtLibScript as _;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, SolverError};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter,
};
use tokio::process::Command;

/// LIMIT: one answer, in bytes: a model names every value of a request.
const ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// A solver that runs.
pub struct Process {
    input: BufWriter<Box<dyn AsyncWrite + Send + Unpin>>,
    output: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    /// Ends it when dropped.
    _held: Box<dyn Any + Send>,
}

impl Process {
    /// By its streams, and what ends it when dropped.
    pub fn new(
        input: impl AsyncWrite + Send + Unpin + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        held: impl Any + Send,
    ) -> Self {
        Self {
            input: BufWriter::new(Box::new(input)),
            output: BufReader::new(Box::new(output)),
            _held: Box::new(held),
        }
    }

    /// A child of this process.
    pub(crate) fn of(command: &mut Command) -> io::Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self::new(input, output, child)),
            _ => Err(io::Error::other("it has no streams")),
        }
    }

    async fn line(&mut self) -> Result<String, SolverError> {
        let mut line = String::new();
        if (&mut self.output).take(ANSWER_BYTES).read_line(&mut line).await? == 0 {
            return Err(SolverError::Solver("it ended".to_owned()));
        }
        Ok(line)
    }
}

impl cedar_policy_symcc::solver::Solver for Process {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.input
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        Ok(self.input.set_option("produce-models", "true").await?)
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        self.input.check_sat().await?;
        self.input.flush().await?;
        match self.line().await?.trim() {
            "sat" => Ok(Decision::Sat),
            "unsat" => Ok(Decision::Unsat),
            "unknown" => Ok(Decision::Unknown),
            other => Err(strange(other)),
        }
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        match self.check_sat().await? {
            Decision::Unsat => return Ok(DecisionWithModel::Unsat),
            Decision::Unknown => return Ok(DecisionWithModel::Unknown),
            Decision::Sat => {}
        }
        self.input.get_model().await?;
        self.input.flush().await?;
        // A line with a bracket, one for each value, and the other bracket.
        let mut model = self.line().await?;
        if model.trim() != "(" {
            return Err(strange(model.trim()));
        }
        loop {
            let line = self.line().await?;
            model.push_str(&line);
            if line.trim() == ")" {
                return Ok(DecisionWithModel::Sat { model });
            }
            if model.len() as u64 > ANSWER_BYTES {
                return Err(SolverError::Solver("its model is too long".to_owned()));
            }
        }
    }
}

/// What is none of the answers: an error of the solver's, or anything.
fn strange(line: &str) -> SolverError {
    match line.strip_prefix("(error \"").and_then(|line| line.strip_suffix("\")")) {
        Some(error) => SolverError::Solver(error.to_owned()),
        None => SolverError::UnrecognizedSolverOutput(line.to_owned()),
    }
}
