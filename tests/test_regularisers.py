"""Masks in the time loop: gradients under them, calls without them, when they are the same, rates as arguments."""

import copy
import pickle

import numpy as np
import pytest
from cases import Case, Data, dealt_out, variant
from differences import KINK_MARGIN, assert_gradient
from hypothesis import given
from hypothesis import strategies as st
from masked import ALL, RATES, SEED, check_masked, compare, masked, noise_of, parts, rates_of, with_all
from rows import CELLS
from strategies import cases, per_cell
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import reference

ZONED = [cell for cell in CELLS if "zoneout" in rates_of(cell)]
DROPPED = [cell for cell in CELLS if "recurrent_dropout" in rates_of(cell)]


# ---------------------------------------------------------------- gradients


@pytest.mark.smoke
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_under_masks(cell):
    """Against the oracle, all and each alone, in both directions of two ragged layers, on one thread and on three."""
    case = Case(cell, I=4, H=5, L=2, D=2, T=5, B=3, lengths=(5, 1, 3), padding=np.nan)
    check_masked(with_all(case))
    check_masked(with_all(variant(case, D=1, L=1, H=19, T=4, B=6, lengths=None)))
    with dealt_out(3):
        for name in rates_of(cell):
            check_masked(masked(case, **{name: 0.5}))
    if Case(cell).kind == "lstm":
        for zoneout in ((0.4, 0.0), (0.0, 0.4), (0.2, 0.7)):
            check_masked(masked(case, zoneout=zoneout, recurrent_dropout=0.5))


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_gradients_of_every_call(cell, data):
    """Any layout, lengths, states, rates; layers joined in any way; float32 where nothing bends sharply."""
    case = data.draw(cases(cell=cell, B=data.draw(st.sampled_from([1, 2, 3, 5, 8])), T=data.draw(st.integers(0, 6))))
    if reference.has_kinks(case.spec) or case.spec.layer_norm:
        case = variant(case, dtype="float64")
    stack = {"merge": data.draw(st.sampled_from(["concat", "sum", "mean", "mul"]))}
    if not cell.startswith("mut"):
        stack["skip"] = data.draw(st.sampled_from(["none", "input", "output", "residual"]))
    if case.kind != "slstm":
        stack["learn_state"] = data.draw(st.booleans())
    rates = {name: data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])) for name in rates_of(cell)}
    check_masked(masked(case, stack, **rates))


class Differences:
    """A layer whose masks are drawn from the same state at every evaluation, and an objective."""

    def __init__(self, cell, **stack):
        for seed in range(2000):
            self.case = with_all(Case(cell, I=3, H=4, L=2, D=2, T=3, B=2, lengths=(3, 2), seed=seed), stack)
            self.data = data = Data(self.case)
            self.layer, spec = data.layer(), data.spec
            between, noise = noise_of(self.case, self.layer)
            tape = reference.forward(spec, data.parameters, data.x_plain, data.state_plain, (3, 2), between, noise)[2]
            if reference.kink_margin(spec, data.parameters, tape) > KINK_MARGIN:
                break
        self.state = parts(data.state)
        self.dstate = list(parts(data.dstate))
        if self.case.kind == "slstm":  # its gradients are those of losses on h
            self.dstate = [self.dstate[0], *map(np.zeros_like, self.dstate[1:])]

    def vjp(self):
        self.layer.rng = SEED
        return self.layer.vjp(self.data.x, reference.join_state(self.data.spec, self.state), self.data.lengths)

    def value(self):
        y, state, _ = self.vjp()
        return np.sum(y * self.data.dy) + sum(np.sum(a * b) for a, b in zip(parts(state), self.dstate, strict=True))

    def check(self):
        pullback = self.vjp()[2]
        dx, dstate0 = pullback(self.data.dy, reference.join_state(self.data.spec, self.dstate))
        assert_gradient("x", dx, self.data.x, self.value)
        for name, part, gradient in zip(self.layer.state_names, self.state, parts(dstate0), strict=True):
            if name != "m":
                assert_gradient(name, gradient, part, self.value)
        with self.layer.edit() as p:
            for name, array in p.items():
                assert_gradient(name, self.layer.grads[name], array, self.value)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_differences(cell):
    """With no help of the oracle's: of ``vjp`` itself, under the masks of one state of the generator."""
    Differences(cell).check()


