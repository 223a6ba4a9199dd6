//! From scored chunks to passages: at most one of a page, none that says the same as another, the best ones with what stands
//! beside them.
//!
//! Neighbours are taken in by their own scores, wherever they belong, until the room is used: with a prompt of 650 tokens, three
//! passages that grow so hold the sentence that answers for 69 % of the project's questions, five bare chunks for 52 %.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use mentor_actors::domain::{CharSpan, Found, Passage, ScoredPassage};
use mentor_actors::ranking::{self, Evidence};
use mentor_index::{Bm25, words};

use super::error::StoreError;
use super::hit::{Hit, Scored as _};
use super::sealed::{BestOfIndex, ScoredIndex};
use super::segment::ScoredSegment;
use super::top_k::TopK;

/// Cosine from which two chunks may say the same.
const SAME_VECTOR: f32 = 0.98;
/// Part of the words of two such chunks that both have from which they do.
const SAME_WORDS: f32 = 0.9;
/// Chunks of a document without pages that are so near, and under the same heading, make one passage.
const NEAR: usize = 2;
/// Most chunks of a passage: beyond, it is no place any more.
const MAX_CHUNKS: usize = 3;
/// Most characters between two chunks of a passage, of which it is full: what is not in a chunk is white space, and more of it
/// is no reading on.
const MAX_GAP: usize = 200;
/// Room that a passage needs to grow, in characters: about two chunks on average. With less for each, fewer grow.
const ROOM: usize = 780;

/// The best `top_k` passages; those that grow have at most `context_chars` characters together.
///
/// # Errors
/// Those of the disk, where the index is.
pub(super) fn select(
    segments: &[ScoredSegment],
    index: Option<&ScoredIndex>,
    question: &Bm25,
    top_k: usize,
    context_chars: usize,
) -> Result<Found, StoreError> {
    let (hits, relevance) = distinct(segments, index, question, top_k)?;
    let mut places: Vec<Growing> = hits.into_iter().map(Growing::new).collect();
    grow(&mut places, context_chars)?;
    Ok(Found { passages: places.into_iter().map(Growing::into_passage).collect(), relevance })
}

/// The best chunks of different places, and how likely the question has an answer.
fn distinct<'s>(
    segments: &'s [ScoredSegment],
    index: Option<&'s ScoredIndex>,
    question: &Bm25,
    top_k: usize,
) -> Result<(Vec<Hit<'s>>, f32), StoreError> {
    let rows = segments.iter().map(ScoredSegment::rows).sum::<usize>() + index.map_or(0, ScoredIndex::rows);
    // Many pages have a few good chunks.
    let mut reach = top_k.saturating_mul(4).max(ranking::FIELD).min(rows);
    loop {
        let of_index = index.map(|index| index.best(reach)).transpose()?;
        let best = |of: fn(&ScoredSegment) -> f32, at_least: f32| segments.iter().map(of).fold(at_least, f32::max);
        let (likeness, words) = of_index.as_ref().map_or((f32::NEG_INFINITY, 0.0), BestOfIndex::likeness_and_words);
        let best_words = best(|segment| segment.best_words, words);
        let best_likeness = best(|segment| segment.best_likeness, likeness);
        let candidates = candidates(segments, of_index, reach)?;
        let relevance = match candidates.first() {
            Some(first) => ranking::answerable(&Evidence {
                likeness: best_likeness,
                words: best_words,
                lead: candidates.get(ranking::FIELD - 1).map(|last| first.score - last.score),
                terms: question.terms(),
                unknown: question.unknown(),
            }),
            None => 0.0,
        };
        let are_all = candidates.len() < reach || reach == rows;
        let mut kept: Vec<Hit> = Vec::with_capacity(top_k);
        for candidate in candidates {
            if kept.len() < top_k && !kept.iter().any(|better| is_same(&candidate, better)) {
                kept.push(candidate);
            }
        }
        if kept.len() == top_k || are_all {
            return Ok((kept, relevance));
        }
        reach = reach.saturating_mul(8).min(rows);
    }
}

