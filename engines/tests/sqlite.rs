//! Conversations on disk: the same as in memory, after kills, on a full disk, and when the file is not what it should be.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mentor_actors::domain::*;
use mentor_actors::memory_store::MemoryStore;
use mentor_actors::ports::ConversationStore;
use mentor_engines::sqlite::{ConversationsCopy, FILE_NAME, RESTORED, SqliteConversations};

fn conversation(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

fn turn_id(name: &str) -> TurnId {
    TurnId::parse(name).unwrap()
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn begin(name: &str, turn: &str, parent: Option<&str>, first_seq: u64, ms: u64) -> TurnChange {
    TurnChange::Begin(TurnBegin {
        conversation_id: conversation(name),
        owner: None,
        turn_id: turn_id(turn),
        parent: parent.map(turn_id),
        question: format!("what is {turn}? äöü 😀 ' \" \\ \u{0}"),
        asked_at: at(ms),
        first_seq,
    })
}

fn passage(number: usize) -> ScoredPassage {
    let passage = Passage {
        chunk_id: ChunkId(format!("5f0c-{number}")),
        document_id: DocumentId("week 2/heaps.pdf".into()),
        file_name: "heaps.pdf".into(),
        kind: DocumentKind::Pdf,
        page: Some(7),
        section: Some("Heaps > Binary heaps".into()),
        span: CharSpan { start: 3, end: 40 },
        text: "A heap is a tree. \u{2028} 😀".into(),
    };
    ScoredPassage::whole(passage, 0.123_456_79 / number as f32)
}

/// All kinds of events of a turn that was answered, with tokens that end inside words.
fn answered(name: &str, turn: &str, first_seq: u64, ms: u64, tokens: &[&str]) -> TurnChange {
    let workflow = |node, position| TurnEvent::Workflow { node, message: "wörk".into(), position, wait: None };
    let sources = vec![passage(1), passage(2)];
    let citation = Citation { source: 2, span: CharSpan { start: 0, end: 4 }, score: 0.7 };
    let done = Completion {
        conversation_id: conversation(name),
        answer: tokens.concat(),
        sources: sources.clone(),
        question: "what is it?".into(),
        grounding: Grounding::Partial,
        citations: vec![citation],
        unsupported: vec![CharSpan { start: 4, end: 9 }],
        finish_reason: FinishReason::Length,
        usage: Usage { prompt_tokens: 700, cached_tokens: 48, completion_tokens: tokens.len() },
        timings: Timings { queue: Duration::from_nanos(123_456_789), ..Timings::default() },
        workflow_path: vec![WorkflowNode::Queued, WorkflowNode::Retrieve, WorkflowNode::Generate],
        was_rewritten: true,
    };
    let mut events = vec![workflow(WorkflowNode::Retrieve, None), TurnEvent::Sources(sources)];
    events.push(workflow(WorkflowNode::Queued, Some(3)));
    events.push(TurnEvent::Workflow {
        node: WorkflowNode::Queued,
        message: "wörk".into(),
        position: Some(2),
        wait: Some(Duration::from_millis(12_345)),
    });
    events.extend(tokens.iter().map(|token| TurnEvent::Token((*token).to_owned())));
    events.extend([TurnEvent::Cited(citation), TurnEvent::Completed(Box::new(done))]);
    end(name, turn, first_seq, ms, events)
}

fn failed(name: &str, turn: &str, first_seq: u64, ms: u64) -> TurnChange {
    let error = TurnError::new(ErrorCode::Unavailable, "lost").retry_after(Duration::from_millis(1_500));
    let events = vec![
        TurnEvent::Sources(vec![passage(3)]),
        TurnEvent::Token("half an ".into()),
        TurnEvent::Token("answ".into()),
        TurnEvent::Failed(error),
    ];
    end(name, turn, first_seq, ms, events)
}

fn end(name: &str, turn: &str, first_seq: u64, ms: u64, events: Vec<TurnEvent>) -> TurnChange {
    let numbered = |(seq, event)| NumberedEvent { seq, turn_id: turn_id(turn), event };
    TurnChange::End(TurnEnd {
        conversation_id: conversation(name),
        turn_id: turn_id(turn),
        ended_at: at(ms),
        events: (first_seq..).zip(events).map(numbered).collect(),
    })
}

/// A story with a tree, errors, a turn that never ended, several conversations and owners.
fn story() -> Vec<TurnChange> {
    let mut owned = begin("owned", "t1", None, 1, 4_000);
    if let TurnChange::Begin(turn) = &mut owned {
        turn.owner = Some(Owner::new("ann"));
    }
    vec![
        begin("c", "t1", None, 1, 1_000),
        answered("c", "t1", 1, 1_500, &["ä", "", "b c", "😀"]),
        begin("c", "t2", Some("t1"), 11, 2_000),
        failed("c", "t2", 11, 2_500),
        begin("c", "t3", Some("t1"), 15, 3_000),
        answered("c", "t3", 15, 3_500, &[]),
        begin("c", "t3b", Some("t1"), 30, 3_600),
        answered("c", "t3b", 30, 3_700, &["other"]),
        begin("c", "t4", Some("t3b"), 40, 3_800),
        owned,
        answered("owned", "t1", 1, 4_500, &["hers"]),
        begin("other", "t1", None, 1, 500),
        answered("other", "t1", 1, 600, &["x"]),
        // Again, and of a conversation that there is not: nothing happens.
        begin("c", "t1", Some("t4"), 99, 3_800),
        failed("c", "t1", 99, 3_800),
        failed("nowhere", "t1", 1, 9_000),
    ]
}

/// Everything that can be asked of a store, as text.
fn all_of(store: &mut dyn ConversationStore) -> Vec<String> {
    let ann = Owner::new("ann");
    let mut all = Vec::new();
    for name in ["c", "owned", "other", "nowhere"] {
        let id = conversation(name);
        for turns in [0, 1, 3, 100] {
            all.push(format!("{:#?}", store.conversation(&id, turns).unwrap()));
        }
        all.push(format!("{:#?}", store.turns(&id, 0, 100).unwrap()));
        all.push(format!("{:#?}", store.turns(&id, 11, 2).unwrap()));
        for turn in ["t1", "t2", "t3", "t3b", "t4", "t5"] {
            all.push(format!("{:#?}", store.turn(&id, &turn_id(turn)).unwrap()));
            all.push(format!("{:#?}", store.path(&id, &turn_id(turn), 32).unwrap()));
        }
    }
    for owner in [None, Some(&ann)] {
        let whole = store.list(owner, None, 100).unwrap();
        let shown = |one: &ConversationSummary| {
            format!("{} {:?} {} {:?} {:?}", one.id, one.title, one.turns, one.created_at, one.changed_at)
        };
        all.extend(whole.iter().map(shown));
        let rest = whole.first().map(|first| store.list(owner, Some(first.place), 1).unwrap()).unwrap_or_default();
        all.extend(rest.iter().map(shown));
    }
    all
}

#[test]
fn a_file_answers_as_memory_does_also_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = MemoryStore::default();
    let mut file = SqliteConversations::open(folder.path()).unwrap();
    let stores: [&mut dyn ConversationStore; 2] = [&mut memory, &mut file];
    for store in stores {
        for changes in story().chunks(3) {
            store.write(changes).unwrap();
        }
        let liked = Feedback { rating: 5, text: Some("clear".into()) };
        assert!(store.rate(None, &turn_id("t3"), &Feedback { rating: 1, text: None }).unwrap());
        assert!(store.rate(None, &turn_id("t3"), &liked).unwrap());
        assert!(!store.rate(None, &turn_id("t9"), &liked).unwrap());
        assert!(!store.rate(Some(&Owner::new("bob")), &turn_id("t1"), &liked).unwrap());
    }
    let expected = all_of(&mut memory);
    file.write(&[]).unwrap();
    assert!(expected.iter().any(|text| text.contains("clear") && text.contains("half an ")));
    assert_eq!(all_of(&mut file), expected);
    drop(file);
    let mut file = SqliteConversations::open(folder.path()).unwrap();
    assert_eq!(all_of(&mut file), expected);

    for store in [&mut memory as &mut dyn ConversationStore, &mut file] {
        assert!(store.remove(&conversation("c")).unwrap() && !store.remove(&conversation("c")).unwrap());
        let old = store.unchanged_since(at(601), 10).unwrap();
        assert_eq!(old.len(), 1);
        assert_eq!(store.remove_unchanged(&old, at(0)).unwrap(), 0, "it has changed since then");
        assert_eq!(store.remove_unchanged(&[], at(601)).unwrap(), 0);
        assert_eq!(store.remove_unchanged(&old, at(601)).unwrap(), 1);
        assert!(store.unchanged_since(at(601), 10).unwrap().is_empty());
    }
    assert_eq!(all_of(&mut file), all_of(&mut memory));
}

#[test]
fn a_deleted_conversation_leaves_no_text_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteConversations::open(folder.path()).unwrap();
    let secret = "xyzzy-plugh-".repeat(40);
    store.write(&[begin("c", "t", None, 1, 1), answered("c", "t", 1, 2, &[&secret])]).unwrap();
    store.remove(&conversation("c")).unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    for bytes in files {
        assert!(!bytes.windows(12).any(|window| window == b"xyzzy-plugh-"));
    }
}

