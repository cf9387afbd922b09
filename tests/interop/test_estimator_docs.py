"""The examples of the estimators, in their docstrings and in ``docs/models.md``, which need scikit-learn."""

import importlib
import pkgutil

import pytest
from test_docs import ROOT, WITH_EXTRAS, doctests_of, fenced, run_docstring, run_example

pytest.importorskip("sklearn")

pytestmark = pytest.mark.interop

PACKAGE = importlib.import_module("fastrnn.models.estimators")
MODULES = [PACKAGE, *(importlib.import_module(f"{PACKAGE.__name__}.{m.name}") for m in pkgutil.iter_modules(PACKAGE.__path__))]
EXAMPLES = [(path, line, code) for path in WITH_EXTRAS for line, code in fenced((ROOT / path).read_text(), "python")]


@pytest.mark.parametrize("path, line, code", EXAMPLES)
def test_example(path, line, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_example(ROOT / path, line, code)


@pytest.mark.parametrize("test", doctests_of(MODULES))
def test_docstring(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_docstring(test)


def test_every_estimator_has_an_example():
    named = {test.values[0].name.rpartition(".")[2] for test in doctests_of(MODULES)}
    assert {"CTCRecognizer", "NARXForecaster", "Seq2Seq", "SequenceClassifier", "SequenceRegressor", "SequenceTagger"} <= named
    assert len(EXAMPLES) == 3
