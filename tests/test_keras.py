"""``fastrnn.interop.keras`` without Keras: weights, outputs at the end alone, models that mask."""

import copy

import keras_files as kf
import numpy as np
import pytest
from absent import said_without
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masked_values_are_those_of_the_models_dtype(dtype):
    """Whatever the dtype of x: 0.1 of float32 is no 0.1 of float64, nor is that of float16."""
    layer = fr.GRU(3, 4, batch_first=True, dtype=dtype, rng=0)
    model, inner = (masked(keras.Masking(0.1), each) for each in (layer, fr.Sequential(fr.Dropout(0.0), layer)))
    for given in ("float16", "float32", "float64"):
        for value in ("float16", "float32", "float64"):
            x = X.astype(given)
            x[0, 2] = np.dtype(value).type(0.1)
            expected = x[0, 2, 0].astype(dtype) == np.dtype(dtype).type(0.1)
            for each in (model, inner):
                y, pullback = each.vjp(x)
                assert (not y[0, 2].any()) == expected, (given, value)
                assert_same_bits("y", y, each(x))
                assert (not pullback(np.ones_like(y))[0, 2].any()) == expected


def test_a_mask_alone_takes_the_dtype_of_what_it_gets():
    model = masked(keras.Masking(0.1), fr.Dropout(0.5))
    for dtype in ("float32", "float64"):
        x = X.astype(dtype)
        x[0, 2] = 0.1
        assert not model(x)[0, 2].any() and model(x)[0, 1].all()


def test_what_is_all_masked_keeps_the_initial_state():
    model = masked(embedding(), keras.Final(bidirectional()))
    assert not model(CODES)[2].any() and model(CODES)[1].any()


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
@pytest.mark.parametrize("final", [False, True])
def test_models_of_nothing(shape, final):
    layer = bidirectional()
    model = masked(embedding(), keras.Final(layer) if final else layer)
    y, pullback = model.vjp(np.zeros(shape, int))
    assert y.shape == ((shape[0], 4) if final else (*shape, 4)) and not y.any()
    assert pullback(np.ones_like(y)) is None
    assert_same_bits("y", y, model(np.zeros(shape, int)))


@pytest.mark.parametrize("final", [False, True])
def test_gradients_of_masked_models(final):
    layer = bidirectional()
    head = fr.Linear(4, 2, dtype="float64", rng=2)  # whose bias is in the outputs past a length
    model = masked(embedding(), keras.Final(layer) if final else layer, head)
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


# ---- without Keras ------------------------------------------------------------------------------

ABSENT = ("keras", "h5py")


def test_without_keras(tmp_path):
    """Weights convert and files are read; what needs Keras says so."""
    (tmp_path / "a.keras").write_bytes(kf.file(kf.tagger()))
    path = str(tmp_path / "a.keras")
    said_without(ABSENT, f"fr.interop.keras.from_weights(fr.Linear, [np.ones((2, 3))])\nfr.interop.keras.read({path!r})\n")
    calls = ("from_layer(1)", "from_model(1)", "to_layer(fr.GRU(2, 3))", "to_model(fr.GRU(2, 3))",
             "write('a.keras', fr.GRU(2, 3))")  # fmt: skip
    for call in calls:
        text = said_without(ABSENT, f"try:\n    fr.interop.keras.{call}\nexcept ImportError as error:\n    print(error)\n")
        assert text == "this needs Keras, which is not installed: pip install 'fastrnn[keras]'\n"
