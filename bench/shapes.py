"""What a case is, and the named sets of cases. Imports cells.py alone of the suite.

Layers have biases; the GRU resets after the product; shapes are written ``T, B, I, H``.
"""

import random
from typing import NamedTuple

from .cells import CELLS, PLAIN

#: What a call of each kind is given and what it gives, all of which is in its time. Input products
#: are always computed in the call. Never included: making the layer, and converting weights.
KINDS = {
    "step": "one step of a layer: x and the state are passed in, y and the new state come out",
    "stream": "one step where fastrnn keeps the state in its stream; the others as in step",
    "forward": "x in, state from zeros; y and the final state out",
    "train": "forward, then backward: x and the gradient of y in; y and the gradients of x and of all "
    "weights and biases out",
}


class Case(NamedTuple):
    """One thing to time: a layer and what is done with it."""

    what: str  # a key of KINDS
    cell: str  # a key of CELLS
    steps: int
    batch: int
    input: int
    hidden: int
    layers: int = 1
    directions: int = 1
    shortest: int = 0  # the batch is ragged: lengths from this to steps; 0: all are steps long
    dtype: str = "float32"

    @property
    def name(self):
        """As the tables show it."""
        width = f"{self.hidden}" if self.input == self.hidden else f"I{self.input}/H{self.hidden}"
        if self.steps == 1 and self.batch == 1:
            shape = f"H{width}" if self.input == self.hidden else width
        else:
            shape = f"{self.steps}/{self.batch}/{width}"
        words = [self.what, self.cell, shape]
        words += [f"{self.layers} layers"] * (self.layers > 1) + ["both ways"] * (self.directions == 2)
        words += [f"ragged {self.shortest}.."] * (self.shortest > 0)
        words += [self.dtype] * (self.dtype != "float32")
        return " ".join(words)

    @property
    def lengths(self):
        """Of each sequence: evenly spread from shortest to steps, in mixed order; None unless ragged."""
        if not self.shortest:
            return None
        span, last = self.steps - self.shortest, max(1, self.batch - 1)
        lengths = [self.shortest + span * i // last for i in range(self.batch)]
        random.Random(0).shuffle(lengths)
        return lengths

    @property
    def inputs(self):
        """Columns of the input weights of every layer and direction."""
        sizes = [self.input] + [self.output * self.directions] * (self.layers - 1)
        return [size for size in sizes for _ in range(self.directions)]

    @property
    def output(self):
        """Columns of y, of each direction."""
        return self.hidden // 2 if CELLS[self.cell].projected else self.hidden

    @property
    def options(self):
        """The layer's arguments that are the cell's own."""
        found = CELLS[self.cell].options
        return {**found, "proj_size": self.output} if CELLS[self.cell].projected else found

    @property
    def flops(self):
        """Multiplications and additions of the products at valid steps; BPTT has twice the forward's."""
        valid = sum(self.lengths) if self.shortest else self.steps * self.batch
        cell = CELLS[self.cell]
        multiplied = sum(self.hidden * (cell.inner * size + cell.recurrent * self.hidden) for size in self.inputs)
        return int(2 * valid * multiplied) * (3 if self.what == "train" else 1)

    @property
    def bytes(self):
        """The least that has to be read if nothing stays in a cache: R at every step, W and x once."""
        cell, rows = CELLS[self.cell], self.steps * self.batch
        once = sum(cell.inner * self.hidden * size + rows * (size + self.output) for size in self.inputs)
        each = len(self.inputs) * cell.recurrent * self.hidden**2
        size = 8 if self.dtype == "float64" else 4
        return int(size * (once + self.steps * each)) * (3 if self.what == "train" else 1)


def _cases(what, shapes, cells=PLAIN, **more):
    """Every shape with every cell."""
    return [Case(what, cell, *shape, **more) for shape in shapes for cell in cells]


STEP = [(1, 1, h, h) for h in (16, 32, 64, 128, 256, 512)]
FORWARD = [(100, 1, h, h) for h in (32, 64, 128, 256, 512)] + [
    (100, 4, 128, 128), (100, 16, 128, 128), (1000, 8, 64, 64), (100, 32, 256, 256),
    (200, 32, 40, 320), (100, 64, 512, 512), (50, 128, 1024, 1024),
]  # fmt: skip
TRAIN = [
    (100, 1, 64, 64), (100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256),
    (200, 32, 40, 320), (100, 64, 512, 512),
]  # fmt: skip
RAGGED = [(200, 32, 128, 128)]
PEAK = [(100, 32, 256, 256), (100, 64, 512, 512), (50, 128, 1024, 1024)]

# Baidu's DeepBench, code/kernels/rnn_problems.h: hidden units, batch and steps, input as wide as hidden.
# Of its server and device lists what one core does in about a second, and of its training list too;
# left out: LSTM of 4096 and 2048 beyond batch 1, GRU of more than 187 steps but for H = 1024.
DEEPBENCH = [
    *_cases("forward", [(25, b, 512, 512) for b in (1, 2, 4)], ["LSTM"]),
    *_cases("forward", [(25, b, 1024, 1024) for b in (1, 2, 4)], ["LSTM"]),
    *_cases("forward", [(50, b, 1536, 1536) for b in (1, 2, 4)], ["LSTM"]),
    *_cases("forward", [(25, 1, 2048, 2048)], ["LSTM"]),
    *_cases("forward", [(150, b, 256, 256) for b in (1, 2, 4)], ["LSTM"]),
    *_cases("forward", [(187, 1, h, h) for h in (1536, 2048)], ["GRU"]),
    *_cases("forward", [(1500, 1, 1024, 1024)], ["GRU"]),
    *_cases("forward", [(1, b, 512, 512) for b in (1, 2, 4)], ["GRU"]),
    *_cases("forward", [(672, 1, 32, 32), (96, 1, 64, 64)], ["RNN"]),
    *_cases("train", [(25, b, 512, 512) for b in (16, 32, 64, 128)], ["LSTM"]),
    *_cases("train", [(25, b, 1024, 1024) for b in (16, 32)], ["LSTM"]),
    *_cases("train", [(150, b, 256, 256) for b in (16, 32, 64)], ["LSTM"]),
    *_cases("train", [(50, 8, 1536, 1536)], ["LSTM"]),
    *_cases("train", [(1, 32, 512, 512)], ["GRU"]),
    *_cases("train", [(50, 16, 1760, 1760)], ["RNN"]),
]

# oneDNN's benchdnn, tests/benchdnn/inputs/rnn: option_set_gnmt_encoder, shapes_deepspeech_2, shapes_inference
# and shapes_training, with the cells and batches of perf_rnn_inference_sb and option_set_perf_training. Its GNMT
# decoders have states wider than their layers, which no library here has; training of DeepSpeech 2 at batch 128
# takes a core half a minute: left out.
BENCHDNN = [
    *_cases("forward", [(101, 1, 256, 256)], ["LSTM"], directions=2),
    *_cases("forward", [(t, 1, 512, 512) for t in (10, 30, 50, 101)], ["LSTM"]),
    *_cases("forward", [(30, 1, 1024, 1024)], ["LSTM"], layers=7),
    *_cases("forward", [(50, 1, 1760, 1760), (100, 1, 760, 760), (200, 1, 1760, 1760)], ["RNN", "GRU"]),
    *_cases("forward", [(50, 1, 500, 500), (629, 1, 128, 128), (10, 1, 512, 128)], ["LSTM"]),
    *_cases("train", [(10, 128, 512, 512), (30, 128, 512, 512)], ["LSTM"]),
    *_cases("train", [(10, 128, 256, 256)], ["LSTM"], directions=2),
    *_cases("train", [(50, 64, 500, 500), (629, 128, 128, 128), (10, 32, 512, 128)], ["LSTM"]),
    *_cases("train", [(50, 32, 1760, 1760)], ["RNN"]),
]

# Acoustic models: 123 filter-bank features into bidirectional layers of 250 (Graves, Mohamed & Hinton 2013), 120
# into 4 of 320 (EESEN, Miao et al. 2015), 80 into 2 of 256 (attention encoders), 40 into one-directional ones that
# stream; an utterance of 2 to 10 s at 100 frames/s.
SPEECH = [
    *_cases("forward", [(500, 1, 123, 250)], ["LSTM"], layers=5, directions=2),
    *_cases("forward", [(300, 8, 120, 320)], ["LSTM"], layers=4, directions=2),
    *_cases("forward", [(1000, 1, 80, 256), (400, 8, 80, 256)], ["LSTM", "GRU"], layers=2, directions=2),
    *_cases("forward", [(200, 1, 40, 128), (1000, 1, 40, 320)], ["LSTM", "GRU"], layers=2),
    *_cases("train", [(200, 8, 123, 250)], ["LSTM"], layers=3, directions=2),
    *_cases("train", [(400, 8, 80, 256)], ["LSTM", "GRU"], layers=2, directions=2),
    *_cases("train", [(200, 32, 40, 128)], ["LSTM", "GRU"], layers=2),
]

# Sensors, audio effects, keyword spotting: few inputs, few units, one stream.
EDGE_SIZES = [(1, 8), (1, 16), (4, 16), (1, 32), (16, 32), (8, 64), (16, 64)]
EDGE = [
    *_cases("step", [(1, 1, i, h) for i, h in EDGE_SIZES]),
    *_cases("forward", [(100, 1, i, h) for i, h in EDGE_SIZES]),
]

SETS = {
    "step": _cases("step", STEP),
    "stream": _cases("stream", STEP),
    "forward": _cases("forward", FORWARD),
    "train": _cases("train", TRAIN),
    "ragged": _cases("forward", RAGGED, shortest=20) + _cases("train", RAGGED, shortest=20),
    "float64": [c for w in ("forward", "train") for c in _cases(w, [(100, 16, 128, 128)], dtype="float64")],
    "deepbench": DEEPBENCH,
    "benchdnn": BENCHDNN,
    "speech": SPEECH,
    "edge": EDGE,
    "peak": _cases("forward", PEAK, ["LSTM", "GRU"]),
    "cells": [c for w in ("forward", "train") for c in _cases(w, [(100, 32, 256, 256)], CELLS)],
}

# Sets that measure whole processes instead of calls; processes.py says how.
PROCESS_SETS = {
    "memory": _cases("forward", [(2000, 16, 256, 256), (20000, 16, 256, 256)])
    + _cases("train", [(2000, 16, 256, 256)]),
    "busy": _cases("forward", [(100, 16, 128, 128)]),
    "import": ("import", "first call"),
}
