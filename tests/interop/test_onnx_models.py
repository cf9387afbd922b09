"""Models through ONNX: written here and run by onnxruntime, written by PyTorch and run here, and back to modules."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning",
                               "ignore::torch.jit.TracerWarning"),  # fmt: skip
]


def ort_results(path, given_values):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, given_values)))


# ---- written here ---------------------------------------------------------------------------------


@st.composite
def layers(draw):
    """A recurrent layer with any options that ONNX has."""
    kind = draw(st.sampled_from([fr.RNN, fr.LSTM, fr.GRU]))
    options = {name: draw(st.booleans()) for name in ("bias", "batch_first", "bidirectional", "learn_state")}
    options["merge"] = draw(st.sampled_from(["concat", "sum", "mean", "mul"]))
    options["skip"] = draw(st.sampled_from(["none", "input", "output", "residual"]))
    if draw(st.booleans()):
        options["clip"] = draw(st.sampled_from([0.25, 1.5]))
    names = ["tanh", "sigmoid", "relu", "elu", ("leaky_relu", 0.125), "softsign", "softplus", ("hard_sigmoid", 0.25),
             ("affine", 0.5, 0.25), "scaled_tanh", "identity"]  # fmt: skip
    usual = {fr.RNN: (), fr.LSTM: ("sigmoid", "tanh", "tanh"), fr.GRU: ("sigmoid", "tanh")}[kind]
    if kind is fr.RNN:
        entry = draw(st.sampled_from(names))
        numbers = {} if isinstance(entry, str) else dict(zip(("alpha", "beta"), entry[1:]))
        options |= {"nonlinearity": entry if isinstance(entry, str) else entry[0], **numbers}
    elif draw(st.booleans()):
        gate = draw(st.sampled_from(["sigmoid", ("hard_sigmoid", 0.25)]))
        options["activations"] = (gate, *(draw(st.sampled_from(names)) for _ in usual[1:]))
    if kind is fr.LSTM:
        options |= {name: draw(st.booleans()) for name in ("peephole", "coupled")}
    if kind is fr.GRU:
        options["reset_after"] = draw(st.booleans())
    options |= {"dropout": 0.25, "dtype": draw(st.sampled_from(["float32", "float32", "float64"]))}
    return kind(draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3)), rng=0, **options)


def filled(layer):
    """The layer, its learned states no longer zero."""
    with layer.edit() as parameters:
        for name in parameters:
            if name in ("h0", "c0"):
                parameters[name][:] = np.random.default_rng(1).uniform(-1, 1, parameters[name].shape)
    return layer


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def check_layer(layer, path, lengths, state):
    """A layer, its file read here, and onnxruntime, which has no double."""
    fr.onnx.export(layer, path, lengths=lengths is not None, state=state)
    T, B, rng = 4, 3, np.random.default_rng(0)
    x = rng.uniform(-1, 1, (B, T, layer.input_size) if layer.batch_first else (T, B, layer.input_size)).astype(layer.dtype)
    given_values, start = {"x": x}, None
    if lengths is not None:
        given_values["lengths"] = np.array(lengths, np.int32)
    if state:
        rows = layer.num_layers * layer.num_directions
        start = tuple(rng.uniform(-1, 1, (rows, B, layer.hidden_size)).astype(layer.dtype) for _ in layer.state_names)
        given_values |= {f"{name}0": array for name, array in zip(layer.state_names, start)}
    y, final = layer(x, start if start is None or len(start) > 1 else start[0], lengths)
    expected = {"y": y, **dict(zip(layer.state_names, as_tuple(final)))}
    results = fr.onnx.load(path)(**given_values)
    assert list(results) == list(expected)
    for name, array in expected.items():
        assert_close(name, results[name], array, "forward")
    if layer.dtype == np.float32:
        for name, array in ort_results(path, given_values).items():
            assert_close(f"onnxruntime's {name}", array, expected[name], "runtime")


@budget(1.5)
@given(layer=layers(), with_lengths=st.booleans(), state=st.booleans())
def test_layers(tmp_path_factory, layer, with_lengths, state):
    lengths = [2, 4, 1] if with_lengths and layer._config()["skip"] != "residual" else None
    check_layer(filled(layer), tmp_path_factory.mktemp("onnx") / "x.onnx", lengths, state)


def networks():
    """What people deploy, with an input for each."""
    codes = np.random.default_rng(0).integers(0, 9, (5, 3))
    x = np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32)
    stacked = fr.Sequential(fr.Linear(4, 6, rng=0), fr.LSTM(6, 5, 2, bidirectional=True, rng=1), fr.Dropout(0.5),
                            fr.GRU(10, 5, reset_after=False, rng=2), fr.Linear(5, 2, bias=False, rng=3))  # fmt: skip
    layer = fr.GRU(4, 4, rng=4)
    return {
        "tagger": (fr.Sequential(fr.Embedding(9, 6, rng=0), fr.GRU(6, 8, rng=1), fr.Linear(8, 3, rng=2)), codes),
        "batch first": (fr.Sequential(fr.Embedding(9, 6, rng=0), fr.LSTM(6, 8, batch_first=True, rng=1)), codes),
        "stacked": (stacked, x),
        "twice": (fr.Sequential(layer, fr.RNN(4, 4, rng=5), layer), x),
        "two dtypes": (fr.Sequential(fr.Embedding(9, 6, rng=0), fr.Linear(6, 4, dtype="float64", rng=1)), codes),
        "inside": (fr.Sequential(fr.Sequential(fr.Linear(4, 3, rng=0)), fr.Sequential(fr.RNN(3, 2, rng=1))), x),
        "linear": (fr.Linear(4, 3, rng=0), x),
        "embedding": (fr.Embedding(9, 3, rng=0), codes),
    }


@pytest.mark.parametrize("name", networks())
def test_networks(tmp_path, name):
    model, x = networks()[name]
    path = tmp_path / "x.onnx"
    fr.onnx.export(model, path)
    expected = model(x)[0] if model._recurrent else model(x)
    assert_close("y", fr.onnx.load(path)(x=x)["y"], expected, "forward")
    theirs = ort_results(path, {"x": x})["y"]
    assert theirs.dtype == expected.dtype
    assert_close("onnxruntime's y", theirs.astype(np.float32), expected, "runtime")


@pytest.mark.parametrize("kind", [fr.RNN, fr.GRU, fr.LSTM])
def test_any_number_of_steps_and_sequences(tmp_path, kind):
    """One file, also with lengths, and step by step with the state handed on."""
    layer, path = kind(3, 5, 2, rng=0), tmp_path / "x.onnx"
    fr.onnx.export(layer, path, lengths=True, state=True)
    model = fr.onnx.load(path)
    names = [f"{name}0" for name in layer.state_names]
    assert [value.shape for value in model.inputs[:2]] == [("time", "batch", 3), ("batch",)]
    for T, B in ((1, 1), (7, 2), (2, 9), (30, 4)):
        x = np.random.default_rng(T).standard_normal((T, B, 3)).astype(np.float32)
        lengths = np.random.default_rng(B).integers(1, T + 1, B).astype(np.int32)
        start = [np.random.default_rng(i).standard_normal((2, B, 5)).astype(np.float32) for i in range(len(names))]
        y, final = layer(x, tuple(start) if len(start) > 1 else start[0], lengths)
        given_values = {"x": x, "lengths": lengths, **dict(zip(names, start))}
        for results, limit in ((model(**given_values), "forward"), (ort_results(path, given_values), "runtime")):
            for name, array in zip(results, (y, *as_tuple(final)), strict=True):
                assert_close(name, results[name], array, limit)


WHAT_ONNX_LACKS = {
    "projection": (fr.LSTM(3, 4, proj_size=2), ValueError, "LSTM: ONNX has no proj_size=2, only 0"),
    "layer norm": (fr.GRU(3, 4, layer_norm=True), ValueError, "GRU: ONNX has no layer_norm=True"),
    "zoneout": (fr.LSTM(3, 4, zoneout=0.1), ValueError, "LSTM: ONNX has no zoneout="),
    "residual": (fr.RNN(3, 4, residual=True), ValueError, "RNN: ONNX has no residual=True"),
    "hard tanh": (fr.RNN(3, 4, nonlinearity="hard_tanh"), ValueError, "RNN: ONNX has no activation='hard_tanh'"),
    "cell states": (fr.LSTM(3, 4, return_cell_states=True), ValueError, "LSTM: ONNX has no return_cell_states=True"),
    "coupled": (fr.LSTM(3, 4, coupled=True, activations=("softsign", "tanh", "tanh")), ValueError,
                "no activation of coupled gates='softsign'"),
    "coupled, beta": (fr.LSTM(3, 4, coupled=True, activations=(("hard_sigmoid", 0.2, 0.4), "tanh", "tanh")), ValueError,
                      "no beta of coupled hard_sigmoid gates=0.4, only 0.5"),
    "another cell": (fr.MGU(3, 4), TypeError, "model: expected one of RNN, LSTM, GRU, .* got an object of type MGU"),
    "one inside": (fr.Sequential(fr.Linear(3, 3), fr.MUT1(3, 3)), TypeError, "object of type MUT1"),
    "nothing": (fr.Dropout(0.5), ValueError, "model: expected a module that computes something"),
    "two layouts": (fr.Sequential(fr.GRU(3, 3), fr.GRU(3, 3, batch_first=True)), ValueError, "has no batch_first=True"),
    "embedding behind": (fr.Sequential(fr.Linear(3, 3), fr.Embedding(3, 3)), ValueError, "an Embedding only in front"),
    "no module": (3, TypeError, "model: expected one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHAT_ONNX_LACKS)
def test_what_onnx_lacks_is_refused_by_name(tmp_path, case):
    model, error, words = WHAT_ONNX_LACKS[case]
    with pytest.raises(error, match=words):
        fr.onnx.export(model, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_arguments_of_export(tmp_path):
    path = tmp_path / "x.onnx"
    with pytest.raises(ValueError, match="state: expected False for Linear"):
        fr.onnx.export(fr.Linear(2, 3), path, state=True)
    with pytest.raises(ValueError, match="lengths: expected False for a model without recurrent layers"):
        fr.onnx.export(fr.Sequential(fr.Linear(2, 3)), path, lengths=True)
    with pytest.raises(ValueError, match="skip='residual' with an input lengths"):
        fr.onnx.export(fr.GRU(3, 3, skip="residual"), path, lengths=True)
    with pytest.raises(TypeError, match="lengths"):
        fr.onnx.export(fr.GRU(3, 3), path, lengths=1)
    with pytest.raises(TypeError, match="path"):
        fr.onnx.export(fr.GRU(3, 3), None)


# ---- back to modules -------------------------------------------------------------------------------


def same_module(found, expected):
    """The same classes, sizes and options, and every parameter's bits."""
    assert type(found) is type(expected)
    if isinstance(expected, fr.Sequential):
        for one, two in zip(found, expected, strict=True):
            same_module(one, two)
        return
    assert list(found.parameters) == list(expected.parameters)
    for name, array in expected.parameters.items():
        assert_same_bits(name, found.parameters[name], array)
    ours, theirs = found._config(), expected._config()
    for name in ("num_layers", "bidirectional", "batch_first", "bias", "clip", "peephole", "coupled", "reset_after",
                 "dtype"):  # fmt: skip
        assert ours.get(name) == theirs.get(name), name


