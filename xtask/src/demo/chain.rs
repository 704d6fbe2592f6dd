//! A local Ethereum node, and the few calls of its JSON-RPC that the demonstration makes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::run::Cmd;
use crate::{Stop, http};

const READY: Duration = Duration::from_secs(15);
const MINED: Duration = Duration::from_secs(10);

/// A running node. Dropping it ends it.
#[derive(Debug)]
pub struct Chain {
    /// Where its JSON-RPC listens.
    pub rpc: SocketAddr,
    node: Option<Child>,
}

impl Chain {
    /// Starts a node for a chain of this id; it mines a block for each transaction.
    pub fn start(binary: &Path, chain_id: u64) -> Result<Self, Stop> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let rpc = free.map_err(Stop::file("a free port"))?;
        let command = Cmd::new(binary).args(["--silent", "--host", "127.0.0.1"]).args([
            "--chain-id",
            &chain_id.to_string(),
            "--port",
            &rpc.port().to_string(),
        ]);
        let node = command
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| command.unstarted(source))?;
        let chain = Self { rpc, node: Some(node) };
        let started = Instant::now();
        while chain.call("eth_chainId", &json!([])).is_err() {
            if started.elapsed() > READY {
                return Err(Stop::Unmet(format!("the local chain does not answer after {READY:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(chain)
    }

    /// Gives an account this much, in wei.
    pub fn fund(&self, account: &str, wei: u128) -> Result<(), Stop> {
        self.call("anvil_setBalance", &json!([account, format!("{wei:#x}")])).map(drop)
    }

    /// What an account has, in wei.
    pub fn balance(&self, account: &str) -> Result<u128, Stop> {
        let answer = self.call("eth_getBalance", &json!([account, "latest"]))?;
        quantity(&answer).ok_or_else(|| Stop::answer("eth_getBalance", answer))
    }

    /// Hands a signed transaction in and waits until it is in a block; answers its hash.
    pub fn broadcast(&self, signed: &str) -> Result<String, Stop> {
        let answer = self.call("eth_sendRawTransaction", &json!([signed]))?;
        let hash = answer.as_str().ok_or_else(|| Stop::answer("eth_sendRawTransaction", &answer))?.to_owned();
        let sent = Instant::now();
        loop {
            let receipt = self.call("eth_getTransactionReceipt", &json!([hash]))?;
            match receipt.get("status").and_then(Value::as_str) {
                Some("0x1") => return Ok(hash),
                Some(_) => return Err(Stop::answer("the chain undid the transaction", receipt)),
                None if sent.elapsed() > MINED => {
                    return Err(Stop::Unmet(format!("{hash} is in no block after {MINED:?}")));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Lets the node run on after this program; answers its process id.
    pub fn leave_running(mut self) -> Option<u32> {
        self.node.take().map(|node| node.id())
    }

    fn call(&self, method: &'static str, params: &Value) -> Result<Value, Stop> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = http::call(self.rpc, "POST", "/", Some(body.as_bytes())).map_err(Stop::file(method))?;
        let mut document = answer.json();
        match document.get_mut("result").map(Value::take) {
            Some(result) => Ok(result),
            None => Err(Stop::answer(method, document)),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// A number of JSON-RPC: `0x` and digits without leading zeros.
fn quantity(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_hexadecimal_texts() {
        assert_eq!(quantity(&json!("0xde0b6b3a7640000")), Some(1_000_000_000_000_000_000));
        for none in [json!(1), json!("12"), json!("0x"), json!(null)] {
            assert_eq!(quantity(&none), None, "{none}");
        }
    }
}
