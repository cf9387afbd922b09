"""Checkpoints: the bits of the plain run, whatever is combined with them, in a memory that does not grow with it.

Blocks of backward hold 1,024 rows at these sizes, so that with B = 60 a segment is 17 steps, and 60 steps are four.
"""

import copy
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import Case, Data, dealt_out
from hypothesis import given
from hypothesis import strategies as st
from masked import SEED, masked, parts, rates_of, with_all
from rows import CELLS, TELLING
from strategies import per_cell
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

MB = 2**20


def results(data, layer, seed=SEED):
    """All that a pass of training gives, by name."""
    layer.rng = seed
    layer.zero_grad()
    y, state, pullback = layer.vjp(*data.calls())
    before = y.copy()
    dx, dstate0 = pullback(data.dy, data.dstate)
    assert_same_bits("y after its pullback", y, before)
    return {"y": y, "dx": dx, **{f"state {i}": part for i, part in enumerate(parts(state))},
            **{f"dstate0 {i}": part for i, part in enumerate(parts(dstate0))},
            **{name: gradient.copy() for name, gradient in layer.grads.items()}}  # fmt: skip


def with_checkpoints(layer, steps):
    """The same layer, its parameters and rates, that keeps states every so many steps."""
    twin = type(layer)(**layer._config() | {"checkpoint": steps})
    twin.load_state_dict(layer.state_dict())
    return twin


def check(case, *steps):
    data = Data(case)
    layer = data.layer()
    expected = results(data, layer)
    for n in steps:
        found = results(data, with_checkpoints(layer, n))
        for (name, ours), theirs in zip(found.items(), expected.values(), strict=True):
            assert_same_bits(f"{name} with a checkpoint every {n} steps", ours, theirs)


