//! Every door, tried without a key, with one that may not, and under another spelling of its address.

use actix_web::http::Method;
use mentor::guard::{Access, Scope, access};
use serde_json::Value;

use crate::scene::{Answer, Scene};

const SCOPES: [Scope; 4] = [Scope::Ask, Scope::Ingest, Scope::Admin, Scope::Metrics];

/// An operation of the contract, with what it asks for.
struct Door {
    method: Method,
    /// With something in the place of each parameter.
    path: String,
    needs: Access,
}

impl Door {
    async fn try_at(&self, scene: &Scene, path: &str, key: Option<&str>) -> Answer {
        let field = key.map(|key| format!("authorization: Bearer {key}"));
        let fields: Vec<&str> = field.as_deref().into_iter().collect();
        scene.ask(&format!("{} {path}", self.method), &fields, "").await
    }

    /// The path with the first letter of one of its parts percent-encoded, for each part.
    fn spellings(&self) -> Vec<String> {
        let begins = self.path.match_indices('/').map(|(place, _)| place + 1);
        let letters = begins.filter(|place| self.path.as_bytes().get(*place).is_some_and(u8::is_ascii_alphabetic));
        let encode = |place: usize| {
            let (before, rest) = self.path.split_at(place);
            format!("{before}%{:02x}{}", rest.as_bytes()[0], &rest[1..])
        };
        letters.map(encode).collect()
    }

    /// Scopes that are not enough.
    fn too_small(&self) -> Vec<Scope> {
        match self.needs {
            Access::Needs(scope) => SCOPES.into_iter().filter(|other| *other != scope).collect(),
            _ => Vec::new(),
        }
    }
}

/// All doors of the contract that ask for a key.
async fn doors(scene: &Scene, key: &str) -> Vec<Door> {
    let contract = scene.ask("GET /openapi.json", &[&format!("authorization: Bearer {key}")], "").await;
    let contract: Value = serde_json::from_str(&contract.body).unwrap();
    let methods = ["get", "post", "delete"];
    let mut doors = Vec::new();
    for (pattern, operations) in contract["paths"].as_object().unwrap() {
        for method in methods.into_iter().filter(|method| operations[method].is_object()) {
            let method: Method = method.to_uppercase().parse().unwrap();
            let needs = access(&method, Some(pattern));
            let filled: Vec<&str> =
                pattern.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            doors.push(Door { method, path: filled.join("/"), needs });
        }
    }
    doors.retain(|door| !matches!(door.needs, Access::Open | Access::Uncounted));
    assert!(doors.len() > 20, "{} doors", doors.len());
    assert!(doors.iter().all(|door| door.needs != Access::Nobody));
    doors
}

#[actix::test]
async fn every_door_asks_for_its_key_however_its_address_is_spelled() {
    let scene = Scene::start();
    let keys: Vec<(Scope, String)> = SCOPES.map(|scope| (scope, scene.key(&[scope], None).1)).into();
    for door in doors(&scene, &keys[0].1).await {
        let name = format!("{} {}", door.method, door.path);
        assert_eq!(door.try_at(&scene, &door.path, None).await.status, 401, "{name}");
        let too_small = door.too_small();
        for (_, key) in keys.iter().filter(|(scope, _)| too_small.contains(scope)) {
            assert_eq!(door.try_at(&scene, &door.path, Some(key)).await.status, 403, "{name}");
        }
        for path in door.spellings() {
            let status = door.try_at(&scene, &path, None).await.status;
            assert!([401, 403, 404].contains(&status), "{name} as {path}: {status}");
            for (_, key) in keys.iter().filter(|(scope, _)| too_small.contains(scope)) {
                let status = door.try_at(&scene, &path, Some(key)).await.status;
                assert!([403, 404].contains(&status), "{name} as {path}: {status}");
            }
        }
    }
    scene.stop().await;
}

#[actix::test]
async fn an_address_that_is_spelled_otherwise_is_the_same_door() {
    let scene = Scene::start();
    let (_, ask) = scene.key(&[Scope::Ask], None);
    let bearer = format!("authorization: Bearer {ask}");
    assert_eq!(scene.ask("GET /%61pi/stats", &[&bearer], "").await.status, 200);
    assert_eq!(scene.ask("GET /%61pi/nothing", &[&bearer], "").await.status, 404);
    scene.stop().await;
}

#[actix::test]
async fn one_keys_conversation_is_not_there_for_another_key() {
    let scene = Scene::start();
    let ((_, ann), (_, bob)) = (scene.key(&[Scope::Ask], None), scene.key(&[Scope::Ask], None));
    let ask = async |key: &str, line: &str, more: &[&str], body: &str| {
        let bearer = format!("authorization: Bearer {key}");
        let mut fields = vec![bearer.as_str()];
        fields.extend(more);
        scene.ask(line, &fields, body).await
    };
    let question = r#"{"message":"what is a heap?","conversation_id":"c","turn_id":"t"}"#;
    assert_eq!(ask(&ann, "POST /api/chat", &[], question).await.status, 200);
    let feedback = r#"{"interaction_id":"t","rating":5}"#;
    let events = ["accept: text/event-stream", "last-event-id: 0"];
    for (line, more, body) in [
        ("GET /api/conversations/c", &[][..], ""),
        ("GET /api/conversations/c/events?after=0", &[], ""),
        ("POST /api/feedback", &[], feedback),
        ("POST /api/chat", &[], question),
        ("POST /api/chat", &events, question),
        ("DELETE /api/conversations/c", &[], ""),
    ] {
        let answer = ask(&bob, line, more, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{line}: {answer:?}");
    }
    assert!(!ask(&bob, "GET /api/conversations", &[], "").await.body.contains("heap"));
    let mut socket = scene.socket(&format!("/c?ticket={}", scene.ticket(&bob).await), None).await.unwrap();
    assert_eq!(socket.hear().await.unwrap()["code"], "not_found");
    socket.say(r#"{"type":"resume","after":0}"#).await;
    assert_eq!(socket.hear().await.unwrap()["code"], "invalid_request");

    assert!(ask(&ann, "GET /api/conversations", &[], "").await.body.contains("heap"));
    assert_eq!(ask(&ann, "POST /api/feedback", &[], feedback).await.status, 204);
    assert_eq!(ask(&ann, "DELETE /api/conversations/c", &[], "").await.status, 204);
    scene.stop().await;
}
