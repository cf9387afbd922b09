"""SIGKILL at random moments of a command that trains, which is then started again."""

import random
import signal
import subprocess
import time

from runs import contents

from fastrnn.models import LanguageModel


def killed_and_resumed(command, folder, kills):
    """Start a command again and again, kill it at random moments, in the end let it be.

    Two of three kills come shortly after a new checkpoint, or while one is being written; the others at any moment
    from the start of the process on.

    Parameters
    ----------
    command : list
        Begins a run with checkpoints in ``folder``, or goes on with it.
    folder : Path
    kills : int
    """
    last, steps, rng = folder / "last.safetensors", [0], random.Random()
    for number in range(kills):
        before = last.stat().st_ino if last.exists() else None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while number % 3 < 2 and (not last.exists() or last.stat().st_ino == before):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06) if number % 3 < 2 else rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, f"it was done already: {said.decode()}"
        if last.exists():
            LanguageModel.load(last)
            steps.append(contents(last)[2]["step"])
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert steps == sorted(steps), "a checkpoint was lost"
