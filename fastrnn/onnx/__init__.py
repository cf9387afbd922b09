"""ONNX: files of it run by this engine, and modules written as such files.

    load        a file as a function of named inputs
    export      a module as a file of standard operators
    to_module   the module that a file is, if it is one module after the other
    backend     an ``onnx.backend.base.Backend``, for tools that drive one

    _file       bytes to graphs, nodes, arrays         _model      graphs that can be run
    _recurrent  nodes RNN, GRU, LSTM to layers         _operators  a table of what is around them, in NumPy:
    _control    nodes If, Loop                                     _arithmetic, _shapes
    _export, _chain, _backend: export, to_module, backend

docs/interop.md has the gate orders and what differs from other runtimes. The package ``onnx`` is imported when something
needs it: ``pip install 'fastrnn[onnx]'``.
"""

from ._chain import to_module
from ._export import export
from ._model import Model, load

__all__ = ["Model", "backend", "export", "load", "to_module"]


def __getattr__(name):
    if name == "backend":
        from ._file import library

        library()
        from ._backend import Backend

        return Backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
