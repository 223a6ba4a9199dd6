//! The root of the crate `mentor-fuzz`, see `fuzz/Cargo.toml`: the modules of the program that read what strangers send, and what must
//! hold of them whatever that is. A second root beside `lib.rs`, so that a fuzzer needs neither the store nor the models.

#![allow(dead_code, unused_imports, reason = "the program uses the rest of these modules")]

mod archive;
mod config;
mod disk;
mod guard;

mod http {
    mod body;
    mod errors;
    mod multipart;
    mod websocket;
    mod wire;

    mod openai {
        mod refusal;
        mod request;

        pub use refusal::Refusal;
        pub use request::ChatBody;
    }

    #[path = "../../fuzz/checks/http.rs"]
    pub mod checks;

    pub use errors::ApiError;
}

#[path = "../fuzz/checks/archives.rs"]
mod archives;
#[path = "../fuzz/checks/configuration.rs"]
mod configuration;

pub use archives::archives;
pub use configuration::configuration;
pub use http::checks::{frames, messages, multipart};
