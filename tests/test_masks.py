"""The masks themselves: what each falls on, how often and how independently it drops or keeps, where it is the same."""

import numpy as np
import pytest
from cases import Case, on_isa
from masked import SEED, check_masked, masked, noise_of, with_all, zoneout_mask
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn._core import engine

# ---------------------------------------------------------------- what each mask falls on


def set_all(layer, value=0.0, **entries):
    """All parameters 0 but those given, by names without what follows the first letter of their suffix."""
    with layer.edit() as p:
        for name, array in p.items():
            array[...] = entries.get(name.split("_l")[0], value)


def identity_rnn(I, H, **options):
    """``h_t = W x_t + R h_{t-1}``, with W = R = 0 for now."""
    layer = fr.RNN(I, H, nonlinearity="identity", **{"dtype": "float64", "rng": SEED, **options})
    set_all(layer)
    return layer


def scaled(mask, p):
    """The entries of a mask are 0 or exactly 1 / (1 - p), and there are both; returns which are kept."""
    assert set(np.unique(mask)) == {0.0, np.dtype(mask.dtype).type(1 / (1 - p))}
    return mask != 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.25, 0.7])
def test_input_dropout_falls_on_inputs(p, dtype):
    """One mask for all steps and both directions, one for each sequence, unit, layer and call."""
    layer = identity_rnn(12, 6, num_layers=2, bidirectional=True, input_dropout=p, skip="output", dtype=dtype)
    eyes = np.eye(12, dtype=dtype)
    with layer.edit() as w:
        for l in range(2):
            w[f"weight_ih_l{l}"][...], w[f"weight_ih_l{l}_reverse"][...] = eyes[:6], eyes[6:]
    x = np.random.default_rng(0).uniform(1, 2, (7, 40, 12)).astype(dtype)
    y = layer.vjp(x)[0]
    first = scaled(np.where(y[:, :, :12] == 0, y[:, :, :12], y[:, :, :12].dtype.type(1 / (1 - p))), p)
    assert_close("scale", y[:, :, :12], np.where(first, x * x.dtype.type(1 / (1 - p)), 0), "forward")
    assert (first == first[0]).all(), "the same at all steps"
    assert (first[0] != first[0, 0]).any(), "not of all sequences"
    second = y[0, :, 12:] != 0
    assert not second[~first[0]].any() and 0 < second[first[0]].mean() < 1, "a layer has its own"
    assert (layer.vjp(x)[0] != y).any(), "a call has its own"
    both = identity_rnn(6, 6, bidirectional=True, input_dropout=p, dtype=dtype)
    set_all(both, weight_ih=np.eye(6, dtype=dtype))
    y = both.vjp(x[:, :, :6])[0]
    assert_same_bits("directions", np.ascontiguousarray(y[:, :, :6]), np.ascontiguousarray(y[:, :, 6:]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.25, 0.5])
def test_recurrent_dropout_falls_on_what_enters_r(p, dtype):
    """h_t = mask * h_{t-1}: one for all steps, one for each sequence, unit, direction, layer and call."""
    layer = identity_rnn(3, 16, num_layers=2, bidirectional=True, recurrent_dropout=p, skip="output", dtype=dtype)
    set_all(layer, weight_hh=np.eye(16, dtype=dtype))
    x = np.zeros((4, 40, 3), dtype)
    y, h, _ = layer.vjp(x, np.ones((4, 40, 16), dtype))
    places = np.split(y, 4, axis=2)
    masks = [scaled(places[k][0] if k % 2 == 0 else places[k][-1], p) for k in range(4)]
    for k, (own, mask) in enumerate(zip(places, masks)):
        powers = (1 / (1 - p)) ** np.arange(1, 5)[:, None, None]
        expected = np.where(mask, powers if k % 2 == 0 else powers[::-1], 0)
        assert_close("powers", own, expected.astype(dtype), "forward")
        assert all((mask != other).any() for other in masks[:k])
        assert (mask != mask[0]).any()
    assert (layer.vjp(x, np.ones((4, 40, 16), dtype))[0] != y).any()


