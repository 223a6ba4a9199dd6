//! Pages of other sites, other names for this machine, and what browsers are told.

use mentor::guard::Scope;

use crate::scene::Scene;

const QUESTION: &str = r#"{"message":"what is a heap?"}"#;

fn with_school() -> Scene {
    Scene::start_with(|settings| settings.origins = vec!["https://school.example".parse().unwrap()])
}

#[actix::test]
async fn a_page_of_another_site_can_neither_ask_nor_open_a_socket() {
    let scene = with_school();
    let own = format!("http://{}", scene.address);
    for hostile in ["http://evil.example", "null", "https://school.example.evil.example"] {
        let answer = scene.ask("POST /api/chat", &[&format!("origin: {hostile}")], QUESTION).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{hostile}");
        assert!(!answer.head.contains("access-control-allow-origin"), "{answer:?}");
        assert_eq!(scene.socket("/c", Some(hostile)).await.err(), Some(403), "{hostile}");
    }
    for ours in [own.as_str(), "https://school.example"] {
        let answer = scene.ask("POST /api/chat", &[&format!("origin: {ours}")], QUESTION).await;
        assert_eq!(answer.status, 200, "{ours}");
        scene.socket("/c", Some(ours)).await.unwrap().hear_type("ready").await;
    }
    scene.stop().await;
}

#[actix::test]
async fn another_name_for_this_machine_is_refused_without_keys() {
    let scene = Scene::start();
    for host in ["evil.example", "localhost.evil.example:8000", ""] {
        let answer = scene.ask("GET /api/stats", &[&format!("host: {host}")], "").await;
        assert_eq!(answer.status, 403, "{host:?} {answer:?}");
    }
    assert_eq!(scene.ask("GET /api/stats", &["host: localhost"], "").await.status, 200);
    assert_eq!(scene.ask("GET /api/stats", &["x-forwarded-for: 192.0.2.1"], "").await.status, 403);
    let (_, key) = scene.key(&[Scope::Ask], None);
    let bearer = format!("authorization: Bearer {key}");
    assert_eq!(scene.ask("GET /api/stats", &["host: tutor.example", &bearer], "").await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn listed_sites_are_told_that_they_may_and_others_nothing() {
    let scene = with_school();
    let preflight = async |origin: &str| {
        let origin = format!("origin: {origin}");
        scene.ask("OPTIONS /api/chat", &[&origin, "access-control-request-method: POST"], "").await
    };
    let listed = preflight("https://school.example").await;
    assert_eq!(listed.status, 204, "{listed:?}");
    assert!(listed.has("access-control-allow-origin: https://school.example"), "{listed:?}");
    assert!(listed.has("access-control-allow-headers: authorization, content-type, last-event-id"), "{listed:?}");
    let other = preflight("https://evil.example").await;
    assert!(other.status == 403 && !other.head.contains("access-control-allow"), "{other:?}");
    let (_, _key) = scene.key(&[Scope::Ask], None);
    assert_eq!(preflight("https://school.example").await.status, 204, "a browser asks without the key");
    let refused = scene.ask("POST /api/chat", &["origin: https://school.example"], QUESTION).await;
    assert_eq!(refused.status, 401);
    assert!(refused.has("access-control-allow-origin: https://school.example") && refused.has("vary: origin"));
    scene.stop().await;
}

#[actix::test]
async fn every_answer_tells_the_browser_to_be_strict_also_errors() {
    let scene = Scene::start();
    for line in ["GET /", "GET /livez", "GET /nowhere", "POST /api/chat", "GET /readyz", "DELETE /"] {
        let answer = scene.ask(line, &[], "{").await;
        assert!(
            answer.has("x-content-type-options: nosniff") && answer.has("x-frame-options: deny"),
            "{line} {answer:?}"
        );
        let policy = answer.head.lines().find(|field| field.starts_with("content-security-policy: ")).unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{line} {policy}");
        assert!(!answer.head.contains("strict-transport-security"));
    }
    let page = scene.ask("GET /", &[], "").await;
    assert!(page.head.contains("script-src 'sha256-") && page.head.contains("connect-src 'self'"), "{}", page.head);
    let refused = scene.ask("GET /", &["host: evil.example"], "").await;
    assert!(refused.status == 403 && refused.has("x-frame-options: deny"), "{refused:?}");
    scene.stop().await;
}
