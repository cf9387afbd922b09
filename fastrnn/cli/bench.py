"""``fastrnn bench``: hands over to the benchmarks of a source checkout."""

import argparse
import os
import sys
from importlib.util import find_spec

from .common import CommandError, add_command


def add(commands):
    """Describe the command: its arguments are those of ``python -m bench``."""
    command = add_command(
        commands, "bench", run, "time fastrnn beside other libraries (in a source checkout)",
        "Hands over to python -m bench of a source checkout, with the arguments given.", (),
    )  # fmt: skip
    command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of python -m bench; --help lists them")


def run(options):
    """Run the benchmarks beside this package, or in the folder where the user is."""
    here = find_spec("fastrnn").origin
    for folder in (os.path.dirname(os.path.dirname(here)), os.getcwd()):
        if os.path.isfile(os.path.join(folder, "bench", "contenders", "__init__.py")):
            sys.path.insert(0, folder)
            break
    else:
        raise CommandError(
            "the benchmarks are not installed with the package: get fastrnn's source, and run this in its folder, or "
            "make bench, which also installs the libraries to compare with."
        )
    from importlib import import_module

    return import_module("bench.__main__").main(options.arguments)
