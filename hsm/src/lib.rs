//! room hsm
