//! `mentor ingest`, `compact`, `reindex` and `rollback` killed at random moments over a folder that changes. What was reported as
//! stored is there wholly, of everything else either the former or the new state; nothing is damaged, and the next run makes it right.
//!
//! `MENTOR_TEST_KILLS` says how often (8 times otherwise).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mentor_engines::lance::StoreSurvey;
use serde_json::Value;

use crate::support::Workplace;

const DOCUMENTS: u64 = 10;
/// Changes of the folder between two ingests.
const CHANGES: u64 = 4;
/// After so many commands an ingest is left to end.
const RUNS_UNTIL_COMPLETE: usize = 4;
/// What a killed writer may leave behind, in the doctor's words.
const LEFT_BEHIND: [&str; 3] = ["files", "leftovers", "fragments"];
/// What belongs into the data folder.
const DATA: [&str; 3] = ["corpus.lance", "hashes.json", "writer.lock"];
const TAG: &str = "spring";

/// For each document the change that wrote its content.
type State = BTreeMap<String, u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Ingest,
    Compact,
    Reindex,
    RollBack,
}

impl Victim {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ingest => &["ingest", "--directory", "course"],
            Self::Compact => &["compact"],
            Self::Reindex => &["reindex"],
            Self::RollBack => &["rollback", TAG],
        }
    }
}

/// Numbers that look random and are the same every time: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// A folder of small documents, and the store that follows it.
struct Course {
    workplace: Workplace,
    random: Random,
    /// The number of the last change.
    change: u64,
    folder: State,
    /// What the store held when it was last looked at, and when it was tagged.
    stored: State,
    tagged: State,
    /// How long an ingest takes that nobody kills, and one of the other commands.
    ingest_takes: Duration,
    others_take: Duration,
}

fn name(number: u64) -> String {
    format!("week {}/notes {number}.md", number % 3)
}

fn parts(change: u64) -> u64 {
    1 + change % 4
}

/// A word that stands in one part of one content.
fn mark(change: u64, part: u64) -> String {
    format!("content{change}part{part}end")
}

fn content(change: u64) -> String {
    let part = |part| {
        let sentence = format!("Sentence of {}: a heap keeps its smallest element at the root. ", mark(change, part));
        format!("# Part {part}\n\n{}\n\n", sentence.repeat(6))
    };
    (1..=parts(change)).map(part).collect()
}

impl Course {
    fn new() -> Option<Self> {
        let mut course = Self {
            workplace: Workplace::new()?,
            random: Random(0x00dd_ba11),
            change: 0,
            folder: State::new(),
            stored: State::new(),
            tagged: State::new(),
            ingest_takes: Duration::ZERO,
            others_take: Duration::ZERO,
        };
        (0..DOCUMENTS).for_each(|number| course.write(&name(number)));
        let start = Instant::now();
        course.complete();
        course.ingest_takes = start.elapsed();
        let start = Instant::now();
        course.workplace.expect(0, &["tag", TAG]);
        course.others_take = start.elapsed();
        course.tagged = course.stored.clone();
        Some(course)
    }

    fn write(&mut self, name: &str) {
        self.change += 1;
        self.workplace.course_file(name, content(self.change));
        self.folder.insert(name.to_owned(), self.change);
    }

    /// New contents mostly, now and then another name or none.
    fn change_folder(&mut self) {
        for _ in 0..CHANGES {
            let (kind, a, b) =
                (self.random.below(10), name(self.random.below(DOCUMENTS)), name(self.random.below(DOCUMENTS)));
            let path = |name: &str| self.workplace.path("course").join(name);
            match kind {
                0..2 if self.folder.len() > 2 && self.folder.contains_key(&a) => {
                    fs::remove_file(path(&a)).unwrap();
                    self.folder.remove(&a);
                }
                2..5 if self.folder.contains_key(&a) && a != b => {
                    fs::create_dir_all(path(&b).parent().unwrap()).unwrap();
                    fs::rename(path(&a), path(&b)).unwrap();
                    let moved = self.folder.remove(&a).unwrap();
                    self.folder.insert(b, moved);
                }
                _ => self.write(&a),
            }
        }
    }

    /// An ingest that nobody disturbs makes everything right and leaves nothing behind.
    fn complete(&mut self) {
        self.workplace.expect(0, Victim::Ingest.arguments());
        assert_eq!(self.held(), self.folder);
        self.stored = self.folder.clone();
        self.workplace.expect(0, &["doctor"]);
        let entries = fs::read_dir(self.workplace.path("vector_data")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names.filter(|name| !DATA.contains(&name.as_str())).collect();
        assert_eq!(left, Vec::<String>::new(), "left in the data folder");
    }

    /// What the store holds, every document of it found to be whole.
    fn held(&self) -> State {
        let survey = StoreSurvey::open(&self.workplace.path("vector_data")).unwrap().expect("there is no store");
        let mut documents = survey.documents_with_text();
        let mut held = State::new();
        while let Some(document) = documents.blocking_recv() {
            let (record, chunks) = document.unwrap();
            let text: String = chunks.iter().map(|chunk| format!("{} ", chunk.text)).collect();
            let marks: BTreeSet<&str> =
                text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.starts_with("content")).collect();
            let change = (1..=self.change).find(|change| marks.contains(mark(*change, 1).as_str()));
            let change = change.unwrap_or_else(|| panic!("{} holds nothing that was ever written: {text}", record.id));
            let all: Vec<String> = (1..=parts(change)).map(|part| mark(change, part)).collect();
            assert_eq!(marks, all.iter().map(String::as_str).collect(), "{} is not whole", record.id);
            held.insert(record.id.0, change);
        }
        held
    }