def test_recurrent_dropout_leaves_what_is_carried():
    """A GRU whose z is 1 hands h on as it is; c of an LSTM is not dropped."""
    gru = fr.GRU(3, 8, recurrent_dropout=0.5, dtype="float64", rng=SEED)
    set_all(gru, bias_ih=np.repeat([0.0, 1e3, 0.0], 8))
    h = np.random.default_rng(0).standard_normal((1, 5, 8))
    assert_same_bits("h", gru.vjp(np.zeros((3, 5, 3)), h)[1], h)
    lstm = fr.LSTM(3, 8, recurrent_dropout=0.5, dtype="float64", rng=SEED)
    set_all(lstm, bias_ih=np.repeat([-1e3, 1e3, 0.0, 0.0], 8))
    assert_same_bits("c", lstm.vjp(np.zeros((3, 5, 3)), (h, h))[1][1], h)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.25, 0.5])
def test_weight_drop_falls_on_weights(p, dtype):
    """Sequence j begins with unit vector j and shows column j of the matrix, the same for all and at all steps."""
    H = 20
    layer = identity_rnn(3, H, num_layers=2, bidirectional=True, weight_drop=p, skip="output", dtype=dtype)
    set_all(layer, weight_hh=1.0)
    x, h = np.zeros((2, H, 3), dtype), np.broadcast_to(np.eye(H, dtype=dtype), (4, H, H))
    y = layer.vjp(x, h)[0]
    places = np.split(y, 4, axis=2)
    matrices = [places[k][0 if k % 2 == 0 else 1].T for k in range(4)]
    for k, matrix in enumerate(matrices):
        kept = scaled(matrix, p)
        assert 0 < kept.mean(axis=0).min() and (kept != kept[0]).any() and (kept != kept[:, :1]).any()
        assert_close("second step", places[k][1 if k % 2 == 0 else 0].T, matrix @ matrix, "forward")
        assert all((matrix != other).any() for other in matrices[:k])
    assert (layer.vjp(x, h)[0] != y).any()
    for name, gradient in layer.grads.items():
        assert not gradient.any(), name


def kept_units(T, B, H, share, *, D=2, L=2, dtype="float64", seed=SEED, lengths=None):
    """h of zoneout, ``(L*D, T, B, H)``: where h stayed, seen by an RNN in which it would grow by 1."""
    layer = fr.RNN(3, H, L, nonlinearity="identity", residual=True, zoneout=share, bidirectional=D == 2, skip="output",
                   dtype=dtype)  # fmt: skip
    set_all(layer, bias_ih=1.0)
    layer.rng = seed
    y = layer.vjp(np.zeros((T, B, 3)), lengths=lengths)[0]
    found = []
    for k, own in enumerate(np.split(y, L * D, axis=2)):
        own = own[::-1] if k % D else own
        kept = np.diff(own, axis=0, prepend=0) == 0
        found.append(kept[::-1] if k % D else kept)
    return np.array(found)


def kept_cells(T, B, H, share, *, D=2, L=2):
    """The same for c: an LSTM whose c would grow by 1; h_t is c_{t-1} + 1, whatever becomes of c_t."""
    linear = ("identity",) * 3
    layer = fr.LSTM(3, H, L, activations=linear, zoneout=(0.0, share), bidirectional=D == 2, skip="output",
                    dtype="float64")  # fmt: skip
    set_all(layer, bias_ih=1.0)
    layer.rng = SEED
    y, (_, c), _ = layer.vjp(np.zeros((T, B, 3)))
    found = []
    for k, own in enumerate(np.split(y, L * D, axis=2)):
        own = np.concatenate([own[::-1] if k % D else own, c[k : k + 1] + 1])
        kept = np.diff(own, axis=0) == 0
        found.append(kept[::-1] if k % D else kept)
    return np.array(found)


def keys(count=1):
    """Those that ``vjp`` draws for zoneout from the seed."""
    rng = np.random.default_rng(SEED)
    return [int(rng.integers(1 << 63)) for _ in range(count)]


