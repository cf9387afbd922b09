"""Files with a few bytes changed, for readers that must refuse them or read them, and do nothing else."""

import io
import zipfile


def zipped(parts, compression=zipfile.ZIP_STORED):
    """The bytes of an archive of parts, name -> bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def reader(path, read):
    """``read`` of bytes, as the file at ``path``."""

    def of_bytes(data):
        path.write_bytes(data)
        return read(path)

    return of_bytes


def mutated(data, rng):
    """One to three bytes set, bits flipped, stretches removed, repeated or moved."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, kind = int(rng.integers(len(data))), rng.integers(5)
        stretch = int(rng.integers(1, 12))
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[at : at + stretch]
        elif kind == 3:
            data[at:at] = data[at : at + stretch]
        else:
            to = int(rng.integers(len(data)))
            data[at : at + stretch] = data[to : to + stretch]
    return bytes(data)


def refusals(path, read, make, count, rng):
    """How many of so many damaged files were refused; anything but ValueError and OSError goes through.

    ``make(i, rng)`` gives the bytes of file i. A refusal begins with the name of the file.
    """
    refused = 0
    for i in range(count):
        path.write_bytes(make(i, rng))
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
        except OSError:
            refused += 1
    return refused
