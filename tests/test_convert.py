"""``convert`` and the command of that name, between files that need no other library."""

import doctest
import importlib

import keras_files as kf
import numpy as np
import pytest
from commands import run_here
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import convert, read_npz, read_pt, read_safetensors, write_npz, write_pt, write_safetensors
from fastrnn.interop._keras_layers import keras_options
from fastrnn.interop.conversion import labels, module_of

READERS = {".pt": read_pt, ".pth": read_pt, ".npz": read_npz, ".safetensors": lambda path: read_safetensors(path)[0]}
WRITERS = {".pt": write_pt, ".npz": write_npz, ".safetensors": write_safetensors}


def tagger(**options):
    lstm = fr.LSTM(3, 4, 2, bidirectional=True, rng=1, **options)
    return fr.Sequential(fr.Embedding(9, 3, rng=0), lstm, fr.Linear(8, 5, rng=2))


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert_same_bits(name, found[name], array)


@pytest.mark.parametrize("second", READERS)
@pytest.mark.parametrize("first", WRITERS)
def test_tensors_stay_as_they_are(tmp_path, first, second):
    tensors = tagger().state_dict() | {"step": np.array(7), "mask": np.array([True, False])}
    WRITERS[first](tmp_path / f"a{first}", tensors)
    done = convert(tmp_path / f"a{first}", tmp_path / f"b{second}")
    same(READERS[second](tmp_path / f"b{second}"), tensors)
    assert done.module is None and done.mapped == [(name, array.shape, name) for name, array in tensors.items()]


@pytest.mark.parametrize("ending", READERS)
def test_models_that_fastrnn_saved(tmp_path, ending):
    """Their tensors are what PyTorch's module has; in safetensors they stay models."""
    model = tagger(input_dropout=0.1)
    fr.save(tmp_path / "a.safetensors", model)
    done = convert(tmp_path / "a.safetensors", tmp_path / f"b{ending}")
    same(READERS[ending](tmp_path / f"b{ending}"), model.state_dict())
    assert repr(done.module) == repr(model) and done.mapped[0] == ("0.weight", (9, 3), "0.weight")
    if ending == ".safetensors":
        assert repr(fr.load(tmp_path / "b.safetensors")) == repr(model)


def test_a_checkpoint_of_several_dicts(tmp_path):
    import pt_files as pt

    tensors = {name: pt.tensor("Float", "0", 6, (2, 3), (3, 1)) for name in ("a", "b")}
    body = pt.mapping({"model": pt.mapping(tensors), "optimizer": pt.mapping({"state": pt.mapping({})}), "epoch": b"K\x03"})
    (tmp_path / "a.pt").write_bytes(pt.archive(body, {"0": np.arange(6, dtype="f4").tobytes()}))
    convert(tmp_path / "a.pt", tmp_path / "b.npz", key="model")
    same(read_npz(tmp_path / "b.npz"), {name: np.arange(6, dtype="f4").reshape(2, 3) for name in tensors})
    wrong = {None: "expected a state_dict.*'model', 'optimizer'", "net": "no 'net'; its key may be one of 'model'",
             "epoch": "a.pt: expected a state_dict", "optimizer": "expected a state_dict.*'state'"}  # fmt: skip
    for key, words in wrong.items():
        with pytest.raises(ValueError, match=words):
            convert(tmp_path / "a.pt", tmp_path / "c.npz", key=key)
    assert not (tmp_path / "c.npz").exists()


