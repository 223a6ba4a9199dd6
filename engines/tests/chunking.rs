//! Properties of chunks that must hold for any text, checked on many made-up ones and, where there are any, on books.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mentor_actors::domain::{Chunk, DocumentContent, DocumentKind, PageText, SectionStart};
use mentor_actors::ports::{Chunker, TokenCounter};
use mentor_engines::chunk::{ChunkOptions, SentenceChunker};

/// A token for each four letters of a word and each mark, as a stand-in for WordPiece.
struct QuarterWords;

impl TokenCounter for QuarterWords {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace()
            .flat_map(|word| word.split_inclusive(|c: char| !c.is_alphanumeric()))
            .map(|part| part.chars().count().div_ceil(4))
            .sum()
    }
}

fn chunker(options: ChunkOptions) -> SentenceChunker {
    SentenceChunker::new(Arc::new(QuarterWords), options)
}

fn options(target_tokens: usize, limit_tokens: usize, overlap_tokens: usize) -> ChunkOptions {
    ChunkOptions { target_tokens, limit_tokens, overlap_tokens }
}

fn document(kind: DocumentKind, pages: &[&str]) -> DocumentContent {
    let page = |(number, text): (u32, &&str)| PageText {
        page: Some(number),
        text: Ok((*text).to_owned()),
        sections: Vec::new(),
    };
    DocumentContent { kind, pages: (1..).zip(pages).map(page).collect() }
}

/// Small, seeded, and good enough to mix pieces of text.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// Text with everything a page may hold: sentences, lists, code, long lines, giant words, other scripts.
    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "The heap grows. ",
            "A pointer, e.g. Fig. 3, points to it? ",
            "Yes! ",
            "größe naïve ½ ",
            "\n",
            "\n\n",
            "\r\n",
            "    if x > 0:\n",
            "- item\n",
            "漢字かな交じり文。",
            "🦀👩‍👩‍👧 ",
            "# Heading\n",
            "\n## Another\n\n",
            "...",
            " . ",
            "\t",
            "\u{A0}",
            "\u{2028}",
            "e\u{301}",
            "word ",
            "another longer sentence without any end ",
            "```\n",
            "1. ",
        ];
        let mut text = String::new();
        for _ in 0..self.roll(120) {
            match self.roll(40) {
                0 => text.push_str(&"x".repeat(self.roll(3000))),
                1 => text.push_str(&"no end in sight ".repeat(self.roll(200))),
                _ => text.push_str(PIECES[self.roll(PIECES.len())]),
            }
        }
        text
    }
}

/// Every property at once; `text` is the text of the chunks' page.
fn check(text: &str, chunks: &[Chunk], options: ChunkOptions) {
    let characters: Vec<char> = text.chars().collect();
    let mut covered = vec![false; characters.len()];
    let mut before = (0, 0);
    for chunk in chunks {
        let (start, end) = (chunk.span.start, chunk.span.end);
        assert_eq!(characters[start..end].iter().collect::<String>(), chunk.text, "a span is exact");
        assert_eq!(chunk.text.trim(), chunk.text, "no white space around a chunk");
        assert!(chunk.text.contains(char::is_alphanumeric), "a chunk says something");
        assert_eq!(chunk.tokens, QuarterWords.count(&chunk.text) + 2, "tokens are counted with the special ones");
        assert!(chunk.tokens <= options.limit_tokens.max(16), "{} tokens in {:?}", chunk.tokens, chunk.text);
        assert!(start >= before.0 && end > before.1, "chunks are in order");
        assert!(options.overlap_tokens > 0 || start >= before.1, "chunks do not overlap unless asked to");
        before = (start, end);
        covered[start..end].fill(true);
    }
    let lost = characters.iter().zip(covered).find(|(c, covered)| c.is_alphanumeric() && !covered);
    assert!(lost.is_none(), "every letter is in some chunk, but not {lost:?}");
}

#[test]
fn spans_are_exact_chunks_in_order_within_the_limit_and_no_letter_is_lost() {
    let kinds = [DocumentKind::Pdf, DocumentKind::Markdown, DocumentKind::Html, DocumentKind::PlainText];
    let mut dice = Dice(1);
    for round in 0..600 {
        let target = 16 + dice.roll(150);
        let limits = [options(target, target, 0), options(target, 256, 0), options(target, 256, dice.roll(target))];
        let text = dice.text();
        for options in limits {
            let document = document(kinds[round % kinds.len()], &[&text]);
            check(&text, &chunker(options).chunk(&document), options);
        }
    }
}

#[test]
fn chunks_never_span_pages_and_know_theirs() {
    let chunks = chunker(ChunkOptions::default()).chunk(&document(DocumentKind::Pdf, &["One.", "", "Three."]));
    let found: Vec<_> = chunks.iter().map(|chunk| (chunk.page, chunk.text.as_str(), chunk.span.start)).collect();
    assert_eq!(found, [(Some(1), "One.", 0), (Some(3), "Three.", 0)]);
}

#[test]
fn a_page_without_text_gives_no_chunk() {
    let failed = PageText { page: Some(1), text: Err("scanned".into()), sections: Vec::new() };
    let document = DocumentContent { kind: DocumentKind::Pdf, pages: vec![failed] };
    assert!(chunker(ChunkOptions::default()).chunk(&document).is_empty());
}

#[test]
fn pieces_without_a_letter_or_digit_are_dropped() {
    assert!(chunker(ChunkOptions::default()).chunk(&document(DocumentKind::PlainText, &["* * *\n\n---"])).is_empty());
}

