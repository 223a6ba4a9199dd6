//! OpenAI's official clients against this server, where they are installed.
//!
//! `MENTOR_TEST_PYTHON` names a Python that has the package `openai` (`python3` otherwise), `MENTOR_TEST_NODE_MODULES` a folder
//! `node_modules` that has the one for JavaScript (what `node` finds by itself otherwise).

use std::process::Command;

use crate::Server;
use crate::support::Script;

fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Whether that command ends well; no if it is not there.
fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

async fn run(mut command: Command) {
    let server = Server::start(Script::default());
    command.arg(format!("http://{}/v1", server.address));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    server.stop().await;
}

#[actix::test]
async fn the_official_python_client_works() {
    let python = std::env::var("MENTOR_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    if !works(Command::new(&python).args(["-c", "import openai"])) {
        eprintln!("skipped: {python} has no package openai; MENTOR_TEST_PYTHON names one that has");
        return;
    }
    let mut command = Command::new(python);
    command.arg(script("openai_python.py"));
    run(command).await;
}

#[actix::test]
async fn the_official_javascript_client_works() {
    let node = || {
        let mut node = Command::new("node");
        std::env::var_os("MENTOR_TEST_NODE_MODULES").map(|modules| node.env("NODE_PATH", modules));
        node
    };
    if !works(node().args(["-e", "require('openai')"])) {
        eprintln!("skipped: node finds no package openai; MENTOR_TEST_NODE_MODULES names a folder that has it");
        return;
    }
    let mut command = node();
    command.arg(script("openai_javascript.cjs"));
    run(command).await;
}