@pytest.mark.parametrize("stack", [{"merge": "mul", "skip": "input"}, {"merge": "sum", "skip": "residual"}])
def test_gradients_of_stacks_by_differences(stack):
    Differences("lstm", **stack).check()


@pytest.mark.parametrize("cell", [cell for cell in ZONED if Case(cell).kind == "lstm"])
def test_cell_states_under_masks(cell):
    """``c_seq`` is c as it is carried on, and gradients come back through it."""
    case = with_all(Case(cell, L=2, D=2, T=4, B=3, lengths=(4, 0, 2)), return_cell_states=True)
    data = Data(case)
    layer = data.layer()
    between, noise = noise_of(case, layer)
    y, _, c_seq, pullback = layer.vjp(*data.calls())
    dc_seq = np.random.default_rng(0).standard_normal(c_seq.shape)
    dx, _ = pullback(data.dy, data.dstate, dc_seq=dc_seq)
    *_, tape = reference.forward(
        data.spec, data.parameters, data.x_plain, data.state_plain, case.lengths, between, noise)  # fmt: skip
    expected = reference.backward(data.spec, data.parameters, tape, data.dy_plain, data.dstate_plain, dc_seq)
    assert_close("c_seq", c_seq, tape.c_seq, "forward")
    assert_close("dx", dx, expected[0], "gradient")
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected[2][name], "gradient")


# ---------------------------------------------------------------- what is computed without masks


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_call_is_the_identity(cell, D):
    """Dropouts and weight_drop change no bit of a call, and draw nothing; a rate of 0 is none."""
    data = Data(Case(cell, L=2, D=D, dtype="float32", B=3, lengths=(4, 0, 2)))
    expected = data.layer()(*data.calls())
    for p in (0.5, 0.0):
        layer = data.case.new_layer(**{name: p for name in rates_of(cell) if name != "zoneout"})
        layer.load_state_dict(data.parameters)
        before = layer.rng.bit_generator.state
        for call in (layer,) if p else (layer, layer.vjp):
            y, state, *_ = call(*data.calls())
            assert_same_bits("y", y, expected[0])
            for ours, theirs in zip(data.plain_state(state), data.plain_state(expected[1]), strict=True):
                assert_same_bits("state", ours, theirs)
        assert layer.rng.bit_generator.state == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ZONED)
def test_zoneout_of_a_call_is_its_mean(cell, dtype):
    """By the oracle, in a call and in a stream, whose bits are the call's."""
    for z in [(0.6, 0.2), (0.0, 0.7), (1.0, 1.0)] if Case(cell).kind == "lstm" else [0.3, 1.0]:
        case = Case(cell, I=4, H=9, L=2, D=2, T=5, B=3, lengths=(5, 0, 3), padding=np.nan, dtype=dtype)
        data = Data(masked(case, {"zoneout": z}))
        layer = data.layer()
        y, state = layer(*data.calls())
        expected = data.forward()
        assert_close("y", y, expected[0], "forward", dtype)
        compare(data.case, "state", parts(state), expected[1], "forward")
        data = Data(masked(variant(case, D=1, lengths=None), {"zoneout": z}))
        layer = data.layer()
        (y, state), stream = layer(*data.calls()), layer.stream(3)
        stream.reset(data.state)
        for x_t, y_t in zip(data.x, y):
            assert_same_bits("y_t", stream.step(x_t).copy(), y_t)
        for ours, theirs in zip(parts(stream.state), parts(state), strict=True):
            assert_same_bits("state", ours, theirs)


def test_promises_with_zoneout():
    """Threads, batch mates and cuts in time change no bit of a call that takes the mean."""
    case = masked(Case("lstm", I=9, H=33, L=2, T=6, B=9, dtype="float32"), zoneout=(0.3, 0.2))
    data = Data(case)
    layer = data.layer()
    y, state = layer(data.x)
    with dealt_out(3):
        assert_same_bits("threads", layer(data.x)[0], y)
    assert_same_bits("alone", layer(np.ascontiguousarray(data.x[:, 4:5]))[0], np.ascontiguousarray(y[:, 4:5]))
    first, carried = layer(data.x[:2])
    second, final = layer(data.x[2:], carried)
    assert_same_bits("chunks", np.concatenate([first, second]), y)
    assert_same_bits("c", final[1], state[1])


