"""``fastrnn inspect``: what is in a file, and how gradients flow through it."""

import json
import os
from inspect import signature

from .common import CommandError, add_command, installed, model_file, number

EXAMPLES = (
    "demo-output/model.safetensors",
    "model.safetensors --plot flow.png --steps 200",
)


def add(commands):
    """Describe the command and its arguments."""
    command = add_command(
        commands, "inspect", run, "layers, sizes and norms of a model; a plot of its gradient flow",
        "Shows what is in a file that fastrnn wrote, a layer, a Sequential, a language model or a checkpoint: its\n"
        "layers and parameters, with their sizes and norms.", EXAMPLES,
    )  # fmt: skip
    add = command.add_argument
    add("model", metavar="MODEL", help="a file of fastrnn.save, of LanguageModel.save, a checkpoint, or the folder of a run")
    add("--plot", metavar="FILE", help="draw how a gradient at the last step flows back through the steps (.png, .svg, .pdf)")
    add("--steps", metavar="T", type=number(int, 2, maximum=100_000), default=100,
        help="steps of the plot (default: %(default)s)")  # fmt: skip


def run(options):
    """Print what is in a file; draw its gradient flow."""
    from ..models import LanguageModel
    from ..params import Module
    from ..serialize import load, read_metadata

    options.model = model_file(options.model)
    try:
        model = load(options.model)
    except ValueError as error:
        raise CommandError(f"{error}. MODEL is a file that fastrnn wrote.") from None
    except ImportError as error:  # an estimator
        raise CommandError(f"{options.model}: {error}") from None
    print(f"File:       {options.model}, {os.path.getsize(options.model) / 1e6:.2f} MB")
    if isinstance(model, LanguageModel):
        parts = {name: getattr(model, name) for name in ("embedding", "layer", "head")}
        known = getattr(model.vocabulary, "characters", None) or " ".join(getattr(model.vocabulary, "words", ()))
        print(f"Model:      LanguageModel of {len(model.vocabulary):,} {model.units}, cell {model.cell}")
        if known:
            print(f"Vocabulary: {known!a:.100}" + "..." * (len(ascii(known)) > 100))
        _show_training(read_metadata(options.model))
    elif isinstance(model, Module):
        parts = {"": model} if not hasattr(model, "__iter__") else {str(i): inner for i, inner in enumerate(model)}
        print(f"Model:      {type(model).__name__}")
    else:  # an estimator
        parts = model._network.modules
        print(f"Model:      {type(model).__name__}")
    for name, module in parts.items():
        print(f"{name.capitalize() + ':':11s} {brief(module)}")
    _show_parameters({f"{part}.{name}".lstrip("."): array for part, module in parts.items()
                      for name, array in module.parameters.items()})  # fmt: skip
    recurrent = {name: module for name, module in parts.items() if module._recurrent}
    for name, layer in recurrent.items():
        _show_radii(name, layer)
    if options.plot:
        _plot(options, model, recurrent)


def brief(module):
    """A module with its sizes and what is not as it is by itself."""
    if not module._recurrent:
        return repr(module)
    usual = {}
    for function in (type(module)._build, type(module).__init__):
        usual |= {name: parameter.default for name, parameter in signature(function).parameters.items()}
    options = ", ".join(f"{name}={value!r}" for name, value in module._config().items() if value != usual.get(name, ()))
    return f"{type(module).__name__}({options})  # {sum(a.size for a in module.parameters.values()):,} parameters"


def _show_training(metadata):
    """Where a checkpoint's run is, if it says so."""
    try:
        step = json.loads(metadata["training"])["step"]
    except (KeyError, TypeError, ValueError):
        return
    print(f"Checkpoint: of a training run, after step {step:,}")


def _show_parameters(parameters):
    import numpy as np

    width = max(9, *map(len, parameters))
    print(f"\n{'parameter':{width}s}  {'shape':>14s} {'numbers':>11s} {'norm':>10s} {'rms':>10s} {'largest':>10s}")
    broken = []
    for name, array in parameters.items():
        values = array.astype(np.float64)
        norm, largest = np.linalg.norm(values), abs(values).max(initial=0)
        shape = " x ".join(map(str, array.shape))
        rms = norm / max(array.size, 1) ** 0.5
        print(f"{name:{width}s}  {shape:>14s} {array.size:11,d} {norm:10.4g} {rms:10.4g} {largest:10.4g}")
        if bad := int((~np.isfinite(values)).sum()):
            broken.append(f"{name} ({bad:,})")
    count = sum(array.size for array in parameters.values())
    print(f"{'all':{width}s}  {'':>14s} {count:11,d}")
    if broken:
        print(f"\nNot finite (NaN or infinity): {', '.join(broken)}")


def _show_radii(name, layer):
    """Spectral radii of R, where there is one and its numbers are finite."""
    import numpy as np

    from ..diagnostics import spectral_radius

    if not any(key.startswith("weight_hh") for key in layer.parameters):
        return
    radii = spectral_radius(layer)
    radii = radii if isinstance(radii, dict) else {"": radii}
    shown = [" ".join([*gate, *(f"{value:.3g}" for value in np.atleast_1d(values))]) for gate, values in radii.items()]
    of = f" of {name}" if name else ""
    print(f"\nSpectral radius of R{of}, for each layer and direction: {', '.join(shown)}")


def _plot(options, model, recurrent):
    """Norms of the gradient with respect to the state at every step, for a loss at the last one."""
    if not recurrent:
        raise CommandError(f"{options.model}: it has no recurrent layer whose gradient flow could be drawn.")
    if not installed("matplotlib"):
        raise CommandError("--plot needs matplotlib: pip install 'fastrnn[plot]'")
    import numpy as np

    from ..diagnostics import gradient_norms, plot_gradient_norms

    axes = None
    for name, layer in recurrent.items():
        x = _inputs(model, layer, options.steps)
        y = layer(x)[0]
        dy = np.zeros_like(y)
        dy[(slice(None), -1) if layer.batch_first else -1] = 1 / dy[-1].size**0.5
        axes = plot_gradient_norms(gradient_norms(layer, x, dy), axes, label=name or None)
    axes.set_title(f"A gradient at step {options.steps} on its way back: {os.path.basename(options.model)}")
    try:
        axes.figure.savefig(options.plot, dpi=120)
    except ValueError as error:
        raise CommandError(f"--plot {options.plot}: {error}") from None
    print(f"\nPlot:       {options.plot}")


def _inputs(model, layer, steps):
    """What the layer reads: text that a language model writes itself; for others random numbers."""
    import numpy as np

    rng = np.random.default_rng(0)
    if hasattr(model, "embedding"):
        text = "".join(model.generate(steps, rng=rng))
        codes = np.resize(model.vocabulary.encode(text), steps)  # bytes that are no text decode to others
        return model.embedding(codes)[:, np.newaxis]
    shape = (1, steps, layer.input_size) if layer.batch_first else (steps, 1, layer.input_size)
    return rng.standard_normal(shape)
