"""Nodes of ONNX: the standard's own tests, the equations, and onnxruntime."""

import unittest
import warnings

import numpy as np
import onnx_nodes as nodes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_as_good_as, assert_close, assert_same_bits

import fastrnn as fr

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.interop


@pytest.fixture
def load(tmp_path):
    """Load a model that is in memory."""

    def loader(model):
        onnx.save(model, tmp_path / "x.onnx")
        return fr.onnx.load(tmp_path / "x.onnx")

    return loader


def ort_results(model, arrays):
    """What onnxruntime gives, in order."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {value.name: arrays[value.name] for value in session.get_inputs()})


# ---- the standard's tests -------------------------------------------------------------------------


def cases():
    """The standard's tests of single nodes: name -> case."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():  # it divides by zero on purpose
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


CASES = cases()
RECURRENT = sorted(name for name, case in CASES.items() if case.model.graph.node[0].op_type in ("RNN", "GRU", "LSTM"))


def test_the_recurrent_nodes_of_the_standard():
    """All 18, through its own runner."""
    from onnx.backend.test import BackendTest

    tests = BackendTest(fr.onnx.backend, __name__)
    for name in RECURRENT:
        tests.include(f"^{name}_cpu$")
    suite, result = tests.test_suite, unittest.TestResult()
    suite.run(result)
    ran = result.testsRun - len(result.skipped)
    assert ran == len(RECURRENT) == 18 and result.failures == result.errors == []


def right(case):
    """Whether the backend gives what the case expects, checked as the standard's runner does; None if it refuses."""
    plain = onnx.numpy_helper.to_array
    try:
        prepared = fr.onnx.backend.prepare(case.model)
        for data in case.data_sets:
            inputs, expected = ([plain(a) if isinstance(a, onnx.TensorProto) else a for a in arrays] for arrays in data)
            results = prepared.run(inputs)
    except ValueError as error:
        assert "the model: " in str(error), case.name
        return None
    for result, array in zip(results, expected, strict=True):
        assert result.dtype == array.dtype and result.shape == array.shape, case.name
        np.testing.assert_allclose(result, array, case.rtol, case.atol, err_msg=case.name)
    return True


def test_every_node_of_the_standard_is_right_or_refused():
    """No operator is computed wrongly: what differs in version, attribute or type from what is known is refused."""
    from fastrnn.onnx._operators import OPERATORS

    computed = [name for name, case in CASES.items() if right(case)]
    operators = {node.op_type for name in computed for node in CASES[name].model.graph.node}
    assert set(OPERATORS) - operators == {"Not"} and len(computed) > 600  # whose test is of version 1


def test_no_operator_has_changed_unseen():
    """The newest version of each, up to the newest of the standard that docs/interop.md names, is the one that is computed."""
    from fastrnn.onnx._model import _ROWS

    for name, row in _ROWS.items():
        assert row.newest == onnx.defs.get_schema(name, 28, "").since_version, name


# ---- equations, and onnxruntime -------------------------------------------------------------------

SMOOTH = ["Tanh", "Sigmoid", "Affine", "LeakyRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus", "Relu"]


def check(load, operator, attributes, arrays, constants, peer=True):
    """Against the equations in float64; in float32 as close as onnxruntime is, or as the formula asks."""
    model = nodes.node_model(onnx, operator, attributes, arrays, constants)
    mine = load(model)
    results = mine(**{name: array for name, array in arrays.items() if name not in constants})
    exact = nodes.evaluate(operator, attributes, **arrays)
    peers = ort_results(model, arrays) if peer else exact
    for name, result, right, other in zip(nodes.OUTPUTS[operator], results.values(), exact, peers, strict=True):
        if peer:
            assert_close(f"onnxruntime's {name}", result, other, "runtime")
            assert_as_good_as(name, result, other, right, "forward")
        else:
            assert_close(name, result, right, "forward", arrays["X"].dtype)


