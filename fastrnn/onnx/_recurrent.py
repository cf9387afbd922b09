"""The operators RNN, GRU and LSTM, computed by layers of this engine.

The standard has one operator for either or both directions; here a layer of one direction, run on turned sequences, is the
reverse alone. Its gates have another order, and ``input_forget`` couples the other way round: f = 1 - i there, i = 1 - f
here. A sigmoid of the negated sum is one minus the sigmoid, so a coupled layer gets the negated weights of i as those of f.
"""

from dataclasses import dataclass

import numpy as np

from .. import _validate
from ..interop._filled import filled
from ..layers import GRU, LSTM, RNN
from ._shapes import reverse_sequence

#: Function -> its name here, and how many of alpha and beta it takes.
FUNCTIONS = {
    "Relu": ("relu", 0), "Tanh": ("tanh", 0), "Sigmoid": ("sigmoid", 0), "Affine": ("affine", 2),
    "LeakyRelu": ("leaky_relu", 1), "ThresholdedRelu": ("thresholded_relu", 1), "ScaledTanh": ("scaled_tanh", 2),
    "HardSigmoid": ("hard_sigmoid", 2), "Elu": ("elu", 1), "Softsign": ("softsign", 0), "Softplus": ("softplus", 0),
}  # fmt: skip
_BY_LETTERS = {name.lower(): name for name in FUNCTIONS}  # runtimes do not look at the case
#: Operator -> the functions of one direction.
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
LAYERS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
#: Operator -> which of its blocks each of our gates is, and with which sign: ours are r, z, n; i, f, g, o; coupled f, g, o,
#: there z, r, h and i, o, f, c.
GATES = {"RNN": ((0, 1),), "GRU": ((1, 1), (0, 1), (2, 1)), "LSTM": ((0, 1), (2, 1), (3, 1), (1, 1)),
         "coupled": ((0, -1), (3, 1), (1, 1))}  # fmt: skip
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}
#: Our peepholes, and the blocks of P, which has i, o, f.
PEEPHOLES = {"LSTM": {"weight_ci": (0, 1), "weight_cf": (2, 1), "weight_co": (1, 1)},
             "coupled": {"weight_cf": (0, -1), "weight_co": (1, 1)}}  # fmt: skip
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_COMMON = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"}


@dataclass(frozen=True)
class Row:
    keywords: set  # attributes
    newest: int = 22  # the newest version of the operator that is known here


ROWS = {"RNN": Row(_COMMON), "GRU": Row(_COMMON | {"linear_before_reset"}), "LSTM": Row(_COMMON | {"input_forget"})}


