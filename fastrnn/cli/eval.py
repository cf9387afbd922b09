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
    perplexity = model.perplexity(text, streams=1 if options.exact else 32)
    per_token = math.log2(perplexity)
    unit = model.units.removesuffix("s")
    per = {unit: per_token}
    size = f"{codes.size:,} {model.units}"
    length = _characters(text)
    if length and unit != "character":
        per = {"character": per_token * codes.size / length, unit: per_token}
        size = f"{length:,} characters, {size}"
    print(f"Text:        {where}, {size}")
    if unknown := int((codes < vocabulary.first).sum()):
        print(f"Unknown:     {unknown:,} {model.units}, {unknown / codes.size:.2%}, all counted as one and the same")
    print("Bits:        " + ", ".join(f"{bits:.4f} per {what}" for what, bits in per.items()))
    print(f"Perplexity:  {perplexity:.4f} per {unit}, of {len(vocabulary):,}")


def _characters(text):
    """How many characters a text has; None for bytes that are none."""
    try:
        return len(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError:
        return None
