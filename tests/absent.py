"""Processes in which libraries are missing, whether or not they are installed."""

import subprocess
import sys

CODE = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Finder())
import fastrnn as fr
import numpy as np
"""


def said_without(absent, code):
    """What ``code``, which ends well, prints where these packages are not to be found."""
    done = subprocess.run([sys.executable, "-c", CODE.format(absent=absent) + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
