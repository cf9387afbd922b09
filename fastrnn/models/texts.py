"""Texts of a folder, and which of them are held out.

    read_files    the texts of a folder        split_files    into trained and held-out ones

Imports the standard library and ``_validate``.
"""

import os

from .. import _validate


def read_files(folder, suffix, skip=()):
    """The texts of all files below a folder, in the order of their names.

    Parameters
    ----------
    folder : str or path-like
    suffix : str
        Of the file names, such as ``".py"``.
    skip : container of str
        Names of folders and files to leave out.

    Returns
    -------
    dict of str to str
        Path within the folder -> text. Bytes that are not UTF-8 become U+FFFD; files without
        text are left out.
    """
    texts = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skip)
        for name in sorted(names):
            path = os.path.join(place, name)
            if name.endswith(suffix) and name not in skip and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                if text:
                    texts[os.path.relpath(path, folder)] = text
    return texts


def split_files(texts, part, rng):
    """Whole files in random order, some of them held out.

    Parameters
    ----------
    texts : dict of str to str
    part : float
        Held out are files with at least this part of all characters; one file at least is
        left on either side.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    train, held_out : list of str
        Names of files.
    """
    names = list(texts)
    _validate.text_length(len(names), 2, "texts (files)")
    names = [names[i] for i in _validate.generator(rng).permutation(len(names))]
    wanted = part * sum(map(len, texts.values()))
    count = size = 0
    while (size < wanted and count < len(names) - 1) or count == 0:
        size += len(texts[names[count]])
        count += 1
    return names[count:], names[:count]
