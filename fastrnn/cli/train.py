"""``fastrnn train``: a language model of a text, with char-rnn's options."""

import math
import os
import shlex
import sys

from .common import (
    CommandError,
    add_command,
    add_threads,
    generate_command,
    installed,
    known_only,
    load_model,
    number,
    program_words,
    read_text,
    stopping_on_interrupt,
    use_threads,
)

BITS = 1 / math.log(2)  # a loss, in nats, times this is bits
DEFAULTS = {
    "data": None, "model": "lstm", "rnn_size": 128, "num_layers": 2, "seq_length": 50, "batch_size": None, "dropout": 0.0,
    "learning_rate": 5e-3, "grad_clip": 5.0, "max_epochs": 10, "train_frac": 0.95, "val_frac": 0.05, "tokens": "chars",
    "init_from": None, "checkpoint_every": 500, "seed": 0, "threads": None,
}  # fmt: skip
#: What may differ when a run goes on; the rest is what the run is.
FREE = ("data", "max_epochs", "checkpoint_every", "threads", "learning_rate", "grad_clip")
OF_MODEL = ("model", "rnn_size", "num_layers", "tokens")  # what --init-from decides
EXAMPLES = (
    "--data shakespeare.txt",
    "--data shakespeare.txt --model gru --rnn-size 256 --dropout 0.2 --checkpoint-dir big",
    "--checkpoint-dir big --resume",
    "--data sonnets.txt --init-from big/best.safetensors --learning-rate 1e-3 --checkpoint-dir sonnets",
    "--data - --tokens words < text.txt",
)


def add(commands):
    """Describe the command and its arguments."""
    from ..models.layers import LAYERS

    command = add_command(
        commands, "train", run, "train a language model on a text",
        "Trains a language model on a text, by truncated backpropagation through time: Adam, a learning rate that rises\n"
        "shortly and then falls along a cosine. A part of the text is held out and measured after every epoch. Into the\n"
        "folder of --checkpoint-dir go last.safetensors (the run, to --resume), best.safetensors (the model that was best\n"
        "on the held-out part), history.json and curve.png. Ctrl-C stops and keeps the checkpoint.", EXAMPLES,
    )  # fmt: skip
    command.set_defaults(**dict.fromkeys(DEFAULTS))
    positive, part = number(int, 1), number(float, 0, maximum=1)

    def add(option, metavar, type, text):
        default = DEFAULTS[option.strip("-").replace("-", "_")]
        shown = "" if default is None else f" (default: {default})"
        command.add_argument(option, metavar=metavar, type=type, help=text + shown)

    add("--data", "FILE", str, "a text in UTF-8 (with --tokens bytes: any file); - reads standard input")
    command.add_argument("--model", metavar="CELL", choices=tuple(LAYERS), type=str.lower,
                         help=f"the cell: {', '.join(LAYERS)} (default: lstm)")  # fmt: skip
    add("--rnn-size", "H", number(int, 1, maximum=2**24), "hidden units per layer")
    add("--num-layers", "L", number(int, 1, maximum=1000), "recurrent layers")
    command.add_argument("--tokens", choices=("chars", "words", "bytes"), help="what is read and written (default: chars)")
    add("--seq-length", "T", positive, "steps of truncated BPTT")
    add("--batch-size", "B", positive, "parts of the text that are read side by side (default: 50, fewer in a short text)")
    add("--dropout", "P", number(float, 0, maximum=1), "between recurrent layers")
    add("--learning-rate", "R", number(float, 0, exclusive=True), "its peak")
    add("--grad-clip", "N", number(float, 0, exclusive=True), "gradients are scaled down to this norm")
    add("--max-epochs", "N", positive, "how often the text is read")
    add("--train-frac", "X", part, "part of the text to train on, from its beginning")
    add("--val-frac", "X", part, "part of the text to hold out, after that")
    command.add_argument("--checkpoint-dir", metavar="FOLDER", default="checkpoints",
                         help="where the results go (default: %(default)s)")  # fmt: skip
    add("--checkpoint-every", "STEPS", positive, "steps between two checkpoints")
    add("--init-from", "MODEL", str, "begin with the weights of this model, instead of new ones")
    command.add_argument("--resume", action="store_true", default=False,
                         help="go on with the run in --checkpoint-dir, exactly as it would have gone on")  # fmt: skip
    add("--seed", "N", number(int, 0), "of weights and dropout")
    add_threads(command)


