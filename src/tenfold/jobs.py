"""Many independent tasks, here or on Ray: the same tasks, the same threads for each, so the same results.

Here each task runs in a process of its own, one a slot: a process that dies, of a kill or for want of memory, takes its
own task with it and no other. On Ray, of which this file alone knows, tasks and answers travel, and files lie in a
folder that all machines share. A cluster of this machine's own listens on the loopback address alone and ends with the
work.
"""

import importlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tenfold import __version__, progress, settings
from tenfold.errors import ClusterError, MissingExtraError, expected, unwritten

# What the libraries that compute ask for their number of threads when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CONNECT_SECONDS, PREFLIGHT_SECONDS = 10.0, 60.0
JOIN_ATTEMPTS = 3
OBJECT_STORE = 100 * 2**20  # bytes; what travels are small dictionaries, and Ray's default is 30% of the memory
LOOPBACK = "127.0.0.1"
# Read by Ray when it is loaded: no report of its use to its makers; the last one, named after the systems where it is
# the default, gives a cluster the loopback address instead of the machine's own, so that nobody else can reach it.
QUIET_AND_LOCAL = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Of a cluster of this machine's own: other users of it, who reach its ports, can't give it work.
OWN_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@dataclass(frozen=True)
class Task:
    """One piece of work: a function, named so that any process can import it, and its arguments.

    key: tells the task from the others. function: "tenfold.module:name". arguments: by name, JSON-able. title: what
    people read in place of the key.
    The function returns a JSON-able dictionary. What is large it writes to files. It may be begun more than once.
    """

    key: str
    function: str
    arguments: dict[str, Any]
    title: str = ""


Ended = tuple[Task, dict[str, Any] | None]  # with what `work` returned, None where its process ended before


@dataclass(frozen=True)
class Place:
    """Where tasks run: processes of this machine ("local"), a Ray cluster of its own ("ray"), or one that is there."""

    kind: Literal["local", "ray", "cluster"]
    address: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Place":
        """Return the place that "local" (or None), "ray" or "ray://HOST:PORT" names; ClusterError for anything else."""
        if text in (None, "local", "ray"):
            return cls("ray" if text == "ray" else "local")
        found = re.fullmatch(r"ray://([\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", text)
        if found is None or not 1 <= int(found[2]) <= 65535:
            raise ClusterError(
                f"--on '{text}' is no place to compute. Give local, ray (a cluster on this machine while it is needed) "
                "or ray://HOST:PORT (a cluster that is there; 10001 is Ray's usual port)."
            )
        return cls("cluster", text)


