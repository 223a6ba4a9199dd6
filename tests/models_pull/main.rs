//! Fetching, checking and finding models, against a web server on this machine.

mod addresses;
mod commands;
mod converting;
mod downloads;
mod network;
mod resolving;
mod scene;
mod server;
mod wheels;
