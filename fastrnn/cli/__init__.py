"""The command line: ``fastrnn COMMAND`` or ``python -m fastrnn COMMAND``.

    train, demo, generate, eval, inspect, convert, bench, info    a module per command: ``add`` describes it to argparse,
                                                                  ``run`` does it
    common                                                        what they share

Exit codes: 0 done, 2 a wrong command line or file, 130 stopped by Ctrl-C, 141 the reader of a pipe left.
Commands import what they need when they run; matplotlib and tqdm only if they are there.
"""

import argparse
import os
import sys

from . import bench, convert, demo, eval, generate, info, inspect, train
from .common import CommandError

COMMANDS = (train, demo, generate, eval, inspect, convert, bench, info)


def _parser(program):
    parser = argparse.ArgumentParser(
        prog=program, description="fastrnn: recurrent neural networks on the CPU, fast.",
        epilog=f"{program} COMMAND --help shows the options of a command, and examples.",
    )  # fmt: skip
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.set_defaults(command=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


class _Version(argparse.Action):
    """Asks the package only when somebody wants to know."""

    def __call__(self, parser, *_):
        from .. import __version__

        print(f"fastrnn {__version__}")
        parser.exit()


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
    arguments = sys.argv[1:] if arguments is None else arguments
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may have any name
    try:
        code = _run(list(arguments), program)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _leave_stdout()
        return 141
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    except MemoryError as error:
        problem = f"not enough memory{': ' if str(error) else ''}{error}. Choose smaller sizes."
    except CommandError as error:
        problem = str(error)
    except OSError as error:
        where = error.filename
        if where is None:  # files have names; it is what is printed that cannot be written
            where = "standard output"
            _leave_stdout()
        problem = f"{where}: {error.strerror or error}"
    print(f"{program}: error: {problem}", file=sys.stderr)
    return 2


def _run(arguments, program):
    """The command's exit code."""
    if arguments[:1] == ["bench"]:  # whose arguments, --help too, are for somebody else
        return bench.run(argparse.Namespace(arguments=arguments[1:]))
    options = _parser(program).parse_args(arguments)
    if options.command is None:
        options.parser.print_help()
        return 0
    options.program = program
    return options.command(options) or 0


def _leave_stdout():
    """Have no second complaint when Python flushes standard output at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
