"""Commands as a user starts them: in processes of their own, or, which is quicker, in this one."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys

from fastrnn.cli import main


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


def shown(*arguments):
    """What a command, which succeeds, shows on a terminal."""
    master, slave = pty.openpty()
    process = start(*arguments, stdout=slave, stderr=slave)
    os.close(slave)
    text = b""
    with contextlib.suppress(OSError):  # the end of a terminal, on Linux
        while piece := os.read(master, 65536):
            text += piece
    os.close(master)
    assert process.wait(timeout=60) == 0 and b"Traceback" not in text
    return text.decode()


def run_here(*arguments, stdin=""):
    """The same as ``run``, in this process; ``stdin`` is what the command reads there."""
    streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="") for data in (stdin.encode(), b"", b"")]
    former, sys.stdin = sys.stdin, streams[0]
    try:
        with contextlib.redirect_stdout(streams[1]), contextlib.redirect_stderr(streams[2]):
            try:
                code = main([str(argument) for argument in arguments], program="python -m fastrnn")
            except SystemExit as stop:  # of argparse
                code = stop.code or 0
    finally:
        sys.stdin = former
    out, err = ((stream.flush(), stream.buffer.getvalue().decode())[1] for stream in streams[1:])
    return code, out, err
