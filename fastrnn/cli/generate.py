"""``fastrnn generate``: text of a trained model, as it is made."""

import contextlib
import sys

from .common import CommandError, add_threads, number, use_threads


def add(commands):
    """Describe the command and its arguments."""
    command = commands.add_parser(
        "generate",
        help="write text with a trained model",
        description="Writes text with a trained language model, each character as soon as it is made.",
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="a file such as demo-output/model.safetensors, or a checkpoint")
    add("--prime", metavar="TEXT", default="", help="what the text begins with (default: nothing)")
    add("--length", metavar="N", type=number(int, 0), default=500, help="characters to write (default: %(default)s)")
    add("--temperature", metavar="X", type=number(float, 0), default=0.8,
        help="below 1 likelier, above 1 more surprising, 0 always the likeliest (default: %(default)s)")  # fmt: skip
    add("--seed", metavar="N", type=number(int, 0), help="the same seed gives the same text (default: a new one)")
    add_threads(command)
    command.set_defaults(command=run)


def run(options):
    """Write text with a model, character by character."""
    from ..models import LanguageModel

    use_threads(options.threads)
    try:
        model = LanguageModel.load(options.model)
    except ValueError as error:
        hint = "MODEL is a file that the demo wrote, such as demo-output/model.safetensors"
        raise CommandError(f"{error}. {hint}.") from None
    for character in model.vocabulary.unknown(options.prime):
        place = options.prime.index(character) + 1
        known = model.vocabulary.characters
        raise CommandError(
            f"--prime: {character!a}, its character {place}, is not among the {len(known)} characters that this model "
            f"knows: {known!a:.200}. Leave it out or replace it."
        )
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    text = model.generate(options.length, prime=options.prime, temperature=options.temperature, rng=options.seed)
    print(options.prime, end="", flush=True)
    try:
        for character in text:
            print(character, end="", flush=True)
    finally:
        with contextlib.suppress(BrokenPipeError):
            print(flush=True)
