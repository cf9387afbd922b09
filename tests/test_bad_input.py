"""Bad calls of recurrent layers: each a TypeError or ValueError that names the argument, says what
came and what was expected; none of them has an effect.
"""

import re
from typing import NamedTuple

import numpy as np
import pytest
from cases import Case, Data
from tolerance import assert_same_bits

import fastrnn as fr

T, B, I, H, P = 4, 3, 5, 6, 2


class Bad(NamedTuple):
    """A call; the error it must raise; the argument's name and other words of the message."""

    call: object
    error: type
    argument: str
    words: tuple


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


# ---------------------------------------------------------------- constructors

CONSTRUCTORS = {
    "input_size zero": Bad(lambda: fr.LSTM(0, 3), ValueError, "input_size", ("0", "1")),
    "input_size negative": Bad(lambda: fr.GRU(-2, 3), ValueError, "input_size", ("-2",)),
    "input_size float": Bad(lambda: fr.RNN(2.0, 3), TypeError, "input_size", ("2.0", "integer")),
    "input_size text": Bad(lambda: fr.RNN("2", 3), TypeError, "input_size", ("'2'", "integer")),
    "input_size bool": Bad(lambda: fr.RNN(True, 3), TypeError, "input_size", ("True", "integer")),
    "hidden_size zero": Bad(lambda: fr.RNN(2, 0), ValueError, "hidden_size", ("0", "1")),
    "hidden_size None": Bad(lambda: fr.LSTM(2, None), TypeError, "hidden_size", ("None", "integer")),
    "hidden_size nan": Bad(lambda: fr.GRU(2, np.nan), TypeError, "hidden_size", ("nan", "integer")),
    "num_layers zero": Bad(lambda: fr.GRU(2, 3, 0), ValueError, "num_layers", ("0", "1")),
    "num_layers list": Bad(lambda: fr.LSTM(2, 3, [1]), TypeError, "num_layers", ("list", "integer")),
    "nonlinearity unknown": Bad(
        lambda: fr.RNN(2, 3, nonlinearity="gelu"), ValueError, "nonlinearity", ("gelu", "tanh", "relu")),
    "nonlinearity function": Bad(
        lambda: fr.RNN(2, 3, nonlinearity=np.tanh), TypeError, "nonlinearity", ("tanh", "relu")),
    "bias number": Bad(lambda: fr.LSTM(2, 3, bias=1), TypeError, "bias", ("1", "True or False")),
    "bias array": Bad(lambda: fr.LSTM(2, 3, bias=zeros(12)), TypeError, "bias", ("array", "True or False")),
    "batch_first text": Bad(
        lambda: fr.LSTM(2, 3, batch_first="yes"), TypeError, "batch_first", ("'yes'", "True or False")),
    "bidirectional number": Bad(
        lambda: fr.GRU(2, 3, bidirectional=2), TypeError, "bidirectional", ("2", "True or False")),
    "dropout above 1": Bad(lambda: fr.GRU(2, 3, dropout=1.5), ValueError, "dropout", ("1.5", "1")),
    "dropout negative": Bad(lambda: fr.GRU(2, 3, dropout=-0.1), ValueError, "dropout", ("-0.1", "0")),
    "dropout nan": Bad(lambda: fr.GRU(2, 3, dropout=np.nan), ValueError, "dropout", ("nan",)),
    "dropout text": Bad(lambda: fr.GRU(2, 3, dropout="0.5"), TypeError, "dropout", ("'0.5'", "number")),
    "dropout bool": Bad(lambda: fr.GRU(2, 3, dropout=True), TypeError, "dropout", ("True", "number")),
    "dtype half": Bad(lambda: fr.RNN(2, 3, dtype="float16"), ValueError, "dtype", ("float16", "float32")),
    "dtype integer": Bad(lambda: fr.RNN(2, 3, dtype=int), ValueError, "dtype", ("int64", "float32")),
    "dtype unknown": Bad(lambda: fr.RNN(2, 3, dtype="real"), TypeError, "dtype", ("'real'", "float32")),
    "dtype None": Bad(lambda: fr.RNN(2, 3, dtype=None), TypeError, "dtype", ("None", "float32")),
    "rng text": Bad(lambda: fr.RNN(2, 3, rng="0"), TypeError, "rng", ("'0'", "seed")),
    "rng negative": Bad(lambda: fr.RNN(2, 3, rng=-1), ValueError, "rng", ("-1",)),
    "rng RandomState": Bad(
        lambda: fr.RNN(2, 3, rng=np.random.RandomState(0)), TypeError, "rng", ("RandomState", "Generator")),
    "proj_size negative": Bad(lambda: fr.LSTM(2, 3, proj_size=-1), ValueError, "proj_size", ("-1",)),
    "proj_size as large": Bad(lambda: fr.LSTM(2, 3, proj_size=3), ValueError, "proj_size", ("3",)),
    "proj_size float": Bad(lambda: fr.LSTM(2, 3, proj_size=1.5), TypeError, "proj_size", ("1.5", "integer")),
    "peephole text": Bad(lambda: fr.LSTM(2, 3, peephole="no"), TypeError, "peephole", ("'no'", "True or False")),
    "coupled number": Bad(lambda: fr.LSTM(2, 3, coupled=0), TypeError, "coupled", ("0", "True or False")),
    "reset_after None": Bad(
        lambda: fr.GRU(2, 3, reset_after=None), TypeError, "reset_after", ("None", "True or False")),
    "unknown keyword": Bad(lambda: fr.GRU(2, 3, peephole=True), TypeError, "peephole", ()),
    "positional keyword": Bad(lambda: fr.LSTM(2, 3, 1, True), TypeError, "", ("positional",)),
}  # fmt: skip