@budget(1)
@given(layer=layers(), options=st.tuples(st.booleans(), st.booleans()))
def test_round_trips(tmp_path_factory, layer, options):
    """fastrnn to ONNX and back: all bits; what a chain of modules cannot be is refused."""
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    config = layer._config()
    lengths = options[0] and config["skip"] != "residual"
    fr.onnx.export(filled(layer), path, lengths=lengths, state=options[1])
    if config["skip"] != "none" and layer.num_layers > 1 or config["skip"] == "residual" or config["learn_state"]:
        return
    same_module(fr.onnx.to_module(path), layer)


@pytest.mark.parametrize("name", ["tagger", "batch first", "stacked", "linear", "embedding"])
def test_round_trips_of_networks(tmp_path, name):
    model, x = networks()[name]
    fr.onnx.export(model, tmp_path / "x.onnx")
    found = fr.onnx.to_module(tmp_path / "x.onnx")
    if name == "stacked":  # without its Dropout
        model = fr.Sequential(*[module for module in model if type(module) is not fr.Dropout])
    same_module(found, model)


def test_layers_of_two_modules_stay_two(tmp_path):
    for model in (fr.Sequential(fr.GRU(4, 4, rng=0), fr.GRU(4, 4, rng=1)), fr.GRU(4, 4, 2, rng=0)):
        fr.onnx.export(model, tmp_path / "x.onnx")
        same_module(fr.onnx.to_module(tmp_path / "x.onnx"), model)