@st.composite
def any_node(draw, runtime_has=False):
    """Operator, attributes, inputs and which of these are constants."""
    operator = draw(st.sampled_from(["RNN", "GRU", "LSTM"]))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    D = 1 + (direction == "bidirectional")
    attributes = {"direction": direction}
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(SMOOTH), min_size=len(nodes.USUAL[operator]) * D,
                              max_size=len(nodes.USUAL[operator]) * D))  # fmt: skip
        if operator != "RNN":  # gates that grow without bound would leave nothing to compare
            each = len(nodes.USUAL[operator])
            names = [draw(st.sampled_from(["Sigmoid", "HardSigmoid"])) if i % each == 0 else n for i, n in enumerate(names)]
        attributes["activations"] = names
        for i, letter in enumerate(("alpha", "beta")):
            takers = [name for name in names if len(nodes.FUNCTIONS[name][1]) > i]
            # onnxruntime takes 0 for those that are no operators any more
            least = len(takers) if runtime_has and {"Affine", "ScaledTanh"} & set(names) else 0
            numbers = draw(st.lists(st.sampled_from([0.25, 0.5, 0.3]), min_size=least, max_size=len(takers)))
            if numbers:
                attributes[f"activation_{letter}"] = numbers
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.25, 0.7, 3.0]))
    if operator == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    T, batch, I, H = (draw(st.sampled_from(sizes)) for sizes in ([1, 2, 5], [1, 3, 7], [1, 4], [1, 5, 17]))
    layout, dtype = 0, "float32"
    if not runtime_has:
        layout, dtype = draw(st.integers(0, 1)), draw(st.sampled_from(["float32", "float64"]))
        attributes["layout"] = layout
    if operator == "LSTM" and draw(st.booleans()):
        gates = attributes.get("activations", ["Sigmoid"])[::3]
        if set(gates) == {"Sigmoid"} or "clip" not in attributes:
            attributes["input_forget"] = 1
    attributes["hidden_size"] = H
    given_too = [name for name in ("B", "initial_h", "initial_c", "P") if draw(st.booleans())]
    least = 1 if runtime_has else 0
    lengths = draw(st.none() | st.lists(st.integers(least, T), min_size=batch, max_size=batch))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    arrays = nodes.node_arrays(rng, operator, D, T, batch, I, H, dtype, layout, given_too, lengths)
    constants = draw(st.sampled_from([["W", "R", "B", "P"], ["W", "R"], []]))
    return operator, attributes, arrays, [name for name in constants if name in arrays]


@budget(1.5)
@given(case=any_node())
def test_equations(case):
    check(from_memory, *case, peer=False)


@budget(1.5)
@given(case=any_node(runtime_has=True))
def test_onnxruntime(case):
    check(from_memory, *case)


def from_memory(model):
    prepared = fr.onnx.backend.prepare(model)
    return prepared.model


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("name", nodes.FUNCTIONS)
def test_each_activation(load, name, operator, direction):
    """In each place, with the operators' own defaults and with numbers; against onnxruntime where those are given."""
    rng, D = np.random.default_rng(3), 1 + (direction == "bidirectional")
    arrays = nodes.node_arrays(rng, operator, D, 4, 3, 2, 5, given=("B", "P", "initial_h"))
    usual = nodes.USUAL[operator]
    for place in range(len(usual)):
        own = [*usual[:place], name, *usual[place + 1 :]]
        for numbers in ((), (0.375, 0.75)):
            attributes = {"direction": direction, "activations": own * D}
            count = len(nodes.FUNCTIONS[name][1])
            if numbers and count:
                attributes |= {f"activation_{key}": [value] * D for key, value in zip(("alpha", "beta")[:count], numbers)}
            check(load, operator, attributes, arrays, ["W", "R", "B", "P"], peer=bool(numbers))


def test_directions_with_functions_of_their_own(load):
    rng = np.random.default_rng(0)
    arrays = nodes.node_arrays(rng, "LSTM", 2, 5, 3, 4, 6, given=("B", "P", "initial_h", "initial_c"), lengths=[5, 1, 3])
    names = ["Sigmoid", "Tanh", "Softsign", "HardSigmoid", "Elu", "Tanh"]
    attributes = {"direction": "bidirectional", "activations": names, "activation_alpha": [0.3, 0.6]}
    check(load, "LSTM", attributes, arrays, ["W", "R", "B", "P"])