def test_zoneout_masks_are_as_documented():
    """By step, sequence and unit, of h and of c; nothing of lengths, rates and dtypes is in them."""
    T, B, H, (key,) = 9, 5, 37, keys()
    expected = [[zoneout_mask(key, k, e, 0.3, T, B, H) for k in range(4)] for e in range(2)]
    assert np.array_equal(kept_units(T, B, H, 0.3), expected[0])
    assert np.array_equal(kept_units(T, B, H, 0.3, dtype="float32"), expected[0])
    assert np.array_equal(kept_cells(T, B, H, 0.3), expected[1])
    valid = np.arange(T)[:, None] < (lengths := np.array([9, 0, 4, 1, 8]))
    ragged = kept_units(T, B, H, 0.3, lengths=lengths)
    assert (ragged == expected[0])[:, valid].all()
    assert (kept_units(T, B, H, 0.6) >= expected[0]).all(), "a higher rate keeps more"


@pytest.mark.smoke
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru", "gru_reset_before"])
def test_instruction_sets_and_dtypes_draw_the_same_masks(cell):
    """What is exactly 0 or unchanged is so everywhere; every set is compared with the oracle under the same masks."""
    for isa in engine.isas():
        for dtype in ("float32", "float64"):
            with on_isa(isa):
                check_masked(with_all(Case(cell, I=5, H=19, T=5, B=3, dtype=dtype, lengths=(5, 2, 4))))
                kept = kept_units(6, 3, 35, 0.4, dtype=dtype)
            assert np.array_equal(kept, [zoneout_mask(keys()[0], k, 0, 0.4, 6, 3, 35) for k in range(4)])


# ---------------------------------------------------------------- statistics


def assert_frequency(kept, p):
    assert abs(np.mean(kept) - p) < 5 * np.sqrt(p * (1 - p) / kept.size)


def assert_independent(one, other, p, label):
    """The correlation of two masks of the same rate, in standard deviations of that of independent ones."""
    correlation = np.mean((one - p) * (other - p)) / (p * (1 - p))
    assert abs(correlation) < 5 / np.sqrt(one.size), f"{label}: {correlation:.2g}"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.95])
def test_statistics_of_zoneout(share):
    """Over steps, sequences, units, directions, layers, h and c, and calls: frequencies, and pairs of neighbours."""
    T, B, H = 40, 16, 64
    units, cells = kept_units(T, B, H, share), kept_cells(T, B, H, share)
    other = kept_units(T, B, H, share, seed=SEED + 1)
    for kept in (units, cells, other):
        assert_frequency(kept, share)
        for axis in range(1, 4):  # means over the others: no step, sequence or unit is another one's
            assert_frequency(kept.take([0], axis), share)
            assert_frequency(kept.take([-1], axis), share)
            along = np.moveaxis(kept, axis, 0)
            assert_independent(along[1:], along[:-1], share, f"neighbours along {axis}")
            assert_independent(*np.split(along, 2), share, f"halves of {axis}")
        for k in range(1, 4):
            assert_independent(kept[0], kept[k], share, f"places 0 and {k}")
        assert_independent(kept[:, 1:, :-1], kept[:, :-1, 1:], share, "steps and sequences")
        assert_independent(kept[:, 1:, :, :-1], kept[:, :-1, :, 1:], share, "steps and units")
        counts = kept.sum(axis=3)  # of the units of a row: a binomial
        expected = H * share * (1 - share)
        assert abs(counts.var() / expected - 1) < 5 * np.sqrt(2 / counts.size + 1 / (counts.size * expected))
    assert_independent(units, cells, share, "h and c")
    assert_independent(units, other, share, "calls")


@pytest.mark.parametrize("p", [0.05, 0.5, 0.8])
def test_statistics_of_dropouts(p):
    """Those of Masks, which the oracle's comparison takes for the engine's."""
    case = masked(Case("lstm", I=64, H=64, L=2, D=2, T=1, B=200), input_dropout=p, recurrent_dropout=p, weight_drop=p)
    layer = case.new_layer()
    _, noise = noise_of(case, layer)
    for group in (noise.inputs, list(noise.recurrent), noise.weights):
        for mask in group:
            dropped = ~scaled(mask, p)
            assert_frequency(dropped, p)
            assert_independent(dropped[1:], dropped[:-1], p, "rows")
            assert_independent(dropped[:, 1:], dropped[:, :-1], p, "columns")
        for one, other in zip(group, group[1:]):
            if one.shape == other.shape:
                assert_independent(one == 0, other == 0, p, "places")
    assert_independent(noise.inputs[0] == 0, noise.recurrent[0] == 0, p, "input and state")
