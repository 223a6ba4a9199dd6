//! The guard's decisions, without a socket.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::*;

/// A guard, and the folder of its keys.
struct Scene {
    folder: tempfile::TempDir,
    guard: Guard,
    clock: Clock,
}

fn allowance(requests_per_min: u32) -> Allowance {
    Allowance { requests_per_min, tokens_per_min: 1_000, connections: 2 }
}

fn settings(folder: &tempfile::TempDir) -> GuardSettings {
    GuardSettings {
        data_dir: folder.path().into(),
        everybody: false,
        origins: vec!["https://school.example".parse().unwrap()],
        proxies: Proxies { networks: vec!["10.0.0.0/8".parse().unwrap()], header: ProxyHeader::XForwardedFor },
        address: allowance(3),
        key: allowance(5),
        tls: None,
        patience: Patience::default(),
    }
}

fn scene_with(change: impl FnOnce(&mut GuardSettings)) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    change(&mut settings);
    let clock = Clock::default();
    Scene { guard: Guard::open(settings, clock.clone()).unwrap(), folder, clock }
}

fn scene() -> Scene {
    scene_with(|_| {})
}

impl Scene {
    /// Makes a key, and lets the guard see it.
    fn key(&self, scopes: &[Scope]) -> (String, String) {
        let key = NewKey::generate().unwrap();
        let record = KeyRecord {
            id: key.id.clone(),
            name: key.id.clone(),
            scopes: scopes.to_vec(),
            sha256: key.hash,
            created: self.clock.unix_s(),
            expires: None,
            revoked: None,
        };
        KeyFile::new(self.folder.path()).add(record).unwrap();
        self.guard.refresh();
        (key.id, key.text.reveal().unwrap().to_owned())
    }

