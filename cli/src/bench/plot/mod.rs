//! `oarlock bench plot`: draws what earlier runs reported. So a run itself draws nothing.

mod over;

use super::error::BenchError;
use super::report::{Latency, Report};
use clap::Args;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Width and height of a picture in pixels.
const SIZE: (u32, u32) = (1200, 560);
/// Pixels of it, at the right, for the names of the lines.
const NAMES: u32 = 260;
/// Pixels from one name to the next.
const ROW: i32 = 18;
/// How much of a line's colour is left where it shows the half that is faster.
const PALE: f64 = 0.45;

/// Options of `plot`.
#[derive(Clone, Debug, Args)]
pub struct PlotArgs {
    /// Reports of earlier runs in JSON, one on each line. Those of one file make one line where throughput
    /// is drawn over latency.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the pictures go: latency-over-time.svg, throughput-over-time.svg and
    /// throughput-over-latency.svg; or with `--over` the figure's name, `-over-` and the option's.
    #[arg(long, short, value_name = "DIRECTORY", default_value = ".")]
    pub directory: PathBuf,
    /// Draw one figure over an option in which the reports of a file differ, such as `keys`, `clients` or
    /// `value_size`, or over one of their notes; one line for each file, in place of the other pictures.
    #[arg(long, value_name = "OPTION")]
    pub over: Option<String>,
    /// That figure, by its place in a report.
    #[arg(long, default_value = "per_second", requires = "over")]
    pub figure: String,
}

/// Reads the reports and draws.
pub fn run(args: &PlotArgs) -> Result<(), BenchError> {
    let mut groups = Vec::new();
    for path in &args.files {
        groups.push(Group::read(path)?);
    }
    let failed = |path: &Path, why: String| BenchError::File { path: path.to_owned(), why };
    std::fs::create_dir_all(&args.directory).map_err(|error| failed(&args.directory, error.to_string()))?;
    let pictures = match &args.over {
        Some(option) => {
            let name = format!("{}-over-{option}.svg", args.figure);
            vec![(name, over::picture(&groups, option, &args.figure))]
        }
        None => vec![
            ("latency-over-time.svg".to_owned(), latency_over_time(&groups)),
            ("throughput-over-time.svg".to_owned(), throughput_over_time(&groups)),
            ("throughput-over-latency.svg".to_owned(), throughput_over_latency(&groups)),
        ],
    };
    for (name, picture) in pictures {
        let path = args.directory.join(name);
        let svg = picture.map_err(|why| failed(&path, why))?;
        std::fs::write(&path, svg).map_err(|error| failed(&path, error.to_string()))?;
        crate::output::say!("{}", path.display());
    }
    Ok(())
}

/// The reports of one file.
struct Group {
    name: String,
    reports: Vec<Report>,
}

impl Group {
    fn read(path: &Path) -> Result<Self, BenchError> {
        let failed = |why: String| BenchError::File { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let reports = reports(&text).map_err(failed)?;
        if reports.is_empty() {
            Err(failed("there is no report in it".into()))
        } else {
            Ok(Self { name, reports })
        }
    }

    /// A name for one of its reports.
    fn label(&self, number: usize) -> String {
        match (self.reports.len(), &self.reports[number].setting) {
            (1, _) => self.name.clone(),
            (_, Some(setting)) => match setting.rate {
                Some(rate) => format!("{}, {rate}/s", self.name),
                None => format!("{}, {} clients", self.name, setting.clients),
            },
            (_, None) => format!("{} {}", self.name, number + 1),
        }
    }
}

fn reports(text: &str) -> Result<Vec<Report>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {} is no report: {error}", number + 1))
        })
        .collect()
}

/// A line of a picture.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// Which colour of the palette.
    colour: usize,
    is_pale: bool,
}

impl Line {
    fn style(&self) -> ShapeStyle {
        let strength = if self.is_pale { PALE } else { 1.0 };
        ShapeStyle { color: Palette99::pick(self.colour).mix(strength), filled: true, stroke_width: 2 }
    }
}

/// What is written around a picture.
struct Words<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

fn latency_over_time(groups: &[Group]) -> Result<String, String> {
    let mut lines = Vec::new();
    for_each_report(groups, |colour, name, report| {
        for (word, is_pale) in [("p50", true), ("p99", false)] {
            let of = |moment: &super::report::Moment| if is_pale { moment.p50_us } else { moment.p99_us };
            // Where nothing was answered there is no latency.
            let answered = report.series.iter().filter(|moment| moment.count > 0);
            let points = answered.map(|moment| (moment.second as f64, millis(of(moment)))).collect();
            lines.push(Line { name: format!("{name}, {word}"), points, colour, is_pale });
        }
    });
    let words = Words { title: "Latency over time", x: "seconds", y: "milliseconds" };
    let (x, y) = (range(&lines, |point| point.0), range(&lines, |point| point.1));
    draw(&words, &lines, x.0..x.1, logarithmic(y))
}

fn throughput_over_time(groups: &[Group]) -> Result<String, String> {
    let mut lines = Vec::new();
    for_each_report(groups, |colour, name, report| {
        let points = report.series.iter().map(|moment| (moment.second as f64, moment.count as f64)).collect();
        lines.push(Line { name: name.to_owned(), points, colour, is_pale: false });
    });
    let words = Words { title: "Throughput over time", x: "seconds", y: "operations in each second" };
    let (x, y) = (range(&lines, |point| point.0), range(&lines, |point| point.1));
    draw(&words, &lines, x.0..x.1, 0.0..y.1 * 1.05)
}

