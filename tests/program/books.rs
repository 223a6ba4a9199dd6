//! Retrieval over real books with questions whose pages are known: the project's bars. The books and the questions are not part of the
//! repository: `MENTOR_TEST_BOOKS` and `MENTOR_TEST_EVAL` say where they are.

use std::env;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Workplace;

/// Part of the answerable questions with a hit in the first five and three passages, and the mean reciprocal rank.
const RECALL_AT_5: f64 = 0.97;
const RECALL_AT_3: f64 = 0.92;
const MRR: f64 = 0.85;
/// Part of the unanswerable questions that must be refused, and of the answerable ones that may be.
const REFUSED: f64 = 0.80;
const REFUSED_WRONGLY: f64 = 0.04;
/// Every document was ingested; or some pages without text were not, which books have.
const INGESTED: [Option<i32>; 2] = [Some(0), Some(3)];

/// What a variable names, or a clear line and `None`.
fn given(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("skipped: {variable} names nothing that is there");
    }
    path
}

#[test]
fn retrieval_on_real_books_is_not_below_the_bars() {
    let (Some(books), Some(questions)) = (given("MENTOR_TEST_BOOKS"), given("MENTOR_TEST_EVAL")) else { return };
    let Some(workplace) = Workplace::new() else { return };
    let ingested = workplace.run(&["ingest", "--directory", books.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&ingested.stderr);
    assert!(INGESTED.contains(&ingested.status.code()), "{said}");

    let found = workplace.expect(0, &["eval", questions.to_str().unwrap(), "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let (answerable, follow_ups, refusals) = (&found["answerable"], &found["by_kind"]["follow_up"], &found["refusals"]);
    eprintln!("answerable {answerable}\nfollow-ups {follow_ups}\nrefusals {refusals}");
    let number = |value: &Value| value.as_f64().unwrap();
    let part = |value: &Value| number(&value[0]) / number(&value[1]);
    assert!(number(&answerable["recall"]["5"]) >= RECALL_AT_5, "{answerable}");
    assert!(number(&answerable["recall"]["3"]) >= RECALL_AT_3, "{answerable}");
    assert!(number(&answerable["mrr"]) >= MRR, "{answerable}");
    assert!(number(&follow_ups["recall"]["5"]) >= 1.0, "{follow_ups}");
    assert!(part(&refusals["unanswerable"]) >= REFUSED, "{refusals}");
    assert!(part(&refusals["answerable"]) <= REFUSED_WRONGLY, "{refusals}");
}