def lengths_of(T, B):
    """One of T, one of 0, and others in no order; most of them end before the last segment."""
    rng = np.random.default_rng(0)
    return tuple(rng.permutation([T, 0, 1, *rng.integers(0, 2 * T // 3, B - 3)]).tolist())


# ---------------------------------------------------------------- the same bits


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_bits_of_the_plain_run(cell, dtype):
    """Ragged and not; on one thread and on three; under masks."""
    case = Case(cell, I=4, H=6, T=60, B=60, dtype=dtype)
    check(case, 1, 20, 61)
    ragged = Case(cell, I=4, H=5, L=2, D=2, T=60, B=60, dtype=dtype, lengths=lengths_of(60, 60), padding=np.nan)
    with dealt_out(3):
        check(with_all(ragged), 1)


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.15)
@given(st.data())
def test_bits_of_every_call(cell, data):
    """Any lengths, states, layout, number of steps and threads, and all that stacks can be."""
    T, B = data.draw(st.sampled_from([(0, 3), (1, 1), (30, 80), (50, 53), (8, 300)]))
    stack = {"merge": data.draw(st.sampled_from(["concat", "sum", "mean", "mul"]))}
    if not cell.startswith("mut"):
        stack["skip"] = data.draw(st.sampled_from(["none", "input", "output", "residual"]))
    if not cell.startswith("slstm"):
        stack["learn_state"] = data.draw(st.booleans())
    case = Case(
        cell, I=data.draw(st.sampled_from([1, 4, 17])), H=data.draw(st.sampled_from([3, 8, 17])),
        L=data.draw(st.integers(1, 2)), D=data.draw(st.sampled_from([1, 2])), T=T, B=B,
        dtype=data.draw(st.sampled_from(["float32", "float64"])),
        batch_first=data.draw(st.booleans()), bias=data.draw(st.booleans()), padding=np.nan,
        lengths=data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B).map(tuple)),
        state=data.draw(st.sampled_from(["none", "all"])), dstate=data.draw(st.sampled_from(["none", "all"])),
        dy=data.draw(st.booleans()),
        layout=data.draw(st.sampled_from(["plain", "fortran", "read-only", "other dtype"])),
    )  # fmt: skip
    rates = {name: data.draw(st.sampled_from([0.0, 0.3])) for name in rates_of(cell)}
    with dealt_out(data.draw(st.integers(1, 3))):
        check(masked(case, stack, **rates), data.draw(st.sampled_from([1, 2, 7, 25, 1000])))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("cell", TELLING)
def test_bits_of_one_long_sequence(cell, threads):
    """A batch of 1 and of 3, whose hidden blocks threads share, over blocks of some hundred steps."""
    with dealt_out(threads):
        check(Case(cell, I=4, H=34, T=700, B=1, dtype="float32"), 1, 300)
        check(Case(cell, I=3, H=9, L=2, T=700, B=3, lengths=(500, 700, 2)), 100)


def test_bits_of_large_layers():
    """Several tiles and panels, parts of different sizes."""
    for B in (40, 37):
        with fr.num_threads(2):
            check(Case("lstm", I=64, H=64, T=60, B=B, dtype="float32"), 1, 30)
    with fr.num_threads(3):
        check(Case("gru", I=130, H=130, D=2, T=30, B=13, lengths=lengths_of(30, 13)), 1)


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul"])
@pytest.mark.parametrize("skip", ["none", "input", "output", "residual"])
def test_bits_of_stacks(skip, merge):
    """Three layers, with dropout between them, whose directions are joined in each way."""
    case = Case("gru", I=4, H=4, L=3, D=2, T=40, B=64, lengths=lengths_of(40, 64), padding=np.nan)
    check(masked(case, {"merge": merge, "skip": skip, "learn_state": True}, dropout=0.5, input_dropout=0.5), 5)


def test_cell_states_have_the_same_bits():
    """``return_cell_states``: c_seq, and what comes back through it."""
    x, dc_seq = (np.random.default_rng(seed).standard_normal((60, 60, 4)) for seed in range(2))
    layer = fr.LSTM(4, 4, return_cell_states=True, dtype="float64", rng=0)
    found = []
    for one in (layer, with_checkpoints(layer, 1)):
        y, _, c_seq, pullback = one.vjp(x, lengths=lengths_of(60, 60))
        found.append([y, c_seq, pullback(x, dc_seq=dc_seq)[0], *one.grads.values()])
    for ours, theirs in zip(*found, strict=True):
        assert_same_bits("result", ours, theirs)


# ---------------------------------------------------------------- pullbacks, processes, other modules


def test_pullbacks_alive_at_once():
    """Each runs its own segments again, in any order; one may be called once, and not with other weights."""
    data = Data(masked(Case("lstm", L=2, D=2, T=40, B=64), recurrent_dropout=0.5, zoneout=0.3))
    layer = with_checkpoints(data.layer(), 1)
    expected = [results(data, layer, seed) for seed in range(3)]
    layer.zero_grad()
    pullbacks = []
    for seed in range(3):
        layer.rng = seed
        pullbacks.append(layer.vjp(*data.calls())[2])
    for seed in (1, 2, 0):
        assert_same_bits("dx", pullbacks[seed](data.dy, data.dstate)[0], expected[seed]["dx"])
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, sum(one[name] for one in expected), "gradient")
    with pytest.raises(RuntimeError):
        pullbacks[0](data.dy)
    pullback = layer.vjp(*data.calls())[2]
    with layer.edit() as p:
        p["bias_ih_l0"][...] += 1
    with pytest.raises(RuntimeError):
        pullback(data.dy)


def test_other_threads_in_the_pullback():
    """It runs the segments again with the sets of sequences of its ``vjp``, whatever the number of threads is then."""
    data = Data(masked(Case("lstm", L=2, D=2, T=40, B=64, lengths=lengths_of(40, 64)), zoneout=0.3))
    plain = data.layer()
    found = []
    for layer in (plain, with_checkpoints(plain, 1)):
        for before, after in ((3, 1), (1, 3), (2, 5)):
            layer.rng = SEED
            layer.zero_grad()
            with dealt_out(before):
                pullback = layer.vjp(*data.calls())[2]
            with dealt_out(after):
                dx = pullback(data.dy, data.dstate)[0]
            found.append([dx, *(gradient.copy() for gradient in layer.grads.values())])
    for one, other in zip(found[:3], found[3:]):
        for ours, theirs in zip(one, other, strict=True):
            assert_same_bits("gradient", theirs, ours)


