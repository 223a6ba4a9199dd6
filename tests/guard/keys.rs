//! Keys, scopes and tickets.

use std::time::Duration;

use mentor::guard::Scope;

use crate::scene::Scene;

#[actix::test]
async fn without_keys_no_key_is_asked_for_and_with_the_first_one_it_is() {
    let scene = Scene::start();
    assert_eq!(scene.chat(None).await.status, 200);
    let (_, key) = scene.key(&[Scope::Ask], None);
    let refused = scene.chat(None).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"));
    assert!(refused.has("www-authenticate: bearer"), "{refused:?}");
    assert_eq!(scene.chat(Some(&key)).await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn missing_wrong_expired_and_revoked_keys_get_one_answer() {
    let scene = Scene::start();
    let ((gone, revoked), (_, expiring)) = (scene.key(&[Scope::Ask], None), scene.key(&[Scope::Ask], Some(60)));
    let (_, good) = scene.key(&[Scope::Ask], None);
    assert_eq!((scene.chat(Some(&revoked)).await.status, scene.chat(Some(&expiring)).await.status), (200, 200));
    scene.file().revoke(&gone, scene.clock.unix_s()).unwrap();
    scene.clock.advance(Duration::from_secs(61));
    scene.guard.refresh();
    let unknown = format!("mk_{}_{}", "0".repeat(8), "0".repeat(43));
    let wrong = format!("{}{}", &good[..good.len() - 2], "00");
    let missing = scene.chat(None).await;
    assert_eq!(missing.status, 401);
    for key in [revoked.as_str(), &expiring, &unknown, &wrong, "x", &gone] {
        let answer = scene.chat(Some(key)).await;
        assert_eq!((answer.status, &answer.body), (401, &missing.body), "{key}");
    }
    assert_eq!(scene.chat(Some(&good)).await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn a_key_may_do_what_its_scopes_say() {
    let scene = Scene::start();
    let (_, ask) = scene.key(&[Scope::Ask], None);
    let (_, metrics) = scene.key(&[Scope::Metrics], None);
    let bearer = |key: &str| format!("authorization: Bearer {key}");
    let status = async |line, key: &str| scene.ask(line, &[&bearer(key)], r#"{"query":"heap"}"#).await.status;
    assert_eq!((status("POST /api/search", &ask).await, status("POST /api/search", &metrics).await), (200, 403));
    assert_eq!((status("GET /metrics", &ask).await, status("GET /metrics", &metrics).await), (403, 200));
    assert_eq!((status("GET /api/health", &ask).await, status("GET /api/health", &metrics).await), (403, 503));
    assert_eq!((status("GET /api/stats", &ask).await, status("GET /api/stats", &metrics).await), (200, 403));
    let refused = scene.ask("GET /metrics", &[&bearer(&ask)], "").await;
    assert!(refused.code() == "forbidden" && refused.body.contains("lacks the scope metrics"), "{refused:?}");
    scene.stop().await;
}

#[actix::test]
async fn page_and_liveness_are_open_and_readiness_keeps_its_reasons() {
    let scene = Scene::start();
    let reason = "the cellar is flooded";
    assert!(scene.ask("GET /readyz", &[], "").await.body.contains(reason));
    let (_, metrics) = scene.key(&[Scope::Metrics], None);
    assert_eq!(scene.ask("GET /", &[], "").await.status, 200);
    assert_eq!(scene.ask("GET /livez", &[], "").await.status, 200);
    let unknown = scene.ask("GET /readyz", &[], "").await;
    assert!(unknown.status == 503 && !unknown.body.contains(reason), "{unknown:?}");
    let known = scene.ask("GET /readyz", &[&format!("authorization: Bearer {metrics}")], "").await;
    assert!(known.status == 503 && known.body.contains(reason), "{known:?}");
    for closed in ["GET /metrics", "GET /api/health", "GET /api/stats", "POST /api/search", "POST /api/ticket"] {
        assert_eq!(scene.ask(closed, &[], "").await.status, 401, "{closed}");
    }
    scene.stop().await;
}

#[actix::test]
async fn a_socket_opens_with_a_ticket_once_and_in_time() {
    let scene = Scene::start();
    let (_, key) = scene.key(&[Scope::Ask], None);
    assert_eq!(scene.socket("/c", None).await.err(), Some(401));
    assert_eq!(scene.socket(&format!("/c?ticket={key}"), None).await.err(), Some(401), "a key is no ticket");
    let path = format!("/c?ticket={}", scene.ticket(&key).await);
    let mut socket = scene.socket(&path, None).await.unwrap();
    socket.hear_type("ready").await;
    socket.say(r#"{"message":"what is a heap?"}"#).await;
    socket.hear_type("complete").await;
    assert_eq!(scene.socket(&path, None).await.err(), Some(401), "used");
    let late = format!("/c?ticket={}", scene.ticket(&key).await);
    scene.clock.advance(Duration::from_secs(30));
    assert_eq!(scene.socket(&late, None).await.err(), Some(401), "late");
    scene.stop().await;
}

#[actix::test]
async fn a_revoked_key_ends_its_sockets_with_1008_and_no_other() {
    let scene = Scene::start();
    let ((id, one), (_, two)) = (scene.key(&[Scope::Ask], None), scene.key(&[Scope::Ask], None));
    let mut sockets = Vec::new();
    // Each in a conversation of its own: another key's is not found.
    for (conversation, key) in [("a", &one), ("b", &two)] {
        let path = format!("/{conversation}?ticket={}", scene.ticket(key).await);
        let mut socket = scene.socket(&path, None).await.unwrap();
        socket.hear_type("ready").await;
        sockets.push(socket);
    }
    scene.file().revoke(&id, scene.clock.unix_s()).unwrap();
    scene.guard.refresh();
    assert_eq!(sockets[0].hear().await, Err(1008));
    sockets[1].say(r#"{"type":"ping"}"#).await;
    assert_eq!(sockets[1].hear().await.unwrap()["type"], "pong");
    scene.stop().await;
}
