//! `/v1/wallets`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use chancery_core::WalletId;
use chancery_enclave::{Design, Enclave};

use super::peer::{Anyone, AsOperator};
use super::wire::{NewWallet, Page, ProblemSchema, Wallet, Wallets};
use super::{blocking, name, rows};
use crate::problem::Problem;

/// Make a wallet around a fresh key in the HSM, or one that a ceremony made for it.
#[utoipa::path(
    post, path = "/v1/wallets", tag = "wallets", request_body = NewWallet,
    responses(
        (status = 201, description = "Made and on record", body = Wallet),
        (status = 400, description = "Such chains or such a descriptor cannot be a wallet's", body = ProblemSchema),
        (status = 403, description = "Needs the role `operator`", body = ProblemSchema),
        (status = 404, description = "The HSM has no such key", body = ProblemSchema),
        (status = 409, description = "The name or the key is taken", body = ProblemSchema),
    )
)]
pub(crate) async fn create(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    Json(wanted): Json<NewWallet>,
) -> Result<(StatusCode, Json<Wallet>), Problem> {
    let (id, design, key) = match wanted {
        NewWallet::Ethereum { id, chain_ids, key } => (id, Design::Ethereum { chain_ids }, key),
        NewWallet::Bitcoin { id, network, descriptor, key } => {
            (id, Design::Bitcoin { network, descriptor }, key)
        }
    };
    let wallet = enclave.create_wallet(operator, id, design, key).await?;
    Ok((StatusCode::CREATED, Json(Wallet::from(&*wallet))))
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
