//! The stages with real files, and a reader, an embedder and a store that do what a test wants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex};

use mentor_actors::domain::{CharSpan, CorpusStats, DocumentKind, PageText};
use mentor_actors::embedding::BoxedEmbedder;
use mentor_actors::ports::{Embedder, Factory};
use mentor_actors::telemetry::Silent;
use mentor_actors::workers::{RestartBudget, WorkerPool};
use tempfile::TempDir;

use super::*;
use crate::ingest::{EmbedAgain, Hashes, discover, embed_again, plan};

/// Embeds all but some words.
struct Fussy {
    has_stumbled: Arc<AtomicBool>,
}

impl Embedder for Fussy {
    fn dimension(&self) -> usize {
        2
    }

    fn max_tokens(&self) -> usize {
        256
    }

    fn embed(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EngineError> {
        for text in texts {
            assert!(!text.contains("kills"), "killed by a text");
            let stumbles = text.contains("stumbles") && !self.has_stumbled.swap(true, Ordering::Relaxed);
            assert!(!stumbles, "stumbled over a text");
            if text.contains("refused") {
                return Err(EngineError::Failed("no such shape".into()));
            }
        }
        Ok(texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect())
    }
}

/// The text of a file; who begins with "busy" is.
struct Reader;

impl Extractor for Reader {
    fn extract(&self, file: &Path) -> Result<DocumentContent, EngineError> {
        let text = std::fs::read_to_string(file).map_err(|error| EngineError::Failed(error.to_string()))?;
        if text.starts_with("busy") {
            return Err(EngineError::Busy("no process to be had".into()));
        }
        let page = PageText { page: None, text: Ok(text), sections: Vec::new() };
        Ok(DocumentContent { kind: DocumentKind::Markdown, pages: vec![page] })
    }
}

/// A chunk for each line.
struct Lines;

impl Chunker for Lines {
    fn chunk(&self, document: &DocumentContent) -> Vec<Chunk> {
        let text = document.pages[0].text.as_deref().unwrap_or_default();
        let chunk = |text: &str| Chunk {
            page: None,
            section: None,
            span: CharSpan::default(),
            text: text.to_owned(),
            tokens: text.len(),
        };
        text.lines().map(chunk).collect()
    }
}

/// A store in memory.
#[derive(Default)]
struct Memory {
    documents: BTreeMap<DocumentId, (DocumentRecord, Vec<EmbeddedChunk>)>,
    finished: usize,
}

impl Memory {
    fn names(&self) -> Vec<&str> {
        let read = self.documents.values().filter(|(record, _)| record.was_read());
        read.map(|(record, _)| record.id.0.as_str()).collect()
    }

    fn reason(&self, name: &str) -> Option<&str> {
        self.documents[&DocumentId(name.into())].0.failure.as_ref().map(|failure| failure.reason.as_str())
    }
}

impl Corpus for Memory {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, EngineError> {
        Ok(self.documents.values().map(|(record, _)| record.clone()).collect())
    }

    fn put(&mut self, record: &DocumentRecord, chunks: &[EmbeddedChunk]) -> Result<(), EngineError> {
        self.documents.insert(record.id.clone(), (record.clone(), chunks.to_vec()));
        Ok(())
    }

    fn update(&mut self, record: &DocumentRecord) -> Result<(), EngineError> {
        let missing = || EngineError::Failed(format!("{} is not in the store", record.id));
        self.documents.get_mut(&record.id).ok_or_else(missing)?.0 = record.clone();
        Ok(())
    }

    fn rename(&mut self, from: &DocumentId, record: &DocumentRecord) -> Result<(), EngineError> {
        let missing = || EngineError::Failed(format!("{from} is not in the store"));
        let (_, chunks) = self.documents.remove(from).ok_or_else(missing)?;
        self.put(record, &chunks)
    }

    fn remove(&mut self, id: &DocumentId) -> Result<(), EngineError> {
        self.documents.remove(id);
        Ok(())
    }

