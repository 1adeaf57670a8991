"""The page of bench/scale, from the reports of its runs."""

from . import curves
from .compare_report import emptied, plot
from .figures import Figures, lookup
from .goals import CPU, P50, P99, RATE, RESIDENT
from .markdown import NAMES, header, number, table


def write(record, docs, bench):
    """Writes scale.md and its pictures below `docs`; returns the page's path."""
    figures, about = Figures(record.runs()), record.about()
    directory = emptied(docs / "scale")
    parts = [section(curve, figures, directory, bench) for curve in curves.ALL]
    page = docs / "scale.md"
    page.write_text(text(figures, about, parts))
    return page


def text(figures, about, parts):
    how = (
        f"Each point was measured once, for {about['settings']['seconds']} s, one server after the other, by `oarlock"
        " bench`; values of 256 bytes and 64 clients where nothing else is said. CPU and memory are sums over all servers."
    )
    growth = growth_part(figures)
    return "\n\n".join(part for part in ["# How cost grows", header(about, how), growth, *parts] if part) + "\n"


def points(curve, figures, server):
    """The reports with a figure, by the size."""
    found = []
    for (cell, measured), reports in figures.reports.items():
        if measured == server and cell.startswith(f"{curve.name}/") and "failed" not in reports[-1]:
            found.append((int(cell.split("/")[1]), reports[-1]))
    return sorted(found, key=lambda point: point[0])


def growth_part(figures):
    """From the smallest to the largest of each: how much dearer an operation became, what one more takes."""
    rows = []
    for curve in curves.ALL:
        for server in NAMES:
            known = [(size, report) for size, report in points(curve, figures, server) if lookup(report, CPU)]
            if len(known) < 2:
                continue
            (least, first), (most, last) = known[0], known[-1]
            dearer = lookup(last, CPU) / lookup(first, CPU)
            row = [curve.title, NAMES[server], f"{least:,} to {most:,}", number(lookup(first, CPU))]
            row += [number(lookup(last, CPU)), number(dearer), *memory_growth(curve, least, first, most, last)]
            rows.append(row)
    if not rows:
        return ""
    head = ["work", "server", "of", "CPU µs at first", "at last", "times", "memory for one more"]
    words = (
        "CPU is for one operation: a delivery, a keep-alive, a put, a get. Where it grows by less than 1, more at once"
        " make each one cheaper. Cost grows no faster than the work where it does not grow by much more than 1, and"
        " for large values where it grows less than the size."
    )
    return "\n\n".join(["## Growth", words, table(head, rows, right=(3, 4, 5, 6))])


def memory_growth(curve, least, first, most, last):
    if RESIDENT not in curve.pictures:
        return ["–"]
    grown = (lookup(last, RESIDENT) - lookup(first, RESIDENT)) * 2**20 / (most - least)
    return [f"{number(max(grown, 0))} B on all servers"]


def section(curve, figures, directory, bench):
    found = {server: points(curve, figures, server) for server in NAMES}
    rows = [row(size, server, report) for server, known in found.items() for size, report in known]
    if not rows:
        return ""
    if curve is curves.RESTART:
        rows = [restart_row(size, server, report) for server, known in found.items() for size, report in known]
        body = table([curve.unit, "server", "seconds", "MiB on all disks"], rows, right=(0, 2, 3))
    else:
        head = [curve.unit, "server", "/s", "p50 µs", "p99 µs", "server CPU µs", "resident MiB", "errors"]
        body = table(head, rows, right=(0, 2, 3, 4, 5, 6, 7))
    lines = {server: [report for _, report in known] for server, known in found.items()}
    pictures = []
    for figure in curve.pictures:
        name = f"{curve.name}-{figure.split('.')[-1].replace('_', '-')}"
        if plot(bench, lines, f"{figure}-over-{curve.option}", directory / f"{name}.svg", over=(curve.option, figure)):
            pictures.append(f"![{curve.title}: {figure}](scale/{name}.svg)")
    return "\n\n".join([f"## {curve.title}", body, *pictures])


def row(size, server, report):
    values = [lookup(report, name) for name in (RATE, P50, P99, CPU, RESIDENT, "errors")]
    return [f"{size:,}", NAMES[server], *(number(value) if value is not None else "–" for value in values)]


def restart_row(size, server, report):
    return [f"{size:,}", NAMES[server], number(report["seconds"]), number(lookup(report, "stored_mib"))]
