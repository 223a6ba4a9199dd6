//! Running the program as its user does: as a process, in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

/// What the server says when it is, before its address.
const READY: &str = "ready      http://";

/// Longest a request may take, or a server to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the models are, or a clear line and `None`.
pub fn models() -> Option<PathBuf> {
    let configured = std::env::var_os("MENTOR_MODELS_DIR").map(PathBuf::from);
    let folder = configured.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    if folder.join("all-minilm-l6-v2/model.onnx").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no models in {} (run `mentor models pull`)", folder.display());
    None
}

/// A working folder with a store, and the program in it.
pub struct Workplace {
    pub folder: tempfile::TempDir,
    models: PathBuf,
}

impl Workplace {
    pub fn new() -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap(), models: models()? })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the folder `course`.
    pub fn course_file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("course").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mentor"));
        command.current_dir(self.folder.path()).args(arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MENTOR_")) {
            command.env_remove(name);
        }
        command.env("MENTOR_MODELS_DIR", &self.models);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed with that exit code; its standard output.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
        out.into_owned()
    }

    /// Runs a command that must fail with code 2 and one line; that line.
    pub fn expect_error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        let line = error.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("mentor: "), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
        line
    }

    /// Starts the server on a free port and waits until it says that it is ready.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, more: &[&str]) -> Server {
        self.serve_at("127.0.0.1:0", more)
    }

    pub fn serve_at(&self, address: &str, more: &[&str]) -> Server {
        let mut arguments = vec!["serve", "--listen", address];
        arguments.extend(more);
        Server::start(self.command(&arguments))
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    /// What it said before it was ready.
    pub said: Vec<String>,
    /// In a mutex so that tests may ask a server from several threads.
    ready_again: Mutex<mpsc::Receiver<String>>,
}

impl Server {
    /// Runs a command that serves, and waits until it says that it is ready.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = log.next().unwrap_or_else(|| panic!("the server ended: {said:?}")).unwrap();
            if let Some(rest) = line.strip_prefix(READY) {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
            said.push(line);
        };
        // Keeps the pipe empty, so that the server never waits for a reader of its log.
        let (report, ready_again) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in log.map_while(Result::ok).filter(|line| line.starts_with(READY)) {
                // Most tests do not listen.
                drop(report.try_send(line));
            }
        });
        Server { child, address, said, ready_again: Mutex::new(ready_again) }
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let mut response = agent().post(format!("http://{}{path}", self.address)).send(body.to_string()).unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// The same with an API key.
    pub fn post_as(&self, key: &str, path: &str, body: &Value) -> Value {
        let request =
            agent().post(format!("http://{}{path}", self.address)).header("authorization", format!("Bearer {key}"));
        let mut response = request.send(body.to_string()).unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }

    pub fn get(&self, path: &str) -> String {
        agent().get(format!("http://{}{path}", self.address)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// Any request; status and body.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent().run(request.body(body).unwrap()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// The same with JSON in the answer.
    pub fn call_json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let (status, text) = self.call(method, path, headers, body);
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Processes that it started.
    pub fn children(&self) -> Vec<i32> {
        let parent = format!("PPid:\t{}", self.child.id());
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let status = |number: &i32| std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        numbers.filter(|number| status(number).lines().any(|line| line == parent)).collect()
    }

    /// Waits until it says once more that it is ready.
    pub fn wait_until_ready_again(&self) {
        self.ready_again.lock().unwrap().recv_timeout(PATIENCE).expect("the server did not come back");
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, as a service manager does; its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: `kill` takes two integers; the process is our child and not yet waited for, so the id is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}