/// The best chunks, the best first; ties by chunk id, then by document.
fn candidates<'s>(
    segments: &'s [ScoredSegment],
    of_index: Option<BestOfIndex<'s>>,
    reach: usize,
) -> Result<Vec<Hit<'s>>, StoreError> {
    let mut best = TopK::new(reach);
    segments.iter().for_each(|segment| segment.offer(&mut best));
    let in_memory = best.into_sorted().map(|candidate| candidate.value);
    let mut hits = in_memory.map(|(segment, row)| segment.hit(row)).collect::<Result<Vec<_>, _>>()?;
    hits.extend(of_index.into_iter().flat_map(|best| best.hits));
    let place = |hit: &Hit<'s>| (hit.passage.chunk_id.clone(), hit.passage.document_id.clone());
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b))));
    hits.truncate(reach);
    Ok(hits)
}

fn is_same(chunk: &Hit, better: &Hit) -> bool {
    let has_page = chunk.passage.page.is_some();
    let near = || has_page || chunk.places_behind(better).is_some_and(|places| places.unsigned_abs() <= NEAR);
    chunk.shares_place(better) && near()
        || chunk.likeness(better) >= SAME_VECTOR
            && shared_words(&chunk.passage.text, &better.passage.text) >= SAME_WORDS
}

/// Words that both texts have, of those that one has: 0 to 1.
#[allow(clippy::cast_precision_loss)] // words of a chunk
fn shared_words(one: &str, other: &str) -> f32 {
    let (one, other): (HashSet<&str>, HashSet<&str>) = (words(one).collect(), words(other).collect());
    let both = one.intersection(&other).count();
    both as f32 / (one.len() + other.len() - both).max(1) as f32
}

/// A chunk that was found, its neighbours in the passage, and those that may be taken in next.
struct Growing<'s> {
    /// In order, without a gap.
    chunks: VecDeque<Hit<'s>>,
    /// Which of them was found.
    found: usize,
    /// Before the first one and behind the last, at the same place.
    beside: [Option<Hit<'s>>; 2],
}

/// A side of a passage.
#[derive(Debug, Clone, Copy)]
enum Side {
    Before,
    Behind,
}

impl<'s> Growing<'s> {
    fn new(chunk: Hit<'s>) -> Self {
        Self { chunks: VecDeque::from([chunk]), found: 0, beside: [None, None] }
    }

    /// Looks at what stands on one side.
    fn look(&mut self, side: Side) -> Result<(), StoreError> {
        let (outermost, by) = match side {
            Side::Before => (self.chunks.front(), -1),
            Side::Behind => (self.chunks.back(), 1),
        };
        let next = outermost.map(|chunk| chunk.neighbour(by)).transpose()?.flatten();
        let is_near = |next: &Hit| outermost.is_some_and(|chunk| gap(&chunk.passage, &next.passage) <= MAX_GAP);
        self.beside[side as usize] = next.filter(|next| next.shares_place(&self.chunks[self.found]) && is_near(next));
        Ok(())
    }

    /// The chunks before and behind the passage, while it may grow.
    fn next(&self) -> impl Iterator<Item = (Side, &Hit<'s>)> {
        let may_grow = self.chunks.len() < MAX_CHUNKS;
        let beside = [Side::Before, Side::Behind].into_iter().zip(&self.beside);
        beside.filter(move |_| may_grow).filter_map(|(side, next)| Some((side, next.as_ref()?)))
    }

    fn holds(&self, chunk: &Hit) -> bool {
        self.chunks.iter().any(|held| chunk.places_behind(held) == Some(0))
    }

    /// Takes in what stands on one side.
    fn take(&mut self, side: Side) -> Result<(), StoreError> {
        let Some(next) = self.beside[side as usize].take() else { return Ok(()) };
        match side {
            Side::Before => {
                self.chunks.push_front(next);
                self.found += 1;
            }
            Side::Behind => self.chunks.push_back(next),
        }
        self.look(side)
    }

    fn into_passage(self) -> ScoredPassage {
        let score = ranking::relevance(self.chunks[self.found].score);
        let hit = self.chunks[self.found].passage.clone();
        let joined = self.chunks.into_iter().map(|chunk| chunk.passage).reduce(join);
        let Some(Passage { span, text, .. }) = joined else { return ScoredPassage::whole(hit, score) };
        let found = bytes(&text, hit.span.start - span.start, hit.span.end - span.start);
        ScoredPassage { passage: Passage { span, text, ..hit }, score, found }
    }
}

