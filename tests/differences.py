"""Gradients of the oracle against differences of its forward pass: the cells, a problem, the comparison."""

import numpy as np
from tolerance import assert_close

from fastrnn import reference
from fastrnn.reference import Spec

#: No kink may lie between the two points of a difference.
KINK_MARGIN = 1e-3

#: Every function with and without its own numbers; clip is added to some.
FUNCTIONS = [
    "tanh", "relu", "sigmoid", "identity", "softsign", "softplus", "hard_tanh", "elu", ("elu", 0.7),
    "leaky_relu", ("leaky_relu", -0.3), "hard_sigmoid", ("hard_sigmoid", 0.6, 0.4), ("hard_sigmoid", -0.5, 0.3),
    "affine", ("affine", 0.8, -0.2), "scaled_tanh", ("scaled_tanh", 1.3, 0.7), "thresholded_relu",
    ("thresholded_relu", 0.2), ("thresholded_relu", -0.3),
]  # fmt: skip


def rnn_of(function):
    name, *numbers = (function,) if isinstance(function, str) else function
    return {"nonlinearity": name, **dict(zip(("alpha", "beta"), numbers))}


#: Name -> (kind, options), the sizes aside.
CELLS = {
    **{f"rnn {function}": ("rnn", rnn_of(function)) for function in FUNCTIONS},
    "rnn residual": ("rnn", {"residual": True}),
    "rnn residual relu": ("rnn", {"residual": True, "nonlinearity": "relu", "clip": 0.6}),
    "rnn clip": ("rnn", {"clip": 0.5}),
    "rnn norm": ("rnn", {"layer_norm": True}),
    "rnn norm residual": ("rnn", {"layer_norm": True, "residual": True, "nonlinearity": "softsign"}),
    "lstm": ("lstm", {}),
    "lstm functions": ("lstm", {"activations": ("hard_sigmoid", ("elu", 0.7), "softsign")}),
    "lstm clip": ("lstm", {"clip": 0.3}),
    "lstm peephole": ("lstm", {"peephole": True, "proj_size": 2}),
    "lstm peephole clip": ("lstm", {"peephole": True, "clip": 0.4, "activations": ("softplus", "sigmoid", "elu")}),
    "lstm norm": ("lstm", {"layer_norm": True}),
    "lstm norm functions": ("lstm", {"layer_norm": True, "activations": ("softsign", "sigmoid", ("affine", 2, 1))}),
    "coupled": ("lstm", {"coupled": True, "peephole": True}),
    "coupled functions": ("lstm", {"coupled": True, "clip": 0.7, "activations": ("softsign", "elu", "softplus")}),
    "gru": ("gru", {}),
    "gru functions": ("gru", {"activations": (("hard_sigmoid", 0.3, 0.4), ("scaled_tanh", 1.2, 0.8))}),
    "gru clip": ("gru", {"clip": 0.3}),
    "gru norm": ("gru", {"layer_norm": True}),
    "cho": ("gru", {"reset_after": False}),
    "cho functions": ("gru", {"reset_after": False, "clip": 0.5, "activations": ("softplus", "leaky_relu")}),
    "cho norm": ("gru", {"reset_after": False, "layer_norm": True}),
    **{kind: (kind, {}) for kind in ("mgu", "mut1", "mut2", "mut3")},
    "indrnn": ("indrnn", {}),
    "indrnn elu": ("indrnn", {"nonlinearity": "elu", "alpha": 0.7}),
    **{kind: (kind, {}) for kind in ("fastrnn", "fastgrnn", "multiplicative_lstm")},
    "sru": ("sru", {}),
    "sru highway": ("sru", {"alpha": 1.7, "input_size": 3, "bidirectional": False}),
    **{kind: (kind, {}) for kind in ("min_gru", "min_lstm")},
    "slstm": ("slstm", {}),
    "slstm exp": ("slstm", {"forget": "exp"}),
}  # fmt: skip
#: Cells whose input is as wide as their output, so layers above the first need one direction.
SQUARE = ("mut1", "mut2")


