"""Processes on this machine that work on tasks side by side, each with its share of the threads, while one decides.

A worker is given one task after the other through its pipe, may ask a question on the way and is answered, then sends
what came of it. A worker that dies, of a kill or for want of memory, takes its task with it and nothing else: the task
is given to another worker, or reported as lost.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from tenfold.errors import TenfoldError

POLITE_SECONDS = 5.0  # that a worker without a task has to end by itself
# What the libraries that compute ask for their number of threads when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
LOST = (EOFError, BrokenPipeError, ConnectionResetError)  # who was at the other end of a pipe is no more

Ask = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Task:
    """One piece of work: a function, named so that any process can import it, and its arguments.

    key:       tells the task from the others. function: "tenfold.module:name". arguments: by name, JSON-able.
    asks:      whether the function also takes `ask`, which sends a question (a JSON-able dictionary) to the process
               that decides and returns its answer.
    The function returns a JSON-able dictionary. What is large it writes to files. It may be begun more than once.
    """

    key: str
    function: str
    arguments: dict[str, Any]
    asks: bool = False


class Watcher:
    """What is asked and told while tasks run; all of it in the process that decides."""

    def next(self) -> Task | None:
        """Return the next task, or None when there is none left to start."""
        raise NotImplementedError

    def asked(self, task: Task, question: dict[str, Any]) -> Any:
        """Return the answer to a task's question."""
        return None

    def done(self, task: Task, result: dict[str, Any]) -> None:
        """Take what a task's function returned."""
        raise NotImplementedError

    def failed(self, task: Task, reason: str) -> None:
        """Take note that a task's function raised an error."""
        raise NotImplementedError

    def lost(self, task: Task) -> None:
        """Take note that a task's process ended without an answer, as often as that was put up with."""
        raise NotImplementedError

    def cut(self, task: Task) -> None:
        """Take note that a task was under way at the deadline, and is no more."""
        self.lost(task)


class Telling(Watcher):
    """Takes tasks from an iterator, and passes on what they come to; one that is lost has failed."""

    def __init__(
        self,
        tasks: Iterator[Task],
        done: Callable[[Task, dict[str, Any]], None],
        failed: Callable[[Task, str], None],
        retries: int,
    ) -> None:
        self.tasks, self.retries = tasks, retries
        self._done, self._failed = done, failed

    def next(self) -> Task | None:
        return next(self.tasks, None)

    def done(self, task: Task, result: dict[str, Any]) -> None:
        self._done(task, result)

    def failed(self, task: Task, reason: str) -> None:
        self._failed(task, reason)

    def lost(self, task: Task) -> None:
        times = "once" if self.retries == 0 else f"{self.retries + 1} times"
        self._failed(task, f"Its process ended without an answer, {times}: killed, or out of memory.")

    def cut(self, task: Task) -> None:
        pass  # neither done nor failed; that some were cut is what `run` returns


class _Worker:
    """One process, its pipe, and what it is doing."""

    def __init__(self, threads: int) -> None:
        # Spawned, not forked: a fork of a process in which PyTorch has threads can hang.
        context = get_context("spawn")
        self.pipe, other_end = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(other_end, threads), daemon=True)
        self.process.start()
        other_end.close()
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        self.send(task)

    def send(self, message: Any) -> None:
        with suppress(*LOST):  # a dead worker is noticed where its pipe is read
            self.pipe.send(message)

    def close(self) -> None:
        """End the process: in peace where it has nothing to do."""
        if self.task is None:
            self.send(None)
            self.process.join(POLITE_SECONDS)
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