# ---------------------------------------------------------------- calls of a layer


class Fixture:
    """Layers, a stream and a pullback that wait for a bad call, and what must not change."""

    def __init__(self):
        self.data = Data(Case("lstm", I=I, H=H, T=T, B=B, L=2, D=2, dtype="float32"))
        self.layer, self.gru = self.data.layer(), fr.GRU(I, H, dtype="float64", rng=0)
        self.first = fr.LSTM(I, H, batch_first=True, rng=0)
        self.projected = fr.LSTM(I, H, proj_size=P, rng=0)
        self.y, _, self.pullback = self.layer.vjp(*self.data.calls())
        _, _, self.single = self.gru.vjp(zeros(T, I))
        self.stream, self.one = self.gru.stream(B), self.gru.stream()
        self.stream.step(np.ones((B, I)))
        self.x, self.h, self.c = zeros(T, B, I), zeros(4, B, H), zeros(4, B, H)
        self.dy = zeros(T, B, 2 * H)

    def snapshot(self):
        """Everything that a refused call could have changed."""
        arrays = [*self.data.calls()[:1], *self.data.state, self.stream.state, self.one.state]
        for layer in (self.layer, self.gru, self.first, self.projected):
            arrays += [*layer.parameters.values(), *layer.grads.values()]
        return [array.copy() for array in arrays]


def both(name, call, error, argument, words):
    """The same bad argument handed to the call and to vjp."""
    return {
        f"{name}": Bad(lambda f: call(f, lambda layer: layer), error, argument, words),
        f"{name}, vjp": Bad(lambda f: call(f, lambda layer: layer.vjp), error, argument, words),
    }


NOT_RECTANGULAR = [[[0.0] * I], [[0.0]]]