def test_from_keras(tmp_path):
    layers = [(kf.entry("Embedding", mask_zero=True), [np.ones((9, 3), "f4")]),
              (kf.entry("GRU"), kf.weights("GRU", 3, 4)), (kf.entry("Dense"), [np.ones((4, 2), "f4")])]  # fmt: skip
    (tmp_path / "a.keras").write_bytes(kf.file(layers))
    done = convert(tmp_path / "a.keras", tmp_path / "b.safetensors")
    model, twin = fr.interop.keras.read(tmp_path / "a.keras"), fr.load(tmp_path / "b.safetensors")
    assert repr(twin) == repr(model)
    same(twin.state_dict(), model.state_dict())
    names = [first for first, _, _ in done.mapped]
    assert names == ["Embedding 0: embeddings", "GRU 1: kernel (z r h for r z n)",
                     "GRU 1: recurrent_kernel (z r h for r z n)", "GRU 1: bias[0] (z r h for r z n)",
                     "GRU 1: bias[1] (z r h for r z n)", "Dense 2: kernel"]  # fmt: skip
    convert(tmp_path / "a.keras", tmp_path / "b.pt")
    same(read_pt(tmp_path / "b.pt"), model.state_dict())


def test_names_of_parameters():
    model = tagger()
    assert labels(model, ".pt") == {name: name for name in model.parameters}
    named = labels(model, ".keras")
    assert named["1.weight_ih_l1_reverse"] == "LSTM 1, layer 1, backward: kernel (i f c o for i f g o)"
    assert named["1.bias_hh_l0"] == "LSTM 1, layer 0: bias, the sum of both (i f c o for i f g o)"
    assert labels(model, ".keras", reading=True)["1.bias_hh_l0"] == "LSTM 1, layer 0: none, 0"
    assert labels(fr.RNN(2, 3), ".onnx")["weight_hh_l0"] == "RNN: R"
    assert labels(fr.GRU(2, 3), ".onnx")["bias_ih_l0"] == "GRU: Wb of B (z r h for r z n)"


def keras_model():
    gru, lstm = fr.GRU(3, 4, batch_first=True, rng=0), fr.LSTM(4, 2, batch_first=True, rng=1)
    inside = [fr.interop.keras.Masking(0.5), gru, fr.interop.keras.Final(lstm)]
    return fr.Sequential(fr.interop.keras.Masked(*inside), fr.Linear(2, 5, rng=2))


@pytest.mark.parametrize("model, lost", [
    (tagger(), []), (fr.Linear(2, 3), []), (tagger(batch_first=True), ["batch_first of LSTM 1"]),
    (fr.GRU(2, 3, batch_first=True), ["batch_first of GRU"]), (fr.interop.keras.Final(fr.GRU(2, 3)), ["Final"]),
    (keras_model(), ["batch_first of GRU 0.1 and LSTM 0.2", "Final", "Masked", "Masking"]),
])  # fmt: skip
@pytest.mark.parametrize("ending", READERS)
def test_what_tensors_do_not_say_is_told(tmp_path, model, lost, ending):
    lost = [] if ending == ".safetensors" else lost
    source, target = tmp_path / "a.safetensors", tmp_path / f"b{ending}"
    fr.save(source, model)
    assert convert(source, target).lost == lost
    code, out, err = run_here("convert", source, target)
    told = [line for line in out.splitlines() if line.startswith("not in ")]
    assert (code, err) == (0, "") and told == ([f"not in {target}: {', '.join(lost)}"] if lost else [])


def test_of_tensors_alone_nothing_is_lost(tmp_path):
    write_npz(tmp_path / "a.npz", fr.GRU(2, 3, batch_first=True).state_dict())
    assert convert(tmp_path / "a.npz", tmp_path / "b.pt").lost == []


# ---- layers that are recognised by their tensors ------------------------------------------------


