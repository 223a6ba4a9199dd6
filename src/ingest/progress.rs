//! How far an ingest is: for whoever wants to know, and for people a bar per stage on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mentor_actors::domain::{DocumentId, DocumentRecord};

/// Hears what an ingest does, from the threads of its stages. Must not wait.
pub trait Progress: Sync {
    /// A document's text was read, or could not be.
    fn extracted(&self, id: &DocumentId, bytes: u64);
    /// So many more chunks wait for the embedder.
    fn to_embed(&self, chunks: usize);
    /// So many chunks have their vectors.
    fn embedded(&self, chunks: usize);
    /// A document is in the store.
    fn written(&self, record: &DocumentRecord);
    /// A document failed as a whole.
    fn failed(&self, id: &DocumentId, reason: &str);
    /// A document is no longer in the store.
    fn removed(&self, id: &DocumentId);
    /// Nothing more is to come but tidying up.
    fn finish(&self);
}

/// The three stages that take time, for people.
pub struct Bars {
    extract: ProgressBar,
    embed: ProgressBar,
    write: ProgressBar,
    /// Lines instead of bars.
    plain: bool,
    silent: bool,
}

impl Bars {
    /// Bars or lines for that many documents of that many bytes; nothing at all when `silent`.
    #[must_use]
    pub fn new(documents: usize, bytes: u64, silent: bool) -> Self {
        let plain = silent || !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bars = MultiProgress::with_draw_target(target);
        let add = |name: &'static str, length: u64, unit: &str| {
            let template = format!("{{prefix:8}} {{bar:30}} {unit} {{per_sec:>14}} left {{eta:>5}}  {{wide_msg}}");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bars.add(ProgressBar::new(length).with_style(style).with_prefix(name));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        };
        Self {
            extract: add("extract", bytes, "{bytes:>10}/{total_bytes:10}"),
            embed: add("embed", 0, "{pos:>10}/{len:10}"),
            write: add("write", documents as u64, "{pos:>10}/{len:10}"),
            plain,
            silent,
        }
    }
}

impl Progress for Bars {
    fn extracted(&self, id: &DocumentId, bytes: u64) {
        self.extract.inc(bytes);
        self.extract.set_message(id.0.clone());
    }

    fn to_embed(&self, chunks: usize) {
        self.embed.inc_length(chunks as u64);
    }

    fn embedded(&self, chunks: usize) {
        self.embed.inc(chunks as u64);
    }

    fn written(&self, record: &DocumentRecord) {
        self.write.inc(1);
        self.write.set_message(record.id.0.clone());
        if self.plain && !self.silent {
            let (done, all) = (self.write.position(), self.write.length().unwrap_or_default());
            eprintln!("ingested {done}/{all} {}: {} pages, {} chunks", record.id, record.pages, record.chunks);
        }
    }

    fn failed(&self, id: &DocumentId, reason: &str) {
        self.write.inc(1);
        if self.plain && !self.silent {
            eprintln!("failed {id}: {reason}");
        }
    }

    fn removed(&self, _: &DocumentId) {}

    /// Takes the bars away.
    fn finish(&self) {
        for bar in [&self.extract, &self.embed, &self.write] {
            bar.finish_and_clear();
        }
    }
}