@pytest.mark.parametrize("beta", [0.5, 0.3, 0.8])
@pytest.mark.parametrize("given", [("B", "P"), ("P",), ()])
def test_input_forget_with_hard_sigmoid(load, beta, given):
    """f = 1 - i: exact for the gate by beta -> 1 - beta; o keeps its own."""
    arrays = nodes.node_arrays(np.random.default_rng(1), "LSTM", 1, 6, 2, 3, 5, given=(*given, "initial_c"))
    attributes = {"input_forget": 1, "activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.4],
                  "activation_beta": [beta]}  # fmt: skip
    check(load, "LSTM", attributes, arrays, ["W", "R", "B", "P"])
    check(load, "LSTM", attributes | {"clip": 2.0}, arrays, ["W", "R", "B", "P"])  # flat beyond 0.8 / 0.4


def test_a_clip_bounds_the_sums_and_not_the_cell_state(load):
    """Cell states far beyond the clip."""
    arrays = nodes.node_arrays(np.random.default_rng(2), "LSTM", 1, 3, 2, 3, 4, given=("B", "P", "initial_c"))
    arrays["initial_c"] *= 50
    for attributes in ({"clip": 0.5}, {"clip": 0.5, "input_forget": 1}):
        check(load, "LSTM", attributes, arrays, ["W", "R"])
    for operator in ("RNN", "GRU"):
        arrays = nodes.node_arrays(np.random.default_rng(2), operator, 1, 3, 2, 3, 4, given=("B",))
        check(load, operator, {"clip": 0.125}, arrays, ["W", "R"])


def test_a_length_of_0_keeps_the_initial_state(load):
    """As here everywhere; onnxruntime gives zeros."""
    arrays = nodes.node_arrays(np.random.default_rng(0), "LSTM", 2, 4, 3, 2, 5, given=("initial_h", "initial_c"),
                               lengths=[4, 0, 2])  # fmt: skip
    model = nodes.node_model(onnx, "LSTM", {"direction": "bidirectional"}, arrays)
    results = load(model)(**arrays)
    assert_same_bits("Y_h", results["Y_h"][:, 1], arrays["initial_h"][:, 1])
    assert_same_bits("Y_c", results["Y_c"][:, 1], arrays["initial_c"][:, 1])
    assert not results["Y"][:, :, 1].any()
    theirs = ort_results(model, arrays)
    assert not theirs[1][:, 1].any() and not theirs[2][:, 1].any()


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layout", [0, 1])
def test_no_steps_and_no_sequences(load, operator, layout):
    for T, batch in ((0, 2), (3, 0)):
        rng = np.random.default_rng(0)
        arrays = nodes.node_arrays(rng, operator, 2, T, batch, 3, 4, layout=layout, given=("initial_h",))
        attributes = {"direction": "bidirectional", "layout": layout}
        results = load(nodes.node_model(onnx, operator, attributes, arrays))(**arrays)
        assert results["Y"].shape == ((batch, T, 2, 4) if layout else (T, 2, batch, 4))
        assert_same_bits("Y_h", results["Y_h"], arrays["initial_h"])


def test_packed_weights_give_the_bits_of_those_of_a_call(load):
    """Constants are packed once; weights that come with a call are looked at in each."""
    rng = np.random.default_rng(0)
    arrays = nodes.node_arrays(rng, "GRU", 2, 4, 3, 2, 5, given=("B",))
    attributes = {"direction": "bidirectional"}
    packed = load(nodes.node_model(onnx, "GRU", attributes, arrays, ["W", "R", "B"]))(X=arrays["X"])
    model = load(nodes.node_model(onnx, "GRU", attributes, arrays))
    assert_same_bits("Y", model(**arrays)["Y"], packed["Y"])
    arrays["R"][:] = 0
    changed = model(**arrays)["Y"]
    assert_close("Y", changed, nodes.evaluate("GRU", attributes, **arrays)[0], "forward")
    assert np.abs(changed - packed["Y"]).max() > 0.01


# ---- what is refused -----------------------------------------------------------------------------

