//! The Autobahn cases of RFC 6455 against an echo server that reads with the same code as the chat's socket.
//!
//! They come with the Python package `kosoku` (`pip install kosoku`); `MENTOR_TEST_PYTHON` names a Python that has it (`python3`
//! otherwise). scripts/conformance.sh installs it and runs this.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use actix::{Actor, ActorContext as _, AsyncContext as _, StreamHandler};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws::{self, CloseReason, WebsocketContext};
use mentor::http::websocket::{Incoming, Messages, incoming};

/// Frames and control frames, reserved bits, opcodes, fragments, UTF-8, closing, limits and performance, and a last one about
/// fragments. Those left out (12 and 13) are about compression, which is not offered.
const CASES: &[&str] = &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];

/// The largest message of the cases, 16 MiB; the chat's own limit is smaller.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

struct Echo {
    messages: Messages,
    is_closing: bool,
}

impl Actor for Echo {
    type Context = WebsocketContext<Self>;
}

impl Echo {
    fn close(&mut self, reason: CloseReason, ctx: &mut WebsocketContext<Self>) {
        self.is_closing = true;
        ctx.close(Some(reason));
        ctx.run_later(Duration::from_secs(1), |_, ctx| ctx.stop());
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Echo {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut WebsocketContext<Self>) {
        let heard = self.messages.take(message);
        if self.is_closing {
            if matches!(heard, Ok(Some(Incoming::Close(_))) | Err(_)) {
                ctx.stop();
            }
            return;
        }
        match heard {
            Ok(Some(Incoming::Text(text))) => ctx.text(text),
            Ok(Some(Incoming::Binary(bytes))) => ctx.binary(bytes),
            Ok(Some(Incoming::Ping(payload))) => ctx.pong(&payload),
            Ok(Some(Incoming::Close(reason))) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(Some(Incoming::Pong) | None) => {}
            Err(fault) => self.close(fault.close_reason(), ctx),
        }
    }
}

async fn echo(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Error> {
    let (frames, messages) = incoming(payload, MAX_MESSAGE_BYTES);
    let echo = Echo { messages, is_closing: false };
    ws::WsResponseBuilder::new(echo, &request, frames).frame_size(MAX_MESSAGE_BYTES).start()
}

#[actix::test]
async fn the_autobahn_cases_pass() {
    let python = std::env::var("MENTOR_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import kosoku"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no package kosoku; scripts/conformance.sh installs it");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = HttpServer::new(|| App::new().default_service(web::to(echo))).workers(2).disable_signals();
    let server = server.listen(listener).unwrap().run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/autobahn_cases.py")).arg(address).args(CASES);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    handle.stop(false).await;
    serving.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    eprint!("{said}");
    assert!(output.status.success(), "{said}");
}
