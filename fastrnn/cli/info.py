"""``fastrnn info``: what fastrnn was built with and runs on."""


def add(commands):
    """Describe the command and its arguments."""
    command = commands.add_parser(
        "info",
        help="version, instruction sets, BLAS, threads",
        description="Prints what fastrnn was built with and runs on.",
    )
    command.set_defaults(command=run)


def run(options):
    """Print what fastrnn was built with and runs on."""
    from ..threads import show_config

    show_config()
