"""Optimisers ``SGD, RMSprop, Adam, AdamW``, over modules.

Update rules, argument names and defaults are those of ``torch.optim``. Each step is one compiled
pass over a module's flat buffers of values and gradients, in place, in the module's dtype; with
several threads the bits are those of one. A module named twice, or inside two ``Sequential``,
counts once.

Imports ``params``, ``_validate`` and the engine.
"""

from .. import _validate
from .._core import engine
from ..params import Module, _aligned_zeros


def leaves_of(modules):
    """The modules that own parameters, each once."""
    modules = _validate.module_list(modules, Module)
    leaves = {id(leaf): leaf for module in modules for leaf in module._leaves()}
    return [leaf for leaf in leaves.values() if leaf._values.size]


class Optimizer:
    """What the optimisers share: modules, hyperparameters, state and the pass over buffers.

    A subclass hands its hyperparameters to ``__init__``, names its buffers in
    ``_buffer_names`` and changes the parameters of one module in ``_update``.

    Attributes
    ----------
    lr : float
        The learning rate; can be set.
    steps : int
        How many steps were taken.
    """

    def __init__(self, modules, **hyperparameters):
        self._leaves = _validate.with_parameters(leaves_of(modules))
        self._set(_validate.hyperparameters(hyperparameters))
        self._names = tuple(hyperparameters)
        self.steps = 0
        self._state = [{} for _ in self._leaves]  # per leaf: buffer name -> flat array

    def _set(self, hyperparameters):
        for name, value in hyperparameters.items():
            setattr(self, name, value)

    @property
    def lr(self):
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = _validate.hyperparameters({"lr": value})["lr"]

    def _buffer_names(self):
        """The buffers these hyperparameters need."""
        return ()

    def _update(self, values, gradients, buffers, fresh):
        """Take a step with one module.

        Parameters
        ----------
        values, gradients : ndarray
            ``(N,)``: values, changed in place, and gradients, left alone.
        buffers : dict of str to ndarray
            By the names of ``_buffer_names``, changed in place.
        fresh : bool
            Whether the buffers are new, all zero.
        """
        raise NotImplementedError

    def step(self):
        """Change the parameters once, by the gradients in ``module.grads``."""
        self.steps += 1
        names = self._buffer_names()
        for leaf, state in zip(self._leaves, self._state):
            fresh = any(name not in state for name in names)
            for name in names:
                if name not in state:
                    state[name] = _aligned_zeros(leaf._values.size, leaf.dtype)
            with leaf._write() as values:
                self._update(values, leaf._gradients, state, fresh)

    def zero_grad(self):
        """Set the gradients of all modules to zero."""
        for leaf in self._leaves:
            leaf.zero_grad()

    def _named_buffers(self, names):
        """(leaf number, parameter, buffer) as one string -> (leaf number, buffer, place)."""
        return {
            f"{number}.{place[0]}.{name}": (number, name, place)
            for number, leaf in enumerate(self._leaves)
            for place in leaf._places
            for name in names
        }

    def state_dict(self):
        """All that is needed to go on exactly.

        Returns
        -------
        dict
            ``"optimizer"`` the class name, ``"steps"``, ``"hyperparameters"`` and
            ``"buffers"``, a flat dict of arrays named by module number, parameter and buffer
            (``"0.weight.exp_avg"``): copies in the parameters' shapes.
        """
        buffers = {}
        names = [name for name in self._buffer_names() if all(name in s for s in self._state)]
        for key, (number, name, (_, shape, i, j)) in self._named_buffers(names).items():
            buffers[key] = self._state[number][name][i:j].reshape(shape).copy()
        return {
            "optimizer": type(self).__name__,
            "steps": self.steps,
            "hyperparameters": {name: getattr(self, name) for name in self._names},
            "buffers": buffers,
        }

    def load_state_dict(self, state_dict):
        """Take over what ``state_dict`` returned, for modules of the same shapes.

        Raises
        ------
        TypeError, ValueError
            Naming the entry that does not fit; then nothing has been changed.
        """
        steps, hyperparameters, buffers = _validate.optimizer_state(
            state_dict, type(self).__name__, self._names
        )
        probe = object.__new__(type(self))
        probe._set(hyperparameters)
        names = probe._buffer_names()
        places = self._named_buffers(names) if buffers else {}
        shapes = {key: place[1] for key, (_, _, place) in places.items()}
        arrays = _validate.state_arrays(buffers, shapes, "state_dict['buffers']")

        self._set(hyperparameters)
        self.steps = steps
        self._state = [
            {name: _aligned_zeros(leaf._values.size, leaf.dtype) for name in names if buffers}
            for leaf in self._leaves
        ]
        for key, (number, name, (_, shape, i, j)) in places.items():
            self._state[number][name][i:j].reshape(shape)[...] = arrays[key]

    def __repr__(self):
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({inside})"


