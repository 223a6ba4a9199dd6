//! The files that citations lead to.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mentor::materials::{Materials, UploadLimits};
use mentor_actors::domain::{CorpusStats, DocumentHash, DocumentId, DocumentKind, DocumentRecord, EngineError, Found};
use mentor_actors::ports::{Retriever, SearchQuery};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Script;
use crate::{PATIENCE, Server};

/// A store that knows its documents and nothing of what is in them.
pub struct Library(Vec<DocumentRecord>);

impl Library {
    /// Files of a folder, as they are now.
    pub fn of(folder: &Path, ids: &[&str]) -> Arc<Self> {
        let record = |id: &&str| {
            let path = folder.join(id);
            let (content, extension) = (std::fs::read(&path).unwrap(), path.extension().unwrap().to_str().unwrap());
            let (hash, kind) = (Sha256::digest(&content).into(), DocumentKind::from_extension(extension).unwrap());
            let failed = DocumentRecord::failed(DocumentId((*id).to_owned()), DocumentHash(hash), kind, String::new());
            DocumentRecord { failure: None, pages: 1, bytes: Some(content.len() as u64), ..failed }
        };
        Arc::new(Self(ids.iter().map(record).collect()))
    }
}

impl Retriever for Library {
    fn search(&self, _: SearchQuery) -> BoxFuture<'static, Result<Found, EngineError>> {
        async { Ok(Found::default()) }.boxed()
    }

    fn stats(&self) -> BoxFuture<'static, Result<CorpusStats, EngineError>> {
        async { Ok(CorpusStats::default()) }.boxed()
    }

    fn documents(&self) -> BoxFuture<'static, Result<Vec<DocumentRecord>, EngineError>> {
        let records = self.0.clone();
        async { Ok(records) }.boxed()
    }
}

#[actix::test]
async fn no_file_is_handed_out_where_that_is_turned_off() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.md"), "A heap is a tree.").unwrap();
    let limits = UploadLimits { file_bytes: 1, files: 1, free_bytes: 0 };
    let materials = Materials::new(folder.path().to_owned(), limits);
    for (open, status) in [(true, 200), (false, 404)] {
        let (materials, library) = (materials.clone(), Library::of(folder.path(), &["notes.md"]));
        let server = Server::start_changed(Script::default(), move |doors| {
            (doors.materials, doors.store, doors.serve_files) = (materials, library, open);
        });
        assert_eq!(server.call("GET", "/api/files/notes.md", "").await.0, status);
        assert_eq!(server.call("GET", "/api/stats", "").await.1["serve_files"], open);
        server.stop().await;
    }
}

const PDF: &[u8] = b"%PDF-1.4 A heap is a tree in an array. %%EOF";

/// A server, and a folder with a file of each sort beside one that it must not show.
struct Course {
    server: Server,
    folder: tempfile::TempDir,
}

/// Status, head in lower case, body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Course {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let course = folder.path().join("course");
        std::fs::create_dir_all(course.join("week 1")).unwrap();
        for (name, content) in [
            ("heaps.pdf", PDF),
            ("week 1/Notizen \u{fc}ber heaps.md", b"# Heaps"),
            ("page.html", b"<script>alert(1)</script>"),
            ("gone.txt", b"here for now"),
            ("changed.txt", b"before"),
            ("../secret.md", b"of somebody else"),
        ] {
            std::fs::write(course.join(name), content).unwrap();
        }
        symlink("../secret.md", course.join("link.md")).unwrap();
        symlink("..", course.join("folder")).unwrap();
        // A store that was told to trust these would still not give them out.
        let outside = ["link.md", "folder/secret.md", "../secret.md"];
        let inside = ["heaps.pdf", "week 1/Notizen \u{fc}ber heaps.md", "page.html", "gone.txt", "changed.txt"];
        let library = Library::of(&course, &[&inside[..], &outside].concat());
        std::fs::remove_file(course.join("gone.txt")).unwrap();
        std::fs::write(course.join("changed.txt"), "after!").unwrap();
        std::fs::write(course.join("new.md"), "not in the store").unwrap();
        let limits = UploadLimits { file_bytes: 1, files: 1, free_bytes: 0 };
        let server = Server::start_changed(Script::default(), |doors| {
            doors.materials = Materials::new(course, limits);
            doors.store = library;
        });
        Self { server, folder }
    }

    /// Asks for exactly that path.
    async fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(self.server.address).await.unwrap();
        let host = self.server.address;
        let text = format!("{method} /api/files/{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server is silent").unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes.split_off(end + 4) }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}

