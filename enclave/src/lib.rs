//! room enclave
