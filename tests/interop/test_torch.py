"""Against PyTorch itself: to 1e-10 in float64, and in float32 as close to that as PyTorch is."""

import numpy as np
import pytest
from cases import KINK, Case, Data, is_smooth, state_parts, variant
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import budget, cases
from tolerance import assert_as_good_as, assert_close

import fastrnn as fr
from fastrnn import reference

torch = pytest.importorskip("torch")
rnn = torch.nn.utils.rnn

pytestmark = pytest.mark.interop

#: The cells that torch has.
CELLS = ["rnn_tanh", "rnn_relu", "lstm", "lstm_proj", "gru"]
FORMS = {"layout": "plain", "unbatched": False, "state": "all", "dstate": "all", "dy": True, "padding": 0.0}


def torch_layer(case, dtype):
    """The layer of ``torch.nn`` that a case describes."""
    names = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
    arguments = {key: value for key, value in case.arguments.items() if key not in ("peephole", "coupled")}
    layer = getattr(torch.nn, names[case.kind])
    return layer(case.I, case.H, batch_first=case.batch_first, dtype=getattr(torch, dtype), **arguments)


def torch_results(data, dtype):
    """Everything that one pass of torch gives, as arrays: name -> array."""
    case, names = data.case, data.case.state_names

    def tensor(array, gradient=True):
        return torch.tensor(array.astype(dtype)).requires_grad_(gradient)

    layer = torch_layer(case, dtype)
    layer.load_state_dict({name: tensor(value, False) for name, value in data.parameters.items()})
    x, parts = tensor(data.x), [tensor(part) for part in data.plain_state(data.state)]
    state = reference.join_state(data.spec, parts)
    if case.lengths is None:
        y, final = layer(x, state)
    else:
        lengths = torch.tensor(case.lengths)
        packed = rnn.pack_padded_sequence(x, lengths, case.batch_first, enforce_sorted=False)
        y, final = layer(packed, state)
        y, _ = rnn.pad_packed_sequence(y, case.batch_first, total_length=case.T)
    final = state_parts(final)
    objective = torch.sum(y * tensor(data.dy, False))
    for part, gradient in zip(final, data.plain_state(data.dstate), strict=True):
        objective = objective + torch.sum(part * tensor(gradient, False))
    objective.backward()
    results = {"y": y, **dict(zip(names, final))}
    gradients = {"dx": x.grad, **{f"d{name}0": part.grad for name, part in zip(names, parts)}}
    gradients |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return tuple({k: v.detach().numpy() for k, v in d.items()} for d in (results, gradients))


def our_results(data):
    """The same of fastrnn."""
    names = data.case.state_names
    layer = data.layer()
    y, state, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    results = {"y": y, **dict(zip(names, data.plain_state(state)))}
    gradients = {"dx": dx, **{f"d{n}0": part for n, part in zip(names, data.plain_state(dstate0))}}
    return results, gradients | dict(layer.grads)


def check(case):
    data = Data(case)
    exact = torch_results(data, "float64")
    peer = exact if case.dtype == "float64" else torch_results(data, "float32")
    ours = our_results(data)
    for kind, result, theirs, expected in zip(("forward", "gradient"), ours, peer, exact):
        assert set(result) == set(expected)
        for name, array in expected.items():
            if case.dtype == "float64":
                assert_close(name, result[name], array, kind, "float64")
            else:
                assert_as_good_as(name, result[name], theirs[name], array, kind)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
@budget(0.5)
@given(st.data())
def test_against_torch(cell, dtype, data):
    """Forward and every gradient; lengths are at least 1, which is all that torch packs."""
    case = data.draw(cases(cell=cell, dtype=dtype, T=data.draw(st.integers(1, 9)), **FORMS))
    if case.lengths is not None:
        case = variant(case, lengths=tuple(max(1, length) for length in case.lengths))
    assume(is_smooth(case, KINK["float32"]))
    check(case)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", sorted(set(CELLS) - {"rnn_relu"}))
def test_long_and_large(cell, dtype):
    check(Case(cell, I=64, H=128, T=100, B=16, dtype=dtype))
    check(Case(cell, I=32, H=256, P=100, L=2, D=2, T=30, B=4, dtype=dtype, lengths=(30, 1, 17, 29)))


@pytest.mark.parametrize("cell", CELLS)
def test_state_dicts_are_exchangeable(cell):
    """Names, shapes and order are torch's, both ways."""
    case = Case(cell, L=2, D=2, dtype="float32")
    layer, other = case.new_layer(), torch_layer(case, "float32")
    assert list(layer.parameters) == [name for name, _ in other.named_parameters()]
    layer.load_state_dict({name: value.numpy() for name, value in other.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((4, 2, case.I)).astype(np.float32)
    with torch.no_grad():
        expected = other(torch.tensor(x))[0].numpy()
    assert_close("y", layer(x)[0], expected, "forward")
    other.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    with torch.no_grad():
        assert_close("y", layer(x)[0], other(torch.tensor(x))[0].numpy(), "forward")


def test_tensors_are_arrays():
    """A CPU tensor is taken as the array it is."""
    layer = fr.GRU(3, 5, rng=0)
    x = torch.arange(24, dtype=torch.float32).reshape(4, 2, 3) / 24
    y, state = layer(x, torch.ones(1, 2, 5), torch.tensor([4, 2]))
    expected_y, expected_state = layer(x.numpy(), np.ones((1, 2, 5)), [4, 2])
    assert np.array_equal(y, expected_y) and np.array_equal(state, expected_state)


def test_initial_values_have_torchs_bound():
    H = 64
    ours = fr.LSTM(10, H, rng=0).parameters
    theirs = dict(torch.nn.LSTM(10, H).named_parameters())
    for name, array in ours.items():
        bound = H**-0.5
        assert np.abs(array).max() <= np.float32(bound)
        assert np.abs(array).std() == pytest.approx(theirs[name].detach().abs().std().item(), rel=0.2)
