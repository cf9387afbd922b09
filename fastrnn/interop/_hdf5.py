"""As much of HDF5 as a file of weights needs: groups, and datasets of numbers that lie in one piece.

The libraries that read HDF5 trust its offsets and sizes; this reader trusts nothing. Every place is compared with the
size of the file before it is read, every structure is visited once, and arrays are views of the file's bytes. What it
does not know (compression, pieces, links to other files, groups of many members in the newer layout) it refuses.

Format: HDF5 File Format Specification, version 3.0. Superblocks 0 to 3, object headers 1 and 2.
"""

import struct

import numpy as np

from .. import _validate
from ..files import extent

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = 2**64 - 1  # the address of what there is not
_LONGEST_NAME = 1000  # bytes
_WORK = 4  # for each byte of a file: messages and members looked at, bytes copied; of a sound one far less than 1
_MAX_AXES = 32

# Kinds of header messages.
_SPACE, _LINK_INFO, _TYPE, _LINK, _OUTSIDE, _LAYOUT, _CONTINUED, _SYMBOLS = 1, 2, 3, 6, 7, 8, 16, 17
#: Size -> bit offset, precision, exponent's place and size, mantissa's place and size, exponent's bias.
_FLOATS = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}


class Hdf5:
    """A file that is in memory.

    Parameters
    ----------
    data : ndarray of uint8
    path : str
        For messages.
    """

    def __init__(self, data, path):
        self._data, self._path = memoryview(data), path
        self._left = _WORK * len(self._data)
        self._members = {}  # address of a group -> its members
        self._root = self._superblock()

    def datasets(self, place):
        """The datasets of the group at ``a/b/c``, by name, as arrays in native byte order; none without such a group."""
        address = self._root
        for name in place.split("/"):
            address = self._links(address).get(name)
            if address is None:
                return {}
        found = {name: self._dataset(member, f"{place}/{name}") for name, member in self._links(address).items()}
        return {name: array for name, array in found.items() if array is not None}

    def _refuse(self, problem):
        _validate.refuse_file(self._path, f"HDF5: {problem}")

    def _spend(self, work):
        """Refuse a file in which a few bytes lead to the same others again and again."""
        self._left -= work
        if self._left < 0:
            self._refuse("its parts lead to each other more often than makes sense")

    def _bytes(self, at, size):
        if not 0 <= at <= len(self._data) - size or size < 0:
            self._refuse(f"it leads to byte {at}, beyond its end")
        return self._data[at : at + size]

    def _unpack(self, layout, at):
        return struct.unpack(layout, self._bytes(at, struct.calcsize(layout)))

    def _superblock(self):
        """The address of the header of the root group."""
        if self._bytes(0, 8) != _SIGNATURE:
            self._refuse("it does not begin as such a file does")
        (version,) = self._unpack("<B", 8)
        if version > 3:
            self._refuse(f"superblock of version {version}")
        old = version < 2
        sizes = self._unpack("<BB", 13 if old else 9)
        at = (24 if version == 0 else 28) if old else 12
        (base,) = self._unpack("<Q", at)
        if sizes != (8, 8) or base:
            self._refuse("its addresses are not of 8 bytes from its beginning")
        return self._unpack("<Q", at + (40 if old else 24))[0]

    # -- objects ----------------------------------------------------------------------------

    def _messages(self, address):
        """``(kind, start, size)`` of the messages in the header of an object, through all its blocks."""
        new = self._bytes(address, 4) == b"OHDR"
        block, head = self._new_header(address) if new else self._old_header(address)
        blocks, seen, messages = [block], set(), []
        while blocks:
            at, size = blocks.pop()
            if at in seen:
                self._refuse("the header of an object leads in a circle")
            seen.add(at)
            self._bytes(at, size)
            end = at + size
            while at + head <= end:
                kind, length, flags = self._unpack("<BHB" if new else "<HHB", at)
                at += head
                if at + length > end:
                    self._refuse("the header of an object is larger than it says")
                self._spend(1)
                if flags & 2 and kind in (_SPACE, _TYPE, _LAYOUT):
                    self._refuse("a part of an object is kept elsewhere")
                if kind == _CONTINUED:
                    blocks.append(self._continued(*self._unpack("<QQ", at), new))
                messages.append((kind, at, length))
                at += length
        return messages

    def _old_header(self, address):
        """The first block of messages, and how long the head of one is."""
        version, _, _, _, size = self._unpack("<BBHII", address)
        if version != 1:
            self._refuse(f"the header of an object is of version {version}")
        return (address + 16, size), 8

    def _new_header(self, address):
        version, flags = self._unpack("<BB", address + 4)
        if version != 2:
            self._refuse(f"the header of an object is of version {version}")
        at = address + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        (size,) = self._unpack("<" + "BHIQ"[flags & 3], at)
        return (at + (1 << (flags & 3)), size), 6 if flags & 4 else 4

    def _continued(self, at, size, new):
        if not new:
            return at, size
        if self._bytes(at, 4) != b"OCHK":
            self._refuse("the header of an object goes on where there is none")
        return at + 4, size - 8  # without the signature and the checksum

    # -- groups -----------------------------------------------------------------------------

    def _links(self, address):
        """Name -> address of the members of a group; none of what is no group."""
        if address not in self._members:
            members = {}
            for kind, at, size in self._messages(address):
                if kind == _SYMBOLS:
                    members |= self._symbols(*self._unpack("<QQ", at))
                elif kind == _LINK:
                    members |= self._link(at, size)
                elif kind == _LINK_INFO:
                    (flags,) = self._unpack("<B", at + 1)
                    if self._unpack("<Q", at + 2 + 8 * (flags & 1))[0] != _NOWHERE:
                        self._refuse("a group keeps its members in a heap, as the newer layout does with many")
            self._members[address] = members
        return self._members[address]

    def _symbols(self, tree, heap):
        """The members of a group of the older layout: a tree of tables, whose names are in a heap."""
        if self._bytes(heap, 4) != b"HEAP":
            self._refuse("a group has no names")
        (names,) = self._unpack("<Q", heap + 24)
        members, nodes, seen = {}, [tree], set()
        while nodes:
            at = nodes.pop()
            signature = self._bytes(at, 4)
            _, _, count = self._unpack("<BBH", at + 4)
            self._spend(count)
            if at in seen:
                self._refuse("the members of a group lead in a circle")
            seen.add(at)
            if signature == b"TREE":
                nodes += [self._unpack("<Q", at + 32 + 16 * i)[0] for i in range(count)]
            elif signature == b"SNOD":
                for i in range(count):
                    offset, address = self._unpack("<QQ", at + 8 + 40 * i)
                    members[self._name(names + offset)] = address
            else:
                self._refuse("a group has no members where they should be")
        return members

    def _name(self, at):
        """The text up to the next zero."""
        self._bytes(at, 1)
        data = bytes(self._data[at : at + _LONGEST_NAME])
        return self._text(data[: data.find(0)] if 0 in data else b"\xff")

    def _text(self, data):
        name = None
        try:
            name = bytes(data).decode()
        except UnicodeDecodeError:
            pass
        if name is None:
            self._refuse("a name is too long or not UTF-8")
        return name

    def _link(self, at, size):
        """A member of a group of the newer layout."""
        version, flags = self._unpack("<BB", at)
        end, at = at + size, at + 2
        if flags & 8:
            (kind,) = self._unpack("<B", at)
            at += 1
            if kind:
                return {}  # to another name or file, where no weights are
        at += 8 * bool(flags & 4) + bool(flags & 0x10)
        (length,) = self._unpack("<" + "BHIQ"[flags & 3], at)
        at += 1 << (flags & 3)
        if version != 1 or at + length + 8 > end or length > _LONGEST_NAME:
            self._refuse("a link is not as it should be")
        return {self._text(self._bytes(at, length)): self._unpack("<Q", at + length)[0]}

    # -- datasets ---------------------------------------------------------------------------

    def _dataset(self, address, name):
        """The array of a dataset; None for a group."""
        found = {}
        for kind, at, size in self._messages(address):
            found.setdefault(kind, at)
        if _LAYOUT not in found:
            return None
        if _SPACE not in found or _TYPE not in found or _OUTSIDE in found:
            self._refuse(f"{name!r:.80} has no shape or type, or is in another file")
        shape = self._shape(found[_SPACE], name)
        dtype = self._dtype(found[_TYPE], name)
        size, possible = extent(shape, dtype.itemsize)
        data = self._place(found[_LAYOUT], size, name)
        if not possible:
            self._refuse(f"the shape of {name!r:.80} is too large")
        array = (np.frombuffer(data, dtype) if size else np.empty(0, dtype)).reshape(shape)
        if not dtype.isnative:
            self._spend(array.nbytes)
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _shape(self, at, name):
        version, rank = self._unpack("<BB", at)
        kind = self._unpack("<B", at + 3)[0] if version == 2 else 1
        if version not in (1, 2) or rank > _MAX_AXES or kind == 2:
            self._refuse(f"{name!r:.80} has no shape that is known here")
        return self._unpack(f"<{rank}Q", at + (8 if version == 1 else 4))

    def _dtype(self, at, name):
        kind, bits, _, _, size = self._unpack("<BBBBI", at)
        order = ">" if bits & 1 else "<"
        if kind & 15 == 1 and not bits & 0x40 and self._unpack("<HHBBBBI", at + 8) == _FLOATS.get(size):
            return np.dtype(f"{order}f{size}")
        if kind & 15 == 0 and size in (1, 2, 4, 8) and self._unpack("<HH", at + 8) == (0, 8 * size):
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
        self._refuse(f"{name!r:.80} holds no integers or floats of 2, 4 or 8 bytes")

    def _place(self, at, expected, name):
        """The bytes of a dataset."""
        version, kind = self._unpack("<BB", at)
        if version not in (3, 4) or kind not in (0, 1):
            self._refuse(f"{name!r:.80} is in pieces, or laid out in a way that is not known here")
        if kind == 0:
            start, (size,) = at + 4, self._unpack("<H", at + 2)
        else:
            start, size = self._unpack("<QQ", at + 2)
            if start == _NOWHERE and size == expected == 0:
                return b""
        if size != expected:
            self._refuse(f"{name!r:.80} has {size} bytes, its shape needs {expected}")
        return self._bytes(start, size)
