"""An ONNX model of a case: weights are constants, a layer is a node, its layout is as PyTorch exports it."""

import importlib.util

import numpy as np

from ..cells import CELLS, PLAIN
from ..problem import peepholes

GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}  # torch's
ORDER = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}  # ONNX's
NAMES = {
    "tanh": "Tanh", "relu": "Relu", "softplus": "Softplus", "hard_sigmoid": "HardSigmoid", "softsign": "Softsign",
}  # fmt: skip
#: The cells that its operators have.
HAS = (
    *PLAIN, "RNN relu", "RNN softplus", "LSTM peephole", "LSTM coupled", "LSTM coupled peephole", "LSTM activations",
    "GRU before", "GRU activations",
)  # fmt: skip


def has_model(case):
    """Whether `model` can express a case: inference in float32, initial states of one layer."""
    fits = case.what != "train" and case.dtype == "float32"
    return bool(fits and (case.what == "forward" or case.layers == 1) and importlib.util.find_spec("onnx"))


def feeds(problem):
    """The model's inputs by name."""
    found = {"x": problem.x}
    if problem.lengths is not None:
        found["lengths"] = problem.lengths.astype(np.int32)
    if problem.state:
        found |= dict(zip(("h0", "c0"), problem.state))
    return found


def output_names(case):
    """``y``, then final ``h`` (and ``c``) of every layer."""
    kinds = "hc" if CELLS[case.cell].layer == "LSTM" else "h"
    return ["y"] + [f"{kind}_{layer}" for kind in kinds for layer in range(case.layers)]


def outputs(case, arrays):
    """The model's outputs as `Contender.outputs` has them."""
    y, *finals = (np.asarray(a) for a in arrays)
    found = {"y": y.reshape(case.steps, case.batch, -1)}
    for i in range(0, len(finals), case.layers):
        found["hc"[i // case.layers]] = np.concatenate(finals[i : i + case.layers])
    return found


def model(problem):
    """The bytes of the model."""
    from onnx import TensorProto, helper, numpy_helper

    case, cell = problem.case, CELLS[problem.case.cell]
    nodes, tensors = [], {}
    y = "x"
    for layer in range(case.layers):
        tensors |= _weights(problem, layer)
        given = [y, f"W{layer}", f"R{layer}", f"B{layer}", "lengths" if case.shortest else ""]
        given += ["h0", "c0"][: len(problem.state)] if problem.state else []
        if peepholes(case):
            given += [""] * (7 - len(given)) + [f"P{layer}"]
        finals = [name for name in output_names(case)[1:] if name.endswith(f"_{layer}")]
        last = layer == case.layers - 1
        plain = "y" if last and case.directions == 1 else f"plain{layer}"  # (T, D, B, H)
        nodes.append(
            helper.make_node(cell.layer, given, [plain, *finals], hidden_size=case.hidden, **attributes(case))
        )
        y = "y" if last else f"y{layer}"
        if plain != "y":  # (T, B, D*H)
            tensors["shape"] = np.array([case.steps, case.batch, -1])
            nodes.append(helper.make_node("Transpose", [plain], [f"turned{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{layer}", "shape"], [y]))
    types = {np.dtype("int32"): TensorProto.INT32, np.dtype("float32"): TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes, "recurrent",
        [helper.make_tensor_value_info(k, types[a.dtype], a.shape) for k, a in feeds(problem).items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in output_names(case)],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in tensors.items()],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    ).SerializeToString()


def attributes(case):
    """Of a node."""
    cell, found = CELLS[case.cell], {}
    if case.directions == 2:
        found["direction"] = "bidirectional"
    if cell.layer == "GRU" and cell.options.get("reset_after", True):
        found["linear_before_reset"] = 1
    if cell.options.get("coupled"):
        found["input_forget"] = 1
    if "clip" in cell.options:
        found["clip"] = cell.options["clip"]
    names = cell.options.get("activations") or [cell.options.get("nonlinearity", "tanh")]
    if cell.options.keys() & {"activations", "nonlinearity"}:
        found["activations"] = [NAMES[name] for name in names] * case.directions
    return found


def _weights(problem, layer):
    """W, R, B, and P of peepholes, of a layer, directions first."""
    cell = CELLS[problem.case.cell]
    coupled, order = cell.options.get("coupled"), ORDER[cell.layer]

    def of_gates(parts, order):
        """In ONNX's order; i = 1 - f is the sigmoid of the negative."""
        parts = {"i": -parts["f"], **parts} if coupled else parts
        return np.concatenate([parts[gate] for gate in order])

    def gates(name):
        there = GATES[cell.layer][1 if coupled else 0 :]
        return of_gates(dict(zip(there, np.split(problem.weights[name], len(there)), strict=True)), order)

    ways = [f"l{layer}{way}" for way in ("", "_reverse")[: problem.case.directions]]
    seen = [{gate: problem.weights[f"weight_c{gate}_{s}"] for gate in peepholes(problem.case)} for s in ways]
    more = {f"P{layer}": np.stack([of_gates(parts, "iof") for parts in seen])} if seen[0] else {}
    return more | {
        f"W{layer}": np.stack([gates(f"weight_ih_{s}") for s in ways]),
        f"R{layer}": np.stack([gates(f"weight_hh_{s}") for s in ways]),
        f"B{layer}": np.stack([np.concatenate([gates(f"bias_ih_{s}"), gates(f"bias_hh_{s}")]) for s in ways]),
    }
