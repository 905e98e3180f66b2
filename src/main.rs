//! The binary `secmon`.

fn main() {}