# ---- written by PyTorch -----------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(20, 8), nn.LSTM(8, 12), nn.Linear(12, 5)

    def forward(self, tokens):
        return self.head(self.rnn(self.table(tokens))[0])


class Classifier(nn.Module):
    """Two layers, both directions; of the final states."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8, padding_idx=0)
        self.rnn = nn.LSTM(8, 12, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 3)

    def forward(self, tokens):
        y, (h, _) = self.rnn(self.table(tokens))
        both = torch.cat([h[-2], h[-1], y.mean(1)], 1)
        return torch.log_softmax(self.head(torch.relu(both)), -1)


class Step(nn.Module):
    """One step of the decoder of an encoder-decoder, with the encoder before it and attention between them."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.GRU(6, 10), nn.GRU(16, 10)
        self.table, self.head = nn.Embedding(15, 6), nn.Linear(20, 15)

    def forward(self, source, token, h):
        memory, _ = self.encoder(self.table(source))
        weights = torch.softmax((memory * h).sum(-1), 0)
        context = (weights.unsqueeze(-1) * memory).sum(0)
        x = torch.cat([self.table(token), context], -1).unsqueeze(0)
        y, h = self.decoder(x, h)
        return self.head(torch.cat([y[0], context], -1)), h


class Packed(nn.Module):
    """Sequences of several lengths."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 6, 2, bidirectional=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, h = self.rnn(packed)
        return nn.utils.rnn.pad_packed_sequence(y)[0], h


def exporters():
    """Model, inputs, their axes of any size, inputs of other sizes."""
    integers = torch.Generator().manual_seed(0)

    def codes(*shape):
        return torch.randint(1, 15, shape, generator=integers)

    return {
        "tagger": (Tagger, (codes(6, 3),), [{0: "time", 1: "batch"}], (codes(9, 2),)),
        "classifier": (Classifier, (codes(3, 6),), [{0: "batch", 1: "time"}], (codes(4, 8),)),
        "step": (Step, (codes(6, 3), codes(3), torch.randn(1, 3, 10)), [{0: "time", 1: "batch"}, {0: "batch"}, {1: "batch"}],
                 (codes(4, 2), codes(2), torch.randn(1, 2, 10))),
    }  # fmt: skip


def check_torch(module, path, inputs):
    """What is loaded here gives what PyTorch does."""
    model = fr.onnx.load(path)
    with torch.no_grad():
        expected = module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    results = model(**{value.name: tensor.numpy() for value, tensor in zip(model.inputs, inputs, strict=True)})
    for (name, result), tensor in zip(results.items(), expected, strict=True):
        assert_close(name, result, tensor.numpy(), "runtime")
    return model


@pytest.mark.parametrize("name", exporters())
def test_models_of_torch(tmp_path, name):
    """Of the exporter that traces; axes of any size."""
    kind, inputs, axes, others = exporters()[name]
    torch.manual_seed(0)
    module, path = kind().eval(), tmp_path / "x.onnx"
    names = [f"in{i}" for i in range(len(inputs))]
    torch.onnx.export(module, inputs, path, dynamo=False, input_names=names, dynamic_axes=dict(zip(names, axes)))
    check_torch(module, path, inputs)
    check_torch(module, path, others)


@pytest.mark.parametrize("name, dynamic", [("tagger", True), ("classifier", True), ("step", False)])
def test_models_of_torchs_other_exporter(tmp_path, name, dynamic):
    """Of the one that captures programs, which fixes the number of steps; its nodes are layers, packed when loaded."""
    pytest.importorskip("onnxscript")
    kind, inputs, axes, others = exporters()[name]
    torch.manual_seed(0)
    module, path = kind().eval(), tmp_path / "x.onnx"
    batch = torch.export.Dim("batch", min=1, max=100)
    shapes = tuple({i: batch for i, title in own.items() if title == "batch"} for own in axes)
    torch.onnx.export(module, inputs, path, dynamo=True, verbose=False, dynamic_shapes=shapes if dynamic else None)
    model = check_torch(module, path, inputs)
    recurrent = [step.function for step in model._program.steps if step.node.operator in ("LSTM", "GRU")]
    assert len(recurrent) == {"tagger": 1, "classifier": 2, "step": 2}[name] and all(node.layers for node in recurrent)
    if dynamic:  # as many steps, another batch
        check_torch(module, path, [tensor.narrow(1 - (name == "classifier"), 0, 2) if tensor.dim() > 1 else tensor[:2]
                                   for tensor in inputs])  # fmt: skip


@pytest.mark.parametrize("folded", [True, False])
def test_packed_sequences_of_torch(tmp_path, folded):
    """Lengths go to the nodes; weights that the file puts together from parts are packed once all the same."""
    torch.manual_seed(0)
    module, path = Packed().eval(), tmp_path / "x.onnx"
    inputs = torch.randn(5, 3, 4), torch.tensor([5, 3, 2])
    torch.onnx.export(module, inputs, path, dynamo=False, input_names=["x", "lengths"], do_constant_folding=folded,
                      dynamic_axes={"x": {0: "time", 1: "batch"}, "lengths": {0: "batch"}})  # fmt: skip
    model = check_torch(module, path, inputs)
    recurrent = [step.function for step in model._program.steps if step.node.operator == "GRU"]
    assert len(recurrent) == 2 and all(node.layers for node in recurrent)


@pytest.mark.parametrize("kind, options, dynamo", [
    ("LSTM", {"bidirectional": True, "num_layers": 2}, False), ("LSTM", {"bidirectional": True, "num_layers": 2}, True),
    ("GRU", {"num_layers": 3}, False), ("GRU", {"batch_first": True}, False),
    ("RNN", {"nonlinearity": "relu", "bias": False}, False), ("RNN", {"nonlinearity": "relu", "bias": False}, True),
])  # fmt: skip
def test_modules_of_torch_and_back(tmp_path, kind, options, dynamo):
    """PyTorch to ONNX to a module of ours: the bits of PyTorch's parameters."""
    layer, more = getattr(nn, kind)(3, 5, **options), {"dynamic_axes": {"x": {0: "a", 1: "b"}}}
    if dynamo:
        pytest.importorskip("onnxscript")
        more = {"verbose": False}
    torch.onnx.export(layer, (torch.randn(4, 2, 3),), tmp_path / "x.onnx", dynamo=dynamo, input_names=["x"], **more)
    if dynamo and kind == "RNN":  # written out, step by step
        with pytest.raises(ValueError, match=r"node .* \(Concat\): this is no module"):
            fr.onnx.to_module(tmp_path / "x.onnx")
        return
    same_module(fr.onnx.to_module(tmp_path / "x.onnx"), fr.interop.torch.from_module(layer))


def test_a_tagger_of_torch_as_a_module(tmp_path):
    torch.manual_seed(0)
    tagger, tokens = Tagger().eval(), torch.randint(0, 20, (6, 3))
    torch.onnx.export(tagger, (tokens,), tmp_path / "x.onnx", dynamo=False)
    found = fr.onnx.to_module(tmp_path / "x.onnx")
    same_module(found, fr.interop.torch.from_module(nn.Sequential(tagger.table, tagger.rnn, tagger.head)))
    torch.onnx.export(Classifier().eval(), (tokens,), tmp_path / "y.onnx", dynamo=False)
    with pytest.raises(ValueError, match="y.onnx: node .* this is no module: "):
        fr.onnx.to_module(tmp_path / "y.onnx")
