//! How tokens are chosen.

use mentor_actors::domain::EngineError;
use mentor_actors::ports::{GenerationEngine, Sampling, Token};

use crate::support::{ask, engine, write};

#[test]
fn the_same_choice_is_made_again() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("Name three uses of a stack.", "a", 40);
    let first = write(&mut engine, &generation);
    generation.cache_scope = "b".into();
    assert_eq!(write(&mut engine, &generation).text, first.text, "greedy is deterministic");

    generation.sampling = Sampling { temperature: 0.8, top_p: 0.95, top_k: 40, min_p: 0.05, ..Sampling::greedy() };
    let chosen = write(&mut engine, &generation).text;
    assert_eq!(write(&mut engine, &generation).text, chosen, "the same seed chooses the same");
    generation.sampling.seed = 2;
    assert_ne!(write(&mut engine, &generation).text, chosen, "another seed chooses otherwise");
}

#[test]
fn a_grammar_is_followed_and_one_that_cannot_be_read_is_rejected() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("Is the sky blue? Answer yes or no.", "a", 10);
    generation.sampling.grammar = Some("root ::= \"yes\" | \"no\"".into());
    let written = write(&mut engine, &generation);
    assert!(["yes", "no"].contains(&written.text.as_str()), "{:?}", written.text);
    // The second and the third would make llama.cpp allocate until the process is killed, the last one never come to an end.
    let nested = r#"root ::= (((((((((("a"?){1000}){666}){500}){400}){333}){285}){250}){222}){200})"#;
    for grammar in ["root ::= (", "root ::= \"a\"{5,3}", nested, "root ::= ([^t]?){200}"] {
        generation.sampling.grammar = Some(grammar.into());
        assert!(matches!(engine.begin(0, &generation), Err(EngineError::Rejected(_))), "{grammar}");
    }
    generation.sampling.grammar = None;
    assert!(!write(&mut engine, &generation).text.is_empty(), "the slot is free again");
}

#[test]
fn a_grammar_with_as_many_ways_as_are_allowed_is_followed() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("What is a stack?", "a", 12);
    generation.sampling.grammar = Some("root ::= ([^t]?){9} [^t]".into());
    let text = write(&mut engine, &generation).text;
    assert!(text.chars().count() <= 10 && !text.contains('t'), "{text:?}");
}

#[test]
fn a_control_token_is_not_the_text_of_its_name() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("What is a stack?", "a", 20);
    generation.sampling.grammar = Some(r#"root ::= "<|im_start|>""#.into());
    assert_eq!(write(&mut engine, &generation).text, "<|im_start|>");
}

#[test]
fn a_biased_token_is_not_said_and_one_that_does_not_exist_is_rejected() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("What is the capital of France?", "a", 40);
    assert!(write(&mut engine, &generation).text.contains("Paris"));
    generation.sampling.logit_bias = vec![(Token(i32::MAX), 1.0)];
    assert!(matches!(engine.begin(0, &generation), Err(EngineError::Rejected(_))));
    // " Paris" and "Paris" in the vocabulary of this model.
    generation.sampling.logit_bias =
        engine.decoder().tokens_of(" Paris").into_iter().map(|token| (token, -100.0)).collect();
    assert!(!write(&mut engine, &generation).text.contains(" Paris"));
}

#[test]
fn penalties_change_what_is_said_again_and_not_where_they_do_not_look_back() {
    let Some(mut engine) = engine() else { return };
    let mut generation = ask("Write the word heap ten times.", "a", 30);
    let plain = write(&mut engine, &generation).text;
    let (presence, frequency) = (
        Sampling { presence_penalty: 2.0, repeat_last_tokens: 64, ..Sampling::greedy() },
        Sampling { frequency_penalty: 2.0, repeat_last_tokens: 64, ..Sampling::greedy() },
    );
    for sampling in [presence, frequency] {
        generation.sampling = Sampling { repeat_last_tokens: 0, ..sampling.clone() };
        assert_eq!(write(&mut engine, &generation).text, plain, "{sampling:?}");
        generation.sampling = sampling;
        assert_ne!(write(&mut engine, &generation).text, plain, "{:?}", generation.sampling);
    }
    generation.sampling = Sampling { dry_multiplier: 2.0, ..Sampling::greedy() };
    assert_eq!(
        write(&mut engine, &generation).text,
        write(&mut engine, &generation).text,
        "a kept sampler begins anew"
    );
}