    fn finish(&mut self) -> Result<CorpusStats, EngineError> {
        self.finished += 1;
        Ok(CorpusStats { documents: self.names().len() as u64, ..CorpusStats::default() })
    }
}

struct Unheard;

impl Progress for Unheard {
    fn extracted(&self, _: &DocumentId, _: u64) {}
    fn to_embed(&self, _: usize) {}
    fn embedded(&self, _: usize) {}
    fn written(&self, _: &DocumentRecord) {}
    fn failed(&self, _: &DocumentId, _: &str) {}
    fn removed(&self, _: &DocumentId) {}
    fn finish(&self) {}
}

/// A folder, a store and an embedder.
struct Scene {
    folder: TempDir,
    store: Memory,
    parts: IngestParts,
    pool: WorkerPool,
}

impl Scene {
    fn new(restarts: usize) -> Self {
        let has_stumbled = Arc::new(AtomicBool::new(false));
        let factory: Factory<BoxedEmbedder> =
            Arc::new(move || Ok(Box::new(Fussy { has_stumbled: has_stumbled.clone() })));
        let budget = RestartBudget { restarts, backoff: Duration::ZERO, ..RestartBudget::default() };
        let telemetry: Arc<dyn Telemetry> = Arc::new(Silent);
        let starting = EmbeddingWorkers::start(&factory, 1, 16, budget, &telemetry).unwrap();
        let (embedding, _, pool) = starting.ready().unwrap();
        let parts = IngestParts {
            extractor: Arc::new(Reader),
            readers: 1,
            chunker: Arc::new(Lines),
            embedding,
            workers: 1,
            chunks_a_job: 2,
            clock: Arc::default(),
        };
        Self { folder: tempfile::tempdir().unwrap(), store: Memory::default(), parts, pool }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn ingest(&mut self) -> anyhow::Result<Report> {
        let found = discover(self.folder.path(), &mut Hashes::default()).unwrap();
        let plan = plan(found, self.store.documents().unwrap(), false);
        run(&plan, &self.parts, &mut self.store, &Unheard, &Stop::default())
    }

    /// Lets the embedder end, as a program does.
    fn end(self) {
        self.parts.embedding.close();
        self.pool.join();
    }
}

fn failures(report: &Report) -> Vec<(&str, &str)> {
    report.failures.iter().map(|failure| (failure.document.as_str(), failure.reason.as_str())).collect()
}

const REFUSED: &str = "it cannot be embedded: no such shape";
const KILLED: &str = "it cannot be embedded: a passage of it stops the embedder each time";

#[test]
fn a_text_that_the_embedder_does_not_take_costs_its_document_and_no_other() {
    let mut scene = Scene::new(10);
    scene.file("gone.md", "was here");
    scene.ingest().unwrap();
    std::fs::remove_file(scene.folder.path().join("gone.md")).unwrap();
    scene.file("a.md", "fine");
    scene.file("b.md", "one line\nthis one is refused\nand another\nand one more");
    scene.file("c.md", "a line that kills\nand one that does not, in a larger document");
    scene.file("d.md", &"a good line of the largest document\n".repeat(9));
    let report = scene.ingest().unwrap();
    assert_eq!(failures(&report), [("b.md", REFUSED), ("c.md", KILLED)]);
    assert_eq!((report.ingested, report.removed, scene.store.finished), (2, 1, 2));
    assert_eq!(scene.store.names(), ["a.md", "d.md"]);
    assert_eq!((scene.store.reason("b.md"), scene.store.reason("c.md")), (Some(REFUSED), Some(KILLED)));
    let again = scene.ingest().unwrap();
    assert_eq!((failures(&again), again.ingested), (failures(&report), 0), "both are remembered");
    scene.end();
}

#[test]
fn a_document_with_which_the_embedder_is_lost_once_is_stored() {
    let mut scene = Scene::new(10);
    scene.file("a.md", "one line that stumbles\nand one that does not\nand a third");
    let report = scene.ingest().unwrap();
    assert_eq!((failures(&report), report.ingested, report.chunks), (Vec::new(), 1, 3));
    scene.end();
}

#[test]
fn an_embedder_that_is_down_ends_the_ingest_with_the_document_and_what_failed_before_is_remembered() {
    let mut scene = Scene::new(1);
    scene.file("a.md", "refused");
    scene.file("b.md", "this line kills, again and again");
    scene.file("c.md", &"a good line\n".repeat(200));
    let error = format!("{:#}", scene.ingest().unwrap_err());
    assert!(error.starts_with("cannot embed "), "{error}");
    assert_eq!(scene.store.reason("a.md"), Some(REFUSED));
    scene.end();
}

#[test]
fn what_failed_for_want_of_something_that_passes_is_listed_and_tried_again() {
    let mut scene = Scene::new(10);
    scene.file("a.md", "busy");
    scene.file("b.md", "refused");
    let report = scene.ingest().unwrap();
    assert_eq!(failures(&report), [("a.md", "no process to be had"), ("b.md", REFUSED)]);
    assert_eq!((report.passing, scene.store.names().len()), (1, 0));
    scene.parts.extractor = Arc::new(mentor_engines::extract::FileExtractor::new(1 << 20));
    let report = scene.ingest().unwrap();
    assert_eq!((report.ingested, report.passing, failures(&report)), (1, 0, vec![("b.md", REFUSED)]));
    scene.end();
}

#[test]
fn files_that_exchanged_their_names_are_renamed_and_nothing_is_embedded() {
    let mut scene = Scene::new(10);
    scene.file("a.md", "the text of a");
    scene.file("b.md", "that of b is another one");
    scene.ingest().unwrap();
    scene.file("a.md", "that of b is another one");
    scene.file("b.md", "the text of a");
    let report = scene.ingest().unwrap();
    assert_eq!((report.renamed, report.tokens, report.removed), (2, 0, 0));
    let text = |name: &str| scene.store.documents[&DocumentId(name.into())].1[0].0.text.clone();
    assert_eq!((scene.store.documents.len(), text("b.md").as_str()), (2, "the text of a"));
    scene.end();
}

/// Reads a file only while another one is read.
#[derive(Default)]
struct Meeting {
    inside: Mutex<usize>,
    came: Condvar,
}

impl Extractor for Meeting {
    fn extract(&self, file: &Path) -> Result<DocumentContent, EngineError> {
        *self.inside.lock().unwrap() += 1;
        self.came.notify_all();
        let inside = self.inside.lock().unwrap();
        let (_inside, waited) =
            self.came.wait_timeout_while(inside, Duration::from_secs(20), |inside| *inside < 2).unwrap();
        if waited.timed_out() {
            return Err(EngineError::Failed("nobody else came".into()));
        }
        Reader.extract(file)
    }
}

#[test]
fn several_documents_are_read_at_once_and_the_store_is_the_same() {
    let mut one_by_one = Scene::new(10);
    let mut together = Scene::new(10);
    together.parts.readers = 2;
    together.parts.extractor = Arc::new(Meeting::default());
    for scene in [&mut one_by_one, &mut together] {
        for number in 0..9 {
            scene.file(&format!("{number}.md"), &format!("line of {number}\n").repeat(1 + number));
        }
        let report = scene.ingest().unwrap();
        assert_eq!((failures(&report), report.ingested), (Vec::new(), 9));
        // When each came is the clock's.
        scene.store.documents.values_mut().for_each(|(record, _)| record.stored_at_s = None);
    }
    assert_eq!(one_by_one.store.documents, together.store.documents);
    one_by_one.end();
    together.end();
}

#[test]
fn small_machines_read_one_document_at_a_time_and_no_machine_more_than_four() {
    assert_eq!([1, 2, 4, 7, 8, 12, 16, 128].map(readers), [1, 1, 1, 1, 2, 3, 4, 4]);
}

struct Letters;

impl mentor_actors::ports::TokenCounter for Letters {
    fn count(&self, text: &str) -> usize {
        text.len()
    }
}

#[test]
fn a_store_for_another_embedder_is_not_made_without_a_document_that_this_one_refuses() {
    let scene = Scene::new(10);
    let (send, receive) = tokio::sync::mpsc::channel(4);
    for (name, text) in [("a.md", "good"), ("b.md", "refused"), ("c.md", "good")] {
        let page = PageText { page: None, text: Ok(text.into()), sections: Vec::new() };
        let chunks = Lines.chunk(&DocumentContent { kind: DocumentKind::Markdown, pages: vec![page] });
        let hash = mentor_actors::domain::DocumentHash([1; 32]);
        let record = DocumentRecord::failed(DocumentId(name.into()), hash, DocumentKind::Markdown, String::new());
        send.try_send(Ok((DocumentRecord { failure: None, chunks: 1, ..record }, chunks))).unwrap();
    }
    drop(send);
    let with = EmbedAgain { embedding: &scene.parts.embedding, counter: &Letters, max_tokens: 256 };
    let error = embed_again(receive, &with, &mut Memory::default(), &Unheard).unwrap_err();
    assert_eq!(format!("{error:#}"), format!("b.md: {REFUSED}"));
    scene.end();
}