def run(options):
    """Train a model; see the description above."""
    from ..files import remove_leftovers
    from ..training import LAST, TrainingDiverged

    checkpoint = os.path.join(options.checkpoint_dir, LAST)
    training = _Training(options, checkpoint, *_settled(options, checkpoint))
    trainer = training.trainer
    try:
        for name in ("history.json", "curve.png"):
            remove_leftovers(os.path.join(options.checkpoint_dir, name))
        with stopping_on_interrupt(trainer):
            if not training.resumed:
                trainer.save()  # from the first moment on there is something to resume
            trainer.run()
            training.write()
    except TrainingDiverged as error:
        remedy = "" if error.data else f", such as --learning-rate {training.settings['learning_rate'] / 4:g}"
        raise CommandError(f"{error}{remedy}. {training.kept()}") from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}. {training.kept()}") from None
    if trainer.stopping and not trainer.done:
        raise KeyboardInterrupt(
            f"Stopped after step {trainer.step:,} of {trainer.steps:,}; the checkpoint is kept.\n"
            f"  go on:     {training.resume_command()}\n"
            f"  generate:  {generate_command(options, checkpoint, prime='')}"
        )
    training.finish()


def _settled(options, checkpoint):
    """Every setting of the run, and whether it goes on: from the command line, the run to resume, the defaults."""
    given = {name: getattr(options, name) for name in DEFAULTS if getattr(options, name) is not None}
    if os.path.exists(options.checkpoint_dir) and not os.path.isdir(options.checkpoint_dir):
        raise CommandError(f"{options.checkpoint_dir}: this is a file; --checkpoint-dir wants a folder.")
    if os.path.exists(checkpoint):
        step, former = _former(checkpoint)
    else:
        step, former = None, {}
    if not options.resume:
        if step:  # before its first step a run is not worth keeping
            raise CommandError(f"{checkpoint}: there is a run in this folder, at step {step:,}. Go on with it by --resume, or "
                               "choose another --checkpoint-dir.")  # fmt: skip
        former = {}
    elif former:
        for name in given.keys() & former.keys() - {*FREE}:
            if given[name] != former[name]:
                raise CommandError(f"{_option(name)} {given[name]}: the run in {options.checkpoint_dir} has {former[name]}; "
                                   "leave it out, or begin another run.")  # fmt: skip
        if former["data"] == "-" and "data" not in given:
            raise CommandError("--data: the run read standard input; give it the same text again, with --data -.")
    elif "data" in given:
        print(f"Note:     there is no run in {options.checkpoint_dir} to resume; one begins now")
    else:
        raise CommandError(f"{checkpoint}: there is no run to resume; begin one with --data FILE.")
    if "data" not in {**former, **given}:
        raise CommandError("--data: give a text to train on, such as --data shakespeare.txt.")
    settings = {**DEFAULTS, **former, **given}
    for name, other in (("val_frac", "train_frac"), ("train_frac", "val_frac")):
        if name not in {**former, **given}:  # what the other leaves of it
            settings[name] = min(settings[name], 1 - settings[other])
    if settings["train_frac"] == 0 or settings["train_frac"] + settings["val_frac"] > 1 + 1e-9:
        raise CommandError(f"--train-frac {settings['train_frac']:g} and --val-frac {settings['val_frac']:g}: expected a part "
                           "to train on, and both together at most 1.")  # fmt: skip
    return settings, given, bool(former)


def _former(checkpoint):
    """The step and the settings of the run in a checkpoint."""
    import json

    from ..serialize import read_metadata

    try:
        run = json.loads(read_metadata(checkpoint)["training"])
        return run["step"], {**DEFAULTS, **run["notes"]["settings"]}
    except (ValueError, KeyError, TypeError) as error:
        problem = error if isinstance(error, ValueError) else f"{checkpoint}: it is no run of the command train"
        raise CommandError(f"{problem}; choose another --checkpoint-dir.") from None


def _option(name):
    return "--" + name.replace("_", "-")


