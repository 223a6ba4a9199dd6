//! Who may do what, over real sockets, with fakes behind the ports.

mod doors;
#[path = "../fakes/mod.rs"]
mod fakes;
mod keys;
mod limits;
mod origins;
mod scene;
#[path = "../../actors/tests/support/mod.rs"]
mod support;
mod tls;