CALLS = {
    **both("x 1-D", lambda f, of: of(f.layer)(zeros(I)), ValueError, "x", ("(5,)", "(T, B, 5)")),
    **both("x 4-D", lambda f, of: of(f.layer)(zeros(1, T, B, I)), ValueError, "x", ("(1, 4, 3, 5)",)),
    **both("x scalar", lambda f, of: of(f.layer)(1.0), ValueError, "x", ("()", "(T, B, 5)")),
    **both("x too wide", lambda f, of: of(f.layer)(zeros(T, B, I + 1)), ValueError, "x", ("(4, 3, 6)", "(T, B, 5)")),
    **both("x unbatched, too narrow", lambda f, of: of(f.gru)(zeros(T, 1)), ValueError, "x", ("(4, 1)", "(T, 5)")),
    **both("x batch_first", lambda f, of: of(f.first)(zeros(T, B, 2)), ValueError, "x", ("(4, 3, 2)", "(B, T, 5)")),
    **both("x complex", lambda f, of: of(f.layer)(f.x.astype(complex)), TypeError, "x", ("complex128", "real")),
    **both("x objects", lambda f, of: of(f.layer)(f.x.astype(object)), TypeError, "x", ("object", "real")),
    **both("x text", lambda f, of: of(f.layer)("abc"), TypeError, "x", ("'abc'", "real")),
    **both("x dates", lambda f, of: of(f.layer)(f.x.astype("M8[s]")), TypeError, "x", ("datetime64", "real")),
    **both("x ragged", lambda f, of: of(f.layer)(NOT_RECTANGULAR), ValueError, "x", ("list", "real")),
    **both("x None", lambda f, of: of(f.layer)(None), TypeError, "x", ("None", "real")),
    **both("x a generator", lambda f, of: of(f.layer)(i for i in range(3)), TypeError, "x", ("generator", "real")),
    **both("state an array", lambda f, of: of(f.layer)(f.x, f.h), TypeError, "state", ("array", "(h, c)")),
    **both("state three", lambda f, of: of(f.layer)(f.x, (f.h,) * 3), ValueError, "state", ("3", "(h, c)")),
    **both("state a dict", lambda f, of: of(f.layer)(f.x, {"h": f.h}), TypeError, "state", ("dict", "(h, c)")),
    **both("state a tuple", lambda f, of: of(f.gru)(f.x, (zeros(1, B, H), zeros(1, B, H))), ValueError, "state",
           ("(2, 1, 3, 6)", "(1, 3, 6)")),
    **both("h of fewer layers", lambda f, of: of(f.layer)(f.x, (f.h[:2], f.c)), ValueError, "state",
           ("h", "(2, 3, 6)", "(4, 3, 6)")),
    **both("h of another batch", lambda f, of: of(f.layer)(f.x, (f.h[:, :1], f.c)), ValueError, "state",
           ("h", "(4, 1, 6)", "(4, 3, 6)")),
    **both("c of another width", lambda f, of: of(f.layer)(f.x, (f.h, f.c[..., 1:])), ValueError, "state",
           ("c", "(4, 3, 5)", "(4, 3, 6)")),
    **both("h not projected", lambda f, of: of(f.projected)(f.x, (zeros(1, B, H), None)), ValueError, "state",
           ("h", "(1, 3, 6)", "(1, 3, 2)")),
    **both("h unbatched", lambda f, of: of(f.gru)(zeros(T, B, I), zeros(1, H)), ValueError, "state",
           ("(1, 6)", "(1, 3, 6)")),
    **both("h batched", lambda f, of: of(f.gru)(zeros(T, I), zeros(1, 1, H)), ValueError, "state",
           ("(1, 1, 6)", "(1, 6)")),
    **both("h complex", lambda f, of: of(f.layer)(f.x, (f.h * 1j, None)), TypeError, "state", ("h", "complex64")),
    **both("c text", lambda f, of: of(f.layer)(f.x, (None, "c")), TypeError, "state", ("c", "real")),
    **both("lengths floats", lambda f, of: of(f.layer)(f.x, None, [1.0, 2.0, 3.0]), TypeError, "lengths",
           ("float64", "integers")),
    **both("lengths bools", lambda f, of: of(f.layer)(f.x, None, [True] * 3), TypeError, "lengths",
           ("bool", "integers")),
    **both("lengths text", lambda f, of: of(f.layer)(f.x, None, "123"), TypeError, "lengths", ("'123'", "integers")),
    **both("lengths a number", lambda f, of: of(f.layer)(f.x, None, 3), ValueError, "lengths", ("()", "(3,)")),
    **both("lengths too few", lambda f, of: of(f.layer)(f.x, None, [1, 2]), ValueError, "lengths", ("(2,)", "(3,)")),
    **both("lengths 2-D", lambda f, of: of(f.layer)(f.x, None, [[1, 2, 3]]), ValueError, "lengths", ("(1, 3)",)),
    **both("lengths negative", lambda f, of: of(f.layer)(f.x, None, [1, -1, 2]), ValueError, "lengths",
           ("-1", "0..4")),
    **both("lengths past T", lambda f, of: of(f.layer)(f.x, None, [1, 5, 2]), ValueError, "lengths", ("5", "0..4")),
    **both("lengths enormous", lambda f, of: of(f.layer)(f.x, None, np.array([1, 2**64 - 1, 2], "u8")), ValueError,
           "lengths", ("18446744073709551615", "0..4")),
    **both("lengths unbatched", lambda f, of: of(f.gru)(zeros(T, I), None, [4]), ValueError, "lengths",
           ("unbatched",)),
    **both("lengths batch_first", lambda f, of: of(f.first)(zeros(B, T, I), None, [1] * T), ValueError, "lengths",
           ("(4,)", "(3,)")),
    "unknown argument": Bad(lambda f: f.layer(f.x, mask=1), TypeError, "mask", ()),
}  # fmt: skip

# ---------------------------------------------------------------- pullbacks, streams, parameters

