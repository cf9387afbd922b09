"""How a trainer calls a model: with lengths, with the state of the step before, or with neither.

    parts, named     the modules of a model and their parameters, by name
    Caller           calls one model

A model is a module, or an object with ``__call__`` and ``vjp`` like ``LanguageModel``, whose attributes (and lists in
them) are modules. Imports the public modules and ``lookup``.
"""

import inspect

import numpy as np

from .. import lookup
from ..blocks import Sequential, paired
from ..params import Module


def parts(model):
    """Name -> module, of all modules that a model consists of; a module is itself its only part, named ``""``."""
    if isinstance(model, Module):
        return {"": model}
    found = {}
    for name, value in vars(model).items():
        if isinstance(value, Module):
            found[name] = value
        elif isinstance(value, (list, tuple)):
            found |= {f"{name}.{i}": part for i, part in enumerate(value) if isinstance(part, Module)}
    return found


def leaves(modules):
    """The modules that hold parameters or generators themselves, each once."""
    return list({id(leaf): leaf for module in modules for leaf in module._leaves()}.values())


def named(parts):
    """Name -> (leaf, its own name of it), of every parameter; one that is shared under its first name only."""
    names, seen = {}, set()
    for part, module in parts.items():
        for name, (leaf, own) in module._owners().items():
            if (id(leaf), own) not in seen:
                seen.add((id(leaf), own))
                names[f"{part}.{name}" if part else name] = (leaf, own)
    return names


class Caller:
    """Calls a model with what a batch has for it.

    Parameters
    ----------
    model : Module or object
    """

    def __init__(self, model):
        self.model = model
        if isinstance(model, Module):
            self._takes_lengths = model._takes_lengths
        else:
            self._takes_lengths = "lengths" in inspect.signature(model.vjp).parameters
        self._chain = paired(_chained(model)) if isinstance(model, Sequential) else None

    def forward(self, batch, state):
        """``output, state``: inference."""
        return self._run(batch, state, "__call__")[:2]

    def vjp(self, batch, state):
        """``output, state, pullback``; ``state`` is None where none is carried."""
        return self._run(batch, state, "vjp")

    def _run(self, batch, state, way):
        if batch.first is None:
            lengths = {"lengths": batch.lengths} if self._takes_lengths and batch.lengths is not None else {}
            output, _, pullback = _taken(getattr(self.model, way)(batch.x, **lengths), way)
            return output, None, pullback
        state = None if batch.first else state
        if self._chain is None:
            given = (state,) if getattr(self.model, "_recurrent", True) else ()
            return _taken(getattr(self.model, way)(batch.x, *given), way)
        return self._run_chain(batch.x, state or len(self._chain) * (None,), way)

    def _run_chain(self, x, states, way):
        """A ``Sequential``, which carries no state itself, module by module."""
        after, pullbacks = [], []
        for (embedding, module), state in zip(self._chain, states):
            if embedding is not None:
                result = (lookup.vjp if way == "vjp" else lookup.call)(embedding, module, x, state)
            else:
                result = getattr(module, way)(x, state) if module._recurrent else getattr(module, way)(x)
            x, state, pullback = _taken(result, way)
            after.append(state)
            pullbacks.append((pullback, module._recurrent))

        def back(dy):
            for pullback, recurrent in reversed(pullbacks):
                dy = pullback(dy)[0] if recurrent else pullback(dy)
            return dy

        return x, tuple(after), back


def _chained(module):
    """The modules of a ``Sequential`` in the order in which they are called, those of inner ones too."""
    for inner in module:
        yield from _chained(inner) if isinstance(inner, Sequential) else (inner,)


def _taken(result, way):
    """Output, state or None, pullback or None, of what a call or a ``vjp`` returned."""
    if way == "vjp":
        output, *state, pullback = result
    elif isinstance(result, tuple):
        (output, *state), pullback = result, None
    else:
        output, state, pullback = result, [], None
    return output, state[0] if state else None, pullback


def spread(gradient, like, select):
    """The gradient of ``output[select]`` as one of ``output``, 0 where it is not selected."""
    if select is None:
        return gradient
    whole = np.zeros(like.shape, gradient.dtype)
    whole[select] = gradient
    return whole
