"""Many independent tasks, run here or on Ray: the same tasks, the same threads for each, so the same results.

The only file that knows of Ray. Ray carries tasks and answers; files lie in a folder that all machines share. A cluster
of this machine's own listens on the loopback address alone and ends with the work.
"""

import importlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tenfold import settings
from tenfold.errors import ClusterError, MissingExtraError
from tenfold.machines import Machine, Place, looking, mark
from tenfold.processes import THREAD_VARIABLES, Processes, Surroundings, Task, Telling, Watcher, tell, work

__all__ = ["Cluster", "Place", "Processes", "Task", "Watcher", "check_place", "open_place", "run_tasks"]

CONNECT_SECONDS, PREFLIGHT_SECONDS = 10.0, 60.0
JOIN_ATTEMPTS = 3
OBJECT_STORE = 100 * 2**20  # bytes; what travels are small dictionaries, and Ray's default is 30% of the memory
LOOPBACK = "127.0.0.1"
# Read by Ray when it is loaded: no report of its use to its makers; the last one, named after the systems where it is
# the default, gives a cluster the loopback address instead of the machine's own, so that nobody else can reach it.
QUIET_AND_LOCAL = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


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

    on: see `Place.parse`. workers: at most so many at a time; None: as many as there are processors for. threads: that
    each computes with, wherever it runs. done, failed: told here what a task returned, or why there is nothing: the
    message of a TenfoldError that it raised, or that its process ended `retries` + 1 times without an answer. Tasks
    end in any order. shared: folders that the tasks read and write, which a cluster's machines have to see.
    Raises ClusterError, MissingExtraError: before anything is started.
    """
    watcher = Telling(iter(tasks), done, failed, retries)
    with open_place(Place.parse(on), workers=workers, threads=threads, retries=retries, shared=shared) as place:
        return place.run(watcher, deadline)


def open_place(
    place: Place, *, workers: int | None, threads: int, retries: int = 0, shared: Sequence[Path] = ()
) -> "Processes | Cluster":
    """Return what runs a watcher's tasks there, a context manager with `run`; see `run_tasks`."""
    if place.kind == "local":
        return Processes(workers or max(1, settings.threads() // threads), threads, retries)
    return Cluster(place, workers, threads, retries, shared)


def check_place(place: Place, device: str = "auto") -> None:
    """Raise ClusterError or MissingExtraError where the place cannot be used, as far as a glance shows.

    device: what tasks are to compute on; Ray is given processors alone.
    """
    if place.kind == "local":
        return
    if device not in ("auto", "cpu"):
        raise ClusterError(f"On Ray tasks compute on processors, not on '{device}'. Leave --device away, or --on.")
    before = Surroundings(QUIET_AND_LOCAL)
    try:
        _import_ray(place)
        if place.kind == "cluster":
            socket.create_connection(place.host_and_port, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"No cluster answers at '{place.address}': {error.strerror or error}. Start one with "
            "'ray start --head --ray-client-server-port=10001', or mend the address."
        ) from None
    finally:
        before.restore()


class Cluster:
    """A Ray cluster at work; a context manager that starts or joins it, after looking at all that it needs.

    Meanwhile what this process prints goes to stderr.
    """

    def __init__(
        self, place: Place, workers: int | None, threads: int, retries: int = 0, shared: Sequence[Path] = ()
    ) -> None:
        self.place, self.threads, self.retries, self.shared = place, threads, retries, shared
        self.count = workers or max(1, settings.threads() // threads)
        self._all_of_it = workers is None and place.kind == "cluster"
        self._under_way: dict[Any, Task] = {}
        self._begun = False
        self._desk: Any = None
        self._question: Any = None  # what the desk will hand out next
        self._folder: str | None = None
        self._prints = redirect_stdout(sys.stderr)  # Ray says there that a worker died; stdout is for a verb's JSON

    def __enter__(self) -> "Cluster":
        check_place(self.place)
        self._before = Surroundings(QUIET_AND_LOCAL)
        try:
            _import_ray(self.place)
            self._prints.__enter__()
            self._begun = True
            if self.place.kind == "ray":
                self._start()
            else:
                self._join()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            import ray

            with _rays_warnings():
                with suppress(Exception):  # a cluster that is gone has nothing to cancel
                    for reference in self._under_way:
                        ray.cancel(reference, force=True)
                ray.shutdown()
            self._prints.__exit__(None, None, None)
        self._under_way.clear()
        self._desk = self._question = None
        self._before.restore()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        """Start a cluster of this machine alone."""
        import ray

        # Sockets lie in it, whose paths have about a hundred characters at most: the usual folder may be too deep.
        self._folder = tempfile.mkdtemp(prefix="tenfold-ray-", dir="/tmp" if os.name == "posix" else None)
        try:
            with _rays_warnings():
                ray.init(
                    address="local",
                    num_cpus=self.count * self.threads,
                    num_gpus=0,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": self._variables()},
                    _temp_dir=self._folder,
                )
        except Exception as error:
            raise ClusterError(f"Ray did not start: '{_line(error)}'. Give --on local.") from error
        if (address := ray.util.get_node_ip_address()) != LOOPBACK:
            raise ClusterError(
                f"Ray listens on '{address}', not on {LOOPBACK} alone: it was loaded before. Begin in a new process."
            )

    def _join(self) -> None:
        """Join a cluster that is there, once it is known to be fit."""
        import ray

        address = self.place.address
        try:
            for attempt in range(JOIN_ATTEMPTS):
                with _rays_warnings():
                    try:
                        ray.init(
                            address,
                            log_to_driver=False,
                            logging_level=logging.ERROR,
                            runtime_env={"env_vars": self._variables()},
                        )
                        break
                    except ConnectionAbortedError:  # a busy machine may start its part later than Ray waits for it
                        if attempt + 1 == JOIN_ATTEMPTS:
                            raise
        except Exception as error:
            raise ClusterError(
                f"The cluster at '{address}' cannot be joined: '{_line(error)}'. Its Ray and Python have to be those "
                f"of this machine (Ray {ray.__version__}) and the port its client server's; where it asks for a token, "
                "set RAY_AUTH_MODE=token."
            ) from error
        machines = self._machines()
        for machine in self._seen_from(machines):
            machine.check(self.place.address or "")
        if self._all_of_it:
            self.count = sum(int(each["Resources"]["CPU"] // self.threads) for each in machines)

    def _variables(self) -> dict[str, str]:
        """Return the environment that tasks run in: the threads, and where this process looks for data."""
        variables = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if (folder := settings.data_folder()) is not None:
            variables["TENFOLD_DATA"] = str(folder.absolute())
        return variables | ({"TENFOLD_OFFLINE": "1"} if settings.offline() else {})

    def _machines(self) -> list[dict[str, Any]]:
        """Return the cluster's machines that are large enough for a task; ClusterError where there is none."""
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        fit = [node for node in alive if node["Resources"].get("CPU", 0) >= self.threads]
        if not fit:
            most = max((int(node["Resources"].get("CPU", 0)) for node in alive), default=0)
            raise ClusterError(
                f"No machine of the cluster at '{self.place.address}' has the '{self.threads}' processors that a task "
                f"is to compute with; the largest has {most}. Give --threads {most or 1} or less."
            )
        return fit

    def _seen_from(self, machines: Sequence[dict[str, Any]]) -> list[Machine]:
        """Return what each machine is like, after it looked for a file that is put into every shared folder here."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = ray.remote(max_retries=0, num_cpus=0)(looking())
        token = secrets.token_hex(8)
        folders = [folder.resolve() for folder in self.shared]
        try:
            for folder in folders:
                (folder / mark(token)).write_text(token, "utf-8")
            asked = [
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(machine["NodeID"], soft=False)).remote(
                    [str(folder) for folder in folders], mark(token), token
                )
                for machine in machines
            ]
            return [Machine(**answer) for answer in ray.get(asked, timeout=PREFLIGHT_SECONDS)]
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError(
                f"The cluster at '{self.place.address}' did not do a first task: '{_line(error)}'. Look at its logs."
            ) from error
        except OSError as error:
            raise ClusterError(
                f"'{error.filename}' cannot be written: {error.strerror}. Give a folder that can be."
            ) from error
        finally:
            for folder in folders:
                (folder / mark(token)).unlink(missing_ok=True)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def run(self, watcher: Watcher, deadline: float | None = None) -> bool:
        """Run the watcher's tasks; return False where `deadline` (of time.monotonic) cut some of them off."""
        import ray

        while True:
            while len(self._under_way) < self.count and (task := watcher.next()) is not None:
                self._submit(task)
            if not self._under_way:
                return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            waited_for = [*self._under_way, *([self._question] if self._question is not None else [])]
            try:
                ready, _ = ray.wait(waited_for, num_returns=1, timeout=left)
                if not ready:
                    for reference, task in list(self._under_way.items()):
                        ray.cancel(reference, force=True)
                        del self._under_way[reference]
                        watcher.cut(task)
                    return False
                if ready[0] is self._question:
                    self._answer(watcher)
                else:
                    self._take(ready[0], watcher)
            except ConnectionError as error:
                raise ClusterError(f"The cluster is gone: '{_line(error)}'. Start it, and run this again.") from error

    def _submit(self, task: Task) -> None:
        import ray

        if task.asks and self._desk is None:
            self._desk = ray.remote(num_cpus=0)(_Desk).remote()
            self._question = self._desk.question.remote()
        # Ray begins a task whose process died anew, on another machine where its own is gone.
        remote = ray.remote(num_cpus=self.threads, max_retries=self.retries)(_work_on_ray)
        self._under_way[remote.remote(task, self.threads, self._desk if task.asks else None)] = task

    def _take(self, reference: Any, watcher: Watcher) -> None:
        """Take what a task came to."""
        import ray

        task = self._under_way.pop(reference)
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # what `work` caught not, such as a class that is not to be had
            outcome = {"failed": _line(error.cause if isinstance(error.cause, BaseException) else error)}
        except ray.exceptions.RayError:
            watcher.lost(task)
            return
        tell(watcher, task, outcome)

    def _answer(self, watcher: Watcher) -> None:
        """Answer the question that lies on the desk."""
        import ray

        key, question = ray.get(self._question)
        for task in self._under_way.values():
            if task.key == key:
                self._desk.answer.remote(key, watcher.asked(task, question))
        self._question = self._desk.question.remote()


class _Desk:
    """Where tasks on Ray lay their questions down and wait; the process that decides takes them and answers."""

    def __init__(self) -> None:
        import asyncio

        self.questions: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.answers: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, key: str, question: dict[str, Any]) -> Any:
        import asyncio

        self.answers[key] = asyncio.get_running_loop().create_future()
        await self.questions.put((key, question))
        return await self.answers[key]

    async def question(self) -> tuple[str, dict[str, Any]]:
        return await self.questions.get()

    async def answer(self, key: str, answer: Any) -> None:
        self.answers.pop(key).set_result(answer)


def _work_on_ray(task: Task, threads: int, desk: Any) -> dict[str, Any]:
    """Return what `work` returns, in a process of Ray's."""
    import ray

    return work(task, threads, lambda question: ray.get(desk.ask.remote(task.key, question)))


# -- what is looked at before anything is started -----------------------------------------------------------------


def _import_ray(place: Place) -> None:
    """Load Ray, for the first time quiet and local; MissingExtraError where it is not installed."""
    try:
        with _rays_warnings():
            import ray

            if place.kind == "cluster":
                importlib.import_module("grpc")  # Ray's client needs it
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "grpc"):
            raise
        raise MissingExtraError("Ray", "cluster") from None
    if ray.is_initialized():
        raise ClusterError("'Ray' is in use in this process already. Call ray.shutdown() first.")


@contextmanager
def _rays_warnings() -> Iterator[None]:
    """Pass over what Ray warns of before it raises an error that says the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Ray Client connection timed out")
        yield


def _line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
