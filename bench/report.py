"""A page with plots, one HTML file that needs nothing else: ``python -m bench report A.json ... -o DIR``.

Speed-up by case, GF/s under this machine's roofline, and p50 and p99 of single steps. Without
matplotlib it has the tables only.
"""

import argparse
import html
import importlib.util
import io
from pathlib import Path

from .page import RATIOS, cell
from .results import OURS, RATIO, VALUES, combine, gflops, ratio, read
from .shapes import KINDS
from .table import target_line
from .targets import verdicts

STYLE = """\
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 64em; color: #222 }
table { border-collapse: collapse } td, th { padding: 0 .7em; text-align: right } td:first-child { text-align: left }
.less { color: #b00 } svg { max-width: 100%; height: auto }"""


def figure(width, height):
    """A matplotlib figure that no display needs, and its axes."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots()


def svg(made):
    """The figure as an SVG element."""
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def speedups(results):
    """Bars of the value of every case of a set; None when there is nothing to compare with."""
    judged = [r for r in results if r["value"] is not None]
    if not judged:
        return None
    made, axes = figure(9, 1 + 0.22 * len(judged))
    labels = [f"{r['name']}, {r['threads']}" for r in judged]
    values = [r["value"] for r in judged]
    slower = [v < 1 and r["set"] in RATIOS for r, v in zip(judged, values)]
    axes.barh(range(len(judged)), values, color=["#b00" if red else "#1f77b4" for red in slower])
    axes.set_yticks(range(len(judged)), labels, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    for i, (r, v) in enumerate(zip(judged, values)):
        axes.text(v, i, f" {v:.2f} {r['best'] or ''}", va="center", fontsize=7)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel(f"{VALUES.get(results[0]['set'], RATIO)}; case, threads")
    return made


def roofline(about, results):
    """GF/s of one-thread float32 cases over operations per byte, under the machine's measured limits."""
    points = [r for r in results if gflops(r) and r["threads"] == 1 and not r["name"].endswith("float64")]
    limits = about.get("roofline") or {}
    if not points or not limits:
        return None
    made, axes = figure(8, 5)
    for what in dict.fromkeys(r["what"] for r in points):
        mine = [r for r in points if r["what"] == what]
        axes.loglog([r["flops"] / r["bytes"] for r in mine], [gflops(r) for r in mine], "o", markersize=4, label=what)
    span = [f([r["flops"] / r["bytes"] for r in points]) for f in (min, max)]
    for level, rate in limits["bandwidth"].items():
        end = limits["peak"] / rate if limits["peak"] else span[1]  # where multiplying binds instead
        axes.plot([span[0], end], [rate * span[0], rate * end], linewidth=0.8, label=f"{level}, {rate:.0f} GB/s")
    if limits["peak"]:
        axes.axhline(limits["peak"], color="black", linewidth=0.8, label=f"FMA peak, {limits['peak']:.0f} GF/s")
    axes.set_xlabel("operations per byte, if R is read at every step and W, x and y once")
    axes.set_ylabel("GF/s of fastrnn, one core")
    axes.legend(fontsize=8)
    return made


def latencies(results):
    """p50 (dots) to p99 (ends) of single steps, by contender; None without such cases."""
    steps = [r for r in results if "p50" in r["figures"].get(OURS, {})]
    if not steps:
        return None
    names = list(dict.fromkeys(n for r in steps for n, f in r["figures"].items() if "p50" in f))
    made, axes = figure(9, 1.5 + 0.3 * len(steps))
    for i, name in enumerate(names):
        mine = [(row, r["figures"][name]) for row, r in enumerate(steps) if "p50" in r["figures"].get(name, {})]
        rows = [row + (i - len(names) / 2) * 0.7 / len(names) for row, _ in mine]
        middle = [f["p50"] for _, f in mine]
        axes.hlines(rows, middle, [f["p99"] for _, f in mine], color=f"C{i}", linewidth=1)
        axes.plot(middle, rows, "o", color=f"C{i}", markersize=3, label=name)
    axes.set_yticks(range(len(steps)), [f"{r['name']}, {r['threads']}" for r in steps], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds of one call, p50 to p99, the clock (0.1 us) included")
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    return made


def rows(results):
    """An HTML table of a set."""
    lines = ["<tr><th>case</th><th>threads</th><th>fastrnn</th><th>best other</th><th>value</th><th>GF/s</th></tr>"]
    for r in results:
        ours, other, shown = cell(r)
        rate = f"{gflops(r):.1f}" if gflops(r) else ""
        less = ' class="less"' if (ratio(r) or 1.0) < 1 else ""
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in (str(r["threads"]), ours, other, shown, rate))
        lines.append(f"<tr{less}><td>{html.escape(r['name'])}</td>{cells}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def plots(about, results):
    """(heading, figure) of the plots over all sets; nothing without matplotlib."""
    if not importlib.util.find_spec("matplotlib"):
        return []
    both = ("Roofline", roofline(about, results)), ("Latency of a step", latencies(results))
    return [(text, made) for text, made in both if made]


def document(about, results):
    """The HTML page of combined results."""
    title = f"fastrnn benchmarks, {about['date']}, {about['cpu']}"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(versions)}</p>", "<ul>"]
    kinds = {r["what"] for r in results}
    parts += [f"<li>{name}: {html.escape(text)}</li>" for name, text in KINDS.items() if name in kinds]
    parts.append("</ul>")
    for text, made in plots(about, results):
        parts += [f"<h2>{text}</h2>", svg(made)]
    for name in dict.fromkeys(r["set"] for r in results):
        mine = [r for r in results if r["set"] == name]
        unit = {"us": "microseconds", "ms": "milliseconds", "MB": "megabytes"}[mine[0]["unit"]]
        parts.append(f"<h2>{name}</h2><p>{unit}; value: {VALUES.get(name, RATIO)}</p>")
        made = speedups(mine) if importlib.util.find_spec("matplotlib") else None
        parts += [svg(made)] if made else []
        parts += [rows(mine), *(f"<p>{html.escape(target_line(v))}</p>" for v in verdicts(mine))]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def main(argv):
    """Write DIR/index.html."""
    parser = argparse.ArgumentParser(prog="python -m bench report", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="A.json", help="of one machine")
    parser.add_argument("-o", "--output", default="build/bench-report", metavar="DIR", help="%(default)s unless given")
    args = parser.parse_args(argv)
    about, raw = read(args.files)
    path = Path(args.output) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(about, combine(raw)))
    print(f"wrote {path}" + ("" if importlib.util.find_spec("matplotlib") else ", without plots: no matplotlib"))
    return 0
