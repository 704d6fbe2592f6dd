//! How fast the module itself signs: `C_SignInit` and `C_Sign` on a token key with nothing of ours around them.
//! The figure that the whole appliance is measured against.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chancery_core::KeyId;
use serde::Serialize;

use super::Bench;
use crate::error::HsmError;
use crate::key::Algorithm;
use crate::wire::Fault;
use crate::worker::keys::{self, Keep};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// What was signed with.
    pub algorithm: Algorithm,
    /// Threads, each with a session of its own.
    pub threads: usize,
    /// Signatures made.
    pub signatures: u64,
    /// Signatures a second, all threads together.
    pub per_second: f64,
    /// CPU time of this process for each signature, in microseconds.
    pub cpu_us: f64,
}

impl Bench {
    /// Signs on `threads` sessions at once for `time`, with a token key that is destroyed afterwards.
    ///
    /// # Errors
    /// [`HsmError::Refused`] with the module's answer.
    pub fn raw_sign_rate(
        &self,
        algorithm: Algorithm,
        threads: usize,
        time: Duration,
    ) -> Result<Rate, HsmError> {
        let id = KeyId::fresh();
        let (_, key) = keys::generate(&self.session, algorithm, id.as_bytes(), "raw sign rate", Keep::Token)?;
        let measured = self.measure(algorithm, key, threads, time);
        keys::destroy(&self.session, id.as_bytes())?;
        Ok(measured?)
    }

    fn measure(
        &self,
        algorithm: Algorithm,
        key: cryptoki::object::ObjectHandle,
        threads: usize,
        time: Duration,
    ) -> Result<Rate, Fault> {
        let mut sessions = Vec::new();
        for _ in 0..threads {
            sessions.push(self.slot.session()?);
        }
        let over = Arc::new(AtomicBool::new(false));
        let signed = AtomicU64::new(0);
        let (start, cpu) = (Instant::now(), process_cpu_us());
        let done: Result<(), Fault> = std::thread::scope(|scope| {
            let signers: Vec<_> = sessions
                .into_iter()
                .map(|session| {
                    let (over, signed) = (Arc::clone(&over), &signed);
                    scope.spawn(move || {
                        let mut digest = [0x5a; 32];
                        while !over.load(Ordering::Relaxed) {
                            let number = signed.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                            digest.iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
                            session.sign(&keys::mechanism(algorithm), key, &digest)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            std::thread::sleep(time);
            over.store(true, Ordering::Relaxed);
            let ended = signers.into_iter().map(|signer| {
                signer.join().unwrap_or_else(|_| {
                    Err(Fault::new(crate::wire::Class::Refused, "a signing thread ended"))
                })
            });
            ended.collect()
        });
        done?;
        let signatures = signed.load(Ordering::Relaxed);
        let per_second = signatures as f64 / start.elapsed().as_secs_f64();
        let cpu_us = (process_cpu_us() - cpu) / signatures.max(1) as f64;
        Ok(Rate { algorithm, threads, signatures, per_second, cpu_us })
    }
}

fn process_cpu_us() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
