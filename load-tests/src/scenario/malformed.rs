//! `malformed`: frames that are none, one kind after the other. Each must be answered as the protocol says, and nobody else be
//! disturbed.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::Value;

use crate::bench::{Bench, Common};
use crate::check::{Rule, Violation};
use crate::failure::{Failure, within};
use crate::socket::{Received, Socket};
use crate::student::{Ending, Student};

/// Arguments of `malformed`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  mentor-load malformed --questions q.jsonl --rounds 3")]
pub struct MalformedArgs {
    #[command(flatten)]
    pub common: Common,
    /// How often each kind is sent.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
}

/// What must follow.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// An `error` with this code; the connection lives.
    Error(&'static str),
    /// The connection is closed with one of these codes.
    Close(&'static [u16]),
    /// Nothing; the connection lives.
    Nothing,
}

/// One kind: its name, the bytes, and what must follow.
type Kind = (&'static str, Vec<u8>, Answer);

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const FIRST_OF_TEXT: u8 = 0x01;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;

/// A frame as a client sends it: masked, here with zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![head];
    match u16::try_from(length) {
        Ok(short @ 0..=125) => bytes.push(0x80 | short as u8),
        Ok(medium) => {
            bytes.push(0x80 | 126);
            bytes.extend(medium.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

fn kinds() -> Vec<Kind> {
    const INVALID: Answer = Answer::Error("invalid_request");
    const BROKEN: Answer = Answer::Close(&[1002]);
    let long = |length: usize| text(&format!(r#"{{"message":"{}"}}"#, "x".repeat(length)));
    let unmasked = [&[TEXT, 2][..], b"{}"].concat();
    let endless = [&[TEXT, 0x80 | 127][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    let fragments = [frame(FIRST_OF_TEXT, b"{\"type\":"), frame(LAST, b"\"resume\"}")].concat();
    vec![
        ("no_json", text("{"), INVALID),
        ("no_object", text("[1]"), INVALID),
        ("deeply_nested", text(&"[".repeat(10_000)), INVALID),
        ("unknown_type", text(r#"{"type":"dance"}"#), INVALID),
        ("wrong_type_of_field", text(r#"{"message":5}"#), INVALID),
        ("empty_question", text(r#"{"message":""}"#), INVALID),
        ("long_question", long(2_001), Answer::Error("too_large")),
        ("option_out_of_range", text(r#"{"message":"x","options":{"top_k":0}}"#), INVALID),
        ("malformed_turn_id", text(r#"{"message":"x","turn_id":"a b"}"#), INVALID),
        ("negative_number", text(r#"{"type":"resume","after":-1}"#), INVALID),
        ("resume_beyond_the_end", text(r#"{"type":"resume","after":1000000000000}"#), INVALID),
        ("fragments_of_an_incomplete_frame", fragments, INVALID),
        ("cancel_of_nothing", text(r#"{"type":"cancel"}"#), Answer::Nothing),
        ("large_frame", long(70_000), Answer::Close(&[1009])),
        ("endless_frame", endless, Answer::Close(&[1002, 1009])),
        ("binary_frame", frame(BINARY, b"{}"), Answer::Close(&[1003])),
        ("no_utf8", frame(TEXT, &[0xC3, 0x28]), Answer::Close(&[1007])),
        ("unmasked_frame", unmasked, BROKEN),
        ("reserved_opcode", frame(0x83, b"x"), BROKEN),
        ("continuation_of_nothing", frame(LAST, b"x"), BROKEN),
        ("long_ping", frame(PING, &[b'x'; 126]), BROKEN),
    ]
}

/// Runs it.
///
/// # Errors
/// None; what is wrong stands in the report.
pub async fn run(bench: &Arc<Bench>, arguments: &MalformedArgs) -> anyhow::Result<()> {
    bench.figures.add("answered_as_said", 0);
    for round in 0..arguments.rounds {
        for (name, bytes, answer) in kinds() {
            match send(bench, &format!("{name}-{round}"), &bytes, answer).await {
                Ok(()) => bench.figures.count("answered_as_said"),
                Err(failure) if failure.code == "connect_failed" => bench.figures.failed(&failure),
                Err(failure) => {
                    let detail = format!("{name}: wanted {answer:?}, but {}: {}", failure.code, failure.detail);
                    bench.figures.broken(&[Violation { rule: Rule::MalformedIsRefused, detail }]);
                }
            }
        }
        ask(bench, round).await;
    }
    Ok(())
}

async fn send(bench: &Arc<Bench>, name: &str, bytes: &[u8], answer: Answer) -> Result<(), Failure> {
    let mut student = Student::new(bench, name);
    student.connect().await?;
    let mut socket = student.into_socket()?;
    let patience = bench.common.connect_deadline;
    socket.say_bytes(bytes).await?;
    match answer {
        Answer::Error(code) => {
            within(patience, "an error", expect(&mut socket, "error", Some(code))).await?;
            lives(bench, &mut socket).await
        }
        Answer::Nothing => lives(bench, &mut socket).await,
        Answer::Close(codes) => within(patience, "a close", closed(&mut socket, codes)).await,
    }
}

async fn lives(bench: &Bench, socket: &mut Socket) -> Result<(), Failure> {
    socket.say_bytes(&text(r#"{"type":"ping"}"#)).await?;
    within(bench.common.connect_deadline, "a pong", expect(socket, "pong", None)).await
}

/// The next frame is of that type and has that code.
async fn expect(socket: &mut Socket, kind: &str, code: Option<&str>) -> Result<(), Failure> {
    match socket.hear().await? {
        Received::Text(text, _) => {
            let frame: Value = serde_json::from_str(&text).unwrap_or_default();
            let right = frame["type"] == kind && code.is_none_or(|code| frame["code"] == code);
            let detail = format!("{} {}", frame["type"], frame["code"]);
            if right { Ok(()) } else { Err(Failure::new("another_frame", detail)) }
        }
        Received::Binary => Err(Failure::new("another_frame", "binary")),
        Received::Closed(code) => Err(Failure::new(format!("closed_{code}"), "the connection was closed")),
    }
}

/// The connection is closed with one of these codes; an `error` may come first.
async fn closed(socket: &mut Socket, codes: &[u16]) -> Result<(), Failure> {
    loop {
        match socket.hear().await? {
            Received::Closed(code) if codes.contains(&code) => return Ok(()),
            Received::Closed(code) => return Err(Failure::new(format!("closed_{code}"), "another code")),
            Received::Text(..) | Received::Binary => {}
        }
    }
}

/// A proper question is answered all the same.
async fn ask(bench: &Arc<Bench>, round: usize) {
    let mut student = Student::new(bench, &format!("proper-{round}"));
    let asked = match student.connect().await {
        Ok(()) => student.take_turn("turn", bench.question(round), Instant::now()).await,
        Err(failure) => Err(failure),
    };
    match asked {
        Ok(Ending::Completed(_)) => {}
        Ok(Ending::Failed(failure)) | Err(failure) => bench.figures.failed(&failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_length_that_they_say() {
        assert_eq!(frame(TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(frame(TEXT, &[0; 126])[..4], [0x81, 0xFE, 0, 126]);
        assert_eq!(frame(TEXT, &[0; 70_000])[..10], [0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
