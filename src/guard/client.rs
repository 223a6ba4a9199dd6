//! A request that was let in: who asks, and what it costs them.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use mentor_actors::domain::{ClientId, ErrorCode, TurnError};

use super::principal::Principal;
use super::rates::{Payer, Rates, Unit};
use super::scope::Scope;
use super::{Clock, Guard};

/// Characters of a token, about: what models of English have.
const CHARS_PER_TOKEN: usize = 4;

/// The sender of a request, for its handler. Every request that reaches one has it.
#[derive(Debug, Clone)]
pub struct Client {
    principal: Principal,
    /// Who is counted; `None` where nobody is.
    payer: Option<Payer>,
    rates: Rates,
    clock: Clock,
}

impl Client {
    pub(super) fn new(guard: &Guard, principal: Principal, payer: Option<Payer>) -> Self {
        Self { principal, payer, rates: guard.rates.clone(), clock: guard.clock.clone() }
    }

    /// On whose behalf it asks.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whose the conversations are that it begins; nobody's without a key.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        self.principal.owner()
    }

    /// For whom places are taken and turns go round: its key, else its address. Nobody in particular where this machine asks alone.
    #[must_use]
    pub fn id(&self) -> Option<ClientId> {
        self.payer.as_ref().map(Payer::id)
    }

    /// Who is counted for what it does.
    pub(super) fn payer(&self) -> Option<&Payer> {
        self.payer.as_ref()
    }

    /// Whether it may do that.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.principal.may(scope)
    }

    /// Counts a frame of a WebSocket as a request.
    ///
    /// # Errors
    /// `overloaded` when it sent too many.
    pub fn admit_frame(&self) -> Result<(), TurnError> {
        self.take(Unit::Requests, 1)
    }

    /// Counts a question, and the longest answer it may get; what the answer does not need is given back when it is settled.
    ///
    /// # Errors
    /// `overloaded` when the client asked too much.
    pub fn charge(&self, question: &str, longest_answer_tokens: usize) -> Result<Charge, TurnError> {
        let asked = question.chars().count().div_ceil(CHARS_PER_TOKEN);
        let reserved = u32::try_from(asked + longest_answer_tokens).unwrap_or(u32::MAX);
        self.take(Unit::Tokens, reserved)?;
        let answer = u32::try_from(longest_answer_tokens).unwrap_or(u32::MAX);
        Ok(Charge { client: self.clone(), answer })
    }

    fn take(&self, unit: Unit, amount: u32) -> Result<(), TurnError> {
        let Some(payer) = &self.payer else { return Ok(()) };
        self.rates.take(payer, unit, amount, self.clock.now()).map_err(|wait| too_much(unit, wait))
    }
}

/// The error of a client that did more than it may.
fn too_much(unit: Unit, wait: Duration) -> TurnError {
    let what = match unit {
        Unit::Requests => "too many requests",
        Unit::Tokens => "too many tokens asked for",
    };
    // A whole second is what `Retry-After` can say.
    let wait = Duration::from_secs(wait.as_secs() + 1);
    TurnError::new(ErrorCode::Overloaded, format!("{what}: try again in {} s", wait.as_secs())).retry_after(wait)
}

/// Tokens that were counted for an answer before it was there. Dropped unsettled, all of them stay counted: a client that leaves
/// early does not ask for less.
#[derive(Debug)]
pub struct Charge {
    client: Client,
    answer: u32,
}

impl Charge {
    /// Gives back what an answer of that length does not need.
    pub fn settle(&mut self, answer_tokens: usize) {
        let unused = self.answer.saturating_sub(u32::try_from(answer_tokens).unwrap_or(u32::MAX));
        self.answer -= unused;
        let Client { payer, rates, clock, .. } = &self.client;
        if let Some(payer) = payer {
            rates.give_back(payer, Unit::Tokens, unused, clock.now());
        }
    }
}

impl FromRequest for Client {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // A door without a guard before it stays shut.
        let missing = || actix_web::error::ErrorInternalServerError("the request was not examined");
        ready(request.extensions().get::<Self>().cloned().ok_or_else(missing))
    }
}
