//! room secret
