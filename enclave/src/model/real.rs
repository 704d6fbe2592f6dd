//! The appliance's side of a run: the books themselves (store on SQLite, policy, limits, idempotency, log entries, resolver,
//! backfill), with a clock that stands where it is put. Only the token is away: how a signing ends is the run's to say.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use alloy_primitives::U256;
use chancery_audit::{self as audit, ColdSigned, End as Outcome, Endorsers, SignedKind, V1};
use chancery_core::config::Config;
use chancery_core::{
    Clock as _, Code, KeyId, ManualClock, Mode, RequestId, SignRequest, Tenant, UnixMillis, WalletId,
};
use chancery_hsm::{Algorithm as Curve, KeyRef, PublicKey};
use chancery_identity::{Algorithm, Authority, Client, Draft, Fields, Message, Operator, Peer, Vouched};
use chancery_policy::{Met, PolicyError, Question, Spending as _, Tested};
use chancery_store::{Observer, RequestState, Store};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
    SanType, SigningKey as _,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::oracle::{Said, State};
use super::world::{Ask, Bundle, CLIENTS, COLD, End, Step, WALLETS};
use crate::disk::Disk;
use crate::enact::Brought;
use crate::house::Books;
use crate::in_flight::Walks;
use crate::keys::{Apart, Keys};
use crate::manage::put_in_force;
use crate::policy::Policies;
use crate::refusal::Refusal;
use crate::spending::Spent;
use crate::walk::{Authenticated, Decided, Done, Recorded, Release, Reviewed, Waiting, record_release};
use crate::wallet::{Design, Wallet, Wallets};
use crate::{receipts, resolve};

struct People {
    clients: Vec<(Client, KeyPair)>,
    operator: Operator,
}

/// Evidence comes from certificates alone, here too.
static PEOPLE: LazyLock<People> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let known = Authority::new([authority.der().clone()]).unwrap();
    let peer = |role: &str, name: &str, key: &KeyPair| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("chancery://default/{role}/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let certificate = params.signed_by(key, &issuer).unwrap();
        known.authenticate(&[certificate.der().clone()], UnixMillis(1_767_614_400_000)).unwrap()
    };
    let client = |name: &&str| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let Peer::Client(client) = peer("client", name, &key) else { panic!("not a client") };
        (client, key)
    };
    let Peer::Operator(operator) = peer("operator", "o", &KeyPair::generate().unwrap()) else {
        panic!("not an operator")
    };
    People { clients: CLIENTS.iter().map(client).collect(), operator }
});

/// The generator of secp256k1, whose private key is 1: any key will do where nothing is signed, and this one where it is.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

struct Deaf;

impl Observer for Deaf {
    fn committed(&mut self, _: u64, _: &[[u8; 32]]) {}
}

/// A bundle as it comes to the appliance.
pub struct Written {
    tested: Tested,
    canonical: Vec<u8>,
}

impl Written {
    /// Compiles a bundle of the run, once for all that is done with it.
    pub fn of(bundle: &Bundle) -> Result<Self, PolicyError> {
        let source = bundle.source();
        Ok(Self { tested: Tested::compile(&source)?, canonical: source.canonical() })
    }
}

/// An appliance without its token.
pub struct Real {
    runtime: Runtime,
    folder: TempDir,
    books: Arc<Books>,
    clock: Arc<ManualClock>,
    wall: i64,
    /// The walks that go on, the oldest first.
    walking: VecDeque<Box<Recorded>>,
    ids: Vec<chancery_core::RequestId>,
}

/// Memory where there is a file system of it: a sync there costs nothing, and nothing here pulls a plug.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.unwrap()
}