#[test]
fn a_file_has_one_server_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut first = SqliteConversations::open(folder.path()).unwrap();
    first.write(&[begin("c", "t", None, 1, 1)]).unwrap();
    let mode = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = SqliteConversations::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("in use by another server"), "{error}");
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_refused_in_a_line_and_left_as_it_is() {
    let refused = |spoil: &dyn Fn(&Path), reason: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut store = SqliteConversations::open(folder.path()).unwrap();
        for number in 0..200 {
            let turn = format!("t{number}");
            store.write(&[begin("c", &turn, None, number * 20 + 1, number)]).unwrap();
            store
                .write(&[answered("c", &turn, number * 20 + 1, number, &["a long answer ".repeat(40).as_str()])])
                .unwrap();
        }
        drop(store);
        spoil(&path);
        let before = std::fs::read(&path).unwrap();
        let error = SqliteConversations::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(reason) && error.lines().count() == 1, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    let spoil_bytes = |path: &Path, from: usize, to: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        let to = to.min(bytes.len());
        bytes[from..to].fill(0x5a);
        std::fs::write(path, bytes).unwrap();
    };
    refused(&|path| spoil_bytes(path, 0, 100), "damaged");
    refused(&|path| spoil_bytes(path, 8_192, 100_000), "damaged");
    refused(&|path| std::fs::write(path, vec![b'x'; 10_000]).unwrap(), "damaged");
    refused(&|path| sql(path, "PRAGMA user_version = 999"), "version 999");
    refused(&|path| sql(path, "PRAGMA application_id = 5"), "no store of conversations");
}