def test_threads_share_a_layer():
    """Pullbacks that run at once do not meet in what they compute again."""
    data = [Data(Case("gru", I=8, H=16, L=2, T=60, B=60, dtype="float32", seed=seed)) for seed in range(4)]
    layer, start = with_checkpoints(data[0].layer(), 1), threading.Barrier(4)

    def work(own, together=True):
        found = []
        for _ in range(3):
            if together:
                start.wait(timeout=60)
            y, _, pullback = layer.vjp(*own.calls())
            found += [y, pullback(own.dy, own.dstate)[0]]
        return found

    expected = [work(own, together=False) for own in data]
    with ThreadPoolExecutor(4) as pool:
        for found, serial in zip(pool.map(work, data), expected, strict=True):
            for ours, theirs in zip(found, serial, strict=True):
                assert_same_bits("result", ours, theirs)


def test_a_refused_call_has_no_effect():
    data = Data(Case("gru", T=40, B=64))
    layer = with_checkpoints(data.layer(), 1)
    expected = results(data, layer)
    layer.zero_grad()
    y, _, pullback = layer.vjp(*data.calls())
    with pytest.raises(ValueError):
        pullback(data.dy[1:])
    assert not any(gradient.any() for gradient in layer.grads.values())
    assert_same_bits("dx", pullback(data.dy, data.dstate)[0], expected["dx"])
    assert_same_bits("weight_hh_l0", layer.grads["weight_hh_l0"], expected["weight_hh_l0"])


def test_x_is_read_again():
    """It is not copied, as the documentation says; what had to be converted is the engine's own."""
    assert "is then not copied and must stay as it is until the pullback has run" in " ".join(fr.LSTM.__doc__.split())
    data = Data(Case("gru", T=40, B=64, dtype="float32"))
    expected = results(data, data.layer())["dx"]

    def dx_after(layer, x):
        pullback = layer.vjp(x, data.state)[2]
        x *= 2
        return pullback(data.dy, data.dstate)[0]

    layer = with_checkpoints(data.layer(), 1)
    assert (dx_after(layer, data.x.copy()) != expected).any()
    assert_same_bits("converted", dx_after(layer, data.x.astype(np.float64)), expected)
    assert_same_bits("without checkpoints", dx_after(data.layer(), data.x.copy()), expected)


FORK = """
import os, signal
import numpy as np
import fastrnn as fr
signal.alarm(60)
fr.set_num_threads(2)
layer = fr.LSTM(20, 40, 2, bidirectional=True, recurrent_dropout=0.3, zoneout=0.2, checkpoint=1, rng=0)
x = np.random.default_rng(0).standard_normal((60, 33, 20)).astype("float32")

def back(pullback):
    layer.zero_grad()
    dx, _ = pullback(np.ones((60, 33, 80), "float32"))
    return [array.tobytes() for array in (dx, *layer.grads.values())]

def forth():
    layer.rng = 0
    return layer.vjp(x)[2]

expected, pullback = back(forth()), forth()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if back(pullback) == back(forth()) == expected else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"
assert back(pullback) == expected, "the parent changed"
print("fine")
"""


def script(text):
    """Run a Python program that must succeed; returns what it printed."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fork():
    """A pullback runs its segments again on either side of a fork."""
    assert script(FORK) == "fine\n"


def test_other_modules_call_it():
    """``tbptt`` and ``Sequential`` with checkpointed layers: the bits without."""
    data = Data(Case("lstm", T=60, B=60, dtype="float32"))
    plain = data.layer()
    found = []
    for layer in (plain, with_checkpoints(plain, 1)):
        head = fr.Linear(5, 2, rng=0)
        y, pullback = fr.Sequential(layer, head).vjp(data.x)
        found.append([y, pullback(np.ones_like(y)), *layer.grads.values()])
        layer.zero_grad()
        value, state = fr.tbptt(layer, data.x, lambda y, t0: (float(y.sum()), np.ones_like(y)), 20, 40)
        found[-1] += [np.float64(value), *state, *layer.grads.values()]
    for ours, theirs in zip(*found, strict=True):
        assert_same_bits("result", ours, theirs)


# ---------------------------------------------------------------- memory

PEAK = """
import numpy as np
import fastrnn as fr

