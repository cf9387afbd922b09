"""Files of ONNX: operators alone, tensors in files of their own, hostile and damaged files."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import onnx_nodes as nodes
import pytest
from damaged import mutated
from tolerance import assert_same_bits

import fastrnn as fr

onnx = pytest.importorskip("onnx")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
make = helper.make_node

pytestmark = pytest.mark.interop


def value(name, *shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(made, inputs=None, outputs=None, tensors=(), opset=17):
    """A model of these nodes, by default from x to y."""
    inputs = [value("x", None, None)] if inputs is None else inputs
    outputs = [value("y", None, None)] if outputs is None else outputs
    graph = helper.make_graph(made, "a graph", inputs, outputs, list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


@pytest.fixture
def load(tmp_path):
    def loader(model):
        data = model if isinstance(model, bytes) else model.SerializeToString()
        (tmp_path / "x.onnx").write_bytes(data)
        return fr.onnx.load(tmp_path / "x.onnx")

    return loader


# ---- tensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16",
                                   "uint32", "uint64", "bool"])  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_of_every_type(load, dtype, raw):
    array = np.array([[0, 1, 3], [100, 7, 1]]).astype(dtype)
    number = helper.np_dtype_to_tensor_dtype(array.dtype)
    numbers = array.view(np.uint16).ravel().tolist() if dtype == "float16" else array.ravel().tolist()
    made = tensor("a", array) if raw else helper.make_tensor("a", number, array.shape, array.ravel().tolist())
    if dtype == "float16" and not raw:
        made = TensorProto(name="a", data_type=number, dims=array.shape, int32_data=numbers)
    outputs = [helper.make_tensor_value_info("y", number, array.shape)]
    found = load(model_of([make("Identity", ["a"], ["y"])], [], outputs, [made]))()["y"]
    assert found.dtype == array.dtype and (found == array).all() and found.flags.writeable


def test_empty_tensors_and_numbers(load):
    tensors = [tensor("a", np.zeros((0, 3), np.float32)), tensor("b", np.float32(2))]
    made = [make("Identity", ["a"], ["y"]), make("Identity", ["b"], ["z"])]
    results = load(model_of(made, [], [value("y", 0, 3), value("z")], tensors))()
    assert results["y"].shape == (0, 3) and results["z"].shape == () and results["z"] == 2


def test_a_negative_size_of_an_input_is_any(load):
    """Some exporters write -1 where they do not know."""
    model = load(model_of([make("Identity", ["x"], ["y"])], [value("x", -1, 3)], [value("y", -1, 3)]))
    assert model.inputs[0].shape == model.outputs[0].shape == (None, 3)
    for rows in (1, 4):
        assert model(x=np.ones((rows, 3), np.float32))["y"].shape == (rows, 3)
    with pytest.raises(ValueError, match="x: expected an array of shape"):
        model(x=np.ones((4, 2), np.float32))


def test_tensors_in_files_of_their_own(tmp_path):
    """As PyTorch writes them: names, offsets and lengths beside the model."""
    layer, x = fr.LSTM(3, 5, rng=0), np.ones((4, 2, 3), np.float32)
    fr.onnx.export(layer, tmp_path / "x.onnx")
    proto = onnx.load(tmp_path / "x.onnx")
    onnx.save(proto, tmp_path / "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    assert_same_bits("y", fr.onnx.load(tmp_path / "apart.onnx")(x=x)["y"], layer(x)[0])


def outside(tmp_path):
    """A file that is not in the model's folder, and links to it."""
    (tmp_path / "secret").write_bytes(bytes(12))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "near").write_bytes(bytes(12))
    (folder / "folder").mkdir()
    return folder