fn sql(path: &Path, statement: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(statement).unwrap();
}

/// What the child below does instead of testing, when it is told to.
const WRITER: &str = "MENTOR_TEST_CONVERSATION_WRITER";

/// Not a test of its own: the process that is killed. It says each turn that was stored.
#[test]
fn writer_child() {
    let Some(folder) = std::env::var_os(WRITER) else { return };
    let mut store = SqliteConversations::open(Path::new(&folder)).unwrap();
    let known = store.conversation(&conversation("c"), 1).unwrap();
    let mut seq = known
        .and_then(|known| known.turns.last().map(|turn| turn.last_seq().unwrap_or(turn.first_seq) + 1))
        .unwrap_or(1);
    loop {
        let turn = format!("t{seq}");
        if store.write(&[begin("c", &turn, None, seq, seq)]).is_err() {
            return println!("full");
        }
        let change = answered("c", &turn, seq, seq, &["some ", "words ", &turn]);
        let TurnChange::End(end) = &change else { unreachable!("it is an end") };
        let next = end.events.last().unwrap().seq + 1;
        if store.write(&[change]).is_err() {
            return println!("full");
        }
        println!("stored {turn}");
        seq = next;
    }
}

fn writer(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer_child", "--nocapture", "--test-threads=1"]).env(WRITER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn stored_lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| Some(line.split_once("stored ")?.1.to_owned()))
}

/// Every turn that was called stored is whole, none is there twice, and numbers only grow.
fn check(folder: &Path, acknowledged: &[String]) {
    let mut store = SqliteConversations::open(folder).unwrap();
    let turns = store.turns(&conversation("c"), 0, usize::MAX).unwrap();
    let mut ended = turns.iter().filter(|turn| !turn.events.is_empty()).map(|turn| turn.turn_id.as_str());
    for turn in acknowledged {
        assert!(ended.any(|stored| stored == turn), "{turn} is lost or out of order");
    }
    for turn in &turns {
        let Some(TurnEvent::Completed(done)) = turn.end() else { continue };
        assert_eq!(done.answer, format!("some words {}", turn.turn_id));
    }
    let numbers: Vec<u64> = turns.iter().flat_map(|turn| &turn.events).map(|event| event.seq).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "a number is there twice");
}

#[test]
fn a_writer_that_is_killed_at_any_moment_loses_no_turn_that_it_called_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..40_usize {
        let mut child = writer(folder.path());
        let mut stored = stored_lines(&mut child);
        acknowledged.extend(stored.by_ref().take(1 + round * 7 % 13));
        child.kill().unwrap();
        // What it said before it heard of its death counts as well.
        acknowledged.extend(stored);
        child.wait().unwrap();
        check(folder.path(), &acknowledged);
    }
    assert!(acknowledged.len() > 200, "only {} turns", acknowledged.len());
}

