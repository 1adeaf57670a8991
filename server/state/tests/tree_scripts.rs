//! Runs the stories in `scripts/tree`. Each tells commands, and below `---` what became of them:
//! the revision and reply, then the events.

#[path = "tree/vocabulary.rs"]
mod vocabulary;
#[path = "tree/world.rs"]
mod world;

use oarlock_state::command::{Answer, Guard, OutcomeOf, ReplyBody, TokenScope};
use oarlock_state::{Applied, Command, Query, Rejection, RequestId, Revision, SessionId};
use std::error::Error;
use std::path::Path;
use vocabulary::Words;
use world::World;

struct Story {
    world: World,
}

impl goldenscript::Runner for Story {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        line: &goldenscript::Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let told = told(line);
        let answer = self.answer(&mut Words::of(line))?;
        Ok(if answer.is_empty() { answer } else { format!("{told} => {answer}") })
    }
}

impl Story {
    fn answer(&mut self, words: &mut Words) -> Result<String, Box<dyn Error>> {
        if let Some(op) = vocabulary::change(words)? {
            return Ok(outcome(&self.world.apply(Command::Tree(op))));
        }
        if let Some(query) = vocabulary::question(words, self.world.now_ms)? {
            return Ok(self.ask(&Query::Tree(query)));
        }
        self.other(words)
    }

    /// What is not of the tree itself.
    fn other(&mut self, words: &mut Words) -> Result<String, Box<dyn Error>> {
        match words.name.as_str() {
            "open" => Ok(outcome(&self.world.open(SessionId(words.number()?)))),
            "close" => {
                let session = SessionId(words.number()?);
                Ok(outcome(&self.world.apply(Command::CloseSession { session })))
            }
            "expire" => {
                let session = SessionId(words.number()?);
                let sessions = vec![(session, self.world.last_touch(session))];
                Ok(outcome(&self.world.apply(Command::ExpireSessions { sessions })))
            }
            "wait" => {
                self.world.now_ms += words.number::<u64>()?;
                Ok(String::new())
            }
            "compact" => {
                let revision = Revision(words.number()?);
                Ok(outcome(&self.world.apply(Command::Compact { revision })))
            }
            "history" => {
                let (from, to) = (Revision(words.number()?), Revision(words.number()?));
                Ok(self.ask(&Query::History { from, to, byte_budget: 1 << 20 }))
            }
            "previous" => {
                let at = (Revision(words.number()?), words.number()?);
                Ok(self.ask(&Query::Previous { at }))
            }
            "token" => {
                let guard = guard(words)?;
                Ok(self.ask(&Query::CheckToken(guard)))
            }
            "guarded" => self.guarded(words),
            "once" => self.once(words),
            "remembered" => {
                let (session, sequence) = (SessionId(words.number()?), words.number()?);
                let request = OutcomeOf::Session { session, sequence };
                Ok(self.ask(&Query::Outcome { request }))
            }
            name => Err(format!("{name} is no word of these scripts").into()),
        }
    }

    /// `guarded PATH TOKEN "change"`: the change only while the token is current.
    fn guarded(&mut self, words: &mut Words) -> Result<String, Box<dyn Error>> {
        let guard = guard(words)?;
        let command = inner(words)?;
        Ok(outcome(&self.world.apply_as(command, None, vec![guard])))
    }

    /// `once SESSION SEQUENCE "change"`: the change under a name.
    fn once(&mut self, words: &mut Words) -> Result<String, Box<dyn Error>> {
        let (session, sequence) = (SessionId(words.number()?), words.number()?);
        let acked_up_to = words.key_number("acked", 0)?;
        let request = RequestId { session, sequence, acked_up_to };
        let command = inner(words)?;
        Ok(outcome(&self.world.apply_as(command, Some(request), Vec::new())))
    }

    fn ask(&self, query: &Query) -> String {
        match self.world.read(query) {
            Ok(Answer::Tree(reply)) => vocabulary::reply(&reply),
            Ok(Answer::History { events, through }) => {
                let lines: Vec<String> = events.iter().map(vocabulary::event).collect();
                format!("through {through}\n{}", lines.join("\n"))
            }
            Ok(Answer::Previous(Some(record))) => format!("{:?} {}", record.value, record.version),
            Ok(Answer::Outcome(Some(outcome))) => body(&outcome),
            Ok(other) => format!("{other:?}"),
            Err(Rejection::Tree(error)) => vocabulary::refusal(&error),
            Err(other) => format!("refused: {other}"),
        }
    }
}

/// The command in short: quoted where a space or a strange character would confuse.
fn told(line: &goldenscript::Command) -> String {
    let mut told = line.name.clone();
    for argument in &line.args {
        let text = argument.to_string();
        let plain = text.replace('"', "");
        let is_plain = !plain.is_empty() && plain.chars().all(|c| c > ' ' && c != '\\');
        told.push(' ');
        told.push_str(if is_plain { &plain } else { &text });
    }
    told
}

fn guard(words: &mut Words) -> Result<Guard, Box<dyn Error>> {
    let scope = TokenScope::Node(words.next()?.into());
    Ok(Guard { scope, token: Revision(words.number()?) })
}

fn inner(words: &mut Words) -> Result<Command, Box<dyn Error>> {
    let text = words.next()?;
    let op = vocabulary::change(&mut Words::within(&text))?;
    Ok(Command::Tree(op.ok_or_else(|| format!("{text} is not a change"))?))
}

/// Revision and reply, then the events.
fn outcome(applied: &Applied) -> String {
    let [(_, outcome)] = applied.outcomes.as_slice() else {
        return format!("{} outcomes", applied.outcomes.len());
    };
    let mut lines = vec![body(outcome)];
    lines.extend(applied.events.iter().map(vocabulary::event));
    lines.join("\n")
}

fn body(outcome: &oarlock_state::Outcome) -> String {
    match outcome {
        Ok(reply) => {
            let repeated = if reply.repeated { " (repeated)" } else { "" };
            let body = match &reply.body {
                ReplyBody::Tree(reply) => vocabulary::reply(reply),
                ReplyBody::SessionOpened { session, .. } => format!("session {session}"),
                ReplyBody::Expired { ended } => format!("ended {ended:?}"),
                ReplyBody::Done => "done".into(),
                ReplyBody::Txn(_) | ReplyBody::Object(_) | ReplyBody::Pool(_) | ReplyBody::Members(_) => {
                    format!("{:?}", reply.body)
                }
            };
            format!("at {}{repeated}: {body}", reply.revision)
        }
        Err(Rejection::Tree(error)) => vocabulary::refusal(error),
        Err(other) => format!("refused: {other}"),
    }
}

#[test]
fn stories() {
    // Asked when the tests run, not when they are compiled: clones share what is compiled.
    #[expect(clippy::disallowed_methods, reason = "says where the scripts are, not what they do")]
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let directory = Path::new(&package).join("scripts/tree");
    let entries = std::fs::read_dir(&directory).expect("the scripts are there");
    let mut scripts: Vec<_> = entries.map(|entry| entry.expect("is readable").path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 25, "only {} stories in {}", scripts.len(), directory.display());
    for script in scripts {
        println!("{}", script.display()); // shown when the story fails
        goldenscript::run(&mut Story { world: World::new() }, &script).expect("the story runs");
    }
}
