//! `/v1/wallets`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chancery_core::WalletId;
use chancery_enclave::{Design, Enclave, Made};

use super::peer::{Anyone, AsOperator};
use super::sign::idempotency_key;
use super::wire::{NewWallet, Page, Pending, ProblemSchema, Wallet, Wallets};
use super::{asked, blocking, name, rows};
use crate::problem::Problem;

/// Make a wallet around a fresh key in the HSM, or ask for it where the policy in force governs changes: then under the
/// `Idempotency-Key` that is sent, or a fresh one.
#[utoipa::path(
    post, path = "/v1/wallets", tag = "wallets", request_body = NewWallet,
    responses(
        (status = 201, description = "Made and on record", body = Wallet),
        (status = 202, description = "Asked for: the policy in force governs changes", body = Pending),
        (status = 400, description = "Such chains or such a descriptor cannot be a wallet's", body = ProblemSchema),
        (status = 403, description = "Needs the role `operator`; denied by policy", body = ProblemSchema),
        (status = 409, description = "The name is taken", body = ProblemSchema),
    )
)]
pub(crate) async fn create(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    headers: HeaderMap,
    Json(wanted): Json<NewWallet>,
) -> Result<Response, Problem> {
    let key = headers.contains_key("idempotency-key").then(|| idempotency_key(&headers)).transpose()?;
    let (id, design) = match wanted {
        NewWallet::Ethereum { id, chain_ids } => (id, Design::Ethereum { chain_ids }),
        NewWallet::Bitcoin { id, network, descriptor } => (id, Design::Bitcoin { network, descriptor }),
    };
    Ok(match enclave.create_wallet(operator, key, id, design).await? {
        Made::Wallet(wallet) => (StatusCode::CREATED, Json(Wallet::from(&*wallet))).into_response(),
        Made::Pending(pending) => asked(pending),
    })
}

/// List wallets by name.
#[utoipa::path(
    get, path = "/v1/wallets", tag = "wallets", params(Page),
    responses((status = 200, description = "One page", body = Wallets))
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Query(page): Query<Page>,
) -> Result<Json<Wallets>, Problem> {
    let limit = rows(page.limit)?;
    let after: Option<WalletId> = page.after.map(|text| name("after", &text)).transpose()?;
    let wallets = blocking(move || enclave.wallets(peer.tenant(), after.as_ref(), limit)).await?;
    let next = wallets.last().filter(|_| wallets.len() == limit).map(|wallet| wallet.id.to_string());
    Ok(Json(Wallets { wallets: wallets.iter().map(|wallet| Wallet::from(&**wallet)).collect(), next }))
}

/// Show one wallet.
#[utoipa::path(
    get, path = "/v1/wallets/{id}", tag = "wallets", params(("id" = String, Path, description = "The wallet")),
    responses(
        (status = 200, description = "The wallet", body = Wallet),
        (status = 404, description = "No such wallet", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
) -> Result<Json<Wallet>, Problem> {
    let wallet = enclave.wallet(peer.tenant(), &name("id", &id)?)?;
    Ok(Json(Wallet::from(&*wallet)))
}
