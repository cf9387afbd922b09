"""How many threads fastrnn uses, and what it was built with and runs on.

The number belongs to the process and concerns fastrnn's own work only; the pool of a BLAS
library is never resized. Imports the engine and ``_validate``; operating system files are read
once, at import.
"""

import os

from . import _validate
from ._core import engine


def _affinity_cpus():
    """The number of CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _read(path):
    """The text of a small system file, or None."""
    try:
        with open(path) as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _ancestors(path):
    """``/a/b`` -> ``/a/b``, ``/a``, ````: a quota of any of these groups binds."""
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _quota(folder, controller):
    """The CPUs that the quota files of one cgroup folder allow, or None for no limit."""
    try:
        if controller is None:  # cgroup v2: "max 100000" or "150000 100000"
            quota, period = (_read(f"{folder}/cpu.max") or "").split()
        else:  # cgroup v1: -1 is no limit
            quota = _read(f"{folder}/cpu.cfs_quota_us")
            period = _read(f"{folder}/cpu.cfs_period_us")
        quota, period = int(quota), int(period)
    except (ValueError, TypeError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def _cgroup_cpus(root="/sys/fs/cgroup", membership="/proc/self/cgroup"):
    """The smallest CPU quota of the cgroups (v1 or v2) of this process, or None."""
    quotas = []
    for line in (_read(membership) or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        _, controllers, path = fields
        if controllers == "":
            mounts, controller = (root, f"{root}/unified"), None
        elif "cpu" in controllers.split(","):
            mounts, controller = (f"{root}/{controllers}", f"{root}/cpu"), "cpu"
        else:
            continue
        for mount in mounts:
            quotas += [_quota(mount + group, controller) for group in _ancestors(path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def default_num_threads():
    """``FASTRNN_NUM_THREADS``, or the CPUs of the affinity mask and the cgroup quota.

    A quota that is not a whole number is rounded down: with more threads than quota the kernel
    stops all of them for the rest of each period.

    Raises
    ------
    ValueError
        If ``FASTRNN_NUM_THREADS`` is set to something that is not a positive integer.
    """
    text = os.environ.get("FASTRNN_NUM_THREADS", "").strip()
    if text:
        return _validate.thread_variable(text, "FASTRNN_NUM_THREADS")
    cpus, quota = _affinity_cpus(), _cgroup_cpus()
    if quota is not None:
        cpus = min(cpus, max(1, int(quota)))
    return min(cpus, _validate.MAX_THREADS)


def set_num_threads(n):
    """Set how many threads fastrnn may use, the calling one included.

    Parameters
    ----------
    n : int
        From 1 to 1024.
    """
    engine.set_threads(_validate.integer(n, "n", 1, _validate.MAX_THREADS))


def get_num_threads():
    """How many threads fastrnn may use, the calling one included."""
    return engine.get_threads()


class num_threads:
    """Context manager: use ``n`` threads inside the block, the former number after it.

    The number is the process's, so blocks of different Python threads do not nest.

    Examples
    --------
    >>> import fastrnn as fr
    >>> with fr.num_threads(1):
    ...     fr.get_num_threads()
    1
    """

    def __init__(self, n):
        self._n = _validate.integer(n, "n", 1, _validate.MAX_THREADS)
        self._former = []

    def __enter__(self):
        self._former.append(get_num_threads())
        set_num_threads(self._n)
        return self

    def __exit__(self, *exception):
        set_num_threads(self._former.pop())
        return False


def show_config():
    """Print version, instruction sets built and chosen, BLAS and threads."""
    import fastrnn
    from fastrnn._core import blas

    lines = {
        "fastrnn": fastrnn.__version__,
        "instruction sets built": " ".join(engine.built()),
        "instruction set chosen": engine.isa(),
        "BLAS": f"{blas.description()}, {blas.pool_threads()} threads",
        "threads": f"{get_num_threads()} (default {default_num_threads()})",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")


set_num_threads(default_num_threads())
