"""Files that appear under their name complete or not at all; how large the arrays in a file are.

Imports numpy and ``_validate``; secrets and glob when a file is written.
"""

import math
import os

import numpy as np

from . import _validate


def write_atomically(path, chunks):
    """Write a file: to a new one beside it, flushed to the disk, then renamed.

    If anything fails, an earlier file of that name is left as it was, and nothing else is left. A process that is
    killed meanwhile leaves the new file behind, for ``remove_leftovers``.

    Parameters
    ----------
    path : str or path-like
        Through a symbolic link the file behind it is replaced.
    chunks : iterable of bytes or ndarray
        Arrays are written as the little-endian bytes of their items.

    Raises
    ------
    OSError
        If the file cannot be written; it names ``path``.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastrnn.files import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(os.path.join(folder, "a.txt"), [b"one ", b"two"])
    ...     os.listdir(folder)
    ['a.txt']
    """
    import secrets

    path = os.path.realpath(_validate.path(path))
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(_bytes(chunk))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # the name the user knows
        raise
    _flush_folder(folder)


def remove_leftovers(path):
    """Remove what killed processes left of unfinished writings of a file; nobody may be writing it now."""
    import glob

    folder, name = os.path.split(os.path.realpath(_validate.path(path)))
    pattern = os.path.join(glob.escape(folder), f".{glob.escape(name[:100])}.{16 * '[0-9a-f]'}.tmp")
    for leftover in glob.glob(pattern):
        os.unlink(leftover)


def extent(shape, itemsize):
    """The bytes of an array of this shape, and whether NumPy can have it, which bounds them also when an axis is empty."""
    return math.prod(shape) * itemsize, math.prod(max(size, 1) for size in shape) * itemsize < 2**63


def _bytes(chunk):
    """The little-endian bytes of a contiguous array, without a copy where that is possible."""
    if isinstance(chunk, bytes):
        return chunk
    little = chunk.astype(chunk.dtype.newbyteorder("<"), copy=False)
    return memoryview(little.reshape(-1).view(np.uint8))


def _flush_folder(folder):
    """Make the renaming itself durable, where the system lets a folder be flushed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
