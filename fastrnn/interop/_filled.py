"""Modules with parameters that are there already."""

from ..params import restoring


def filled(make, parameters, budget=None):
    """The module that ``make()`` gives, with these parameters; ``budget``: how many it may have."""
    with restoring(budget):
        module = make()
    module.load_state_dict(parameters)
    return module


def stacked(layers, config):
    """One module of several layers of one class and configuration, which is ``config`` but for their number."""
    parameters = {
        name.replace("_l0", f"_l{i}"): array for i, layer in enumerate(layers) for name, array in layer.parameters.items()
    }
    return filled(lambda: type(layers[0])(**config | {"num_layers": len(layers)}), parameters)
