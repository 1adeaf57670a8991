//! The command line, run as a person runs it.

use super::process::binary;
use serde_json::Value;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

/// `oarlock` with these endpoints.
#[derive(Clone, Debug)]
pub struct Oarlock {
    endpoints: String,
}

/// What came of a command.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Oarlock {
    /// Talks to these endpoints.
    pub fn new(endpoints: &[String]) -> Self {
        Self { endpoints: endpoints.join(",") }
    }

    /// A command that is not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("oarlock"));
        command.args(arguments).env("OARLOCK_ENDPOINTS", &self.endpoints).stdin(Stdio::null());
        command
    }

    /// Runs to the end, whatever it is.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("oarlock is built before the tests run (make test)").into()
    }

    /// Runs with this text on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.start(self.command(arguments).stdin(Stdio::piped()));
        let mut pipe = child.stdin.take().expect("it was asked for");
        pipe.write_all(input.as_bytes()).expect("the command reads its input");
        drop(pipe);
        child.wait_with_output().expect("a child can be waited for").into()
    }

    /// Starts a command with its output to be read.
    pub fn start(&self, command: &mut Command) -> Child {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("oarlock is built before the tests run (make test)")
    }

    /// Runs, must succeed, and returns what was printed without the last line's end.
    pub fn text(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out.trim_end_matches('\n').to_owned()
    }

    /// Runs with `--output json`, must succeed, and returns the document of each line.
    pub fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["--output", "json"], arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {line:?}: {error}"))
        };
        ran.out.lines().map(parse).collect()
    }

    /// Runs with `--output json`, must succeed, and returns the one document.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut lines = self.json_lines(arguments);
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.remove(0)
    }

    /// Runs, must end with this code, and returns what was said.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.err.len() > 15, "{arguments:?} failed without a sentence: {ran:?}");
        ran.err
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
