//! room hardware-tests
