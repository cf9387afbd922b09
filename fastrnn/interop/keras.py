"""Layers, models and files of Keras 3 to layers and back.

``read``, ``from_weights`` and ``to_weights`` need nothing else; the others import Keras when they are called. Keras has
the batch first, and so have the layers that come from it.
"""

import os

import numpy as np

from .. import _validate
from ..blocks import Dropout, Embedding, Linear, Sequential
from ..files import write_atomically
from ..layers import GRU, LSTM, RNN
from . import _keras_layers as layers
from ._keras_blocks import Final, Masked, Masking, leading_dtype
from ._keras_files import model_of, weights_of
from ._needed import needed

__all__ = ["Final", "Masked", "Masking", "from_layer", "from_model", "from_weights", "read", "read_weights", "to_layer",
           "to_model", "to_weights", "write"]  # fmt: skip

_KINDS = {RNN: RNN, LSTM: LSTM, GRU: GRU, Embedding: Embedding, Linear: Linear}


def _keras():
    try:
        return needed("keras", "keras", "Keras")
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "jax", "torch"):
            raise
    raise ImportError("Keras needs a backend: install torch, jax or tensorflow, and name it in the environment variable "
                      "KERAS_BACKEND")  # fmt: skip


# -- weights ----------------------------------------------------------------------------------


def from_weights(cls, weights, **options):
    """The layer that has the weights of a layer of Keras.

    Parameters
    ----------
    cls : type
        ``fr.RNN`` (Keras's SimpleRNN), ``fr.LSTM``, ``fr.GRU``, ``fr.Embedding``, ``fr.Linear`` (Dense).
    weights : list of array_like
        As ``layer.get_weights()`` gives. Those of a Bidirectional are of its two directions, one after the other. From
        their number and shapes follow sizes, ``bidirectional``, ``bias`` and, with a bias, a GRU's ``reset_after``.
    **options
        Of the constructor of ``cls``, such as ``activations`` and ``merge``.

    Returns
    -------
    Module
        A single bias becomes ``bias_ih``; ``bias_hh`` is then 0.

    Raises
    ------
    TypeError, ValueError
        For another class, and for arrays that do not fit together.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> weights = [np.ones((3, 12)), np.ones((4, 12)), np.zeros((2, 12))]
    >>> fr.interop.keras.from_weights(fr.GRU, weights, batch_first=True)(np.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """
    return layers.made(_validate.one_class(cls, _KINDS), weights, options)


def to_weights(layer):
    """What ``set_weights()`` of the layer of Keras takes that this one is.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, Embedding or Linear
        Recurrent ones of one layer; of two directions for a Bidirectional.

    Returns
    -------
    list of ndarray
        Where Keras has one bias it is the sum of the two.

    Raises
    ------
    TypeError
        For any other class.
    ValueError
        Naming the option that Keras does not have.

    Examples
    --------
    >>> import fastrnn as fr
    >>> [array.shape for array in fr.interop.keras.to_weights(fr.LSTM(3, 4))]
    [(3, 16), (4, 16), (16,)]
    """
    _validate.convertible(layer, _KINDS, "layer")
    if layer._recurrent:
        layers.keras_options(layer)
        _validate.expressible(layer.num_layers, (1,), "num_layers", type(layer).__name__, "a layer of Keras")
    return layers.weights_of(layer)


# -- from Keras -------------------------------------------------------------------------------


def from_layer(layer):
    """The layer that a layer of Keras is, with its weights and options.

    Parameters
    ----------
    layer : keras.layers.Layer
        SimpleRNN, LSTM, GRU, a Bidirectional of one, Embedding, Dense, a TimeDistributed of it, Dropout, Masking. It has
        its weights already.

    Returns
    -------
    Module
        A copy. A recurrent layer gives all outputs and its state, whatever ``return_sequences`` and ``return_state`` say:
        Keras's output is then ``state``, or its h. An Embedding with ``mask_zero`` has ``padding_idx=0``; the lengths
        are up to the caller, other than in ``from_model``.

    Raises
    ------
    TypeError
        For any other class, subclasses included.
    ValueError
        Naming an option that fastrnn does not have: ``go_backwards``, ``stateful``, ``merge_mode=None``, the activation
        of a Dense, or one of a recurrent layer that is not among those of ``fr.RNN``.
    ImportError
        Without Keras.
    """
    return layers.converted(*_part(_keras(), layer))


