"""The documents tested: their examples run, what they name exists, and no equation is lost.

A check of text is a function from texts to the list of what is wrong in them, so that it can be
shown a wrong text too. Python examples in the documents are complete: each runs by itself.
"""

import doctest
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import fastrnn as fr

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: Documents and packages whose examples need more than the suite does: tests/interop runs them.
WITH_EXTRAS = ("docs/models.md",)
PACKAGES_WITH_EXTRAS = ("fastrnn.models.estimators",)
#: Where a path that a document names may begin.
FOLDERS = [ROOT, ROOT / "fastrnn", ROOT / "fastrnn/_core"]


def short(path):
    return str(path.relative_to(ROOT))


# ---- Examples -----------------------------------------------------------------------------------


def fenced(text, language):
    """(line of the first statement, code) of every fenced block of one language."""
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
        yield text.count("\n", 0, match.start()) + 2, match[1]


EXAMPLES = [
    pytest.param(path, line, code, id=f"{short(path)}:{line}")
    for path in DOCUMENTS
    if short(path) not in WITH_EXTRAS
    for line, code in fenced(path.read_text(), "python")
]


def run_example(path, line, code):
    """Warnings are errors; tracebacks name the document's line."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path, line, code", EXAMPLES)
def test_example(path, line, code, tmp_path, monkeypatch):
    """Files go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    run_example(path, line, code)


def test_the_readme_has_its_examples():
    """Inference with PyTorch's weights, training, streaming: short, and each checks what it says."""
    codes = [code for _, code in fenced((ROOT / "README.md").read_text(), "python")]
    assert len(codes) == 3
    for code, word in zip(codes, ("load_state_dict(", ".vjp(", ".stream("), strict=True):
        assert word in code and "assert" in code
        assert len([line for line in code.splitlines() if line.strip()]) <= 30


def public_modules():
    """The modules whose names have no underscore, and the package itself."""
    yield fr
    for module in pkgutil.walk_packages(fr.__path__, "fastrnn."):
        hidden = any(part.startswith("_") for part in module.name.split("."))
        if not hidden and not module.name.startswith(PACKAGES_WITH_EXTRAS):
            yield importlib.import_module(module.name)


def doctests_of(modules):
    """The docstrings with examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [pytest.param(test, id=test.name) for module in modules for test in finder.find(module) if test.examples]


def run_docstring(test):
    said = io.StringIO()
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.write)
    assert result.failed == 0, said.getvalue()


@pytest.mark.parametrize("test", doctests_of(public_modules()))
def test_docstring(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_docstring(test)


def public_objects():
    """Name -> class or function, of everything in the contract."""
    for name in fr.__all__:
        thing = getattr(fr, name)
        if not inspect.ismodule(thing):
            yield name, thing
            continue
        for inner, member in vars(thing).items():
            own = f"{getattr(member, '__module__', '')}.".startswith(f"{thing.__name__}.")
            if own and not inner.startswith("_") and callable(member):
                yield f"{name}.{inner}", member


@pytest.mark.parametrize("name, thing", [pytest.param(*pair, id=pair[0]) for pair in public_objects()])
def test_public_docstring(name, thing):
    """Every public name has a docstring; every class but a base and every loss an example in it."""
    text = inspect.getdoc(thing) or ""
    assert text.strip(), f"{name} has no docstring"
    if inspect.isclass(thing) and name not in ("optim.Optimizer", "optim.Schedule") or name.startswith("losses."):
        assert ">>>" in text, f"{name} has no example"


# ---- Commands -----------------------------------------------------------------------------------


def make_targets(makefile):
    """The targets that a reader may call: those declared phony."""
    declared = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.M)
    rules = set(re.findall(r"^([\w-]+)(?:[ \w./-]*):(?!=)", makefile, re.M))
    return {name for line in declared for name in line.replace("\\\n", " ").split()} & rules


def unknown_targets(document, makefile):
    """Targets in `make NAME` of a document that the Makefile does not have."""
    code = re.findall(r"`([^`\n]+)`", document)
    code += [line for _, block in fenced(document, "sh") for line in block.splitlines()]
    named = [m[1] for line in code for m in re.finditer(r"(?:^|\s)make ([a-z][\w-]*)", line)]
    return sorted(set(named) - make_targets(makefile))


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_make_targets_exist(path):
    assert unknown_targets(path.read_text(), (ROOT / "Makefile").read_text()) == []


def test_unknown_targets_are_noticed():
    makefile = ".PHONY: demo test \\\n    all\ndemo: x\n\trun\ntest:\n\trun\nall: demo\nx := 1\n"
    document = "`make demo`, `make fast`\n\n```sh\nFASTRNN_ISA=x make test\nmake quick\n```\n"
    assert unknown_targets(document, makefile) == ["fast", "quick"]


def test_the_two_commands():
    """They are all there is in the README's first block."""
    _, block = next(fenced((ROOT / "README.md").read_text(), "sh"))
    assert block.split("\n") == ["make demo", "make test", ""]