fn open(folder: &Path, wall: i64) -> (Arc<Books>, Arc<ManualClock>) {
    let store = Store::open(&folder.join("store"), Box::new(Deaf)).unwrap();
    let clock = Arc::new(ManualClock::at(UnixMillis(wall)));
    clock.seen(store.read(|rows| rows.newest_time()).unwrap());
    let config = r#"
        version = 1
        mode = "development"
        listen = { api = "127.0.0.1:0", ops = "127.0.0.1:0" }
        tls = { certificate = "c", key = "k", client_ca = "a" }
        store = { directory = "store", reserve_mib = 1 }
        log = { origin = "model.example", directory = "store" }
        hsm = { module = "m", token = "t", pin = { file = "p" } }
    "#;
    let disk = Disk::of(&Config::parse(config, folder).unwrap());
    let policies = Policies::new("model.example", Endorsers::default(), Mode::Development);
    if let Some(row) = store.read(|rows| rows.active_bundle(&Tenant::default())).unwrap() {
        let activation = receipts::activation(&store, row.leaf).unwrap();
        policies.load(row, &activation).unwrap();
    }
    let wallets = Wallets::default();
    for (number, id) in wallet_ids().into_iter().enumerate() {
        let public = PublicKey::parse(Curve::Secp256k1, &hex::decode(KEY).unwrap()).unwrap();
        let key = if number == COLD {
            Keys::Cold(Box::new(Apart { account: None, index: None, public }))
        } else {
            Keys::Token(KeyRef { id: KeyId::from_bytes([0; 16]), public })
        };
        let design = Design::Ethereum { chain_ids: vec![1] };
        wallets.add(Wallet::around(key, Tenant::default(), id, design, UnixMillis(0)).unwrap());
    }
    let there = Arc::clone(&clock);
    (Arc::new(Books { clock: there, disk, store, policies, wallets, walks: Walks::default() }), clock)
}

fn wallet_ids() -> Vec<WalletId> {
    WALLETS.iter().map(|name| name.parse().unwrap()).collect()
}

impl Real {
    pub fn at(start: i64) -> Self {
        let folder = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (books, clock) = open(folder.path(), start);
        Self { runtime, folder, books, clock, wall: start, walking: VecDeque::new(), ids: Vec::new() }
    }

    pub fn take(&mut self, step: &Step, bundles: &[Written]) -> Said {
        match step {
            Step::Clock(at) => {
                self.wall = *at;
                self.clock.set(UnixMillis(*at));
                // Something always looks at the clock: the resolver does each second.
                let _ = self.books.clock.now();
            }
            Step::Ask(ask, end) => return self.ask(ask, *end),
            Step::Bring(number, end) => {
                return match self.ids.get(*number) {
                    Some(id) => self.bring(*number, *id, *end).unwrap_or_else(|refusal| refused(&refusal)),
                    None => Said::Nothing,
                };
            }
            Step::Settle(end) => {
                if let Some(oldest) = self.walking.pop_front() {
                    self.settle(oldest, *end);
                }
            }
            Step::Sweep => drop(self.runtime.block_on(resolve::sweep(&self.books))),
            Step::Apply(bundle) => {
                let Written { tested, canonical } = &bundles[*bundle];
                let brought = Brought {
                    id: RequestId::fresh(),
                    tenant: Tenant::default(),
                    by: (&PEOPLE.operator).into(),
                    canonical: canonical.clone(),
                    signatures: Vec::new(),
                };
                let put = put_in_force(&self.books, tested.clone(), brought, &|_| {});
                return self
                    .runtime
                    .block_on(put)
                    .map_or_else(|refusal| refused(&refusal), |_| Said::Nothing);
            }
            Step::Restart => {
                self.walking.clear();
                self.runtime.block_on(self.books.store.clone().close());
                (self.books, self.clock) = open(self.folder.path(), self.wall);
                while self.runtime.block_on(resolve::sweep(&self.books)).is_ok_and(|ended| ended > 0) {}
            }
        }
        Said::Nothing
    }

    /// The walks that go on, the oldest first.
    pub fn walks(mut self) -> Vec<Recorded> {
        self.walking.drain(..).map(|recorded| *recorded).collect()
    }

    /// The entries of the log.
    pub fn entries(&self) -> u64 {
        self.books.store.read(|rows| rows.tree_size()).unwrap()
    }

    /// How each request stands, in the order they were recorded.
    pub fn states(&self) -> Vec<State> {
        let row = |id| self.books.store.read(|rows| rows.request(id)).unwrap().unwrap();
        self.ids.iter().map(|id| state(row(*id).state, row(*id).expires_ms)).collect()
    }

