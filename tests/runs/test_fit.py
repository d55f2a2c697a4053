"""Killed at any moment, training resumes to the same bytes.

Every attempt runs in a forked process of its own that is killed with SIGKILL: at a random moment of its life, or by
itself in the middle of writing a checkpoint. What counts is the hash of the weights' file.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.digits import Digits

# Forks from a process that has imported everything but computed nothing: a fork costs milliseconds, an import seconds.
DRIVER = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    import torch, sklearn.base, rich.progress, jinja2
    from tenfold.train import train
    from tenfold import files
    from tenfold.runs import fit
    from tenfold.runs import run as run_module
    import tenfold.pages.report, tenfold.runs.estimator

    OPTIONS = dict(quiet=True, threads=1)
    fit.CHECKPOINT_SECONDS = 0.0
    OVERRIDES = ["model.widths=[[8],[16]]", "model.dropout=0.2", "training.batch_size=16", "training.epochs=12",
                 "training.min_steps=0", "training.keep=best", "training.evaluate_every=0.5", "training.precision=fp32",
                 "training.hard_share=0.5", "schedule.kind=plateau", "schedule.patience=1", "data.validation=0.2"]

    def child(run, data, die_in_write):
        writes = 0
        whole = files.write_atomically

        def torn(path, content):
            # Dies with half of the bytes under the temporary name, as a crash in write() would leave them.
            nonlocal writes
            writes += 1
            if writes == die_in_write:
                path.with_name(f".{path.name}.{os.getpid()}.part").write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            whole(path, content)

        run_module.write_atomically = torn
        if (run / "run.json").exists():
            train(resume=run, **OPTIONS)
        else:
            train("fast", str(data), run, overrides=OVERRIDES, seed=5, **OPTIONS)

    for line in sys.stdin:  # "RUN DATA SECONDS WRITE": kill after SECONDS, or in the WRITE-th write; 0: don't
        run, data, seconds, write = line.split()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                child(Path(run), Path(data), int(write))
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if float(seconds):
            time.sleep(float(seconds))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), time.monotonic() - start, flush=True)
""")


class Attempts:
    """Talks to the driver."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def train(self, run: Path, seconds: float = 0, write: int = 0) -> tuple[int, float]:
        """Return the exit code (-9: killed) and the seconds of one attempt to begin or resume a run."""
        assert self.driver.stdin and self.driver.stdout
        print(run, self.data, seconds, write, file=self.driver.stdin, flush=True)
        code, took = self.driver.stdout.readline().split()
        return int(code), float(took)

    def close(self) -> None:
        """End the driver."""
        self.driver.communicate()


def weights_hash(run: Path) -> str:
    """Return the SHA-256 of the run's weights file."""
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_resume_bit_identically(digits: Digits, tmp_path: Path) -> None:
    """After SIGKILL at ten random moments, and within writes, the finished weights equal the unbroken run's file."""
    np.savez(tmp_path / "digits.npz", X=digits.images, y=digits.labels)
    attempts = Attempts(tmp_path / "digits.npz")
    try:
        code, whole = attempts.train(tmp_path / "unbroken")
        assert code == 0
        expected = weights_hash(tmp_path / "unbroken")

        seed = time.time_ns()
        moments = random.Random(seed)
        killed = [tmp_path / "killed-0"]
        kills = 0
        while kills < 10:  # a run is killed, resumed and killed again, until it ends; then comes another
            code, _ = attempts.train(killed[-1], seconds=moments.uniform(0.02, 0.5) * whole)
            if code == 0:
                assert weights_hash(killed[-1]) == expected, f"{killed[-1].name}, seed {seed}"
                killed.append(tmp_path / f"killed-{len(killed)}")
                assert len(killed) < 20, "every run ended before it was killed"
            else:
                assert code == -signal.SIGKILL
                kills += 1
        for write in (1, 2, 5, 6, 20):  # 1: the manifest; later ones: state, weights, metrics
            code, _ = attempts.train(tmp_path / "torn", write=write)
            assert code == -signal.SIGKILL
            if (tmp_path / "torn").exists():
                assert not (tmp_path / "torn" / "weights.safetensors").exists()
        for run in (killed[-1], tmp_path / "torn"):
            assert attempts.train(run)[0] == 0
            assert weights_hash(run) == expected, f"{run.name}, seed {seed}"
    finally:
        attempts.close()