class Problem:
    """Two directions, ragged lengths, of a seed that keeps clear of kinks; the objective and its gradient.

    ``dropout`` and ``noise`` draw masks; without ``given`` there is no initial state.
    """

    T, B, lengths = 3, 2, (3, 1)

    def __init__(self, kind, dropout=False, noise=False, given=True, **options):
        sizes = {"input_size": 3 if kind in SQUARE else 2, "hidden_size": 3, "bidirectional": True}
        self.spec = Spec(kind, **(sizes | options))
        for seed in range(2000):
            self.draw(np.random.default_rng(seed), dropout, noise, given)
            if reference.kink_margin(self.spec, self.parameters, self.run()[2]) > KINK_MARGIN:
                return
        raise AssertionError("no seed keeps clear of the kinks")

    def draw(self, rng, dropout, noise, given):
        spec, T, B = self.spec, self.T, self.B
        self.parameters = reference.random_parameters(spec, rng, 0.8)
        self.x = rng.standard_normal((T, B, spec.input_size))
        self.state = parts(reference.random_state(spec, rng, B)) if given else None
        self.masks = [mask(rng, T, B, spec.layer_output_size) for _ in range(spec.num_layers - 1)] if dropout else None
        self.noise = random_noise(spec, rng, T, B) if noise else reference.Noise()
        y, final, tape = self.run()
        self.dy = rng.standard_normal(y.shape)
        self.dstate = tuple(rng.standard_normal(part.shape) for part in parts(final))
        self.dc_seq = rng.standard_normal(tape.c_seq.shape) if "c" in reference.state_names(spec) else None
        if spec.kind == "slstm":  # its gradients are those of losses on h
            self.dstate = (self.dstate[0], *map(np.zeros_like, self.dstate[1:]))
            self.dc_seq = None

    def run(self):
        state = None if self.state is None else reference.join_state(self.spec, self.state)
        return reference.forward(
            self.spec, self.parameters, self.x, state, self.lengths, self.masks, self.noise
        )

    def value(self):
        """<y, dy> + <final state, dstate> + <c_seq, dc_seq>."""
        y, final, tape = self.run()
        pairs = [(y, self.dy), *zip(parts(final), self.dstate, strict=True)]
        if self.dc_seq is not None:
            pairs.append((tape.c_seq, self.dc_seq))
        return sum(np.sum(a * da) for a, da in pairs)

    def gradients(self):
        """Name -> gradient, by the oracle."""
        _, _, tape = self.run()
        dstate = reference.join_state(self.spec, self.dstate)
        dx, dstate0, grads = reference.backward(self.spec, self.parameters, tape, self.dy, dstate, self.dc_seq)
        states = dict(zip(reference.state_names(self.spec), parts(dstate0), strict=True)) if self.state else {}
        return {"x": dx, **states, **grads}

    def arrays(self):
        """Name -> the array that the objective reads."""
        return {"x": self.x, **dict(zip(reference.state_names(self.spec), self.state or ())), **self.parameters}


def mask(rng, *shape):
    """Any factors: a gradient does not know that those of dropout are 0 or 1 / (1 - p)."""
    return rng.uniform(0.5, 1.5, shape)


def random_noise(spec, rng, T, B):
    """Masks of every kind that the layer has."""
    places = reference.places(spec)
    shapes = reference.parameter_shapes(spec)
    states = [shape[2] for shape in reference.state_shapes(spec, B).values()]
    zoneout = spec.kind in ("rnn", "lstm", "gru")
    return reference.Noise(
        inputs=[mask(rng, B, spec.layer_input_size(layer)) for layer in range(spec.num_layers)],
        recurrent=[mask(rng, B, spec.output_size) for _ in places],
        weights=[mask(rng, *shapes[f"weight_hh{suffix}"]) for _, _, suffix in places] if zoneout else None,
        zoneout=[tuple(rng.random((T, B, width)) for width in states) for _ in places] if zoneout else None,
    )


def parts(state):
    return state if isinstance(state, tuple) else (state,)


ENTRIES = 5
#: Layer norm of a small product bends sharply: truncation asks for less than the usual 1e-5.
EPS = 3e-6


def directions(shape, rng):
    """Unit vectors: one in which every entry is, and those of some entries by themselves."""
    size = int(np.prod(shape))
    everything = rng.standard_normal((1, size))
    some = np.eye(size)[rng.permutation(size)[:ENTRIES]]
    return np.concatenate([everything / np.linalg.norm(everything), some]).reshape(-1, *shape)


def assert_gradient(name, gradient, array, value):
    """``gradient`` is that of ``value()``, which reads ``array``, in each of the directions."""
    assert gradient.shape == array.shape, name
    along, kept = directions(array.shape, np.random.default_rng(0)), array.copy()

    def value_at(steps):
        array[...] = kept + np.tensordot(steps, along, 1)
        return value()

    expected = reference.central_difference(value_at, np.zeros(len(along)), EPS)
    array[...] = kept
    assert_close(name, np.tensordot(along, gradient, gradient.ndim), expected, "numeric")


def check(problem):
    gradients, arrays = problem.gradients(), problem.arrays()
    assert list(gradients) == list(arrays)
    if problem.spec.kind == "slstm":  # m is a scale, held
        assert not gradients["m"].any()
        del arrays["m"]
    for name, array in arrays.items():
        assert_gradient(name, gradients[name], array, problem.value)
