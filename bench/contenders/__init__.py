"""The libraries that are compared, each in a file of its own; a class is a way to use one."""

from .jaxscan import Jax, JaxUnrolled
from .ort import Ort, OrtBinding
from .own import Fastrnn
from .plain import Numpy
from .torchnn import Torch, TorchCell, TorchNoLengths
from .vino import OpenVino

CONTENDERS = {
    c.name: c
    for c in (Fastrnn, Torch, TorchCell, TorchNoLengths, Ort, OrtBinding, OpenVino, Jax, JaxUnrolled, Numpy)
}


def installed():
    """Names of the contenders that can be imported here."""
    return [name for name, c in CONTENDERS.items() if c.installed()]


def running(names, case, threads):
    """Those of the named contenders that can run a case."""
    able = [name for name in names if case.cell in CONTENDERS[name].cells]
    return [name for name in able if CONTENDERS[name].can_run(case, threads)]
