//! The readers: one question after the other, every answer timed and compared with what the writer did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mentor_actors::domain::{EmbeddedChunk, Passage};
use mentor_actors::ports::{Retriever, SearchQuery};

use super::super::runtime;
use super::super::search::{self, CONTEXT_CHARS, Noise, QUESTIONS, TOP_K};
use super::DOCUMENTS;
use super::ledger::{Change, Ledger, document_number, document_word};
use super::writer::anchor;

/// How often the newest version is looked at, to know what every answer must have from then on.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So many complaints are told in full.
const TOLD: usize = 10;

/// What questions are like, made once.
pub(super) struct Questions {
    /// Of students.
    of_books: Vec<(String, Vec<f32>)>,
    /// For the first page of each of the writer's documents.
    of_writer: Vec<(String, Vec<f32>)>,
}

impl Questions {
    pub(super) fn of(real: &[EmbeddedChunk], noise: &mut Noise) -> Self {
        let of_book = |number| {
            let near = &real[search::question(number, real)].1;
            (search::question_text(number, real), noise.near(near))
        };
        let of_books = (0..QUESTIONS).map(of_book).collect();
        let of_document = |document| (document_word(document), real[anchor(document, real)].1.clone());
        Self { of_books, of_writer: (0..DOCUMENTS).map(of_document).collect() }
    }
}

/// What readers share.
pub(super) struct Reading<'a> {
    pub store: Arc<dyn Retriever>,
    pub questions: &'a Questions,
    pub ledger: &'a Mutex<Ledger>,
    /// Documents that the writer leaves alone.
    pub resting: usize,
    /// The newest change that was ever seen: the store never shows less afterwards.
    pub seen: AtomicU64,
}

/// What readers heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub times: Vec<Duration>,
    pub errors: usize,
    pub wrong: usize,
    pub complaints: Vec<String>,
}

impl Heard {
    pub(super) fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.complaints.extend(other.complaints);
        self.complaints.truncate(TOLD);
    }

    pub(super) fn complain(&mut self, complaint: String) {
        self.wrong += 1;
        if self.complaints.len() < TOLD {
            self.complaints.push(complaint);
        }
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        if self.complaints.len() < TOLD {
            self.complaints.push(error);
        }
    }
}

impl Reading<'_> {
    /// Lets `readers` ask until `end`, and one more look at the newest version now and then.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn read(&self, readers: usize, end: Instant) -> anyhow::Result<Heard> {
        thread::scope(|scope| {
            let mut running = Vec::new();
            for reader in 0..readers {
                let ask = move || runtime().map(|runtime| runtime.block_on(self.ask(reader, end)));
                running.push(thread::Builder::new().name(format!("reader-{reader}")).spawn_scoped(scope, ask)?);
            }
            let mut heard = runtime()?.block_on(self.look(end));
            for reader in running {
                heard.add(reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(heard)
        })
    }

    /// One reader: a student's question, then one for a document of the writer, and again.
    async fn ask(&self, reader: usize, end: Instant) -> Heard {
        let mut heard = Heard::default();
        for number in 0.. {
            if Instant::now() >= end {
                break;
            }
            let turn = number / 2 * 7 + reader * 31;
            let document = (number % 2 == 1).then_some(turn % DOCUMENTS);
            self.ask_one(document, turn % QUESTIONS, &mut heard).await;
        }
        heard
    }

    async fn ask_one(&self, document: Option<usize>, question: usize, heard: &mut Heard) {
        let (text, embedding) = match document {
            Some(document) => &self.questions.of_writer[document],
            None => &self.questions.of_books[question],
        };
        let (text, embedding) = (text.clone(), embedding.clone());
        let query = SearchQuery { text, embedding, top_k: TOP_K, context_chars: CONTEXT_CHARS, documents: Vec::new() };
        let from = self.seen.load(Ordering::Acquire);
        let start = Instant::now();
        let found = self.store.search(query).await;
        heard.times.push(start.elapsed());
        let passages = match found {
            Ok(found) => found.passages,
            Err(error) => return heard.fail(error.to_string()),
        };
        let passages: Vec<&Passage> = passages.iter().map(|scored| &scored.passage).collect();
        if let Err(complaint) = self.judge(document, &passages, from) {
            heard.complain(complaint);
        }
    }

    fn judge(&self, document: Option<usize>, passages: &[&Passage], from: Change) -> Result<(), String> {
        if passages.len() < TOP_K {
            return Err(format!("{} passages of {TOP_K}", passages.len()));
        }
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.check(passages, from, ledger.begun())?;
        document.map_or(Ok(()), |document| ledger.check_found(document, passages, from, ledger.begun()))
    }

    /// Looks at the documents of the newest version again and again: they must be those of one moment.
    async fn look(&self, end: Instant) -> Heard {
        let mut heard = Heard::default();
        while Instant::now() < end {
            if let Err(complaint) = self.look_once().await {
                heard.complain(complaint);
            }
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(LOOK_EVERY.min(left)).await;
        }
        heard
    }

    /// Sees the newest version.
    ///
    /// # Errors
    /// When its documents are not those of a moment.
    pub(super) async fn look_once(&self) -> Result<(), String> {
        let from = self.seen.load(Ordering::Acquire);
        let records = self.store.documents().await.map_err(|error| error.to_string())?;
        let resting = records.iter().filter(|record| document_number(&record.id).is_none()).count();
        if resting != self.resting {
            return Err(format!("{resting} documents beside the writer's, not {}", self.resting));
        }
        let moment = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).moment(&records, from)?;
        self.seen.fetch_max(moment, Ordering::AcqRel);
        Ok(())
    }

    /// Asks for every document of the writer once, as it must be after the last change.
    pub(super) async fn ask_for_all(&self, heard: &mut Heard) {
        if let Err(complaint) = self.look_once().await {
            heard.complain(complaint);
        }
        let last = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).acknowledged();
        self.seen.store(last, Ordering::Release);
        for document in 0..DOCUMENTS {
            self.ask_one(Some(document), 0, heard).await;
        }
    }
}
