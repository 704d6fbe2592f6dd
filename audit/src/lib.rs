//! room audit