#[test]
fn a_full_disk_fails_the_write_and_loses_nothing_that_was_stored() {
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer_child", "--nocapture", "--test-threads=1"]).env(WRITER, folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: between fork and exec only two calls are made, both of which are allowed there.
    unsafe {
        command.pre_exec(|| {
            // No file may grow beyond this, and a write that wants to gets an error instead of a signal.
            let limit = libc::rlimit { rlim_cur: 600_000, rlim_max: 600_000 };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    let mut child = command.spawn().unwrap();
    let acknowledged: Vec<String> = stored_lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "the writer says that the disk is full, and ends");
    assert!(acknowledged.len() > 5, "only {} turns", acknowledged.len());
    check(folder.path(), &acknowledged);
    let mut again = writer(folder.path());
    assert!(stored_lines(&mut again).next().is_some(), "with room it goes on");
    again.kill().unwrap();
    again.wait().unwrap();
}

#[test]
fn a_copy_that_is_made_while_a_server_writes_has_everything_that_was_stored_before() {
    let (folder, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut child = writer(folder.path());
    let mut stored = stored_lines(&mut child);
    let mut acknowledged = Vec::new();
    for round in 0..20_usize {
        acknowledged.extend(stored.by_ref().take(1 + round * 7 % 13));
        // It becomes the file of a data folder of its own.
        let copy = copies.path().join(round.to_string());
        std::fs::create_dir(&copy).unwrap();
        let made = ConversationsCopy::make(folder.path(), &copy.join(FILE_NAME)).unwrap().unwrap();
        assert_eq!(made.conversations, 1);
        assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 1, "it is one file");
        check(&copy, &acknowledged);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ConversationsCopy::make(copies.path(), &folder.path().join("x")).unwrap().is_none());
}

/// A folder with the story in it, and a copy of that at the place where a restore leaves it in another folder.
fn restored(to: &Path) {
    let folder = tempfile::tempdir().unwrap();
    SqliteConversations::open(folder.path()).unwrap().write(&story()).unwrap();
    let place = to.join(RESTORED);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    ConversationsCopy::make(folder.path(), &place).unwrap();
}

#[test]
fn what_a_restore_left_takes_the_place_of_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let newer = [begin("newer", "t1", None, 1, 9_000), failed("newer", "t1", 1, 9_500)];
    SqliteConversations::open(folder.path()).unwrap().write(&newer).unwrap();
    restored(folder.path());
    let mut expected = MemoryStore::default();
    expected.write(&story()).unwrap();
    let mut store = SqliteConversations::open(folder.path()).unwrap();
    for id in ["c", "newer"].map(conversation) {
        assert_eq!(store.turns(&id, 0, 100).unwrap(), expected.turns(&id, 0, 100).unwrap());
    }
    assert!(!folder.path().join(RESTORED).exists());
    store.write(&newer).unwrap();
    drop(store);
    let mut store = SqliteConversations::open(folder.path()).unwrap();
    assert_eq!(store.turns(&conversation("newer"), 0, 100).unwrap().len(), 1, "it is not taken in again");
}

#[test]
fn a_copy_after_a_killed_restore_is_of_what_that_left() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let newer = [begin("newer", "t1", None, 1, 9_000), failed("newer", "t1", 1, 9_500)];
    SqliteConversations::open(folder.path()).unwrap().write(&newer).unwrap();
    restored(folder.path());
    ConversationsCopy::make(folder.path(), &copy.path().join(FILE_NAME)).unwrap().unwrap();
    let mut copied = SqliteConversations::open(copy.path()).unwrap();
    assert!(copied.turns(&conversation("newer"), 0, 100).unwrap().is_empty());
    assert!(!copied.turns(&conversation("c"), 0, 100).unwrap().is_empty());
    assert!(folder.path().join(RESTORED).exists(), "it is still to be taken in");
}

#[test]
fn what_a_restore_left_is_refused_when_it_is_not_ours_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    SqliteConversations::open(folder.path()).unwrap().write(&story()).unwrap();
    restored(folder.path());
    let place = folder.path().join(RESTORED);
    let added = rusqlite::Connection::open(&place).unwrap();
    added.execute_batch("CREATE TRIGGER t AFTER INSERT ON turn BEGIN DELETE FROM turn; END").unwrap();
    drop(added);
    let refused = SqliteConversations::open(folder.path()).err().unwrap().to_string();
    assert!(refused.contains("it is no store of conversations"), "{refused}");
    std::fs::write(&place, "no database, but as long as one has to be: ".repeat(100)).unwrap();
    assert!(SqliteConversations::open(folder.path()).err().unwrap().to_string().contains("damaged"));
    std::fs::remove_file(&place).unwrap();
    let mut store = SqliteConversations::open(folder.path()).unwrap();
    assert!(!store.turns(&conversation("c"), 0, 100).unwrap().is_empty());
}