    /// What `mentor doctor` finds beside what killed writers leave.
    fn damage(&self) -> Vec<Value> {
        let output = self.workplace.run(&["doctor", "--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_damage = |finding: &&Value| {
            let is_left = LEFT_BEHIND.iter().any(|check| finding["check"] == *check);
            finding["severity"] == "problem"
                && (!is_left || finding["message"].as_str().unwrap().contains("is missing"))
        };
        said["findings"].as_array().unwrap().iter().filter(is_damage).cloned().collect()
    }

    fn kill(&mut self) -> bool {
        let victim = match self.random.below(10) {
            0..6 => Victim::Ingest,
            6 => Victim::Compact,
            7 => Victim::Reindex,
            _ => Victim::RollBack,
        };
        if victim == Victim::Ingest {
            self.change_folder();
        }
        let (documents, time) = match victim {
            Victim::Ingest if self.random.below(2) == 0 => (self.random.below(CHANGES + 1), self.ingest_takes / 20),
            Victim::Ingest => (0, self.ingest_takes),
            _ => (0, self.others_take),
        };
        let moment = Duration::from_micros(self.random.below(time.as_micros() as u64));
        let (was_killed, acknowledged) = kill(self.workplace.command(victim.arguments()), documents as usize, moment);
        let held = self.held();
        let context = format!("{victim:?}\nbefore: {:?}\nfolder: {:?}\nheld: {held:?}", self.stored, self.folder);
        assert_eq!(self.damage(), Vec::<Value>::new(), "{context}");
        match victim {
            Victim::Ingest => self.check_ingested(&held, &acknowledged, &context),
            Victim::Compact | Victim::Reindex => assert_eq!(held, self.stored, "{context}"),
            Victim::RollBack => assert!(held == self.stored || held == self.tagged, "{context}"),
        }
        self.stored = held;
        was_killed
    }

    fn check_ingested(&self, held: &State, acknowledged: &[String], context: &str) {
        for name in acknowledged {
            assert_eq!(held.get(name), self.folder.get(name), "{name} was said to be stored. {context}");
        }
        for (name, change) in held {
            let is_possible = [self.stored.get(name), self.folder.get(name)].contains(&Some(change));
            assert!(is_possible, "{name} is neither as before nor as in the folder. {context}");
        }
        let is_kept = |change: &&u64| self.folder.values().any(|wanted| wanted == *change);
        for change in self.stored.values().filter(is_kept) {
            assert!(held.values().any(|found| found == change), "content {change} is lost. {context}");
        }
    }
}

/// Kills a program that moment after it said that so many documents are stored; whether it was still running, and which ones it named.
fn kill(mut command: Command, documents: usize, moment: Duration) -> (bool, Vec<String>) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let is_stored = |line: &String| line.starts_with("ingested ");
    let mut said: Vec<String> = Vec::new();
    while said.iter().filter(|line| is_stored(line)).count() < documents {
        let Some(line) = lines.next() else { break };
        said.push(line);
    }
    // Not a wait for something: it makes the moment random.
    thread::park_timeout(moment);
    // It may have ended already.
    drop(child.kill());
    said.extend(lines);
    let stored = said.iter().filter_map(|line| {
        let (_, rest) = line.strip_prefix("ingested ")?.split_once(' ')?;
        Some(rest.rsplit_once(": ")?.0.to_owned())
    });
    let stored = stored.collect();
    let status = child.wait().unwrap();
    assert!(status.code().is_none_or(|code| code == 0), "{status}: {said:?}");
    (status.code().is_none(), stored)
}

#[test]
fn whatever_a_command_was_at_when_it_was_killed_the_store_is_whole_and_the_next_run_completes() {
    let Some(mut course) = Course::new() else { return };
    let kills = std::env::var("MENTOR_TEST_KILLS").map_or(8, |text| text.parse().unwrap());
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        runs += 1;
        assert!(runs <= kills * 10, "only {killed} of {runs} commands were killed before their end");
        killed += usize::from(course.kill());
        if runs % RUNS_UNTIL_COMPLETE == 0 {
            course.complete();
        }
    }
    course.complete();
    eprintln!(
        "{killed} of {runs} commands were killed before their end; nothing lost, nothing damaged, nothing left behind"
    );
}