# ---------------------------------------------------------------- rates of 0 and 1


@pytest.mark.parametrize("cell", ZONED)
def test_zoneout_of_one_keeps_everything(cell):
    """The states stay as they were, and so do their gradients; the parameters get none."""
    case = Case(cell, L=1, D=2, T=3, B=2)
    data = Data(masked(case, zoneout=1.0))
    layer = data.layer()
    assert (layer.vjp(data.x)[0] == 0).all() and (layer(data.x)[0] == 0).all()
    y, state, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(None, data.dstate)
    h = parts(data.state)[0]
    assert_close("y", y, np.broadcast_to(np.concatenate(list(h), axis=1), y.shape), "forward")
    for ours, theirs in [*zip(parts(state), parts(data.state)), *zip(parts(dstate0), parts(data.dstate))]:
        assert_close("state", ours, theirs, "forward")
    assert not dx.any() and not any(gradient.any() for gradient in layer.grads.values())


@pytest.mark.parametrize("cell", DROPPED)
def test_nothing_is_left_of_what_is_dropped(cell):
    """At a rate of 1, x and R play no part."""
    case = variant(Case(cell, L=2, D=1, T=3, B=2), state="none")
    data = Data(masked(case, input_dropout=1.0, recurrent_dropout=1.0))
    layer = data.layer()
    y, _, pullback = layer.vjp(data.x)
    assert_same_bits("y", layer.vjp(2 * data.x)[0], y)
    dx, _ = pullback(data.dy)
    assert not dx.any() and np.isfinite(y).all()
    for name, gradient in layer.grads.items():
        assert np.isfinite(gradient).all()
        assert not gradient.any() if name.startswith(("weight_ih", "weight_hh")) else True, name


def test_no_rate_draws_nothing():
    layer = fr.LSTM(3, 4, 2, rng=0)
    before = layer.rng.bit_generator.state
    layer.vjp(np.zeros((2, 1, 3)))
    assert layer.rng.bit_generator.state == before and not layer._masked


# ---------------------------------------------------------------- the same masks again


def gradients_of(data, layer, seed=SEED):
    """All results of one pass."""
    layer.rng = seed
    layer.zero_grad()
    y, state, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    return {"y": y, "dx": dx, **{f"state {i}": part for i, part in enumerate(parts(state))},
            **{f"dstate0 {i}": part for i, part in enumerate(parts(dstate0))},
            **{name: gradient.copy() for name, gradient in layer.grads.items()}}  # fmt: skip


def assert_same_pass(one, other):
    for (name, ours), theirs in zip(one.items(), other.values(), strict=True):
        assert_same_bits(name, ours, theirs)


@pytest.mark.parametrize("cell", CELLS)
def test_threads_see_the_same_masks(cell):
    """However small the work is that a thread gets; gradients too, as long as no thread has sequences of its own."""
    for case in (Case(cell, I=9, H=21, L=2, D=2, T=5, B=3, lengths=(2, 5, 4)), Case(cell, I=4, H=7, T=4, B=17)):
        data = Data(with_all(case))
        layer = data.layer()
        with fr.num_threads(1):
            expected = gradients_of(data, layer)
        for threads in (1, 2, 3):
            with dealt_out(threads):
                again = gradients_of(data, layer)
                assert_same_pass(again, gradients_of(data, layer))
            for name, array in expected.items():
                if case.B < 8 or name in ("y", "dx") or "state" in name:
                    assert_same_bits(f"{name} on {threads}", again[name], array)


def test_sequences_keep_their_masks_whatever_the_lengths():
    """What a sequence of full length computes has the same bits when the others are shorter."""
    case = with_all(Case("lstm", I=4, H=6, T=6, B=3, dtype="float32"))
    data = Data(case)
    layer = data.layer()
    whole = gradients_of(data, layer)["y"]
    layer.rng = SEED
    y = layer.vjp(data.x, data.state, [6, 3, 0])[0]
    assert_same_bits("full", np.ascontiguousarray(y[:, 0]), np.ascontiguousarray(whole[:, 0]))
    assert_same_bits("shorter", np.ascontiguousarray(y[:3, 1]), np.ascontiguousarray(whole[:3, 1]))