def kilobytes(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))

fr.set_num_threads({threads})
T, H = {T}, {H}
layer = fr.LSTM(H, H, checkpoint={checkpoint}, rng=0)
warm = np.ones((10, 1, H), np.float32)
y, _, pullback = layer.vjp(warm)
pullback(np.ones_like(y))
del y, pullback, warm
x = np.random.default_rng(0).standard_normal((T, 1, H), dtype=np.float32)
dy = np.ones((T, 1, H), np.float32)
before = kilobytes("VmRSS")
y, _, pullback = layer.vjp(x)
dx, _ = pullback(dy)
print(kilobytes("VmHWM") - before - (y.nbytes + dx.nbytes) // 1024)
"""
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")


def extra(**sizes):
    """Bytes of the peak of a pass beyond x, y, dy, dx and parameters, above the level after a warm-up call."""
    return 1024 * int(script(PEAK.format(**sizes)))


@needs_proc
@pytest.mark.parametrize("threads", [1, 2])
def test_memory(threads):
    """20,000 steps of H = 64 keep 26 MB of gates and cell states; in segments of 1,024 steps one of them is there."""
    assert extra(T=20_000, H=64, checkpoint=None, threads=threads) > 24 * MB
    assert extra(T=20_000, H=64, checkpoint=64, threads=threads) < 8 * MB


@needs_proc
@pytest.mark.nightly
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_of_a_very_long_sequence(threads):
    """LSTM, T = 100,000, B = 1, H = 256, a state every 316 steps: at most 24 MB, for 0.5 GB without."""
    assert extra(T=100_000, H=256, checkpoint=316, threads=threads) < 24 * MB


# ---------------------------------------------------------------- the argument


@pytest.mark.parametrize("value", [None, 1, np.int64(3), 10**30])
def test_the_argument(value, tmp_path):
    """Any number of steps; layers keep it when they are copied or written."""
    layer = fr.GRU(3, 4, checkpoint=value, rng=0)
    assert layer.checkpoint == value and type(layer.checkpoint) in (int, type(None))
    fr.save(tmp_path / "layer.safetensors", layer)
    for twin in (copy.deepcopy(layer), fr.load(tmp_path / "layer.safetensors")):
        assert twin.checkpoint == value and repr(twin) == repr(layer)
    y, _, pullback = layer.vjp(np.ones((5, 2, 3)))
    assert pullback(np.ones_like(y))[0].any()
    with pytest.raises(AttributeError):
        layer.checkpoint = 2


REFUSED = {
    "zero": (0, ValueError, "checkpoint.*at least 1.*0"),
    "negative": (-5, ValueError, "checkpoint.*at least 1.*-5"),
    "float": (2.0, TypeError, "checkpoint.*integer.*2.0"),
    "bool": (True, TypeError, "checkpoint.*integer.*True"),
    "text": ("10", TypeError, "checkpoint.*integer.*'10'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    value, error, message = REFUSED[name]
    for layer in (fr.LSTM, fr.SRU, fr.MGU):
        with pytest.raises(error, match=f"^{message}"):
            layer(3, 4, checkpoint=value)


@pytest.mark.parametrize("cell", TELLING)
def test_a_call_is_not_concerned(cell):
    """Inference, streams included, has the bits it has without."""
    data = Data(Case(cell, T=40, B=6, dtype="float32"))
    plain = data.layer()
    layer = with_checkpoints(plain, 1)
    (y, state), (expected_y, expected) = layer(*data.calls()), plain(*data.calls())
    assert_same_bits("y", y, expected_y)
    for ours, theirs in zip(parts(state), parts(expected), strict=True):
        assert_same_bits("state", ours, theirs)
    stream = layer.stream(6)
    stream.reset(data.state)
    for x_t, y_t in zip(data.x, y):
        assert_same_bits("y_t", stream.step(x_t).copy(), y_t)
