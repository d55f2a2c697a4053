"""Processes that train candidates side by side, each on its share of the cores, while one process decides.

A worker is told one job after the other through its pipe, sends back what the trial shows on the way and is told
whether to go on, then sends the figures. A worker that dies, of a kill or for want of memory, takes its trial with it
and nothing else: the job is reported as lost and another worker starts.
"""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tenfold.data.digits import Digits
from tenfold.errors import TenfoldError

if TYPE_CHECKING:
    from tenfold.tuning.trial import Figures

POLITE_SECONDS = 5.0  # that a worker without a job has to end by itself


@dataclass(frozen=True)
class Job:
    """One training: the recipe's overrides, and the seed of the training and of what is held out."""

    key: Any
    overrides: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Progress:
    """What a trial shows after a validation: the share of training done in whole percent, NLL, accuracy."""

    share: int
    nll: float
    accuracy: float


@dataclass(frozen=True)
class Failure:
    """Why a training could not be done."""

    reason: str


class Watcher:
    """What is asked and told while jobs run; all of it in the process that decides."""

    def next(self) -> Job | None:
        """Return the next job, or None when there is none left to start."""
        raise NotImplementedError

    def progress(self, job: Job, progress: Progress) -> bool:
        """Return True to end the job now; it is then neither done nor lost."""
        return False

    def done(self, job: Job, figures: "Figures") -> None:
        """Take what a job came to."""
        raise NotImplementedError

    def failed(self, job: Job, reason: str) -> None:
        """Take note that a job cannot be done."""
        raise NotImplementedError

    def lost(self, job: Job) -> None:
        """Take note that a job ended with its worker, or at the deadline."""
        raise NotImplementedError


class _Worker:
    """One process, its pipe, and what it is doing."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        # Spawned, not forked: a fork of a process in which PyTorch has threads can hang.
        context = get_context("spawn")
        self.pipe, other_end = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(other_end, *arguments), daemon=True)
        self.process.start()
        other_end.close()
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        self.send(job)

    def send(self, message: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a dead worker is noticed where its pipe is read
            self.pipe.send(message)

    def close(self) -> None:
        """End the process: in peace where it has nothing to do."""
        if self.job is None:
            self.send(None)
            self.process.join(POLITE_SECONDS)
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


class Workers:
    """A number of worker processes for one recipe and one set of labelled digits; a context manager.

    count: how many; each computes with `threads` threads. They start with the first job and stay until the end.
    """

    def __init__(self, count: int, recipe: Path, digits: Digits, threads: int, device: str = "auto") -> None:
        self.count = count
        self._arguments = (recipe, digits, threads, device)
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def run(self, watcher: Watcher, deadline: float | None = None) -> bool:
        """Run the watcher's jobs; return False where `deadline` (of time.monotonic) cut some of them off."""
        while True:
            self._start_jobs(watcher)
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            if not busy:
                return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = connection.wait(list(busy), left)
            if not ready:
                for worker in busy.values():
                    self._lose(worker, watcher)
                return False
            for pipe in ready:
                assert isinstance(pipe, Connection)
                self._listen(busy[pipe], watcher)

    def _start_jobs(self, watcher: Watcher) -> None:
        """Give every idle worker a job, as long as there are any; start the workers that are missing."""
        idle = [worker for worker in self._workers if worker.job is None]
        while idle or len(self._workers) < self.count:
            job = watcher.next()
            if job is None:
                return
            if not idle:
                self._workers.append(_Worker(self._arguments))
                idle.append(self._workers[-1])
            idle.pop().give(job)

    def _listen(self, worker: _Worker, watcher: Watcher) -> None:
        """Act on one message of a worker."""
        job = worker.job
        assert job is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._lose(worker, watcher)
            return
        if isinstance(message, Progress):
            stop = watcher.progress(job, message)
            worker.send(stop)
            return
        worker.job = None
        if isinstance(message, Failure):
            watcher.failed(job, message.reason)
        elif message is not None:  # None: ended as `progress` asked
            watcher.done(job, message)

    def _lose(self, worker: _Worker, watcher: Watcher) -> None:
        """Give a worker and its job up."""
        job = worker.job
        assert job is not None
        worker.close()
        self._workers.remove(worker)
        watcher.lost(job)


def serve(pipe: Connection, recipe: Path, digits: Digits, threads: int, device: str) -> None:
    """Work in a worker process until the other end of the pipe says so, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that decides; it ends this one
    from threadpoolctl import threadpool_limits

    with suppress(EOFError, BrokenPipeError, ConnectionResetError), threadpool_limits(threads):
        while (job := pipe.recv()) is not None:
            pipe.send(_work(pipe, job, recipe, digits, threads, device))


def _work(
    pipe: Connection, job: Job, recipe_path: Path, digits: Digits, threads: int, device: str
) -> "Figures | Failure | None":
    """Return what came of a job: figures, the reason why there are none, or None where it was ended early."""
    from tenfold.training import recipe as recipes
    from tenfold.tuning.trial import Stopped, judge

    def report(share: int, nll: float, accuracy: float) -> bool:
        pipe.send(Progress(share, nll, accuracy))
        return bool(pipe.recv())

    try:
        recipe = recipes.load(recipe_path, job.overrides)
        return judge(recipe, digits, job.seed, threads, device, report)
    except Stopped:
        return None
    except TenfoldError as error:
        return Failure(str(error))
    except (MemoryError, RuntimeError) as error:  # PyTorch's want of memory is a RuntimeError
        return Failure(f"{type(error).__name__}: {error}")
