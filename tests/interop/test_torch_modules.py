"""``fastrnn.torch`` as modules: copied, saved, in workers and threads, refused, swapped in a model; PyTorch's own checks."""

import copy
import io
import pickle
import threading

import numpy as np
import pytest
from dropins import KINDS, pair, torch
from tolerance import assert_close

import fastrnn as fr

nn, rnn = torch.nn, torch.nn.utils.rnn

pytestmark = pytest.mark.interop


def test_inference_mode():
    ours, theirs = pair("LSTM", 3, 5, batch_first=True)
    x = torch.randn(2, 4, 3)
    with torch.inference_mode():
        y, (h, c) = ours(x)
        expected, _ = theirs(x)
    assert not y.requires_grad
    assert_close("y", y.numpy(), expected.numpy(), "forward")


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies(way):
    ours = fr.torch.LSTM(3, 5, 2)
    x = torch.randn(4, 2, 3)
    y = ours(x)[0]
    if way == "deepcopy":
        twin = copy.deepcopy(ours)
    elif way == "pickle":
        twin = pickle.loads(pickle.dumps(ours))
    else:
        file = io.BytesIO()
        torch.save(ours, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert type(twin) is fr.torch.LSTM and torch.equal(twin(x)[0], y)
    with torch.no_grad():
        twin.weight_hh_l0.mul_(2)
    assert not torch.equal(twin(x)[0], y) and torch.equal(ours(x)[0], y)


class Rows(torch.utils.data.Dataset):
    """A data set whose items a module computes."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 6

    def __getitem__(self, i):
        with torch.no_grad():
            return self.module(torch.full((4, 3), float(i)))[0]


def test_workers_of_a_data_loader():
    module = fr.torch.GRU(3, 5)
    expected = torch.stack([Rows(module)[i] for i in range(6)])
    loader = torch.utils.data.DataLoader(Rows(module), batch_size=6, num_workers=2, multiprocessing_context="fork")
    (batch,) = list(loader)
    assert torch.equal(batch, expected)


def test_threads():
    """Calls and training of one module from several threads."""
    module = fr.torch.GRU(3, 20)
    xs = [torch.randn(30, 2, 3) for _ in range(4)]
    with torch.no_grad():
        expected = [module(x)[0] for x in xs]
    gradients = [torch.autograd.grad(module(x)[0].sum(), module.weight_hh_l0)[0] for x in xs]
    wrong = []

    def work(i):
        for _ in range(20):
            with torch.no_grad():
                same = torch.equal(module(xs[i])[0], expected[i])
            (grad,) = torch.autograd.grad(module(xs[i])[0].sum(), module.weight_hh_l0)
            if not same or not torch.equal(grad, gradients[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- what goes to PyTorch -----------------------------------------------------------------------


def test_what_is_not_computed_here_is_pytorchs():
    ours, theirs = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    half, plain = copy.deepcopy(ours).bfloat16(), copy.deepcopy(theirs).bfloat16()
    assert torch.equal(half(x.bfloat16())[0], plain(x.bfloat16())[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x)[0], theirs(x)[0])
    assert ours.to("meta")(x.to("meta"))[0].shape == (4, 2, 5)
    ours, theirs = pair("GRU", 3, 5)
    traced = torch.jit.trace(ours, x)
    assert "gru" in str(traced.graph)
    weights = dict(theirs.named_parameters())
    loss = lambda module: lambda w, x: torch.func.functional_call(module, w, (x,))[0].sum()  # noqa: E731
    for name, grad in torch.func.grad(loss(ours))(weights, x).items():
        assert torch.allclose(grad, torch.func.grad(loss(theirs))(weights, x)[name])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangents = [torch.autograd.forward_ad.unpack_dual(module(dual)[0]).tangent for module in (ours, theirs)]
    assert torch.equal(*tangents)


BAD = {
    "one axis": lambda: (torch.zeros(3),),
    "four axes": lambda: (torch.zeros(2, 2, 2, 3),),
    "width": lambda: (torch.zeros(2, 2, 4),),
    "no steps": lambda: (torch.zeros(0, 2, 3),),
    "dtype": lambda: (torch.zeros(2, 2, 3).double(),),
    "integers": lambda: (torch.zeros(2, 2, 3).long(),),
    "state axes": lambda: (torch.zeros(2, 2, 3), torch.zeros(1, 5)),
    "state batch": lambda: (torch.zeros(2, 2, 3), torch.zeros(1, 3, 5)),
    "state layers": lambda: (torch.zeros(2, 2, 3), torch.zeros(2, 2, 5)),
    "state of a tuple": lambda: (torch.zeros(2, 2, 3), (torch.zeros(1, 2, 5),)),
    "packed width": lambda: (rnn.pack_sequence([torch.zeros(2, 4)]),),
    "None": lambda: (None,),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_are_pytorchs(case):
    ours, theirs = pair("GRU", 3, 5)
    with pytest.raises(Exception) as expected:
        theirs(*BAD[case]())
    with pytest.raises(type(expected.value)) as caught:
        ours(*BAD[case]())
    assert str(caught.value) == str(expected.value)


# ---- models -------------------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8, padding_idx=0), nn.Linear(24, 5)
        self.rnn = nn.LSTM(8, 12, 2, bidirectional=True, batch_first=True)

    def forward(self, codes, lengths):
        packed = rnn.pack_padded_sequence(self.embedding(codes), lengths, batch_first=True, enforce_sorted=False)
        y, _ = rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(y)


def train(model, steps=15):
    """The losses of a training script."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(steps):
        lengths = torch.randint(1, 9, (6,), generator=generator)
        codes = torch.randint(1, 20, (6, int(lengths.max())), generator=generator)
        codes[torch.arange(codes.shape[1]) >= lengths[:, None]] = 0
        loss = nn.functional.cross_entropy(model(codes, lengths).flatten(0, 1), (codes % 5).flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_accelerate_and_restore():
    torch.manual_seed(0)
    model = Tagger().double()
    twin, weights = copy.deepcopy(model), dict(model.named_parameters())
    kept = model.rnn
    assert fr.interop.torch.accelerate(model) is model
    assert type(model.rnn) is fr.torch.LSTM and model.rnn is kept and type(model.head) is nn.Linear
    assert all(p is weights[name] for name, p in model.named_parameters())
    theirs, ours = train(twin), train(model)
    assert ours[-1] < 0.7 * ours[0]
    assert_close("loss", np.array(ours), np.array(theirs), "numeric")
    assert type(fr.torch.restore(model).rnn) is nn.LSTM
    codes, lengths = torch.randint(1, 20, (2, 5)), torch.tensor([5, 3])
    again = model(codes, lengths)
    fr.torch.accelerate(model)
    assert_close("y", model(codes, lengths).detach().numpy(), again.detach().numpy(), "forward")


def test_accelerate_leaves_subclasses_alone():
    class Own(nn.GRU):
        def forward(self, x):
            return super().forward(x)[0]

    model = nn.ModuleList([Own(2, 3), nn.GRU(2, 3), nn.GRUCell(2, 3)])
    fr.torch.accelerate(model)
    assert [type(module) for module in model] == [Own, fr.torch.GRU, nn.GRUCell]
    root = nn.RNN(2, 3)
    assert fr.torch.accelerate(root) is root and type(root) is fr.torch.RNN


# ---- PyTorch's own checks of modules --------------------------------------------------------------


def module_infos():
    pytest.importorskip("expecttest")
    from torch.testing._internal import common_modules

    return {info.module_cls.__name__: info for info in common_modules.module_db if info.module_cls in (nn.RNN, nn.LSTM, nn.GRU)}


def flat(value):
    return [t for item in value for t in flat(item)] if isinstance(value, (tuple, list)) else [value]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_pytorchs_samples(kind, training):
    """Forward against PyTorch's module and its reference function; gradients by gradcheck."""
    info = module_infos()[kind]
    samples = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
    assert len(samples) > 8
    for sample in samples:
        arguments = sample.constructor_input
        ours, theirs = pair(kind, *arguments.args, **arguments.kwargs, dtype=torch.float64)
        given = sample.forward_input.args
        results = flat(ours(*given))
        for result, expected in zip(results, flat(theirs(*given)), strict=True):
            assert_close("output", result.detach().numpy(), expected.detach().numpy(), "forward")
        for result, expected in zip(results, flat(sample.reference_fn(ours, *given)), strict=True):
            assert torch.equal(result, expected)
        leaves = [tensor.detach().requires_grad_() for tensor in flat(given)]

        def function(x, *rest, module=ours, count=len(leaves) - 1):
            hx = rest[:count] if kind == "LSTM" else rest[0] if count else None
            return tuple(flat(module(x, hx if count else None)))

        assert torch.autograd.gradcheck(function, (*leaves, *ours.parameters()), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_pytorchs_error_inputs(kind, dtype):
    info = module_infos()[kind]
    samples = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=False)
    assert len(samples) > 5
    for sample in samples:
        arguments, forward = sample.module_error_input.constructor_input, sample.module_error_input.forward_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            module = getattr(fr.torch, kind)(*arguments.args, **arguments.kwargs)
            module(*forward.args)
