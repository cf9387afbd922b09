"""Where batches come from: streams, sequences of different lengths, sources of one's own."""

import numpy as np
import pytest
from runs import ragged
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.training import Sequences, Source, Streams, TextStreams


def test_streams_carry_on():
    streams = TextStreams(np.arange(103), batch_size=4, seq_length=5)
    assert len(streams) == 4  # rows of 25: 24 inputs that have a target
    x = np.concatenate([streams.batch(step).x for step in range(4)])
    y = np.concatenate([streams.batch(step).target for step in range(4)])
    assert (x == np.arange(20)[:, None] + 25 * np.arange(4)).all() and (y == x + 1).all()
    assert [streams.batch(step).first for step in range(5)] == [True, False, False, False, True]
    series = Streams(np.arange(20)[:, None], np.arange(20), batch_size=2, seq_length=5)
    assert len(series) == 2 and series.batch(1).x[:, :, 0].T.tolist() == [[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 500])
def test_sequences_are_all_there(batch_size):
    """Each once an epoch, whole; of similar lengths; in another order in each epoch, the same for a seed."""
    inputs = [np.arange(1, length + 1) * 1000 + i for i, length in enumerate(np.random.default_rng(0).integers(1, 90, 450))]
    data, twin = (Sequences(inputs, [x + 1 for x in inputs], batch_size, rng=3) for _ in range(2))
    orders, steps = [], len(data)
    for epoch in range(2):
        order, padding, longest = [], 0, []
        for step in range(steps):
            batch, same = data.batch(epoch * steps + step), twin.batch(epoch * steps + step)
            assert_same_bits("x", batch.x, same.x)
            columns = [batch.x[:length, b] for b, length in enumerate(batch.lengths)]
            assert batch.target.tolist() == (batch.x + 1)[batch.select].tolist() and len(batch.target) == batch.size
            assert not batch.x[~batch.select].any() and batch.size == batch.lengths.sum()
            longest.append(batch.lengths.max())
            order += [int(column[0]) % 1000 for column in columns]
            for i, column in zip(order[-len(columns) :], columns):
                assert column.tolist() == inputs[i].tolist()
            padding += batch.x.size - batch.size
        assert sorted(order) == list(range(450))
        assert padding < 0.05 * sum(map(len, inputs)) or batch_size == 500
        assert (np.diff(longest) < 0).any() or steps == 1
        orders.append(order)
    assert orders[0] != orders[1]
    back = data.batch(0)  # any step at any time
    assert_same_bits("x", back.x, twin.batch(0).x)
    fixed = Sequences(inputs, inputs, batch_size, shuffle=False)
    for step in range(steps):
        assert fixed.batch(step).lengths.tolist() == fixed.batch(step + steps).lengths.tolist()


def test_a_source_of_ones_own():
    """A length and batches are enough."""

    class Random:
        def __len__(self):
            return 3

        def batch(self, step):
            x = np.random.default_rng(step).standard_normal((5, 2, 3))
            return fr.training.Batch(x, x[..., :1])

    model = fr.Sequential(fr.GRU(3, 4, rng=0), fr.Linear(4, 1, rng=0))
    run = fr.Trainer(model, fr.optim.Adam(model), Random(), loss=fr.losses.mse_loss, epochs=2, rng=0)
    run.run()
    assert run.step == run.seen == 6 and run.evaluate(Random()) < 2
    for method in ("__len__", "batch"):
        with pytest.raises(NotImplementedError):
            getattr(Source(), method)(*[0] * (method == "batch"))


@pytest.mark.parametrize("batch_first", [False, True])
def test_kinds_of_targets(batch_first):
    """Outputs and targets as the loss sees them."""
    inputs, _ = ragged(5)
    seen = []

    def loss(output, target):
        seen.append((output, target))
        return 1.0, np.zeros_like(output)

    layer = fr.GRU(3, 4, batch_first=batch_first, rng=0)
    for kind, targets in (("last", range(5)), ("whole", range(5)), ("labels", [[1, 2], [3], [1], [2, 1, 1], []])):
        data = Sequences(inputs, targets, 5, kind=kind, shuffle=False, batch_first=batch_first)
        fr.Trainer(layer, fr.optim.SGD(layer), data, loss=loss, steps=1).run()
    order = np.argsort([len(x) for x in inputs], kind="stable")
    (last, classes), (whole, same), (output, (labels, lengths, counts)) = seen
    longest = len(inputs[order[-1]])
    assert whole.shape == output.shape == ((5, longest, 4) if batch_first else (longest, 5, 4))
    assert classes.tolist() == same.tolist() == order.tolist()
    for row, i in enumerate(order):
        assert_same_bits("last", last[row], layer(inputs[i])[0][-1])
    expected = [[1, 2], [3], [1], [2, 1, 1], []]
    assert [row[:n].tolist() for row, n in zip(labels, counts)] == [expected[i] for i in order]
    assert lengths.tolist() == [len(inputs[i]) for i in order]


def test_labels_are_what_ctc_takes():
    """Learns to spell three labels, through a softmax of the caller's."""

    def loss(logits, target):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        value, gradient = fr.losses.ctc_loss(log_probs, *target)
        return value, gradient - np.exp(log_probs) * gradient.sum(axis=-1, keepdims=True)

    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 4, 3) for _ in range(32)]
    inputs = [np.repeat(np.eye(4)[label], 3, axis=0) for label in labels]
    model = fr.Sequential(fr.GRU(4, 16, rng=0), fr.Linear(16, 4, rng=1))
    data = Sequences(inputs, labels, 8, kind="labels", rng=0)
    run = fr.Trainer(model, fr.optim.Adam(model, lr=0.02), data, loss=loss, epochs=30)
    run.run()
    assert run.history["loss"][-4:].mean() < 0.1 * run.history["loss"][0]
