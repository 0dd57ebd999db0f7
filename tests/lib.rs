//! Tests of the whole; see `it/` for those on a real server and `ui/` for those of the compiler's messages.
