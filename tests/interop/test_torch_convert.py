"""``from_module``, ``to_module`` and ``read_pt`` against PyTorch: same bits, same results, both ways."""

import copy
import re

import numpy as np
import pt_files
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_as_good_as, assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.interop import read_pt
from fastrnn.interop.torch import from_module, to_module

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.interop


def same_weights(ours, theirs, drop=""):
    """Every parameter of either is in the other, with its bits."""
    named = {name + drop: tensor for name, tensor in theirs.named_parameters()}
    assert list(ours.parameters) == list(named)
    for name, tensor in named.items():
        assert_same_bits(name, ours.parameters[name], tensor.detach().numpy())


@st.composite
def layers(draw):
    """A recurrent module of PyTorch with any options."""
    kind = draw(st.sampled_from(["RNN", "LSTM", "GRU"]))
    options = {"num_layers": draw(st.integers(1, 3)), "dtype": draw(st.sampled_from([torch.float32, torch.float64]))}
    options |= {name: draw(st.booleans()) for name in ("bias", "batch_first", "bidirectional")}
    if options["num_layers"] > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.3]))
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM":
        options["proj_size"] = draw(st.sampled_from([0, 3]))
    return getattr(nn, kind)(draw(st.integers(1, 9)), draw(st.integers(4, 9)), **options)


def check_call(ours, theirs, x):
    with torch.no_grad():
        expected, final = theirs.eval()(torch.tensor(x))
        exact, exact_final = copy.deepcopy(theirs).double().eval()(torch.tensor(x).double())
    y, state = ours(x)
    pairs = [("y", y, expected, exact)]
    tuples = [value if isinstance(value, tuple) else (value,) for value in (state, final, exact_final)]
    pairs += [("state", *parts) for parts in zip(*tuples, strict=True)]
    for name, result, peer, right in pairs:
        if result.dtype == np.float64:
            assert_close(name, result, right.numpy(), "forward")
        else:
            assert_as_good_as(name, result, peer.numpy(), right.numpy(), "forward")


@budget(0.5)
@given(layers())
def test_layers(theirs):
    ours = from_module(theirs)
    same_weights(ours, theirs)
    config = ours._config()
    for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert config[name] == getattr(theirs, name)
    x = np.random.default_rng(0).standard_normal((4, 2, theirs.input_size)).astype(config["dtype"])
    check_call(ours, theirs, x)
    back = to_module(ours)
    assert type(back) is type(theirs) and repr(back) == repr(theirs)
    for (name, one), (also, two) in zip(back.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == also and one.dtype == two.dtype and one.requires_grad
        assert_same_bits(name, one.detach().numpy(), two.detach().numpy())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind, options", [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}),
                                           ("GRUCell", {})])  # fmt: skip