class _Training:
    """One run: text, model, trainer, and what is said about them."""

    def __init__(self, options, checkpoint, settings, given, resumed):
        from ..threads import get_num_threads
        from ..training import Trainer, progress_display, warmup_cosine

        self.options, self.checkpoint, self.settings, self.resumed = options, checkpoint, settings, resumed
        use_threads(settings["threads"])
        settings["threads"] = get_num_threads()
        where = "standard input" if settings["data"] == "-" else settings["data"]
        codes = self._model_and_codes(where, given)
        self.unit = self.model.units.removesuffix("s")
        data, held_out = self._split(codes, where)
        from ..optim import Adam

        self.trainer = Trainer(
            self.model, Adam(self.model.modules, lr=settings["learning_rate"]), data, epochs=settings["max_epochs"],
            valid=(lambda model: math.log(model.perplexity(held_out))) if held_out.size else None,
            schedule=warmup_cosine(settings["learning_rate"]), max_norm=settings["grad_clip"],
            folder=options.checkpoint_dir, checkpoint_every=settings["checkpoint_every"],
            callbacks=[lambda trainer: self.write_history() if trainer.validated else None],
            progress=progress_display(measure=f"bits/{'char' if self.unit == 'character' else self.unit}", scale=BITS),
        )  # fmt: skip
        if resumed:
            try:
                self.trainer.resume()
            except ValueError as error:
                raise CommandError(f"{error}. Give the text of that run, or begin another one.") from None
        if settings["data"] != "-":
            settings["data"] = os.path.abspath(settings["data"])
        self.trainer.notes["settings"] = settings
        self._describe(where, codes, held_out, data)

    def _model_and_codes(self, where, given):
        """Make the model, or load it; the numbers of the whole text."""
        from ..models import LanguageModel, Vocabulary

        settings = self.settings
        begin = self.checkpoint if self.resumed else settings["init_from"]
        if begin is None:
            text = read_text(settings["data"], settings["tokens"])
            vocabulary = Vocabulary.of(text, settings["tokens"])
            self.model = LanguageModel(
                vocabulary, hidden_size=settings["rnn_size"], num_layers=settings["num_layers"], cell=settings["model"],
                dropout=settings["dropout"], rng=settings["seed"],
            )  # fmt: skip
            return vocabulary.encode(text)
        self.model = load_model(begin)
        vocabulary = self.model.vocabulary
        if not self.resumed:
            self._take_over(given)
        text = read_text(settings["data"], vocabulary.tokens)
        if vocabulary.tokens == "chars" and not self.resumed:
            known_only(vocabulary, text, where, "Take it out of the text, or train without --init-from.")
        return vocabulary.encode(text)

    def _take_over(self, given):
        """The settings that are those of the model of --init-from."""
        model, settings = self.model, self.settings
        own = {"model": model.cell, "rnn_size": model.layer.hidden_size, "num_layers": model.layer.num_layers,
               "tokens": model.vocabulary.tokens}  # fmt: skip
        for name in OF_MODEL:
            if given.get(name, own[name]) != own[name]:
                raise CommandError(f"{_option(name)} {given[name]}: the model of --init-from has {own[name]}; leave it out.")
        settings.update(own)
        if "dropout" in given:
            model.layer.dropout = settings["dropout"]
        settings["dropout"] = model.layer.dropout
        model.layer.rng = settings["seed"]

    def _split(self, codes, where):
        """What is trained on, and the numbers of what is held out."""
        from ..training import TextStreams

        settings, length = self.settings, self.settings["seq_length"]
        end = round(settings["train_frac"] * codes.size)
        train, held_out = codes[:end], codes[end : end + round(settings["val_frac"] * codes.size)]
        rows = settings["batch_size"] or max(1, min(50, train.size // (length + 1)))
        needed = rows * (length + 1)
        if train.size < needed:
            remedy = "a smaller --seq-length" if rows == 1 else "a smaller --batch-size or --seq-length"
            raise CommandError(
                f"{where}: {settings['train_frac']:.4g} of it, to train on, has {train.size:,} {self.model.units}; "
                f"{rows} x ({length} + 1) = {needed:,} are needed for one step. Give a longer text, or {remedy}."
            )
        if 0 < held_out.size < 2:
            held_out = held_out[:0]
        settings["batch_size"] = rows
        return TextStreams(train, rows, length, unit=self.model.units), held_out

    def _describe(self, where, codes, held_out, data):
        settings, trainer, model = self.settings, self.trainer, self.model
        count = sum(array.size for array in model.parameters.values())
        begun = f", from {settings['init_from']}" if settings["init_from"] else ""
        different = f", {len(model.vocabulary) - 1:,} different" if model.vocabulary.first else ""
        print(f"Text:     {where}, {codes.size:,} {model.units}{different}")
        print(f"Held out: {held_out.size:,} {model.units} at its end" if held_out.size else "Held out: nothing")
        if unknown := int((codes < model.vocabulary.first).sum()):
            print(f"Unknown:  {unknown:,} {model.units}, {unknown / codes.size:.2%}")
        layers = f"{settings['num_layers']} layer{'s' * (settings['num_layers'] > 1)}"
        print(f"Model:    {settings['model']}, {layers} of {settings['rnn_size']} units, {count:,} parameters{begun}")
        epochs = f"{settings['max_epochs']:,} epoch{'s' * (settings['max_epochs'] > 1)}"
        print(f"Training: {epochs} of {len(data):,} steps; {data.batch_size} parts of the text side by "
              f"side, {data.seq_length} {model.units} of each per step")  # fmt: skip
        print(f"Folder:   {self.options.checkpoint_dir}; a checkpoint every {settings['checkpoint_every']:,} steps")
        if self.resumed:
            left = "" if trainer.step < trainer.steps else ": nothing is left to do, but for more epochs (--max-epochs)"
            print(f"Resumed:  after step {trainer.step:,} of {trainer.steps:,}{left}")
        for extra, what in (("matplotlib", "the curve will not be drawn"), ("tqdm", "no progress bar")):
            if not installed(extra):
                print(f"Note:     {what}: {extra} is not installed (pip install 'fastrnn[demo]')")
        sys.stdout.flush()

    def kept(self):
        """What is left when a run fails."""
        if not os.path.exists(self.checkpoint):
            return "Nothing was trained yet."
        return f"The checkpoint of step {self.trainer.saved:,} is intact; go on from it with --resume."

    def resume_command(self):
        """The command line that goes on."""
        data = ["--data", "-"] if self.settings["data"] == "-" else []
        folder = ["--checkpoint-dir", self.options.checkpoint_dir]
        return shlex.join([*program_words(self.options), "train", *data, *folder, "--resume"])

    def _path(self, name):
        return os.path.join(self.options.checkpoint_dir, name)

    def write_history(self):
        """``history.json``: losses in nats per token."""
        settings = {name: value for name, value in self.settings.items() if value is not None}
        self.trainer.history.write(self._path("history.json"), settings=settings, steps=self.trainer.step)

    def write(self):
        """The files beside the checkpoints."""
        from ..training import plot_history

        self.write_history()
        if installed("matplotlib") and self.trainer.step:
            title = f"{self.settings['model']}, {self.settings['num_layers']} x {self.settings['rnn_size']}"
            plot_history(self.trainer.history, self._path("curve.png"), title=title, label=f"bits per {self.unit}", scale=BITS,
                         unit=self.model.units)  # fmt: skip

    def finish(self):
        """The result, the files, and how to go on."""
        from ..training import BEST

        trainer, best = self.trainer, self._path(BEST)
        rate = trainer.seen / max(trainer.elapsed, 1e-9)
        print(f"Trained:  {trainer.seen:,} {self.model.units} in {trainer.elapsed:.0f} s, {rate:,.0f} per second, "
              "measuring and writing included")  # fmt: skip
        what = "held out" if trainer.valid is not None else "in training"
        if trainer.best is None:  # on held-out text beyond all numbers
            best = self.checkpoint
            print("Best:     none, as none could be measured")
        else:
            perplexity = math.exp(min(trainer.best, 700.0))
            print(f"Best:     {trainer.best * BITS:.3f} bits per {self.unit} {what}, perplexity {perplexity:.2f}: {best}")
        others = [self.checkpoint, self._path("history.json"), self._path("curve.png")]
        print(f"Files:    {', '.join(path for path in others if os.path.exists(path))}")
        print(f"More:     {generate_command(self.options, best, prime='')}")