EXTERNAL = {
    "above": ({"location": "../secret"}, "no file in the folder"),
    "absolute": ({"location": "/etc/passwd"}, "no file in the folder"),
    "a link": ({"location": "link"}, "no file in the folder"),
    "a folder": ({"location": "folder"}, "no file in the folder"),
    "the folder": ({"location": "."}, "no file in the folder"),
    "missing": ({"location": "nothing"}, "no file in the folder"),
    "no name": ({}, "which was not given"),
    "a zero byte": ({"location": "a\0b"}, "which was not given"),
    "beyond": ({"location": "near", "offset": "4"}, "beyond the end"),
    "longer": ({"location": "near", "length": "16"}, "beyond the end"),
    "shorter": ({"location": "near", "length": "8"}, "has 8 bytes, not 3 items of 4"),
    "negative": ({"location": "near", "offset": "-4"}, "no place in its file"),
    "huge": ({"location": "near", "length": "9" * 30}, "no place in its file"),
    "no number": ({"location": "near", "offset": "x"}, "no place in its file"),
}


@pytest.mark.parametrize("case", EXTERNAL)
def test_files_of_tensors_stay_in_the_folder(tmp_path, case):
    entries, words = EXTERNAL[case]
    folder = outside(tmp_path)
    made = TensorProto(name="a", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        made.external_data.add(key=key, value=text)
    model = model_of([make("Identity", ["a"], ["y"])], [], [value("y", 3)], [made])
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=words):
        fr.onnx.load(folder / "x.onnx")
    with pytest.raises(ValueError, match="which was not given"):  # in memory there is no folder
        fr.onnx.backend.prepare(model)


# ---- hostile files -----------------------------------------------------------------------------


def lying(**fields):
    made = TensorProto(name="a", data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(8))
    for name, given in fields.items():
        if isinstance(given, list):
            del getattr(made, name)[:]
            getattr(made, name).extend(given)
        else:
            setattr(made, name, given)
    return model_of([make("Identity", ["a"], ["y"])], [], [value("y", 2)], [made])


def nested(depth):
    """A graph in a graph in a graph."""
    inner = leaf = helper.make_graph([make("Identity", ["x"], ["y0"])], "inner", [], [value("y0", None)])
    for i in range(depth):
        node = make("If", ["c"], [f"y{i + 1}"], then_branch=inner, else_branch=leaf)
        inner = helper.make_graph([node], "inner", [], [value(f"y{i + 1}", None)])
    return inner


def field(number, data):
    """A field of protocol buffers with these bytes."""
    size, count = b"", len(data)
    while count > 127:
        size, count = size + bytes([count & 127 | 128]), count >> 7
    return bytes([number << 3 | 2]) + size + bytes([count]) + data


def deeper(depth):
    """The bytes of a model whose graphs are so deep that the library would not write them."""
    graph = b""
    for _ in range(depth):
        attribute = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH).SerializeToString()
        node = onnx.NodeProto(op_type="If", input=["c"], output=["y"]).SerializeToString()
        graph = field(1, node + field(5, attribute + field(6, graph)))
    return onnx.ModelProto(opset_import=[helper.make_opsetid("", 17)]).SerializeToString() + field(7, graph)


def no_type():
    model = model_of([make("Relu", ["x"], ["y"])])
    model.graph.input[0].ClearField("type")
    return model


def twice(node):
    node.attribute.append(node.attribute[0])
    return model_of([node])


def not_utf8(data):
    """The bytes of a model whose names ``x`` are none."""
    assert data.count(b"long name") > 1
    return data.replace(b"long name", b"long \xff\xfe\xfdm", 1)


def typed(kind):
    text = helper.make_tensor_value_info("x", TensorProto.STRING, [1])
    return model_of([make("Identity", ["x"], ["y"])], [text if kind == "text" else helper.make_tensor_sequence_value_info(
        "x", TensorProto.FLOAT, [1])])  # fmt: skip