def test_cells(kind, options, bias, dtype):
    theirs = getattr(nn, kind)(3, 5, bias=bias, dtype=dtype, **options)
    ours = from_module(theirs)
    same_weights(ours, theirs, "_l0")
    x = torch.randn(2, 3, dtype=dtype)
    with torch.no_grad():
        expected = theirs(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close("y", ours.stream(2).step(x.numpy()), expected.numpy(), "forward")
    back = to_module(ours, cell=True)
    assert type(back) is type(theirs) and repr(back) == repr(theirs)
    same_weights(ours, back, "_l0")


def test_blocks():
    for theirs in (nn.Linear(3, 4), nn.Linear(3, 4, bias=False, dtype=torch.float64)):
        ours = from_module(theirs)
        same_weights(ours, theirs)
        same_weights(ours, to_module(ours))
        assert repr(to_module(ours)) == repr(theirs)
    assert from_module(nn.Dropout(0.3)).p == 0.3 and to_module(fr.Dropout(0.3)).p == 0.3


@pytest.mark.parametrize("padding_idx", [None, 0, 4, -1])
def test_embeddings(padding_idx):
    """The row of padding gets no gradient; nor does it through a layer's table."""
    theirs = nn.Embedding(5, 3, padding_idx, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.add_(1)
    ours = from_module(theirs)
    same_weights(ours, theirs)
    again = to_module(ours)
    assert repr(again) == repr(theirs) and repr(from_module(again)) == repr(ours)
    codes = np.random.default_rng(0).integers(0, 5, (30, 2))
    y = theirs(torch.tensor(codes))
    (y * y).sum().backward()
    result, pullback = ours.vjp(codes)
    pullback(2 * result)
    assert_close("weight", ours.grads["weight"], theirs.weight.grad.numpy(), "gradient")

    theirs.zero_grad()
    ours.zero_grad()
    layer = nn.GRU(3, 4, dtype=torch.float64)
    y, _ = layer(theirs(torch.tensor(codes)))
    y.sum().backward()
    model = fr.Sequential(ours, from_module(layer))
    result, pullback = model.vjp(codes)
    pullback(np.ones_like(result))
    assert_close("weight", ours.grads["weight"], theirs.weight.grad.numpy(), "gradient")


def test_sequential():
    shared = nn.Linear(4, 4)
    theirs = nn.Sequential(nn.Embedding(7, 4), nn.LSTM(4, 4, bidirectional=False), shared, nn.Dropout(0.1), shared)
    ours = from_module(theirs)
    assert [type(module).__name__ for module in ours] == ["Embedding", "LSTM", "Linear", "Dropout", "Linear"]
    assert ours[2] is ours[4]
    assert set(ours.parameters) == set(theirs.state_dict())
    back = to_module(ours)
    assert back[2] is back[4] and type(back) is fr.torch.Sequential
    theirs.load_state_dict(back.state_dict())
    codes = torch.randint(7, (5, 2))
    with torch.no_grad():
        assert_close("y", ours(codes.numpy()), back.eval()(codes).numpy(), "forward")
    assert type(from_module(back)) is fr.Sequential


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype):
    theirs = nn.GRU(3, 4).to(dtype)
    ours = from_module(theirs)
    same_weights(ours, theirs.float())


def test_conversion_is_a_copy():
    theirs = nn.GRU(3, 4)
    ours = from_module(theirs)
    before = ours.state_dict()
    with torch.no_grad():
        theirs.weight_hh_l0.mul_(2)
    back = to_module(ours)
    with torch.no_grad():
        back.weight_hh_l0.mul_(3)
    for name, array in before.items():
        assert_same_bits(name, ours.parameters[name], array)


def test_conversion_draws_nothing():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    to_module(fr.Sequential(fr.Embedding(3, 4), fr.LSTM(4, 5), fr.Linear(5, 2)))
    assert torch.equal(torch.rand(3), expected)


def test_modules_of_the_drop_in_convert_too():
    theirs = fr.torch.LSTM(3, 4, proj_size=2)
    same_weights(from_module(theirs), theirs)


class Own(nn.GRU):
    pass


REFUSED = {
    "own class": (lambda: from_module(Own(2, 3)), TypeError, "expected one of RNN, .*type Own"),
    "other": (lambda: from_module(nn.Conv1d(2, 3, 1)), TypeError, "Conv1d"),
    "inside": (lambda: from_module(nn.Sequential(nn.Linear(2, 3), nn.ReLU())), TypeError, "ReLU"),
    "not a module": (lambda: from_module(3), TypeError, "got 3"),
    "max_norm": (lambda: from_module(nn.Embedding(3, 2, max_norm=1.0)), ValueError, "fastrnn has no max_norm=1.0"),
    "by frequency": (lambda: from_module(nn.Embedding(3, 2, scale_grad_by_freq=True)), ValueError, "scale_grad_by_freq"),
    "complex": (lambda: from_module(nn.Linear(2, 3, dtype=torch.complex64)), ValueError, "complex64"),
    "another cell": (lambda: to_module(fr.MGU(2, 3)), TypeError, "MGU"),
    "nonlinearity": (lambda: to_module(fr.RNN(2, 3, nonlinearity="elu")), ValueError, "no nonlinearity='elu'"),
    "residual": (lambda: to_module(fr.RNN(2, 3, residual=True)), ValueError, "residual"),
    "peephole": (lambda: to_module(fr.LSTM(2, 3, peephole=True)), ValueError, "LSTM: torch.nn has no peephole=True"),
    "coupled": (lambda: to_module(fr.LSTM(2, 3, coupled=True)), ValueError, "coupled"),
    "activations": (lambda: to_module(fr.LSTM(2, 3, activations=("sigmoid", "relu", "tanh"))), ValueError, "activations"),
    "reset": (lambda: to_module(fr.GRU(2, 3, reset_after=False)), ValueError, "reset_after=False, only True"),
    "clip": (lambda: to_module(fr.GRU(2, 3, clip=1.0)), ValueError, "clip"),
    "layer_norm": (lambda: to_module(fr.GRU(2, 3, layer_norm=True)), ValueError, "layer_norm"),
    "zoneout": (lambda: to_module(fr.GRU(2, 3, zoneout=0.1)), ValueError, "zoneout"),
    "input_dropout": (lambda: to_module(fr.GRU(2, 3, input_dropout=0.1)), ValueError, "input_dropout"),
    "weight_drop": (lambda: to_module(fr.GRU(2, 3, weight_drop=0.1)), ValueError, "weight_drop"),
    "merge": (lambda: to_module(fr.GRU(2, 3, bidirectional=True, merge="sum")), ValueError, "merge"),
    "skip": (lambda: to_module(fr.GRU(2, 3, skip="residual")), ValueError, "skip"),
    "learn_state": (lambda: to_module(fr.GRU(2, 3, learn_state=True)), ValueError, "learn_state"),
    "cell states": (lambda: to_module(fr.LSTM(2, 3, return_cell_states=True)), ValueError, "return_cell_states"),
    "inside, to": (lambda: to_module(fr.Sequential(fr.GRU(2, 3, clip=1.0))), ValueError, "clip"),
    "cell of two layers": (lambda: to_module(fr.GRU(2, 3, 2), cell=True), ValueError, "GRUCell: .* num_layers=2"),
    "cell of both": (lambda: to_module(fr.GRU(2, 3, bidirectional=True), cell=True), ValueError, "bidirectional"),
    "cell projected": (lambda: to_module(fr.LSTM(2, 3, proj_size=2), cell=True), ValueError, "proj_size"),
    "cell of a block": (lambda: to_module(fr.Linear(2, 3), cell=True), TypeError, "Linear"),
    "cell text": (lambda: to_module(fr.GRU(2, 3), cell="yes"), TypeError, "cell: "),
    "model": (lambda: fr.torch.accelerate(3), TypeError, "model: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_other_does_not_have_is_refused(case):
    function, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        function()


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", [True, False])
def test_state_dicts(tmp_path, archive):
    theirs = nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 4, 2, bidirectional=True), nn.Linear(8, 2))
    path = tmp_path / "x.pt"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=archive)
    found = read_pt(path)
    assert list(found) == list(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert_same_bits(name, found[name], tensor.numpy())
    ours = from_module(theirs)
    ours.load_state_dict(found)


def tensors():
    """Of all dtypes and forms."""
    names = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64",
             "bool", "complex64", "complex128")  # fmt: skip
    values = torch.tensor([0, 1, 5, 100])
    made = {name: values.to(getattr(torch, name)) for name in names}
    whole = torch.arange(24.0).reshape(4, 6)
    return made | {
        "turned": whole.T, "part": whole[1:3, ::2], "empty": torch.empty(0, 3), "scalar": torch.tensor(3.5),
        "parameter": nn.Parameter(torch.ones(2)), "channels": torch.rand(2, 3, 4).permute(2, 0, 1),
    }  # fmt: skip