PULLBACKS = {
    "dy another T": Bad(lambda f: f.pullback(f.dy[1:]), ValueError, "dy", ("(3, 3, 12)", "(4, 3, 12)")),
    "dy another B": Bad(lambda f: f.pullback(f.dy[:, :1]), ValueError, "dy", ("(4, 1, 12)", "(4, 3, 12)")),
    "dy one direction": Bad(lambda f: f.pullback(f.dy[..., :H]), ValueError, "dy", ("(4, 3, 6)", "(4, 3, 12)")),
    "dy scalar": Bad(lambda f: f.pullback(1.0), ValueError, "dy", ("()", "(4, 3, 12)")),
    "dy batched": Bad(lambda f: f.single(zeros(T, 1, H)), ValueError, "dy", ("(4, 1, 6)", "(4, 6)")),
    "dy complex": Bad(lambda f: f.pullback(f.dy * 1j), TypeError, "dy", ("complex64", "real")),
    "dy text": Bad(lambda f: f.pullback("dy"), TypeError, "dy", ("real",)),
    "dstate an array": Bad(lambda f: f.pullback(None, f.h), TypeError, "dstate", ("array", "(h, c)")),
    "dstate one": Bad(lambda f: f.pullback(None, (f.h,)), ValueError, "dstate", ("1", "(h, c)")),
    "dh another shape": Bad(
        lambda f: f.pullback(None, (f.h[:1], None)), ValueError, "dstate", ("h", "(1, 3, 6)", "(4, 3, 6)")),
    "dc another shape": Bad(
        lambda f: f.pullback(f.dy, (f.h, f.c[:, 0])), ValueError, "dstate", ("c", "(4, 6)", "(4, 3, 6)")),
    "dc objects": Bad(
        lambda f: f.pullback(f.dy, (f.h, f.c.astype(object))), TypeError, "dstate", ("c", "object")),
    "dh batched": Bad(
        lambda f: f.single(zeros(T, H), zeros(1, 1, H)), ValueError, "dstate", ("(1, 1, 6)", "(1, 6)")),
}  # fmt: skip

STREAMS = {
    "x_t a sequence": Bad(lambda f: f.stream.step(zeros(T, B, I)), ValueError, "x_t", ("(4, 3, 5)", "(3, 5)")),
    "x_t another batch": Bad(lambda f: f.stream.step(zeros(1, I)), ValueError, "x_t", ("(1, 5)", "(3, 5)")),
    "x_t one of three": Bad(lambda f: f.stream.step(zeros(I)), ValueError, "x_t", ("(5,)", "(3, 5)")),
    "x_t too wide": Bad(lambda f: f.one.step(zeros(I + 1)), ValueError, "x_t", ("(6,)", "(5,)")),
    "x_t complex": Bad(lambda f: f.stream.step(zeros(B, I) * 1j), TypeError, "x_t", ("complex64", "real")),
    "x_t None": Bad(lambda f: f.stream.step(None), TypeError, "x_t", ("None", "real")),
    "batch_size zero": Bad(lambda f: f.gru.stream(0), ValueError, "batch_size", ("0", "1")),
    "batch_size float": Bad(lambda f: f.gru.stream(1.0), TypeError, "batch_size", ("1.0", "integer")),
    "bidirectional": Bad(lambda f: f.layer.stream(), ValueError, "stream", ("bidirectional",)),
    "reset another shape": Bad(
        lambda f: f.stream.reset(zeros(1, B, H + 1)), ValueError, "state", ("(1, 3, 7)", "(1, 3, 6)")),
    "reset unbatched": Bad(lambda f: f.stream.reset(zeros(1, H)), ValueError, "state", ("(1, 6)", "(1, 3, 6)")),
    "reset text": Bad(lambda f: f.stream.reset("zeros"), TypeError, "state", ("real",)),
}  # fmt: skip


def assign(f, name, value):
    f.layer.parameters[name] = value


def load(f, **changes):
    f.layer.load_state_dict({**f.layer.state_dict(), **changes})


def edit(f, name, value):
    with f.layer.edit() as p:
        p[name] = value


