"""What is read from files and written to them."""

from .arrays import as_array, converted
from .messages import described


def refuse_file(path, problem):
    """Refuse a file that was read: it says which and why."""
    raise ValueError(f"{path}: {problem}")


def tensors_to_write(tensors, metadata, dtypes):
    """Names, arrays and metadata of a safetensors file to be written.

    Parameters
    ----------
    tensors : mapping of str to array_like
    metadata : mapping of str to str, optional
    dtypes : container of str
        The dtypes the format has, as native NumPy names.

    Returns
    -------
    arrays : dict of str to ndarray
        Native byte order, C-contiguous.
    metadata : dict of str to str
    """
    if not hasattr(tensors, "keys"):
        raise TypeError(f"tensors: expected a dict of arrays, got {described(tensors)}")
    if metadata is not None and not hasattr(metadata, "keys"):
        raise TypeError(f"metadata: expected a dict of strings, got {described(metadata)}")
    arrays = {}
    for name in tensors.keys():
        _file_text(name, "tensors: name")
        if name == "__metadata__":
            raise ValueError("tensors: the name '__metadata__' is reserved")
        array = as_array(tensors[name], f"tensors[{name!r}]", "an array")
        dtype = array.dtype.newbyteorder("=")
        if dtype.name not in dtypes:
            raise TypeError(f"tensors[{name!r}]: dtype {array.dtype} cannot be written")
        arrays[name] = converted(array, dtype)
    metadata = {} if metadata is None else {key: metadata[key] for key in metadata.keys()}
    for key, text in metadata.items():
        _file_text(key, "metadata: key")
        _file_text(text, f"metadata[{key!r}]")
    return arrays, metadata


def zip_names(names, longest):
    """Names of tensors that a zip archive can hold, of so many bytes at most."""
    for name in names:
        if "\0" in name or len(name.encode()) > longest:
            raise ValueError(f"tensors[{name!r:.80}]: expected a name without NUL, of at most {longest} bytes in UTF-8, "
                             f"got {len(name.encode())} bytes")  # fmt: skip


def _file_text(value, name):
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {described(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text that UTF-8 can hold, got {value!r}") from None