    /// What the counters that `ask` touches hold before it: the limit's number, the total, what it would add.
    pub fn totals(&self, ask: &Ask) -> Vec<(usize, i128, i128)> {
        let (Ok(policy), Ok(now)) =
            (self.books.policies.in_force(&Tenant::default()), self.books.clock.now())
        else {
            return Vec::new();
        };
        let wallet =
            self.books.wallets.find(&Tenant::default(), &WALLETS[ask.wallet].parse().unwrap()).unwrap();
        let request = self.request(ask);
        let intent =
            chancery_intent::understand(&request.payload, &wallet.account(), policy.bundle().contracts())
                .unwrap();
        let question = Question {
            tenant: &request.tenant,
            client: PEOPLE.clients[ask.client].0.id(),
            wallet: &wallet.id,
            tier: wallet.tier(),
            description: intent.description(),
            now,
            met: &Met::default(),
        };
        let mut totals = Vec::new();
        for held in policy.bundle().measure(&question) {
            let before =
                self.books.store.read(|rows| Ok(Spent(rows).spent(&held.counter, held.window_ms, now)));
            let name = held.counter.limit.trim_start_matches('l').parse().unwrap();
            totals.push((name, before.unwrap().unwrap().into(), held.amount.into()));
        }
        totals.sort_unstable();
        totals
    }

    fn request(&self, ask: &Ask) -> SignRequest {
        let wallet: WalletId = WALLETS[ask.wallet].parse().unwrap();
        let found = self.books.wallets.find(&Tenant::default(), &wallet).unwrap();
        let crate::wallet::Holding::Ethereum { address, .. } = found.holding else {
            panic!("an Ethereum wallet")
        };
        SignRequest {
            tenant: Tenant::default(),
            wallet,
            idempotency_key: format!("key-{}", ask.key).parse().unwrap(),
            payload: ask.body.payload(ask.nonce, address),
        }
    }

    fn ask(&mut self, ask: &Ask, end: End) -> Said {
        let (client, request) = (PEOPLE.clients[ask.client].0.clone(), self.request(ask));
        let vouched = ask.signed.map(|nonce| vouched(ask.client, nonce, &request));
        let decided =
            Authenticated::new(client, request, vouched.as_ref()).and_then(|one| one.understand(&self.books));
        let decided = decided.and_then(|understood| self.runtime.block_on(understood.decide(&self.books)));
        let next = self.ids.len();
        match decided {
            Ok(Decided::Permitted(recorded)) => {
                self.ids.push(recorded.id);
                match end {
                    End::Open => self.walking.push_back(recorded),
                    end => self.settle(recorded, end),
                }
                Said::Permitted(next)
            }
            Ok(Decided::Pending(pending)) => {
                self.ids.push(pending.request_id);
                Said::Pending(next, pending.missing.into(), pending.expires_ms.map_or(0, |at| at.0))
            }
            Ok(Decided::Denied(refusal)) => {
                self.ids.push(refusal.request.unwrap());
                let lacks_signature = refusal.code == Code::RequestSignatureRequired;
                Said::Denied(next, refusal.rules.into_iter().collect(), lacks_signature)
            }
            Ok(Decided::Before(row)) => Said::Before(self.number(row.id), state(row.state, row.expires_ms)),
            Err(refusal) if refusal.code == Code::IdempotencyConflict => {
                Said::Conflict(self.number(refusal.request.unwrap()))
            }
            Err(refusal) => refused(&refusal),
        }
    }

