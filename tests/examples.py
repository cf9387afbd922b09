"""The examples, for the tests."""

import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name):
    """The module ``examples/NAME.py``; its ``main`` is not run."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(path):
    """Whether a file is a picture of reasonable size."""
    return path.read_bytes().startswith(b"\x89PNG") and 2_000 < path.stat().st_size < 250_000