def test_a_call_draws_what_it_says():
    """Input, state, weights, zoneout, then between the layers: as much as Masks and dropout draw, and nothing more."""
    case = with_all(Case("lstm", L=3, T=4, B=2))
    layer = case.new_layer()
    noise_of(case, layer)
    rng = np.random.default_rng(SEED)
    for width in (3, 5, 5):
        rng.random((2, width), np.float32)
    rng.random((3, 2, 5), np.float32)
    for _ in range(3):
        rng.random((20, 5), np.float32)
    rng.integers(1 << 63)
    for _ in range(2):
        rng.random((4, 2, 5), np.float32)
    layer.vjp(np.zeros((4, 2, 3)))
    assert layer.rng.bit_generator.state == rng.bit_generator.state
    layer(np.zeros((4, 2, 3)))
    layer.stream().step(np.zeros(3))
    assert layer.rng.bit_generator.state == rng.bit_generator.state, "a call draws nothing"


def test_pullbacks_alive_at_once_keep_their_masks():
    """Each goes back through its own masks, in any order, and its weights."""
    data = Data(with_all(Case("gru", L=2, D=2, T=5, B=3)))
    layer = data.layer()
    expected = [gradients_of(data, layer, seed) for seed in range(3)]
    layer.zero_grad()
    pullbacks = []
    for seed in range(3):
        layer.rng = seed
        pullbacks.append(layer.vjp(*data.calls())[2])
    for seed in (1, 2, 0):
        dx, dstate0 = pullbacks[seed](data.dy, data.dstate)
        assert_same_bits("dx", dx, expected[seed]["dx"])
        assert_same_bits("dstate0", parts(dstate0)[0], expected[seed]["dstate0 0"])
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, sum(one[name] for one in expected), "gradient")


def test_nothing_of_the_callers_is_changed():
    data = Data(with_all(Case("lstm", L=2, T=4, B=2)))
    layer = data.layer()
    given = [data.x, data.dy, *data.state, *data.dstate, *layer.parameters.values()]
    before = [array.copy() for array in given]
    gradients_of(data, layer)
    for old, new in zip(before, given):
        assert_same_bits("given", new, old)


# ---------------------------------------------------------------- rates as attributes, in files, refused

COPIES = {
    "pickle": lambda layer, path: pickle.loads(pickle.dumps(layer)),
    "deepcopy": lambda layer, path: copy.deepcopy(layer),
    "file": lambda layer, path: (fr.save(path, layer), fr.load(path))[1],
}


@pytest.mark.parametrize("form", COPIES)
@pytest.mark.parametrize("zoneout", [(0.2, 0.4), 0.3, [0.1, np.float32(0.5)]])
def test_copies_keep_the_rates(zoneout, form, tmp_path):
    data = Data(Case("lstm", L=2, D=2, T=4, B=3))
    layer = data.case.new_layer(**{**ALL, "zoneout": zoneout})
    twin = COPIES[form](layer, tmp_path / "layer.safetensors")
    assert repr(twin) == repr(layer)
    for name in RATES:
        assert getattr(twin, name) == getattr(layer, name), name
    assert layer.zoneout == (tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout, zoneout))
    if form != "file":
        assert twin.rng.bit_generator.state == layer.rng.bit_generator.state
    assert_same_pass(gradients_of(data, twin), gradients_of(data, layer))


def test_rates_are_attributes():
    """Those of dropouts can be set, and are then what the next call draws with."""
    data = Data(Case("gru", L=2, T=4, B=3))
    plain, layer = data.layer(), data.layer()
    assert [getattr(plain, name) for name in RATES] == [0.0] * 5
    for name in RATES[:-1]:
        built = data.case.new_layer(**{name: 0.5})
        built.load_state_dict(data.parameters)
        setattr(layer, name, 0.5)
        assert getattr(layer, name) == getattr(built, name) == 0.5 and repr(layer) == repr(built)
        assert_same_pass(gradients_of(data, layer), gradients_of(data, built))
        assert (layer.vjp(data.x)[0] != plain.vjp(data.x)[0]).any()
        setattr(layer, name, 0)
        assert_same_pass(gradients_of(data, layer), gradients_of(data, plain))
    assert fr.GRU(3, 4, zoneout=0.25).zoneout == 0.25 and fr.LSTM(3, 4, zoneout=0.25).zoneout == (0.25, 0.25)
    with pytest.raises(AttributeError):
        layer.zoneout = 0.5