SPARSE = model_of([make("Relu", ["x"], ["y"])])
SPARSE.graph.sparse_initializer.add()
OTHER_DOMAIN = make("Relu", ["x"], ["y"], domain="com.example")
HOSTILE = {
    "empty": (b"", "it is no ONNX model"),
    "text": (b"ONNX model", "it is no ONNX model"),
    "no graph": (onnx.ModelProto(opset_import=[helper.make_opsetid("", 17)]), "it is no ONNX model"),
    "no version": (onnx.ModelProto(graph=model_of([]).graph), "it is no ONNX model"),
    "an old version": (model_of([make("Relu", ["x"], ["y"])], opset=6), "of version 6; from 7 to"),
    "a version to come": (model_of([make("Relu", ["x"], ["y"])], opset=1000), "of version 1000; from 7 to"),
    "dims": (lying(dims=[3]), "'a' has 8 bytes, not 3 items of 4"),
    "many dims": (lying(dims=[2**62]), "'a' is too large"),
    "dims that overflow": (lying(dims=[2**32, 2**32]), "'a' is too large"),
    "empty dims that overflow": (lying(dims=[2**40, 2**40, 0], raw_data=b""), "'a' is too large"),
    "negative dims": (lying(dims=[-2, -1]), "a negative size"),
    "axes": (lying(dims=[1] * 65), "too many axes"),
    "type": (lying(data_type=TensorProto.STRING), "has the type 8"),
    "no type": (lying(data_type=0), "has the type 0"),
    "an unknown type": (lying(data_type=99), "has the type 99"),
    "numbers": (model_of([make("Identity", ["a"], ["y"])], [], tensors=[
        TensorProto(name="a", data_type=TensorProto.INT64, dims=[3], int64_data=[1, 2])]), "has 2 numbers, not 3"),
    "two tensors": (model_of([make("Identity", ["a"], ["y"])], [], tensors=[tensor("a", [1]), tensor("a", [2])]),
                    "'a' occurs twice"),
    "sparse": (SPARSE, "sparse tensors"),
    "text input": (typed("text"), "'x' is no tensor of numbers"),
    "sequence input": (typed("sequence"), "'x' is no tensor of numbers"),
    "input without a type": (no_type(), "'x' has no type"),
    "inputs of one name": (model_of([make("Relu", ["x"], ["y"])], [value("x", 1), value("x", 1)]), "each its own"),
    "a name": (not_utf8(model_of([make("Relu", ["long name"], ["y"])], [value("long name", 1)]).SerializeToString()),
               "is not UTF-8"),
    "a text": (model_of([make("LSTM", ["x"] * 3, ["y"], direction=b"\xff\xfe")]), "is not UTF-8, of the node 'number 0'"),
    "operator": (model_of([make("Mish", ["x"], ["y"], "a name")]), r"node 'a name' \(Mish\): there is no such operator"),
    "a node without a name": (model_of([make("Mish", ["x"], ["y"])]), r"node 'number 0' \(Mish\)"),
    "domain": (model_of([OTHER_DOMAIN]), r"\(Relu\): there is no such operator here, of the domain com.example"),
    "too late": (model_of([make("ReduceMax", ["x"], ["y"], axes=[0])], opset=18), "no attribute 'axes'"),
    "too early": (model_of([make("LessOrEqual", ["x", "x"], ["y"])], opset=11), "version 11 of the standard has no such"),
    "inputs": (model_of([make("MatMul", ["x"], ["y"])]), "it has 1 inputs, not 2 to 2"),
    "an input left out": (model_of([make("MatMul", ["x", ""], ["y"])]), "it has 1 inputs, not 2 to 2"),
    "outputs": (model_of([make("Relu", ["x"], ["y", "z"])]), "it has 2 outputs, not 1 to 1"),
    "attribute": (model_of([make("Relu", ["x"], ["y"], slope=1.0)]), "no attribute 'slope' of that type"),
    "attribute type": (model_of([make("Concat", ["x"], ["y"], axis=1.0)]), "no attribute 'axis' of that type"),
    "attribute missing": (model_of([make("Concat", ["x"], ["y"])]), "its attribute 'axis' is missing"),
    "attribute twice": (twice(make("Concat", ["x"], ["y"], axis=0)), "it has 'axis' twice"),
    "from nowhere": (model_of([make("Relu", ["w"], ["y"])]), "nothing before it makes its input 'w'"),
    "a circle": (model_of([make("Relu", ["z"], ["y"]), make("Relu", ["y"], ["z"])]), "nothing before it makes its input"),
    "made twice": (model_of([make("Relu", ["x"], ["y"]), make("Relu", ["x"], ["y"])]), "its output 'y' is there already"),
    "over an input": (model_of([make("Relu", ["x"], ["x"])]), "its output 'x' is there already"),
    "no output": (model_of([make("Relu", ["x"], ["z"])]), "no node makes its output 'y'"),
    "cast": (model_of([make("Cast", ["x"], ["y"], to=TensorProto.STRING)]), "a cast to the type 8"),
    "text constant": (model_of([make("Constant", [], ["y"], value_string="a")], []), "its attribute value_string cannot"),
    "a constant of nothing": (model_of([make("Constant", [], ["y"])], []), "its value is given by nothing"),
    "many parts": (model_of([make("Split", ["x", "s"], ["y", "z"])], tensors=[tensor("s", [1])]) , None),
    "deep": (deeper(5000), "it is no ONNX model"),
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in HOSTILE if HOSTILE[case][1]])
def test_hostile_files_are_refused(load, tmp_path, case):
    model, words = HOSTILE[case]
    with pytest.raises(ValueError, match=words) as caught:
        load(model)
    assert str(caught.value).startswith(f"{tmp_path / 'x.onnx'}: ") and len(str(caught.value)) < 600


