//! room identity