    /// As `Enclave::cold_request` and `cold_signed` do it.
    fn bring(&mut self, number: usize, id: RequestId, end: End) -> Result<Said, Refusal> {
        let waiting = |books: &Books| Waiting::of(books.store.read(|rows| rows.request(id))?.unwrap(), books);
        let ready = |bundle: audit::Digest| {
            let ready = self.books.store.read(|rows| rows.ready(id)).unwrap();
            ready.into_iter().find(|(under, _)| under == bundle.as_bytes()).map(|(_, leaf)| leaf)
        };
        let first = waiting(&self.books)?;
        let (signings, bundle) = (first.signings()?, first.bundle());
        if ready(bundle).is_none()
            && let Reviewed::Denied(refusal) =
                self.runtime.block_on(first.decide(&self.books, Done::Nothing))?
        {
            return Ok(Said::Denied(number, refusal.rules.into_iter().collect(), false));
        }
        let Some(decision_leaf) = ready(bundle) else { return Ok(Said::Refused("cold-not-ready")) };
        let key = secp256k1::SecretKey::from_slice(U256::ONE.to_be_bytes::<32>().as_slice()).unwrap();
        let sign = |signing: &audit::ColdSigning| {
            let digest = secp256k1::Message::from_digest(*signing.digest.as_bytes());
            let signature = secp256k1::Secp256k1::signing_only().sign_ecdsa(&digest, &key);
            signature.serialize_compact().as_slice().into()
        };
        let signed = ColdSigned {
            v: V1,
            kind: SignedKind::Is,
            tenant: Tenant::default(),
            request_id: id,
            wallet: WALLETS[COLD].parse().unwrap(),
            decision_leaf,
            request_sha256: audit::Digest::of(b""),
            signatures: signings.iter().map(sign).collect(),
        };
        let waiting = waiting(&self.books)?;
        let brought = waiting.take(&signed, &self.books)?;
        match self.runtime.block_on(waiting.decide(&self.books, Done::Brought(brought)))? {
            Reviewed::Permitted(recorded) if end == End::Open => self.walking.push_back(recorded),
            Reviewed::Permitted(recorded) => self.settle(recorded, end),
            Reviewed::Denied(refusal) => {
                return Ok(Said::Denied(number, refusal.rules.into_iter().collect(), false));
            }
            Reviewed::Pending(_) => panic!("it still waits"),
        }
        Ok(Said::Permitted(number))
    }

    fn number(&self, id: chancery_core::RequestId) -> usize {
        self.ids.iter().position(|known| *known == id).unwrap()
    }

    fn settle(&self, recorded: Box<Recorded>, end: End) {
        let (id, leaf) = (recorded.id, recorded.leaf.index());
        self.runtime.block_on(async {
            if end == End::Failed {
                resolve::fail(&self.books, id, Tenant::default(), leaf, Code::HsmUnavailable).await;
            } else if let Ok(time_ms) = self.books.clock.now() {
                let outcome = audit::Outcome {
                    v: V1,
                    tenant: Tenant::default(),
                    request_id: id,
                    time_ms,
                    decision_leaf: leaf,
                    outcome: Outcome::Released,
                    signature_sha256: Some(audit::Digest::of(b"")),
                    transaction_sha256: None,
                    reason: None,
                };
                let release =
                    Release { outcome, released: b"{}".to_vec(), used: Vec::new(), enactment: None };
                record_release(&self.books, release).await.unwrap();
            }
        });
        drop(recorded);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.walking.clear();
        self.runtime.block_on(self.books.store.clone().close());
    }
}

/// The client's own signature over a request, made at a time that does not matter here.
fn vouched(client: usize, nonce: u64, request: &SignRequest) -> Vouched {
    let (client, key) = &PEOPLE.clients[client];
    let body = json!({ "wallet": request.wallet, "payload": request.payload }).to_string();
    let message = Message {
        method: "POST",
        authority: "model.example",
        path: "/v1/sign",
        idempotency_key: request.idempotency_key.as_str(),
        body: body.as_bytes(),
    };
    let nonce = format!("{nonce:016}");
    let draft = Draft::new(&message, client.fingerprint(), Algorithm::Ed25519, 0, &nonce).unwrap();
    let [(_, content_digest), (_, signature_input), (_, signature)] =
        draft.fields(&key.sign(draft.base().as_bytes()).unwrap());
    let fields =
        Fields { signature_input: &signature_input, signature: &signature, content_digest: &content_digest };
    client.vouch(message, &fields, UnixMillis(0)).unwrap()
}

fn refused(refusal: &Refusal) -> Said {
    Said::Refused(refusal.code.as_str())
}

fn state(state: RequestState, expires_ms: Option<UnixMillis>) -> State {
    match state {
        RequestState::Permitted => State::Permitted,
        RequestState::Released => State::Released,
        RequestState::Denied => State::Denied,
        RequestState::Pending => State::Pending(expires_ms.map_or(0, |at| at.0)),
        RequestState::Expired => State::Expired,
        RequestState::Failed => State::Failed,
    }
}
