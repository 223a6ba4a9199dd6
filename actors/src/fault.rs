//! A message that makes an actor panic: tests send it, and a server that was started for tests of what a panic costs.

use actix::{Handler, Message};

use crate::conversation::ConversationActor;
use crate::conversations::ConversationsActor;
use crate::embedding::EmbeddingPoolActor;
use crate::generation::GeneratorActor;
use crate::retrieval::RetrieverActor;

/// Panics in the handler of the actor that gets it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

macro_rules! panics_when_told_to {
    ($($actor:ty),*) => {$(
        impl Handler<Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: Panic, _: &mut Self::Context) {
                panic!("told to")
            }
        }
    )*};
}

panics_when_told_to!(ConversationActor, ConversationsActor, EmbeddingPoolActor, GeneratorActor, RetrieverActor);
