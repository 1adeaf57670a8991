"""Tables and numbers in Markdown."""


def number(value):
    """Three digits, as people read them."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(figure, scale=1.0):
    """A median with its range; a dash if there is none."""
    if figure is None:
        return "–"
    text = number(figure.value * scale)
    if figure.least == figure.greatest:
        return text
    return f"{text} ({number(figure.least * scale)}..{number(figure.greatest * scale)})"


def table(head, rows, right=()):
    """A table; the columns in `right` are numbers."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| " + " | ".join("---:" if column in right else "---" for column in range(len(head))) + " |")
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def header(about, how):
    """What a reader must know before the figures."""
    versions = ", ".join(f"{NAMES[server]} {version}" for server, version in about["versions"].items())
    settings = "; ".join(f"{NAMES[server]}: {words}" for server, words in about["server_settings"].items())
    return "\n".join(
        [
            f"Written by `{about['command']}` on {about['date']}, commit {about['commit']}; do not edit.",
            "",
            f"* Machine: {about['machine']}, load average {about['load']:.1f} at the begin. Servers and clients"
            " share it.",
            f"* Versions: {versions}.",
            f"* Settings: {settings}. Every server syncs a write to disk before it answers.",
            f"* {how}",
        ]
    )


NAMES = {"etcd": "etcd", "oarlock": "Oarlock", "zookeeper": "ZooKeeper"}