@pytest.mark.parametrize("layer", [
    fr.LSTM(3, 4), fr.LSTM(3, 4, 3, bidirectional=True, bias=False), fr.LSTM(3, 5, 2, proj_size=2, bidirectional=True),
    fr.GRU(1, 1), fr.GRU(3, 4, 2, dtype="float64"), fr.RNN(3, 4, bidirectional=True), fr.RNN(1, 1, 2), fr.Linear(3, 4),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_layers_are_recognised(layer):
    found = module_of(layer.state_dict(), nonlinearity="tanh")
    assert repr(found) == repr(layer)
    same(found.state_dict(), layer.state_dict())
    named = module_of({f"encoder.rnn.{name}": array for name, array in layer.state_dict().items()}, nonlinearity="tanh")
    assert repr(named) == repr(layer)


def test_cells_are_recognised():
    layer = fr.GRU(3, 4)
    found = module_of({name.removesuffix("_l0"): array for name, array in layer.state_dict().items()})
    same(found.state_dict(), layer.state_dict())


def test_half_floats_become_float32():
    halves = {name: array.astype("f2") for name, array in fr.LSTM(3, 4).state_dict().items()}
    found = module_of(halves)
    assert found.dtype == "float32"
    same(found.state_dict(), {name: array.astype("f4") for name, array in halves.items()})


def test_chains_are_recognised():
    model = tagger()
    assert repr(module_of(model.state_dict())) == repr(model)
    names = {"0": "embedding", "1": "rnn", "2": "head.out"}
    renamed = {names[name[0]] + name[1:]: array for name, array in model.state_dict().items()}
    assert repr(module_of(renamed, chain=True)) == repr(model)
    bare = fr.Sequential(fr.Linear(3, 4, bias=False), fr.RNN(4, 2, nonlinearity="relu"), fr.Linear(2, 7, bias=False))
    assert repr(module_of(bare.state_dict(), nonlinearity="relu")) == repr(bare)
    assert module_of(fr.GRU(2, 3).state_dict(), batch_first=True).batch_first


def named(module, prefix):
    return {f"{prefix}.{name}": array for name, array in module.state_dict().items()}


UNCLEAR = {
    "order": (named(fr.GRU(2, 3), "rnn") | named(fr.Linear(3, 2), "head"), {}, "chain: .*'rnn', 'head'.*--chain"),
    "a gap": (named(fr.GRU(2, 3), "0") | named(fr.Linear(3, 2), "2"), {}, "chain: .*'0', '2'"),
    "widths": (named(fr.GRU(2, 3), "0") | named(fr.Linear(4, 2), "1"), {}, "1: it reads 4 .* puts out 3"),
    "nonlinearity": (named(fr.RNN(2, 3), "rnn"), {}, "nonlinearity: rnn is an RNN.*--nonlinearity"),
    "a table": (named(fr.Embedding(3, 2), "table"), {}, "table: a weight alone"),
    "a square": (named(fr.Embedding(3, 3), "0") | named(fr.GRU(3, 2), "1"), {}, "0: a weight alone"),
    "another layer": ({"conv.weight": np.ones((2, 3, 4)), "conv.bias": np.ones(2)}, {}, "conv: its tensors are not those"),
    "more in a layer": (fr.GRU(2, 3).state_dict() | {"gain": np.ones(2)}, {}, "the file: its tensors are not"),
    "peepholes": (fr.LSTM(2, 3, peephole=True).state_dict(), {}, "its tensors are not"),
    "another cell": (fr.MGU(2, 3).state_dict(), {}, "its tensors are not"),
    "a layer missing": ({k: a for k, a in fr.GRU(2, 3, 3).state_dict().items() if "l1" not in k}, {}, "its tensors are not"),
    "a bias missing": ({k: a for k, a in fr.GRU(2, 3).state_dict().items() if k != "bias_hh_l0"}, {}, "_hh_l0' is missing"),
    "a billion layers": (fr.GRU(2, 3).state_dict() | {"bias_ih_l999999999": np.ones(9)}, {}, "its tensors are not"),
    "no entries": ({"weight_ih_l0": np.ones((0, 2**20)), "weight_hh_l0": np.ones((9, 3))}, {}, "than the file holds"),
    "no weight_hh": ({"weight_ih_l0": np.ones((4, 3))}, {}, "its tensors are not"),
    "vectors": ({"weight_ih_l0": np.ones(4), "weight_hh_l0": np.ones(4)}, {}, "its tensors are not"),
    "two names": (named(fr.GRU(2, 3), "rnn") | {"rnn.weight_ih": np.ones((9, 2), "f4")}, {},
                  "'rnn.weight_ih_l0' and 'rnn.weight_ih' are names of the same"),
    "no prefix": ({"weight": np.ones((2, 3)), ".weight": np.ones((2, 3))}, {}, "'weight' and '.weight' are names of the same"),
    "integers": ({"0.weight": np.ones((2, 3), "i8"), "0.bias": np.ones(2, "i8")}, {}, "0: its tensors are not"),
    "an integer": ({"weight": np.ones((2, 3)), "bias": np.ones(2, "i4")}, {}, "its tensors are not"),
    "booleans": ({k: a > 0 for k, a in fr.GRU(2, 3).state_dict().items()}, {}, "its tensors are not"),
    "complex": ({"weight": np.ones((2, 3), "c8"), "bias": np.ones(2, "c8")}, {}, "its tensors are not"),
    "two dtypes": (named(fr.GRU(2, 3), "rnn") | {"rnn.bias_ih_l0": np.ones(9)}, {},
                   "rnn: .*'weight_ih_l0' is float32, 'bias_ih_l0' float64"),
    "a projected GRU": ({"weight_ih_l0": np.ones((12, 3)), "weight_hh_l0": np.ones((12, 4)), "weight_hr_l0": np.ones((2, 4))},
                        {}, "its tensors are not"),
    "a projected RNN": ({"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.ones((4, 4)), "weight_hr_l0": np.ones((2, 4))},
                        {"nonlinearity": "tanh"}, "its tensors are not"),
    "a projected layer": (fr.GRU(2, 3, 2).state_dict() | {"weight_hr_l1": np.ones((2, 3), "f4")}, {}, "its tensors are not"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_not_clear_is_refused(case):
    tensors, options, words = UNCLEAR[case]
    with pytest.raises(ValueError, match=words):
        module_of(tensors, **options)


def test_any_tensors_are_recognised_or_refused():
    """Names and shapes changed at random: no name asks for a billion layers, no shape without entries for memory."""
    rng, refused = np.random.default_rng(0), 0
    layers = [fr.LSTM(3, 4, 2, bidirectional=True), fr.LSTM(3, 5, proj_size=2), fr.GRU(2, 3), fr.Linear(3, 4)]
    models = [layer.state_dict() for layer in layers] + [tagger().state_dict()]
    parts = ["weight", "bias", "_ih", "_hh", "_hr", "_l0", "_l1", "_l999999999", "_reverse", "0.", "1.", "."]
    for i in range(2000):
        tensors = dict(models[i % len(models)])
        for _ in range(rng.integers(1, 3)):
            name = rng.choice([name for name, array in tensors.items() if array.size > 1])
            array, kind = tensors.pop(name), rng.integers(5)
            shapes = [array.T, array[:0], array[..., 0], array[:, np.newaxis], np.zeros((0, 2**20)), np.ones((2**20, 0)),
                      np.float32(1)]  # fmt: skip
            old, new = rng.choice(parts, 2)
            if kind < 2:
                tensors[name.replace(old, new)] = array
            elif kind < 4:
                tensors[name] = np.asarray(shapes[rng.integers(len(shapes))])
        try:
            module_of(tensors, chain=True, nonlinearity="tanh")
        except ValueError:
            refused += 1
    assert 1000 < refused < 2000


# ---- what cannot be converted -------------------------------------------------------------------

REFUSED = {
    "ending": ("a.h5", "b.pt", {}, "source: expected a path that ends in .safetensors, .pt"),
    "other ending": ("a.npz", "b", {}, "target: "),
    "chain": ("a.npz", "b.pt", {"chain": 1}, "chain: "),
    "nonlinearity": ("a.npz", "b.pt", {"nonlinearity": "elu"}, "nonlinearity: .*'tanh', 'relu'"),
    "empty": ("empty.npz", "b.pt", {}, "empty.npz: expected a state_dict"),
    "option": ("clip.safetensors", "b.pt", {}, "GRU: torch.nn has no clip=1.0"),
    "reset": ("reset.safetensors", "b.npz", {}, "reset_after=False, only True"),
    "another cell": ("mgu.safetensors", "b.pt", {}, "MGU"),
    "no tensors of torch": ("complex.npz", "b.pt", {}, "complex64"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    write_npz(folder / "a.npz", {"a": np.ones(2)})
    write_npz(folder / "empty.npz", {})
    write_npz(folder / "complex.npz", {"a": np.ones(2, np.complex64)})
    fr.save(folder / "clip.safetensors", fr.Sequential(fr.GRU(2, 3, clip=1.0)))
    fr.save(folder / "reset.safetensors", fr.GRU(2, 3, reset_after=False))
    fr.save(folder / "mgu.safetensors", fr.MGU(2, 3))
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_is_refused(folder, case):
    source, target, options, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=words):
        convert(folder / source, folder / target, **options)
    assert not (folder / target).exists()


@pytest.mark.parametrize("name", ["_keras_blocks", "_pt_write", "conversion", "keras", "npz"])
def test_examples_in_docstrings(name):
    module = importlib.import_module(f"fastrnn.interop.{name}")
    done = doctest.testmod(module)
    assert done.attempted and not done.failed


# ---- the command --------------------------------------------------------------------------------


def test_the_command(tmp_path):
    model = tagger()
    fr.save(tmp_path / "a.safetensors", model)
    code, out, err = run_here("convert", tmp_path / "a.safetensors", tmp_path / "b.pt")
    assert (code, err) == (0, "") and "  0: Embedding(num_embeddings=9" in out
    assert "    1: LSTM(input_size=3, hidden_size=4, num_layers=2, bidirectional=True)  # 736 parameters\n" in out
    assert "1.weight_ih_l0_reverse" in out and "b.pt: 19 parameters" in out
    same(read_pt(tmp_path / "b.pt"), model.state_dict())
    code, out, err = run_here("convert", tmp_path / "b.pt", tmp_path / "c.npz")
    assert code == 0 and out.splitlines()[0].split() == ["0.weight", "9", "x", "3", "->", "0.weight"]
    same(read_npz(tmp_path / "c.npz"), model.state_dict())


@pytest.mark.parametrize("arguments, words", [
    (["missing.pt", "b.npz"], "missing.pt: No such file"), (["a.npz", "b.txt"], "target: expected a path that ends in"),
    (["clip.safetensors", "b.pt"], "GRU: torch.nn has no clip"), (["reset.safetensors", "b.npz"], "reset_after"),
    (["a.npz", "missing/b.pt"], "No such file"), (["a.npz", "b.onnx"], "the file: its tensors are not those"),
])  # fmt: skip
def test_errors_of_the_command(folder, arguments, words):
    code, out, err = run_here("convert", *(folder / name for name in arguments))
    assert code == 2 and words in err and err.count("\n") == 1 and out == ""


# ---- what is refused rather than spoilt ---------------------------------------------------------


@pytest.mark.parametrize("target", ["x.safetensors", "x.npz", "x.pt", "x.keras"])
def test_a_language_model_is_more_than_its_layers(tmp_path, target):
    model = fr.LanguageModel(fr.models.Vocabulary("abc"), hidden_size=4, cell="lstm_coupled", rng=0)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors: it holds a whole model of fastrnn .*fr.Sequential"):
        convert(tmp_path / "model.safetensors", tmp_path / target, chain=True)
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize("way", ["the same", "a link"])
def test_a_file_is_not_written_over_itself(tmp_path, way):
    source = target = tmp_path / "model.npz"
    write_npz(source, {"weight": np.ones((2, 3))})
    if way == "a link":
        target = tmp_path / "link.npz"
        target.symlink_to(source)
    before = source.read_bytes()
    code, _, err = run_here("convert", source, target)
    assert code == 2 and "expected another file than source" in err and source.read_bytes() == before


def test_numbers_of_activations_as_other_formats_have_them():
    """1/6 in float32 is Keras's hard_sigmoid, too."""
    sixth = float(np.float32(1 / 6))
    layer = fr.GRU(3, 4, activations=(("hard_sigmoid", sixth, 0.5), "tanh"), batch_first=True)
    assert keras_options(layer)["recurrent_activation"] == "hard_sigmoid"
