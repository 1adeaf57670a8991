//! The file `verdicts.json`: what a run was, what its checks say of it, and its figures.

use super::figures::Figures;
use crate::check::{Judgement, Verdict};
use crate::history::{Header, History};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Its name in a run's directory.
pub const FILE: &str = "verdicts.json";
/// Version of its format; a file of another one is refused.
pub const FORMAT: u32 = 1;

/// A run with its verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// [`FORMAT`].
    pub format: u32,
    /// What the run was.
    pub header: Header,
    /// What all of its checks say together; see [`overall`].
    pub overall: Judgement,
    /// One for each check.
    pub verdicts: Vec<Verdict>,
    /// What was counted.
    pub figures: Figures,
}

/// The worst of the verdicts; unknown if nothing was checked, because nothing is known then.
pub fn overall(verdicts: &[Verdict]) -> Judgement {
    verdicts.iter().map(|verdict| verdict.judgement).max().unwrap_or(Judgement::Unknown)
}

impl Judged {
    /// This history with what its checks say.
    pub fn new(history: &History, verdicts: &[Verdict]) -> Self {
        Self {
            format: FORMAT,
            header: history.header.clone(),
            overall: overall(verdicts),
            verdicts: verdicts.to_vec(),
            figures: Figures::of(history),
        }
    }

    /// Writes [`FILE`] into a run's directory.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(directory.join(FILE), text)
    }

    /// Reads [`FILE`] from a run's directory.
    ///
    /// # Errors
    /// If it cannot be read, or is of another form or format. The message names the file.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let name = path.display();
        let text = std::fs::read(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{name} cannot be read: {error}")))?;
        let judged: Self = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("{name} holds no verdicts ({error}); judge the run again")))?;
        if judged.format != FORMAT {
            let format = judged.format;
            return Err(wrong(format!("{name} has format {format}, not {FORMAT}; judge the run again")));
        }
        Ok(judged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::check::Anomaly;

    #[test]
    fn the_worst_verdict_is_the_runs() {
        let valid = Verdict::valid("a", "fine");
        let unknown = Verdict::unknown("b", "too long");
        let invalid = Verdict::of("c", "wrong", vec![Anomaly::new("lost", [1])]);
        assert_eq!(overall(&[]), Judgement::Unknown);
        assert_eq!(overall(std::slice::from_ref(&valid)), Judgement::Valid);
        assert_eq!(overall(&[unknown.clone(), valid.clone()]), Judgement::Unknown);
        assert_eq!(overall(&[invalid, unknown, valid]), Judgement::Invalid);
    }

    #[test]
    fn what_is_written_is_read_and_other_formats_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let history = testing::history(7, 500);
        let verdicts = [Verdict::valid("register", "500 operations are in order").count("searched", 12)];
        let judged = Judged::new(&history, &verdicts);
        judged.write(directory.path()).expect("it is writable");
        assert_eq!(Judged::read(directory.path()).expect("it was just written"), judged);

        let later = Judged { format: FORMAT + 1, ..judged };
        later.write(directory.path()).expect("it is writable");
        let refused = Judged::read(directory.path()).expect_err("another format").to_string();
        assert!(refused.contains("verdicts.json has format 2"), "{refused}");
        std::fs::write(directory.path().join(FILE), "[]").expect("it is writable");
        let refused = Judged::read(directory.path()).expect_err("another form").to_string();
        assert!(refused.contains("holds no verdicts"), "{refused}");
        let nowhere = Judged::read(&directory.path().join("no")).expect_err("no file").to_string();
        assert!(nowhere.contains("cannot be read"), "{nowhere}");
    }
}
