"""The benchmark's files and the pages made of them."""

import html.parser
import importlib.util

import pytest
from benches import result
from bench import __main__ as command
from bench import page, report, results
from bench.shapes import KINDS

ABOUT = {
    "cpu": "A <CPU>", "cpus": 2, "system": "Linux", "date": "2026-01-02", "versions": {"fastrnn": "1", "numpy": "2"},
    "roofline": {"peak": 200.0, "bandwidth": {"L2": 100.0, "memory": 20.0}},
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Two files of figures: one thread and two."""
    paths = [str(tmp_path / f"{t}.json") for t in (1, 2)]
    for threads, path in enumerate(paths, 1):
        raw = [result(threads=threads), result("lost", ours=4.0, threads=threads, problems={"b": "cannot"})]
        step = result("step RNN H4", set="step", what="step", threads=threads)
        for figure in step["figures"].values():
            figure |= {"p50": 1.0, "p99": 2.5}
        memory = result("train RNN 9/1/4", set="memory", what="train", unit="MB", threads=threads)
        results.write(path, ABOUT, [*raw, step, memory, result("none", figures={}, failed="why", threads=threads)])
    return paths


def test_reading_refuses_other_files(tmp_path, files):
    about, raw = results.read(files)
    assert about == ABOUT and len(raw) == 10 and {r["threads"] for r in raw} == {1, 2}
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match="other.json"):
        results.read([tmp_path / "other.json"])


def test_page(tmp_path, files, capsys):
    assert command.main(["page", *files, "-o", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    assert "2026-01-02, A <CPU>, 2 CPUs" in text and "numpy 2" in text and "200 GF/s" in text
    assert "| forward RNN 1/1/4 | 2 | 3 a | 1.50 | 2 | 3 a | 1.50 |" in text
    assert "2 (p99 2.5)" in text and "geometric mean 1.06, least 0.75" in text
    assert f"- `step`: {KINDS['step']}." in text and "`stream`" not in text
    lines = text.partition("## Where fastrnn does not win")[2]
    assert "- lost (forward), threads 1: 0.75 of a's speed." in lines and "forward RNN 1/1/4" not in lines
    assert "Targets missed" in lines and "geometric mean: 1.061, at least 1.3" in lines and "- b in lost." in lines
    header, rule = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("| case", "|---"))
    assert header.count("|") == rule.count("|") == 8


def test_a_page_without_losses_says_so():
    assert "No other library is quicker" in "\n".join(page.losses(results.combine([result()])))


class Tags(html.parser.HTMLParser):
    """Counts of opened and closed tags, and the text."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.closed, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.opened.append(tag)

    def handle_endtag(self, tag):
        self.closed.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_report(tmp_path, files, capsys):
    assert command.main(["report", *files, "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/index.html").read_text()
    tags = Tags(text)
    for tag in ("table", "tr", "td", "h2", "p", "svg"):
        assert tags.opened.count(tag) == tags.closed.count(tag)
    assert tags.opened.count("table") == 3 and tags.opened.count("tr") == 3 + 10
    assert "A <CPU>" in "".join(tags.words) and "src=" not in text and 'class="less"' in text
    plots = 4 if importlib.util.find_spec("matplotlib") else 0  # roofline, latency, two sets that have values
    assert tags.opened.count("svg") == plots
    assert ("without plots" in capsys.readouterr().out) == (not plots)


def test_red_is_where_another_library_is_quicker():
    """Not where a value is below 1 that wants to be low, or that nobody is compared with."""
    cells = [result(set="cells", expected=9.0, others=others) for others in ([], [("a", 3.0)], [("a", 1.0)])]
    for one, red in zip(cells, (0, 0, 1)):
        text = report.rows(results.combine([one]))
        assert text.count('class="less"') == red and "0.22" in text


def test_plots_leave_out_what_there_is_not():
    if importlib.util.find_spec("matplotlib"):
        empty = results.combine([result(others=[], flops=None)])
        assert report.speedups(empty) is report.roofline(ABOUT, empty) is report.latencies(empty) is None
    assert report.rows([]).count("<tr") == 1


def test_compare_command(tmp_path, files, capsys):
    assert command.main(["compare", files[0], files[0]]) == 0
    slower = str(tmp_path / "slower.json")
    results.write(slower, {**ABOUT, "cpu": "B"}, [result(ours=3.0)])
    assert command.main(["compare", files[0], slower]) == 1
    out = capsys.readouterr().out
    assert "1.500" in out and "slower" in out and "two machines: A <CPU> and B" in out
    assert "1 slower, 0 faster, 0 same, 3 in one file only" in out