class Recurrent:
    """A node. Its weights are packed once if they are there from the start, otherwise at every call."""

    def __init__(self, operator, attributes):
        self.operator = operator
        self.directions = _DIRECTIONS.get(attributes.get("direction", "forward"))
        if self.directions is None:
            _validate.refuse(f"its direction is {attributes['direction']!r:.60}, not one of {', '.join(_DIRECTIONS)}")
        self.batch_first = self._flag(attributes, "layout")
        self.hidden_size = attributes.get("hidden_size")
        self.clip = attributes.get("clip")
        if self.clip is not None and not 0 < self.clip < np.inf:
            _validate.refuse(f"its clip is {self.clip}, not a positive number")
        self.reset_after = attributes.get("linear_before_reset", 0) != 0
        self.coupled = self._flag(attributes, "input_forget")
        self.functions = self._functions(attributes)
        self.shifts = [self._shift(functions) for functions in self.functions]
        self.layers = None

    @staticmethod
    def _flag(attributes, name):
        value = attributes.get(name, 0)
        if value not in (0, 1):
            _validate.refuse(f"its {name} is {value}, not 0 or 1")
        return value == 1

    def _functions(self, attributes):
        """For each direction its activations as our layers take them: ``(name, alpha, beta)``, shorter without numbers."""
        usual, numbers = DEFAULTS[self.operator], [list(attributes.get(f"activation_{x}", ())) for x in ("alpha", "beta")]
        names = attributes.get("activations") or usual * len(self.directions)
        if self.operator == "RNN" and names == ("Tanh", "Tanh"):  # the default of the standard, for any direction
            names = usual * len(self.directions)
        if len(names) != len(usual) * len(self.directions):
            _validate.refuse(f"it has {len(names)} activations, not {len(usual)} for each direction")
        entries = []
        for name in names:
            if name.lower() not in _BY_LETTERS:
                _validate.refuse(f"its activation {name!r:.60} is not one of {', '.join(FUNCTIONS)}")
            ours, count = FUNCTIONS[_BY_LETTERS[name.lower()]]
            own = [queue.pop(0) if queue else None for queue in numbers[:count]]
            entries.append(ours if set(own) <= {None} else (ours, *own))
        if any(numbers):
            _validate.refuse("it has more of activation_alpha or activation_beta than its activations take")
        return [tuple(entries[i : i + len(usual)]) for i in range(0, len(entries), len(usual))]

    def _shift(self, functions):
        """What a coupled layer adds to the sum of its gate o, having made the gates' beta that of f.

        One minus hard_sigmoid(a; alpha, beta) is hard_sigmoid(-a; alpha, 1 - beta). The layer has one function for both
        gates, so o gets its own beta through its bias. A clip would cut that off, unless both functions are flat beyond it.
        """
        name, alpha, beta = (_validate.activation(functions[0], "activations"))
        if not self.coupled or name == "sigmoid":
            return 0.0
        if name != "hard_sigmoid":
            _validate.refuse(f"input_forget with the gate activation {name}: only Sigmoid and HardSigmoid can be coupled")
        clipped = self.clip is not None and abs(alpha) * self.clip < max(beta, 1 - beta)
        if beta != 0.5 and (clipped or alpha == 0):
            _validate.refuse(f"input_forget with HardSigmoid of alpha {alpha:.6g} and beta {beta:.6g}, and the clip {self.clip}: "
                             "only beta 0.5 can be coupled")  # fmt: skip
        return (2 * beta - 1) / alpha if beta != 0.5 else 0.0

    # -- layers -------------------------------------------------------------------------------

    def pack(self, W, R, B=None, P=None):
        """Make the layers once, of weights that stay."""
        self.layers = self._made(W, R, B, P)

    def _made(self, W, R, B, P):
        """``[(layer, whether it runs in reverse), ...]``: one of both directions if these have the same functions."""
        self._check(W, R, B, P)
        parameters = [self._parameters(*(None if a is None else a[d] for a in (W, R, B, P)), self.shifts[d])
                      for d in range(len(self.directions))]  # fmt: skip
        if self.directions == (False, True) and self.functions[0] == self.functions[1]:
            both = parameters[0] | {f"{name}_reverse": array for name, array in parameters[1].items()}
            return [(self._layer(both, 0, True), False)]
        return [(self._layer(own, d, False), self.directions[d]) for d, own in enumerate(parameters)]

    def _check(self, W, R, B, P):
        if W.ndim != 3 or R.ndim != 3 or W.dtype.name not in ("float32", "float64"):
            _validate.refuse(f"W and R are of {W.dtype}, of {W.ndim} and {R.ndim} axes, not of float or double, of 3")
        D, blocks, H = len(self.directions), BLOCKS[self.operator], R.shape[2]
        if self.hidden_size not in (None, H):
            _validate.refuse(f"its hidden_size is {self.hidden_size}, but R has {H} columns")
        shapes = {"W": (W, (D, blocks * H, W.shape[2])), "R": (R, (D, blocks * H, H)), "B": (B, (D, 2 * blocks * H)),
                  "P": (P, (D, 3 * H))}  # fmt: skip
        for name, (array, shape) in shapes.items():
            if array is not None and (array.shape != shape or array.dtype != W.dtype):
                _validate.refuse(f"{name} is of {array.dtype} and {array.shape}, not of {W.dtype} and {shape}")

    def _parameters(self, W, R, B, P, shift):
        """One direction's, by their names in a layer of one direction."""
        kind = "coupled" if self.coupled else self.operator
        H = R.shape[1]

        def ordered(array):
            blocks = array.reshape(-1, H, *array.shape[1:])
            return np.concatenate([blocks[i] if sign > 0 else -blocks[i] for i, sign in GATES[kind]])

        parameters = {"weight_ih_l0": ordered(W), "weight_hh_l0": ordered(R)}
        if B is not None or shift:
            halves = np.zeros((2, BLOCKS[self.operator] * H), W.dtype) if B is None else B.reshape(2, -1)
            parameters["bias_ih_l0"], parameters["bias_hh_l0"] = ordered(halves[0]), ordered(halves[1])
            if shift:
                parameters["bias_ih_l0"][-H:] += W.dtype.type(shift)  # the gate o is the last
        if P is not None:
            for name, (i, sign) in PEEPHOLES[kind].items():
                parameters[f"{name}_l0"] = P[i * H : (i + 1) * H] * W.dtype.type(sign)
        return parameters

    def _layer(self, parameters, d, both):
        W, R = parameters["weight_ih_l0"], parameters["weight_hh_l0"]
        functions = self.functions[d]
        if self.coupled and self.shifts[d]:
            name, alpha, beta = _validate.activation(functions[0], "activations")
            functions = ((name, alpha, 1 - beta), *functions[1:])
        options = {"activations": functions}
        if self.operator == "RNN":
            entry = functions[0] if isinstance(functions[0], tuple) else (functions[0],)
            options = dict(zip(("nonlinearity", "alpha", "beta"), entry))
        if self.operator == "GRU":
            options["reset_after"] = self.reset_after
        if self.operator == "LSTM":
            options |= {"coupled": self.coupled, "peephole": "weight_co_l0" in parameters}
        return filled(lambda: LAYERS[self.operator](
            W.shape[1], R.shape[1], bias="bias_ih_l0" in parameters, batch_first=self.batch_first, bidirectional=both,
            clip=self.clip, dtype=W.dtype.name, **options,
        ), parameters)  # fmt: skip

    # -- a call -------------------------------------------------------------------------------

    def __call__(self, X, W, R, B=None, lengths=None, h=None, c=None, P=None):
        """``Y, Y_h`` and of an LSTM ``Y_c``, in the standard's layout. Packed weights are not looked at."""
        layers = self.layers or self._made(W, R, B, P)
        dtype = layers[0][0].dtype
        if X.ndim != 3 or any(array is not None and array.dtype != dtype for array in (X, h, c)):
            _validate.refuse(f"X and its states should be of {dtype}, X of 3 axes; X is of {X.dtype}, of {X.ndim}")
        states = [None if s is None else s.transpose(1, 0, 2) if self.batch_first else s for s in (h, c)]
        outputs = []
        for layer, reverse in layers:
            own = states if len(layers) == 1 else [None if s is None else s[len(outputs)][None] for s in states]
            outputs.append(self._run(layer, reverse, X, lengths, own))
        Y, *finals = (parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
                      for parts, axis in zip(zip(*outputs), (2, 0, 0)))  # fmt: skip
        D = len(self.directions)
        Y = Y.reshape(*Y.shape[:2], D, Y.shape[2] // D)
        if self.batch_first:
            return Y, *(final.transpose(1, 0, 2) for final in finals)
        return Y.transpose(0, 2, 1, 3), *finals

    def _run(self, layer, reverse, X, lengths, states):
        """``y`` and final states of one layer."""
        x = _turned(X, lengths, self.batch_first) if reverse else X
        state = tuple(states) if self.operator == "LSTM" else states[0]
        y, final = layer(x, state, lengths)
        y = _turned(y, lengths, self.batch_first) if reverse else y
        return y, *(final if self.operator == "LSTM" else (final,))


def _turned(x, lengths, batch_first):
    """Each sequence from its last step to its first; what lies past its length stays."""
    time = 1 if batch_first else 0
    return np.flip(x, time) if lengths is None else reverse_sequence(x, lengths, batch_axis=1 - time, time_axis=time)