ONE = nodes.node_arrays(np.random.default_rng(0), "LSTM", 1, 3, 2, 2, 4, given=("B", "P"))
REFUSED = {
    "direction": ({"direction": "backward"}, {}, "its direction is 'backward'"),
    "layout": ({"layout": 2}, {}, "its layout is 2"),
    "hidden size": ({"hidden_size": 5}, {}, "hidden_size is 5, but R has 4 columns"),
    "clip": ({"clip": 0.0}, {}, "its clip is 0.0"),
    "NaN clip": ({"clip": float("nan")}, {}, "its clip is nan"),
    "activation": ({"activations": ["Sigmoid", "Gelu", "Tanh"]}, {}, "'Gelu' is not one of"),
    "too few": ({"activations": ["Sigmoid", "Tanh"]}, {}, "2 activations, not 3 for each"),
    "alpha left": ({"activation_alpha": [0.5]}, {}, "more of activation_alpha"),
    "coupled tanh": ({"activations": ["Tanh", "Tanh", "Tanh"], "input_forget": 1}, {}, "gate activation tanh"),
    "coupled and clipped": ({"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_beta": [0.25], "input_forget": 1,
                             "clip": 1.0}, {}, "only beta 0.5 can be coupled"),
    "W": ({}, {"W": ONE["W"][:, 1:]}, "R is of|W is of"),
    "R": ({}, {"R": ONE["R"][0]}, "3 and 2 axes"),
    "B": ({}, {"B": ONE["B"][:, :-1]}, "B is of float32 and .1, 31."),
    "P": ({}, {"P": ONE["P"].astype(np.float64)}, "P is of float64"),
    "half": ({}, {name: array.astype(np.float16) for name, array in ONE.items()}, "are of float16"),
    "unknown": ({"output_sequence": 1}, {}, "no attribute 'output_sequence'"),
    "type": ({"hidden_size": 4.0}, {}, "no attribute 'hidden_size' of that type"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_when_loaded(load, case):
    attributes, changed, words = REFUSED[case]
    model = nodes.node_model(onnx, "LSTM", attributes, ONE | changed, ["W", "R", "B", "P"])
    with pytest.raises(ValueError, match=words) as caught:
        load(model)
    assert "x.onnx: node 'the node' (LSTM): " in str(caught.value)


def test_refused_at_a_call(load):
    arrays = dict(ONE, sequence_lens=np.array([3, 4], np.int32))
    model = load(nodes.node_model(onnx, "LSTM", {}, arrays, ["W", "R"]))
    given = {name: array for name, array in arrays.items() if name not in ("W", "R")}
    with pytest.raises(ValueError, match=r"node 'the node' \(LSTM\): lengths: expected integers in 0..3, got 4"):
        model(**given)
    with pytest.raises(ValueError, match="B: expected an array, got none; the inputs are: 'X', 'B', 'P', 'sequence_lens'"):
        model(X=arrays["X"])
    with pytest.raises(ValueError, match="Z: there is no such input"):
        model(**given, Z=1)
    with pytest.raises(ValueError, match=r"X: expected an array of shape \(3, 2, 2\), got \(3, 2, 5\)"):
        model(**given | {"X": np.zeros((3, 2, 5))})
    with pytest.raises(TypeError, match="sequence_lens: expected int32, got float64"):
        model(**given | {"sequence_lens": np.ones(2)})
    with pytest.raises(ValueError, match="sequence_lens: expected integers of int32, got 2147483648"):
        model(**given | {"sequence_lens": [1, 2**31]})


# ---- the callable ----------------------------------------------------------------------------------


def test_what_a_model_says_of_itself(load):
    arrays = dict(ONE, sequence_lens=np.array([3, 2], np.int32))
    model = load(nodes.node_model(onnx, "LSTM", {}, arrays, ["W", "R", "B", "P"]))
    assert [(v.name, v.dtype.name, v.shape) for v in model.inputs] == [("X", "float32", (3, 2, 2)),
                                                                       ("sequence_lens", "int32", (2,))]  # fmt: skip
    assert [(v.name, v.shape) for v in model.outputs] == [("Y", (None,) * 4), ("Y_h", (None,) * 3), ("Y_c", (None,) * 3)]
    assert repr(model).startswith("Model(X: float32 (3, 2, 2), sequence_lens: int32 (2)) -> Y: float32 (?, ?, ?, ?), ")
    results = model(X=arrays["X"].astype(np.float64), sequence_lens=[3, 2])
    assert list(results) == ["Y", "Y_h", "Y_c"] and all(array.flags.writeable for array in results.values())


def small_model(nodes_made, inputs, outputs, tensors=(), opset=17):
    graph = onnx.helper.make_graph(nodes_made, "small", inputs, outputs, list(tensors))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def floats(name, *shape):
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def test_results_are_the_callers_own(load):
    """Neither the model nor the input changes with them."""
    kept = onnx.numpy_helper.from_array(np.arange(3, dtype=np.float32), "kept")
    make = onnx.helper.make_node
    model = load(small_model([make("Identity", ["x"], ["same"]), make("Identity", ["kept"], ["constant"])],
                             [floats("x", 3)], [floats("same", 3), floats("constant", 3)], [kept]))  # fmt: skip
    x = np.ones(3, np.float32)
    results = model(x=x)
    results["same"][:] = results["constant"][:] = 7
    assert x.tolist() == [1, 1, 1] and model(x=x)["constant"].tolist() == [0, 1, 2]


def test_inputs_with_a_value_in_the_file(load):
    scale = onnx.numpy_helper.from_array(np.full(1, 2, np.float32), "scale")
    model = load(small_model([onnx.helper.make_node("Mul", ["x", "scale"], ["y"])], [floats("x", "n"), floats("scale", "m")],
                             [floats("y", "n")], [scale]))  # fmt: skip
    assert model(x=[1, 2])["y"].tolist() == [2, 4] and model(x=[1, 2], scale=[5])["y"].tolist() == [5, 10]


def test_the_backend():
    backend = fr.onnx.backend
    assert issubclass(backend, onnx.backend.base.Backend)
    assert backend.supports_device("CPU") and backend.supports_device("CPU:0") and not backend.supports_device("CUDA")
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    (result,) = backend.run_node(node, [np.ones(2, np.float32), np.full(2, 3, np.float32)])
    assert result.tolist() == [4, 4]
    model = nodes.node_model(onnx, "LSTM", {}, ONE)
    assert backend.is_compatible(model) and len(backend.run_model(model, list(ONE.values()))) == 3
    model.graph.node[0].op_type = "Mish"
    assert not backend.is_compatible(model)
    with pytest.raises(ValueError, match="device"):
        backend.prepare(model, "CUDA")


# ---- the tests themselves --------------------------------------------------------------------------

FAULTS = {
    "gates of an LSTM": ("GATES", "LSTM", ((0, 1), (1, 1), (3, 1), (2, 1))),
    "gates of a GRU": ("GATES", "GRU", ((0, 1), (1, 1), (2, 1))),
    "no sign": ("GATES", "coupled", ((0, 1), (3, 1), (1, 1))),
    "peepholes": ("PEEPHOLES", "LSTM", {"weight_ci": (0, 1), "weight_cf": (1, 1), "weight_co": (2, 1)}),
    "no sign of a peephole": ("PEEPHOLES", "coupled", {"weight_cf": (0, 1), "weight_co": (1, 1)}),
    "functions": ("FUNCTIONS", "Elu", ("softplus", 0)),
    "directions": ("_DIRECTIONS", "reverse", (False,)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_noticed(load, monkeypatch, fault):
    """Swapped gates, forgotten signs: random weights see what constant ones do not."""
    from fastrnn.onnx import _recurrent

    table, key, wrong = FAULTS[fault]
    operator = "GRU" if "GRU" in fault else "LSTM"
    arrays = nodes.node_arrays(np.random.default_rng(0), operator, 1, 3, 2, 2, 4, given=("B", "P", "initial_c"))
    attributes = {"direction": "reverse"}
    if key == "coupled":
        attributes["input_forget"] = 1
    if table == "FUNCTIONS":
        attributes["activations"] = ["Sigmoid", "Elu", "Tanh"]
    check(load, operator, attributes, arrays, ["W", "R"])
    monkeypatch.setitem(getattr(_recurrent, table), key, wrong)
    with pytest.raises(AssertionError, match="exceeds"):
        check(load, operator, attributes, arrays, ["W", "R"])