#[test]
fn markdown_chunks_carry_the_nearest_heading_and_never_cross_one() {
    let text = "before\n\n# Memory\n\nThe heap.\n\n## The `stack`\n\nThe stack.";
    let chunks = chunker(ChunkOptions::default()).chunk(&document(DocumentKind::Markdown, &[text]));
    let found: Vec<_> = chunks.iter().map(|chunk| (chunk.section.as_deref(), chunk.text.as_str())).collect();
    let expected = [
        (None, "before"),
        (Some("Memory"), "# Memory\n\nThe heap."),
        (Some("The stack"), "## The `stack`\n\nThe stack."),
    ];
    assert_eq!(found, expected);
}

#[test]
fn chunks_of_a_page_carry_the_sections_the_document_names_and_never_cross_one() {
    let start = |byte, title: &str| SectionStart { byte, title: title.to_owned() };
    let text = "The end of it.\n\n7.2 Heaps\nA heap is a tree.";
    let heaps = text.find("7.2").expect("it is there");
    let page = |sections| DocumentContent {
        kind: DocumentKind::Pdf,
        pages: vec![PageText { page: Some(9), text: Ok(text.to_owned()), sections }],
    };
    let found = |sections| {
        let chunks = chunker(ChunkOptions::default()).chunk(&page(sections));
        chunks.into_iter().map(|chunk| (chunk.section, chunk.text)).collect::<Vec<_>>()
    };
    let (before, after) = ("The end of it.".to_owned(), "7.2 Heaps\nA heap is a tree.".to_owned());
    let expected = [(Some("Trees".to_owned()), before.clone()), (Some("Trees > Heaps".to_owned()), after.clone())];
    assert_eq!(found(vec![start(0, "Trees"), start(heaps, "Trees > Heaps")]), expected);
    assert_eq!(found(vec![start(heaps, "Heaps")]), [(None, before), (Some("Heaps".to_owned()), after)]);
    // Places that cannot be are brought to where a text can be cut.
    let odd = vec![start(3, "a"), start(3, "b"), start(1, "c"), start(10_000, "d")];
    assert_eq!(found(odd).iter().map(|(_, text)| text.len()).sum::<usize>(), text.len() - " ".len());
}

#[test]
fn sentences_stay_whole_and_are_packed_up_to_the_target() {
    let sentence = "This sentence has seven or eight tokens.";
    let text = [sentence; 30].join(" ");
    let chunks = chunker(options(64, 256, 0)).chunk(&document(DocumentKind::Pdf, &[&text]));
    assert!(chunks.iter().all(|chunk| chunk.text.ends_with("tokens.") && chunk.text.starts_with("This")));
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.tokens > 48 && chunk.tokens <= 64));
}

#[test]
fn overlap_repeats_the_last_sentence() {
    let sentences: Vec<_> = (100..130).map(|number| format!("Sentence {number} is here.")).collect();
    let chunks = chunker(options(64, 256, 8)).chunk(&document(DocumentKind::Pdf, &[&sentences.join(" ")]));
    for pair in chunks.windows(2) {
        let last = pair[0].text.rsplit(". ").next().expect("a split has a last part");
        assert!(pair[1].text.starts_with(last));
    }
}

/// Counts as [`QuarterWords`] does, and remembers the longest text it was asked for, in bytes.
#[derive(Default)]
struct LongestAsked(AtomicUsize);

impl TokenCounter for LongestAsked {
    fn count(&self, text: &str) -> usize {
        self.0.fetch_max(text.len(), Ordering::Relaxed);
        QuarterWords.count(text)
    }
}

#[test]
fn no_word_is_too_long_for_the_tokenizer() {
    let counter = Arc::new(LongestAsked::default());
    let text = "a,".repeat(100_000);
    let chunks = SentenceChunker::new(counter.clone(), ChunkOptions::default())
        .chunk(&document(DocumentKind::PlainText, &[&text]));
    check(&text, &chunks, ChunkOptions::default());
    let longest = counter.0.load(Ordering::Relaxed);
    assert!(longest <= 8 << 10, "the tokenizer was given {longest} bytes at once");
}

#[test]
fn white_space_and_what_makes_no_tokens_are_bounded_too() {
    let zero_width = "\u{200b} ".repeat(50_000);
    for between in ["\n".repeat(100_000), " ".repeat(100_000), "\u{3000}".repeat(50_000), zero_width] {
        let text = format!("heap{between}tree");
        let chunks = SentenceChunker::new(Arc::new(Letters), ChunkOptions::default())
            .chunk(&document(DocumentKind::PlainText, &[&text]));
        let longest = chunks.iter().map(|chunk| chunk.text.len()).max();
        assert!(longest.is_some_and(|longest| longest < 10_000), "a chunk of {longest:?} bytes");
        let letters: String =
            chunks.iter().flat_map(|chunk| chunk.text.chars()).filter(|c| c.is_alphanumeric()).collect();
        assert_eq!(letters, "heaptree");
    }
}

/// A token for each letter: tokenizers drop what they call control characters.
struct Letters;

impl TokenCounter for Letters {
    fn count(&self, text: &str) -> usize {
        text.chars().filter(|c| c.is_alphanumeric()).count()
    }
}

#[test]
fn a_large_file_without_any_boundary_takes_no_longer_than_a_book() {
    let text = "word ".repeat(400_000);
    let document = document(DocumentKind::PlainText, &[&text]);
    let started = std::time::Instant::now();
    let chunks = chunker(ChunkOptions::default()).chunk(&document);
    assert!(chunks.len() > 1000);
    assert!(started.elapsed().as_secs() < 30, "2 MB took {:?}", started.elapsed());
}
