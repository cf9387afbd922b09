"""The command line: ``fastrnn COMMAND`` or ``python -m fastrnn COMMAND``.

    demo, generate, info    a module per command: ``add`` describes it to argparse, ``run`` does it
    common                  what they share

Exit codes: 0 done, 2 a wrong command line or file, 130 stopped by Ctrl-C, 141 the reader of a pipe left.
Commands import what they need when they run; matplotlib and tqdm only if they are there.
"""

import argparse
import os
import sys

from . import demo, generate, info
from .common import CommandError

COMMANDS = (demo, generate, info)


def _parser(program):
    parser = argparse.ArgumentParser(prog=program, description="fastrnn: recurrent neural networks on the CPU, fast.")
    parser.set_defaults(command=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


def main(arguments=None, program="fastrnn"):
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    program : str
        What the user calls this program.

    Returns
    -------
    int
        The exit code.
    """
    try:
        options = _parser(program).parse_args(arguments)
        if options.command is None:
            options.parser.print_help()
        else:
            options.program = program
            options.command(options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # and no second complaint when Python flushes stdout at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"{program}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
