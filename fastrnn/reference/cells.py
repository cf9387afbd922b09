"""The table of cells, and what follows from its rows: parameters, states, distances from kinks."""

import numpy as np

from .elementwise import MIN_GRU, MIN_LSTM, SRU
from .gru import CHO_GRU, GRU
from .lstm import COUPLED, LSTM, MULTIPLICATIVE
from .mgu import MGU, MUT1, MUT2, MUT3
from .rnn import FASTGRNN, FASTRNN, INDRNN, RNN
from .slstm import SLSTM
from .spec import functions_of

KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "mgu": MGU, "mut1": MUT1, "mut2": MUT2, "mut3": MUT3,
         "indrnn": INDRNN, "fastrnn": FASTRNN, "fastgrnn": FASTGRNN, "multiplicative_lstm": MULTIPLICATIVE,
         "sru": SRU, "min_gru": MIN_GRU, "min_lstm": MIN_LSTM, "slstm": SLSTM}


def cell_of(spec):
    """The cell that ``spec`` describes."""
    if spec.kind == "lstm" and spec.coupled:
        return COUPLED
    if spec.kind == "gru" and not spec.reset_after:
        return CHO_GRU
    return KINDS[spec.kind]


# ---------------------------------------------------------------- parameters


def local_shapes(spec, layer):
    """Names without suffix and shapes of one direction of one layer, in the contract's order."""
    return cell_of(spec).shapes(spec, spec.layer_input_size(layer))


def places(spec):
    """(S1) Every (layer, direction, suffix), in the order of the L*D axis of the states."""
    suffixes = ("", "_reverse")[:spec.directions]
    return [(l, d, f"_l{l}{suffix}") for l in range(spec.num_layers) for d, suffix in enumerate(suffixes)]


def parameter_shapes(spec):
    """Ordered dict: name -> shape, per layer and direction; then the learned states (L*D, .)."""
    shapes = {name + suffix: shape for l, _, suffix in places(spec) for name, shape in local_shapes(spec, l).items()}
    if spec.learn_state:
        shapes |= {f"{name}0": (rows, width) for name, (rows, _, width) in state_shapes(spec, 0).items()}
    return shapes


def random_parameters(spec, rng, scale=None):
    """U(-scale, scale) for every parameter, ``scale`` is 1/sqrt(H) unless given; gains 1 + U(-0.3, 0.3)."""
    scale = spec.hidden_size**-0.5 if scale is None else scale
    return {name: 1 + rng.uniform(-0.3, 0.3, shape) if name.startswith("weight_ln_") else
            rng.uniform(-scale, scale, shape) for name, shape in parameter_shapes(spec).items()}


def local_parameters(spec, params, layer, suffix):
    """The parameters of one direction of one layer, in float64, under their names without suffix."""
    return {name: np.asarray(params[name + suffix], np.float64) for name in local_shapes(spec, layer)}


# ---------------------------------------------------------------- states


def state_names(spec):
    """The states of the cell, in their order."""
    return cell_of(spec).states


def state_shapes(spec, B):
    """Name -> (L*D, B, .)."""
    return {name: (spec.num_layers * spec.directions, B, spec.output_size if name == "h" else spec.hidden_size)
            for name in state_names(spec)}


def split_state(spec, state, B, empty=None):
    """The contract's state (array, tuple, None inside or out) as a tuple of fresh float64 arrays (L*D, B, .).

    None is 0, or what ``empty`` holds under the name.
    """
    states, empty = state_shapes(spec, B), empty or {}
    parts = state if len(states) > 1 and state is not None else (state,) * len(states)
    return tuple(np.full(shape, empty.get(name, 0.0)) if part is None else np.array(part, np.float64)
                 for part, (name, shape) in zip(parts, states.items()))


def join_state(spec, parts):
    """The inverse of ``split_state``: the array of the only state, a tuple of several."""
    return tuple(parts) if len(parts) > 1 else parts[0]


def random_state(spec, rng, B):
    """A state in the contract's form: U(-1, 1); n, a sum of exponentials, U(0.5, 1.5)."""
    return join_state(spec, [1 + rng.uniform(-0.5, 0.5, shape) if name == "n" else rng.uniform(-1, 1, shape)
                             for name, shape in state_shapes(spec, B).items()])


# ---------------------------------------------------------------- kinks


def has_kinks(spec):
    """Whether any function of the layer has a slope that jumps."""
    return cell_of(spec).kinks is not None and any(function.kinks for function in functions_of(spec))


def kink_margin(spec, params, tape):
    """The smallest distance of anything that a function saw from a place where its slope jumps; inf without any."""
    cell, margin = cell_of(spec), np.inf
    if not has_kinks(spec):
        return margin
    for _, _, saved in (step for steps in tape.steps for step in steps):
        for function, a in cell.kinks(spec, saved):
            for kink in function.kinks:
                margin = min(margin, np.min(np.abs(a - kink), initial=np.inf))
    return margin
