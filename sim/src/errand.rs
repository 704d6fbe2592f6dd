//! What people want of the house in one simulation, and how they go about it: they retry what is not answered for good, with
//! the same key, sometimes twice at once, sometimes going away before the answer; some reuse a key for another request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_core::{Code, Payload, RequestId, SignRequest, Tenant, WalletId};
use chancery_enclave::{Answer, Cold, Design, Enclave, Made, Refusal, Source, Standing};

use crate::account::Account;
use crate::apart;
use crate::bundle;
use crate::machine::{self, dice::Dice};
use crate::people::People;
use crate::transfer::{CHAIN_ID, message, transfer};

/// Wallets of the token there shall be.
const WALLETS: u64 = 2;
/// One beside them whose key is apart.
pub const COLD: &str = "cold";

/// One thing to be done.
#[derive(Clone, Debug)]
pub enum What {
    /// A signature.
    Sign {
        /// Which of the clients.
        client: usize,
        /// The idempotency key.
        key: String,
        /// The wallet.
        wallet: WalletId,
        /// The payload.
        payload: Payload,
        /// The key is used for another request too.
        contested: bool,
    },
    /// A wallet.
    Wallet(WalletId),
    /// An edition of the policy.
    Policy(u64),
}

/// One thing to be done, and whether it is.
#[derive(Clone, Debug)]
pub struct Errand {
    what: What,
    /// From when on, in milliseconds since the beginning.
    from_ms: u64,
    /// How it ended.
    end: Option<String>,
}

/// What everybody shares.
#[derive(Clone)]
pub struct World {
    /// What was seen.
    pub account: Arc<Mutex<Account>>,
    /// Who asks.
    pub people: Arc<People>,
    /// What is to be done.
    pub errands: Arc<Mutex<Vec<Errand>>>,
    /// The people's own chance.
    pub dice: Arc<Mutex<Dice>>,
}

fn wallet(number: u64) -> Option<WalletId> {
    format!("w{number}").parse().ok()
}

/// The errands of a seed, `requests` of them for signatures.
#[must_use]
pub fn errands(dice: &mut Dice, requests: u64) -> Vec<Errand> {
    let mut all = Vec::new();
    let errand = |what, from_ms| Errand { what, from_ms, end: None };
    for number in 0..WALLETS {
        if let Some(id) = wallet(number) {
            all.push(errand(What::Wallet(id), dice.below(400)));
        }
    }
    if let Ok(id) = COLD.parse() {
        all.push(errand(What::Wallet(id), dice.below(400)));
    }
    all.push(errand(What::Policy(0), dice.below(300)));
    for number in 1..bundle::EDITIONS {
        if dice.percent(50) {
            all.push(errand(What::Policy(number), dice.spread(1_000, 20_000)));
        }
    }
    let mut nonce = 0;
    for number in 0..requests {
        let of_token = wallet(dice.below(WALLETS));
        let cold = COLD.parse().ok().filter(|_| dice.percent(20));
        let Some(wallet) = cold.or(of_token) else { continue };
        let client = usize::from(dice.percent(50));
        let key = format!("key-{number}");
        let from_ms = dice.below(500 * requests);
        let contested = dice.percent(15);
        let kind = dice.below(10);
        // At most as much as one transfer may be, in most; the sums come near the day's limit together.
        let gwei = if kind == 0 { 1_000 } else { 1 + dice.below(15) };
        for _ in 0..=u64::from(contested) {
            nonce += 1;
            let payload = if kind == 1 { message(nonce) } else { transfer(nonce, gwei) };
            let (key, wallet) = (key.clone(), wallet.clone());
            let sign = What::Sign { client, key, wallet, payload, contested };
            all.push(errand(sign, from_ms + dice.below(30)));
        }
        if dice.percent(20)
            && let Some(twin) = all.last().cloned()
        {
            all.push(twin);
        }
    }
    all
}

