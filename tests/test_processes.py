"""Threads that share a layer, the GIL, fork, and the memory of many and of long calls."""

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import Case, Data
from rows import TELLING
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

MB = 2**20


def script(text, timeout=120):
    """Run a Python program that must succeed; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("own_threads", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole_proj", *TELLING])
def test_eight_threads_share_a_layer(cell, own_threads):
    """Concurrent calls and passes of one layer give what they give one after the other."""
    all_data = [
        Data(Case(cell, I=20, H=40, L=2, D=2, T=15 + seed, B=1 + seed, dtype="float32", seed=seed))
        for seed in range(8)
    ]
    layer = all_data[0].layer()
    start = threading.Barrier(8)

    def work(data, together=True):
        results = []
        for _ in range(5):
            if together:
                start.wait(timeout=60)
            y, state = layer(*data.calls())
            vjp_y, vjp_state, pullback = layer.vjp(*data.calls())
            dx, dstate0 = pullback(data.dy, data.dstate)
            states = map(data.plain_state, (state, vjp_state, dstate0))
            results.append((y, vjp_y, dx, *(part for parts in states for part in parts)))
        return results

    with fr.num_threads(own_threads):
        serial = [work(data, together=False) for data in all_data]
        gradients = {name: array.copy() for name, array in layer.grads.items()}
        layer.zero_grad()
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(work, all_data))
    for ours, theirs in zip(parallel, serial, strict=True):
        for result, expected in zip(ours, theirs, strict=True):
            for array, same in zip(result, expected, strict=True):
                assert_same_bits(cell, array, same)
    for name, array in layer.grads.items():  # the order of adding is not fixed
        assert_close(name, array, gradients[name], "gradient")


def test_eight_threads_meet_new_weights():
    """The first calls after a change, all at once: nobody computes with half-packed weights."""
    data = Data(Case("lstm", I=64, H=96, L=2, T=3, B=2, dtype="float32"))
    layer = data.layer()
    start = threading.Barrier(8)

    def work(_):
        start.wait(timeout=60)
        return layer(*data.calls())[0]

    with ThreadPoolExecutor(8) as pool:
        for scale in (1.0, 0.5, 0.25, 0.125, 2.0):
            with layer.edit() as p:
                for name, array in p.items():
                    array[...] = data.parameters[name] * scale
            results = list(pool.map(work, range(8)))
            expected = layer(*data.calls())[0]
            for y in results:
                assert_same_bits("y", y, expected)


@pytest.mark.parametrize("form", ["call", "vjp", "pullback"])
def test_the_gil_is_released(form):
    """Another Python thread keeps running during one long call."""
    layer = fr.LSTM(256, 512, rng=0)
    x = np.ones((60, 16, 256), np.float32)
    pullback = None
    gaps, running = [], threading.Event()
    done = threading.Event()

    def watch():
        running.set()
        last = time.perf_counter()
        while not done.is_set():
            now = time.perf_counter()
            gaps.append((now - last, last, now))
            last = now

    def long_call():
        started = time.perf_counter()
        if form == "call":
            layer(x)
        elif form == "vjp":
            layer.vjp(x)
        else:
            pullback(dy)
        return started, time.perf_counter()

    with fr.num_threads(1):
        layer(x)  # packs the weights
        shares = []
        for _ in range(3):  # a machine that is busy elsewhere may stall the watcher once
            y, _, pullback = layer.vjp(x)
            dy = np.ones_like(y)
            gaps.clear(), running.clear(), done.clear()
            watcher = threading.Thread(target=watch)
            watcher.start()
            running.wait(timeout=60)
            started, ended = long_call()
            done.set()
            watcher.join(timeout=60)
            inside = [min(now, ended) - max(last, started) for _, last, now in gaps]
            shares.append(max(inside) / (ended - started))
    assert min(shares) < 0.5, f"the watcher stood still for {min(shares):.0%} of the call"


FORK = """
import os, signal, warnings
import numpy as np
import fastrnn as fr
warnings.simplefilter("ignore")
signal.alarm(60)
fr.set_num_threads(2)
layer = fr.LSTM(65, 130, 2, bidirectional=True, rng=0)
x = np.random.default_rng(0).standard_normal((20, 17, 65)).astype("float32")

