//! What the tests of several sessions share.
