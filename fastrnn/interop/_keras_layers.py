"""Layers of Keras, as class name, configuration and weights, to layers of fastrnn and back. Needs no Keras.

Keras keeps a kernel as ``(I, G*H)``, the transpose of a weight, gates side by side: LSTM i, f, c, o, as here; GRU z, r, h,
here r, z, n. In both, z is the share of the old state. An LSTM, a SimpleRNN and a GRU that resets before the product have
one bias, which is the sum of the two here; a GRU that resets after it has ``(2, 3H)``.
"""

import re

import numpy as np

from .. import _validate
from ..blocks import Dropout, Embedding, Linear, Sequential
from ..layers import GRU, LSTM, RNN
from ._filled import filled, stacked
from ._keras_blocks import Final, Masked, Masking

#: Class of Keras -> ours.
RECURRENT = {"SimpleRNN": RNN, "LSTM": LSTM, "GRU": GRU}
NAMES = {ours: theirs for theirs, ours in RECURRENT.items()}
_ORDERS = {RNN: (0,), LSTM: (0, 1, 2, 3), GRU: (1, 0, 2)}  # each its own inverse
_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul"}

#: Keras's name of an activation -> ours with alpha and beta.
_ACTIVATIONS = {
    "tanh": ("tanh",), "sigmoid": ("sigmoid",), "relu": ("relu",), "linear": ("identity",), None: ("identity",),
    "elu": ("elu", 1.0), "leaky_relu": ("leaky_relu", 0.2), "softsign": ("softsign",), "softplus": ("softplus",),
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5), "hard_tanh": ("hard_tanh",),
}  # fmt: skip
#: Options that Keras does not have, and the values of them that change nothing.
_ONLY = {
    "residual": (False,), "peephole": (False,), "coupled": (False,), "proj_size": (0,), "clip": (None,),
    "layer_norm": (False,), "zoneout": (0, (0, 0)), "weight_drop": (0,), "skip": ("none",), "learn_state": (False,),
    "return_cell_states": (False,),
}  # fmt: skip


# -- weights ----------------------------------------------------------------------------------


def _turned(matrix, order):
    """``(N, G*H)`` with its gates reordered, as ``(G*H, N)``."""
    return matrix.reshape(len(matrix), len(order), -1)[:, order].reshape(matrix.shape).T


def _reordered(bias, order):
    return bias.reshape(len(order), -1)[list(order)].reshape(-1)


def fitting(cls, weights, options):
    """The constructor's arguments of the layer that has these weights, and its parameters."""
    if cls in (Embedding, Linear):
        arrays = _validate.keras_table(weights, cls is Linear)
        sizes = arrays[0].shape
        options = {"dtype": arrays[0].dtype} | options
        if cls is Embedding:
            return sizes, options, {"weight": arrays[0]}
        return sizes, {"bias": len(arrays) == 2} | options, dict(zip(("weight", "bias"), (arrays[0].T, *arrays[1:])))
    order = _ORDERS[cls]
    directions = _validate.keras_weights(weights, len(order), cls is GRU)
    kernel, recurrent, bias = directions[0]
    if cls is GRU and bias is not None:
        after = bias.ndim == 2
        _validate.expressible(options.get("reset_after", after), (after,), "reset_after", "GRU",
                              f"a bias of shape {bias.shape}")  # fmt: skip
        options = options | {"reset_after": after}
    options = {"bias": bias is not None, "bidirectional": len(directions) == 2, "dtype": kernel.dtype} | options
    named = {}
    for suffix, (kernel, recurrent, bias) in zip(("_l0", "_l0_reverse"), directions):
        named["weight_ih" + suffix] = _turned(kernel, order)
        named["weight_hh" + suffix] = _turned(recurrent, order)
        if bias is not None:
            both = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            named |= {name + suffix: _reordered(b, order) for name, b in zip(("bias_ih", "bias_hh"), both)}
    return (len(kernel), len(recurrent)), options, named


def made(cls, weights, options):
    """The layer of these weights."""
    sizes, options, named = fitting(cls, weights, options)
    return filled(lambda: cls(*sizes, **options), named)


