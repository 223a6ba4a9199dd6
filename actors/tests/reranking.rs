//! A second look at what a search found, with a fake reranker behind its port: it betters the order or leaves it as it was.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Actor;
use futures_util::future::BoxFuture;
use mentor_actors::cancel::CancelToken;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::*;
use mentor_actors::ports::*;
use mentor_actors::reranking::{BoxedReranker, RerankSettings, Reranking};
use mentor_actors::retrieval::{RetrieverActor, Search};
use mentor_actors::telemetry::{Measurement, Reranked, Telemetry};
use mentor_actors::workers::{RestartBudget, WorkerPool};

/// Passages "1", "2", ..., the likelier the smaller.
#[derive(Default)]
struct Numbers {
    asked: Mutex<Vec<(usize, usize)>>,
}

impl Retriever for Numbers {
    fn search(&self, query: SearchQuery) -> BoxFuture<'static, Result<Found, EngineError>> {
        self.asked.lock().unwrap().push((query.top_k, query.context_chars));
        let passage = |number: usize| Passage {
            chunk_id: ChunkId(number.to_string()),
            document_id: DocumentId("numbers.txt".into()),
            file_name: "numbers.txt".into(),
            kind: DocumentKind::PlainText,
            page: None,
            section: None,
            span: CharSpan::default(),
            text: number.to_string(),
        };
        let passages = (1..=query.top_k).map(|number| ScoredPassage::whole(passage(number), 0.5)).collect();
        Box::pin(async { Ok(Found { passages, relevance: 0.7 }) })
    }

    fn stats(&self) -> BoxFuture<'static, Result<CorpusStats, EngineError>> {
        Box::pin(async { Ok(CorpusStats::default()) })
    }

    fn documents(&self) -> BoxFuture<'static, Result<Vec<DocumentRecord>, EngineError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Likes large numbers; the question says what goes wrong.
struct LargeFirst;

impl Reranker for LargeFirst {
    fn score(&mut self, question: &str, passages: &[ScoredPassage]) -> Result<Vec<f32>, EngineError> {
        let scores = passages.iter().map(|scored| scored.passage.text.parse::<f32>().unwrap() / 100.0);
        match question {
            "fail" => Err(EngineError::Failed("no".into())),
            "panic" => panic!("unlucky"),
            "too few" => Ok(vec![0.1]),
            "no number" => Ok(scores.map(|_| f32::NAN).collect()),
            "the same" => Ok(scores.map(|_| 0.3).collect()),
            _ => Ok(scores.collect()),
        }
    }
}

#[derive(Default)]
struct Outcomes(Mutex<Vec<Reranked>>);

impl Telemetry for Outcomes {
    fn record(&self, measurement: Measurement) {
        if let Measurement::Reranked { outcome, .. } = measurement {
            self.0.lock().unwrap().push(outcome);
        }
    }
}

const SETTINGS: RerankSettings = RerankSettings { passages: 10, queue: 8, patience: Duration::from_secs(20) };

struct Scene {
    store: Arc<Numbers>,
    outcomes: Arc<Outcomes>,
    reranking: Reranking,
    pool: WorkerPool,
}

impl Scene {
    fn new() -> Self {
        Self::with(Arc::new(|| Ok(Box::new(LargeFirst))), SETTINGS)
    }

    fn with(factory: Factory<BoxedReranker>, settings: RerankSettings) -> Self {
        let outcomes = Arc::new(Outcomes::default());
        let telemetry: Arc<dyn Telemetry> = outcomes.clone();
        let budget = RestartBudget { backoff: Duration::ZERO, ..RestartBudget::default() };
        let (reranking, pool) = Reranking::start(&factory, settings, budget, &telemetry).unwrap().ready().unwrap();
        Self { store: Arc::default(), outcomes, reranking, pool }
    }