def _part(keras, layer):
    """Class name, configuration and weights of a layer."""
    name = _validate.convertible(layer, {getattr(keras.layers, name): name for name in layers.CONVERTED}, "layer")
    weights = [] if name in ("Dropout", "Masking") else _validate.built(layer).get_weights()
    # bfloat16 is no dtype of NumPy's own
    return name, layer.get_config(), [a.astype(np.float32) if a.dtype.itemsize == 2 else a for a in weights]


def from_model(model):
    """The model that a Sequential of Keras is.

    Parameters
    ----------
    model : keras.Sequential
        Of the layers that ``from_layer`` takes, and of such models.

    Returns
    -------
    Sequential
        The last layer with ``return_sequences=False`` is in a ``Final``, which gives ``(B, D*H)``. After an Embedding
        with ``mask_zero`` or a Masking, it is a ``Masked``, which leaves out the steps that Keras leaves out.

    Raises
    ------
    TypeError, ValueError, ImportError
        As ``from_layer``.
    """
    keras = _keras()
    _validate.convertible(model, {keras.Sequential: None}, "model")
    return layers.assembled(_parts_of(keras, model))


def _parts_of(keras, model):
    for layer in model.layers:
        if type(layer) is keras.Sequential:
            yield from _parts_of(keras, layer)
        else:
            yield _part(keras, layer)


# -- to Keras ---------------------------------------------------------------------------------


def to_layer(layer, *, return_sequences=True, name=None):
    """The layer of Keras that a layer is, with its weights.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, Embedding, Linear, Dropout or Masking
        Recurrent ones of one layer.
    return_sequences : bool
        Of a recurrent layer.
    name : str, optional

    Returns
    -------
    keras.layers.Layer
        With the batch first.

    Raises
    ------
    TypeError, ValueError
        As ``to_weights``; for an Embedding with ``padding_idx``, which only a ``Masked`` model of ``to_model`` can have.
    ImportError
        Without Keras.
    """
    keras = _keras()
    return_sequences = _validate.boolean(return_sequences, "return_sequences")
    _validate.convertible(layer, {**_KINDS, Dropout: Dropout, Masking: Masking}, "layer")
    if layer._recurrent:
        _validate.expressible(layer.num_layers, (1,), "num_layers", type(layer).__name__, "a layer of Keras")
        return _to_recurrent(keras, layer, 0, return_sequences, name)
    return _to_block(keras, layer, False, name)


def _to_block(keras, module, masking, name=None, dtype=None):
    """The layer of a module that is not recurrent.

    ``masking``: an Embedding's padding is a mask; ``dtype``: that of a layer without parameters, which casts to it.
    """
    make = keras.layers
    if isinstance(module, Dropout):
        return make.Dropout(module.p, dtype=dtype, name=name)
    if isinstance(module, Masking):
        return make.Masking(module.mask_value, dtype=dtype, name=name)
    common = {"dtype": module.dtype.name, "name": name}
    if isinstance(module, Linear):
        made, shape = make.Dense(module.out_features, use_bias=module.bias, **common), (None, module.in_features)
    else:
        allowed = (0,) if masking else (None,)
        _validate.expressible(module.padding_idx, allowed, "padding_idx", "Embedding", "Keras")
        made = make.Embedding(module.num_embeddings, module.embedding_dim, mask_zero=masking, **common)
        shape = (None, None)
    return _filled(made, shape, layers.weights_of(module))


def _to_recurrent(keras, module, number, return_sequences, name):
    """One layer of a recurrent module."""
    options = layers.keras_options(module)
    kind = layers.NAMES[type(module)]
    width = module.input_size
    if number:
        width = module.parameters[f"weight_ih_l{number}"].shape[1]
    inner = {"return_sequences": return_sequences, **options}
    if not module.bidirectional:
        made = getattr(keras.layers, kind)(name=name, **inner)
    else:
        made = keras.layers.Bidirectional(getattr(keras.layers, kind)(**inner), merge_mode=layers.merge_mode(module),
                                          dtype=module.dtype.name, name=name)  # fmt: skip
    return _filled(made, (None, None, width), layers.weights_of(module, number))


def _filled(layer, shape, weights):
    """A layer with its weights, bit for bit."""
    layer.build(shape)
    layer.set_weights(weights)
    _validate.kept_dtype(layer.get_weights()[0].dtype, weights[0].dtype)  # JAX by itself has no float64
    return layer


