//! What people read of a run: one page that needs nothing beside it, plots for documents, and tables
//! over many runs.
//!
//! | module | holds |
//! | --- | --- |
//! | [`figures`] | what is counted in a history, for pages and for tables over many runs |
//! | [`judged`] | the file `verdicts.json`: what the run was, what its checks say, its figures |
//! | [`plot`] | latencies, quantiles, rates and nodes over the time of the run |
//! | [`timeline`] | the operations around an anomaly |
//! | [`page`] | all of it on one page |
//! | [`summary`] | many runs together |

pub mod figures;
pub mod judged;
pub mod page;
pub mod plot;
pub mod summary;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;

pub use figures::Figures;
pub use judged::Judged;
pub use summary::{Summary, summarise, write_index};

use crate::check::Verdict;
use crate::history::History;
use page::Page;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The name of a run's page in its directory.
pub const FILE: &str = "report.html";
/// How much of a server's log a page has.
const TAIL_BYTES: u64 = 32 * 1024;

/// The last that a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLog {
    /// The server's name.
    pub node: String,
    /// Its last lines.
    pub tail: String,
}

impl ServerLog {
    /// The last 32 KiB of a log file, from the beginning of a line.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(node: impl Into<String>, log: &Path) -> io::Result<Self> {
        let mut file = std::fs::File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = if from == 0 { &*text } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
        Ok(Self { node: node.into(), tail: whole.to_owned() })
    }
}

/// The ends of all servers' logs in a run's directory, in the order of their names.
///
/// # Errors
/// Those of the files.
pub fn logs_in(directory: &Path) -> io::Result<Vec<ServerLog>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let node = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(ServerLog::read(node, &path)?);
        }
    }
    logs.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(logs)
}

/// Writes a run's page into its directory, with `latency.svg` and `rate.svg` beside it, and says where
/// the page is.
///
/// # Errors
/// Those of the files.
pub fn write(
    directory: &Path,
    history: &History,
    verdicts: &[Verdict],
    servers: &[ServerLog],
) -> io::Result<PathBuf> {
    let drawn = Page { history, verdicts, servers }.draw();
    let path = directory.join(FILE);
    std::fs::write(&path, drawn.page)?;
    std::fs::write(directory.join("latency.svg"), drawn.latency)?;
    std::fs::write(directory.join("rate.svg"), drawn.rate)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Anomaly;

    /// A long run as a page. To look at it, name a directory in `OARLOCK_REPORT_KEEP`.
    #[test]
    fn a_long_run_is_one_page_that_needs_nothing_else() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let kept = std::env::var_os("OARLOCK_REPORT_KEEP").map(PathBuf::from);
        let directory = kept.unwrap_or_else(|| temporary.path().to_owned());
        let history = testing::history(11, 200_000);
        let near = |at: u64, key: &str| {
            let fits = |op: &&crate::history::Operation| op.invoked >= at && op.key.as_deref() == Some(key);
            history.operations.iter().find(fits).expect("there are many").index
        };
        let stale = Anomaly::new(
            "A read of k3 returned 412 after 977 had been read: <b>stale</b>",
            [near(20_000_000, "k3"), near(20_020_000, "k3"), near(60_000_000, "k3")],
        );
        let verdicts = [
            Verdict::valid("revisions", "198,220 revisions rise with real time").count("writes", 132_001),
            Verdict::of("linearizable", "9 of 10 keys are linearizable, k3 is not", vec![stale])
                .count("keys", 10),
            Verdict::unknown("bounds", "No lease expired, so nothing was measured"),
        ];
        let servers = [ServerLog { node: "n1".into(), tail: "INFO became leader; term: 4\n".repeat(40) }];
        let path = write(&directory, &history, &verdicts, &servers).expect("it is writable");
        let page = std::fs::read_to_string(path).expect("it was just written");
        assert!(page.len() < 3_000_000, "{} bytes", page.len());
        assert!(page.contains("&lt;b&gt;stale") && !page.contains("<b>"), "text is quoted");
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!outside.contains(word), "the page needs {word}");
        }
        let overall = page.find("class=\"overall invalid\"").expect("the verdict");
        assert!(overall < page.find("<h1").expect("a title"), "the verdict comes first");
        for file in ["latency.svg", "rate.svg"] {
            let plot = std::fs::read_to_string(directory.join(file)).expect("it was just written");
            assert!(plot.starts_with("<svg") && plot.contains("<style>") && plot.ends_with("</svg>\n"));
        }
    }

    #[test]
    fn an_empty_run_has_a_page_too() {
        let history = testing::small(vec![], vec![]);
        let page = Page { history: &history, verdicts: &[], servers: &[] }.draw().page;
        assert!(page.contains("overall unknown") && !page.contains("NaN"), "{page}");
    }

    #[test]
    fn a_log_is_read_from_the_beginning_of_a_line() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "one\ntwo\n").expect("it is writable");
        assert_eq!(ServerLog::read("n1", file.path()).expect("it is there").tail, "one\ntwo\n");
        let long = format!("{}\nlast\n", "x".repeat(TAIL_BYTES as usize));
        std::fs::write(file.path(), long).expect("it is writable");
        assert_eq!(ServerLog::read("n1", file.path()).expect("it is there").tail, "last\n");
    }
}
