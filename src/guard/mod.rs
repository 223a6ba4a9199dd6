//! Who may do what: keys, tickets, origins, limits. Decided here, applied by the doors in `http::gate`.
//!
//! | file | what it is for |
//! |---|---|
//! | `key`, `random`, `scope` | a key's text, what is kept of it, what it may do |
//! | `key_file` | the keys on disk |
//! | `keyring` | the keys as the server holds them, ended when they are revoked |
//! | `ticket` | what a browser's WebSocket carries instead of a key |
//! | `routes` | what each address asks for |
//! | `principal`, `client` | who asks, and what it costs them |
//! | `origin` | what keeps other sites' pages in a browser from acting here |
//! | `address` | whose address a request comes from, also behind a proxy |
//! | `rates` | how much each client may do |
//! | `head` | limits on what comes before a body |
//! | `policy` | what a browser may do with a page |
//! | `tls` | certificates |
//! | `clock` | the time, which tests put forward |
//!
//! There are three modes. With any key in the data folder, also a revoked one, keys are asked for everywhere. Without one, only
//! this machine may ask, under a name of its own and not through a proxy. Or everybody may, when that was said in so many words.

mod address;
mod client;
mod clock;
mod head;
mod key;
mod key_file;
mod keyring;
mod origin;
pub mod policy;
mod principal;
mod random;
mod rates;
mod routes;
mod scope;
mod ticket;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, Uri};
use mentor_actors::domain::{ErrorCode, TurnError};
use mentor_engines::Secret;

pub use address::{AddressGroup, Proxies, ProxyHeader};
pub use client::{Charge, Client};
pub use clock::Clock;
pub use head::check as check_head;
pub use key::NewKey;
pub use key_file::{KeyFile, KeyRecord};
pub use keyring::{Credential, Keyring};
pub use origin::Origin;
pub use principal::Principal;
pub use rates::{Allowance, Payer, Place, Rates, Unit};
pub use routes::{Access, access};
pub use scope::Scope;
pub use ticket::TICKET_LIFE;
pub use tls::{Tls, TlsFiles};

use ticket::Tickets;

/// What the configuration says about who may do what.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// Where the keys are.
    pub data_dir: PathBuf,
    /// Whether everybody may do everything while there are no keys.
    pub everybody: bool,
    /// Sites whose pages may use this server from a browser, besides its own.
    pub origins: Vec<Origin>,
    /// Proxies that are believed.
    pub proxies: Proxies,
    /// Limits on an address.
    pub address: Allowance,
    /// Limits on a key.
    pub key: Allowance,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// How long clients may take.
    pub patience: Patience,
}

/// How long a client may take to send what it has to.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The handshake of TLS.
    pub handshake: Duration,
    /// The head of a request.
    pub head: Duration,
    /// A small body.
    pub body: Duration,
    /// The next request on the same connection.
    pub idle: Duration,
}

impl Default for Patience {
    /// What a phone on a bad line needs; browsers open a connection anew without being asked.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(5),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(15),
        }
    }
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// This machine alone: there are no keys.
    Local,
    /// Everybody, as was said in so many words: there are no keys.
    Everybody,
    /// Holders of keys.
    Keys,
}

/// What is known of a request before its body.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// What it asks for.
    pub uri: &'a Uri,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// The router's pattern for it, if it has one.
    pub pattern: Option<&'a str>,
    /// Whether a browser asks what another site's page may send; nothing is done for that.
    pub is_preflight: bool,
    /// The other end of the connection.
    pub peer: IpAddr,
}

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// Who asks.
    pub client: Client,
    /// Its place among those of the same client; held until the response has ended.
    pub place: Option<Place>,
}

/// Everything that decides who may do what. Shared by all HTTP threads.
#[derive(Debug)]
pub struct Guard {
    keyring: Keyring,
    tickets: Mutex<Tickets>,
    everybody: bool,
    origins: Vec<Origin>,
    proxies: Proxies,
    rates: Rates,
    tls: Option<Tls>,
    patience: Patience,
    clock: Clock,
}