PARAMETERS = {
    "assign transposed": Bad(
        lambda f: assign(f, "weight_ih_l0", zeros(I, 4 * H)), ValueError, "weight_ih_l0", ("(5, 24)", "(24, 5)")),
    "assign a number": Bad(
        lambda f: assign(f, "bias_hh_l1", 0.0), ValueError, "bias_hh_l1", ("()", "(24,)")),
    "assign complex": Bad(
        lambda f: assign(f, "bias_ih_l0", zeros(24) * 1j), TypeError, "bias_ih_l0", ("complex64", "real")),
    "assign a new name": Bad(
        lambda f: assign(f, "weight_ih_l2", zeros(24, 5)), ValueError, "weight_ih_l2", ("weight_ih_l0",)),
    "assign in edit": Bad(
        lambda f: edit(f, "weight_hh_l0", zeros(1)), ValueError, "weight_hh_l0", ("(1,)", "(24, 6)")),
    "load a wrong shape": Bad(
        lambda f: load(f, weight_hh_l1_reverse=zeros(24, 5)), ValueError, "weight_hh_l1_reverse", ("(24, 5)",)),
    "load an unknown name": Bad(lambda f: load(f, weight_hr_l0=zeros(2, 6)), ValueError, "weight_hr_l0", ()),
    "load complex": Bad(lambda f: load(f, bias_ih_l0=zeros(24) * 1j), ValueError, "bias_ih_l0", ("complex64",)),
    "load a missing name": Bad(
        lambda f: f.layer.load_state_dict({"weight_ih_l0": zeros(24, 5)}), ValueError, "weight_hh_l0", ("missing",)),
    "load a list": Bad(lambda f: f.layer.load_state_dict([1]), TypeError, "state_dict", ("list", "dict")),
    "rng text": Bad(lambda f: setattr(f.layer, "rng", "seed"), TypeError, "rng", ("'seed'", "Generator")),
}  # fmt: skip

THREADS = {
    "zero": Bad(lambda f: fr.set_num_threads(0), ValueError, "n", ("0", "1")),
    "float": Bad(lambda f: fr.set_num_threads(2.0), TypeError, "n", ("2.0", "integer")),
    "context": Bad(lambda f: fr.num_threads(-1), ValueError, "n", ("-1",)),
}

EVERY = {
    f"{group}: {name}": bad
    for group, table in {"call": CALLS, "pullback": PULLBACKS, "stream": STREAMS,
                         "parameters": PARAMETERS, "threads": THREADS}.items()
    for name, bad in table.items()
}  # fmt: skip


def refuse(bad, *arguments):
    """The call raises exactly this error, with the argument's name and all words in its message."""
    with pytest.raises((TypeError, ValueError)) as caught:
        bad.call(*arguments)
    message = str(caught.value)
    assert caught.type is bad.error, f"{caught.type.__name__}: {message}"
    assert re.search(rf"(?<!\w){re.escape(bad.argument)}(?!\w)", message), message
    for word in bad.words:
        assert word in message, f"{word!r} is not in: {message}"
    assert len(message) < 400, "a message is read by people"


def test_the_table_is_long():
    assert len(CONSTRUCTORS) + len(EVERY) >= 50


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructor(name):
    refuse(CONSTRUCTORS[name])


@pytest.fixture(scope="module")
def fixture():
    return Fixture()


@pytest.mark.smoke
@pytest.mark.parametrize("name", EVERY)
def test_refused_without_effect(fixture, name):
    """Nothing is modified: caller's arrays, parameters, gradients, stream states."""
    before = fixture.snapshot()
    refuse(EVERY[name], fixture)
    for ours, theirs in zip(fixture.snapshot(), before, strict=True):
        assert_same_bits(name, ours, theirs)


def test_pullback_is_usable_after_refusals():
    """After every bad call of the tables the pullbacks and the streams work as if nothing was."""
    touched, calm = Fixture(), Fixture()
    for bad in {**CALLS, **PULLBACKS, **STREAMS, **THREADS}.values():
        refuse(bad, touched)
    results = []
    for f in (touched, calm):
        dx, (dh, dc) = f.pullback(f.data.dy, f.data.dstate)
        single, _ = f.single(np.ones((T, H)))
        y_t = f.stream.step(np.ones((B, I))).copy()
        results.append([dx, dh, dc, single, y_t, *f.layer.grads.values(), *f.gru.grads.values()])
    for ours, theirs in zip(*results, strict=True):
        assert_same_bits("result", ours, theirs)
    assert any(gradient.any() for gradient in touched.layer.grads.values())


def test_pullback_is_usable_after_refused_changes():
    """A refused change of parameters is no change: pullbacks from before it still work."""
    f = Fixture()
    for bad in PARAMETERS.values():
        refuse(bad, f)
    dx, _ = f.pullback(f.data.dy)
    assert dx.shape == (T, B, I) and np.isfinite(dx).all() and dx.any()


def test_parameters_cannot_be_written_in_place():
    layer = Fixture().layer
    array = layer.parameters["weight_ih_l0"]
    with pytest.raises(ValueError):
        array[0, 0] = 1
    with pytest.raises(ValueError):
        array.flags.writeable = True
    with pytest.raises((TypeError, AttributeError)):
        del layer.parameters["weight_ih_l0"]
    with layer.edit() as p:
        kept = p["weight_ih_l0"]
        kept[0, 0] = 1
    with pytest.raises(ValueError):
        kept[0, 0] = 2
    assert layer.parameters["weight_ih_l0"][0, 0] == 1
