"""Files of HDF5 made by hand, of groups and datasets, in the older layout and in the newer one."""

import struct

import numpy as np

NOWHERE = 2**64 - 1
FLOATS = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}


class File:
    """The bytes of a file; ``members``: name -> array, or dict for a group; a dict that occurs twice is one group."""

    def __init__(self, members, new=False, compact=False):
        self.new, self.compact, self.placed = new, compact, {}
        self.data = bytearray(48 if new else 96)
        root = self.place(members)
        signature = b"\x89HDF\r\n\x1a\n"
        if new:
            head = signature + struct.pack("<BBBB", 2, 8, 8, 0) + struct.pack("<QQQQI", 0, NOWHERE, len(self.data), root, 0)
        else:
            head = signature + struct.pack("<8BHHI", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0)
            head += struct.pack("<QQQQ", 0, NOWHERE, len(self.data), NOWHERE) + struct.pack("<QQII16x", 0, root, 0, 0)
        self.data[: len(head)] = head
        self.data = bytes(self.data)

    def append(self, data):
        """Where the bytes are."""
        at = len(self.data)
        self.data += data + bytes(-len(data) % 8)
        return at

    def place(self, what):
        """Where the header of an array or a group is."""
        if not isinstance(what, dict):
            return self.header(dataset(what, self.append, self.compact))
        if id(what) not in self.placed:
            members = {name: self.place(inner) for name, inner in sorted(what.items())}
            address = self.header(links(members) if self.new else [self.table(members)])
            self.placed[id(what)] = address, what  # kept, so that no other dict gets its id
        return self.placed[id(what)][0]

    def header(self, messages):
        """An object's header."""
        if self.new:
            body = b"".join(struct.pack("<BHB", kind, len(data), 0) + data for kind, data in messages)
            return self.append(b"OHDR" + struct.pack("<BBI", 2, 2, len(body)) + body + bytes(4))
        messages = [(kind, data + bytes(-len(data) % 8)) for kind, data in messages]
        body = b"".join(struct.pack("<HHB3x", kind, len(data), 0) + data for kind, data in messages)
        return self.append(struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body)

    def table(self, members):
        """The message of a group of the older layout: its tree of tables, and its heap of names."""
        names, offsets = bytearray(8), {}
        for name in members:
            offsets[name] = len(names)
            names += name.encode() + b"\0"
            names += bytes(-len(names) % 8)
        heap = self.append(b"HEAP" + struct.pack("<4xQQQ", len(names), 1, len(self.data) + 32) + names)
        tables, keys, listed = [], [0], list(members)
        for first in range(0, len(listed), 8):
            part = listed[first : first + 8]
            entries = b"".join(struct.pack("<QQII16x", offsets[name], members[name], 0, 0) for name in part)
            tables.append(self.append((b"SNOD" + struct.pack("<BBH", 1, 0, len(part)) + entries).ljust(328, b"\0")))
            keys.append(offsets[part[-1]])
        tree = b"TREE" + struct.pack("<BBHQQQ", 0, 0, len(tables), NOWHERE, NOWHERE, keys[0])
        tree += b"".join(struct.pack("<QQ", table, key) for table, key in zip(tables, keys[1:]))
        return 17, struct.pack("<QQ", self.append(tree.ljust(544, b"\0")), heap)


def links(members):
    """The messages of a group of the newer layout."""
    info = (2, struct.pack("<BBQQ", 0, 0, NOWHERE, NOWHERE))
    return [info] + [(6, struct.pack("<BBB", 1, 0, len(name.encode())) + name.encode() + struct.pack("<Q", at))
                     for name, at in members.items()]  # fmt: skip


def dataset(array, append, compact):
    """The messages of a dataset."""
    order = array.dtype.byteorder == ">"
    size = array.itemsize
    if array.dtype.kind == "f":
        kind = struct.pack("<BBBBI", 0x11, 0x20 | order, 8 * size - 1, 0, size) + struct.pack("<HHBBBBI", *FLOATS[size])
    else:
        signed = 8 * (array.dtype.kind == "i")
        kind = struct.pack("<BBBBI", 0x10, signed | order, 0, 0, size) + struct.pack("<HH", 0, 8 * size)
    space = struct.pack("<BBB5x", 1, array.ndim, 0) + struct.pack(f"<{array.ndim}Q", *array.shape)
    data = np.ascontiguousarray(array).tobytes()
    if compact:
        layout = struct.pack("<BBH", 3, 0, len(data)) + data
    else:
        layout = struct.pack("<BBQQ", 3, 1, append(data) if data else NOWHERE, len(data))
    return [(1, space), (3, kind), (8, layout)]