    /// The best passages for a question, the likelihood of an answer, and the first one's score.
    async fn search(&self, question: &str, top_k: usize) -> (Vec<String>, f32, f32) {
        let retriever = RetrieverActor::new(self.store.clone(), 1, 4, self.outcomes.clone(), Arc::default());
        let retriever = retriever.reranked(Some(self.reranking.clone())).start();
        let query = SearchQuery {
            text: question.into(),
            embedding: vec![1.0],
            top_k,
            context_chars: 900,
            documents: Vec::new(),
        };
        let (deadline, cancel) = (Deadline::after(Duration::from_secs(20)), CancelToken::default());
        let found = retriever.send(Search { query, deadline, cancel }).await.unwrap().unwrap();
        let texts = found.passages.iter().map(|scored| scored.passage.text.clone()).collect();
        (texts, found.relevance, found.passages[0].score)
    }

    fn outcomes(&self) -> Vec<Reranked> {
        self.outcomes.0.lock().unwrap().clone()
    }
}

#[actix::test]
async fn the_rerankers_order_and_scores_count_and_the_likelihood_of_an_answer_stays_the_searchs() {
    let scene = Scene::new();
    assert_eq!(scene.search("large", 3).await, (vec!["10".into(), "9".into(), "8".into()], 0.7, 0.1));
    assert_eq!(scene.store.asked.lock().unwrap()[..], [(10, 3_000)], "each passage has as much context as without it");
    assert_eq!(scene.outcomes(), [Reranked::Better]);
}

#[actix::test]
async fn who_wants_more_than_the_reranker_would_read_gets_all_of_them_read() {
    let (found, ..) = Scene::new().search("large", 12).await;
    assert_eq!((found.len(), found[0].as_str()), (12, "12"));
}

#[actix::test]
async fn equal_scores_leave_the_searchs_order() {
    assert_eq!(Scene::new().search("the same", 2).await, (vec!["1".into(), "2".into()], 0.7, 0.3));
}

#[actix::test]
async fn whatever_goes_wrong_the_searchs_order_is_still_there_and_the_next_question_is_reranked() {
    let scene = Scene::new();
    for question in ["fail", "panic", "too few", "no number"] {
        assert_eq!(scene.search(question, 2).await, (vec!["1".into(), "2".into()], 0.7, 0.5), "{question}");
    }
    assert_eq!(scene.search("large", 1).await.0, ["10"]);
    assert_eq!(scene.outcomes(), [[Reranked::Failed; 4].as_slice(), &[Reranked::Better]].concat());
    assert_eq!(scene.reranking.health().restarts(), 1, "for the panic");
}

#[actix::test]
async fn a_full_queue_or_a_reranker_that_is_gone_leaves_the_searchs_order_at_once() {
    let full = Scene::with(Arc::new(|| Ok(Box::new(LargeFirst))), RerankSettings { queue: 0, ..SETTINGS });
    assert_eq!(full.search("large", 2).await.0, ["1", "2"]);
    let Scene { reranking, pool, .. } = Scene::new();
    reranking.close();
    pool.join();
    let gone = Scene { reranking, ..Scene::new() };
    assert_eq!(gone.search("large", 2).await.0, ["1", "2"]);
    assert_eq!([full.outcomes(), gone.outcomes()].concat()[0], Reranked::Busy);
}

/// Reads until the test ends.
struct Endless(std::sync::mpsc::Receiver<()>);

impl Reranker for Endless {
    fn score(&mut self, _: &str, passages: &[ScoredPassage]) -> Result<Vec<f32>, EngineError> {
        assert!(self.0.recv().is_err(), "nothing is ever sent");
        Ok(vec![1.0; passages.len()])
    }
}

#[actix::test]
async fn nobody_waits_long_for_a_slow_reranker() {
    let (end, wait) = std::sync::mpsc::sync_channel(1);
    let wait = Mutex::new(Some(wait));
    let hasty = RerankSettings { patience: Duration::from_millis(20), ..SETTINGS };
    let scene = Scene::with(Arc::new(move || Ok(Box::new(Endless(wait.lock().unwrap().take().unwrap())))), hasty);
    assert_eq!(scene.search("large", 2).await.0, ["1", "2"]);
    assert_eq!(scene.outcomes(), [Reranked::Late]);
    drop(end);
    scene.reranking.close();
    scene.pool.join();
}