class SGD(Optimizer):
    """Stochastic gradient descent: ``b = momentum b + (1 - dampening) g``, ``w -= lr b``.

    Parameters
    ----------
    modules : Module or iterable of Module
    lr : float
    momentum, dampening : float
        The first ``b`` is ``g``.
    weight_decay : float
        ``g += weight_decay w``.
    nesterov : bool
        Step along ``g + momentum b`` (Sutskever et al., ICML 2013).

    Raises
    ------
    TypeError, ValueError
        For hyperparameters out of range, or ``nesterov`` without momentum or with dampening.

    Examples
    --------
    >>> import fastrnn as fr
    >>> head = fr.Linear(1, 1, bias=False)
    >>> head.parameters["weight"] = [[1.0]]
    >>> head.grads["weight"] = [[2.0]]
    >>> fr.optim.SGD(head, lr=0.25).step()
    >>> head.parameters["weight"]
    array([[0.5]], dtype=float32)
    """

    def __init__(
        self, modules, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
    ):
        super().__init__(
            modules,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def _buffer_names(self):
        return ("momentum_buffer",) if self.momentum else ()

    def _update(self, values, gradients, buffers, fresh):
        engine.update(
            "sgd", values, gradients, [buffers["momentum_buffer"] if self.momentum else None],
            lr=self._lr, decay=self.weight_decay, momentum=self.momentum,
            gain=1 - self.dampening, fresh=fresh, nesterov=self.nesterov,
        )  # fmt: skip


class RMSprop(Optimizer):
    """RMSprop: ``v = alpha v + (1 - alpha) g^2``, ``w -= lr g / (sqrt(v) + eps)``.

    Source: Hinton, lecture 6e (2012); ``centered``: Graves, arXiv:1308.0850 (2013).

    Parameters
    ----------
    modules : Module or iterable of Module
    lr, alpha, eps : float
    weight_decay : float
        ``g += weight_decay w``.
    momentum : float
        ``b = momentum b + g / (sqrt(v) + eps)``, ``w -= lr b``.
    centered : bool
        Subtract the square of the mean gradient from ``v``.

    Raises
    ------
    TypeError, ValueError
        For hyperparameters out of range.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.optim.RMSprop(fr.Linear(2, 2), lr=0.002).alpha
    0.99
    """

    def __init__(
        self,
        modules,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0.0,
        momentum=0.0,
        centered=False,
    ):
        super().__init__(
            modules,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    def _buffer_names(self):
        return (
            "square_avg",
            *(("momentum_buffer",) if self.momentum else ()),
            *(("grad_avg",) if self.centered else ()),
        )

    def _update(self, values, gradients, buffers, fresh):
        names = self._buffer_names()
        places = ("square_avg", "momentum_buffer", "grad_avg")
        engine.update(
            "rmsprop", values, gradients, [buffers[name] if name in names else None for name in places],
            lr=self._lr, decay=self.weight_decay, momentum=self.momentum, second=self.alpha, eps=self.eps,
        )  # fmt: skip


class Adam(Optimizer):
    """Adam: ``w -= lr m / (sqrt(v) + eps)`` with bias-corrected means of ``g`` and ``g^2``.

    Source: Kingma and Ba, ICLR 2015; ``amsgrad``: Reddi et al., ICLR 2018.

    Parameters
    ----------
    modules : Module or iterable of Module
    lr : float
    betas : tuple of float
        Decay rates of ``m`` and ``v``, in [0, 1).
    eps : float
    weight_decay : float
        ``g += weight_decay w`` (for decay apart from the gradient see ``AdamW``).
    amsgrad : bool
        Use the largest ``v`` so far.

    Raises
    ------
    TypeError, ValueError
        For hyperparameters out of range.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> head = fr.Linear(3, 1, rng=0)
    >>> optimiser = fr.optim.Adam([head], lr=0.1)
    >>> for _ in range(300):
    ...     y, pullback = head.vjp(np.eye(3))
    ...     loss, dy = fr.losses.mse_loss(y, [[1], [2], [3]])
    ...     dx = pullback(dy)
    ...     optimiser.step()
    ...     optimiser.zero_grad()
    >>> bool(loss < 1e-3)
    True
    """

    _decoupled = False

    def __init__(
        self, modules, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False
    ):
        super().__init__(
            modules, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )

    def _buffer_names(self):
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if self.amsgrad else ()))

    def _update(self, values, gradients, buffers, fresh):
        first, second = self.betas
        apart = self._decoupled
        engine.update(
            "adam", values, gradients, [buffers[name] for name in self._buffer_names()],
            lr=self._lr / (1 - first**self.steps), unbias=(1 - second**self.steps) ** -0.5,
            first=first, second=second, eps=self.eps,
            shrink=1 - self._lr * self.weight_decay if apart else 1, decay=0 if apart else self.weight_decay,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: first ``w *= 1 - lr weight_decay``.

    Source: Loshchilov and Hutter, ICLR 2019. Parameters as for ``Adam``.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.optim.AdamW(fr.Linear(2, 2))
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False)
    """

    _decoupled = True

    def __init__(
        self, modules, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False
    ):
        super().__init__(modules, lr, betas, eps, weight_decay, amsgrad)