impl Guard {
    /// Reads keys and certificate.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn open(settings: GuardSettings, clock: Clock) -> anyhow::Result<Self> {
        let GuardSettings { data_dir, everybody, origins, proxies, address, key, tls, patience } = settings;
        Ok(Self {
            keyring: Keyring::open(KeyFile::new(data_dir), clock.unix_s())?,
            tickets: Mutex::default(),
            everybody,
            origins,
            proxies,
            rates: Rates::new(address, key),
            tls: tls.map(Tls::load).transpose()?,
            patience,
            clock,
        })
    }

    /// Who may come in now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match (self.keyring.is_required(), self.everybody) {
            (true, _) => Mode::Keys,
            (false, true) => Mode::Everybody,
            (false, false) => Mode::Local,
        }
    }

    /// How many keys may be used now.
    #[must_use]
    pub fn live_keys(&self) -> usize {
        self.keyring.live()
    }

    /// The certificate, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// How long clients may take.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Reads keys and certificate again where they have changed. Reads small files: for a thread that may wait.
    pub fn refresh(&self) {
        if let Err(error) = self.keyring.refresh(self.clock.unix_s()) {
            tracing::error!(error = format!("{error:#}"), "the keys stay as they were");
        }
        match self.tls.as_ref().map_or(Ok(false), Tls::refresh) {
            Ok(true) => tracing::info!("the new certificate is in use"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "the certificate stays as it was"),
        }
    }

    /// Counts a connection; `None` when its address has too many. A trusted proxy's are its clients', who are counted by request.
    ///
    /// # Errors
    /// The refusal, for the log.
    pub fn admit_connection(&self, peer: IpAddr) -> Result<Option<Place>, AddressGroup> {
        if self.is_uncounted(peer) || self.proxies.are_at(peer) {
            return Ok(None);
        }
        let group = AddressGroup::from(peer);
        self.rates.open(&Payer::Address(group)).map(Some).ok_or(group)
    }

    /// The site whose page asks, if it is a listed one: its browser may see the answer.
    #[must_use]
    pub fn listed_origin(&self, headers: &HeaderMap) -> Option<&Origin> {
        let origin: Origin = only(headers, &header::ORIGIN)?.parse().ok()?;
        self.origins.iter().find(|listed| **listed == origin)
    }

    /// Decides about a request.
    ///
    /// # Errors
    /// `forbidden` for a wrong host or origin, or a key that may not do that; `unauthorized` without a key, where one is needed;
    /// `not_found` for what nobody may; `overloaded` for a client that does too much.
    pub fn admit(&self, asked: &Asked<'_>) -> Result<Admitted, TurnError> {
        let mode = self.mode();
        if mode == Mode::Local {
            self.check_local(asked)?;
        }
        self.check_origin(asked)?;
        let needed = if asked.is_preflight { Access::Open } else { access(asked.method, asked.pattern) };
        let address = Payer::Address(self.proxies.client(asked.peer, asked.headers).into());
        let principal = match mode {
            Mode::Local | Mode::Everybody => Principal::Anybody,
            Mode::Keys => self.identify(asked),
        };
        let payer = match &principal {
            _ if mode == Mode::Local => None,
            Principal::Key(key) => Some(Payer::Key(key.record.id.clone())),
            Principal::Anybody | Principal::Stranger => Some(address),
        };
        let client = Client::new(self, principal, payer);
        // Before the refusals below: who tries keys or addresses is counted, too.
        if needed != Access::Uncounted {
            client.admit_frame()?;
        }
        if needed == Access::Nobody {
            let message = format!("there is no {} {}", asked.method, asked.uri.path());
            return Err(TurnError::new(ErrorCode::NotFound, message));
        }
        allow(needed, client.principal())?;
        let place = self.place(&client, asked.peer)?;
        Ok(Admitted { client, place })
    }

    /// A ticket for a request that cannot carry a key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn issue_ticket(&self, client: &Client) -> anyhow::Result<Secret> {
        self.tickets().issue(client.principal().clone(), self.clock.now())
    }

    /// Whom the request's key or ticket belongs to.
    fn identify(&self, asked: &Asked<'_>) -> Principal {
        if let Some(key) = bearer(asked.headers) {
            let found = self.keyring.find(&key, self.clock.unix_s());
            return found.map_or(Principal::Stranger, Principal::Key);
        }
        let ticket = if asked.method == Method::GET { ticket_of(asked.uri) } else { None };
        match ticket.and_then(|ticket| self.tickets().redeem(ticket, self.clock.now())) {
            Some(Principal::Key(key)) if !key.ended.is_cancelled() => Principal::Key(key),
            _ => Principal::Stranger,
        }
    }

    /// Without keys only this machine may ask: from a loopback address, under a name of its own, and itself.
    fn check_local(&self, asked: &Asked<'_>) -> Result<(), TurnError> {
        let refuse = |message: &str| Err(TurnError::new(ErrorCode::Forbidden, message));
        if !asked.peer.to_canonical().is_loopback() {
            return refuse("without API keys this server answers its own machine alone");
        }
        if address::is_forwarded(asked.headers) {
            return refuse("through a proxy this server answers with API keys alone: see `mentor keys create`");
        }
        let known = |host: &str| origin::names_this_machine(host) || self.origins.iter().any(|site| site.is_at(host));
        let in_address = asked.uri.authority().is_none_or(|authority| known(authority.as_str()));
        if !in_address || !only(asked.headers, &header::HOST).is_some_and(known) {
            return refuse("without API keys this server answers under the name localhost alone");
        }
        Ok(())
    }

    /// A page of another site may not change anything here, nor open a WebSocket. What it may only read, its browser keeps from it.
    fn check_origin(&self, asked: &Asked<'_>) -> Result<(), TurnError> {
        let harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(asked.method)
            && !asked.headers.contains_key(header::UPGRADE);
        // Programs send none.
        if harmless || !asked.headers.contains_key(header::ORIGIN) || self.listed_origin(asked.headers).is_some() {
            return Ok(());
        }
        let origin = only(asked.headers, &header::ORIGIN).and_then(|text| text.parse::<Origin>().ok());
        let is_ours = |origin: &Origin| {
            let host = only(asked.headers, &header::HOST);
            host.is_some_and(|host| origin.is_at(host)) && (self.tls.is_none() || origin.is_secure())
        };
        if origin.as_ref().is_some_and(is_ours) {
            return Ok(());
        }
        let message = "pages of another site may not do this: see `allowed_origins`";
        Err(TurnError::new(ErrorCode::Forbidden, message))
    }

    /// The request's place among those of its client. Connections are counted by address already, but for those of proxies.
    fn place(&self, client: &Client, peer: IpAddr) -> Result<Option<Place>, TurnError> {
        let counted = client.payer().filter(|payer| matches!(payer, Payer::Key(_)) || self.proxies.are_at(peer));
        let Some(payer) = counted else { return Ok(None) };
        let full = || TurnError::new(ErrorCode::Overloaded, "too many connections at once: try again later");
        self.rates.open(payer).map(Some).ok_or_else(|| full().retry_after(Duration::from_secs(1)))
    }

    /// Whether the address is this machine's while there is nobody else to protect it from.
    fn is_uncounted(&self, peer: IpAddr) -> bool {
        self.mode() == Mode::Local && peer.to_canonical().is_loopback()
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, Tickets> {
        // A ticket that was half added before a panic is found by nobody.
        self.tickets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn allow(needed: Access, principal: &Principal) -> Result<(), TurnError> {
    match (needed, principal) {
        (Access::Open | Access::Uncounted, _) | (Access::AnyKey, Principal::Anybody | Principal::Key(_)) => Ok(()),
        (_, Principal::Stranger) => Err(TurnError::new(ErrorCode::Unauthorized, "a valid API key is needed")),
        (Access::Needs(scope), principal) if principal.may(scope) => Ok(()),
        (Access::Needs(scope), _) => {
            Err(TurnError::new(ErrorCode::Forbidden, format!("this API key lacks the scope {scope}")))
        }
        (Access::Nobody, _) => Err(TurnError::new(ErrorCode::Forbidden, "nobody may do this")),
    }
}

/// The value of a field that stands there once; `None` when it is missing, doubled or not text.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The key in `Authorization: Bearer KEY`.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, key) = only(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { key.parse().ok() } else { None }
}

/// The ticket in `?ticket=TICKET`. A ticket has no characters that would be escaped.
fn ticket_of(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

#[cfg(test)]
mod tests;
