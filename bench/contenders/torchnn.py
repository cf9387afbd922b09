"""PyTorch: the modules of ``torch.nn``, in inference mode unless they train.

A training call asks `torch.autograd.grad` for the gradients of the input and of all parameters, which takes
as long as ``backward`` with gradients set to None before (LSTM 100/16/128: 9.21 and 9.24 ms).
"""

from ..cells import CELLS, PLAIN
from .base import Contender


class Torch(Contender):
    """``nn.LSTM``, ``nn.GRU``, ``nn.RNN``; ragged batches packed, in any order."""

    name, needs, cells = "torch", ("torch",), (*PLAIN, "RNN relu", "LSTM projected")
    spin = 0.01  # libgomp's workers: 5 ms

    def __init__(self, problem, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.case = torch, problem.case
        self.module = self.make(problem)
        train = problem.case.what == "train"
        self.names = {"module": self.module, "x": torch.from_numpy(problem.x).requires_grad_(train)}
        self.code = self.forward(problem)
        if train:
            self.code += "\ngrads = grad(y, inputs, dy)"
            inputs = [self.names["x"], *self.module.parameters()]
            self.names.update(grad=torch.autograd.grad, inputs=inputs, dy=torch.from_numpy(problem.dy))

    def tensors(self, arrays):
        """Of a state: a tensor, or a tuple of two for an LSTM."""
        tensors = tuple(map(self.torch.from_numpy, arrays))
        return tensors if len(tensors) == 2 else tensors[0]

    def make(self, problem):
        """The module with the problem's weights."""
        case, torch = problem.case, self.torch
        module = getattr(torch.nn, CELLS[case.cell].layer)(
            case.input, case.hidden, case.layers,
            bidirectional=case.directions == 2, dtype=getattr(torch, case.dtype), **case.options,
        )  # fmt: skip
        module.load_state_dict({k: torch.from_numpy(v) for k, v in problem.weights.items()})
        return module

    def forward(self, problem):
        """The code of the forward pass."""
        if problem.lengths is not None:
            utils = self.torch.nn.utils.rnn
            self.names.update(
                pack=utils.pack_padded_sequence, unpack=utils.pad_packed_sequence,
                lengths=self.torch.from_numpy(problem.lengths), steps=self.case.steps,
            )  # fmt: skip
            return (
                "packed, final = module(pack(x, lengths, enforce_sorted=False))\n"
                "y, _ = unpack(packed, total_length=steps)"
            )
        if problem.state:
            self.names["state"] = self.tensors(problem.state)
            return "y, final = module(x, state)"
        return "y, final = module(x)"

    def around(self):
        """Inference mode, entered once as a user would around a loop; nothing for training."""
        return super().around() if self.case.what == "train" else self.torch.inference_mode()

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        found = {"y": assigned["y"].detach().numpy()}
        if self.case.what == "train":
            names = ["dx", *(name for name, _ in self.module.named_parameters())]
            return {**found, **{k: g.numpy() for k, g in zip(names, assigned["grads"], strict=True)}}
        final = assigned["final"] if isinstance(assigned["final"], tuple) else (assigned["final"],)
        return {**found, **{k: v.numpy() for k, v in zip("hc", final)}}


class TorchCell(Torch):
    """``nn.LSTMCell`` and so on, for single steps: much quicker there than the module."""

    name, cells = "torch-cell", PLAIN

    @classmethod
    def can_run(cls, case, threads):
        """One layer, one step."""
        return case.what in ("step", "stream") and case.layers == case.directions == 1

    def make(self, problem):
        """The cell with the problem's weights."""
        case, torch = problem.case, self.torch
        cell = getattr(torch.nn, f"{case.cell}Cell")(case.input, case.hidden, dtype=getattr(torch, case.dtype))
        cell.load_state_dict({k.removesuffix("_l0"): torch.from_numpy(v) for k, v in problem.weights.items()})
        return cell

    def forward(self, problem):
        """The code; cells have no axis of time."""
        self.names["x"] = self.names["x"][0]
        self.names["state"] = self.tensors([s[0] for s in problem.state])
        return "final = module(x, state)"

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        final = assigned["final"] if self.case.cell == "LSTM" else (assigned["final"],)
        h, *c = (s[None].numpy() for s in final)
        return {"y": h, "h": h, **dict(zip("c", c))}


class TorchNoLengths(Torch):
    """A ragged batch run to its full length, output masked: right outputs and gradients, a final state of padding."""

    name = "torch-nolengths"

    @classmethod
    def can_run(cls, case, threads):
        """Ragged batches; in one direction, as the reverse would begin in the padding."""
        return case.shortest > 0 and case.directions == 1

    @classmethod
    def counts(cls, case):
        """Where the final state is not asked for."""
        return case.what == "train"

    def forward(self, problem):
        """The code: everything, then the mask."""
        mask = self.torch.arange(self.case.steps)[:, None] < self.torch.from_numpy(problem.lengths)
        self.names["mask"] = mask[:, :, None].to(self.names["x"].dtype)
        return "y, final = module(x)\ny = y * mask"

    def outputs(self, assigned):
        """As `Contender.outputs`, without the final state."""
        found = super().outputs(assigned)
        return {k: v for k, v in found.items() if k not in ("h", "c")}