/// Lets the best passages take in their neighbours, the best ones first.
fn grow(found: &mut [Growing], context_chars: usize) -> Result<(), StoreError> {
    let growing = (context_chars / ROOM).min(found.len());
    let found = &mut found[..growing];
    for passage in &mut *found {
        passage.look(Side::Before)?;
        passage.look(Side::Behind)?;
    }
    let chars = |chunk: &Hit| chunk.passage.text.chars().count();
    let mut used: usize = found.iter().flat_map(|found| &found.chunks).map(chars).sum();
    loop {
        let all = &*found;
        let fits = |chunk: &Hit| used + chars(chunk) <= context_chars && !all.iter().any(|found| found.holds(chunk));
        let candidates = all.iter().enumerate().flat_map(|(number, found)| {
            found.next().filter(|(_, next)| fits(next)).map(move |(side, next)| (number, side, next))
        });
        let Some((number, side, next)) = candidates.max_by(|(.., a), (.., b)| a.score.total_cmp(&b.score)) else {
            return Ok(());
        };
        used += chars(next);
        found[number].take(side)?;
    }
}

/// Where those characters of the text are.
fn bytes(text: &str, start: usize, end: usize) -> Range<usize> {
    let at = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(byte, _)| byte);
    at(start)..at(end)
}

/// Characters between two passages of the same text, whichever comes first.
fn gap(one: &Passage, other: &Passage) -> usize {
    let between = |before: &Passage, behind: &Passage| behind.span.start.saturating_sub(before.span.end);
    between(one, other).max(between(other, one))
}

/// A passage and the one behind it on the same page: what both hold is there once. Between them is white space; more than one
/// character of it is taken for a new paragraph.
fn join(before: Passage, behind: Passage) -> Passage {
    let span = CharSpan { start: before.span.start, end: behind.span.end.max(before.span.end) };
    let between = behind.span.start.saturating_sub(before.span.end);
    let known = before.span.end.saturating_sub(behind.span.start);
    let mut text = before.text;
    text.push_str(if between == 1 { " " } else { &"\n\n"[..between.min(2)] });
    text.extend(std::iter::repeat_n(' ', between.saturating_sub(2)));
    text.extend(behind.text.chars().skip(known));
    Passage { span, text, ..before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{ChunkId, DocumentId, DocumentKind};

    fn part(page: &str, start: usize, end: usize) -> Passage {
        Passage {
            chunk_id: ChunkId("c".into()),
            document_id: DocumentId("d".into()),
            file_name: "d".into(),
            kind: DocumentKind::Pdf,
            page: Some(1),
            section: None,
            span: CharSpan { start, end },
            text: page.chars().skip(start).take(end - start).collect(),
        }
    }

    #[test]
    fn joined_parts_read_as_on_their_page_and_are_as_long_as_their_span() {
        let page = "Größe zählt. Mehr\n\n  davon hier.";
        let end = page.chars().count();
        for (first_end, second_start) in [(12, 13), (17, 21), (17, 10), (17, 17)] {
            let joined = join(part(page, 0, first_end), part(page, second_start, end));
            assert_eq!(joined.span, CharSpan { start: 0, end });
            assert_eq!(joined.text, page, "{first_end} {second_start}");
        }
    }

    #[test]
    fn what_was_found_is_known_within_the_passage() {
        assert_eq!(&"Größe zählt. Mehr"[bytes("Größe zählt. Mehr", 6, 11)], "zählt");
        assert_eq!(bytes("Größe", 0, 5), 0..7);
        let whole = ScoredPassage::whole(part("Größe zählt.", 0, 5), 0.5);
        assert_eq!(whole.found_text(), "Größe");
    }

    #[test]
    fn the_gap_between_two_parts_is_the_same_seen_from_either_and_none_where_they_overlap() {
        let page = "x".repeat(60);
        let [first, second, over] = [(0, 10), (50, 60), (5, 20)].map(|(start, end)| part(&page, start, end));
        assert_eq!((gap(&first, &second), gap(&second, &first), gap(&first, &over)), (40, 40, 0));
    }
}
