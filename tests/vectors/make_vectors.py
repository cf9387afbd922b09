"""Makes the JSON files beside it: what ``torch.nn`` computes in float64, as hexadecimal floats.

    python tests/vectors/make_vectors.py            needs PyTorch; the files were made with 2.13.0

A file holds the constructor's arguments, all inputs, and all results of one forward and backward
pass of ``<y, dy> + <h, dh> + <c, dc>``. Inputs are multiples of 1/64, so that they are short and
exact in float32 too. The tests read the files and need no PyTorch.
"""

import json
import math
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

#: Name -> (class, I, H, T, B, lengths, keyword arguments).
CASES = {
    "rnn_tanh": ("RNN", 2, 3, 4, 2, None, {"num_layers": 2}),
    "rnn_relu": ("RNN", 3, 4, 3, 2, None, {"nonlinearity": "relu", "bidirectional": True}),
    "lstm": ("LSTM", 2, 3, 4, 2, None, {}),
    "lstm_stack": ("LSTM", 2, 3, 3, 2, None, {"num_layers": 3}),
    "lstm_bidirectional": ("LSTM", 2, 3, 4, 2, None, {"num_layers": 2, "bidirectional": True}),
    "lstm_no_bias": ("LSTM", 3, 2, 4, 3, None, {"bias": False, "batch_first": True}),
    "lstm_lengths": ("LSTM", 2, 3, 5, 4, [2, 5, 1, 4], {"bidirectional": True}),
    "lstm_projection": ("LSTM", 3, 4, 4, 2, None, {"proj_size": 2, "num_layers": 2}),
    "lstm_projection_lengths": ("LSTM", 2, 4, 4, 3, [1, 3, 4], {"proj_size": 3, "bidirectional": True}),
    "gru": ("GRU", 2, 3, 4, 2, None, {}),
    "gru_bidirectional": ("GRU", 2, 3, 3, 2, None, {"num_layers": 2, "bidirectional": True}),
    "gru_lengths": ("GRU", 3, 4, 4, 3, [3, 1, 4], {"num_layers": 2, "batch_first": True}),
}


def hexadecimal(tensor):
    """Shape and values of a tensor."""
    values = [float(value).hex() for value in tensor.detach().reshape(-1)]
    return {"shape": list(tensor.shape), "values": values}


def multiples(generator, shape, scale):
    """Multiples of 1/64 in about -scale..scale."""
    steps = max(1, round(64 * scale))
    return torch.randint(-steps, steps + 1, shape, generator=generator).double() / 64


def run(layer, x, state, lengths):
    """y and final states, in the layout of the layer."""
    if lengths is None:
        return layer(x, state)
    packed = pack_padded_sequence(x, torch.tensor(lengths), layer.batch_first, enforce_sorted=False)
    y, final = layer(packed, state)
    steps = x.shape[1 if layer.batch_first else 0]
    return pad_packed_sequence(y, layer.batch_first, total_length=steps)[0], final


def make(number, kind, I, H, T, B, lengths, arguments):
    """All that a file holds."""
    generator = torch.Generator().manual_seed(number)
    layer = getattr(torch.nn, kind)(I, H, dtype=torch.float64, **arguments)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(multiples(generator, parameter.shape, 1.5 / math.sqrt(H)))
    batch_first, rows = layer.batch_first, layer.num_layers * (1 + layer.bidirectional)
    out = layer.proj_size or H
    widths = {"h": out, "c": H} if kind == "LSTM" else {"h": out}
    x = multiples(generator, (B, T, I) if batch_first else (T, B, I), 1).requires_grad_()
    states = {name: multiples(generator, (rows, B, width), 1).requires_grad_() for name, width in widths.items()}
    state = tuple(states.values()) if kind == "LSTM" else states["h"]

    y, final = run(layer, x, state, lengths)
    final = dict(zip(widths, final if kind == "LSTM" else (final,)))
    dy = multiples(generator, y.shape, 1)
    dfinal = {name: multiples(generator, part.shape, 1) for name, part in final.items()}
    (torch.sum(y * dy) + sum(torch.sum(final[name] * dfinal[name]) for name in widths)).backward()

    def many(tensors):
        return {name: hexadecimal(tensor) for name, tensor in tensors.items()}

    return {
        "made_with": f"torch {torch.__version__.split('+')[0]}",
        "layer": kind, "input_size": I, "hidden_size": H, "arguments": arguments, "lengths": lengths,
        "parameters": many(dict(layer.named_parameters())),
        "x": hexadecimal(x), "state": many(states), "dy": hexadecimal(dy), "dstate": many(dfinal),
        "y": hexadecimal(y), "final": many(final), "dx": hexadecimal(x.grad),
        "dstate0": many({name: part.grad for name, part in states.items()}),
        "grads": many({name: parameter.grad for name, parameter in layer.named_parameters()}),
    }  # fmt: skip


def main():
    for number, (name, case) in enumerate(CASES.items()):
        path = Path(__file__).with_name(f"{name}.json")
        path.write_text(json.dumps(make(number, *case), separators=(",", ":")) + "\n")
        print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
