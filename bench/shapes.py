"""The named sets of cases. Shapes are ``T, B, I, H``; layers have one direction and biases."""

from typing import NamedTuple


class Case(NamedTuple):
    """One thing to time: a layer and what is done with it."""

    what: str  # "forward": state zeros in, y and final state out; "train": that, and all gradients
    cell: str  # "LSTM" | "GRU" | "RNN"
    steps: int
    batch: int
    input: int
    hidden: int

    @property
    def name(self):
        """As the tables show it."""
        width = f"{self.hidden}" if self.input == self.hidden else f"I{self.input}/H{self.hidden}"
        return f"{self.what} {self.cell} {self.steps}/{self.batch}/{width}"

    @property
    def flops(self):
        """Multiplications and additions of the products; BPTT has twice the forward pass's."""
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[self.cell]
        forward = 2 * self.steps * self.batch * gates * self.hidden * (self.input + self.hidden)
        return forward * (3 if self.what == "train" else 1)


CELLS = ("LSTM", "GRU", "RNN")
STEP = [(1, 1, h, h) for h in (16, 32, 64, 128, 256, 512)]
FORWARD = [(100, 1, h, h) for h in (32, 64, 128, 256, 512)] + [
    (100, 4, 128, 128), (100, 16, 128, 128), (1000, 8, 64, 64), (100, 32, 256, 256),
    (200, 32, 40, 320), (100, 64, 512, 512), (50, 128, 1024, 1024),
]  # fmt: skip
TRAIN = [
    (100, 1, 64, 64), (100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256),
    (200, 32, 40, 320), (100, 64, 512, 512),
]  # fmt: skip

SETS = {
    "step": [Case("forward", cell, *shape) for shape in STEP for cell in CELLS],
    "forward": [Case("forward", cell, *shape) for shape in FORWARD for cell in CELLS],
    "train": [Case("train", cell, *shape) for shape in TRAIN for cell in CELLS],
}
