"""The modules of ``fastrnn.torch``. Each is PyTorch's own class with another ``forward``.

So constructor, parameters, ``state_dict``, ``reset_parameters``, the checks and their messages are PyTorch's, and
what this engine does not compute is left to PyTorch's own ``forward``.
"""

import torch
from torch.nn.utils.rnn import PackedSequence

from . import _torch_run as run


class _Fast:
    """What the three share; a base in front of PyTorch's class."""

    _fast = None  # the run.Engine of the last call; not in copies

    def forward(self, input, hx=None):
        """As PyTorch's: ``y, h`` or ``y, (h, c)``."""
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        listed = self.mode == "LSTM" and isinstance(hx, (tuple, list))
        states = () if hx is None else tuple(hx) if listed else (hx,)
        frozen = self._fast is not None and self._fast.frozen
        if frozen:
            self._refuse_training((x, *states))
            if self._fast.form != run.form_of(self, getattr(x, "dtype", None)):
                return super().forward(input, hx)
        if not run.ordinary():
            return super().forward(input, hx)
        weights = [] if frozen else self._weights()
        places = run.Places.of(input, self.batch_first) if packed else None
        if not (self._fits(x, states, packed, places) and run.computable((x, *states, *weights))):
            return super().forward(input, hx)
        if packed:
            states = _permuted(states, input.sorted_indices)
        elif x.dim() == 2:
            x = x.unsqueeze(0 if self.batch_first else 1)
            states = tuple(state.unsqueeze(1) for state in states)
        return self._outputs(input, packed, self._computed(x, states, weights, places))

    def _computed(self, x, states, weights, places):
        """``y, *final_states`` with a batch axis."""
        dropout = self._dropout_now()
        names = self._flat_weights_names if weights else ()
        call = run.Call(self._engine(x.dtype), names, len(states), places, dropout)
        tensors = (x, *states, *weights)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return run.Run.apply(call, *tensors)
        return call.vjp(*tensors)[0] if dropout else call.infer(*tensors)

    def _outputs(self, input, packed, results):
        """What PyTorch makes of them."""
        y, *final = results
        if packed:
            y = PackedSequence(y, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
            final = _permuted(final, input.unsorted_indices)
        elif input.dim() == 2:
            y, final = y.squeeze(0 if self.batch_first else 1), [state.squeeze(1) for state in final]
        return y, tuple(final) if len(final) > 1 else final[0]

    def _weights(self):
        return [getattr(self, name) for name in self._flat_weights_names]

    def _dropout_now(self):
        return float(self.dropout) if self.training and self.num_layers > 1 else 0.0

    def _fits(self, x, states, packed, places):
        """Whether the shapes are right. What is not PyTorch says better."""
        if type(x) not in run.CLASSES or not all(type(state) in run.CLASSES for state in states):
            return False
        axes = x.dim()
        if x.shape[-1:] != (self.input_size,) or axes not in ((2,) if packed else (2, 3)) or packed and places is None:
            return False
        steps = 0 if axes == 2 or not self.batch_first else 1
        if x.shape[steps] == 0 or len(states) not in (0, 2 if self.mode == "LSTM" else 1):
            return False
        batch = (len(places.lengths),) if packed else (x.shape[1 - steps],) if axes == 3 else ()
        rows = self.num_layers * (2 if self.bidirectional else 1)
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        return all(state.shape == (rows, *batch, width) for state, width in zip(states, widths))

    def _engine(self, dtype):
        engine = self._fast
        if engine is None or engine.form != run.form_of(self, dtype):
            engine = self._fast = run.Engine(self, dtype)
        return engine

    # -- weights that are not looked at ---------------------------------------------------------

    def freeze(self):
        """Have calls use the weights as they are now, without looking for changes.

        For inference: a change of the weights is not seen until ``unfreeze()``, and a call that would train, because
        a gradient would be recorded or dropout be drawn, raises ``RuntimeError``. Copies and loaded modules are
        not frozen; one that is converted to another dtype is left to PyTorch until then.

        Returns
        -------
        torch.nn.Module
            The module itself.

        Raises
        ------
        RuntimeError
            For weights that this engine does not compute with: all but float32 and float64 on the CPU.
        """
        weights = self._weights()
        if not run.computable(weights):
            raise RuntimeError(f"freeze: expected weights of float32 or float64 on the CPU, got {weights[0].dtype} "
                               f"on {weights[0].device}")  # fmt: skip
        self.unfreeze()
        engine = self._engine(weights[0].dtype)
        engine.layer(dict(zip(self._flat_weights_names, map(run.readable, weights))))
        engine.frozen = True
        return self

    def unfreeze(self):
        """Look at the weights at each call again; returns the module."""
        self._fast = None
        return self

    def _refuse_training(self, inputs):
        needs = any(isinstance(t, torch.Tensor) and t.requires_grad for t in (*inputs, *self.parameters()))
        if torch.is_grad_enabled() and needs:
            raise RuntimeError("this module is frozen: call it under torch.inference_mode() or torch.no_grad(), "
                               "or unfreeze() it to train")  # fmt: skip
        if self._dropout_now():
            raise RuntimeError("this module is frozen and in training mode, with dropout: eval() or unfreeze() it")

    # -- copies -----------------------------------------------------------------------------

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_fast", None)
        return state


def _permuted(states, indices):
    return states if indices is None else tuple(state.index_select(1, indices) for state in states)


class RNN(_Fast, torch.nn.RNN):
    __doc__ = torch.nn.RNN.__doc__
    __module__ = "fastrnn.torch"


class LSTM(_Fast, torch.nn.LSTM):
    __doc__ = torch.nn.LSTM.__doc__
    __module__ = "fastrnn.torch"


class GRU(_Fast, torch.nn.GRU):
    __doc__ = torch.nn.GRU.__doc__
    __module__ = "fastrnn.torch"


class Sequential(torch.nn.Sequential):
    """``torch.nn.Sequential`` that passes on the outputs of a recurrent module, without its states."""

    __module__ = "fastrnn.torch"

    def forward(self, input):
        for module in self:
            input = module(input)
            if isinstance(module, torch.nn.RNNBase):
                input = input[0]
        return input


#: Our class -> PyTorch's.
STANDS_FOR = {RNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}
