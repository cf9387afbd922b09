"""``fastrnn convert``: from a file of one kind to one of another."""

from .common import CommandError, add_command
from .inspect import brief

EXAMPLES = (
    "lstm.pt lstm.safetensors",
    "checkpoint.pt tagger.keras --key model --chain",
    "model.keras model.onnx",
)


def add(commands):
    """Describe the command and its arguments."""
    command = add_command(
        commands, "convert", run, "a model or weights from a file of PyTorch, Keras, ONNX or NumPy to another kind",
        "Converts a file to another kind and prints what was mapped to what. The endings say which kinds: .safetensors,\n"
        ".pt or .pth (PyTorch), .npz (NumPy), .keras, .onnx. What the other kind does not have is refused by name.",
        EXAMPLES,
    )  # fmt: skip
    add = command.add_argument
    add("source", metavar="IN", help="the file to read; it is not changed")
    add("target", metavar="OUT", help="the file to write")
    add("--key", metavar="NAME", help="the state_dict in a checkpoint of PyTorch that holds more, such as model")
    add("--chain", action="store_true",
        help="the layers of a state_dict, in the order of the file, each read what the one before puts out")  # fmt: skip
    add("--nonlinearity", choices=("tanh", "relu"), help="of an RNN in a state_dict, which does not say")
    add("--batch-first", action="store_true", help="the layers of a state_dict have the batch first (for .onnx)")


def run(options):
    """Convert, and print what was mapped to what."""
    from ..interop import convert

    try:
        done = convert(options.source, options.target, key=options.key, chain=options.chain,
                       nonlinearity=options.nonlinearity, batch_first=options.batch_first)  # fmt: skip
    except (ImportError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    if done.module is not None:
        print("\n".join([f"{options.source}:", *_outline(done.module)]), end="\n\n")
    width = max((len(first) for first, _, _ in done.mapped), default=0)
    for first, shape, second in done.mapped:
        sizes = " x ".join(map(str, shape)) or "1"
        print(f"{first:{width}s}  {sizes:>12s}  ->  {second}")
    print(f"\n{options.target}: {len(done.mapped)} parameters")
    if done.lost:
        print(f"not in {options.target}: {', '.join(done.lost)}")


def _outline(module, number=""):
    """Lines that say what a model is made of."""
    if not hasattr(module, "__iter__"):
        return [f"  {number}{brief(module)}"]
    inside = [line for i, inner in enumerate(module) for line in _outline(inner, f"{i}: ")]
    return [f"  {number}{type(module).__name__}", *(f"  {line}" for line in inside)]