def test_graphs_in_graphs_end_somewhere(load):
    """Those of a reasonable depth are run."""
    model = load(model_of(nested(5).node, [value("x", 1), value("c", dtype=TensorProto.BOOL)], [value("y5", None)]))
    assert model(x=[2], c=True)["y5"].tolist() == [2]


def test_what_cannot_be_computed_names_the_node(load):
    model = load(HOSTILE["many parts"][0])
    with pytest.raises(ValueError, match=r"node 'number 0' \(Split\): it splits 2 into 2 parts of the sizes \(1,\)"):
        model(x=np.zeros((2, 2)))
    model = load(model_of([make("MatMul", ["x", "x"], ["y"])]))
    with pytest.raises(ValueError, match=r"node 'number 0' \(MatMul\): "):
        model(x=np.zeros((2, 3)))
    model = load(model_of([make("Gather", ["x", "i"], ["y"])], tensors=[tensor("i", np.array([7]))]))
    with pytest.raises(ValueError, match=r"\(Gather\): IndexError: index 7 is out of bounds"):
        model(x=np.zeros((2, 3)))


def test_nothing_large_is_computed_before_a_call(load):
    """A few bytes that ask for 2^40 numbers, one by one or doubled again and again."""
    shape = tensor("s", np.array([2**40]))
    doubled = [make("Concat", [f"a{i}", f"a{i}"], [f"a{i + 1}"], axis=0) for i in range(40)]
    square = [make("Add", ["row", "column"], ["y"])]
    vector = np.zeros(30_000, np.float32)
    models = [
        model_of([make("ConstantOfShape", ["s"], ["y"])], [], tensors=[shape]),
        model_of([make("Expand", ["a", "s"], ["y"])], [], tensors=[shape, tensor("a", np.float32(1))]),
        model_of(doubled, [], [value("a40", None)], [tensor("a0", np.zeros(8, np.float32))]),
        model_of(square, [], [value("y", None, None)], [tensor("row", vector), tensor("column", vector[:, None])]),
        model_of([make("Gather", ["a", "i"], ["y"])], [], tensors=[tensor("a", np.zeros((1, 10**5), np.float32)),
                                                                   tensor("i", np.zeros(10**5, np.int64))]),
    ]  # fmt: skip
    for model in models:
        tracemalloc.start()
        load(model)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        fr.onnx.load(tmp_path / "nothing.onnx")


# ---- damaged files ------------------------------------------------------------------------------


