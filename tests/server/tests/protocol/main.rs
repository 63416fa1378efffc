//! The server's semantics, over real HTTP with signed requests.

mod client;
mod directory;
mod faults;
mod objects;
mod program;
mod refusals;
mod uploads;
#[path = "../../../support/wait.rs"]
mod wait;

use client::Client;
use s3_test_server::{Config, Server};

/// A server with the bucket `bucket`, and a client of it.
fn start() -> (Server, Client) {
    start_with(Config::default())
}

fn start_with(config: Config) -> (Server, Client) {
    let server = Server::start(Config {
        buckets: vec!["bucket".to_owned()],
        ..config
    })
    .expect("a server");
    let client = Client::new(server.addr());
    (server, client)
}