def weights_of(module, layer=0):
    """What ``get_weights()`` of the layer of Keras gives; of a recurrent module that of one of its layers."""
    named = module.parameters
    if isinstance(module, Embedding):
        return [named["weight"].copy()]
    if isinstance(module, Linear):
        return [named["weight"].T.copy(), *([named["bias"].copy()] if module.bias else [])]
    order, weights = _ORDERS[type(module)], []
    for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: module.num_directions]:
        for name in ("weight_ih", "weight_hh"):
            weights.append(np.ascontiguousarray(_turned(named[name + suffix].T, order).T))
        if module.bias:
            ih, hh = (_reordered(named[name + suffix], order) for name in ("bias_ih", "bias_hh"))
            if has_two_biases(module):
                weights.append(np.stack([ih, hh]))
            else:
                weights.append(np.where(hh == 0, ih, ih + hh))  # the sum, without losing the sign of a zero
    return weights


def has_two_biases(module):
    """Whether Keras keeps the two biases of a layer apart."""
    return isinstance(module, GRU) and module._config()["reset_after"]


# -- from configurations ------------------------------------------------------------------------


def _activation(config, name, usual, owner):
    """An activation of a configuration, as ours."""
    value = config.get(name, usual)
    return _ACTIVATIONS[_validate.expressible(value, tuple(_ACTIVATIONS), name, owner, "fastrnn")]


def _plain(entry):
    """A name alone where there are no numbers, so that the cell's own kernel is taken."""
    return entry if len(entry) > 1 else entry[0]


def _options(name, config, backward=False):
    """The options of our layer for a configuration of SimpleRNN, LSTM or GRU."""
    for option, only in (("go_backwards", backward), ("stateful", False)):
        _validate.expressible(config.get(option, only), (only,), option, name, "fastrnn")
    inner = _activation(config, "activation", "tanh", name)
    options = {"input_dropout": config.get("dropout", 0.0), "recurrent_dropout": config.get("recurrent_dropout", 0.0),
               "batch_first": True}  # fmt: skip
    if name == "SimpleRNN":
        numbers = dict(zip(("nonlinearity", "alpha", "beta"), inner))
        return options | numbers
    gate = _plain(_activation(config, "recurrent_activation", "sigmoid", name))
    if name == "LSTM":
        return options | {"activations": (gate, _plain(inner), _plain(inner))}
    return options | {"activations": (gate, _plain(inner)), "reset_after": config.get("reset_after", True)}


def _recurrent(name, config, weights):
    """A layer, or one of two directions."""
    if name != "Bidirectional":
        return made(RECURRENT[name], weights, _options(name, config))
    merge = config.get("merge_mode", "concat")
    merge = _MERGES[_validate.expressible(merge, tuple(_MERGES), "merge_mode", name, "fastrnn")]
    first, second = entry(config.get("layer")), entry(config.get("backward_layer"))
    name = _validate.keras_class(first[0], RECURRENT, "a Bidirectional of fastrnn")
    _validate.expressible(second[0], (name,), "backward_layer", "Bidirectional", "fastrnn")
    options = _options(name, first[1])
    for option, value in _options(name, second[1], backward=True).items():
        _validate.expressible(value, (options[option],), f"backward_layer: {option}", "Bidirectional", "fastrnn")
    return made(RECURRENT[name], weights, options | {"merge": merge})


def entry(description):
    """Class name and configuration of a layer in a configuration."""
    _validate.keras_entry(description)
    return description["class_name"], description["config"]


def converted(name, config, weights):
    """The module of a layer of Keras: one of ``CONVERTED``."""
    if name == "TimeDistributed":  # the last axis is the only one that a Linear asks for
        name, config = entry(config.get("layer"))
        _validate.keras_class(name, ("Dense",), "a TimeDistributed of fastrnn")
    if name == "Dense":
        _validate.expressible(config.get("activation", "linear"), ("linear", None), "activation", name, "fastrnn")
        return made(Linear, weights, {})
    if name == "Embedding":
        return made(Embedding, weights, {"padding_idx": 0} if config.get("mask_zero") else {})
    if name == "Dropout":
        shape = config.get("noise_shape")
        rate = config.get("rate")
        _validate.expressible(shape, (None,), "noise_shape", name, "fastrnn")
        return Dropout(rate)
    if name == "Masking":
        return Masking(config.get("mask_value", 0.0))
    return _recurrent(name, config, weights)


CONVERTED = (*RECURRENT, "Bidirectional", "Embedding", "Dense", "Dropout", "Masking", "TimeDistributed")


