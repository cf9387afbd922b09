"""LanguageModel: what it computes, its files."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest

import fastrnn as fr
from fastrnn.cells import CELLS as CELL_ROWS
from fastrnn.models import LanguageModel, Vocabulary
from fastrnn.models.layers import LAYERS
from fastrnn.models.texts import read_files, split_files

TEXT = "abcde fgh\n" * 400
WORDS = Vocabulary.of("The cat, the dog.\n", "words")


def small_model(seed=0, **options):
    return LanguageModel(Vocabulary("abcdefgh \n"), 8, 16, 2, rng=seed, **options)


# ---- Texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: LanguageModel("abc"), TypeError),
        (lambda: small_model(cell="lstn"), ValueError),
        (lambda: small_model(cell=3), TypeError),
        (lambda: small_model(cell="mut1"), ValueError),
        (lambda: small_model().perplexity(np.array([[1, 2], [3, 4]])), ValueError),
        (lambda: small_model().perplexity(np.array([1.0, 2.0])), TypeError),
        (lambda: small_model().perplexity(np.array([1, 99])), ValueError),
        (lambda: small_model().perplexity([1, 2]), TypeError),
        (lambda: small_model(bidirectional=True), ValueError),
        (lambda: small_model(batch_first=True), ValueError),
        (lambda: small_model(return_cell_states=True), ValueError),
        (lambda: small_model(cell="lstm_peephole", peephole=False), ValueError),
        (lambda: small_model(no_such_option=1), TypeError),
        (lambda: small_model(dtype="float16"), ValueError),
        (lambda: small_model().perplexity(""), ValueError),
        (lambda: small_model().bits_per_character("abab", steps=0), ValueError),
        (lambda: small_model().bits_per_character(b"abab"), TypeError),
        (lambda: small_model().fit("ab"), ValueError),
        (lambda: small_model().fit(TEXT, seq_length=0), ValueError),
        (lambda: small_model().fit(TEXT, steps=-1), ValueError),
        (lambda: small_model().fit(TEXT, valid=1.0), ValueError),
        (lambda: small_model().fit(TEXT, valid="a"), ValueError),
        (lambda: small_model().fit(TEXT, valid=[3]), TypeError),
        (lambda: small_model().fit(TEXT, no_such_option=3), TypeError),
        (lambda: small_model().fit(TEXT, resume=True), ValueError),
        (lambda: small_model().fit(3), TypeError),
        (lambda: small_model().beam_search(0), ValueError),
        (lambda: small_model().beam_search(3, end="ab"), ValueError),
        (lambda: small_model().beam_search(3, end="?"), ValueError),
        (lambda: small_model().beam_search(3, prime="xyz"), ValueError),
        (lambda: small_model().generate(-1), ValueError),
        (lambda: small_model().generate(3, temperature=-1), ValueError),
        (lambda: small_model().generate(3, prime="xyz"), ValueError),
        (lambda: small_model().generate(3, prime=b"abc"), TypeError),
        (lambda: small_model().bits_per_character("a"), ValueError),
    ],
)
def test_refused(call, error):
    with pytest.raises(error):
        call()


def test_files_and_split(tmp_path):
    for number in range(20):
        folder = tmp_path / f"p{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"m{number}.py").write_bytes(b"x = 1\n" * number + b"\xff")
    (tmp_path / "p0" / "notes.txt").write_text("no")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.py").write_text("no")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    texts = read_files(tmp_path, ".py", skip={"tests"})
    assert len(texts) == 20 and all(text.endswith("\ufffd") for text in texts.values())
    train, held_out = split_files(texts, 0.2, rng=0)
    assert sorted(train + held_out) == sorted(texts)
    assert sum(len(texts[name]) for name in held_out) >= 0.2 * sum(map(len, texts.values()))
    assert split_files(texts, 0.2, rng=0) == (train, held_out)
    assert len(split_files(texts, 1.0, rng=0)[0]) == 1
    assert len(split_files(texts, 0.0, rng=0)[1]) == 1


# ---- The model ----------------------------------------------------------------------------------


def test_stream_equals_batch():
    """At temperature 0, each character is the likeliest one after a whole pass over the text."""
    model = small_model(3)
    text = "ab"
    for character in model.generate(40, prime=text, temperature=0):
        logits, _ = model(model.vocabulary.encode(text))
        assert character == model.vocabulary.decode([1 + logits[-1, 1:].argmax()])
        text += character
    assert len(text) == 42


def test_generation_is_decided_by_the_seed():
    model = small_model()
    texts = ["".join(model.generate(60, prime="ab", temperature=1.5, rng=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    with fr.num_threads(1):
        assert "".join(model.generate(60, prime="ab", temperature=1.5, rng=1)) == texts[0]
    assert set("".join(texts)) <= set(model.vocabulary.characters)
    assert "".join(model.generate(0)) == ""


def test_sampling_follows_the_softmax():
    """One step from the same state, 4000 times: frequencies within 5 standard deviations."""
    model = small_model(1)
    logits = model(model.vocabulary.encode("a"))[0][-1, 1:].astype(np.float64) / 0.5
    expected = np.exp(logits) / np.exp(logits).sum()
    rng = np.random.default_rng(0)
    drawn = [next(model.generate(1, prime="a", temperature=0.5, rng=rng)) for _ in range(4000)]
    found = np.array([drawn.count(c) for c in model.vocabulary.characters]) / 4000
    assert (abs(found - expected) < 5 * np.sqrt(expected / 4000)).all()


def test_bits_per_character():
    """Against the definition: one piece, from a zero state, one character after the other."""
    model = small_model(2)
    codes = model.vocabulary.encode(TEXT[:50])
    logits = model(codes[:-1])[0].astype(np.float64)
    logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = -logp[np.arange(49), codes[1:]].mean() / np.log(2)
    for steps in (1, 7, 128):
        assert model.bits_per_character(TEXT[:50], steps=steps) == pytest.approx(expected, rel=1e-5)
    assert model.bits_per_character(TEXT, limit=640) == pytest.approx(expected, rel=0.2)


CELLS = pytest.mark.parametrize("cell", LAYERS)


def cell_model(cell, vocabulary=None, **options):
    """A small model of any cell."""
    return LanguageModel(vocabulary or Vocabulary("abcdefgh \n"), 16, 16, 2, cell=cell, **{"rng": 5, **options})


@CELLS
def test_every_cell_streams_as_it_reads(cell):
    """Greedy generation, one step at a time, against whole passes over the text."""
    model = cell_model(cell)
    text = "ab"
    for character in model.generate(12, prime=text, temperature=0):
        logits, _ = model(model.vocabulary.encode(text))
        assert character == model.vocabulary.decode([1 + logits[-1, 1:].argmax()])
        text += character
    assert len(text) == 14


@CELLS
def test_initial_recurrence(cell):
    """Blocks of R are orthogonal, gates that keep the state open, R of IndRNN a vector as drawn."""
    layer = cell_model(cell, dtype="float64").layer
    for name, array in layer.parameters.items():
        if name.startswith("weight_hh") and array.ndim == 2:
            for block in array.reshape(-1, 16, 16):
                assert abs(block @ block.T - np.eye(16)).max() < 1e-12
    row = layer._row
    if "+f" in row.memory:
        total = sum(layer.parameters[f"{name}_l1"] for name in row.biases).reshape(-1, 16)
        assert (total[row.biased.index("f")] == 1).all() and not (total == 1).all()


def test_every_row_of_cells_is_a_model():
    """Those that are not found by name follow from options or sizes."""
    found = {cell_model(cell).layer._row for cell in LAYERS}
    rest = {name for name, row in CELL_ROWS.items() if row not in found}
    assert rest == {name for name in CELL_ROWS if "general" in name or name == "sru_projected"}


@CELLS
def test_gradients_against_differences(cell):
    """The chain of embedding, layers, head and loss, in the direction of the gradient."""
    model = cell_model(cell, dtype="float64")
    codes = model.vocabulary.encode(TEXT[:82]).reshape(2, 41).T
    x, y = codes[:-1], codes[1:]
    logits, _, pullback = model.vjp(x)
    pullback(fr.losses.cross_entropy(logits, y)[1])
    for module in model.modules:
        step = 1e-6
        gradients = {name: g.copy() for name, g in module.grads.items()}
        norm = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        start, losses = module.state_dict(), []
        for sign in (1, -1):
            module.load_state_dict({n: start[n] + sign * step / norm * g for n, g in gradients.items()})
            losses.append(float(fr.losses.cross_entropy(model(x)[0], y)[0]))
        module.load_state_dict(start)
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("tokens", ["words", "bytes"])
def test_measures_of_words_and_bytes(tokens):
    """Perplexity is of tokens, bits of the characters of the text."""
    text = "a caf\u00e9, two caf\u00e9s.\n" * 5
    vocabulary = Vocabulary.of(text, tokens)
    model = LanguageModel(vocabulary, 8, 16, 1, rng=2, dtype="float64")
    codes = vocabulary.encode(text)
    logits = model(codes[:-1])[0]
    logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    nats = -logp[np.arange(codes.size - 1), codes[1:]].mean()
    options = {"streams": 1}
    assert model.perplexity(text, **options) == pytest.approx(np.exp(nats), rel=1e-12)
    expected = nats / np.log(2) * codes.size / len(text)
    assert model.bits_per_character(text, **options) == pytest.approx(expected, rel=1e-12)
    if tokens == "bytes":
        assert model.bits_per_character(codes, **options) == pytest.approx(expected, rel=1e-12)
        data = text.encode()
        assert model.bits_per_character(data, **options) == pytest.approx(nats / np.log(2), rel=1e-12)


def test_large_vocabularies_are_measured_in_small_pieces(monkeypatch):
    """As many logits at a time as there is room for; the result is the same."""
    model, counts = small_model(), []
    expected = model.bits_per_character(TEXT)
    monkeypatch.setattr("fastrnn.models.language.LOGITS", 32 * 11 * 5)
    head = model.head
    monkeypatch.setattr(model, "head", lambda y: [counts.append(y.shape), head(y)][1])
    assert model.bits_per_character(TEXT) == pytest.approx(expected, rel=1e-6)
    assert max(shape[0] for shape in counts) == 5 and len(counts) == 25


def test_perplexity_beyond_all_numbers():
    model = small_model()
    with model.head.edit() as p:
        p["bias"][1] = 1e6
    assert model.perplexity("b" * 20) == np.inf
    with model.head.edit() as p:
        p["bias"][1] = np.nan
    assert np.isnan(model.perplexity("ab")) and np.isnan(model.bits_per_character("ab"))


@pytest.mark.parametrize("prime", ["one (", "one", "five."])
@pytest.mark.parametrize("tokens", ["chars", "words", "bytes"])
def test_generated_pieces_are_the_text(tokens, prime):
    """What is streamed after a prime, and the prime, are what all numbers together decode to."""
    text = "one (two) three,\nfour \u20ac five. " * 3
    vocabulary = Vocabulary.of(text, tokens)
    model = LanguageModel(vocabulary, 8, 16, 1, rng=3)
    pieces = list(model.generate(30, prime=prime, rng=1))
    assert len(pieces) in (30, 31)
    whole = prime + "".join(pieces)
    if tokens != "bytes":  # whose text at random is not UTF-8
        codes = vocabulary.encode(whole)
        assert vocabulary.decode(codes) == whole and codes.size == 30 + vocabulary.encode(prime).size
        assert 0 not in codes
        found = model.beam_search(5, prime=prime, width=2)[0][0]
        assert vocabulary.encode(prime + found).size == 5 + vocabulary.encode(prime).size


def test_a_word_keeps_its_distance_from_the_prime():
    model = LanguageModel(WORDS, 8, 16, 1, rng=3)
    with model.head.edit() as p:
        p["bias"][WORDS.encode("cat")] = 100
    assert list(model.generate(2, prime="the")) == [" cat", " cat"]
    assert model.beam_search(2, prime="the", width=1)[0][0] == " cat cat"
    assert list(model.generate(2)) == ["cat", " cat"], "after a newline"
    bare = LanguageModel(Vocabulary.of("a b", "words"), 8, 16, 1, rng=3)
    assert not next(bare.generate(1)).startswith(" ") and not bare.beam_search(1)[0][0].startswith(" ")


def test_a_character_that_is_cut_off():
    model = LanguageModel(Vocabulary.of("a", "bytes"), 8, 16, 1, rng=3)
    with model.head.edit() as p:
        p["bias"][0xE2] = 100  # the first of three
    assert list(model.generate(2)) == ["", "\ufffd", "\ufffd"]
    assert model.beam_search(2, width=1)[0][0] == "\ufffd\ufffd"


def test_beam_search():
    """A beam as wide as there are texts finds the likeliest; one of 1 is greedy; an end ends."""
    model = LanguageModel(Vocabulary("ab\n"), 4, 8, 1, rng=4, dtype="float64")
    with model.head.edit() as p:
        p["weight"] *= 10
    texts = ["".join(t) for t in itertools.product("ab\n", repeat=3)]

    def score(text):
        codes = model.vocabulary.encode("ab" + text)
        return sum(fr.decoding.log_softmax(row)[code] for row, code in zip(model(codes[:-1])[0][1:], codes[2:]))

    found = model.beam_search(3, prime="ab", width=27, length_penalty=0)
    assert [text for text, _ in found] == sorted(texts, key=score, reverse=True)
    assert [value for _, value in found] == pytest.approx(sorted(map(score, texts), reverse=True), rel=1e-12)
    assert model.beam_search(9, prime="a", width=1)[0][0] == "".join(model.generate(9, prime="a", temperature=0))
    ended = [text for text, _ in model.beam_search(4, prime="ab", width=8, end="\n")]
    assert any(text.endswith("\n") for text in ended) and not any("\n" in text[:-1] for text in ended)


@pytest.mark.parametrize("cell", ["gru", "sru", "slstm"])
def test_beam_search_with_states_of_every_form(cell):
    model = cell_model(cell)
    assert model.beam_search(5, prime="abc", width=1)[0][0] == "".join(model.generate(5, prime="abc", temperature=0))


# ---- Files --------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    model = small_model(4, dropout=0.25)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = LanguageModel.load(path)
    codes = model.vocabulary.encode(TEXT[:100])
    assert (again(codes)[0] == model(codes)[0]).all()
    assert again.vocabulary.characters == model.vocabulary.characters
    assert repr(again) == repr(model)


@CELLS
def test_files_of_every_cell(tmp_path, cell):
    path = tmp_path / "model.safetensors"
    model = cell_model(cell, WORDS, dtype="float64", input_dropout=0.1, learn_state=cell != "slstm")
    model.save(path)
    again = fr.load(path)
    assert type(again) is LanguageModel and repr(again) == repr(model)
    assert again.vocabulary == WORDS and again.layer._config() == model.layer._config()
    assert again.parameters.keys() == model.parameters.keys()
    assert all((again.parameters[name] == array).all() for name, array in model.parameters.items())


def test_copies():
    for model in (cell_model("slstm", WORDS), cell_model("gru", Vocabulary.of("a", "bytes"))):
        text = list(model.generate(9, prime="The", rng=0))
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert repr(again) == repr(model) and again.vocabulary == model.vocabulary
            assert list(again.generate(9, prime="The", rng=0)) == text


def test_embeddings_of_cells_that_add_their_input():
    assert LanguageModel(WORDS, hidden_size=20, cell="mut2", rng=0).embedding.embedding_dim == 20
    with pytest.raises(ValueError, match="embedding_dim: expected hidden_size 20, or None, for mut2, got 8"):
        LanguageModel(WORDS, 8, 20, cell="mut2")


def test_loading_draws_nothing(tmp_path, monkeypatch):
    small_model().save(tmp_path / "model.safetensors")
    monkeypatch.setattr(np.linalg, "qr", None)
    LanguageModel.load(tmp_path / "model.safetensors")


def test_options_of_layers_are_kept(tmp_path):
    path = tmp_path / "model.safetensors"
    model = small_model(activations=("hard_sigmoid", ("elu", 0.5), "tanh"), skip="output", proj_size=5, zoneout=(0.1, 0.0))
    model.layer.recurrent_dropout = 0.25  # set later
    model.save(path)
    again = LanguageModel.load(path)
    assert again.layer._config() == model.layer._config() and again.layer.recurrent_dropout == 0.25
    assert again.head.in_features == 2 * 5


def test_files_of_the_first_version(tmp_path):
    path = tmp_path / "model.safetensors"
    model = small_model(4, dropout=0.25)
    model.save(path)
    sizes = '{"embedding_dim": 8, "hidden_size": 16, "num_layers": 2, "dropout": 0.25}'
    _rewritten(path, {"format_version": "1", "vocabulary": '"abcdefgh \\n"', "configuration": sizes})
    again = LanguageModel.load(path)
    assert repr(again) == repr(model)
    assert all((again.parameters[name] == array).all() for name, array in model.parameters.items())


def _rewritten(path, metadata=None, tensors=None):
    old, described = fr.serialize.read_safetensors(path)
    fr.serialize.write_safetensors(path, {**old, **(tensors or {})}, {**described, **(metadata or {})})


@pytest.mark.parametrize(
    "metadata, tensors",
    [
        ({"format": "fastrnn"}, {}),
        ({"format_version": "9"}, {}),
        ({"vocabulary": '"aa"'}, {}),
        ({"vocabulary": "7"}, {}),
        ({"vocabulary": "{}"}, {}),
        ({"vocabulary": '{"tokens": "chars"}'}, {}),
        ({"vocabulary": '{"tokens": "words", "known": [1, 2]}'}, {}),
        ({"vocabulary": '{"tokens": [], "known": "abc"}'}, {}),
        ({"vocabulary": '{"tokens": "bytes"}'}, {}),
        ({"configuration": '{"cell": "gru", "hidden_size": 16, "embedding_dim": 8}'}, {}),
        ({"configuration": '{"cell": ["gru"]}'}, {}),
        ({"configuration": '{"bidirectional": true, "hidden_size": 16, "embedding_dim": 8}'}, {}),
        ({"vocabulary": '"abc"'}, {}),
        ({"vocabulary": "[" * 100_000}, {}),
        ({"configuration": "{}"}, {}),
        ({"configuration": "[]"}, {}),
        ({"configuration": '{"hidden_size": 16000000, "embedding_dim": 16000000}'}, {}),
        ({"configuration": '{"hidden_size": 5, "rng": "x"}'}, {}),
        ({"configuration": '{"hidden_size": "5"}'}, {}),
        ({}, {"embedding.weight": np.zeros((3, 3), np.float32)}),
        ({}, {"more": np.zeros(3, np.float32)}),
    ],
)
def test_files_that_are_no_model(tmp_path, metadata, tensors):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    _rewritten(path, metadata, tensors)
    with pytest.raises(ValueError, match="model.safetensors"):
        LanguageModel.load(path)


# ---- Training -----------------------------------------------------------------------------------

FIT = {"batch_size": 4, "seq_length": 16, "learning_rate": 0.02}


def test_learns_a_repeating_text():
    model = small_model()
    trainer = model.fit(TEXT, steps=200, **FIT)
    assert trainer.step == 200 and trainer.loss < 0.15
    assert trainer.max_norm == 5.0 and trainer.data.unit == "characters"
    assert trainer.history["learning_rate"].max() == pytest.approx(0.02, rel=0.01)
    assert model.fit(TEXT, steps=0, max_norm=None).max_norm is None
    assert model.bits_per_character(TEXT) < 0.1 and model.perplexity(TEXT) < 1.1
    assert "".join(model.generate(20, prime="abcde fgh\n", temperature=0)) == TEXT[:20]


@pytest.mark.parametrize("tokens, cell", [("words", "gru"), ("bytes", "sru"), ("words", "slstm")])
def test_learns_words_and_bytes(tokens, cell):
    text = "to be or not to be, na\u00efve?\n" * 60
    model = LanguageModel(Vocabulary.of(text, tokens), 16, 24, 1, cell=cell, rng=0)
    before = model.bits_per_character(text)
    trainer = model.fit(text, epochs=15, seq_length=16, batch_size=4, learning_rate=0.02)
    assert trainer.data.unit == tokens
    assert model.bits_per_character(text) < 0.15 < 1 < before
    line = text[: text.index("\n") + 1]
    count = model.vocabulary.encode(line).size
    assert "".join(model.generate(count, prime=line, temperature=0)) == line


def test_held_out_text():
    """A part at the end is not trained on; its loss is that of the measure."""
    model = small_model()
    trainer = model.fit(TEXT, valid=0.25, epochs=2, **FIT)
    assert len(trainer.data) == 3000 // 4 // 16 and trainer.step == 2 * len(trainer.data)
    bits = model.bits_per_character(TEXT[3000:])
    assert trainer.valid_loss / np.log(2) == pytest.approx(bits, rel=1e-12)
    assert trainer.history["valid_loss"].size == 2
    again = small_model().fit(TEXT[:3000], valid=TEXT[3000:], epochs=2, **FIT)
    assert (again.history["valid_loss"] == trainer.history["valid_loss"]).all()


def test_short_texts_have_smaller_batches():
    assert small_model().fit("abcde fgh\n" * 20, steps=1).data.batch_size == 200 // 65
    assert small_model().fit(TEXT * 2, steps=1).data.batch_size == 32
    assert small_model().fit("abcde fgh\n" * 20, steps=1, seq_length=199).data.batch_size == 1


def test_resumed_fit_ends_with_the_same_bits(tmp_path):
    options = {"valid": 0.1, "steps": 40, "checkpoint_every": 10, **FIT}
    whole = small_model(dropout=0.3)
    whole.fit(TEXT, rng=1, **options)

    def stop(trainer):
        trainer.stopping = trainer.step == 25

    small_model(dropout=0.3).fit(TEXT, rng=1, folder=tmp_path, callbacks=[stop], **options)
    resumed = small_model(dropout=0.3)
    trainer = resumed.fit(TEXT, rng=2, folder=tmp_path, resume=True, **options)
    assert trainer.step == 40
    assert all((resumed.parameters[name] == array).all() for name, array in whole.parameters.items())
    last = fr.load(tmp_path / "last.safetensors")
    assert all((last.parameters[name] == array).all() for name, array in whole.parameters.items())
