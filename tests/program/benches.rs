//! The measurements of the store and of ingest, briefly: what they check must hold on any machine. Their times mean nothing here, so
//! missing a bar of time is no failure.

use serde_json::Value;

use crate::support::Workplace;

const PAGE: &str =
    "A binary heap is a complete binary tree that is stored in an array. The smallest element is at its root.";

fn with_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    for number in 0..12 {
        workplace.course_file(&format!("week {number}.md"), format!("# Week {number}\n\nIn week {number}: {PAGE}\n"));
    }
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

/// The figures that a measurement prints last, whether it missed a bar (exit code 1) or not.
fn figures(workplace: &Workplace, arguments: &[&str]) -> Value {
    // Where stores are made decides their times: not in a folder for temporary files, which may be main memory.
    let mut command = workplace.command(&[&["bench"], arguments, &["--json"]].concat());
    let output = command.env("TMPDIR", workplace.path("nowhere")).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {error}");
    serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{out}\n{error}"))
}

#[test]
fn answers_beside_a_busy_writer_are_right_and_the_store_measured_stays_as_it_is() {
    let Some(workplace) = with_course() else { return };
    for _ in 0..2 {
        let found = figures(&workplace, &["upkeep", "large", "--chunks", "1000", "--seconds", "3"]);
        assert_eq!(
            (&found["errors"], &found["wrong"], &found["chunks"]),
            (&0.into(), &0.into(), &1_000.into()),
            "{found}"
        );
        let count = |value: &Value| value.as_u64().unwrap();
        assert!(count(&found["alone_answers"]) > 0 && count(&found["beside_answers"]) > 0, "{found}");
        assert!(count(&found["done"]["replaced"]) > 0 && count(&found["done"]["finished"]) > 0, "{found}");
    }
    assert!(!workplace.path("large/upkeep").exists(), "the copy is left");
}

#[test]
fn small_additions_leave_few_fragments_and_little_disk_behind() {
    let Some(workplace) = with_course() else { return };
    for (folder, more) in [("together", None), ("each", Some("--one-ingest-each"))] {
        let mut arguments = vec!["additions", folder, "--chunks", "500", "--additions", "30", "--rounds", "1"];
        arguments.extend(more);
        let found = figures(&workplace, &arguments);
        assert_eq!(found["chunks"], 560, "{found}");
        assert!(found["fragments"].as_u64().unwrap() <= 10, "{found}");
        assert!(found["disk_ratio"].as_f64().unwrap() <= 2.0, "{found}");
    }
    let error = workplace.expect_error(&["bench", "additions", "each"]);
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn an_ingest_is_compared_with_its_embedder_and_leaves_the_store_alone() {
    let Some(workplace) = with_course() else { return };
    let before = workplace.expect(0, &["stats", "--json"]);
    workplace.course_file("late.md", "# Late\n\nThis file is not in the store.\n");
    let found = figures(&workplace, &["ingest", "--directory", "course", "--rounds", "2"]);
    assert_eq!((found["rounds"].as_array().unwrap().len(), &found["pages"]), (2, &13.into()), "{found}");
    let all_are_positive =
        ["tokens", "ratio", "unchanged_seconds"].iter().all(|name| found[*name].as_f64().unwrap() > 0.0);
    assert!(all_are_positive, "{found}");
    let mut left = std::fs::read_dir(workplace.path("vector_data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.all(|name| !name.to_string_lossy().starts_with(".bench-")), "its stores are left");
    assert_eq!(workplace.expect(0, &["stats", "--json"]), before);
}
