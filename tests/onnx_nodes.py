"""Nodes of ONNX for tests: their equations written out in NumPy, with nothing of the package, and models of one node.

The equations are those of the operators RNN, GRU and LSTM of the standard; what it leaves open is as in onnxruntime: a clip
bounds the sums that go into the activations, peepholes included; alpha and beta go to the functions that have one, in order;
past a length outputs are 0. After a length of 0 the final state is the initial one.
"""

import numpy as np

BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
#: Function -> its formula and the defaults of alpha and beta.
FUNCTIONS = {
    "Relu": (lambda x: np.maximum(x, 0), ()),
    "Tanh": (np.tanh, ()),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), ()),
    "Affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "LeakyRelu": (lambda x, a: np.where(x >= 0, x, a * x), (0.01,)),
    "ThresholdedRelu": (lambda x, a: np.where(x >= a, x, 0), (1.0,)),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, a, b: np.minimum(np.maximum(a * x + b, 0), 1), (0.2, 0.5)),
    "Elu": (lambda x, a: np.where(x >= 0, x, a * (np.exp(x) - 1)), (1.0,)),
    "Softsign": (lambda x: x / (1 + np.abs(x)), ()),
    "Softplus": (lambda x: np.log(1 + np.exp(x)), ()),
}  # fmt: skip


def functions_of(operator, attributes, directions):
    """For each direction its activations as functions of x."""
    names = attributes.get("activations", USUAL[operator] * directions)
    queues = [list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))]
    made = []
    for name in names:
        formula, defaults = FUNCTIONS[name]
        numbers = [np.float32(queue.pop(0)) if queue else default for queue, default in zip(queues, defaults)]
        made.append(lambda x, formula=formula, numbers=numbers: formula(x, *map(np.float64, numbers)))
    each = len(USUAL[operator])
    return [made[i * each : (i + 1) * each] for i in range(directions)]


def step(operator, attributes, functions, x, h, c, W, R, B, P):
    """One step of one sequence: h and c after it."""
    H = h.size
    limit = float(np.float32(attributes.get("clip", np.inf)))
    wb, rb = np.split(B, 2)
    blocks = BLOCKS[operator]
    w, r = (W @ x + wb).reshape(blocks, H), (R @ h).reshape(blocks, H)
    rb = rb.reshape(blocks, H)

    def clipped(a):
        return np.clip(a, -limit, limit)

    if operator == "RNN":
        return functions[0](clipped(w[0] + r[0] + rb[0])), c
    if operator == "GRU":
        f, g = functions
        z, reset = f(clipped(w[0] + r[0] + rb[0])), f(clipped(w[1] + r[1] + rb[1]))
        if attributes.get("linear_before_reset"):
            inner = reset * (r[2] + rb[2])
        else:
            inner = R.reshape(3, H, H)[2] @ (reset * h) + rb[2]
        return (1 - z) * g(clipped(w[2] + inner)) + z * h, c
    f, g, hidden = functions
    sums, (p_i, p_o, p_f) = w + r + rb, P.reshape(3, H)
    i = f(clipped(sums[0] + p_i * c))
    forget = 1 - i if attributes.get("input_forget") else f(clipped(sums[2] + p_f * c))
    c = forget * c + i * g(clipped(sums[3]))
    o = f(clipped(sums[1] + p_o * c))
    return o * hidden(c), c


def evaluate(operator, attributes, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None):
    """``[Y, Y_h]`` or ``[Y, Y_h, Y_c]`` in float64, in the layout that the attributes ask for."""
    layout, D, H = attributes.get("layout", 0), W.shape[0], R.shape[2]
    X, W, R = (array.astype(np.float64) for array in (X, W, R))
    X = X.swapaxes(0, 1) if layout else X
    T, batch = X.shape[:2]
    lengths = [T] * batch if sequence_lens is None else sequence_lens.tolist()
    B = np.zeros((D, 2 * BLOCKS[operator] * H)) if B is None else B.astype(np.float64)
    P = np.zeros((D, 3 * H)) if P is None else P.astype(np.float64)
    starts = []
    for state in (initial_h, initial_c):
        state = np.zeros((batch, D, H) if layout else (D, batch, H)) if state is None else state.astype(np.float64)
        starts.append(state.swapaxes(0, 1) if layout else state)
    direction = attributes.get("direction", "forward")
    reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    Y, finals = np.zeros((T, D, batch, H)), [np.zeros((D, batch, H)), np.zeros((D, batch, H))]
    functions = functions_of(operator, attributes, D)
    for d in range(D):
        for b in range(batch):
            h, c = starts[0][d, b], starts[1][d, b]
            order = range(lengths[b])
            for t in reversed(order) if reverse[d] else order:
                h, c = step(operator, attributes, functions[d], X[t, b], h, c, W[d], R[d], B[d], P[d])
                Y[t, d, b] = h
            finals[0][d, b], finals[1][d, b] = h, c
    if layout:
        Y, finals = Y.transpose(2, 0, 1, 3), [final.swapaxes(0, 1) for final in finals]
    return [Y, *finals[: 2 if operator == "LSTM" else 1]]


INPUTS = {"RNN": ["X", "W", "R", "B", "sequence_lens", "initial_h"]}
INPUTS["GRU"], INPUTS["LSTM"] = INPUTS["RNN"], [*INPUTS["RNN"], "initial_c", "P"]
OUTPUTS = {"RNN": ["Y", "Y_h"], "GRU": ["Y", "Y_h"], "LSTM": ["Y", "Y_h", "Y_c"]}


def node_model(onnx, operator, attributes, arrays, constants=(), opset=17):
    """A model of one node; ``arrays``: its inputs by the standard's names, those of ``constants`` kept in the file."""
    helper = onnx.helper
    names = [name if name in arrays else "" for name in INPUTS[operator]]
    while not names[-1]:
        names.pop()
    attributes = {"hidden_size": arrays["R"].shape[-1]} | attributes  # onnxruntime asks for it
    node = helper.make_node(operator, names, OUTPUTS[operator], "the node", **attributes)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items() if name not in constants
    ]  # fmt: skip
    kept = [onnx.numpy_helper.from_array(arrays[name], name) for name in constants if name in arrays]
    dtype = helper.np_dtype_to_tensor_dtype(arrays["X"].dtype)
    outputs = [helper.make_tensor_value_info(name, dtype, [None] * (3 + (name == "Y"))) for name in OUTPUTS[operator]]
    graph = helper.make_graph([node], "one", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node_arrays(rng, operator, D, T, batch, I, H, dtype="float32", layout=0, given=(), lengths=None):
    """Random inputs of a node; ``given``: which of B, initial_h, initial_c, P there are."""
    blocks = BLOCKS[operator]
    shapes = {"X": (batch, T, I) if layout else (T, batch, I), "W": (D, blocks * H, I), "R": (D, blocks * H, H),
              "B": (D, 2 * blocks * H), "P": (D, 3 * H)}  # fmt: skip
    shapes["initial_h"] = shapes["initial_c"] = (batch, D, H) if layout else (D, batch, H)
    arrays = {}
    for name in INPUTS[operator]:
        if name in ("X", "W", "R", *given):
            scale = H**-0.5 if name in "WRBP" else 1
            arrays[name] = (rng.uniform(-1, 1, shapes[name]) * scale).astype(dtype)
    if lengths is not None:
        arrays["sequence_lens"] = np.array(lengths, np.int32)
    return arrays
