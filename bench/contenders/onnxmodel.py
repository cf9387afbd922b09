"""An ONNX model of a case: weights are constants, a layer is a node, its layout is as PyTorch exports it."""

import importlib.util

import numpy as np

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's gates in ONNX's order


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
    kinds = "hc" if case.cell == "LSTM" else "h"
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

    case = problem.case
    nodes, tensors = [], {}
    y = "x"
    for layer in range(case.layers):
        tensors |= _weights(problem, layer)
        given = [y, f"W{layer}", f"R{layer}", f"B{layer}", "lengths" if case.shortest else ""]
        given += ["h0", "c0"][: len(problem.state)] if problem.state else []
        finals = [name for name in output_names(case)[1:] if name.endswith(f"_{layer}")]
        attributes = {"linear_before_reset": 1} if case.cell == "GRU" else {}
        if case.directions == 2:
            attributes["direction"] = "bidirectional"
        last = layer == case.layers - 1
        plain = "y" if last and case.directions == 1 else f"plain{layer}"  # (T, D, B, H)
        nodes.append(
            helper.make_node(case.cell, given, [plain, *finals], hidden_size=case.hidden, **attributes)
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


def _weights(problem, layer):
    """W, R and B of a layer, directions first."""
    order = GATES[problem.case.cell]

    def gates(name):
        parts = np.split(problem.weights[name], len(order))
        return np.concatenate([parts[i] for i in order])

    ways = [f"l{layer}{way}" for way in ("", "_reverse")[: problem.case.directions]]
    return {
        f"W{layer}": np.stack([gates(f"weight_ih_{s}") for s in ways]),
        f"R{layer}": np.stack([gates(f"weight_hh_{s}") for s in ways]),
        f"B{layer}": np.stack([np.concatenate([gates(f"bias_ih_{s}"), gates(f"bias_hh_{s}")]) for s in ways]),
    }
