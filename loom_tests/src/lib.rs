//! Models of the engine; see `tests/`.
