//! How fast the embedder is on this machine: one session with two threads against two sessions with one thread.
//!
//! `cargo run --release --example embed_rate -- MODELS_FOLDER TEXT_FILE [KEY=VALUE...]`
//!
//! The models folder is the one of the tests (`all-minilm-l6-v2`, `onnxruntime`); the file has one text in each line.
//! `KEY=VALUE` are session configuration entries; `spinning`, `memory_pattern`, `batch_tokens=N` and `layout=2x1`
//! (only these sessions and threads) are ours. Tokens per CPU second are comparable while others use the machine, too.

#[cfg(feature = "onnx")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::run()
}

#[cfg(not(feature = "onnx"))]
fn main() {
    eprintln!("build with the feature onnx");
}

#[cfg(feature = "onnx")]
mod measure {
    use std::path::Path;
    use std::sync::Barrier;
    use std::time::Instant;
    use std::{env, fs, thread};

    use mentor_actors::ports::{Embedder, TokenCounter};
    use mentor_engines::onnx::{OnnxConfig, OnnxEmbedder, OnnxTokenCounter};

    type Failure = Box<dyn std::error::Error>;

    /// Texts of one call, as an ingest hands them over.
    const TEXTS_PER_CALL: usize = 64;

    pub fn run() -> Result<(), Failure> {
        let mut arguments = env::args().skip(1);
        let (Some(models), Some(file)) = (arguments.next(), arguments.next()) else {
            return Err("usage: embed_rate MODELS_FOLDER TEXT_FILE [KEY=VALUE...]".into());
        };
        let mut layouts = vec![(1, 2), (2, 1)];
        let mut options: Vec<String> = arguments.collect();
        if let Some(place) = options.iter().position(|option| option.starts_with("layout=")) {
            layouts = vec![layout(&options.remove(place))?];
        }
        let texts: Vec<String> = fs::read_to_string(file)?.lines().map(str::to_owned).collect();
        let config = config(Path::new(&models), &options)?;
        let tokens = count(&config, &texts)?;
        for (sessions, threads) in layouts {
            let (wall, cpu) = embed(&OnnxConfig { intra_threads: threads, ..config.clone() }, sessions, &texts)?;
            let (per_second, per_cpu_second) = (tokens as f64 / wall, tokens as f64 / cpu);
            println!("{sessions} x {threads}: {per_second:.0} tokens/s, {per_cpu_second:.0} tokens per CPU second");
        }
        Ok(())
    }

    fn layout(option: &str) -> Result<(usize, usize), Failure> {
        let sizes = option.trim_start_matches("layout=").split_once('x').ok_or("layout is not SESSIONSxTHREADS")?;
        Ok((sizes.0.parse()?, sizes.1.parse()?))
    }

    fn config(models: &Path, options: &[String]) -> Result<OnnxConfig, Failure> {
        let library = models.join("onnxruntime/libonnxruntime.so");
        let mut config = OnnxConfig::new(models.join("all-minilm-l6-v2"), library);
        for option in options {
            match option.split_once('=') {
                None if option == "spinning" => config.tuning.spinning = true,
                None if option == "memory_pattern" => config.tuning.memory_pattern = true,
                Some(("batch_tokens", value)) => config.tuning.batch_tokens = Some(value.parse()?),
                Some((key, value)) => config.tuning.entries.push((key.to_owned(), value.to_owned())),
                None => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok(config)
    }

    fn count(config: &OnnxConfig, texts: &[String]) -> Result<usize, Failure> {
        let counter = OnnxTokenCounter::load(&config.folder)?;
        let start = Instant::now();
        let tokens = texts.iter().map(|text| counter.count(text)).sum::<usize>();
        let rate = tokens as f64 / start.elapsed().as_secs_f64();
        println!("{} texts, {tokens} tokens, counted at {rate:.0} tokens/s", texts.len());
        Ok(tokens)
    }

    /// Seconds on the clock and of CPU time, from the moment every session is loaded.
    fn embed(config: &OnnxConfig, sessions: usize, texts: &[String]) -> Result<(f64, f64), Failure> {
        let ready = Barrier::new(sessions + 1);
        let work = |first: usize| {
            let embedder = OnnxEmbedder::load(config);
            ready.wait();
            let mut embedder = embedder?;
            for call in texts.chunks(TEXTS_PER_CALL).skip(first).step_by(sessions) {
                embedder.embed(call)?;
            }
            Ok::<_, mentor_actors::domain::EngineError>(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..sessions)
                .map(|first| {
                    let work = &work;
                    scope.spawn(move || work(first))
                })
                .collect();
            ready.wait();
            let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
            for worker in workers {
                worker.join().map_err(|_| "a worker panicked")??;
            }
            Ok((start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_start))
        })
    }

    /// User and system time of this process: the 14th and 15th field of its `stat`, in hundredths of a second.
    fn cpu_seconds() -> Result<f64, Failure> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let fields = stat.rsplit_once(')').ok_or("no process name in stat")?.1.split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / 100.0)
    }
}