def train():
    layer.zero_grad()
    y, _, pullback = layer.vjp(x)
    dx, _ = pullback(y)
    return [layer(x)[0], y, dx, *layer.grads.values()]

before = [array.tobytes() for array in train()]
for generation in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        same = [array.tobytes() for array in train()] == before
        again = fr.GRU(65, 130, rng=1)(x)[0]
        if generation == 1:  # a child of a child
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if [array.tobytes() for array in train()] == before else 3)
            same = same and os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
        os._exit(0 if same and np.isfinite(again).all() else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"
    assert [array.tobytes() for array in train()] == before, "the parent changed"
print("fine")
"""


@pytest.mark.smoke
@pytest.mark.parametrize("variable", ["1", "2", "5"])
def test_fork(variable, monkeypatch):
    """After threads were used, a forked child and its child compute the same bits."""
    monkeypatch.setenv("FASTRNN_NUM_THREADS", variable)
    assert script(FORK.replace("set_num_threads(2)", f"set_num_threads({variable})")) == "fine\n"


# ---------------------------------------------------------------- memory


def resident():
    """Bytes of memory this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")


def growth(work, times):
    """How much resident memory ``times`` more repetitions of ``work`` take."""
    for _ in range(times // 10):
        work()
    gc.collect()
    before = resident()
    for _ in range(times):
        work()
    gc.collect()
    return resident() - before


@needs_proc
@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole_proj", "gru_reset_before"])
def test_no_leak(cell):
    """A leak of one array of a call, which has 1 KB and more, would take 3 MB and more."""
    data = Data(Case(cell, I=16, H=16, L=2, D=2, T=3, B=4, dtype="float32", lengths=(3, 1, 0, 2)))
    layer = data.layer()

    def train():
        _, _, pullback = layer.vjp(*data.calls())
        pullback(data.dy, data.dstate)

    assert growth(lambda: layer(*data.calls()), 20_000) < 2 * MB
    assert growth(train, 5000) < 2 * MB
    assert growth(lambda: layer.vjp(*data.calls()), 3000) < 2 * MB, "of a pullback never called"


@needs_proc
def test_no_leak_of_layers_streams_and_errors():
    x = np.ones((2, 1, 64), np.float32)

    def make():
        layer = fr.LSTM(64, 64, rng=0)
        layer(x)
        with layer.edit() as p:
            p["weight_hh_l0"][0, 0] += 1
        layer.stream(3).step(np.ones((3, 64), np.float32))

    layer = fr.GRU(64, 64, rng=0)

    def refuse():
        for bad in (np.ones((2, 1, 63)), "x", None, np.ones((2, 1, 64), complex)):
            with pytest.raises((TypeError, ValueError)):
                layer(bad)
            with pytest.raises((TypeError, ValueError)):
                layer(x, lengths=("x", bad))

    assert growth(make, 1000) < 4 * MB
    assert growth(refuse, 2000) < 2 * MB


@needs_proc
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm_proj", "gru_reset_before", "lstm_norm", "sru", "slstm"])
def test_no_leak_over_100_000_calls(cell):
    data = Data(Case(cell, I=4, H=4, L=2, T=2, B=1, dtype="float32"))
    layer = data.layer()
    assert growth(lambda: layer(*data.calls()), 100_000) < 2 * MB


PEAK = """
import numpy as np
import fastrnn as fr

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

layer = fr.{layer}(4, 64, num_layers={layers}, rng=0)
x = np.ones(({steps}, 4, 4), np.float32)
layer(x[:100])
before = peak()
y, _ = layer(x)
print(peak() - before, y.nbytes)
"""


@needs_proc
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
def test_inference_memory_is_the_output(layer, layers):
    """A call of 30,000 steps takes the memory of its output and a constant."""
    peak, output = map(int, script(PEAK.format(layer=layer, layers=layers, steps=30_000)).split())
    assert output == 30_000 * 4 * 64 * 4
    assert peak < output + 6 * MB, f"{peak / MB:.1f} MB for {output / MB:.1f} MB of output"
