"""``fastrnn eval``: how well a model predicts a text."""

import math

from .common import MODEL_HELP, CommandError, add_command, add_threads, known_only, load_model, read_text, use_threads

EXAMPLES = (
    "demo-output/model.safetensors --data program.py",
    "model.safetensors --data - < text.txt",
)


def add(commands):
    """Describe the command and its arguments."""
    command = add_command(
        commands, "eval", run, "bits per character and perplexity of a text",
        "Measures how well a trained language model predicts a text: bits per character and perplexity.\n"
        "Bits are per character of the text for models of words and bytes too, so that they can be compared.", EXAMPLES,
    )  # fmt: skip
    add = command.add_argument
    add("model", metavar="MODEL", help=MODEL_HELP)
    add("--data", metavar="FILE", required=True, help="a text in UTF-8, for a model of bytes any file; - reads standard input")
    add("--replace-unknown", action="store_true",
        help="count characters that the model does not know as its unknown one (words always are)")  # fmt: skip
    add("--exact", action="store_true", help="read the text in one piece, not in 32 side by side; slow")
    add_threads(command)


def run(options):
    """Print what a model makes of a text."""
    use_threads(options.threads)
    model = load_model(options.model)
    vocabulary, where = model.vocabulary, "standard input" if options.data == "-" else options.data
    text = read_text(options.data, vocabulary.tokens)
    if vocabulary.tokens == "chars" and not options.replace_unknown:
        known_only(vocabulary, text, where, "Take them out of the text, or give --replace-unknown.")
    codes = vocabulary.encode(text)
    if codes.size < 2:
        raise CommandError(f"{where}: it has {codes.size} {model.units}, too few to measure; give a longer text.")
    bits = model.bits_per_character(text, streams=1 if options.exact else 32)
    length = len(text)
    if isinstance(text, bytes):  # characters where it is a text
        length = len(text.decode("utf-8", "replace"))
        bits *= len(text) / length
    per_token = bits * length / codes.size
    unit = model.units.removesuffix("s")
    size = f"{length:,} characters" + ("" if unit == "character" else f", {codes.size:,} {model.units}")
    print(f"Text:        {where}, {size}")
    if unknown := int((codes < vocabulary.first).sum()):
        print(f"Unknown:     {unknown:,} {model.units}, {unknown / codes.size:.2%}, all counted as one and the same")
    print(f"Bits:        {bits:.4f} per character" + ("" if unit == "character" else f", {per_token:.4f} per {unit}"))
    perplexity = 2.0**per_token if per_token < 1024 else math.inf
    print(f"Perplexity:  {perplexity:.4f} per {unit}, of {len(vocabulary):,}")