#[actix::test]
async fn a_file_is_served_with_its_type_and_only_what_runs_nothing_is_shown() {
    let course = Course::open();
    let cases = [
        ("heaps.pdf", "application/pdf", "inline", PDF),
        ("week%201/Notizen%20%C3%BCber%20heaps.md", "text/plain; charset=utf-8", "inline", b"# Heaps"),
        ("week%201%2fNotizen%20%C3%BCber%20heaps.md", "text/plain; charset=utf-8", "inline", b"# Heaps"),
        ("page.html", "application/octet-stream", "attachment", b"<script>alert(1)</script>"),
    ];
    for (path, media_type, disposition, content) in cases {
        let answer = course.ask("GET", path, "accept-encoding: gzip\r\n").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, content), "{path}");
        assert_eq!(answer.field("content-type"), Some(media_type), "{path}");
        let named = answer.field("content-disposition").unwrap();
        assert!(named.starts_with(&format!("{disposition}; filename*=utf-8''")), "{path}: {named}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{path}: {policy}");
    }
    course.server.stop().await;
}

#[actix::test]
async fn a_file_can_be_asked_for_in_part_and_again() {
    let course = Course::open();
    let whole = course.get("heaps.pdf").await;
    let part = course.ask("GET", "heaps.pdf", "range: bytes=5-7\r\n").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &PDF[5..8]));
    assert_eq!(part.field("content-range"), Some(format!("bytes 5-7/{}", PDF.len()).as_str()));
    assert_eq!(course.ask("GET", "heaps.pdf", "range: bytes=5000-\r\n").await.status, 416);
    let seen = format!("if-none-match: {}\r\n", whole.field("etag").unwrap());
    let again = course.ask("GET", "heaps.pdf", &seen).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    for begun in ["\"another\"", "no tag at all", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let fields = format!("range: bytes=5-7\r\nif-range: {begun}\r\n");
        let resumed = course.ask("GET", "heaps.pdf", &fields).await;
        assert_eq!((resumed.status, resumed.body.as_slice()), (200, PDF), "{begun}");
    }
    let fields = format!("range: bytes=5-7\r\nif-range: {}\r\n", whole.field("etag").unwrap());
    assert_eq!(course.ask("GET", "heaps.pdf", &fields).await.status, 206);
    let head = course.ask("HEAD", "heaps.pdf", "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some(PDF.len().to_string().as_str()));
    course.server.stop().await;
}

#[actix::test]
async fn what_is_no_document_of_the_folder_is_not_found_however_it_is_spelled() {
    let course = Course::open();
    for path in [
        "nothing.pdf",
        "gone.txt",
        "new.md",
        "link.md",
        "folder/secret.md",
        "folder%2Fsecret.md",
        "../secret.md",
        "%2e%2e/secret.md",
        "..%2Fsecret.md",
        "%2e%2e%2fsecret.md",
        "week%201/%2e%2e/heaps.pdf",
        "./heaps.pdf",
        "/heaps.pdf",
        "%252e%252e%252fsecret.md",
        "heaps.pdf%00.md",
        "%ff",
    ] {
        let answer = course.get(path).await;
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 404, "{path}: {body}");
        assert!(body.contains(r#""code":"not_found""#) && !body.contains("course/"), "{path}: {body}");
    }
    let folder = course.folder.path().to_str().unwrap().trim_start_matches('/');
    assert_eq!(course.get(&format!("/{folder}/secret.md")).await.status, 404);
    course.server.stop().await;
}

#[actix::test]
async fn a_file_that_is_not_what_was_ingested_is_said_to_be_another() {
    let course = Course::open();
    let answer = course.get("changed.txt").await;
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 409, "{body}");
    assert!(body.contains(r#""code":"document_changed""#) && !body.contains("after"), "{body}");
    course.server.stop().await;
}
