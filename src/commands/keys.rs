//! `mentor keys`: the API keys of a server. A running one notices changes within two seconds.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::json;

use crate::calendar::timestamp;
use crate::cli::{CreateKeyArgs, KeysCommand};
use crate::config::Config;
use crate::guard::{KeyFile, KeyRecord, NewKey};

/// `mentor keys`.
///
/// # Errors
/// A name that is taken, a key that is not there, a data folder that cannot be written.
pub fn keys(config: &Config, command: &KeysCommand) -> anyhow::Result<u8> {
    let file = KeyFile::new(&config.data_dir);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match command {
        KeysCommand::Create(arguments) => create(&file, arguments, now)?,
        KeysCommand::List(arguments) => list(&file.read()?, arguments.json, now),
        KeysCommand::Revoke { key } => {
            let KeyRecord { id, name, .. } = file.revoke(key, now)?;
            println!("key {id} ({name}) is revoked");
        }
    }
    Ok(0)
}

/// The key's text goes to standard output and nowhere else; what is said about it to standard error.
fn create(file: &KeyFile, arguments: &CreateKeyArgs, now: u64) -> anyhow::Result<()> {
    if arguments.if_none && !file.read()?.is_empty() {
        return Ok(());
    }
    let key = NewKey::generate()?;
    let mut scopes = arguments.scope.clone();
    scopes.sort_unstable();
    scopes.dedup();
    file.add(KeyRecord {
        id: key.id,
        name: arguments.name.clone(),
        scopes,
        sha256: key.hash,
        created: now,
        expires: arguments.expires.map(|Lifetime(life)| now.saturating_add(life.as_secs())),
        revoked: None,
    })?;
    eprintln!("this key is shown once and cannot be read again; `mentor keys revoke {}` ends it", arguments.name);
    println!("{}", key.text.reveal().context("the new key is empty")?);
    Ok(())
}

fn list(keys: &[KeyRecord], json: bool, now: u64) {
    if json {
        let shown: Vec<_> = keys.iter().map(|key| as_json(key, now)).collect();
        println!("{}", json!({"keys": shown}));
        return;
    }
    for key in keys {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        let expires = key.expires.map_or_else(String::new, |end| format!("  until {}", timestamp(end)));
        let (id, name, state, created) = (&key.id, &key.name, state(key, now), timestamp(key.created));
        println!("{id}  {state:<7}  {:<26}  {created}{expires}  {name}", scopes.join(","));
    }
}

/// Everything but the hash: it is of no use to anybody who may see it.
fn as_json(key: &KeyRecord, now: u64) -> serde_json::Value {
    json!({
        "id": key.id, "name": key.name, "scopes": key.scopes, "state": state(key, now), "created": timestamp(key.created),
        "expires": key.expires.map(timestamp), "revoked": key.revoked.map(timestamp),
    })
}

fn state(key: &KeyRecord, now: u64) -> &'static str {
    match (key.revoked, key.is_live(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "live",
        (None, false) => "expired",
    }
}

/// How long a key is good, as `12h`, `90d` or `8w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(Duration);

impl FromStr for Lifetime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be a number of hours, days or weeks, like 12h, 90d or 8w";
        let unit_s = match text.chars().next_back() {
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(WRONG),
        };
        let number: u32 = text[..text.len() - 1].parse().map_err(|_| WRONG)?;
        if number == 0 { Err(WRONG) } else { Ok(Self(Duration::from_secs(u64::from(number) * unit_s))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_hours_days_or_weeks() {
        assert_eq!("12h".parse(), Ok(Lifetime(Duration::from_secs(12 * 3_600))));
        assert_eq!("90d".parse(), Ok(Lifetime(Duration::from_secs(90 * 86_400))));
        assert_eq!("8w".parse(), Ok(Lifetime(Duration::from_secs(56 * 86_400))));
        for wrong in ["", "d", "0d", "-1d", "90", "90m", "9ü", "99999999999d"] {
            assert!(wrong.parse::<Lifetime>().is_err(), "{wrong}");
        }
    }
}