def to_model(module):
    """The Sequential of Keras that a module is, with its weights.

    Parameters
    ----------
    module : Module
        What ``to_layer`` takes, recurrent layers of any number of layers too, ``Final``, ``Masked``, or a Sequential of
        these.

    Returns
    -------
    keras.Sequential
        With the batch first, whatever ``batch_first`` is. Recurrent layers give all steps, those in a ``Final`` the last.
        Several layers are several there, whose names say that they were one: ``from_model`` and ``read`` join them again.

    Raises
    ------
    TypeError, ValueError
        As ``to_layer``; for a module that occurs twice.
    ImportError
        Without Keras.
    """
    keras = _keras()
    masked = isinstance(module, Masked)
    modules = list(_flat(module, True))
    _validate.met_once(modules, "a Sequential of Keras")
    for inner in modules:
        _validate.convertible(inner, {**_KINDS, Dropout: None, Masking: None, Final: None})
    made = []
    for number, inner in enumerate(modules):
        first = masked and number == 0
        dtype = _dtype_of(modules[number::-1]) or _dtype_of(modules)
        made += _to_layers(keras, inner, number, first, dtype)
    recurrent = any(inner._recurrent or isinstance(inner, Final) for inner in modules)
    return keras.Sequential([_input(keras, modules[0], recurrent, _dtype_of(modules)), *made])


def _dtype_of(modules):
    """The name of the dtype of the first of them that has parameters."""
    dtype = leading_dtype(modules)
    return None if dtype is None else dtype.name


def _flat(module, outermost=False):
    """The modules of a Sequential, and of those in it."""
    if type(module) is Sequential or outermost and isinstance(module, Masked):
        for inner in module:
            yield from _flat(inner)
    else:
        yield module


def _input(keras, first, recurrent, dtype):
    """What goes into the first module, of any length."""
    if isinstance(first, Embedding):
        return keras.Input((None,), dtype="int32")
    while isinstance(first, Final):
        first = first.layer
    steps = (None,) if recurrent or isinstance(first, Masking) else ()
    width = first.in_features if isinstance(first, Linear) else getattr(first, "input_size", None)
    return keras.Input((*steps, width), dtype=dtype)


def _to_layers(keras, module, number, masking, dtype):
    """The layers of Keras of one module; ``dtype``: of one without parameters."""
    last = isinstance(module, Final)
    module = module.layer if last else module
    if not module._recurrent:
        return [_to_block(keras, module, masking, dtype=dtype)]
    _validate.convertible(module, dict.fromkeys(layers.NAMES))
    kind, made = layers.NAMES[type(module)], []
    names = layers.stack_names(kind, number, module.num_layers) if module.num_layers > 1 else [None]
    for i, name in enumerate(names):
        if i and module.dropout:
            name_between = layers.dropout_name(kind, number, i - 1)
            made.append(keras.layers.Dropout(module.dropout, dtype=module.dtype.name, name=name_between))
        made.append(_to_recurrent(keras, module, i, not last or i + 1 < len(names), name))
    return made


# -- files ------------------------------------------------------------------------------------


def write(path, module):
    """Write the Sequential of Keras that a module is, as ``to_model`` makes it, into a ``.keras`` file.

    Parameters
    ----------
    path : str or path-like
        Ends in ``.keras``. The file appears complete or not at all.
    module : Module

    Raises
    ------
    TypeError, ValueError, ImportError
        As ``to_model``.
    OSError
        If the file cannot be written.
    """
    import tempfile

    path = _validate.ending(_validate.path(path), ".keras")
    model = to_model(module)
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "model.keras")
        model.save(made)
        with open(made, "rb") as file:
            write_atomically(path, [file.read()])


def read(path):
    """Read the model of a ``.keras`` file, as ``from_model`` does, without Keras.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If the file is damaged, of Keras 2, or holds what fastrnn does not have; names the file and what is wrong.
    OSError
        If it cannot be read.
    """
    return model_of(_validate.path(path))


def read_weights(path):
    """Read the weights of a ``.keras`` file layer by layer, without Keras; of functional models, too.

    For models that ``read`` refuses: ``from_weights(fr.LSTM, read_weights("model.keras")["lstm"])``. Options that are not in
    the weights, such as activations, are up to the caller.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of str to list of ndarray
        By the layer's name in Keras, ``model/layer`` in a model inside: what ``get_weights()`` gives for a SimpleRNN, LSTM,
        GRU, Bidirectional of one, Embedding, Dense, TimeDistributed of one; other layers are left out.

    Raises
    ------
    ValueError
        If the file is damaged; names it and what is wrong.
    OSError
        If it cannot be read.
    """
    return weights_of(_validate.path(path))
