"""``fastrnn generate``: text of a trained model, as it is made."""

import contextlib
import os
import sys

from .common import MODEL_HELP, add_command, add_threads, known_only, load_model, number, read_text, use_threads

EXAMPLES = (
    "demo-output/model.safetensors --prime 'def ' --length 300 --seed 1",
    "model.safetensors --temperature 1.1 --top-p 0.9",
    "model.safetensors --prime - < beginning.txt | head -n 20",
    "model.safetensors --beam 8 --length 60",
)


def add(commands):
    """Describe the command and its arguments."""
    command = add_command(
        commands, "generate", run, "write text with a trained model",
        "Writes text with a trained language model, each character (word, byte) as soon as it is made.", EXAMPLES,
    )  # fmt: skip
    add = command.add_argument
    positive = number(int, 1)
    add("model", metavar="MODEL", help=MODEL_HELP)
    add("--prime", metavar="TEXT", default="", help="what the text begins with (default: nothing); - reads standard input")
    add("--length", metavar="N", type=number(int, 0), default=500,
        help="characters (words, bytes) to write (default: %(default)s)")  # fmt: skip
    add("--temperature", metavar="X", type=number(float, 0), default=0.8,
        help="below 1 likelier, above 1 more surprising, 0 always the likeliest (default: %(default)s)")  # fmt: skip
    add("--top-k", metavar="K", type=positive, help="choose among the K likeliest (default: all)")
    add("--top-p", metavar="P", type=number(float, 0, True, 1),
        help="choose among the likeliest that have this probability together (default: 1, all)")  # fmt: skip
    add("--beam", metavar="W", type=number(int, 1, maximum=1000),
        help="the likeliest text that a search with W texts side by side finds, instead of chance")  # fmt: skip
    add("--seed", metavar="N", type=number(int, 0), help="the same seed gives the same text (default: a new one)")
    add_threads(command)


def run(options):
    """Write text with a model, token by token."""
    use_threads(options.threads)
    model = load_model(options.model)
    vocabulary, prime = model.vocabulary, options.prime
    if prime == "-":
        prime = read_text("-", vocabulary.tokens)
        prime = prime.removesuffix(b"\n" if isinstance(prime, bytes) else "\n")
    elif vocabulary.tokens == "bytes":
        prime = os.fsencode(prime)
    known_only(vocabulary, prime, "--prime", "Leave it out or replace it.")
    if hasattr(sys.stdout, "reconfigure"):  # what the terminal cannot show is a question mark
        sys.stdout.reconfigure(errors="replace")
    if options.beam:
        found = model.beam_search(options.length, prime=prime, width=options.beam) if options.length else [("", 0)]
        text = found[0][:1]
    else:
        text = model.generate(options.length, prime=prime, temperature=options.temperature, top_k=options.top_k,
                              top_p=options.top_p, rng=options.seed)  # fmt: skip
    print(vocabulary.decode(vocabulary.encode(prime)) if prime else "", end="", flush=True)
    try:
        for piece in text:
            print(piece, end="", flush=True)
    finally:
        with contextlib.suppress(BrokenPipeError):
            print(flush=True)