def test_a_list_of_the_callers_is_not_kept():
    given = [0.25, 0.5]
    layer = fr.LSTM(3, 4, zoneout=given)
    given[0] = 0.9
    assert layer.zoneout == (0.25, 0.5) and "zoneout=(0.25, 0.5)" in repr(layer)


def settable(layer, name, value):
    return lambda: setattr(layer(3, 3), name, value)


REFUSED = {
    "zoneout mgu": (lambda: fr.MGU(3, 4, zoneout=0.1), ValueError, "zoneout.*0.*MGU.*0.1"),
    "zoneout slstm": (lambda: fr.SLSTM(3, 4, zoneout=0.1), ValueError, "zoneout.*SLSTM"),
    "zoneout indrnn": (lambda: fr.IndRNN(3, 4, zoneout=1), ValueError, "zoneout.*IndRNN"),
    "zoneout multiplicative": (lambda: fr.MultiplicativeLSTM(3, 4, zoneout=(0.1, 0)), ValueError, "zoneout.*MultiplicativeLSTM"),
    "zoneout two of rnn": (lambda: fr.RNN(3, 4, zoneout=(0.1, 0.2)), ValueError, "zoneout.*a number"),
    "zoneout three": (lambda: fr.LSTM(3, 4, zoneout=(0.1, 0.2, 0.3)), ValueError, "zoneout.*z_h, z_c"),
    "zoneout above 1": (lambda: fr.LSTM(3, 4, zoneout=(0.1, 1.5)), ValueError, r"zoneout\[1\].*1.5"),
    "zoneout negative": (lambda: fr.GRU(3, 4, zoneout=-0.1), ValueError, "zoneout.*-0.1"),
    "zoneout nan": (lambda: fr.GRU(3, 4, zoneout=float("nan")), ValueError, "zoneout.*nan"),
    "zoneout text": (lambda: fr.RNN(3, 4, zoneout="0.5"), TypeError, "zoneout.*'0.5'"),
    "zoneout None": (lambda: fr.RNN(3, 4, zoneout=None), TypeError, "zoneout.*None"),
    "weight_drop mgu": (lambda: fr.MGU(3, 4, weight_drop=0.1), ValueError, "weight_drop.*MGU.*0.1"),
    "weight_drop indrnn": (lambda: fr.IndRNN(3, 4, weight_drop=0.1), ValueError, "weight_drop.*IndRNN"),
    "weight_drop set": (settable(fr.MUT3, "weight_drop", 0.1), ValueError, "weight_drop.*MUT3"),
    "weight_drop above 1": (lambda: fr.LSTM(3, 4, weight_drop=2), ValueError, "weight_drop.*2"),
    "recurrent_dropout sru": (lambda: fr.SRU(3, 4, recurrent_dropout=0.1), ValueError, "recurrent_dropout.*SRU.*weight_hh"),
    "recurrent_dropout min_gru": (settable(fr.MinGRU, "recurrent_dropout", 0.1), ValueError, "recurrent_dropout.*MinGRU"),
    "recurrent_dropout min_lstm": (lambda: fr.MinLSTM(3, 4, recurrent_dropout=0.1), ValueError, "recurrent_dropout.*MinLSTM"),
    "recurrent_dropout bool": (lambda: fr.LSTM(3, 4, recurrent_dropout=True), TypeError, "recurrent_dropout.*True"),
    "recurrent_dropout set": (settable(fr.LSTM, "recurrent_dropout", 1.1), ValueError, "recurrent_dropout.*1.1"),
    "input_dropout above 1": (lambda: fr.SRU(3, 4, input_dropout=1.01), ValueError, "input_dropout.*1.01"),
    "input_dropout set": (settable(fr.MinGRU, "input_dropout", -1), ValueError, "input_dropout.*-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_a_refused_rate_changes_nothing():
    layer = fr.SRU(3, 3, input_dropout=0.5)
    for name in ("recurrent_dropout", "weight_drop"):
        with pytest.raises(ValueError):
            setattr(layer, name, 0.5)
        setattr(layer, name, 0.0)
        assert getattr(layer, name) == 0.0
    with pytest.raises(ValueError):
        layer.input_dropout = 2
    assert layer.input_dropout == 0.5 and layer._masked
