//! Keys, as the operator and a running server see them.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::Workplace;

/// Asks until the server gives that code, or an answer for `None`.
fn wait_for(code: Option<&str>, ask: impl Fn() -> Value) {
    let patience = Instant::now() + Duration::from_secs(60);
    while ask()["error"]["code"].as_str() != code {
        assert!(Instant::now() < patience, "the server did not notice: {}", ask());
    }
}

#[test]
fn a_key_is_printed_once_and_kept_as_a_hash() {
    let Some(workplace) = Workplace::new() else { return };
    let key = workplace.expect(0, &["keys", "create", "--name", "course", "--expires", "90d"]);
    let secret = key.trim().rsplit('_').next().unwrap();
    assert!(key.starts_with("mk_") && secret.len() == 43, "{key}");
    assert_eq!(workplace.expect(0, &["keys", "create", "--if-none", "--name", "other"]), "");
    let taken = workplace.expect_error(&["keys", "create", "--name", "course"]);
    assert!(taken.contains("the name \"course\" is taken"), "{taken}");
    let kept = std::fs::read_to_string(workplace.path("vector_data/keys.json")).unwrap();
    let mode = std::fs::metadata(workplace.path("vector_data/keys.json")).unwrap().permissions().mode();
    assert!(!kept.contains(secret) && mode & 0o777 == 0o600);
    let listed: Value = serde_json::from_str(&workplace.expect(0, &["keys", "list", "--json"])).unwrap();
    let shown = &listed["keys"][0];
    assert_eq!(
        (&shown["name"], &shown["scopes"], &shown["state"]),
        (&json!("course"), &json!(["ask"]), &json!("live"))
    );
    assert!(shown.get("sha256").is_none());
    workplace.expect(0, &["keys", "revoke", "course"]);
    assert!(workplace.expect(0, &["keys", "list"]).contains("revoked"));
    let unknown = workplace.expect_error(&["keys", "revoke", "nobody"]);
    assert!(unknown.contains("no key \"nobody\""), "{unknown}");
}

#[test]
fn without_a_key_the_server_does_not_listen_where_others_reach_it() {
    let Some(workplace) = Workplace::new() else { return };
    let line = workplace.expect_error(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(line.contains("there is no API key") && line.contains("mentor keys create"), "{line}");
    let open = workplace.serve_at("0.0.0.0:0", &["--insecure-no-keys"]);
    assert!(open.said.iter().any(|line| line.contains("THERE ARE NO API KEYS")), "{:?}", open.said);
    open.kill();
    workplace.expect(0, &["keys", "create", "--name", "course"]);
    let closed = workplace.serve_at("0.0.0.0:0", &[]);
    assert!(closed.said.iter().any(|line| line.contains("holders of API keys (1)")), "{:?}", closed.said);
}

#[test]
fn a_running_server_notices_keys_that_are_made_and_revoked() {
    let Some(workplace) = Workplace::new() else { return };
    let server = workplace.serve();
    let ask = || server.post("/api/ticket", &json!({}));
    wait_for(None, ask);
    let key = workplace.expect(0, &["keys", "create", "--name", "course"]);
    wait_for(Some("unauthorized"), ask);
    let with_key = || server.post_as(key.trim(), "/api/ticket", &json!({}));
    wait_for(None, with_key);
    workplace.expect(0, &["keys", "revoke", "course"]);
    wait_for(Some("unauthorized"), with_key);
}
