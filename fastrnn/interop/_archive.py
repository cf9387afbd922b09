"""The parts of a zip archive, as ``.pt``, ``.npz`` and ``.keras`` files are.

The file is read once, and what is stored in it is a view of that memory. No number in the file decides how much is
allocated: a part that is compressed grows as it is decompressed, which deflate lets be 1032 times its bytes at most.
"""

import os
import struct
import zlib

import numpy as np

from .. import _validate

_DEFLATED = 8
_MOST = 1032  # bytes that deflate makes of one


def read_bytes(file, path):
    """What is in an open file."""
    data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
    if file.readinto(memoryview(data)) != data.size:
        _validate.refuse_file(path, "it became shorter while it was read")
    return data


class Archive:
    """The directory of an archive, and its parts.

    Parameters
    ----------
    file : file object
    data : ndarray of uint8
        What is in it.
    path : str
        For messages.
    named : callable, optional
        Name in the archive -> name of the part.
    deflated : bool
        Whether parts may be compressed.
    """

    def __init__(self, file, data, path, named=str, deflated=False):
        self.data, self.path = data, path
        self.parts = self._directory(file, named, deflated)

    def _directory(self, file, named, deflated):
        """Part -> its entry."""
        import zipfile

        problem, infos = None, []
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
        except OSError:
            raise
        except Exception as error:  # a damaged directory makes zipfile raise a dozen of types
            problem = f"its zip directory is damaged: {error!r:.100}"
        parts = {}
        for info in infos:
            part = named(info.filename)
            stored = info.compress_type == 0 and info.compress_size == info.file_size
            if info.flag_bits & 1 or not (stored or deflated and info.compress_type == _DEFLATED):
                problem = f"the part {part!r:.80} is compressed or encrypted, in a way that is not known here"
            if part in parts:
                problem = f"the part {part!r:.80} occurs twice"
            parts[part] = info
        if problem is None and sum(info.compress_size for info in parts.values()) > self.data.size:
            problem = "its parts overlap"
        if problem:
            _validate.refuse_file(self.path, problem)
        return parts

    def refuse(self, part, problem):
        """Raise the ``ValueError`` for a part."""
        _validate.refuse_file(self.path, f"the part {part!r:.80} {problem}")

    def part(self, name, checked=False):
        """The bytes of a part, a view of the file's if it is stored as it is; ``checked``: with its checksum."""
        if name not in self.parts:
            self.refuse(name, "is missing")
        info = self.parts[name]
        start, size = info.header_offset, info.compress_size
        header = self.data[max(start, 0) : start + 30].tobytes() if start >= 0 else b""
        if len(header) != 30 or header[:4] != b"PK\3\4":
            self.refuse(name, "is not where the directory says")
        start += 30 + sum(struct.unpack("<HH", header[26:]))
        if start + size > self.data.size:
            self.refuse(name, "goes beyond the end of the file")
        data = self.data[start : start + size]
        if info.compress_type == _DEFLATED:
            data = self._inflated(name, data, info.file_size)
        if checked and zlib.crc32(data) != info.CRC:
            self.refuse(name, "does not have the checksum that it should")
        return data

    def _inflated(self, name, packed, size):
        stream, data = zlib.decompressobj(-zlib.MAX_WBITS), b""
        try:
            if size <= _MOST * (len(packed) + 1):  # a number in the file may be one that zlib cannot take
                data = stream.decompress(packed, size + 1)
        except zlib.error:
            pass
        if len(data) != size or not stream.eof:
            self.refuse(name, "does not decompress to the size that it should have")
        return np.frombuffer(data, np.uint8)
