//! Running the binary, and talking to it.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Longer than anything here may take, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

const FREE_PORTS: [&str; 4] = ["demo", "--port=0", "--idp-port=0", "--mcp-port=0"];

const POLL: Duration = Duration::from_millis(10);

fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oidc-proxy"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    // Settings of whoever runs the tests are not ours.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OIDC_PROXY_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs what is expected to end by itself.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    run_in(&[], arguments)
}

/// The same with some environment variables.
pub(crate) fn run_in<S: AsRef<OsStr>>(
    environment: &[(&str, &str)],
    arguments: impl IntoIterator<Item = S>,
) -> Output {
    let mut command = command(arguments);
    let mut child = command
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if wait(&mut child).is_none() {
        child.kill().unwrap();
        panic!("it went on: {:?}", child.wait_with_output().unwrap());
    }
    child.wait_with_output().unwrap()
}

/// Waits for the end, up to the deadline.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(POLL);
    }
    None
}

/// A `demo` on free ports that said that it is ready.
pub(crate) struct Demo {
    child: Child,
    /// Everything that was printed up to there.
    pub(crate) printed: String,
    rest: Receiver<String>,
    log: Option<JoinHandle<String>>,
}

/// How a `demo` ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What was printed after it was ready.
    pub(crate) printed: Vec<String>,
    pub(crate) log: String,
}

impl Demo {
    /// Flags in `arguments` come later and win.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(command(FREE_PORTS).args(arguments))
    }

    /// With its temporary files in `directory`.
    pub(crate) fn start_in(directory: &Path) -> Self {
        Self::spawn(command(FREE_PORTS).env("TMPDIR", directory))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut demo = Self { child, printed: String::new(), rest: lines, log: Some(log) };
        loop {
            let Ok(line) = demo.rest.recv_timeout(DEADLINE) else {
                let ended = demo.end();
                panic!("not ready: {:?}\n{}", ended.status, ended.log);
            };
            demo.printed.push_str(&line);
            demo.printed.push('\n');
            if line.starts_with("Ready") {
                return demo;
            }
        }
    }

    /// The port in the URL that is printed behind `label`.
    pub(crate) fn port(&self, label: &str) -> u16 {
        let line = self.printed.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
        let (_, after) = line.split_once("http://localhost:").unwrap();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Asks it to stop and waits until it did.
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.end()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let status = wait(&mut self.child).expect("it ends");
        let log = self.log.take().unwrap().join().unwrap();
        Ended { status, printed: self.rest.iter().collect(), log }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It is over already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `serve` that logs as text and said that it is ready.
pub(crate) struct Serve {
    child: Child,
    lines: Receiver<String>,
    /// What it logged so far.
    pub(crate) log: String,
}

impl Serve {
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut child = command(["serve", "--log-format=text"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut serve = Self { child, lines, log: String::new() };
        serve.wait_for(" is ready on ");
        serve
    }

    /// Reads the log until a line has `text` in it.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            let Ok(line) = self.lines.recv_timeout(DEADLINE) else {
                panic!("no {text:?} in\n{}", self.log);
            };
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Asks it to stop; returns how it ended and all that it logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let status = wait(&mut self.child).expect("it ends");
        self.log.extend(self.lines.iter().map(|line| line + "\n"));
        (status.code(), std::mem::take(&mut self.log))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It is over already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something to see.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "it did not come");
        thread::sleep(POLL);
    }
}

/// Sends one HTTP/1.1 request with more headers to loopback and returns the whole answer.
pub(crate) fn request_with(port: u16, head: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(("localhost", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "{head} HTTP/1.1\r\nconnection: close\r\n").unwrap();
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n").unwrap();
    }
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends one HTTP/1.1 request to loopback and returns the whole answer.
pub(crate) fn request(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("localhost", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
