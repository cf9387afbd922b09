"""``fastrnn.torch``: outputs and gradients are those of PyTorch's modules, whatever becomes of the weights."""

import copy
import warnings

import numpy as np
import pytest
from dropins import KINDS, pair, parts, torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_as_good_as, assert_close, assert_same_bits

import fastrnn as fr

nn, rnn = torch.nn, torch.nn.utils.rnn

pytestmark = pytest.mark.interop


def computed(module, x, state, lengths, seed, only=None):
    """Outputs and gradients of one pass with random gradients coming back: name -> array."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    state = None if state is None else tuple(s.clone().requires_grad_() for s in state)
    hx = state if state is None or module.mode == "LSTM" else state[0]
    given = x if lengths is None else rnn.pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=False)
    y, final = module(given, hx)
    results = {f"state {i}": s for i, s in enumerate(parts(final))} | {"y": y if lengths is None else y.data}
    generator = torch.Generator().manual_seed(seed)
    chosen = {name: r for name, r in sorted(results.items()) if only is None or name in only}
    sum((r * torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r.dtype)).sum() for r in chosen.values()).backward()
    inputs = {"dx": x, **{f"dstate {i}": s for i, s in enumerate(state or ())}}
    grads = {name: t.grad for name, t in {**inputs, **dict(module.named_parameters())}.items()}
    if lengths is not None:
        results |= {"batch_sizes": y.batch_sizes, "sorted": y.sorted_indices, "unsorted": y.unsorted_indices}
    clean = lambda tensors: {n: None if t is None else t.detach().numpy() for n, t in tensors.items()}  # noqa: E731
    return clean(results), clean(grads)


@st.composite
def calls(draw):
    """Module, sizes, options and the form of a call."""
    kind = draw(st.sampled_from(KINDS))
    options = {name: draw(st.booleans()) for name in ("bias", "batch_first", "bidirectional")}
    options |= {"num_layers": draw(st.integers(1, 3))}
    H = draw(st.integers(2, 9))
    if kind == "LSTM":
        options["proj_size"] = draw(st.sampled_from([0, 1]))
    form = draw(st.sampled_from(["batched", "batched", "unbatched", "packed", "packed"]))
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(1, T), min_size=B, max_size=B)) if form == "packed" else None
    if lengths:
        lengths[draw(st.integers(0, B - 1))] = T
    only = draw(st.sampled_from([None, None, ["y"], ["state 0"]]))
    return kind, draw(st.integers(1, 7)), H, options, form, T, B, lengths, draw(st.booleans()), only, draw(st.integers(0, 999))


def inputs_of(module, form, T, B, with_state, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    axes = (T,) if form == "unbatched" else (B, T) if module.batch_first else (T, B)
    rows = module.num_layers * (2 if module.bidirectional else 1)
    widths = (module.proj_size or module.hidden_size, module.hidden_size)[: 2 if module.mode == "LSTM" else 1]
    batch = () if form == "unbatched" else (B,)
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    return make(*axes, module.input_size), tuple(make(rows, *batch, w) for w in widths) if with_state else None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(call=calls())
def test_outputs_and_gradients(dtype, call):
    kind, I, H, options, form, T, B, lengths, with_state, only, seed = call
    torch.manual_seed(seed)
    ours, theirs = pair(kind, I, H, dtype=dtype, **options)
    exact = copy.deepcopy(theirs).double()
    x, state = inputs_of(theirs, form, T, B, with_state, seed, dtype)
    wide = None if state is None else tuple(s.double() for s in state)
    right = computed(exact, x.double(), wide, lengths, seed, only)
    for kind, result, peer, expected in zip(("forward", "gradient"), computed(ours, x, state, lengths, seed, only),
                                            computed(theirs, x, state, lengths, seed, only), right):  # fmt: skip
        assert list(result) == list(expected)
        for name, array in expected.items():
            if array is None:
                assert result[name] is None
            elif array.dtype != np.float64:
                assert np.array_equal(result[name], array)  # batch sizes and orders
            elif dtype is torch.float64:
                assert_close(name, result[name], array, kind, "float64")
            else:
                assert_as_good_as(name, result[name], peer[name], array, kind)


def test_it_is_this_engine_that_computes():
    """And PyTorch's own forward is not called."""
    for kind in KINDS:
        ours, theirs = pair(kind, 3, 5)
        type(theirs).forward, before = None, type(theirs).forward
        try:
            y, _ = ours(torch.ones(4, 2, 3))
        finally:
            type(theirs).forward = before
        layer = fr.interop.torch.from_module(theirs)
        assert_same_bits("y", y.detach().numpy(), layer(np.ones((4, 2, 3), np.float32))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_pytorchs_modules(kind):
    ours, theirs = pair(kind, 3, 5, 2, bidirectional=True)
    assert isinstance(ours, getattr(nn, kind)) and repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.manual_seed(0)
    one = getattr(nn, kind)(3, 5)
    torch.manual_seed(0)
    two = getattr(fr.torch, kind)(3, 5)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_copies():
    """Inference shares memory with what the engine made, training with what comes in."""
    module = fr.torch.GRU(3, 5)
    from fastrnn.interop import _torch_run

    x = torch.ones(4, 2, 3)
    assert _torch_run.readable(x).ctypes.data == x.data_ptr() and not _torch_run.readable(x).flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of arrays that are read-only
        y, h = module(x)
        y.sum().backward()
        with torch.no_grad():
            y, h = module(x)
    y.zero_(), h.zero_()
    assert x.eq(1).all()


@pytest.mark.parametrize("B", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_empty_batches(kind, B):
    ours = getattr(fr.torch, kind)(3, 4)
    x = torch.zeros(5, B, 3, requires_grad=True)
    y, state = ours(x)
    assert y.shape == (5, B, 4) and parts(state)[0].shape == (1, B, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape and ours.weight_ih_l0.grad.shape == ours.weight_ih_l0.shape


# ---- weights that change ------------------------------------------------------------------------

CHANGES = {
    "data": lambda m: m.weight_hh_l0.data.mul_(2),
    "numpy": lambda m: np.multiply(m.weight_ih_l0.detach().numpy(), 2, out=m.weight_ih_l0.detach().numpy()),
    "one bit": lambda m: m.bias_hh_l0.data.view(torch.int32)[3:4].bitwise_xor_(1 << 22),
    "new parameter": lambda m: setattr(m, "bias_ih_l0", nn.Parameter(m.bias_ih_l0.detach() + 1)),
    "state dict": lambda m: m.load_state_dict({n: t + 1 for n, t in m.state_dict().items()}),
    "reset": lambda m: m.reset_parameters(),
    "optimiser": lambda m: ([setattr(p, "grad", torch.ones_like(p)) for p in m.parameters()],
                            torch.optim.SGD(m.parameters(), 0.1).step()),
    "double": lambda m: m.double().float().weight_hh_l0.data.add_(1),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_weights_is_missed(change, training):
    ours, theirs = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    with torch.set_grad_enabled(training):
        before = ours(x)[0]
        assert torch.equal(ours(x)[0], before)
        CHANGES[change](ours)
        after = ours(x)[0]
        theirs.load_state_dict(ours.state_dict())
        assert not torch.equal(after, before)
        assert_close("y", after.detach().numpy(), theirs(x)[0].detach().numpy(), "forward")


def test_a_change_by_another_process():
    ours, theirs = pair("LSTM", 3, 5)
    ours.share_memory()
    x = torch.randn(4, 2, 3)
    with torch.no_grad():
        before = ours(x)[0]
        context = torch.multiprocessing.get_context("fork")
        process = context.Process(target=lambda: ours.weight_hh_l0.data.mul_(2))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        theirs.load_state_dict(ours.state_dict())
        assert not torch.equal(ours(x)[0], before)
        assert_close("y", ours(x)[0].numpy(), theirs(x)[0].numpy(), "forward")


def test_shared_weights_and_replaced_ones():
    """Two modules of the same weights, and ``functional_call``."""
    one, two = fr.torch.GRU(3, 5), fr.torch.GRU(3, 5)
    for name, parameter in one.named_parameters():
        setattr(two, name, parameter)
    x = torch.randn(4, 2, 3)
    one.weight_hh_l0.data.mul_(2)
    assert torch.equal(one(x)[0], two(x)[0])
    (one(x)[0].sum() + two(x)[0].sum()).backward()
    assert len(list(nn.ModuleList([one, two]).parameters())) == 4

    doubled = {name: (2 * p).detach().requires_grad_() for name, p in one.named_parameters()}
    y, _ = torch.func.functional_call(one, doubled, (x,))
    plain, _ = one(x)  # between the call and its backward pass
    y.sum().backward()
    theirs = nn.GRU(3, 5)
    expected, _ = torch.func.functional_call(theirs, {n: p.detach().requires_grad_() for n, p in doubled.items()}, (x,))
    assert_close("y", y.detach().numpy(), expected.detach().numpy(), "forward")
    theirs.load_state_dict({n: p.detach() for n, p in doubled.items()})
    theirs(x)[0].sum().backward()
    for name, p in theirs.named_parameters():
        assert_close(name, doubled[name].grad.numpy(), p.grad.numpy(), "gradient")
    assert not torch.equal(plain, y)


def test_freeze():
    ours, theirs = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    with torch.inference_mode():
        before = ours(x)[0]
    assert ours.freeze() is ours
    ours.weight_hh_l0.data.mul_(2)
    with torch.inference_mode():
        assert torch.equal(ours(x)[0], before)
    for give in (lambda: ours(x), lambda: ours(x.requires_grad_())):
        with pytest.raises(RuntimeError, match="is frozen: call it under"):
            give()
    with torch.no_grad():
        assert torch.equal(ours(x)[0], before)
    twin = copy.deepcopy(ours)
    assert ours.unfreeze() is ours
    theirs.load_state_dict(ours.state_dict())
    for module in (ours, twin):
        assert_close("y", module(x)[0].detach().numpy(), theirs(x)[0].detach().numpy(), "forward")


def test_freeze_refuses_dropout_and_what_is_not_computed_here():
    module = fr.torch.LSTM(3, 5, 2, dropout=0.5).freeze()
    with torch.no_grad(), pytest.raises(RuntimeError, match="with dropout"):
        module(torch.ones(2, 1, 3))
    with torch.no_grad():
        module.eval()(torch.ones(2, 1, 3))
    with pytest.raises(RuntimeError, match="bfloat16"):
        fr.torch.GRU(3, 5, dtype=torch.bfloat16).freeze()


# ---- autograd -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"batch_first": True, "bias": False}],
                         ids=["plain", "deep", "no bias"])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind, options):
    torch.manual_seed(0)
    module = getattr(fr.torch, kind)(2, 3, dtype=torch.float64, **options)
    x, state = inputs_of(module, "batched", 3, 2, True, 0, torch.float64)
    leaves = [x.requires_grad_(), *(s.requires_grad_() for s in state)]
    weights = list(module.parameters())

    def function(x, *rest):
        hx = rest[: len(state)] if kind == "LSTM" else rest[0]
        y, final = module(x, hx)
        return (y, *parts(final))

    assert torch.autograd.gradcheck(function, (*leaves, *weights))


def test_outputs_may_be_changed_in_place():
    ours, theirs = pair("GRU", 3, 5)
    for module in (ours, theirs):
        y, h = module(torch.ones(4, 2, 3))
        y.mul_(3)
        h.data.zero_()
        y.data.add_(1)
        (y**2).sum().backward()
    for name, p in theirs.named_parameters():
        assert_close(name, ours.get_parameter(name).grad.numpy(), p.grad.numpy(), "gradient")


@pytest.mark.parametrize("change", ["input", "weight"])
def test_what_backward_needs_may_not(change):
    module = fr.torch.GRU(3, 5)
    x = torch.ones(4, 2, 3)
    y, _ = module(x)
    with torch.no_grad():
        (x if change == "input" else module.weight_hh_l0).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_many_passes():
    """Twice through one graph, two graphs at once, gradients that add up."""
    ours, theirs = pair("LSTM", 3, 5)
    for module in (ours, theirs):
        x = torch.ones(4, 2, 3)
        first, second = module(x)[0], module(2 * x)[0]
        first.sum().backward(retain_graph=True)
        second.sum().backward()
        (2 * first).sum().backward()
        with pytest.raises(RuntimeError, match="second time"):
            first.sum().backward()
    for name, p in theirs.named_parameters():
        assert_close(name, ours.get_parameter(name).grad.numpy(), p.grad.numpy(), "gradient")


def test_only_what_is_needed():
    module = fr.torch.GRU(3, 5)
    module.weight_ih_l0.requires_grad_(False)
    x = torch.ones(4, 2, 3)
    module(x)[0].sum().backward()
    assert module.weight_ih_l0.grad is None and module.weight_hh_l0.grad is not None and x.grad is None
    module.requires_grad_(False)
    assert not module(x)[0].requires_grad and module(x.requires_grad_())[0].requires_grad


def test_second_derivatives_are_refused():
    module = fr.torch.GRU(3, 5)
    x = torch.ones(4, 2, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    assert dx.requires_grad
    with pytest.raises(RuntimeError, match="no second derivatives.*restore"):
        (dx**2).sum().backward()


def test_activation_checkpoints():
    from torch.utils.checkpoint import checkpoint

    ours, theirs = pair("GRU", 3, 5, 2, dropout=0.5)
    x = torch.ones(4, 2, 3, requires_grad=True)
    grads = []
    for use in (False, True):
        ours.zero_grad()
        torch.manual_seed(0)
        y = checkpoint(ours, x, use_reentrant=False)[0] if use else ours(x)[0]
        y.sum().backward()
        grads.append([p.grad.clone() for p in ours.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


# ---- dropout ------------------------------------------------------------------------------------


def test_dropout_follows_pytorchs_generator():
    module = fr.torch.GRU(3, 50, 2, dropout=0.5)
    x = torch.randn(6, 4, 3)

    def run(seed):
        torch.manual_seed(seed)
        module.zero_grad()
        y = module(x)[0]
        y.sum().backward()
        return y.detach(), module.weight_hh_l0.grad.clone()

    (y, grad), (again, grad_again), (other, _) = run(1), run(1), run(2)
    assert torch.equal(y, again) and torch.equal(grad, grad_again) and not torch.equal(y, other)
    with torch.no_grad():
        torch.manual_seed(1)
        assert torch.equal(module(x)[0], y)  # training mode drops without gradients, too
        module.eval()
        assert torch.equal(module(x)[0], module(x)[0]) and not torch.equal(module(x)[0], y)
    plain = fr.torch.GRU(3, 50, 2)
    plain.load_state_dict(module.state_dict())
    assert torch.equal(plain(x)[0], module(x)[0])


def test_dropout_of_everything_and_its_gradient():
    module = fr.torch.LSTM(2, 4, 2, dropout=1.0, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    module(x)[0].sum().backward()
    assert not x.grad.any() and module.bias_hh_l1.grad.any()
    module = fr.torch.GRU(2, 4, 2, dropout=0.5, dtype=torch.float64)

    def function(x):
        torch.manual_seed(0)
        return module(x)[0]

    assert torch.autograd.gradcheck(function, x)
