"""The page of bench/tail, from the reports of its runs."""

from . import scenes
from .compare_report import emptied, plot
from .figures import Figures, lookup
from .markdown import NAMES, header, number, table

COLUMNS = {
    "p50 ms": "latency_us.p50",
    "p99 ms": "latency_us.p99",
    "p99.9 ms": "latency_us.p999",
    "slowest ms": "latency_us.max",
}


def write(record, docs, bench):
    """Writes tail.md and its pictures below `docs`; returns the page's path."""
    figures, about = Figures(record.runs()), record.about()
    directory = emptied(docs / "tail")
    pictures = []
    for scene in scenes.ALL:
        lines = {server: [figures.median_report(scene.name, server)] for server in figures.servers(scene.name)}
        lines = {server: reports for server, reports in lines.items() if reports[0]}
        if plot(bench, lines, "latency-over-time", directory / f"{scene.name}.svg"):
            pictures.append(f"![{scene.title}](tail/{scene.name}.svg)")
    page = docs / "tail.md"
    page.write_text(text(figures, about, pictures))
    return page


def text(figures, about, pictures):
    settings = about["settings"]
    how = (
        f"{settings['rate']:,} puts of 256 bytes are due in each second for {settings['seconds']} s, in an open loop, on a"
        f" fresh cluster for each row; what the row says happens after {settings['event']} s, or all the time. Latency"
        " counts from when a put was due. *Silence* is the longest time in which no put succeeded."
    )
    rows = [row for scene in scenes.ALL for server in NAMES if (row := scene_row(figures, scene, server))]
    head = ["beside the puts", "server", *COLUMNS, "silence ms", "failed", "times the quiet p99.9"]
    body = table(head, rows, right=tuple(range(2, 9)))
    return "\n\n".join(["# The slowest writes", header(about, how), body, *pictures]) + "\n"


def scene_row(figures, scene, server):
    if failures := figures.failures(scene.name, server):
        return [scene.title, NAMES[server], f"failed: {failures[-1]}", *["–"] * 6]
    report = figures.median_report(scene.name, server)
    if not report:
        return None
    columns = [number(lookup(report, name) / 1000) for name in COLUMNS.values()]
    silence = number(lookup(report, "longest_silence_ms"))
    lost = number(lookup(report, "errors") + lookup(report, "unsent"))
    quiet = figures.get("quiet", server, "latency_us.p999")
    times = number(lookup(report, "latency_us.p999") / quiet.value) if quiet else "–"
    return [scene.title, NAMES[server], *columns, silence, lost, times]