def assembled(parts):
    """The model of layers in a row.

    Parameters
    ----------
    parts : iterable of (str, dict, list)
        Class name, configuration and weights.
    """
    items, masked = [], False
    for name, config, weights in parts:
        module = converted(name, config, weights)
        if isinstance(module, Masking) or isinstance(module, Embedding) and module.padding_idx is not None:
            _validate.masks_first(name, len(items))
            masked = True
        inner = config["layer"]["config"] if name == "Bidirectional" else config
        whole = not module._recurrent or bool(inner.get("return_sequences", False))
        if module._recurrent:
            _validate.expressible(inner.get("return_state", False), (False,), "return_state", "Sequential", "fastrnn")
        items.append((module, config.get("name"), whole))
    modules = [module if whole else Final(module) for module, whole in _joined(items)]
    return (Masked if masked else Sequential)(*modules)


# -- layers that are one here -----------------------------------------------------------------


def stack_names(kind, number, layers):
    """Names of the layers of Keras that stand for one of several layers; ``_joined`` finds them again."""
    return [f"{kind.lower()}_{number}_l{layer}" for layer in range(layers)]


def dropout_name(kind, number, layer):
    """The name of the Dropout behind one of them."""
    return f"{kind.lower()}_{number}_dropout{layer}"


def _joined(items):
    """Pairs of a module and whether it gives all steps; layers whose names say that they were one are one again.

    ``items``: module, name in Keras, whether it gives all steps.
    """
    result = []
    while items:
        layers, rate, used = _run(items)
        module = layers[0] if len(layers) == 1 else stacked(layers, layers[0]._config() | {"dropout": rate})
        result.append((module, items[used - 1][2]))
        items = items[used:]
    return result


def _run(items):
    """The layers of one module that ``items`` begin with, the dropout between them, and how many items these are."""
    first, name, _ = items[0]
    match = re.fullmatch(r"(.+)_l0", name) if first._recurrent and isinstance(name, str) else None
    if match is None:
        return [first], 0.0, 1
    stem, layers, used = match[1], [first], 1
    dropout = len(items) > 1 and isinstance(items[1][0], Dropout)
    step, rate = (2, items[1][0].p) if dropout else (1, 0.0)
    while used + step <= len(items) and items[used - 1][2]:
        number, (module, name, _) = len(layers), items[used + step - 1]
        if name != f"{stem}_l{number}" or _common(module) != _common(first):
            break
        if dropout and (items[used][1] != f"{stem}_dropout{number - 1}" or items[used][0]._config() != {"p": rate}):
            break
        layers.append(module)
        used += step
    return layers, rate, used


def _common(module):
    """What the layers of one module share."""
    return type(module), module._config() | {"input_size": None}


# -- to configurations ------------------------------------------------------------------------


def keras_options(module):
    """The constructor's arguments of the layer of Keras that a recurrent module, or a layer of it, is."""
    name, config = NAMES[type(module)], module._config()
    _validate.expressible_options(config, _ONLY, type(module).__name__, "Keras")
    options = {"units": module.hidden_size, "use_bias": module.bias, "dropout": config["input_dropout"],
               "recurrent_dropout": config["recurrent_dropout"], "dtype": module.dtype.name}  # fmt: skip
    if name == "SimpleRNN":
        entry = _entry((config["nonlinearity"], config["alpha"], config["beta"]), "nonlinearity", name)
        return options | {"activation": entry}
    gate, *others = (_entry(value, "activations", name) for value in config["activations"])
    if name == "LSTM":
        options["unit_forget_bias"] = False  # only a new layer asks
        _validate.expressible(others[1], (others[0],), "activations: of the cell state", name, "Keras")
    else:
        options["reset_after"] = config["reset_after"]
    return options | {"activation": others[0], "recurrent_activation": gate}


def _entry(value, option, name):
    """Keras's name of an activation."""
    known = {_rounded(_validate.activation(entry, option)): theirs for theirs, entry in _ACTIVATIONS.items() if theirs}
    given = _rounded(_validate.activation(value, option))
    _validate.expressible(given, tuple(known), option, name, "Keras")
    return known[given]


def _rounded(activation):
    """With its numbers as ONNX has them, in float32: 1/6 comes back from there as another double."""
    name, *numbers = activation
    return name, *(float(np.float32(number)) for number in numbers)


def merge_mode(module):
    """Keras's name of how the directions of a module are merged."""
    return {ours: theirs for theirs, ours in _MERGES.items()}[module._config()["merge"]]
