//! What is kept of conversations, and what students think of answers.

use serde_json::Value;

use super::schemas::{Definitions, Schemas, about, count, flag, list, named, object, or_null, range, text, words};

pub fn all(schemas: &Schemas) -> Definitions {
    named([
        ("Conversations", conversations(schemas)),
        ("ConversationSummary", summary(schemas)),
        ("ConversationTree", tree(schemas)),
        ("StoredTurn", turn(schemas)),
        ("Feedback", feedback()),
        ("FeedbackRequest", feedback_request(schemas)),
    ])
}

fn conversations(schemas: &Schemas) -> Value {
    object(
        [
            ("conversations", list(schemas.link("ConversationSummary"))),
            ("next", about(or_null(text()), "`after` of the next page; null on the last one")),
        ],
        [],
    )
}

/// Unix time in milliseconds.
fn time() -> Value {
    about(count(), "milliseconds since 1970")
}

fn summary(schemas: &Schemas) -> Value {
    object(
        [
            ("conversation_id", schemas.link("Id")),
            ("title", about(text(), "the beginning of its first question")),
            ("turns", count()),
            ("created_ms", time()),
            ("changed_ms", time()),
        ],
        [],
    )
}

fn tree(schemas: &Schemas) -> Value {
    object(
        [
            ("conversation_id", schemas.link("Id")),
            ("last_seq", about(count(), "of the newest event; 0 before the first")),
            ("busy", about(flag(), "a turn is running")),
            ("turns", about(list(schemas.link("StoredTurn")), "in the order in which they began")),
            ("next", about(or_null(count()), "`after` of the next page; null on the last one")),
        ],
        [],
    )
}

fn turn(schemas: &Schemas) -> Value {
    object(
        [
            ("turn_id", schemas.link("Id")),
            ("parent_id", about(schemas.id_or_null(), "the turn that it goes on from")),
            ("question", text()),
            ("asked_ms", time()),
            ("first_seq", about(count(), "of its first event")),
            ("last_seq", about(count(), "of its newest event")),
            ("state", words(&["running", "complete", "error"])),
            ("complete", schemas.link_or_null("Completion")),
            ("error", schemas.link_or_null("Problem")),
            ("feedback", schemas.link_or_null("Feedback")),
        ],
        [],
    )
}

fn rating() -> Value {
    about(range("integer", 1, 5), "5 is best")
}

fn feedback() -> Value {
    object([("rating", rating()), ("feedback_text", or_null(text()))], [])
}

fn feedback_request(schemas: &Schemas) -> Value {
    let mut words = or_null(text());
    words["maxLength"] = schemas.limits.message_chars.into();
    object(
        [("interaction_id", about(schemas.link("Id"), "of the answer")), ("rating", rating())],
        [("feedback_text", words)],
    )
}