@pytest.mark.parametrize("archive", [True, False])
def test_all_kinds_of_tensors(tmp_path, archive):
    saved = tensors()
    if not archive:  # that format has no storages of these
        saved = {name: tensor for name, tensor in saved.items() if name not in ("uint16", "uint32", "uint64")}
    path = tmp_path / "x.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=archive)
    found = read_pt(path)
    assert list(found) == list(saved)
    for name, tensor in saved.items():
        pt_files.same_bits(name, found[name], tensor.detach().numpy())


def test_bfloat16(tmp_path):
    saved = torch.randn(50).bfloat16()
    torch.save(saved, tmp_path / "x.pt")
    assert_same_bits("a", read_pt(tmp_path / "x.pt"), saved.float().numpy())


def test_a_checkpoint(tmp_path):
    theirs = nn.GRU(3, 4)
    optimiser = torch.optim.AdamW(theirs.parameters())
    theirs(torch.ones(2, 1, 3))[0].sum().backward()
    optimiser.step()
    torch.save({"model": theirs.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3}, tmp_path / "x.pt")
    found = read_pt(tmp_path / "x.pt")
    assert found["epoch"] == 3 and found["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    expected = optimiser.state_dict()["state"][1]["exp_avg"].numpy()
    assert_same_bits("exp_avg", found["optimizer"]["state"][1]["exp_avg"], expected)


def test_whole_modules_are_refused(tmp_path):
    torch.save(nn.GRU(3, 4), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="names 'torch.nn.modules.rnn.GRU'"):
        read_pt(tmp_path / "x.pt")
    torch.jit.script(nn.Linear(2, 3)).save(str(tmp_path / "script.pt"))
    with pytest.raises(ValueError, match="script.pt: "):
        read_pt(tmp_path / "script.pt")


def test_files_made_by_hand_are_pytorchs(tmp_path):
    """What the other tests of the reader are made from."""
    path, arrays = tmp_path / "x.pt", pt_files.example()
    path.write_bytes(pt_files.state_dict_file(arrays))
    found = torch.load(path, weights_only=True)
    for name, array in arrays.items():
        assert_same_bits(name, found[name].numpy(), array)
