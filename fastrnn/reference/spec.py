"""What a layer is (``Spec``), what a cell is (``Cell``), and what a cell sees of its place (``Local``)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, NamedTuple

from .functions import clipped, function_of


@dataclass(frozen=True)
class Spec:
    """What a recurrent layer is; the fields are the constructor arguments of the layers."""

    kind: str  # a name in ``cells.KINDS``
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    nonlinearity: str | None = None  # RNN (None: tanh) and IndRNN (None: relu)
    alpha: float | None = None  # of the nonlinearity; of the highway of an SRU
    beta: float | None = None
    residual: bool = False
    activations: tuple | None = None  # LSTM f, g, h; GRU f, g
    clip: float | None = None
    layer_norm: bool = False
    peephole: bool = False
    coupled: bool = False
    proj_size: int = 0
    reset_after: bool = True
    forget: str = "sigmoid"  # or "exp": SLSTM
    zoneout: float | tuple | None = None  # of h, of an LSTM (h, c)
    merge: str = "concat"  # "sum", "mean", "mul"
    skip: str = "none"  # "input", "output", "residual"
    learn_state: bool = False

    @property
    def directions(self):
        """D: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self):
        """Width of h: P with a projection, otherwise H."""
        return self.proj_size or self.hidden_size

    @property
    def layer_output_size(self):
        """Width of what a layer puts out (H1)."""
        return self.output_size * (self.directions if self.merge == "concat" else 1)

    @property
    def total_output_size(self):
        """Width of y (H3)."""
        return self.layer_output_size * (self.num_layers if self.skip == "output" else 1)

    def layer_input_size(self, layer):
        """Width of what a layer reads (H2)."""
        if layer == 0:
            return self.input_size
        return self.layer_output_size + (self.input_size if self.skip == "input" else 0)

    def is_residual(self, layer):
        """(H4) Is what a layer reads added to its output?"""
        return self.skip == "residual" and self.layer_input_size(layer) == self.layer_output_size


@lru_cache
def functions_of(spec):
    """The functions that a layer may choose: f, g, h of an LSTM, f, g of a GRU, one of an RNN or IndRNN."""
    if spec.kind in ("lstm", "gru", "multiplicative_lstm"):
        names = spec.activations or ("sigmoid", "tanh", "tanh")[:2 if spec.kind == "gru" else 3]
        f, g, *h = (function_of(entry) for entry in names)
        return (clipped(f, spec.clip), clipped(g, spec.clip), *h)
    name = spec.nonlinearity or ("relu" if spec.kind == "indrnn" else "tanh")
    return (clipped(function_of((name, spec.alpha, spec.beta)), spec.clip),)


class Local(NamedTuple):
    """What a cell sees of its place in the stack."""

    spec: Spec
    p: dict  # parameters without suffix
    mask: Any = 1.0  # (D3), (D13) (B, H or P), times h wherever a product sees it
    zoneout: Any = None  # (D4) (D5) None, or for each state (T, B, .)

    @property
    def functions(self):
        """Those that the layer may choose."""
        return functions_of(self.spec)

    def of(self, alive):
        """The same for some of the sequences."""
        return self._replace(mask=self.mask[alive])


class Cell(NamedTuple):
    """A row of the table of cells.

    ``forward(k, x, state)`` gives ``(h, *other states), saved``, ``backward(k, saved, (dh, ...))`` gives
    ``dx, dstate, grads``, with k a ``Local``. Where h is no state it still comes first.
    """

    forward: Callable
    backward: Callable
    shapes: Callable  # (spec, I) -> names without suffix and shapes, in the contract's order
    states: tuple = ("h",)
    kinks: Callable | None = None  # (spec, saved) -> pairs (function, what it was applied to)
    empty: dict = {}  # scales, held in backward: name -> what is there where none is given


def shapes(spec, I, W=0, R=0, b=0, between=None, after=None):
    """Blocks of H rows in ``weight_ih``, ``weight_hh`` and ``bias_ih``, others between and after -> names, shapes."""
    H = spec.hidden_size
    sizes = {"weight_ih": (W * H, I)}
    if R:
        sizes["weight_hh"] = (R * H, H)
    sizes |= between or {}
    if spec.bias:
        sizes["bias_ih"] = (b * H,)
    return sizes | (after or {})


def torch_shapes(spec, I, G):
    """The same for the cells of torch, which have two biases; with layer norm, projection and peepholes."""
    H, P = spec.hidden_size, spec.output_size
    sizes = {"weight_ih": (G * H, I), "weight_hh": (G * H, P)}
    if spec.bias:
        sizes |= {"bias_ih": (G * H,), "bias_hh": (G * H,)}
    if spec.layer_norm:
        sizes |= {f"{name}_ln_{side}": (G * H,) for side in ("ih", "hh") for name in ("weight", "bias")}
        if spec.kind == "lstm":
            sizes |= {"weight_ln_c": (H,), "bias_ln_c": (H,)}
    if spec.proj_size:
        sizes["weight_hr"] = (P, H)
    if spec.peephole:
        sizes |= {name: (H,) for name in ("weight_ci", "weight_cf", "weight_co")
                  if not (spec.coupled and name == "weight_ci")}
    return sizes
