"""``fastrnn.interop``, ``torch`` and ``onnx`` without these libraries, and a row of an ``Embedding`` that is not trained."""

import sys

import numpy as np
import pytest
from absent import said_without
from tolerance import assert_same_bits

import fastrnn as fr

ABSENT = ("torch", "onnx")

def assert_said(text, calls):
    """Each of these calls raises an ImportError that says so, where the libraries are absent."""
    for call in calls:
        code = f"__file__ = {__file__!r}\ntry:\n    {call}\nexcept ImportError as error:\n    print(error)\n"
        assert said_without(ABSENT, code) == text


def test_without_pytorch():
    """Everything imports; what needs PyTorch says so, and how to get it."""
    said_without(ABSENT, "import fastrnn.interop, fastrnn.interop.torch, fastrnn.torch\nassert not hasattr(fr.torch, 'Conv1d')\n")
    calls = ("fr.torch.LSTM(2, 3)", "fr.torch.accelerate(1)", "fr.interop.torch.from_module(1)",
             "fr.interop.torch.to_module(fr.GRU(2, 3))")  # fmt: skip
    assert_said("this needs PyTorch, which is not installed: pip install 'fastrnn[torch]'\n", calls)
    code = "try:\n    from fastrnn.torch import GRU\nexcept ImportError as error:\n    print(error)\n"
    assert "pip install 'fastrnn[torch]'" in said_without(ABSENT, code)


def test_without_onnx():
    """Everything imports; what needs the package says so."""
    said_without(ABSENT, "import fastrnn.onnx\nassert not hasattr(fr.onnx, 'run')\n")
    calls = ("fr.onnx.load(__file__)", "fr.onnx.to_module(__file__)", "fr.onnx.export(fr.GRU(2, 3), 'x.onnx')",
             "fr.onnx.backend")  # fmt: skip
    assert_said("this needs ONNX, which is not installed: pip install 'fastrnn[onnx]'\n", calls)


def test_a_broken_library_is_not_a_missing_one(tmp_path):
    from fastrnn.interop._needed import needed

    with pytest.raises(ImportError, match=r"this needs Nothing, .*'fastrnn\[extra\]'"):
        needed("no_such_library", "extra", "Nothing")
    (tmp_path / "broken_library.py").write_text("import no_such_part\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ModuleNotFoundError, match="no_such_part"):
            needed("broken_library", "extra", "Broken")
    finally:
        sys.path.remove(str(tmp_path))


# ---- Embedding(padding_idx) -----------------------------------------------------------------------


@pytest.mark.parametrize("folded", [False, True])
def test_the_row_of_padding_is_not_trained(folded):
    """Alone, and folded into the layer behind it; the other rows are as without it."""
    codes = np.random.default_rng(0).integers(0, 5, (40, 2))
    grads = []
    for padding_idx in (None, 2):
        table = fr.Embedding(5, 3, padding_idx, dtype="float64", rng=0)
        table.parameters["weight"] = np.arange(15.0).reshape(5, 3) / 15
        model = fr.Sequential(table, fr.GRU(3, 4, dtype="float64", rng=1)) if folded else table
        y, pullback = model.vjp(codes)
        pullback(np.cos(y))
        grads.append(table.grads["weight"].copy())
    plain, padded = grads
    assert plain[2].all() and not padded[2].any()
    plain[2] = 0
    assert_same_bits("weight", padded, plain)


def test_padding_begins_as_zeros_and_is_saved(tmp_path):
    table = fr.Embedding(4, 3, 1, rng=0)
    assert not table.parameters["weight"][1].any() and table.parameters["weight"][0].all()
    assert_same_bits("row", table.parameters["weight"][2], fr.Embedding(4, 3, rng=0).parameters["weight"][2])
    fr.save(tmp_path / "x", table)
    assert repr(fr.load(tmp_path / "x")) == repr(table) and "padding_idx=1" in repr(table)
    assert "padding_idx" not in repr(fr.Embedding(4, 3))


@pytest.mark.parametrize("value, error", [(4, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_bad_row_of_padding(value, error):
    with pytest.raises(error, match="padding_idx: "):
        fr.Embedding(4, 3, value)