class Processes:
    """A number of worker processes; a context manager. They start with the first task and stay until the end.

    count: how many; each computes with `threads` threads. retries: how often a task whose process died is begun again.
    """

    def __init__(self, count: int, threads: int, retries: int = 0) -> None:
        self.count, self.threads, self.retries = count, threads, retries
        self.workers: list[_Worker] = []
        self._again: list[Task] = []
        self._losses: dict[str, int] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.close()
        self.workers.clear()

    def run(self, watcher: Watcher, deadline: float | None = None) -> bool:
        """Run the watcher's tasks; return False where `deadline` (of time.monotonic) cut some of them off."""
        while True:
            self._start(watcher)
            busy = {worker.pipe: worker for worker in self.workers if worker.task is not None}
            if not busy:
                return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = connection.wait(list(busy), left)
            if not ready:
                for worker in busy.values():
                    watcher.cut(self._end(worker))
                for task in self._again:
                    watcher.cut(task)
                self._again.clear()
                return False
            for pipe in ready:
                assert isinstance(pipe, Connection)
                self._listen(busy[pipe], watcher)

    def _start(self, watcher: Watcher) -> None:
        """Give every idle worker a task, as long as there are any; start the workers that are missing."""
        idle = [worker for worker in self.workers if worker.task is None]
        while idle or len(self.workers) < self.count:
            task = self._again.pop(0) if self._again else watcher.next()
            if task is None:
                return
            if not idle:
                self.workers.append(_Worker(self.threads))
                idle.append(self.workers[-1])
            idle.pop().give(task)

    def _listen(self, worker: _Worker, watcher: Watcher) -> None:
        """Act on one message of a worker."""
        task = worker.task
        assert task is not None
        try:
            message = worker.pipe.recv()
        except LOST:
            self._end(worker)
            self._losses[task.key] = self._losses.get(task.key, 0) + 1
            if self._losses[task.key] <= self.retries:
                self._again.append(task)
            else:
                watcher.lost(task)
            return
        if "question" in message:
            worker.send(watcher.asked(task, message["question"]))
            return
        worker.task = None
        tell(watcher, task, message)

    def _end(self, worker: _Worker) -> Task:
        """Give a worker up, and return the task that it had."""
        task = worker.task
        assert task is not None
        worker.close()
        self.workers.remove(worker)
        return task


def tell(watcher: Watcher, task: Task, outcome: dict[str, Any]) -> None:
    """Tell the watcher what `work` came to."""
    if "failed" in outcome:
        watcher.failed(task, outcome["failed"])
    else:
        watcher.done(task, outcome["result"])


def serve(pipe: Connection, threads: int) -> None:
    """Work in a worker process until the other end of the pipe says so, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that decides; it ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))  # before anything that computes is loaded

    def ask(question: dict[str, Any]) -> Any:
        try:
            pipe.send({"question": question})
            return pipe.recv()
        except LOST:
            sys.exit(1)

    with suppress(*LOST):
        while (task := pipe.recv()) is not None:
            pipe.send(work(task, threads, ask))


def _end_with_parent() -> None:
    """End this process with the one that decides, also where that was killed and could not say so."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def work(task: Task, threads: int, ask: Ask) -> dict[str, Any]:
    """Return {"result": what the task's function returned} or {"failed": why there is nothing}.

    The function computes with `threads` threads.
    """
    try:
        module, _, name = task.function.partition(":")
        function = getattr(import_module(module), name)
        extra = {"ask": ask} if task.asks else {}
        with _limited(threads):
            return {"result": function(**task.arguments, **extra)}
    except TenfoldError as error:
        return {"failed": str(error)}
    except (MemoryError, RuntimeError) as error:  # PyTorch's want of memory is a RuntimeError
        return {"failed": f"{type(error).__name__}: {error}"}
    except Exception as error:  # a mistake of ours, most likely: where it happened is said too
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return {"failed": f"{type(error).__name__}: {error} ({os.path.basename(frame.filename)}, line {frame.lineno})"}


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Compute with so many threads; what an earlier task set in a library that stays loaded is undone."""
    from threadpoolctl import threadpool_limits

    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
    with threadpool_limits(threads):
        yield


class Surroundings:
    """The environment and the handler of termination requests, to put back what a library changes; adds `variables`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._environment = dict(os.environ)
        self._handler = signal.getsignal(signal.SIGTERM)
        os.environ.update(variables)

    def restore(self) -> None:
        """Put both back as they were; a handler only where this thread may."""
        for name in set(os.environ) - set(self._environment):
            del os.environ[name]
        os.environ.update(self._environment)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)
