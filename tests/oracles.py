"""The oracle with another text: copies of the package ``fastrnn.reference`` in which modules are changed."""

import importlib
import importlib.abc
import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

from fastrnn import reference

#: Module -> its text; the package's own is ``__init__``.
TEXTS = {path.stem: path.read_text() for path in sorted(Path(reference.__file__).parent.glob("*.py"))}


class _Texts(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a package from texts."""

    def __init__(self, name, texts):
        self.name, self.texts = name, texts

    def _module(self, name):
        return "__init__" if name == self.name else name.removeprefix(f"{self.name}.")

    def find_spec(self, name, path=None, target=None):
        module = self._module(name)
        if module in self.texts:
            return importlib.util.spec_from_loader(name, self, is_package=module == "__init__")
        return None

    def exec_module(self, module):
        text = self.texts[self._module(module.__name__)]
        exec(compile(text, module.__name__, "exec"), module.__dict__)


def oracle_of(name, changed):
    """The oracle as a package ``name`` of its own; ``changed`` maps modules to their new texts."""
    for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[loaded]
    finder = _Texts(name, TEXTS | changed)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


class Fault(NamedTuple):
    """A text of one of the oracle's modules, what replaces it, and what shows it: cells, or options of a layer."""

    module: str
    old: str
    new: str
    shown_by: object


def broken(fault):
    """The oracle with this fault, whose text must be there exactly once."""
    text = TEXTS[fault.module]
    assert text.count(fault.old) == 1, "the text to break must be there exactly once"
    return oracle_of("broken_oracle", {fault.module: text.replace(fault.old, fault.new)})


def check_the_comparison(fault, complaints):
    """With this fault, ``complaints(oracle, cell)`` must say something, whatever the cell."""
    oracle = broken(fault)
    for cell in fault.shown_by:
        assert complaints(oracle, cell), f"nothing in {cell} sees it"