def originals(folder):
    """A layer of every kind, a network, nodes with all inputs, control flow, constants put together."""
    models = [fr.LSTM(2, 3, 2, bidirectional=True, peephole=True, rng=0),
              fr.Sequential(fr.Embedding(5, 2, rng=0), fr.GRU(2, 3, rng=1), fr.Linear(3, 2, rng=2))]  # fmt: skip
    found = []
    for i, model in enumerate(models):
        fr.onnx.export(model, folder / "x.onnx", lengths=True, state=i == 0)
        found.append((folder / "x.onnx").read_bytes())
    rng = np.random.default_rng(0)
    arrays = nodes.node_arrays(rng, "LSTM", 2, 3, 2, 2, 2, given=("B", "P", "initial_h", "initial_c"), lengths=[3, 1])
    attributes = {"direction": "bidirectional", "clip": 1.0, "input_forget": 1, "activation_alpha": [0.3, 0.2],
                  "activations": ["Sigmoid", "Elu", "Tanh", "Sigmoid", "LeakyRelu", "Tanh"], "hidden_size": 2}  # fmt: skip
    found.append(nodes.node_model(onnx, "LSTM", attributes, arrays, ["W", "R", "B", "P"]).SerializeToString())
    parts = [make("Slice", ["w", "zero", "two", "zero"], ["w0"]), make("Slice", ["w", "two", "four", "zero"], ["w1"]),
             make("Concat", ["w1", "w0"], ["w2"], axis=0), make("Unsqueeze", ["w2", "zero"], ["W"]),
             make("Shape", ["x"], ["s"]), make("Gather", ["s", "one"], ["b"]),
             make("Concat", ["one", "b", "four"], ["hs"], axis=0), make("ConstantOfShape", ["hs"], ["h"]), make("RNN", ["x", "W", "R", "", "", "h"], ["Y", ""]),
             make("Squeeze", ["Y", "one"], ["r"]), make("Softmax", ["r"], ["y"], axis=-1)]  # fmt: skip
    numbers = [tensor(name, np.array([n])) for name, n in (("zero", 0), ("one", 1), ("two", 2), ("four", 4))]
    weights = [tensor("w", np.ones((4, 3), np.float32)), tensor("R", np.ones((1, 4, 4), np.float32))]
    found.append(model_of(parts, [value("x", None, None, 3)], [value("y", None, None, None)],
                          [*numbers, *weights]).SerializeToString())  # fmt: skip
    body = helper.make_graph([make("Identity", ["c"], ["d"]), make("Add", ["v", "x"], ["w"])], "body",
                             [value("i", dtype=TensorProto.INT64), value("c", dtype=TensorProto.BOOL), value("v", 1)],
                             [value("d", dtype=TensorProto.BOOL), value("w", 1)])  # fmt: skip
    loop = [make("Loop", ["n", "", "x"], ["y"], body=body)]
    found.append(model_of(loop, [value("x", 1)], [value("y", 1)], [tensor("n", np.array(3))]).SerializeToString())
    return found


def survives(folder, count, seed):
    """Mutations that were refused, of so many; anything but ValueError and OSError goes through."""
    rng, sources, refused, path = np.random.default_rng(seed), originals(folder), 0, folder / "x.onnx"
    for i in range(count):
        path.write_bytes(mutated(sources[i % len(sources)], rng))
        try:
            assert isinstance(fr.onnx.load(path), fr.onnx.Model)
        except (ValueError, OSError):
            refused += 1
        try:
            assert fr.onnx.to_module(path).parameters
        except (ValueError, OSError):
            pass
    return refused


def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path):
    refused = survives(tmp_path, 1000, 0)
    assert 300 < refused < 1000  # some reach the tensors' bytes alone


@pytest.mark.nightly
def test_more_damaged_files(tmp_path):
    assert survives(tmp_path, 20_000, 1) > 5000


def test_a_file_may_be_cut_anywhere(load, tmp_path):
    data = originals(tmp_path)[3]
    for end in range(len(data)):
        try:
            load(data[:end])
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path / 'x.onnx'}: ")


# ---- operators -----------------------------------------------------------------------------------


def test_operators_of_before_version_13(load):
    """Axes as attributes; a softmax over all axes from one on."""
    made = [make("Unsqueeze", ["x"], ["a"], axes=[0]), make("Squeeze", ["a"], ["b"], axes=[0]),
            make("Split", ["b"], ["c", "d"], axis=1, split=[1, 2]), make("ReduceSum", ["d"], ["e"], axes=[1], keepdims=1),
            make("Concat", ["c", "e"], ["f"], axis=1), make("Softmax", ["f"], ["y"], axis=0)]  # fmt: skip
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    e = np.exp(np.array([[0, 3], [3, 9]], np.float64))
    np.testing.assert_allclose(load(model_of(made, opset=11))(x=x)["y"], e / e.sum(), rtol=1e-6)


