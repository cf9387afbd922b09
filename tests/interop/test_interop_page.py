"""The examples of ``docs/interop.md`` that need another library."""

import os

import pytest
from test_docs import ROOT, fenced

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = pytest.mark.interop

PAGE = ROOT / "docs/interop.md"
LIBRARIES = ("torch", "onnx", "keras")
EXAMPLES = list(fenced(PAGE.read_text(), "py"))


@pytest.mark.parametrize("line, code", EXAMPLES, ids=lambda value: f"line {value}" if isinstance(value, int) else "")
def test_example(line, code, tmp_path, monkeypatch):
    for library in LIBRARIES:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), {"__name__": "__main__"})  # libraries may warn


def test_every_library_has_an_example():
    for words in ("import torch", "fr.onnx", "import keras"):
        assert any(words in code for _, code in EXAMPLES), words
