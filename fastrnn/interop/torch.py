"""Modules of PyTorch to layers and back, with the same bits; this engine in a model of PyTorch.

Only these functions import PyTorch, when they are called.
"""

from .. import _validate
from ..blocks import Dropout, Embedding, Linear, Sequential
from ..layers import GRU, LSTM, RNN
from ..params import restoring
from ._needed import needed

#: Options that torch.nn does not have, and the values of them that it computes.
_ONLY = {
    "nonlinearity": ("tanh", "relu"), "alpha": (None,), "beta": (None,), "residual": (False,), "peephole": (False,),
    "coupled": (False,), "reset_after": (True,), "clip": (None,), "layer_norm": (False,), "zoneout": (0, (0, 0)),
    "input_dropout": (0,), "recurrent_dropout": (0,), "weight_drop": (0,), "merge": ("concat",), "skip": ("none",),
    "learn_state": (False,), "return_cell_states": (False,),
}  # fmt: skip
_LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


def _torch():
    return needed("torch", "torch", "PyTorch")


# -- from PyTorch -----------------------------------------------------------------------------


def from_module(module):
    """The layer that a module of PyTorch is, with its weights.

    Parameters
    ----------
    module : torch.nn.Module
        RNN, LSTM, GRU with any options, RNNCell, LSTMCell, GRUCell, Embedding, Linear, Dropout, or a Sequential of
        these; also those of ``fastrnn.torch``. A cell becomes a layer, to be stepped by its ``stream()``. Weights of
        16 bits become float32, which holds them exactly.

    Returns
    -------
    Module
        A copy: later changes of one do not reach the other. A module that occurs twice is shared in the copy, too.

    Raises
    ------
    TypeError
        For any other class, subclasses included: they may compute something else.
    ValueError
        For an Embedding with ``max_norm`` or ``scale_grad_by_freq``.
    ImportError
        Without PyTorch.
    """
    return _from(_torch().nn, module, {})


def _from(nn, module, made):
    if id(module) not in made:
        kinds = {
            nn.RNN: _from_layer, nn.LSTM: _from_layer, nn.GRU: _from_layer, nn.RNNCell: _from_cell,
            nn.LSTMCell: _from_cell, nn.GRUCell: _from_cell, nn.Embedding: _from_embedding, nn.Linear: _from_linear,
            nn.Dropout: _from_dropout, nn.Sequential: None,
        }  # fmt: skip
        from . import _torch_modules as ours

        kinds |= {ours.RNN: _from_layer, ours.LSTM: _from_layer, ours.GRU: _from_layer, ours.Sequential: None}
        convert = _validate.convertible(module, kinds)
        if convert is None:
            made[id(module)] = Sequential(*[_from(nn, inner, made) for inner in module])
        else:
            with restoring():
                layer, names = convert(module)
            layer.load_state_dict({name: _array(getattr(module, theirs)) for name, theirs in names.items()})
            made[id(module)] = layer
    return made[id(module)]