def test_if_and_loop(load):
    """With values from around them, and outputs of every step."""
    then = helper.make_graph([make("Neg", ["x"], ["t"])], "then", [], [value("t", None)])
    other = helper.make_graph([make("Identity", ["x"], ["e"])], "else", [], [value("e", None)])
    model = load(model_of([make("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                          [value("x", None), value("c", dtype=TensorProto.BOOL)], [value("y", None)]))  # fmt: skip
    assert model(x=[1, 2], c=True)["y"].tolist() == [-1, -2] and model(x=[1, 2], c=False)["y"].tolist() == [1, 2]
    body = helper.make_graph(
        [make("Add", ["v", "x"], ["w"]), make("Less", ["w", "most"], ["d"]), make("Mul", ["w", "w"], ["q"])], "body",
        [value("i", dtype=TensorProto.INT64), value("c", dtype=TensorProto.BOOL), value("v")],
        [value("d", dtype=TensorProto.BOOL), value("w"), value("q")])  # fmt: skip
    model = load(model_of([make("Loop", ["n", "", "start"], ["last", "squares"], body=body)],
                          [value("x"), value("most"), value("n", dtype=TensorProto.INT64)],
                          [value("last"), value("squares", None)], [tensor("start", np.float32(0))]))  # fmt: skip
    results = model(x=2.0, most=5.0, n=10)
    assert results["last"] == 6 and results["squares"].tolist() == [4, 16, 36]
    results = model(x=2.0, most=100.0, n=2)
    assert results["last"] == 4 and results["squares"].tolist() == [4, 16]
    results = model(x=2.0, most=100.0, n=0)
    assert results["last"] == 0 and results["squares"].shape == (0,)


# ---- without the package -------------------------------------------------------------------------


def test_nothing_is_imported_before_it_is_needed():
    code = "import sys, fastrnn as fr\nfr.onnx.load, fr.onnx.export\nassert 'onnx' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


# ---- what only looks like a module --------------------------------------------------------------


def rnn(given, output, lengths="", start=""):
    return make("RNN", [given, "W", "R", "", lengths, start], [output], hidden_size=2)


WEIGHTS = [tensor("W", np.ones((1, 2, 2), "f4")), tensor("R", np.ones((1, 2, 2), "f4")), tensor("one", np.array([1])),
           tensor("zero", np.array([0])), tensor("M", np.eye(2, dtype="f4"))]  # fmt: skip
SEQUENCE, LENGTHS = value("x", "t", "b", 2), value("n", "b", dtype=TensorProto.INT32)
PRETENDERS = {
    "features across": ([make("Transpose", ["x"], ["u"], perm=[1, 0]), make("MatMul", ["u", "M"], ["v"]),
                         make("Transpose", ["v"], ["y"], perm=[1, 0])], [value("x", "a", "b")], "none for this operator"),
    "a state made of the data": ([make("Slice", ["x", "zero", "one", "zero"], ["h"]), rnn("x", "Y", start="h"),
                                  make("Squeeze", ["Y", "one"], ["y"])], [SEQUENCE], "its input 5 is neither"),
    "lengths of one layer": ([rnn("x", "Y", "n"), make("Squeeze", ["Y", "one"], ["u"]), rnn("u", "Z"),
                              make("Squeeze", ["Z", "one"], ["y"])], [SEQUENCE, LENGTHS], "its lengths are not those"),
}  # fmt: skip


@pytest.mark.parametrize("case", PRETENDERS)
def test_what_only_looks_like_a_module(tmp_path, case):
    """It runs, but a module would compute something else."""
    made, inputs, words = PRETENDERS[case]
    path = tmp_path / "x.onnx"
    path.write_bytes(model_of(made, inputs, [value("y")], WEIGHTS).SerializeToString())
    assert isinstance(fr.onnx.load(path), fr.onnx.Model)
    with pytest.raises(ValueError, match=words):
        fr.onnx.to_module(path)