def run_tasks(
    tasks: Iterable[Task],
    *,
    on: str | None = None,
    workers: int | None,
    threads: int,
    done: Callable[[Task, dict[str, Any]], None],
    failed: Callable[[Task, str], None],
    retries: int = 2,
    deadline: float | None = None,
    shared: Sequence[Path] = (),
) -> bool:
    """Run the tasks, and return False where `deadline` (of time.monotonic) cut some of them off.

    tasks: asked for the next one when a worker is free. on: see `Place.parse`. workers: at most so many at a time;
    None: as many as there are processors for. threads: that each computes with, wherever it runs. done, failed: told
    here what a task returned, or why there is nothing: the message of a TenfoldError that it raised, or that its
    process ended `retries` + 1 times without an answer. Tasks end in any order. shared: folders that the tasks read
    and write, which a cluster's machines have to see.
    Raises ClusterError, MissingExtraError: before anything is started.
    """
    place, queue = Place.parse(on), iter(tasks)
    again: list[Task] = []
    losses: Counter[str] = Counter()
    with (
        _Processes(workers, threads) if place.kind == "local" else _on_ray(place, workers, threads, shared) as pool,
        progress.parts(pool.shares, deadline) as ended_one,
    ):
        while True:
            while len(pool.under_way) < pool.count and (task := again.pop() if again else next(queue, None)):
                pool.submit(task)
            if not pool.under_way:
                return True
            ended = pool.ended(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not ended:
                return False
            for task, outcome in ended:
                if outcome is None and losses[task.key] < retries:
                    losses[task.key] += 1
                    again.append(task)
                    continue
                ended_one()
                if outcome is None:
                    times = "once" if retries == 0 else f"{retries + 1} times"
                    failed(task, f"Its process ended without an answer, {times}: killed, or out of memory.")
                elif "failed" in outcome:
                    failed(task, outcome["failed"])
                else:
                    done(task, outcome["result"])


def work(task: Task, threads: int) -> dict[str, Any]:
    """Return {"result": what the task's function returned} or {"failed": why there is nothing}.

    The function computes with `threads` threads.
    """
    from threadpoolctl import threadpool_limits

    try:
        module, _, name = task.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(threads)  # what an earlier task set in a library that stays loaded is undone
        with threadpool_limits(threads), progress.begun(progress.Work(task.title)):
            return {"result": function(**task.arguments)}
    except Exception as error:
        if (message := expected(error)) is not None:
            return {"failed": message}
        frame = traceback.extract_tb(error.__traceback__)[-1]  # a mistake of ours, most likely: where is said too
        return {"failed": f"{type(error).__name__}: {error} ({os.path.basename(frame.filename)}, line {frame.lineno})"}


def check_place(place: Place, device: str = "auto") -> None:
    """Raise ClusterError or MissingExtraError where the place cannot be used, as far as a glance shows.

    device: what tasks are to compute on; Ray is given processors alone.
    """
    if place.kind == "local":
        return
    if device not in ("auto", "cpu"):
        raise ClusterError(f"On Ray tasks compute on processors, not on '{device}'. Omit --device, or --on.")
    try:
        with settings.environment(_ray_environment(place)):
            import ray

            if place.kind == "cluster":
                importlib.import_module("grpc")  # Ray's client needs it
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "grpc"):
            raise
        raise MissingExtraError("Ray", "cluster") from None
    if ray.is_initialized():
        raise ClusterError("'Ray' is in use in this process already. Call ray.shutdown() first.")
    if place.kind == "cluster":
        address = urlsplit(str(place.address))
        try:
            socket.create_connection((address.hostname, address.port), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"No cluster answers at '{place.address}': {error.strerror or error}. Start one with "
                "'ray start --head --ray-client-server-port=10001', or mend the address."
            ) from None


# -- here ---------------------------------------------------------------------------------------------------------


class _Processes:
    """Worker processes of this machine, begun with the first tasks and kept: an executor of one process a slot."""

    def __init__(self, workers: int | None, threads: int) -> None:
        self.count, self.threads = workers or max(1, settings.threads() // threads), threads
        self.idle: list[tuple[ProcessPoolExecutor, Any]] = []  # each with the double in which its process says how far
        self.under_way: dict[Future[dict[str, Any]], tuple[Task, ProcessPoolExecutor, Any]] = {}

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: object) -> None:
        executors = [executor for executor, _ in self.idle] + [executor for _, executor, _ in self.under_way.values()]
        for process in [process for each in executors for process in (each._processes or {}).values()]:
            process.kill()  # what kill_workers() does, from Python 3.14 on
        for executor in executors:
            executor.shutdown()

    def submit(self, task: Task) -> None:
        """Begin a task."""
        # Spawned, not forked: a fork of a process in which PyTorch has threads can hang.
        if self.idle:
            executor, share = self.idle.pop()
        else:
            context = get_context("spawn")
            share = context.Value("d", lock=False)
            executor = ProcessPoolExecutor(1, context, _begin_process, (share,))
        share.value = 0.0
        try:
            with settings.environment(dict.fromkeys(THREAD_VARIABLES, str(self.threads))):  # its process may begin now
                future = executor.submit(work, task, self.threads)
        except BrokenProcessPool:  # killed while it had nothing to do
            self.submit(task)
        else:
            self.under_way[future] = task, executor, share

    def ended(self, seconds: float | None) -> list[Ended]:
        """Return the tasks that have ended, as soon as one has; none where that takes longer."""
        outcomes: list[Ended] = []
        for future in wait(self.under_way, seconds, FIRST_COMPLETED).done:
            task, executor, share = self.under_way.pop(future)
            if lost := isinstance(future.exception(), BrokenProcessPool):
                executor.shutdown()
            else:
                self.idle.append((executor, share))
            outcomes.append((task, None if lost else future.result()))
        return outcomes

    def shares(self) -> list[tuple[str, float | None]]:
        """Return the tasks under way and how far each is."""
        return [(task.title or task.key, share.value) for task, _, share in list(self.under_way.values())]


