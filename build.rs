//! Compiles the C shim for server builds; the engine alone needs nothing.
fn main() {}
