"""Optimisers: stored trajectories of PyTorch, the update rules, state, clipping, bad input."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
from cases import on_isa
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import optim
from fastrnn._core import engine
from fastrnn.params import Module

# 100 steps in float64 by PyTorch 2.13 from w = (0.3, -1.2, 0.7) with the gradients of `gradient`.
START = [0.3, -1.2, 0.7]
TRAJECTORIES = [
    ("SGD", {"lr": 0.1}, [0.06490158721834276, 0.11192366387958726, 0.06041938532666036]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
     [-0.03761532545706329, 0.04720992918040111, 0.08641093997934271]),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
     [0.010985253722087612, 0.09885904801730605, 0.08212324446066943]),
    ("RMSprop", {}, [0.01752666727550215, -0.05285657848567932, 0.20156672303081508]),
    ("RMSprop",
     {"lr": 0.02, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.01, "centered": True},
     [0.001241635984449797, 0.03045559922443929, 0.05886211139462424]),
    ("RMSprop", {"momentum": 0.9},
     [-0.014753687234022381, 0.005176907561317356, 0.0160083442627423]),
    ("Adam", {}, [0.26035848380885784, -1.1047258290127222, 0.6564788076125848]),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1, "betas": (0.8, 0.95)},
     [0.005149082074002096, -0.02689960343371683, 0.13579301118123102]),
    ("Adam", {"lr": 0.02, "amsgrad": True},
     [0.001683236972354723, -0.046112575690802626, 0.15676373372573343]),
    ("AdamW", {"lr": 0.02}, [0.0015408690510994253, -0.04373457613357569, 0.1530924172868431]),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.2, "amsgrad": True},
     [-0.00038595371518175634, -0.013395243990934048, 0.09759892906922583]),
]
CLASSES = [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW]


class Weights(Module):
    """Parameters ``a (n,)`` and ``b (1,)`` alone."""

    def __init__(self, n=2, dtype="float64"):
        self._declare([("a", (n,)), ("b", (1,))], dtype)

    def _config(self):
        return {"n": self.parameters["a"].size, "dtype": self.dtype.name}

    def set(self, mapping, values):
        mapping["a"], mapping["b"] = values[:-1], values[-1:]

    def get(self):
        return np.concatenate([self.parameters["a"], self.parameters["b"]])


def gradient(w, step):
    return [c * v + math.sin(i + step) for i, (c, v) in enumerate(zip((1, 2, 0.5), w))]


def run(optimiser, module, steps):
    for step in steps:
        module.set(module.grads, gradient(module.get(), step))
        optimiser.step()


@pytest.mark.parametrize("name, options, expected", TRAJECTORIES)
def test_a_hundred_steps_as_in_torch(name, options, expected):
    module = Weights()
    module.set(module.parameters, START)
    optimiser = getattr(optim, name)([module, module, fr.Sequential(module)], **options)
    run(optimiser, module, range(100))
    assert_close("w", module.get(), np.array(expected), "gradient")


@pytest.mark.parametrize("name, options, expected", TRAJECTORIES)
def test_state_dicts_and_copies_go_on_with_the_same_bits(name, options, expected):
    module = Weights()
    module.set(module.parameters, START)
    optimiser = getattr(optim, name)(module, **options)
    run(optimiser, module, range(40))
    state = optimiser.state_dict()

    resumed = Weights()
    resumed.load_state_dict(module.state_dict())
    other = getattr(optim, name)(resumed, lr=9.0)
    other.load_state_dict(copy.deepcopy(state))
    assert other.lr == optimiser.lr and other.steps == 40 and repr(other) == repr(optimiser)
    third, pickled = pickle.loads(pickle.dumps((optimiser, module)))

    run(optimiser, module, range(40, 100))
    run(other, resumed, range(40, 100))
    run(third, pickled, range(40, 100))
    assert_same_bits("state_dict", resumed.get(), module.get())
    assert_same_bits("pickle", pickled.get(), module.get())


def plain_step(name, options, w, g, state, step):
    """The update rule of one number, as the papers write it."""
    lr, decay = options["lr"], options.get("weight_decay", 0.01 if name == "AdamW" else 0)
    if name == "AdamW":
        w -= lr * decay * w
    else:
        g += decay * w
    if name == "SGD":
        state["b"] = options["momentum"] * state.get("b", 0) + g
        return w - lr * state["b"]
    if name == "RMSprop":
        state["v"] = 0.99 * state.get("v", 0) + 0.01 * g * g
        return w - lr * g / (math.sqrt(state["v"]) + 1e-8)
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
    m, v = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
    return w - lr * m / (math.sqrt(v) + 1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_update_rules_number_by_number_over_several_blocks(name, dtype):
    options = {"lr": 0.05, "weight_decay": 0.1}
    if name == "SGD":
        options["momentum"] = 0.8
    module = Weights(2 * engine.BLOCK + 5, dtype)
    n = 2 * engine.BLOCK + 6
    rng = np.random.default_rng(0)
    module.set(module.parameters, rng.standard_normal(n))
    optimiser = getattr(optim, name)(module, **options)
    places = [0, 1, engine.BLOCK - 1, engine.BLOCK, 2 * engine.BLOCK, n - 2, n - 1]
    expected, states = module.get()[places].astype(float), [{} for _ in places]
    for step in range(1, 4):
        g = rng.standard_normal(n).astype(dtype)
        module.set(module.grads, g)
        optimiser.step()
        for k, place in enumerate(places):
            expected[k] = plain_step(name, options, expected[k], float(g[place]), states[k], step)
    assert_close("w", module.get()[places], expected, "gradient", dtype)


def plain_rule(rule, w, g, buffers, n):
    """What ``engine.update`` does, in NumPy."""
    w = w * n["shrink"]
    g = g + n["decay"] * w
    b = [None if array is None else array.copy() for array in buffers]
    if rule == "adam":
        b[0] += (1 - n["first"]) * (g - b[0])
        b[1] = n["second"] * b[1] + (1 - n["second"]) * g * g
        v = b[1]
        if b[2] is not None:
            v = b[2] = np.maximum(b[2], v)
        return w - n["lr"] * b[0] / (n["unbias"] * np.sqrt(v) + n["eps"]), b
    if rule == "rmsprop":
        b[0] = n["second"] * b[0] + (1 - n["second"]) * g * g
        v = b[0]
        if b[2] is not None:
            b[2] += (1 - n["second"]) * (g - b[2])
            v = v - b[2] ** 2
        step = g / (np.sqrt(v) + n["eps"])
        if b[1] is not None:
            step = b[1] = n["momentum"] * b[1] + step
        return w - n["lr"] * step, b
    step = g
    if b[0] is not None:
        b[0] = g if n["fresh"] else n["momentum"] * b[0] + n["gain"] * g
        step = g + n["momentum"] * b[0] if n["nesterov"] else b[0]
    return w - n["lr"] * step, b


RULES = [  # rule, which of its buffers, numbers
    ("sgd", (0, 0, 0), {}),
    ("sgd", (1, 0, 0), {"decay": 0.1, "gain": 0.7}),
    ("sgd", (1, 0, 0), {"fresh": True}),
    ("sgd", (1, 0, 0), {"nesterov": True}),
    ("rmsprop", (1, 0, 0), {"decay": 0.1}),
    ("rmsprop", (1, 1, 1), {}),
    ("adam", (1, 1, 0), {"shrink": 0.9}),
    ("adam", (1, 1, 1), {"decay": 0.1, "unbias": 3.0}),
]
NUMBERS = {"lr": 0.1, "shrink": 1.0, "decay": 0.0, "momentum": 0.8, "gain": 1.0, "first": 0.9, "second": 0.95,
           "unbias": 1.0, "eps": 1e-3, "fresh": False, "nesterov": False}  # fmt: skip


@pytest.mark.parametrize("isa", [*engine.isas(), "linear"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_rules_of_any_length_touch_nothing_else(dtype, isa):
    rng = np.random.default_rng(0)
    for (rule, has, options), n in itertools.product(RULES, (0, 1, 3, 16, 35)):
        numbers = NUMBERS | options
        around = rng.uniform(0.5, 1, (5, n + 2)).astype(dtype)  # one more element at either end
        arrays = around.copy()
        w, g, *buffers = (row[1:-1] for row in arrays)
        buffers = [row if there else None for row, there in zip(buffers, has)]
        if rule == "rmsprop" and has[2]:
            buffers[2] *= 0.1  # the square of the mean is less than the mean of squares
        double = [None if row is None else row.astype(float) for row in (w, g, *buffers)]
        expected, expected_buffers = plain_rule(rule, double[0], double[1], double[2:], numbers)
        with on_isa(isa):
            engine.update(rule, w, g, buffers, **numbers)
        assert_close(f"{rule} {options}", w, expected, "gradient", dtype)
        assert_same_bits("gradients", g, around[1, 1:-1])
        for result, plain in zip(buffers, expected_buffers):
            if result is not None:
                assert_close(f"buffer of {rule} {options}", result, plain, "gradient", dtype)
        assert_same_bits("what lies around", arrays[:, [0, -1]], around[:, [0, -1]])


@pytest.mark.parametrize("cls", CLASSES)
def test_threads_do_not_show_in_the_bits(cls):
    results = []
    for threads in (1, 2, 3):
        with fr.num_threads(threads):
            module = Weights(5 * engine.BLOCK + 7, "float32")
            module._values[:] = np.random.default_rng(0).standard_normal(module._values.size)
            optimiser = cls(module, lr=0.1)
            norms = []
            for seed in (1, 2):
                module._gradients[:] = np.random.default_rng(seed).standard_normal(module._values.size)
                norms.append(optim.clip_grad_norm(module, 0.5))
                optimiser.step()
        results.append((norms, module._values))
    for norms, values in results[1:]:
        assert norms == results[0][0]
        assert_same_bits("w", values, results[0][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_has_the_same_bits_in_every_target(dtype):
    g = np.random.default_rng(0).standard_normal(engine.BLOCK + 1003).astype(dtype)
    norms = []
    for isa in engine.isas():
        with on_isa(isa):
            norms.append([engine.squares(g[:n]) for n in (0, 1, 15, 16, 17, g.size)])
    assert all(row == norms[0] for row in norms)
    exact = [math.fsum(float(v) ** 2 for v in g[:n]) for n in (0, 1, 15, 16, 17, g.size)]
    assert norms[0] == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_step_changes_only_parameters(cls):
    module = Weights()
    module.set(module.grads, [1, 2, 3])
    version, view = module._version, module.parameters["a"]
    optimiser = cls(module, lr=0.1, weight_decay=0.1)
    optimiser.step()
    assert module._version > version and view.all(), "in place: views stay views"
    assert module._gradients.sum() == 6
    optimiser.zero_grad()
    assert not module._gradients.any()


@pytest.mark.parametrize("cls", CLASSES)
def test_eps_of_zero_gives_no_warning_and_no_nan_in_padding(cls):
    module = fr.Linear(3, 3, dtype="float64")
    module.grads["weight"] = np.ones((3, 3))
    module.grads["bias"] = np.ones(3)
    options = {} if cls is optim.SGD else {"eps": 0}
    cls(module, **options).step()
    assert all(np.isfinite(value).all() for value in module.parameters.values())


def test_lr_and_momentum_can_be_set():
    module = Weights()
    optimiser = optim.SGD(module, lr=1)
    optimiser.lr = np.float32(0.5)
    module.set(module.grads, [1, 1, 1])
    optimiser.step()
    assert (module.get() == -0.5).all()
    optimiser.momentum = 0.5
    optimiser.step()
    optimiser.step()
    assert (module.get() == -0.5 - 0.5 - 0.75).all()
    with pytest.raises(ValueError, match="lr: "):
        optimiser.lr = -1
    assert optimiser.lr == 0.5


def test_float32_stays_float32():
    module = Weights(dtype="float32")
    optimiser = optim.Adam(module, lr=np.float64(0.1))
    module.set(module.grads, [1, 1, 1])
    optimiser.step()
    assert {a.dtype.name for a in optimiser.state_dict()["buffers"].values()} == {"float32"}


def test_state_dict_is_flat_and_named():
    optimiser = optim.Adam([fr.Linear(2, 3), fr.Sequential(fr.Dropout(), fr.Embedding(4, 2))])
    assert optimiser.state_dict()["buffers"] == {}
    optimiser.step()
    state = optimiser.state_dict()
    assert {name: array.shape for name, array in state["buffers"].items()} == {
        "0.weight.exp_avg": (3, 2), "0.weight.exp_avg_sq": (3, 2),
        "0.bias.exp_avg": (3,), "0.bias.exp_avg_sq": (3,),
        "1.weight.exp_avg": (4, 2), "1.weight.exp_avg_sq": (4, 2),
    }
    assert state["steps"] == 1 and state["hyperparameters"]["betas"] == (0.9, 0.999)


def spoiled(state, how):
    state = copy.deepcopy(state)
    buffers = state["buffers"]
    if how == "missing":
        del buffers["0.a.exp_avg"]
    elif how == "shape":
        buffers["0.a.exp_avg"] = np.zeros(7)
    elif how == "extra":
        buffers["1.a.exp_avg"] = np.zeros(2)
    elif how == "complex":
        buffers["0.a.exp_avg"] = np.zeros(2, complex)
    elif how == "class":
        state["optimizer"] = "AdamW"
    elif how == "steps":
        state["steps"] = -1
    elif how == "key":
        del state["steps"]
    elif how == "hyper":
        state["hyperparameters"]["lr"] = -1
    elif how == "hyper name":
        state["hyperparameters"]["alpha"] = 1
    else:
        state["buffers"] = None
    return state


@pytest.mark.parametrize(
    "how, words",
    [
        ("missing", "0.a.exp_avg"), ("shape", "0.a.exp_avg"), ("extra", "1.a.exp_avg"),
        ("complex", "0.a.exp_avg"), ("class", "AdamW"), ("steps", "steps"), ("key", "steps"),
        ("hyper", "lr"), ("hyper name", "alpha"), ("none", "buffers"),
    ],
)
def test_a_refused_state_dict_changes_nothing(how, words):
    module = Weights()
    optimiser = optim.Adam(module, lr=0.1)
    run(optimiser, module, range(3))
    state = optimiser.state_dict()
    bad = spoiled(state, how)
    bad["hyperparameters"].setdefault("eps", 1)
    with pytest.raises((TypeError, ValueError), match=words):
        optimiser.load_state_dict(bad)
    now = optimiser.state_dict()
    assert now["hyperparameters"] == state["hyperparameters"] and now["steps"] == 3
    for name, array in state["buffers"].items():
        assert_same_bits(name, now["buffers"][name], array)


# -- clipping -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grad_norm(dtype):
    left, right = Weights(dtype=dtype), Weights(engine.BLOCK + 3, dtype)
    rng = np.random.default_rng(0)
    for module in (left, right):
        module._gradients[:] = rng.standard_normal(module._gradients.size)
    gradients = [module._gradients.astype(float) for module in (left, right)]
    norm = math.sqrt(math.fsum(float(v) ** 2 for g in gradients for v in g))
    modules = [left, fr.Sequential(right, left)]
    assert optim.clip_grad_norm(modules, 1e6) == pytest.approx(norm, rel=1e-6)
    assert (left._gradients == gradients[0]).all()
    assert optim.clip_grad_norm(modules, 2.0) == pytest.approx(norm, rel=1e-6)
    for module, g in zip((left, right), gradients):
        assert_close("clipped", module._gradients, g * 2 / (norm + 1e-6), "gradient", dtype)


def test_clip_grad_norm_does_not_overflow_in_float32():
    module = Weights(dtype="float32")
    module.set(module.grads, [3e30, 4e30, 0])
    assert optim.clip_grad_norm(module, 1.0) == pytest.approx(5e30, rel=1e-6)
    assert module.grads["a"].tolist() == pytest.approx([0.6, 0.8], rel=1e-6)


def test_clip_grad_norm_of_what_is_not_finite():
    module = Weights()
    module.set(module.grads, [np.nan, 1, 1])
    assert math.isnan(optim.clip_grad_norm(module, 0.1)) and module.grads["b"] == 1
    module.set(module.grads, [np.inf, 1, 1])
    assert optim.clip_grad_norm(module, 0.1) == math.inf and module.grads["b"] == 0


def test_clip_grad_value():
    module = Weights()
    module.set(module.grads, [-3, 0.5, 3])
    optim.clip_grad_value([module, module], 1)
    assert module.grads["a"].tolist() == [-1, 0.5] and module.grads["b"] == 1


# -- bad input ------------------------------------------------------------------------------


def adam(**options):
    return lambda: optim.Adam(fr.Linear(1, 1), **options)


def sgd(**options):
    return lambda: optim.SGD(fr.Linear(1, 1), **options)


BAD = {
    "no modules": (lambda: optim.SGD([]), ValueError, "modules: "),
    "no parameters": (lambda: optim.SGD(fr.Dropout()), ValueError, "modules: .*none"),
    "none": (lambda: optim.Adam(None), TypeError, "modules: .*None"),
    "parameters": (lambda: optim.Adam(fr.Linear(1, 1).parameters), TypeError, "modules: "),
    "arrays": (lambda: optim.Adam([np.zeros(3)]), TypeError, "modules: .*shape"),
    "lr": (adam(lr=-0.1), ValueError, "lr: .*-0.1"),
    "lr nan": (adam(lr=float("nan")), ValueError, "lr: .*nan"),
    "lr text": (adam(lr="0.1"), TypeError, "lr: .*'0.1'"),
    "lr complex": (adam(lr=1j), TypeError, "lr: .*1j"),
    "beta": (adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\]: .*1.0"),
    "betas": (adam(betas=0.9), TypeError, "betas: .*0.9"),
    "three betas": (adam(betas=(0.9, 0.9, 0.9)), TypeError, "betas: "),
    "eps": (adam(eps=-1e-8), ValueError, "eps: "),
    "decay": (adam(weight_decay=-1), ValueError, "weight_decay: "),
    "amsgrad": (adam(amsgrad=1), TypeError, "amsgrad: .*1"),
    "momentum": (sgd(momentum=-1), ValueError, "momentum: "),
    "nesterov": (sgd(nesterov=True), ValueError, "nesterov: .*momentum"),
    "dampening": (sgd(nesterov=True, momentum=0.9, dampening=0.1), ValueError, "nesterov: "),
    "alpha": (lambda: optim.RMSprop(fr.Linear(1, 1), alpha=2), ValueError, "alpha: "),
    "norm": (lambda: optim.clip_grad_norm(fr.Linear(1, 1), -1), ValueError, "max_norm: "),
    "no norm": (lambda: optim.clip_grad_norm(fr.Linear(1, 1), None), TypeError, "max_norm: .*None"),
    "norm modules": (lambda: optim.clip_grad_norm(3, 1), TypeError, "modules: .*3"),
    "value": (lambda: optim.clip_grad_value(fr.Linear(1, 1), -1), ValueError, "clip_value: "),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
