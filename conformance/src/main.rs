//! What will print the fault matrix.
fn main() {}
