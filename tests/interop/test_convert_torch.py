"""Round trips PyTorch -> fastrnn -> each format -> back, bit for bit, and files of the ``safetensors`` package."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import convert, read_npz, read_pt, read_safetensors, write_npz, write_pt, write_safetensors
from fastrnn.interop.torch import from_module, to_module

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.numpy")
keras = pytest.importorskip("keras")
nn = torch.nn

pytestmark = pytest.mark.interop


def same(found, expected):
    """Two state dicts, of arrays or tensors."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert_same_bits(name, np.asarray(found[name]), np.asarray(array))


def random_bits(module):
    """Weights with all kinds of bits: tiny, large, negative zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(torch.exp(8 * torch.randn_like(parameter))).masked_fill_(torch.rand_like(parameter) < 0.1, -0.0)
    return module


def layers():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        for bidirectional in (False, True):
            options = {"num_layers": 2, "bidirectional": bidirectional, "dtype": dtype}
            yield nn.RNN(3, 4, **options)
            yield nn.LSTM(3, 4, **options, bias=False)
            yield nn.LSTM(3, 4, **options)
            yield nn.GRU(3, 4, **options)
    yield nn.LSTM(3, 5, proj_size=2, num_layers=2)
    yield nn.Sequential(nn.Embedding(9, 4), nn.GRU(4, 5, bidirectional=True), nn.Linear(10, 2))


LAYERS = list(map(random_bits, layers()))


@pytest.mark.parametrize("module", LAYERS, ids=str)
def test_formats_that_hold_every_bit(tmp_path, module):
    """PyTorch's own ``state_dict`` there and back, and PyTorch reads what was written."""
    layer = from_module(module)
    fr.save(tmp_path / "a.safetensors", layer)
    same(to_module(fr.load(tmp_path / "a.safetensors")).state_dict(), module.state_dict())
    for ending, write, read in ((".npz", write_npz, read_npz), (".pt", write_pt, read_pt),
                                (".safetensors", write_safetensors, lambda path: read_safetensors(path)[0])):  # fmt: skip
        path = tmp_path / f"b{ending}"
        write(path, layer.state_dict())
        same(read(path), module.state_dict())
        convert(path, tmp_path / "c.pt")
        loaded = torch.load(tmp_path / "c.pt", weights_only=True)
        same(loaded, module.state_dict())
        module.load_state_dict(loaded)


def without_projection():
    return [module for module in LAYERS if not getattr(module, "proj_size", 0)]


@pytest.mark.parametrize("module", without_projection(), ids=str)
def test_keras_holds_every_bit_but_one_bias(tmp_path, module):
    """The sum of two biases is kept where Keras has one."""
    layer = from_module(module)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    options = {"nonlinearity": "tanh"} if "RNN" in str(module) else {}
    if isinstance(module, nn.Sequential):
        fr.save(tmp_path / "a.safetensors", layer)
    source = tmp_path / ("a.safetensors" if isinstance(module, nn.Sequential) else "a.pt")
    done = convert(source, tmp_path / "b.keras", **options)
    assert list(done.module.parameters) == list(module.state_dict())
    convert(tmp_path / "b.keras", tmp_path / "c.pt")
    loaded, expected = torch.load(tmp_path / "c.pt", weights_only=True), dict(module.state_dict())
    if not isinstance(module, nn.Sequential):
        loaded = {name.removeprefix("0."): tensor for name, tensor in loaded.items()}
    if type(module) in (nn.RNN, nn.LSTM):
        for name, tensor in module.state_dict().items():
            other = module.state_dict()[name.replace("_hh", "_ih") if "_hh" in name else name.replace("_ih", "_hh")]
            if name.startswith("bias"):
                both = torch.where(other == 0, tensor, tensor + other)
                expected[name] = both if "_ih" in name else torch.zeros_like(tensor)
    same(loaded, expected)
    module.load_state_dict(loaded)


def test_what_keras_does_not_have_is_refused(tmp_path):
    torch.save(nn.LSTM(3, 5, proj_size=2).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="LSTM: Keras has no proj_size=2"):
        convert(tmp_path / "a.pt", tmp_path / "b.keras")
    assert not (tmp_path / "b.keras").exists()


# ---- the safetensors package --------------------------------------------------------------------

NAMES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


@budget(0.5)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.integers(0, 3), max_size=4)), max_size=6),
       st.dictionaries(st.sampled_from(["a", "ü", "note"]), st.text(st.characters(codec="utf-8"), max_size=9)))  # fmt: skip
def test_files_both_ways(tmp_path_factory, kinds, metadata):
    rng = np.random.default_rng(0)
    arrays = {f"{i}.ü": np.asarray(100 * rng.random(shape)).astype(dtype) for i, (dtype, shape) in enumerate(kinds)}
    folder = tmp_path_factory.mktemp("both")
    safetensors.save_file(arrays, folder / "a", metadata or None)
    for mapped in (True, False):
        found, also = read_safetensors(folder / "a", mapped=mapped)
        assert set(found) == set(arrays) and also == metadata
        same({name: found[name] for name in arrays}, arrays)
    write_safetensors(folder / "b", arrays, metadata)
    found = safetensors.load_file(folder / "b")
    same({name: found[name] for name in arrays}, arrays)
    with safetensors.safe_open(folder / "b", "np") as file:
        assert (file.metadata() or {}) == metadata


@pytest.mark.parametrize("module", LAYERS[:5], ids=str)
def test_files_of_torch_modules(tmp_path, module):
    from safetensors.torch import load_file, save_file

    save_file(module.state_dict(), tmp_path / "a.safetensors")
    layer = from_module(type(module)(3, 4, num_layers=2, bias=module.bias, bidirectional=module.bidirectional,
                                     dtype=module.weight_ih_l0.dtype))  # fmt: skip
    layer.load_state_dict(read_safetensors(tmp_path / "a.safetensors")[0])
    fr.save(tmp_path / "b.safetensors", layer)
    found = load_file(tmp_path / "b.safetensors")
    same({name: found[name] for name in module.state_dict()}, module.state_dict())