def module_commands(document):
    """The subcommands in `python -m fastrnn NAME` of a document or of the Makefile."""
    return set(re.findall(r"(?:python|\$\(PY\)) -m fastrnn ([a-z]+)", document))


COMMANDS = set().union(*(module_commands(p.read_text()) for p in [*DOCUMENTS, ROOT / "Makefile"]))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_exists(command):
    done = subprocess.run([sys.executable, "-m", "fastrnn", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- Links and paths ----------------------------------------------------------------------------


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path):
    """Relative links of a document that lead to no file, or to no heading in it."""
    broken = []
    text = re.sub(r"`[^`\n]*`", "", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or anchor and anchor not in anchors(file.read_text()):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_links(path):
    assert broken_links(path) == []


def test_broken_links_are_noticed(tmp_path):
    document = tmp_path / "a.md"
    (tmp_path / "b.md").write_text("# One (two)\n")
    good = "[x](b.md) [x](b.md#one-two) [x](#here) ![x](b.md) [x](https://example.org/c.md) `a[i](j)`\n"
    document.write_text("# Here\n" + good + "[x](c.md) [x](b.md#two) [x](#there)\n")
    assert broken_links(document) == ["c.md", "b.md#two", "#there"]


def missing_paths(text, folders):
    """Files that a document names in backticks and that are nowhere; NAME and the like stand for any."""
    named = re.findall(r"`([\w./-]+\.(?:py|pyx|c|h|inc|def|md|toml|svg))`", text)
    placeholder = r"[A-Z]{4,}(?<!README)(?<!CHANGELOG)(?<!CONTRIBUTING)(?<!LICENSE)"
    there = (name for name in named if not re.search(rf"\b(?:vec_)?{placeholder}\.", name))
    return [name for name in there if not any((folder / name).exists() for folder in folders)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_paths(path):
    assert missing_paths(path.read_text(), FOLDERS) == []


def test_missing_paths_are_noticed(tmp_path):
    (tmp_path / "a.py").touch()
    text = "`a.py` `simd/vec_NAME.h` `b.py` `kernels/FAMILY.inc` `README.md` `x.y` `a.py b`"
    assert missing_paths(text, [tmp_path]) == ["b.py", "README.md"]


def test_the_figure_is_a_figure():
    """Well-formed, small, and self-contained."""
    from xml.etree import ElementTree

    path = ROOT / "docs/figure.svg"
    root = ElementTree.fromstring(path.read_text())
    assert root.tag.endswith("svg") and path.stat().st_size < 16_000
    links = [value for item in root.iter() for key, value in item.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)


# ---- Equation numbers ---------------------------------------------------------------------------

NUMBER = r"\(([A-Z]{1,2})(\d+)\)"


def defined(page):
    """The numbers that have a row of their own in the page, in order."""
    return [letter + number for letter, number in re.findall(rf"^\| {NUMBER} \|", page, re.M)]


def cited(text):
    """The numbers in a text; (L1)-(L8) is all of them from L1 to L8."""
    found = {letter + number for letter, number in re.findall(NUMBER, text)}
    for first, start, last, end in re.findall(rf"{NUMBER}[-–]{NUMBER}", text):
        assert first == last and int(start) < int(end), f"({first}{start})-({last}{end}) is no range"
        found |= {f"{first}{n}" for n in range(int(start), int(end) + 1)}
    return found


def comments(text):
    """The comments of a C file."""
    return "\n".join(re.findall(r"/\*.*?\*/|//[^\n]*", text, re.S))


def group(name):
    """The letters of a number."""
    return name.rstrip("0123456789")


PAGE = (ROOT / "docs/equations.md").read_text()
ORACLE = "\n".join(path.read_text() for path in sorted((ROOT / "fastrnn/reference").glob("*.py")))
DIAGNOSTICS = "\n".join(path.read_text() for path in sorted((ROOT / "fastrnn/diagnostics").glob("*.py")))
ATTENTION = "\n".join((ROOT / "fastrnn/models" / name).read_text() for name in ("attention.py", "encoderdecoder.py"))
#: The groups that are one cell, or part of one: not functions, products, sequences, blocks, losses and diagnostics.
CELL_GROUPS = sorted({group(name) for name in defined(PAGE)} - {*"FEASB", "GR", "CT", "AS", "AT"})
KERNELS = {p.name: comments(p.read_text()) for p in sorted((ROOT / "fastrnn/_core/kernels").glob("*.inc"))}


def test_numbers_are_defined_once_and_in_order():
    """In each group forward from 1, backward from 11, parameter gradients from 21, without gaps."""
    numbers = defined(PAGE)
    assert len(numbers) == len(set(numbers)) > 100
    for letter in sorted({group(name) for name in numbers} - {"B"}):  # B is several small groups in one
        there = sorted(int(name[len(letter):]) for name in numbers if group(name) == letter)
        for ten in (0, 10, 20):
            part = [n - ten for n in there if ten < n <= ten + 10]
            # (A12) is the backward of (A2): its numbers are all there, but not in order
            assert part == list(range(1, len(part) + 1)), f"{letter}: {there}"


@pytest.mark.parametrize("name", ["oracle", "page", "diagnostics", "attention", *KERNELS])
def test_cited_numbers_exist(name):
    text = {"oracle": ORACLE, "page": PAGE, "diagnostics": DIAGNOSTICS, "attention": ATTENTION, **KERNELS}[name]
    assert cited(text) - set(defined(PAGE)) == set()


def test_every_number_of_the_diagnostics_is_cited():
    assert {name for name in defined(PAGE) if group(name) == "GR"} - cited(DIAGNOSTICS) == set()


def test_every_number_of_attention_is_cited():
    assert {name for name in defined(PAGE) if group(name) == "AT"} - cited(ATTENTION) == set()


@pytest.mark.parametrize("letter", CELL_GROUPS)
def test_every_number_of_a_cell_is_cited(letter):
    """By the oracle, and by the kernels of its family, where there are kernels."""
    numbers = {name for name in defined(PAGE) if group(name) == letter}
    assert len(numbers) >= 3
    assert numbers - cited(ORACLE) == set()
    by_kernels = cited("\n".join(KERNELS.values()))
    assert not by_kernels & numbers or numbers - by_kernels == set()


def functions(text):
    """Name -> text of every function of a C file."""
    pattern = r"^(?:static|FR_INLINE)[\w *]* \*?(\w+)\([^)]*\)(?:\n\{(?:.*\n)*?\}| \{.*$)"
    return {m[1]: m[0] for m in re.finditer(pattern, text, re.M)}


def with_helpers(text, known):
    """A function's text and those of all functions of its file that it calls, and so on."""
    found, left = {}, [text]
    while left:
        called = [name for name in re.findall(r"\b(\w+)\(", left.pop()) if name in known and name not in found]
        found |= {name: known[name] for name in called}
        left += [known[name] for name in called]
    return "\n".join([text, *found.values()])


def kernels(cell, text):
    """The text of all forward, and of all backward kernels of a cell; "" for a file that has none of them."""
    known, ways = functions(text), []
    made = re.search(rf"^(\w+)\({cell}, ", text, re.M)  # by a macro, which has one after the other
    macro = made and re.search(rf"^#define {made[1]}\((?:.*\\\n)+.*$", text, re.M)
    parts = macro[0].partition("##_backward") if macro else ("", "", "")
    for way, part in zip(("forward", "backward"), parts[::2]):
        own = [body for name, body in known.items() if re.fullmatch(rf"{cell}_{way}\d?", name)]
        ways.append("\n".join(with_helpers(body, known) for body in [*own, part] if body))
    return ways


def test_every_cell_is_cited():
    """Its kernels, and what they call in their file, cite equations: forward ones forward, backward ones backward."""
    table = (ROOT / "fastrnn/_core/kernels/cells.def").read_text()
    cells = re.findall(r"^CELL\d\((\w+),", table, re.M)
    assert len(cells) == table.count("\nCELL") > 30
    files = [p.read_text() for p in sorted((ROOT / "fastrnn/_core/kernels").glob("*.inc"))]
    for cell in cells:
        ((forward, backward),) = [both for both in (kernels(cell, text) for text in files) if all(both)]
        for text, least in ((forward, 0), (backward, 10)):
            numbers = {int(name[len(group(name)):]) for name in cited(comments(text))}
            assert any(least < n < least + 10 for n in numbers), (cell, least)


def test_kernels_are_found_by_cell():
    text = """\
FR_INLINE vec helper(vec x) { return x; } /* (L2) */
static void a_forward0(const FrTile *t)
{
    { helper(1); }
}
static void a_forward1(const FrTile *t) { 1; }
#define MAKE(name) \\
    void name##_forward() { helper(2); } \\
    void name##_backward() { 3; }
MAKE(b, 1)
"""
    forward, backward = kernels("a", text)
    assert "helper(1)" in forward and "(L2)" in forward and "{ 1; }" in forward and backward == ""
    forward, backward = kernels("b", text)
    assert "helper(2)" in forward and "(L2)" in forward and "3;" in backward and "(L2)" not in backward
    assert kernels("c", text) == ["", ""]


def test_wrong_numbers_are_noticed():
    assert cited("a (L1) b (P2)-(P4), (T, B) (1) f(X) (J1)–(J2)") == {"L1", "P2", "P3", "P4", "J1", "J2"}
    assert comments("x = SAVED(A1); /* (L1)\n (L2) */ y // (L3)\n(L4)") == "/* (L1)\n (L2) */\n// (L3)"
    with pytest.raises(AssertionError, match="no range"):
        cited("(L8)-(L1)")


# ---- Manners ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_documents_keep_to_the_subject(path):
    """No path of one machine; no line that is not finished."""
    wrong = re.findall(r"(?:/home/|/root/|/tmp/|/work/)\S*|\bTODO\b|\bFIXME\b|\bTBD\b", path.read_text())
    assert wrong == []


def test_the_changelog_names_the_version():
    assert f"\n## {fr.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_map_of_the_engine_names_every_file():
    core = ROOT / "fastrnn/_core"
    text = (core / "__init__.py").read_text()
    files = {p.name for p in core.iterdir() if p.suffix in (".c", ".pyx", ".pxi", ".pxd", ".py")}
    folders = {f"{p.name}/" for p in core.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert not [name for name in files - {"__init__.py"} | folders if name not in text]
