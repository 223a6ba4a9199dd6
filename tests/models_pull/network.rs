//! The models that ship, from where they really are.

use std::env;
use std::time::Instant;

use mentor::models::{Device, FileReport, Manifest, ModelsDir, PullEvent, PullRequest, Settings};

#[test]
fn the_real_defaults_can_be_pulled_and_verified() {
    if env::var("MENTOR_TEST_NETWORK").as_deref() != Ok("1") {
        eprintln!("skipped: set MENTOR_TEST_NETWORK=1 to download about 225 MB");
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let settings = Settings { cache_dir: Some(temp.path().join("cache")), ..Settings::from_env() };
    let dir = ModelsDir::with(temp.path().join("models"), Manifest::builtin(), settings);
    let mut tell = |event: PullEvent<'_>| match event {
        PullEvent::Advanced { .. } => {}
        event => eprintln!("{event:?}"),
    };
    let start = Instant::now();
    let wanted: Vec<_> = env::var("MENTOR_TEST_MODEL").into_iter().collect();
    let reports = dir.pull(&PullRequest { wanted: &wanted, ..PullRequest::default() }, &mut tell).expect("pulled");
    eprintln!("pulled in {:?}", start.elapsed());
    assert!(reports.iter().all(FileReport::is_intact));
    let start = Instant::now();
    assert!(dir.verify(&wanted).expect("readable").iter().all(FileReport::is_intact));
    eprintln!("verified in {:?}", start.elapsed());
    let start = Instant::now();
    assert!(dir.verify_quick(&wanted).expect("readable").iter().all(FileReport::is_intact));
    eprintln!("verified quickly in {:?}", start.elapsed());
    if wanted.is_empty() {
        dir.resolve_llm(None, Device::Cpu).expect("a generator");
        dir.resolve_embedder(None).expect("an embedder");
        dir.resolve_runtime(Device::Cpu).expect("a library");
    }
}