impl World {
    /// What was seen, to look at or add to.
    pub fn seen<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        look(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A draw.
    pub fn draw(&self, draw: impl FnOnce(&mut Dice) -> u64) -> u64 {
        draw(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn errands<T>(&self, work: impl FnOnce(&mut Vec<Errand>) -> T) -> T {
        work(&mut self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that are not done.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        self.errands(|all| {
            all.iter()
                .filter(|errand| errand.end.is_none())
                .map(|errand| format!("{:?}", errand.what))
                .collect()
        })
    }

    /// Whether everything is done.
    #[must_use]
    pub fn done(&self) -> bool {
        self.errands(|all| all.iter().all(|errand| errand.end.is_some()))
    }

    /// Sets everybody going who has something left to do, and those who read along.
    pub fn go(&self, enclave: &Enclave) {
        let open: Vec<(usize, Errand)> = self.errands(|all| {
            all.iter().cloned().enumerate().filter(|(_, errand)| errand.end.is_none()).collect()
        });
        for (number, errand) in open {
            tokio::spawn(self.clone().pursue(enclave.clone(), number, errand));
        }
        tokio::spawn(self.clone().read_along(enclave.clone()));
    }

    async fn pause(&self, draw: impl FnOnce(&mut Dice) -> u64) {
        tokio::time::sleep(Duration::from_millis(self.draw(draw))).await;
    }

    async fn pursue(self, enclave: Enclave, number: usize, errand: Errand) {
        let wait_ms = errand.from_ms.saturating_sub(machine::now_ms());
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        loop {
            // Who goes away does not stop the walk.
            let patience_ms = self.draw(|dice| if dice.percent(15) { dice.spread(1, 200) } else { 60_000 });
            let try_once = self.attempt(&enclave, &errand.what);
            let tried = tokio::time::timeout(Duration::from_millis(patience_ms), try_once).await;
            if !machine::alive() || self.seen(|account| !account.broken.is_empty()) {
                return;
            }
            if let Ok(Some(end)) = tried {
                machine::note(format!("errand {number} ends: {end}"));
                return self.errands(|all| {
                    if let Some(errand) = all.get_mut(number) {
                        errand.end = Some(end);
                    }
                });
            }
            self.pause(|dice| dice.spread(5, 700)).await;
        }
    }

    async fn attempt(&self, enclave: &Enclave, what: &What) -> Option<String> {
        let outcome = match what {
            What::Sign { client, key, wallet, payload, contested } => {
                let client = self.people.clients.get(*client)?.clone();
                let request = SignRequest {
                    tenant: Tenant::default(),
                    wallet: wallet.clone(),
                    idempotency_key: key.parse().ok()?,
                    payload: payload.clone(),
                };
                let name = client.id().to_string();
                machine::note(format!("{name} asks for {key}"));
                let answer = enclave.sign(client, request, None).await;
                if !machine::alive() {
                    return None;
                }
                let waits = match &answer {
                    Ok(Answer::Pending(pending)) if wallet.as_str() == COLD => Some(pending.request_id),
                    _ => None,
                };
                let heard = self.heard(&name, key, *contested, answer);
                if let Some(id) = waits {
                    self.carry(enclave, &name, key, id).await;
                }
                return heard;
            }
            What::Wallet(id) => {
                let design = Design::Ethereum { chain_ids: vec![CHAIN_ID] };
                let source = match id.as_str() {
                    COLD => Source::Cold(Cold::Key { public_key: apart::public_key() }),
                    _ => Source::Token,
                };
                match enclave
                    .create_wallet(self.people.operator.clone(), None, id.clone(), design, source)
                    .await
                {
                    Ok(Made::Wallet(wallet)) => Ok(Some(wallet)),
                    Ok(Made::Pending(_)) => Ok(None),
                    Err(refusal) if refusal.code == Code::AlreadyExists => {
                        enclave.wallet(&Tenant::default(), id).map(Some)
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            What::Policy(number) => {
                let operator = self.people.operator.clone();
                let applied = match enclave.change_policy(operator, bundle::edition(*number), &[]) {
                    Ok(change) => match change.end().await {
                        Standing::InForce(policy) => Ok(Some(policy)),
                        Standing::Refused(refusal) => Err(refusal),
                        _ => Ok(None),
                    },
                    Err(refusal) => Err(refusal),
                };
                applied.map(|policy| {
                    if let Some(policy) = policy.filter(|_| machine::alive()) {
                        self.seen(|account| account.policies.insert(policy.leaf(), policy.digest()));
                    }
                    None
                })
            }
        };
        match outcome {
            _ if !machine::alive() => None,
            Ok(wallet) => {
                if let Some(wallet) = wallet {
                    self.seen(|account| account.wallet(&wallet));
                }
                Some("done".to_owned())
            }
            // Made by the errand that went away, and not read in again yet.
            Err(refusal) => self.refused(&format!("{what:?}"), &refusal),
        }
    }

    /// Carries a request to the machine apart and back. Whatever goes wrong, it is tried again with the next retry, which
    /// hears how it ended.
    async fn carry(&self, enclave: &Enclave, client: &str, key: &str, id: RequestId) {
        let tenant = Tenant::default();
        let asked = match enclave.cold_request(&tenant, id).await {
            Ok(asked) => asked,
            Err(refusal) => return self.not_now(key, &refusal),
        };
        self.pause(|dice| if dice.percent(20) { dice.spread(100, 9_000) } else { dice.below(40) }).await;
        let Some(trust) = self.seen(|account| account.trust.clone()) else { return };
        let Some(signed) = apart::sign(&asked, &trust) else {
            return self.seen(|account| {
                account.breaks(format!("what `{key}` is asked to be signed apart is nothing"))
            });
        };
        let released = enclave.cold_signed(&tenant, id, signed).await;
        if !machine::alive() {
            return;
        }
        match released {
            Ok(released) => {
                machine::note(format!("{key} is brought, and released"));
                self.seen(|account| account.released(client, key, &released));
            }
            Err(refusal) => self.not_now(key, &refusal),
        }
    }

    /// What somebody else did meanwhile, a time that is over, another policy, and messages, which wait for officers that nobody
    /// is here.
    fn not_now(&self, key: &str, refusal: &Refusal) {
        let known = matches!(
            refusal.code,
            Code::RequestNotPending
                | Code::RequestExpired
                | Code::ApprovalStale
                | Code::ColdNotReady
                | Code::PolicyDenied
        );
        if known {
            machine::note(format!("{key}: {refusal}"));
        } else {
            self.refused(key, refusal);
        }
    }

    fn heard(
        &self,
        client: &str,
        key: &str,
        contested: bool,
        answer: Result<Answer, Refusal>,
    ) -> Option<String> {
        match answer {
            Ok(Answer::Released(released)) => {
                self.seen(|account| account.released(client, key, &released));
                Some(format!("{key} is released"))
            }
            Ok(Answer::Pending(pending)) => {
                self.seen(|account| account.answered(pending.request_id, "pending"));
                None
            }
            Err(refusal) => match (refusal.code, refusal.request) {
                (Code::PolicyDenied, Some(id)) => {
                    self.seen(|account| account.answered(id, "denied"));
                    Some(format!("{key} is denied"))
                }
                (Code::IdempotencyConflict, _) if contested => Some(format!("{key} conflicts")),
                (Code::RequestExpired, Some(_)) => Some(format!("{key} expired")),
                _ => self.refused(key, &refusal),
            },
        }
    }

    /// A refusal that asks for patience is one; every other is a broken promise.
    fn refused(&self, what: &str, refusal: &Refusal) -> Option<String> {
        machine::note(format!("{what}: {refusal}"));
        let patience = matches!(refusal.code.status(), 429 | 503)
            || matches!(refusal.code, Code::RequestInProgress | Code::ChangeInProgress | Code::NotFound);
        if !patience {
            self.seen(|account| account.breaks(format!("{what} is refused for no reason: {refusal}")));
        }
        None
    }

    /// A monitor: fetches the checkpoint again and again.
    async fn read_along(self, enclave: Enclave) {
        loop {
            self.pause(|dice| dice.spread(20, 1_500)).await;
            if !machine::alive() {
                return;
            }
            if let Ok(note) = enclave.log_file("checkpoint") {
                self.seen(|account| account.checkpoint(&note));
            }
        }
    }
}