    fn ask(&self, line: &str, peer: &str, headers: &[(&'static str, &str)]) -> Result<Admitted, ErrorCode> {
        let (method, address) = line.split_once(' ').unwrap();
        let (method, uri): (Method, Uri) = (method.parse().unwrap(), address.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let asked = Asked {
            method: &method,
            uri: &uri,
            headers: &map,
            pattern: Some(uri.path()),
            is_preflight: false,
            peer: peer.parse().unwrap(),
        };
        self.guard.admit(&asked).map_err(|error| error.code)
    }
}

const HOST: (&str, &str) = ("host", "localhost:8000");

#[test]
fn without_keys_this_machine_may_do_everything_under_its_own_name() {
    let scene = scene();
    assert_eq!(scene.guard.mode(), Mode::Local);
    for line in ["GET /", "POST /api/chat", "GET /metrics", "DELETE /api/documents/x"] {
        assert!(scene.ask(line, "127.0.0.1", &[HOST]).is_ok(), "{line}");
    }
    let refused = |peer, headers: &[(&'static str, &str)]| scene.ask("GET /", peer, headers).unwrap_err();
    assert_eq!(refused("192.0.2.1", &[HOST]), ErrorCode::Forbidden, "another machine");
    assert_eq!(refused("127.0.0.1", &[("host", "evil.example")]), ErrorCode::Forbidden, "DNS rebinding");
    assert_eq!(refused("127.0.0.1", &[]), ErrorCode::Forbidden, "no name");
    assert_eq!(refused("127.0.0.1", &[HOST, ("host", "evil.example")]), ErrorCode::Forbidden, "two names");
    assert_eq!(refused("127.0.0.1", &[HOST, ("x-forwarded-for", "192.0.2.1")]), ErrorCode::Forbidden, "a proxy");
    let absolute = scene.ask("GET http://evil.example/", "127.0.0.1", &[HOST]).unwrap_err();
    assert_eq!(absolute, ErrorCode::Forbidden, "another name in the address");
    assert!(scene.ask("GET /", "127.0.0.1", &[("host", "school.example:443")]).is_ok(), "a listed site's name");
    assert!((0..100).all(|_| scene.ask("GET /", "127.0.0.1", &[HOST]).is_ok()), "nobody is counted");
}

#[test]
fn pages_of_other_sites_may_read_the_public_but_change_nothing() {
    let scene = scene();
    let ask = |line, origin| scene.ask(line, "127.0.0.1", &[HOST, ("origin", origin)]).err();
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:9000",
        "https://localhost",
        "http://localhost.evil.example:8000",
    ] {
        assert_eq!(ask("POST /api/chat", origin), Some(ErrorCode::Forbidden), "{origin}");
        assert_eq!(ask("GET /", origin), None, "{origin}");
        let socket = [HOST, ("origin", origin), ("upgrade", "websocket")];
        assert_eq!(scene.ask("GET /api/ws/chat", "127.0.0.1", &socket).err(), Some(ErrorCode::Forbidden), "{origin}");
    }
    for origin in ["http://localhost:8000", "https://school.example"] {
        assert_eq!(ask("POST /api/chat", origin), None, "{origin}");
    }
    let doubled = [HOST, ("origin", "http://localhost:8000"), ("origin", "http://evil.example")];
    assert!(scene.ask("POST /api/chat", "127.0.0.1", &doubled).is_err());
}

#[test]
fn with_a_key_everything_asks_for_one_also_on_this_machine() {
    let scene = scene();
    let (id, key) = scene.key(&[Scope::Ask]);
    let bearer = format!("Bearer {key}");
    assert_eq!(scene.guard.mode(), Mode::Keys);
    assert!(matches!(scene.ask("GET /", "127.0.0.1", &[HOST]).unwrap().client.principal(), Principal::Stranger));
    assert_eq!(scene.ask("POST /api/chat", "127.0.0.1", &[HOST]).unwrap_err(), ErrorCode::Unauthorized);
    let admitted = scene.ask("POST /api/chat", "192.0.2.1", &[("authorization", &bearer)]).unwrap();
    assert_eq!(admitted.client.owner(), Some(id));
    let lower = format!("bearer {key}");
    assert!(scene.ask("POST /api/chat", "192.0.2.1", &[("authorization", &lower)]).is_ok());
    assert_eq!(
        scene.ask("GET /metrics", "192.0.2.1", &[("authorization", &bearer)]).unwrap_err(),
        ErrorCode::Forbidden
    );
    assert_eq!(scene.ask("GET /new", "192.0.2.1", &[("authorization", &bearer)]).unwrap_err(), ErrorCode::NotFound);
}

#[test]
fn every_wrong_key_gets_the_same_answer() {
    let scene = scene_with(|settings| settings.address.requests_per_min = 0);
    let (_, key) = scene.key(&[Scope::Ask]);
    let unknown = NewKey::generate().unwrap().text.reveal().unwrap().to_owned();
    let wrong_secret = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for text in [
        "",
        "Bearer",
        "Bearer ",
        &format!("Basic {key}"),
        &format!("Bearer {unknown}"),
        &format!("Bearer {wrong_secret}"),
    ] {
        let refused = scene.ask("POST /api/chat", "192.0.2.1", &[("authorization", text)]).unwrap_err();
        assert_eq!(refused, ErrorCode::Unauthorized, "{text}");
    }
    let in_address = scene.ask(&format!("GET /api/ws/chat?ticket={key}"), "192.0.2.1", &[]).unwrap_err();
    assert_eq!(in_address, ErrorCode::Unauthorized, "a key is no ticket");
}

#[test]
fn a_ticket_stands_for_its_key_once_and_not_longer_than_the_key_lives() {
    let scene = scene();
    let (id, key) = scene.key(&[Scope::Ask]);
    let bearer = format!("Bearer {key}");
    let client = scene.ask("POST /api/ticket", "192.0.2.1", &[("authorization", &bearer)]).unwrap().client;
    let issue = || scene.guard.issue_ticket(&client).unwrap().reveal().unwrap().to_owned();
    let line = format!("GET /api/ws/chat?x=1&ticket={}", issue());
    assert_eq!(scene.ask(&line, "192.0.2.1", &[]).unwrap().client.owner(), Some(id.clone()));
    assert_eq!(scene.ask(&line, "192.0.2.1", &[]).unwrap_err(), ErrorCode::Unauthorized);
    let posted = format!("POST /api/chat?ticket={}", issue());
    assert_eq!(scene.ask(&posted, "192.0.2.2", &[]).unwrap_err(), ErrorCode::Unauthorized);
    let late = format!("GET /api/ws/chat?ticket={}", issue());
    scene.clock.advance(TICKET_LIFE);
    assert_eq!(scene.ask(&late, "192.0.2.3", &[]).unwrap_err(), ErrorCode::Unauthorized);
    let revoked = format!("GET /api/ws/chat?ticket={}", issue());
    KeyFile::new(scene.folder.path()).revoke(&id, 1).unwrap();
    scene.guard.refresh();
    assert_eq!(scene.ask(&revoked, "192.0.2.4", &[]).unwrap_err(), ErrorCode::Unauthorized);
}

#[test]
fn addresses_and_keys_are_counted_apart_and_guesses_count() {
    let scene = scene();
    let (_, key) = scene.key(&[Scope::Ask]);
    let bearer = format!("Bearer {key}");
    let guess = |peer| scene.ask("POST /api/chat", peer, &[("authorization", "Bearer x")]).unwrap_err();
    assert_eq!([guess("192.0.2.1"), guess("192.0.2.1"), guess("192.0.2.1")], [ErrorCode::Unauthorized; 3]);
    assert_eq!(guess("192.0.2.1"), ErrorCode::Overloaded);
    assert_eq!(guess("192.0.2.2"), ErrorCode::Unauthorized);
    let asked = || scene.ask("POST /api/chat", "192.0.2.1", &[("authorization", &bearer)]);
    assert!((0..5).all(|_| asked().is_ok()), "the key of the same address is not stopped");
    assert_eq!(asked().unwrap_err(), ErrorCode::Overloaded);
    scene.clock.advance(Duration::from_secs(60));
    assert!(asked().is_ok() && guess("192.0.2.1") == ErrorCode::Unauthorized);
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    let scene = scene_with(|settings| settings.everybody = true);
    assert_eq!(scene.guard.mode(), Mode::Everybody);
    let ask = |peer, client: &str| scene.ask("GET /", peer, &[("x-forwarded-for", client)]).is_ok();
    assert!((0..9).all(|number| ask("10.0.0.1", &format!("192.0.2.{number}"))), "nine clients of a proxy");
    assert!((0..2).all(|_| ask("10.0.0.1", "192.0.2.1")) && !ask("10.0.0.1", "192.0.2.1"));
    assert!(!(0..9).all(|number| ask("198.51.100.1", &format!("203.0.113.{number}"))), "one client with nine names");
}

#[test]
fn connections_and_requests_at_once_are_bounded() {
    let scene = scene_with(|settings| settings.key.requests_per_min = 0);
    let (_, key) = scene.key(&[Scope::Ask]);
    let bearer = format!("Bearer {key}");
    let asked = || scene.ask("GET /api/ws/chat", "192.0.2.1", &[("authorization", &bearer)]);
    let (one, _two) = (asked().unwrap(), asked().unwrap());
    assert_eq!(asked().unwrap_err(), ErrorCode::Overloaded);
    drop(one);
    assert!(asked().is_ok());
    let connect = |peer: &str| scene.guard.admit_connection(peer.parse().unwrap());
    let _held = (connect("192.0.2.1").unwrap(), connect("192.0.2.1").unwrap());
    assert!(connect("192.0.2.1").is_err() && connect("192.0.2.2").is_ok());
    assert!((0..9).map(|_| connect("10.0.0.1")).all(|place| place.unwrap().is_none()), "a proxy's are its clients'");
}

#[test]
fn questions_cost_their_tokens_and_what_an_answer_does_not_need_comes_back() {
    let scene = scene_with(|settings| settings.everybody = true);
    let client = scene.ask("POST /api/chat", "192.0.2.1", &[]).unwrap().client;
    let mut first = client.charge("four", 999).unwrap();
    assert_eq!(client.charge("four", 0).unwrap_err().code, ErrorCode::Overloaded);
    first.settle(99);
    assert!(client.charge("four", 899).is_ok());
    let error = client.charge("four", 500).unwrap_err();
    assert!(error.retry_after.unwrap() >= Duration::from_secs(30), "{error:?}");
}
