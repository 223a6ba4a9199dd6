//! `mentor doctor`: what is wrong with the store, and what mends it.

use mentor_engines::lance::{Finding, Severity, examine};
use serde_json::json;

use crate::config::Config;
use crate::engines;

/// Exit code when something is wrong.
const FINDINGS: u8 = 3;

/// # Errors
/// When the data folder cannot be read.
pub fn doctor(config: &Config, json: bool) -> anyhow::Result<u8> {
    let expected = engines::embedder_identity(config);
    let mut findings = examine(&config.data_dir, expected.as_ref().ok(), config.index_from)?;
    if let Err(error) = &expected {
        findings.insert(0, no_embedder(error));
    }
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    if json {
        println!("{}", json!({"problems": problems, "findings": findings}));
    } else {
        findings.iter().for_each(show);
        println!("{}", if problems == 0 { "nothing is wrong".to_owned() } else { format!("{problems} problems") });
    }
    Ok(if problems == 0 { 0 } else { FINDINGS })
}

fn no_embedder(error: &anyhow::Error) -> Finding {
    Finding {
        check: "embedder",
        severity: Severity::Problem,
        message: format!("{error:#}"),
        remedy: "mentor models pull".into(),
    }
}

fn show(finding: &Finding) {
    let severity = match finding.severity {
        Severity::Problem => "problem",
        Severity::Note => "note",
    };
    println!("{severity:<8} {:<11} {}\n{:<21}{}", finding.check, finding.message, "", finding.remedy);
}
