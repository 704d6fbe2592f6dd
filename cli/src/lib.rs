//! room cli