def _begin_process(share: Any) -> None:
    """Leave Ctrl-C and stdout to the process that began this one, and end with it, also where it was killed."""

    def end_with_parent(parent: Any) -> None:
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.watched = share
    sys.stdout = sys.stderr
    logging.getLogger("tenfold.data").setLevel(logging.ERROR)  # what is assumed of the data has been said
    threading.Thread(target=end_with_parent, args=[parent_process()], daemon=True).start()


# -- on Ray -------------------------------------------------------------------------------------------------------


class _Ray:
    """A Ray cluster that tasks are submitted to."""

    def __init__(self, workers: int | None, threads: int) -> None:
        import ray

        self.count, self.threads, self.ray = workers or max(1, settings.threads() // threads), threads, ray
        self.under_way: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        """Begin a task."""
        self.under_way[self.ray.remote(num_cpus=self.threads, max_retries=0)(work).remote(task, self.threads)] = task

    def ended(self, seconds: float | None) -> list[Ended]:
        """Return a task that has ended, as soon as there is one; none where that takes longer."""
        return [
            (self.under_way.pop(reference), self._outcome(reference))
            for reference in self.ray.wait(list(self.under_way), num_returns=1, timeout=seconds)[0]
        ]

    def shares(self) -> list[tuple[str, float | None]]:
        """Return the tasks under way; how far they are stays with them."""
        return [(task.title or task.key, None) for task in list(self.under_way.values())]

    def _outcome(self, reference: Any) -> dict[str, Any] | None:
        try:
            return dict(self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:  # what `work` could not catch: Tenfold is not to be had there
            return {"failed": _line(error)}
        except self.ray.exceptions.RayError:
            return None

    def end(self) -> None:
        """End what is under way, and leave Ray."""
        with suppress(Exception):  # a cluster that is gone has nothing to cancel
            for reference in self.under_way:
                self.ray.cancel(reference, force=True)
        self.ray.shutdown()


@contextmanager
def _on_ray(place: Place, workers: int | None, threads: int, shared: Sequence[Path]) -> Iterator[_Ray]:
    """Give a Ray cluster, started or joined after a look at all that it needs; what is under way ends with the block.

    Meanwhile what this process prints goes to stderr: Ray says there that a worker died, and stdout is a verb's JSON.
    """
    check_place(place)
    with ExitStack() as stack:
        stack.callback(_read_token_again)  # when the environment is the caller's again
        stack.enter_context(settings.environment(_ray_environment(place)))
        _read_token_again()
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Ray Client connection timed out")  # an error says the same
        pool = _Ray(workers, threads)
        # Sockets lie in it, whose paths have about a hundred characters at most: the usual folder may be too deep.
        folder = tempfile.mkdtemp(prefix="tenfold-ray-", dir="/tmp" if os.name == "posix" else None)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(pool.end)
        if place.address is None:
            _start(pool, folder)
        else:
            nodes = _join(place.address, threads, shared)
            if workers is None:
                pool.count = sum(int(node["Resources"]["CPU"] // threads) for node in nodes)
        try:
            yield pool
        except ConnectionError as error:
            raise ClusterError(f"The cluster is gone: '{_line(error)}'. Start it, and run this again.") from error


def _ray_environment(place: Place) -> dict[str, str]:
    return QUIET_AND_LOCAL | (OWN_TOKEN if place.kind == "ray" else {})


def _read_token_again() -> None:
    """Make Ray look again whether there is a token: it keeps what it found when it was loaded, or used last."""
    _raylet = importlib.import_module("ray._raylet")
    _raylet.Config.initialize("")
    _raylet.AuthenticationTokenLoader.instance().reset_cache()


def _begin(address: str, threads: int, **options: Any) -> None:
    """Begin with Ray, quietly; tasks have the threads, and look for data where this process does."""
    import ray

    variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if (folder := settings.data_folder()) is not None:
        variables["TENFOLD_DATA"] = str(folder.absolute())
    if settings.offline():
        variables["TENFOLD_OFFLINE"] = "1"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address, runtime_env={"env_vars": variables}, **quiet, **options)


def _start(pool: _Ray, folder: str) -> None:
    """Start a cluster of this machine alone, whose files lie in `folder`."""
    own = {"num_gpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE, "_temp_dir": folder}
    try:
        _begin("local", pool.threads, num_cpus=pool.count * pool.threads, **own)
    except Exception as error:
        raise ClusterError(f"Ray did not start: '{_line(error)}'. Give --on local.") from error
    if (address := pool.ray.util.get_node_ip_address()) != LOOPBACK:
        what = f"Ray listens on '{address}', not on {LOOPBACK} alone: it was loaded before."
        raise ClusterError(f"{what} Begin in a new process.")


def _join(address: str, threads: int, shared: Sequence[Path]) -> list[dict[str, Any]]:
    """Join a cluster that is there, and return its machines that are large enough for a task, all of them checked."""
    import ray

    for attempt in range(1, JOIN_ATTEMPTS + 1):
        try:
            _begin(address, threads)
            break
        except Exception as error:
            if isinstance(error, ConnectionAbortedError) and attempt < JOIN_ATTEMPTS:
                continue  # a busy machine may start its part later than Ray waits for it
            raise ClusterError(
                f"The cluster at '{address}' cannot be joined: '{_line(error)}'. Its Ray and Python have to be those "
                f"of this machine (Ray {ray.__version__}) and the port its client server's; where it asks for a token, "
                "set RAY_AUTH_MODE=token."
            ) from error
    processors = [(int(node["Resources"].get("CPU", 0)), node) for node in ray.nodes() if node["Alive"]]
    if not (fit := [node for count, node in processors if count >= threads]):
        most = max((count for count, _ in processors), default=0)
        raise ClusterError(
            f"No machine of the cluster at '{address}' has the '{threads}' processors that a task is to compute with; "
            f"the largest has {most}. Give --threads {most or 1} or less."
        )
    _check_nodes(address, fit, shared)
    return fit


def _check_nodes(address: str, nodes: Sequence[dict[str, Any]], shared: Sequence[Path]) -> None:
    """Raise ClusterError unless each machine has this Tenfold and sees a file that is put into every shared folder.

    That all of them have one Ray and one Python is Ray's own condition.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = secrets.token_hex(8)
    marks = [folder.resolve() / f".tenfold-{token}" for folder in shared]
    look = ray.remote(max_retries=0, num_cpus=0)(missing_here)
    try:
        for mark in marks:
            mark.write_text(token, "utf-8")
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                __version__, token, [str(mark) for mark in marks]
            )
            for node in nodes
        ]
        for node, problem in zip(nodes, ray.get(asked, timeout=PREFLIGHT_SECONDS), strict=True):
            if problem is not None:
                raise ClusterError(f"Machine '{node['NodeManagerHostname']}' of {address} {problem}")
    except (ray.exceptions.RayError, ConnectionError, ImportError) as error:
        what = f"The cluster at '{address}' did not do a first task: '{_line(error)}'."
        raise ClusterError(f"{what} Install Tenfold {__version__} on every machine, or look at its logs.") from error
    except OSError as error:
        raise ClusterError(unwritten(error.filename, error, "Give another folder.")) from error
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def missing_here(version: str, content: str, marks: Sequence[str]) -> str | None:
    """Return what this machine lacks: that version of Tenfold, or files of that content; None for nothing."""
    if __version__ != version:
        return f"has tenfold '{__version__}', and this one '{version}'. Install the same version on every machine."
    for mark in marks:
        try:
            with open(mark) as file, open(f"{mark}-{os.getpid()}", "w"):
                os.unlink(f"{mark}-{os.getpid()}")
                if file.read() == content:
                    continue
            why = "it is another folder there"
        except OSError as error:
            why = str(error.strerror)
        return f"cannot use '{os.path.dirname(mark)}': {why}. Give a folder that all machines share."
    return None


def _line(error: BaseException) -> str:
    """Return the first line of an error's message, or of that of the error in a task which it stands for."""
    cause = getattr(error, "cause", None)
    message = str(cause if isinstance(cause, BaseException) else error)
    return next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__)
