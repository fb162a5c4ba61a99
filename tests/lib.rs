//! Tests across crates live in main.rs.
