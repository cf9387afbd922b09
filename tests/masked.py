"""Cases with masks in the time loop: what the engine draws, the same for the oracle, and the comparison of both."""

from dataclasses import dataclass, fields

import numpy as np
from cases import Case, Data
from tolerance import assert_close

from fastrnn import reference
from fastrnn.blocks import dropout_mask
from fastrnn.regularisers import Masks

#: What the layer's constructor takes; the first is between layers, the others are inside.
RATES = ("dropout", "input_dropout", "recurrent_dropout", "weight_drop", "zoneout")
SEED = 7  # of the masks
ALL = {"dropout": 0.5, "input_dropout": 0.3, "recurrent_dropout": 0.4, "weight_drop": 0.2, "zoneout": 0.35}


def rates_of(cell):
    """Those that the layers of a cell have."""
    kind = Case(cell).kind
    without = () if kind in ("rnn", "lstm", "gru") else ("weight_drop", "zoneout")
    without += ("recurrent_dropout",) if kind in ("sru", "min_gru", "min_lstm") else ()
    return tuple(name for name in RATES if name not in without)


@dataclass(frozen=True)
class Masked(Case):
    """A case of a layer with further arguments."""

    stack: tuple = ()  # pairs of those that the oracle has too: merge, skip, learn_state
    more: tuple = ()  # of the others: rates, checkpoint

    @property
    def arguments(self):
        return super().arguments | dict(self.stack)

    @property
    def zoneout(self):
        """Rates of all states, or None."""
        z = dict(self.more).get("zoneout", 0.0)
        z = z if isinstance(z, tuple) else (z,) * len(reference.state_names(self.spec))
        return z if any(z) else None

    def new_layer(self, **more):
        return super().new_layer(**{**dict(self.more), **more})


def masked(case, stack=(), **more):
    """The case with further arguments."""
    return Masked(**{field.name: getattr(case, field.name) for field in fields(Case)}, stack=tuple(dict(stack).items()),
                  more=tuple(more.items()))  # fmt: skip


def with_all(case, stack=(), **more):
    """The case under every mask that its cell has."""
    return masked(case, stack, **{name: ALL[name] for name in rates_of(case.cell)}, **more)


# ---------------------------------------------------------------- zoneout, as docs/design.md has it


def scramble(x):
    """SplitMix64 without its counter."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def zoneout_mask(key, place, state, share, T, B, units):
    """``(T, B, units)``: 1 where unit stays as it was."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    t, b, unit = np.ogrid[:T, :B, :units]
    with np.errstate(over="ignore"):
        step = scramble(2 * t.astype(np.uint64) + np.uint64(state))
        seed = scramble(np.uint64(key) + np.uint64(place) * golden + step * golden + b.astype(np.uint64))
        low, high = seed.astype(np.uint32), (seed >> np.uint64(32)).astype(np.uint32)
        x = (unit.astype(np.uint32) * np.uint32(0x9E3779B9) + low) ^ high
        x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
        x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
        x = x ^ x >> np.uint32(16)
    return ((x >> np.uint32(1)) < share * 2.0**31) * 1.0


# ---------------------------------------------------------------- the masks of a call


def noise_of(case, layer, oracle=reference, seed=SEED):
    """What ``vjp`` draws from a generator with this seed, for the oracle: masks between the layers, those inside.

    The layer's generator is then the seed's again.
    """
    spec, B = case.spec, case.B
    layer.rng = seed
    weights = [layer.parameters.get("weight_hh" + suffix) for _, _, suffix in reference.places(spec)]
    drawn = Masks(layer, [spec.layer_input_size(l) for l in range(case.L)], B, weights)
    between = None
    if layer.dropout and case.L > 1 and case.T and B:
        shape = (case.T, B, spec.layer_output_size)
        between = [dropout_mask(layer.rng, layer.dropout, shape, layer.dtype) for _ in range(case.L - 1)]
    zoneout = None
    if case.zoneout:
        zoneout = [tuple(zoneout_mask(drawn.key, k, e, share, case.T, B, width)
                         for e, (share, width) in enumerate(zip(case.zoneout, layer.state_sizes)))
                   for k in range(len(reference.places(spec)))]  # fmt: skip
    layer.rng = seed
    return between, oracle.Noise(drawn.inputs, drawn.recurrent, drawn.weights, zoneout)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def compare(case, label, state, expected, kind):
    """States, or gradients of them."""
    for name, ours, theirs in zip(reference.state_names(case.spec), state, parts(expected), strict=True):
        assert_close(f"{label} {name}", ours, theirs, kind, case.dtype)


def check_masked(case, oracle=reference):
    """``vjp`` and its pullback against the oracle under the same masks: every gradient, by name."""
    data = Data(case)
    layer = data.layer()
    between, noise = noise_of(case, layer, oracle)
    y, state, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    expected_y, expected_state, tape = oracle.forward(
        data.spec, data.parameters, data.x_plain, data.state_plain, case.lengths, between, noise)  # fmt: skip
    expected = oracle.backward(data.spec, data.parameters, tape, data.dy_plain, data.dstate_plain)
    assert_close("y", data.plain_y(y), expected_y, "forward", case.dtype)
    compare(case, "state", data.plain_state(state), expected_state, "forward")
    assert_close("dx", data.plain_y(dx), expected[0], "gradient", case.dtype)
    compare(case, "dstate0", data.plain_state(dstate0), expected[1], "gradient")
    assert list(layer.grads) == list(expected[2])
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected[2][name], "gradient", case.dtype)
