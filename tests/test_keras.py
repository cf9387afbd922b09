"""``fastrnn.interop.keras`` without Keras: weights, files made by hand, models that mask, hostile and damaged files."""

import json
import struct
import subprocess
import sys
import zipfile

import h5_files
import keras_files as kf
import numpy as np
import pytest
from damaged import mutated, refusals
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.interop import keras

CLASSES = {"SimpleRNN": fr.RNN, "LSTM": fr.LSTM, "GRU": fr.GRU}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def as_keras(name, weights, x, after=True):
    """Outputs of a layer of Keras of one direction, in its own terms: ``x (B, T, I)`` -> ``(B, T, H)``."""
    kernel, recurrent, bias = weights
    h = c = np.zeros((len(x), len(recurrent)))
    outputs = []
    for x_t in x.transpose(1, 0, 2):
        if name == "GRU":
            first, second = bias if after else (bias, np.zeros_like(bias))
            xz, xr, xh = np.split(x_t @ kernel + first, 3, axis=1)
            uz, ur, uh = np.split(recurrent, 3, axis=1)
            bz, br, bh = np.split(second, 3)
            z, r = sigmoid(xz + h @ uz + bz), sigmoid(xr + h @ ur + br)
            candidate = np.tanh(xh + (r * (h @ uh + bh) if after else (r * h) @ uh))
            h = z * h + (1 - z) * candidate
        else:
            a = x_t @ kernel + h @ recurrent + bias
            if name == "LSTM":
                i, f, g, o = np.split(a, 4, axis=1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                h = np.tanh(a)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def made(name, weights, **options):
    return keras.from_weights(CLASSES[name], weights, batch_first=True, **options)


X = np.random.default_rng(1).standard_normal((2, 6, 3))
FORMS = [("SimpleRNN", True), ("LSTM", True), ("GRU", True), ("GRU", False)]


# ---- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, after", FORMS)
def test_gates_and_biases(name, after):
    weights = kf.weights(name, 3, 4, two=after, dtype=np.float64)
    layer = made(name, weights)
    assert_close("y", layer(X)[0], as_keras(name, weights, X, after), "forward")
    for i, (ours, theirs) in enumerate(zip(keras.to_weights(layer), weights, strict=True)):
        assert_same_bits(f"weights[{i}]", ours, theirs)


@pytest.mark.parametrize("name, after", FORMS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_there_and_back(name, after, bias, dtype):
    """Of one direction and of two; a sum of two biases is one bias there."""
    one = kf.weights(name, 5, 4, bias, after, dtype)
    two = one + kf.weights(name, 5, 4, bias, after, dtype, rng=1)
    for weights in (one, two):
        layer = made(name, weights, **({} if bias or name != "GRU" else {"reset_after": after}))
        assert layer.dtype == dtype and layer.bidirectional == (len(weights) > 3) and layer.bias == bias
        for i, (ours, theirs) in enumerate(zip(keras.to_weights(layer), weights, strict=True)):
            assert_same_bits(f"weights[{i}]", ours, theirs)
        if name == "GRU":
            assert layer._config()["reset_after"] == after


@pytest.mark.parametrize("name, after", FORMS)
def test_two_biases_are_added(name, after):
    layer = CLASSES[name](3, 4, rng=0, **({} if after else {"reset_after": False}))
    bias = keras.to_weights(layer)[2]
    order = {"GRU": [1, 0, 2]}.get(name, range(4 if name == "LSTM" else 1))
    first, second = (layer.parameters[b].reshape(len(order), 4)[list(order)].ravel() for b in ("bias_ih_l0", "bias_hh_l0"))
    expected = np.stack([first, second]) if name == "GRU" and after else first + second
    assert_same_bits("bias", bias, expected)


def test_the_sign_of_zeros_is_kept():
    weights = kf.weights("LSTM", 3, 4)
    weights[2][:] = -0.0
    assert_same_bits("bias", keras.to_weights(made("LSTM", weights))[2], weights[2])


def test_tables():
    table, kernel, bias = np.ones((5, 3), np.float32), np.arange(6.0).reshape(3, 2), np.array([1.0, 2])
    assert keras.from_weights(fr.Embedding, [table], padding_idx=0).padding_idx == 0
    dense = keras.from_weights(fr.Linear, [kernel, bias])
    assert_close("y", dense(np.ones((1, 3))), np.ones((1, 3)) @ kernel + bias, "forward")
    for layer, weights in ((keras.from_weights(fr.Embedding, [table]), [table]), (dense, [kernel, bias]),
                           (keras.from_weights(fr.Linear, (kernel,)), [kernel])):  # fmt: skip
        for ours, theirs in zip(keras.to_weights(layer), weights, strict=True):
            assert_same_bits("weight", ours, theirs)
            assert not np.shares_memory(ours, theirs)


def test_half_precision_becomes_float32():
    weights = [array.astype(np.float16) for array in kf.weights("GRU", 3, 4)]
    for ours, theirs in zip(keras.to_weights(made("GRU", weights)), weights):
        assert_same_bits("weight", ours, theirs.astype(np.float32))


K, R, B = kf.weights("LSTM", 3, 4)
G = kf.weights("GRU", 3, 4)
REFUSED = {
    "class": (lambda: keras.from_weights(fr.MGU, [K, R, B]), TypeError, "cls: expected one of .*RNN, LSTM.*got MGU"),
    "no class": (lambda: keras.from_weights("LSTM", [K, R, B]), TypeError, "cls: .*'LSTM'"),
    "no list": (lambda: keras.from_weights(fr.LSTM, K), TypeError, "weights: expected a list"),
    "count": (lambda: keras.from_weights(fr.LSTM, [K]), ValueError, "weights: expected 2 or 3 or 4 or 6 arrays, got 1"),
    "kernel": (lambda: keras.from_weights(fr.LSTM, [K.T, R, B]), ValueError, r"weights\[0\]: .*kernel of shape \(I, 16\)"),
    "recurrent": (lambda: keras.from_weights(fr.LSTM, [K, R.T, B]), ValueError, r"weights\[1\]: .*\(H, 4H\), got \(16, 4\)"),
    "another cell": (lambda: keras.from_weights(fr.GRU, [K, R, B]), ValueError, r"weights\[1\]: .*\(H, 3H\)"),
    "vector": (lambda: keras.from_weights(fr.LSTM, [K, B, B]), ValueError, r"weights\[1\]: "),
    "bias": (lambda: keras.from_weights(fr.LSTM, [K, R, B[1:]]), ValueError, r"weights\[2\]: .*\(16,\), got \(15,\)"),
    "two biases": (lambda: keras.from_weights(fr.LSTM, [K, R, np.stack([B, B])]), ValueError, r"weights\[2\]: .*\(2, 16"),
    "second direction": (lambda: keras.from_weights(fr.LSTM, [K, R, R[1:], K]), ValueError, r"weights\[3\]: .*other direct"),
    "dtypes": (lambda: keras.from_weights(fr.LSTM, [K, R.astype("f8")]), ValueError, r"weights\[1\]: .*float64"),
    "integers": (lambda: keras.from_weights(fr.LSTM, [K.astype(int), R, B]), ValueError, r"weights\[0\]: .*int64"),
    "objects": (lambda: keras.from_weights(fr.LSTM, [None, R, B]), TypeError, r"weights\[0\]: "),
    "empty": (lambda: keras.from_weights(fr.LSTM, [K[:0], R, B]), ValueError, r"weights\[0\]: "),
    "reset": (lambda: keras.from_weights(fr.GRU, G, reset_after=False), ValueError, "reset_after=False, only True"),
    "layers": (lambda: keras.from_weights(fr.LSTM, [K, R, B], num_layers=2), ValueError, "'weight_ih_l1' is missing"),
    "option": (lambda: keras.from_weights(fr.LSTM, [K, R, B], activations=("tanh",)), ValueError, "activations: "),
    "table": (lambda: keras.from_weights(fr.Embedding, [K, B]), ValueError, "expected 1 arrays, got 2"),
    "dense": (lambda: keras.from_weights(fr.Linear, [K, B[1:]]), ValueError, r"weights\[1\]: .*\(16,\), got \(15,\)"),
    "dense vector": (lambda: keras.from_weights(fr.Linear, [B]), ValueError, r"weights\[0\]: expected a matrix"),
    "to: other": (lambda: keras.to_weights(fr.Dropout(0.1)), TypeError, "layer: expected one of RNN, LSTM, .*Dropout"),
    "to: layers": (lambda: keras.to_weights(fr.GRU(2, 3, 2)), ValueError, "GRU: a layer of Keras has no num_layers=2"),
    "to: peephole": (lambda: keras.to_weights(fr.LSTM(2, 3, peephole=True)), ValueError, "LSTM: Keras has no peephole"),
    "to: coupled": (lambda: keras.to_weights(fr.LSTM(2, 3, coupled=True)), ValueError, "coupled"),
    "to: projection": (lambda: keras.to_weights(fr.LSTM(2, 3, proj_size=2)), ValueError, "proj_size=2"),
    "to: clip": (lambda: keras.to_weights(fr.GRU(2, 3, clip=1.0)), ValueError, "clip"),
    "to: normalised": (lambda: keras.to_weights(fr.GRU(2, 3, layer_norm=True)), ValueError, "layer_norm"),
    "to: zoneout": (lambda: keras.to_weights(fr.GRU(2, 3, zoneout=0.1)), ValueError, "zoneout"),
    "to: weight_drop": (lambda: keras.to_weights(fr.GRU(2, 3, weight_drop=0.1)), ValueError, "weight_drop"),
    "to: residual": (lambda: keras.to_weights(fr.RNN(2, 3, residual=True)), ValueError, "residual"),
    "to: skip": (lambda: keras.to_weights(fr.RNN(3, 3, skip="residual")), ValueError, "skip"),
    "to: learned": (lambda: keras.to_weights(fr.RNN(2, 3, learn_state=True)), ValueError, "learn_state"),
    "to: cell states": (lambda: keras.to_weights(fr.LSTM(2, 3, return_cell_states=True)), ValueError, "return_cell_states"),
    "to: nonlinearity": (lambda: keras.to_weights(fr.RNN(2, 3, nonlinearity="affine")), ValueError, "SimpleRNN: "),
    "to: alpha": (lambda: keras.to_weights(fr.RNN(2, 3, nonlinearity="elu", alpha=0.5)), ValueError, "elu', 0.5"),
    "to: cell state": (lambda: keras.to_weights(fr.LSTM(2, 3, activations=("sigmoid", "tanh", "relu"))), ValueError,
                       "of the cell state"),
    "write: ending": (lambda: keras.write("model.h5", fr.GRU(2, 3)), ValueError, r"path: .*ends in \.keras"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    function, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        function()


# ---- an output at the end alone, and masks ------------------------------------------------------


def gradients_by_differences(model, x, dy):
    """dL/dx and dL/dw for L = sum(dy * y), by central differences."""
    def loss():
        return float((dy * model(x)).sum())

    eps, found = 1e-5, {}
    arrays = {name: model.parameters[name].copy() for name in model.parameters}
    if x.dtype.kind == "f":
        arrays["x"] = x
    for name, array in arrays.items():
        found[name] = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            values, kept = [], array[place]
            for step in (eps, -eps):
                array[place] = kept + step
                if name != "x":
                    model.parameters[name] = array
                values.append(loss())
            array[place] = kept
            if name != "x":
                model.parameters[name] = array
            found[name][place] = (values[0] - values[1]) / (2 * eps)
    return found


def check_gradients(model, x, rng=0):
    dy = np.random.default_rng(rng).standard_normal(model(x).shape)
    expected = gradients_by_differences(model, x, dy)
    y, pullback = model.vjp(x)
    assert_same_bits("y", y, model(x))
    dx = pullback(dy)
    for name, gradient in expected.items():
        assert_close(name, dx if name == "x" else model.grads[name], gradient, "numeric")
    if x.dtype.kind != "f":
        assert dx is None


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul", None])
@pytest.mark.parametrize("cls", [fr.LSTM, fr.GRU])
def test_final(cls, merge):
    options = {} if merge is None else {"bidirectional": True, "merge": merge}
    layer = cls(3, 4, 2, batch_first=True, dtype="float64", rng=0, **options)
    last = keras.Final(layer)
    assert last.layer is layer and list(last.parameters) == list(layer.parameters)
    lengths = [4, 2]
    y = layer(X[:, :4], lengths=lengths)[0]
    if merge in (None, "concat"):
        expected = fr.pool(y.transpose(1, 0, 2), lengths, directions=1 + (merge is not None))
    else:
        h = layer(X[:, :4], lengths=lengths)[1]
        first, second = (h[0] if cls is fr.LSTM else h)[-2:]
        expected = {"sum": first + second, "mean": (first + second) / 2, "mul": first * second}[merge]
    assert_same_bits("y", last(X[:, :4], lengths), expected)
    check_gradients(keras.Final(cls(2, 2, batch_first=True, dtype="float64", rng=0, **options)), X[:, :3, :2].copy())


def masked(first, *others):
    return keras.Masked(first, *others)


def embedding(**options):
    return fr.Embedding(7, 3, 0, dtype="float64", rng=0, **options)


def bidirectional(width=3, **options):
    return fr.GRU(width, 2, bidirectional=True, batch_first=True, dtype="float64", rng=1, **options)


CODES = np.array([[0, 3, 0, 4, 5], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [6, 1, 0, 0, 0]])


def test_masked_steps_are_left_out_wherever_they_are():
    model = masked(embedding(), bidirectional(), fr.Linear(4, 2, dtype="float64", rng=2))
    y = model(CODES)
    plain = fr.Sequential(*model)
    for codes, row in zip(CODES, y):
        seen = codes != 0
        assert not row[~seen].any()
        if seen.any():
            assert_same_bits("y", row[seen], plain(codes[seen][np.newaxis])[0])


def test_masked_values():
    x = X[:, :5].copy()
    x[0, [0, 3]] = x[1, 4] = -1
    x[1, 2, 0] = -1  # not all of it
    model = masked(keras.Masking(-1.0), bidirectional(), keras.Final(bidirectional(4)))
    plain = fr.Sequential(*list(model)[1:])
    y = model(x)
    assert y.shape == (2, 4)
    assert_same_bits("y", y[0], plain(x[:1, [1, 2, 4]])[0])
    assert_same_bits("y", y[1], plain(x[1:, :4])[0])
    given = model(x, lengths=[2, 5])
    assert_same_bits("y", given, plain(x, lengths=[2, 5]))


def test_what_is_all_masked_keeps_the_initial_state():
    model = masked(embedding(), keras.Final(bidirectional()))
    assert not model(CODES)[2].any() and model(CODES)[1].any()


@pytest.mark.parametrize("final", [False, True])
def test_gradients_of_masked_models(final):
    layer = bidirectional()
    model = masked(embedding(), keras.Final(layer) if final else layer)
    dy = np.random.default_rng(0).standard_normal(model(CODES).shape)
    expected = gradients_by_differences(model, CODES, dy)
    expected["0.weight"][0] = 0  # which is not trained, nor ever read
    y, pullback = model.vjp(CODES)
    assert_same_bits("y", y, model(CODES))
    assert pullback(dy) is None
    for name, gradient in expected.items():
        assert_close(name, model.grads[name], gradient, "numeric")
    x = X[:, :4].copy()
    x[0, 0] = x[1, 2:] = 0.5
    model = masked(keras.Masking(0.5), keras.Final(bidirectional()) if final else bidirectional())
    y, pullback = model.vjp(x)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    dx = pullback(dy)
    seen = (x != 0.5).any(axis=-1)
    assert not dx[~seen].any()
    plain = model[1]
    for row in range(2):
        *_, pullback = plain.vjp(x[row : row + 1, seen[row]])
        result = pullback(dy[row : row + 1] if final else dy[row : row + 1, seen[row]])
        assert_close("dx", dx[row][seen[row]], (result if final else result[0])[0], "gradient")


def test_a_used_pullback_is_refused():
    y, pullback = masked(embedding(), bidirectional()).vjp(CODES)
    pullback(np.ones_like(y))
    with pytest.raises(RuntimeError, match="called before"):
        pullback(np.ones_like(y))


def test_they_are_saved_and_copied(tmp_path):
    import copy

    head = fr.Linear(4, 2, dtype="float64", rng=3)
    model = masked(keras.Masking(-1.0), bidirectional(), keras.Final(bidirectional(4)), head)
    assert list(model.parameters)[-2:] == ["3.weight", "3.bias"] and "2.weight_ih_l0_reverse" in model.parameters
    fr.save(tmp_path / "x", model)
    for twin in (fr.load(tmp_path / "x"), copy.deepcopy(model)):
        assert repr(twin) == repr(model)
        assert_same_bits("y", twin(X), model(X))


MASKED = {
    "no mask": (lambda: masked(bidirectional()), ValueError, "modules: expected a Masking, or an Embedding"),
    "no padding": (lambda: masked(fr.Embedding(3, 2)), ValueError, "modules: "),
    "no module": (lambda: keras.Masked(), ValueError, "modules: "),
    "time first": (lambda: masked(embedding(), fr.GRU(3, 4)), ValueError, "batch_first=True, got GRU without"),
    "inside": (lambda: masked(embedding(), keras.Final(fr.GRU(3, 4))), ValueError, "batch_first=True"),
    "one sequence": (lambda: masked(embedding(), bidirectional())(CODES[0]), ValueError, r"x: .*\(B, T\), got \(5,\)"),
    "axes": (lambda: masked(keras.Masking(), bidirectional())(X[0]), ValueError, r"x: .*\(B, T, I\), got \(6, 3\)"),
    "codes": (lambda: masked(embedding(), bidirectional())(X[0]), TypeError, "x: "),
    "value": (lambda: keras.Masking("0"), TypeError, "mask_value: "),
    "block": (lambda: keras.Final(fr.Linear(2, 3)), TypeError, "layer: expected a recurrent layer"),
    "state": (lambda: keras.Final(fr.SRU(3, 3)), ValueError, "layer: .*SRU"),
    "two": (lambda: keras.Final._of([fr.GRU(2, 3), fr.GRU(3, 2)]), ValueError, "layer: expected one layer, got 2"),
}


@pytest.mark.parametrize("case", MASKED)
def test_bad_models(case):
    function, error, words = MASKED[case]
    with pytest.raises(error, match=words):
        function()


# ---- files --------------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path):
    """Read a file of these bytes."""

    def reader(data):
        path = tmp_path / "x.keras"
        path.write_bytes(data)
        return keras.read(path)

    return reader


def tagger():
    """A model of several kinds of layers."""
    rng = np.random.default_rng(0)
    table, kernel = rng.standard_normal((9, 3)).astype("f4"), rng.standard_normal((8, 5)).astype("f4")
    both = kf.weights("LSTM", 3, 4) + kf.weights("LSTM", 3, 4, rng=1)
    return [
        (kf.entry("InputLayer"), []), (kf.entry("Embedding", mask_zero=False), [table]),
        (kf.bidirectional("LSTM", return_sequences=True), both), (kf.entry("Dropout", rate=0.2), []),
        (kf.entry("GRU", return_sequences=True, reset_after=False, use_bias=True), kf.weights("GRU", 8, 8, two=False)),
        (kf.entry("GRU", return_sequences=True, reset_after=True), kf.weights("GRU", 8, 8)),
        (kf.entry("TimeDistributed", layer=kf.entry("Dense", activation="linear")), [kernel, kernel[0]]),
    ]  # fmt: skip


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_model(read, new, compression):
    layers = tagger()
    model = read(kf.file(layers, compression, new=new))
    assert [type(module).__name__ for module in model] == ["Embedding", "LSTM", "Dropout", "GRU", "GRU", "Linear"]
    assert type(model) is fr.Sequential and model[2].p == 0.2
    assert [model[i]._config()["reset_after"] for i in (3, 4)] == [False, True]
    weighted = [weights for _, weights in layers if weights]
    for module, weights in zip((model[0], *model[1:2], *model[3:]), weighted, strict=True):
        for ours, theirs in zip(keras.to_weights(module), weights, strict=True):
            assert_same_bits("weight", ours, theirs)
    assert model([[1, 2, 3]]).shape == (1, 3, 5)


def test_a_classifier_that_masks(read):
    layers = [
        (kf.entry("Embedding", mask_zero=True), [np.random.default_rng(0).standard_normal((9, 3)).astype("f4")]),
        (kf.bidirectional("SimpleRNN", "ave", return_sequences=False), kf.weights("SimpleRNN", 3, 4) * 2),
        (kf.entry("Dense", activation="linear"), [np.ones((4, 2), "f4"), np.ones(2, "f4")]),
    ]
    model = read(kf.file(layers))
    assert type(model) is keras.Masked and type(model[1]) is keras.Final
    assert model[1].layer._config()["merge"] == "mean" and model[0].padding_idx == 0
    assert_same_bits("y", model([[0, 3, 4]]), model([[3, 4, 0]]))


def test_models_in_models(read):
    inner = [kf.entry("LSTM", return_sequences=True), kf.entry("Masking", mask_value=2.0)][:1]
    weights = kf.weights("LSTM", 3, 4)
    tree = {"layers": {"masking": {"vars": {}}, "sequential": {"layers": kf.groups([(inner[0], weights)])["layers"]}}}
    config = kf.sequential([kf.entry("Masking", mask_value=2.0), kf.sequential(inner)])
    model = read(kf.zipped(kf.parts([], tree, config)))
    assert [type(module).__name__ for module in model] == ["Masking", "LSTM"] and model[0].mask_value == 2
    assert_same_bits("kernel", keras.to_weights(model[1])[0], weights[0])


def test_weights_of_any_model(tmp_path):
    """Layer by layer: of functional models, of models in them, beside layers that are not known here."""
    dense, lstm = [np.ones((4, 2), "f4"), np.ones(2, "f4")], kf.weights("LSTM", 3, 4)
    both = kf.weights("GRU", 3, 4) * 2
    inner = kf.sequential([kf.entry("LSTM")]) | {"name": "encoder"}
    tree = {"layers": {"dense": {"vars": {"0": dense[0], "1": dense[1]}}, "conv1_d": {"vars": {"0": dense[0]}},
                       "sequential": {"layers": {"lstm": {"cell": {"vars": dict(zip("012", lstm))}}}},
                       "bidirectional": kf.groups([(kf.bidirectional("GRU"), both)])["layers"]["bidirectional"]}}  # fmt: skip
    head = kf.entry("Dense", activation="softmax")
    head["config"]["name"] = "head"
    entries = [kf.entry("InputLayer"), kf.entry("Conv1D"), inner, kf.bidirectional("GRU", None), head]
    config = kf.sequential(entries) | {"class_name": "Functional", "registered_name": "Functional"}
    path = tmp_path / "x.keras"
    path.write_bytes(kf.zipped(kf.parts([], tree, config)))
    found = keras.read_weights(path)
    assert list(found) == ["encoder/lstm", "bidirectional", "head"]
    for ours, theirs in zip(found.values(), (lstm, both, dense)):
        for one, two in zip(ours, theirs, strict=True):
            assert_same_bits("weight", one, two)
            assert one.flags.aligned and one.flags.writeable
    with pytest.raises(ValueError, match="fastrnn has no 'Functional' of Keras, only Sequential"):
        keras.read(path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="x.keras: "):
        keras.read_weights(path)


def test_activations(read):
    names = {"tanh": "tanh", "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5), "linear": "identity", "elu": ("elu", 1.0)}
    for theirs, ours in names.items():
        layers = [(kf.entry("LSTM", activation=theirs, recurrent_activation="sigmoid"), kf.weights("LSTM", 3, 4))]
        assert read(kf.file(layers))[0].layer._config()["activations"] == ("sigmoid", ours, ours)
        layers = [(kf.entry("SimpleRNN", activation=theirs, dropout=0.1), kf.weights("SimpleRNN", 3, 4))]
        config = read(kf.file(layers))[0].layer._config()
        assert config["nonlinearity"] == (ours if isinstance(ours, str) else ours[0]) and config["input_dropout"] == 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_layers_that_were_one_are_one_again(read, dropout):
    between = [(kf.entry("Dropout", rate=dropout) | {}, [])] if dropout else []
    for described, _ in between:
        described["config"]["name"] = "lstm_0_dropout0"
    layers = [(kf.entry("LSTM", return_sequences=True), kf.weights("LSTM", 3, 4)), *between,
              (kf.entry("LSTM", return_sequences=False), kf.weights("LSTM", 4, 4, rng=1))]  # fmt: skip
    for number, (described, _) in enumerate((layers[0], layers[-1])):
        described["config"]["name"] = f"lstm_0_l{number}"
    model = read(kf.file(layers))
    (last,) = model
    assert last.layer.num_layers == 2 and last.layer.dropout == dropout
    assert_same_bits("kernel", last.layer.parameters["weight_ih_l1"], layers[-1][1][0].T.copy())
    layers[-1][0]["config"]["name"] = "lstm_0_l2"
    assert len(read(kf.file(layers))) == len(layers)
    layers[-1][0]["config"].update(name="lstm_0_l1", activation="relu")
    assert len(read(kf.file(layers))) == len(layers)


@pytest.mark.parametrize("options", [{}, {"new": True}, {"compact": True}])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
def test_datasets(read, dtype, options):
    kernel = np.arange(6.0).reshape(3, 2).astype(dtype)
    model = read(kf.file([(kf.entry("Dense"), [kernel, kernel[0]])], **options))
    expected = kernel.astype({"2": "f4"}.get(dtype[-1], dtype.lstrip(">")))
    assert_same_bits("kernel", keras.to_weights(model[0])[0], expected)


def test_many_layers(read):
    """More than one table of members."""
    kernel = np.eye(2, dtype="f4")
    layers = [(kf.entry("Dense"), [(number + 1) * kernel]) for number in range(40)]
    model = read(kf.file(layers))
    assert [module.parameters["weight"][0, 0] for module in model] == list(range(1, 41))


def refused_layer(name, weights=(), **config):
    return kf.file([(kf.entry(name, **config), list(weights))])


def changed(change):
    """A file of one Dense whose configuration was changed."""
    config = kf.sequential([kf.entry("Dense")])
    change(config)
    return kf.zipped(kf.parts([(kf.entry("Dense"), [np.ones((2, 3), "f4")])], config=config))


def with_weights(data):
    return kf.zipped(kf.parts([(kf.entry("Dense"), [])]) | {"model.weights.h5": data})


def nested(depth):
    config = kf.sequential([])
    for _ in range(depth):
        config = kf.sequential([config])
    return kf.zipped(kf.parts([], config=config))


L = [K, R, B]
DENSE = h5_files.File(kf.groups([(kf.entry("Dense"), [np.ones((2, 3), "f4")])])).data


def poked(old, new, start=0):
    """The weights of a Dense with some bytes changed."""
    at = DENSE.index(old, start)
    return with_weights(DENSE[:at] + new + DENSE[at + len(old) :])


LAYOUT = struct.pack("<BB", 3, 1)
SHAPE = struct.pack("<BBB5xQQ", 1, 2, 0, 2, 3)
HOSTILE = {
    "empty": (b"", "zip directory"),
    "no archive": (b"Keras", "zip directory"),
    "no configuration": (kf.zipped({"model.weights.h5": DENSE}), "'config.json' is missing"),
    "no weights": (kf.zipped({"config.json": "{}"}), "'model.weights.h5' is missing"),
    "not json": (kf.zipped({"config.json": "{", "model.weights.h5": DENSE}), "config.json: "),
    "deep": (kf.zipped({"config.json": '{"a":' * 100_000, "model.weights.h5": DENSE}), "nested too deeply"),
    "list": (kf.zipped({"config.json": "[]", "model.weights.h5": DENSE}), "expected a JSON object"),
    "no class": (changed(lambda c: c.pop("class_name")), "no class_name and config"),
    "functional": (changed(lambda c: c.update(class_name="Functional", registered_name=None)), "no 'Functional' of Keras, only Sequential"),
    "no layers": (changed(lambda c: c["config"].pop("layers")), "no list of layers"),
    "layer text": (changed(lambda c: c["config"].update(layers=["Dense"])), "no class_name and config"),
    "own class": (changed(lambda c: c["config"]["layers"][0].update(registered_name="My>Dense")), "not one of Keras's own"),
    "own module": (changed(lambda c: c["config"]["layers"][0].update(module="os")), "'Dense' of 'os' is not one"),
    "module list": (changed(lambda c: c["config"]["layers"][0].update(module=[])), "not one of Keras's own"),
    "other layer": (refused_layer("Conv1D"), "fastrnn has no 'Conv1D' of Keras, only SimpleRNN"),
    "lambda": (refused_layer("Lambda", function="eval"), "no 'Lambda'"),
    "models deep": (nested(60), "too deep"),
    "no model": (nested(0), "at least one module"),
    "dense activation": (refused_layer("Dense", [K], activation="softmax"), "Dense: fastrnn has no activation='softmax'"),
    "dense list": (refused_layer("Dense", [K], activation=["linear"]), "no activation="),
    "activation": (refused_layer("LSTM", L, activation="gelu"), "LSTM: fastrnn has no activation='gelu'"),
    "activation object": (refused_layer("LSTM", L, activation={"class_name": "f"}), "no activation="),
    "recurrent activation": (refused_layer("GRU", G, recurrent_activation="softmax"), "no recurrent_activation='softmax'"),
    "backwards": (refused_layer("GRU", G, go_backwards=True), "GRU: fastrnn has no go_backwards=True"),
    "stateful": (refused_layer("GRU", G, stateful=True), "GRU: fastrnn has no stateful=True"),
    "state": (refused_layer("GRU", G, return_state=True), "no return_state=True"),
    "dropout": (refused_layer("GRU", G, dropout="a"), "input_dropout: "),
    "rate": (refused_layer("Dropout", rate=7), "p: "),
    "noise shape": (refused_layer("Dropout", rate=0.1, noise_shape=[1]), "noise_shape"),
    "mask value": (refused_layer("Masking", mask_value="a"), "mask_value: "),
    "mask later": (kf.file([(kf.entry("Dense"), [K]), (kf.entry("Masking"), [])]), "Masking: .*behind another"),
    "merge none": (kf.file([(kf.bidirectional("LSTM", None), L * 2)]), "Bidirectional: fastrnn has no merge_mode=None"),
    "both backwards": (kf.file([(kf.bidirectional("LSTM", go_backwards=True), L * 2)]), "no go_backwards=True"),
    "both forward": (kf.file([(kf.bidirectional("LSTM", backward={"go_backwards": False}), L * 2)]), "go_backwards=False"),
    "other backward": (kf.file([(kf.bidirectional("LSTM", backward={"activation": "relu"}), L * 2)]), "backward_layer: "),
    "bidirectional dense": (kf.file([(kf.bidirectional("Dense"), L * 2)]), "no 'Dense' of Keras, only SimpleRNN"),
    "bidirectional nothing": (refused_layer("Bidirectional", L * 2), "no class_name"),
    "distributed": (refused_layer("TimeDistributed", [K], layer=kf.entry("LSTM")), "no 'LSTM' of Keras, only Dense"),
    "no arrays": (refused_layer("LSTM"), "expected 2 or 3 or 4 or 6 arrays, got 0"),
    "wrong shapes": (refused_layer("GRU", L), r"weights\[1\]: "),
    "integers": (refused_layer("Dense", [np.ones((2, 3), "i8")]), r"weights\[0\]: .*int64"),
    "reset": (refused_layer("GRU", G, reset_after=False), "reset_after=False, only True"),
    "no hdf5": (with_weights(b"weights"), "HDF5: it leads to byte 0"),
    "other start": (poked(b"\x89HDF", b"\x89HDG"), "does not begin"),
    "superblock": (poked(b"\r\n\x1a\n\0", b"\r\n\x1a\n\7"), "superblock of version 7"),
    "address sizes": (poked(b"\x08\x08", b"\x04\x08"), "of 8 bytes"),
    "base address": (poked(b"\x04\0\x10\0\0\0\0\0\0", b"\x04\0\x10\0\0\0\0\0\1"), "of 8 bytes"),
    "heap": (poked(b"HEAP", b"HEAQ"), "no names"),
    "tree": (poked(b"TREE", b"TREF"), "no members where"),
    "tables": (poked(b"SNOD", b"SNOE"), "no members where"),
    "circle": (poked(b"TREE" + struct.pack("<BBHQQQ", 0, 0, 1, h5_files.NOWHERE, h5_files.NOWHERE, 0),
                     b"TREE" + struct.pack("<BBHQQQ", 0, 0, 999, h5_files.NOWHERE, h5_files.NOWHERE, 0)), "circle|beyond"),
    "name": (poked(b"vars\0", b"\xff\xffrs\0"), "not UTF-8"),
    "in pieces": (poked(LAYOUT, b"\3\2"), "in pieces"),
    "old layout": (poked(LAYOUT, b"\1\1"), "in pieces"),
    "size": (poked(struct.pack("<Q", 24) + b"\0" * 6, struct.pack("<Q", 25) + b"\0" * 6), "25 bytes, its shape needs 24"),
    "shape": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 2, 0, 2, 4)), "24 bytes, its shape needs 32"),
    "huge shape": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 2, 0, 2**40, 2**40)), "its shape needs"),
    "many axes": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 200, 0, 2, 3)), "no shape that is known"),
    "type": (poked(b"\x11\x20", b"\x13\x20"), "no integers or floats"),
    "type of size": (poked(b"\x11\x20\x1f\0\4", b"\x11\x20\x1f\0\3"), "no integers or floats"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(read, tmp_path, case):
    data, words = HOSTILE[case]
    with pytest.raises(ValueError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith(f"{tmp_path / 'x.keras'}: ") and len(str(caught.value)) < 600


def test_a_checksum_is_compared(read):
    data = bytearray(refused_layer("Dense", [np.full((2, 3), 7.25, "f4")]))
    at = data.index(struct.pack("<f", 7.25))
    data[at] ^= 1
    with pytest.raises(ValueError, match="'model.weights.h5' does not have the checksum"):
        read(bytes(data))


def test_a_part_grows_no_further_than_it_says(read):
    """A bomb: a part that decompresses to a thousand times its size, and says it were small, or that it were huge."""
    parts = {"config.json": json.dumps(kf.sequential([])), "model.weights.h5": bytes(10_000_000)}
    data = bytearray(kf.zipped(parts, zipfile.ZIP_DEFLATED))
    entry = data.rindex(b"PK\1\2")
    for size in (1000, 2**31):
        data[entry + 24 : entry + 28] = struct.pack("<I", size)
        with pytest.raises(ValueError, match="does not decompress to the size"):
            read(bytes(data))


def test_one_array_for_many_layers_is_no_memory_for_all(read):
    """A few bytes for each of many layers, which all take their weights from one place."""
    config = kf.sequential([kf.entry("Dense") for _ in range(40)])
    dense = {"vars": {"0": np.ones((100, 100), "f4")}}
    tree = {"layers": {"dense" + (f"_{n}" if n else ""): dense for n in range(40)}}
    with pytest.raises(ValueError, match="more parameters than the file holds"):
        read(kf.zipped(kf.parts([], tree, config)))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        keras.read(tmp_path / "nothing.keras")


# ---- damaged files ------------------------------------------------------------------------------


def read_both(path):
    keras.read_weights(path)
    keras.read(path)


def damage():
    """``make`` of ``refusals``: whole files, and parts under a checksum that is right."""
    layers = tagger()
    files = [kf.file(layers), kf.file(layers, zipfile.ZIP_DEFLATED)]
    inside = [kf.parts(layers), kf.parts(layers, new=True)]

    def make(i, rng):
        if i % 4 == 0:
            return mutated(files[i // 4 % 2], rng)
        parts, name = inside[i // 4 % 2], "model.weights.h5" if i % 4 < 3 else "config.json"
        data = parts[name] if isinstance(parts[name], bytes) else parts[name].encode()
        return kf.zipped(parts | {name: mutated(data, rng)})

    return make


def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path):
    refused = refusals(tmp_path / "x.keras", read_both, damage(), 800, np.random.default_rng(0))
    assert 300 < refused < 800


@pytest.mark.nightly
def test_more_damaged_files(tmp_path):
    assert refusals(tmp_path / "x.keras", read_both, damage(), 20_000, np.random.default_rng(1)) > 7500


def test_weights_may_be_cut_anywhere(read):
    for end in range(0, len(DENSE), 3):
        with pytest.raises(ValueError, match="x.keras: "):
            read(with_weights(DENSE[:end]))


# ---- without Keras ------------------------------------------------------------------------------

#: Hides Keras and h5py, where these are.
WITHOUT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "h5py"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
import fastrnn as fr
import numpy as np
"""


def said(code):
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_keras(tmp_path):
    """Weights convert and files are read; what needs Keras says so."""
    (tmp_path / "a.keras").write_bytes(kf.file(tagger()))
    path = str(tmp_path / "a.keras")
    said(f"fr.interop.keras.from_weights(fr.Linear, [np.ones((2, 3))])\nfr.interop.keras.read({path!r})\n")
    calls = ("from_layer(1)", "from_model(1)", "to_layer(fr.GRU(2, 3))", "to_model(fr.GRU(2, 3))",
             "write('a.keras', fr.GRU(2, 3))")  # fmt: skip
    for call in calls:
        text = said(f"try:\n    fr.interop.keras.{call}\nexcept ImportError as error:\n    print(error)\n")
        assert text == "this needs Keras, which is not installed: pip install 'fastrnn[keras]'\n"
