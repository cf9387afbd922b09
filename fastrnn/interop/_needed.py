"""Libraries that only some of this needs."""

from importlib import import_module


def needed(library, extra, title):
    """The module, or an ``ImportError`` that says which extra brings it."""
    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
    raise ImportError(f"this needs {title}, which is not installed: pip install 'fastrnn[{extra}]'")
