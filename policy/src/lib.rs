//! room policy
