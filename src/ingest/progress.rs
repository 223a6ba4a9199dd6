//! Progress for people: a bar per stage on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The three stages that take time. Clones share them.
#[derive(Clone)]
pub struct Progress {
    extract: ProgressBar,
    embed: ProgressBar,
    write: ProgressBar,
    /// Lines instead of bars.
    plain: bool,
    silent: bool,
}

impl Progress {
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

    /// A document's text was read.
    pub fn extracted(&self, name: &str, bytes: u64) {
        self.extract.inc(bytes);
        self.extract.set_message(name.to_owned());
    }

    /// So many more chunks wait for the embedder.
    pub fn to_embed(&self, chunks: usize) {
        self.embed.inc_length(chunks as u64);
    }

    /// So many chunks have their vectors.
    pub fn embedded(&self, chunks: usize) {
        self.embed.inc(chunks as u64);
    }

    /// A document is in the store.
    pub fn written(&self, name: &str, pages: u32, chunks: usize) {
        self.write.inc(1);
        self.write.set_message(name.to_owned());
        if self.plain && !self.silent {
            let (done, all) = (self.write.position(), self.write.length().unwrap_or_default());
            eprintln!("ingested {done}/{all} {name}: {pages} pages, {chunks} chunks");
        }
    }

    /// A document failed as a whole.
    pub fn failed(&self, name: &str, reason: &str) {
        self.write.inc(1);
        if self.plain && !self.silent {
            eprintln!("failed {name}: {reason}");
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        for bar in [&self.extract, &self.embed, &self.write] {
            bar.finish_and_clear();
        }
    }
}