def _array(tensor):
    """A tensor as an array; 16 bits as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.element_size() == 2 else tensor).numpy()


def _dtype(weight):
    return "float64" if weight.element_size() == 8 else "float32"


def layer_like(module, dtype):
    """A layer of the sizes and options of an RNN, LSTM or GRU of PyTorch, its weights not yet given."""
    kind = module.mode.split("_")[0]
    options = {"RNN": {"nonlinearity": module.mode.lower()[4:]}, "LSTM": {"proj_size": module.proj_size}}.get(kind, {})
    with restoring():
        return _LAYERS[kind](
            module.input_size, module.hidden_size, module.num_layers, bias=module.bias, batch_first=module.batch_first,
            dropout=module.dropout, bidirectional=module.bidirectional, dtype=dtype, **options,
        )  # fmt: skip


def _from_layer(module):
    layer = layer_like(module, _dtype(module.weight_ih_l0))
    return layer, {name: name for name in layer.parameters}


def _from_cell(module):
    kind = {1: "RNN", 4: "LSTM", 3: "GRU"}[module.weight_ih.shape[0] // module.hidden_size]
    options = {"nonlinearity": module.nonlinearity} if kind == "RNN" else {}
    layer = _LAYERS[kind](module.input_size, module.hidden_size, bias=module.bias, dtype=_dtype(module.weight_ih), **options)
    return layer, {name: name.removesuffix("_l0") for name in layer.parameters}


def _from_embedding(module):
    for name, unchanged in (("max_norm", None), ("scale_grad_by_freq", False)):
        _validate.expressible(getattr(module, name), (unchanged,), name, "Embedding", "fastrnn")
    layer = Embedding(module.num_embeddings, module.embedding_dim, padding_idx=module.padding_idx,
                      dtype=_dtype(module.weight))  # fmt: skip
    return layer, {"weight": "weight"}


def _from_linear(module):
    layer = Linear(module.in_features, module.out_features, module.bias is not None, dtype=_dtype(module.weight))
    return layer, {name: name for name in layer.parameters}


def _from_dropout(module):
    return Dropout(module.p), {}


# -- to PyTorch -------------------------------------------------------------------------------


def to_module(module, *, cell=False):
    """The module of ``torch.nn`` that a layer is, with its weights.

    Parameters
    ----------
    module : Module
        RNN, LSTM, GRU, Embedding, Linear, Dropout or a Sequential of these. A Sequential becomes one of
        ``fastrnn.torch``, which passes on a recurrent layer's outputs alone.
    cell : bool
        RNNCell, LSTMCell or GRUCell, of one layer of one direction.

    Returns
    -------
    torch.nn.Module
        A copy, in the dtype of the layer.

    Raises
    ------
    TypeError
        For a module that PyTorch does not have.
    ValueError
        Naming the option that PyTorch does not have.
    ImportError
        Without PyTorch.
    """
    return _to(_torch(), module, _validate.boolean(cell, "cell"), {})


def _to(torch, module, cell, made):
    if id(module) not in made:
        kinds = {RNN: _to_layer, LSTM: _to_layer, GRU: _to_layer, Embedding: _to_embedding, Linear: _to_linear,
                 Dropout: _to_dropout, Sequential: None}  # fmt: skip
        convert = _to_cell if cell else _validate.convertible(module, kinds)
        if convert is None:
            from . import _torch_modules as ours

            made[id(module)] = ours.Sequential(*[_to(torch, inner, cell, made) for inner in module])
        else:
            made[id(module)] = _filled(torch, *convert(torch, module), module)
    return made[id(module)]


def _filled(torch, make, suffix, module):
    """The module that ``make`` makes, on a device without memory first so that nothing is drawn."""
    theirs = make(device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for name, array in module.parameters.items():
            getattr(theirs, name.removesuffix(suffix)).copy_(torch.from_numpy(array.copy()))
    return theirs


def checked_options(module, owner, without=()):
    """The configuration of a layer, whose options torch.nn all has but for those ``without`` which it is asked."""
    config = module._config()
    unasked = {*without} if module.bidirectional else {*without, "merge"}
    only = {name: allowed for name, allowed in _ONLY.items() if name not in unasked}
    _validate.expressible_options(config, only, owner, "torch.nn")
    if "activations" in config:
        usual = ("sigmoid", "tanh", "tanh")[: len(config["activations"])]
        _validate.expressible(config["activations"], (usual,), "activations", owner, "torch.nn")
    return config


def _to_layer(torch, module):
    name = type(module).__name__
    config = checked_options(module, name)
    taken = ("num_layers", "nonlinearity", "proj_size", "bias", "batch_first", "bidirectional")
    options = {key: config[key] for key in taken if key in config}

    def make(device):
        made = getattr(torch.nn, name)(module.input_size, module.hidden_size, device=device,
                                       dtype=getattr(torch, module.dtype.name), **options)  # fmt: skip
        made.dropout = float(module.dropout)  # given to the constructor of one layer, it would warn
        return made

    return make, ""


def _to_cell(torch, module):
    kinds = {RNN: "RNNCell", LSTM: "LSTMCell", GRU: "GRUCell"}
    name = _validate.convertible(module, kinds)
    config = checked_options(module, name)
    for option, only in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        _validate.expressible(config.get(option, only), (only,), option, name, "torch.nn")
    options = {"nonlinearity": config["nonlinearity"]} if name == "RNNCell" else {}

    def make(device):
        return getattr(torch.nn, name)(module.input_size, module.hidden_size, module.bias, device=device,
                                       dtype=getattr(torch, module.dtype.name), **options)  # fmt: skip

    return make, "_l0"


def _to_embedding(torch, module):
    return lambda device: torch.nn.Embedding(
        module.num_embeddings, module.embedding_dim, module.padding_idx, device=device,
        dtype=getattr(torch, module.dtype.name)), ""  # fmt: skip


def _to_linear(torch, module):
    return lambda device: torch.nn.Linear(
        module.in_features, module.out_features, module.bias, device=device,
        dtype=getattr(torch, module.dtype.name)), ""  # fmt: skip


def _to_dropout(torch, module):
    return lambda device: torch.nn.Dropout(module.p), ""


# -- this engine in a model of PyTorch ----------------------------------------------------------


def accelerate(model):
    """Have this engine compute every ``torch.nn.RNN``, ``LSTM`` and ``GRU`` of a model.

    The modules stay the objects that they are, with their parameters, hooks and names; their class becomes that of
    ``fastrnn.torch``. Subclasses are left alone: they may compute something else.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same.

    Raises
    ------
    TypeError
        For anything but a module of PyTorch.
    ImportError
        Without PyTorch.
    """
    return _swapped(model, False)


def restore(model):
    """Give a model the classes of ``torch.nn`` back; the opposite of ``accelerate``."""
    return _swapped(model, True)


def _swapped(model, back):
    _validate.framework_module(model, _torch().nn.Module)
    from . import _torch_modules as ours

    pairs = {theirs: own for own, theirs in ours.STANDS_FOR.items()}
    if back:
        pairs = ours.STANDS_FOR
    for module in model.modules():
        if type(module) in pairs:
            module.__class__ = pairs[type(module)]
            module.__dict__.pop("_fast", None)
    return model
