"""Commands in processes of their own, as a user starts them."""

import signal
import subprocess
import sys


def start(*arguments, **options):
    """A running command; SIGINT reaches it even if whoever started the tests ignores it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastrnn", *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def run(*arguments, **options):
    """Exit code, stdout and stderr of a command, which never shows a traceback."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out, err