fn throughput_over_latency(groups: &[Group]) -> Result<String, String> {
    let mut lines = Vec::new();
    for (colour, group) in groups.iter().enumerate() {
        let mut figures: Vec<(f64, &Latency)> = group
            .reports
            .iter()
            .filter_map(|report| Some((report.per_second, report.latency_us.as_ref()?)))
            .collect();
        figures.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (word, is_pale) in [("p50", true), ("p99", false)] {
            let of = |latency: &Latency| millis(if is_pale { latency.p50 } else { latency.p99 });
            let points = figures.iter().map(|(rate, latency)| (of(latency), *rate)).collect();
            lines.push(Line { name: format!("{}, {word}", group.name), points, colour, is_pale });
        }
    }
    let words = Words { title: "Throughput over latency", x: "milliseconds", y: "operations in each second" };
    let (x, y) = (range(&lines, |point| point.0), range(&lines, |point| point.1));
    draw(&words, &lines, logarithmic(x), 0.0..y.1 * 1.05)
}

fn for_each_report(groups: &[Group], mut then: impl FnMut(usize, &str, &Report)) {
    let mut colour = 0;
    for group in groups {
        for (number, report) in group.reports.iter().enumerate() {
            then(colour, &group.label(number), report);
            colour += 1;
        }
    }
}

/// Milliseconds; what took no time at all has the smallest place that a logarithm has.
fn millis(micros: u64) -> f64 {
    micros.max(1) as f64 / 1000.0
}

/// From the least to the greatest of a coordinate, and never empty.
fn range(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let all = || lines.iter().flat_map(|line| line.points.iter().map(&of));
    let (least, greatest) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if least < greatest { (least, greatest) } else { (greatest * 0.9, greatest * 1.1 + 1e-3) }
}

fn logarithmic(
    (least, greatest): (f64, f64),
) -> impl AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>> {
    // 0.001 ms is the least that is measured.
    (least.max(1e-3) * 0.8..greatest * 1.25).log_scale()
}

fn draw<X, Y>(words: &Words<'_>, lines: &[Line], x: X, y: Y) -> Result<String, String>
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let mut svg = String::new();
    picture(&mut svg, words, lines, x, y).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn picture<X, Y>(
    svg: &mut String,
    words: &Words<'_>,
    lines: &[Line],
    x: X,
    y: Y,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (area, names) = root.split_horizontally(SIZE.0 - NAMES);
    let mut chart = ChartBuilder::on(&area)
        .caption(words.title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(words.x)
        .y_desc(words.y)
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    let drawn = lines.iter().filter(|line| !line.points.is_empty());
    for (y, line) in (1..).map(|row| ROW * (row + 2)).zip(drawn) {
        let style = line.style();
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(2))?;
        names.draw(&PathElement::new([(0, y), (ROW, y)], style))?;
        names.draw(&Text::new(line.name.as_str(), (ROW + 8, y - 6), ("sans-serif", 13)))?;
    }
    root.present()?;
    Ok(())
}

/// A number at an axis, in few characters.
fn number(number: &f64) -> String {
    match *number {
        large if large >= 1e6 => format!("{:.1}M", large / 1e6),
        large if large >= 1e4 => format!("{:.0}k", large / 1e3),
        middle if middle >= 10.0 => format!("{middle:.0}"),
        small => {
            let text = format!("{small:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"work":"put","kind":"put","operations":5,"errors":0,"seconds":2.0,"per_second":5.0,
        "latency_us":{"p50":900,"p90":1000,"p99":7000,"p999":8000,"max":9000},
        "series":[{"second":0,"count":3,"failed":0,"p50_us":900,"p99_us":7000},
                  {"second":1,"count":0,"failed":2,"p50_us":0,"p99_us":0},
                  {"second":2,"count":2,"failed":0,"p50_us":800,"p99_us":900}],"notes":[]}"#;

    fn groups() -> Vec<Group> {
        let line = LINE.replace('\n', " ");
        let twice = reports(&format!("{line}\n\n{line}\n")).expect("two reports");
        assert_eq!(twice.len(), 2);
        vec![
            Group { name: "one <&>".into(), reports: reports(&line).expect("a report") },
            Group { name: "two".into(), reports: twice },
        ]
    }

    #[test]
    fn pictures_have_a_line_for_each_percentile_of_each_run() {
        let picture = latency_over_time(&groups()).expect("it is drawn");
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
        for name in
            ["one &lt;&amp;&gt;, p50", "two 1, p99", "two 2, p50", "Latency over time", "milliseconds"]
        {
            assert!(picture.contains(name), "{name} in {picture}");
        }
        let picture = throughput_over_time(&groups()).expect("it is drawn");
        assert!(picture.contains("two 2") && picture.contains("<polyline"));
        let picture = throughput_over_latency(&groups()).expect("it is drawn");
        assert!(picture.contains("two, p99") && !picture.contains("two 2"));
    }

    #[test]
    fn a_run_without_a_series_is_drawn_without_a_line() {
        let mut groups = groups();
        groups.iter_mut().flat_map(|group| &mut group.reports).for_each(|report| report.series.clear());
        assert!(latency_over_time(&groups).is_ok_and(|picture| !picture.contains("two 2")));
    }

    #[test]
    fn what_is_no_report_is_told_with_its_line() {
        assert!(reports("\n{}").is_err_and(|why| why.starts_with("line 2 is no report")));
    }

    #[test]
    fn numbers_at_axes_are_short() {
        assert_eq!(
            [2_500_000.0, 40_000.0, 250.0, 0.25, 2.0].map(|n| number(&n)),
            ["2.5M", "40k", "250", "0.25", "2"]
        );
    }
}
