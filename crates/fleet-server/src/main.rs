//! fleet-server
fn main() {}
