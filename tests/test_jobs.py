"""Tasks in processes here and on Ray: the same results, whatever is killed on the way, and nothing left behind."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tenfold import __version__, jobs
from tenfold.errors import ClusterError, MissingExtraError
from tenfold.jobs import Place, Task, run_tasks

HERE = Path(__file__).parent
# Looked for, not loaded: a cluster of one's own is on the loopback address only where Ray is loaded for it.
RAY = pytest.mark.skipif(not (find_spec("ray") and find_spec("grpc")), reason="ray[client] is not installed")
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes, spawned or Ray's, import the functions of job_tasks.py."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))


def task(name: str, key: str | None = None, **arguments: Any) -> Task:
    """Return a task with a function of job_tasks.py."""
    return Task(key or f"{name}-{arguments}", f"job_tasks:{name}", arguments)


class Notes:
    """What `run_tasks` tells."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self.reasons: dict[str, str] = {}

    def done(self, task: Task, result: dict[str, Any]) -> None:
        """Take a result."""
        assert task.key not in self.results
        self.results[task.key] = result

    def failed(self, task: Task, reason: str) -> None:
        """Take a reason."""
        self.reasons[task.key] = reason

    def run(self, tasks: Sequence[Task], **options: Any) -> bool:
        """Run the tasks and take notes."""
        return run_tasks(tasks, **{"workers": 2, "threads": 1} | options, done=self.done, failed=self.failed)


def children() -> set[int]:
    """Return the processes that descend from this one, but for the tracker that multiprocessing keeps."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = status.read_text().rpartition(")")
            tracker = b"resource_tracker" in (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if not tracker:
            parents[int(status.parent.name)] = int(rest.split()[1])
    found, more = set(), {os.getpid()}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more}
        found |= more
    return found


def listeners() -> set[str]:
    """Return the addresses, in the kernel's hexadecimal, on which this process and its descendants listen."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for pid in children() | {os.getpid()}:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                found.add(sockets.get(os.readlink(descriptor), ""))
            except OSError:
                continue
    return found - {""}


def kill_from_outside(folder: Path) -> threading.Thread:
    """Return a thread that kills the process of `waits_to_be_killed` when it waits."""
    folder.mkdir()
    os.mkfifo(folder / "pipe")

    def kill() -> None:
        with (folder / "pipe").open("wb"):  # goes on when the task opens the other end
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def hard_tasks(folder: Path) -> list[Task]:
    """Return tasks among which one kills itself at first, one is to be killed, one dies always, and two raise."""
    return [
        *(task("product", seed=seed) for seed in range(3)),
        task("killed_once", key="killed once", folder=str(folder), seed=7),
        task("waits_to_be_killed", key="killed from outside", folder=str(folder), seed=8),
        task("killed_always", key="killed always", folder=str(folder)),
        task("refuses", key="refuses", value="x"),
        task("breaks", key="breaks"),
        task("finds_no_room", key="full"),
    ]


def check_hard(notes: Notes, folder: Path) -> None:
    """Check what came of them: all that can be computed is, equal to what this process computes, the rest is named."""
    expected = {f"product-{{'seed': {seed}}}": seed for seed in range(3)}
    expected |= {"killed once": 7, "killed from outside": 8}
    assert set(notes.results) == set(expected)
    assert json.loads(json.dumps(notes.results)) == notes.results
    assert (folder / "killed-7").exists()
    assert {key: value["threads"] for key, value in notes.results.items()} == dict.fromkeys(expected, 1)
    lone = subprocess.run(
        [sys.executable, "-c", "import json, job_tasks as tasks\n"
         f"print(json.dumps([tasks.product(seed) for seed in {list(expected.values())}]))"],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    assert dict(zip(expected, json.loads(lone), strict=True)) == notes.results
    assert notes.reasons["refuses"] == "'x' is no data. Give some."
    assert notes.reasons["breaks"].startswith("KeyError: 'missing' (job_tasks.py, line ")
    assert notes.reasons["full"] == (
        "No space left on device: 'somewhere'. Free some space there, and run the same again."
    )
    assert "ended without an answer, 3 times" in notes.reasons["killed always"]
    assert (folder / "attempts").read_text().count("begun") == 3
    assert len(notes.reasons) == 4


# -- here ---------------------------------------------------------------------------------------------------------


def test_killed_processes_lose_nothing(tmp_path: Path) -> None:
    """Tasks whose process is killed, by themselves or from outside, are done again; errors are told, and no more."""
    folder = tmp_path / "work"
    thread = kill_from_outside(folder)
    notes = Notes()
    assert notes.run(hard_tasks(folder))
    thread.join()
    check_hard(notes, folder)
    assert not children()


def test_each_process_has_its_threads(tmp_path: Path) -> None:
    """A task computes with the threads asked for, whatever this process computes with."""
    notes = Notes()
    assert notes.run([task("product", key="a", seed=0), task("where", key="b")], workers=1, threads=3)
    assert (notes.results["a"]["threads"], notes.results["b"]["threads"]) == (3, "3")
    assert notes.results["b"]["pid"] != os.getpid()


def test_no_retry_where_none_is_asked_for(tmp_path: Path) -> None:
    """retries=0 begins a task once."""
    notes = Notes()
    assert notes.run([task("killed_always", key="a", folder=str(tmp_path))], retries=0)
    assert (tmp_path / "attempts").read_text().count("begun") == 1
    assert "ended without an answer, once" in notes.reasons["a"]


def test_tasks_are_asked_for_when_a_worker_is_free() -> None:
    """No task is taken from the iterator before a worker can begin it: what ended may decide what comes next."""
    notes, asked = Notes(), []

    def tasks() -> Iterator[Task]:
        for number in range(4):
            asked.append((number, len(notes.results)))
            yield task("where", key=str(number))

    assert run_tasks(tasks(), workers=1, threads=1, done=notes.done, failed=notes.failed)
    assert asked == [(number, number) for number in range(4)]


def test_a_loss_is_charged_to_its_own_task(tmp_path: Path) -> None:
    """A task beside one whose process is killed time and again is begun once, and goes on undisturbed."""
    folder = tmp_path / "work"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    notes, ended = Notes(), []

    def failed(task: Task, reason: str) -> None:
        notes.failed(task, reason)
        with (folder / "pipe").open("wb"):  # lets the other one go on
            ended.append(set(notes.results))

    tasks = [
        task("waits_to_be_killed", key="waits", folder=str(folder), seed=1),
        task("killed_always", key="dies", folder=str(folder)),
    ]
    assert run_tasks(tasks, workers=2, threads=1, done=notes.done, failed=failed, retries=3)
    assert (set(notes.reasons), set(notes.results), ended) == ({"dies"}, {"waits"}, [set()])


def test_stdout_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """What a task prints does not get between a verb and its JSON."""
    assert Notes().run([task("where")])
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "printed by a task" in captured.err


def test_deadline_cuts_off_what_is_under_way(tmp_path: Path) -> None:
    """At the deadline the tasks under way end, neither done nor failed, and the others are not begun."""
    os.mkfifo(tmp_path / "pipe")
    notes = Notes()
    tasks = [task("waits_for_ever", key=str(number), folder=str(tmp_path)) for number in range(5)]
    assert not notes.run(tasks, deadline=time.monotonic())
    assert (notes.results, notes.reasons) == ({}, {})
    assert not children()


@pytest.mark.parametrize(
    ("on", "number"),
    [
        *(("local", number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)),
        *(
            pytest.param("ray", number, marks=[RAY, pytest.mark.slow])
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        ),
    ],
)
def test_no_process_survives_the_one_that_decides(tmp_path: Path, on: str, number: signal.Signals) -> None:
    """Ctrl-C, a termination request and a kill of the deciding process end its workers too, here and on Ray."""
    os.mkfifo(tmp_path / "pipe")
    # Begun in the background, as CI may be, a process ignores Ctrl-C, and so do those that it begins.
    code = f"""if __name__ == "__main__":
    import signal
    from tenfold.jobs import Task, run_tasks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_tasks([Task("a", "job_tasks:waits_for_ever", {{"folder": {str(tmp_path)!r}}})], on="{on}",
              workers=1, threads=1, done=print, failed=print)"""
    (tmp_path / "run.py").write_text(code)
    with subprocess.Popen([sys.executable, tmp_path / "run.py"], stderr=subprocess.DEVNULL) as process:
        other_end = os.open(tmp_path / "pipe", os.O_WRONLY)  # goes on when the worker waits
        process.send_signal(number)
    poll = select.poll()
    poll.register(other_end, 0)  # an error is all that can happen: the reader is gone
    assert poll.poll(60_000), "the worker still waits"
    os.close(other_end)
    if number != signal.SIGKILL:
        assert not [line for line in command_lines() if re.search(f"session_[-_0-9]+_{process.pid}/", line)]


def command_lines() -> list[str]:
    """Return the commands of all processes; Ray's name the session's folder, and that names who began it."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(command.read_text())
        except OSError:
            continue
    return found


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "Ray", "ray:", "ray://", "ray://host", "ray://host:0", "ray://host:70000",
                                  "http://host:10001", "ray://a b:1", "ray://host:10001/x"])  # fmt: skip
def test_unknown_places_are_one_line(text: str) -> None:
    """What is no place is named, with those that there are."""
    with pytest.raises(ClusterError, match=f"^--on '{re.escape(text)}' is no place to compute. Give local, ray"):
        Place.parse(text)


def test_places() -> None:
    """The three places are told apart; a cluster's host may be a name or an address of either kind."""
    assert Place.parse(None) == Place.parse("local") == Place("local")
    assert Place.parse("ray") == Place("ray")
    for address in ("ray://head.example:10001", "ray://[::1]:10001"):
        assert Place.parse(address) == Place("cluster", address)


def test_ray_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray the extra that brings it is named, and the environment is as it was."""
    monkeypatch.setitem(sys.modules, "ray", None)
    before = dict(os.environ)
    with pytest.raises(MissingExtraError, match=r"^Ray is not installed. Run: pip install 'tenfold\[cluster\]'$"):
        Notes().run([task("where")], on="ray")
    assert dict(os.environ) == before


@RAY
def test_nobody_listens_is_one_line() -> None:
    """Where nothing listens, that is said before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"^No cluster answers at '{address}': Connection refused"):
            Notes().run([task("where")], on=address)


def test_own_cluster_has_a_token() -> None:
    """A cluster of this machine's own asks for a secret that no other user knows; one that is there has its own."""
    own = jobs._ray_environment(Place.parse("ray"))
    assert own["RAY_AUTH_MODE"] == "token"
    assert re.fullmatch("[0-9a-f]{64}", own["RAY_AUTH_TOKEN"])
    assert "RAY_AUTH_MODE" not in jobs._ray_environment(Place.parse("ray://host:10001"))


def test_processors_alone_on_ray() -> None:
    """Another device than a processor is refused, before Ray is looked for."""
    with pytest.raises(ClusterError, match="On Ray tasks compute on processors, not on 'cuda'. Omit --device, or --on"):
        jobs.check_place(Place.parse("ray"), "cuda")
    jobs.check_place(Place.parse("local"), "cuda")


def test_what_a_machine_lacks(tmp_path: Path) -> None:
    """A machine has this version, and sees in a shared folder the very file put there, and can write beside it."""
    for name in ("shared", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mark").write_text("b" if name == "other" else "a")
    marks = {name: str(tmp_path / name / "mark") for name in ("shared", "other", "missing")}
    assert jobs.missing_here(__version__, "a", [marks["shared"]]) is None
    assert os.listdir(tmp_path / "shared") == ["mark"]
    found = jobs.missing_here("0.0.0", "a", [])
    assert found == f"has tenfold '{__version__}', and this one '0.0.0'. Install the same version on every machine."
    for name, why in (("other", "it is another folder there"), ("missing", "No such file or directory")):
        found = jobs.missing_here(__version__, "a", [marks["shared"], marks[name]])
        assert found == f"cannot use '{tmp_path / name}': {why}. Give a folder that all machines share."


# -- on Ray -------------------------------------------------------------------------------------------------------


@RAY
@pytest.mark.slow
def test_own_cluster_equals_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a Ray cluster of its own, with workers killed, every result is the one computed without Ray; nothing listens
    but on the loopback address, stdout stays empty, and nothing is left: no process, no environment, no handler.
    """
    folder = tmp_path / "work"
    thread = kill_from_outside(folder)
    before = dict(os.environ), signal.getsignal(signal.SIGTERM)
    heard: set[str] = set()

    class Listening(Notes):
        def done(self, task: Task, result: dict[str, Any]) -> None:
            super().done(task, result)
            heard.update(listeners())

    notes = Listening()
    assert notes.run(hard_tasks(folder), on="ray")
    thread.join()
    check_hard(notes, folder)
    assert capsys.readouterr().out == ""
    assert heard
    assert heard <= set(LOOPBACK)
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM)) == before
    assert not children()


@RAY
@pytest.mark.slow
def test_own_cluster_is_cut_off(tmp_path: Path) -> None:
    """The deadline ends what is under way on Ray too; also where Ray was used without a token in this process."""
    from ray._raylet import get_authentication_mode

    assert int(get_authentication_mode()) == 0  # which Ray keeps
    os.mkfifo(tmp_path / "pipe")
    notes = Notes()
    assert not notes.run([task("waits_for_ever", folder=str(tmp_path))], on="ray", deadline=time.monotonic())
    assert (notes.results, notes.reasons) == ({}, {})
    assert not children()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Ray cluster of two processors that another process started."""
    folder = tmp_path_factory.mktemp("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    short = Path("/tmp") / f"tenfold-test-{port}"  # the paths of Ray's sockets must be short
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=0", "--num-cpus=2"]
    command += [f"--ray-client-server-port={port}", "--include-dashboard=false", f"--temp-dir={short}"]
    command += ["--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
    environment = os.environ | jobs.QUIET_AND_LOCAL | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(HERE)}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "--block" in line:  # said when all of it is up, but for the server that clients connect to
                    break
            while process.poll() is None:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            assert process.poll() is None, (folder / "log").read_text()
            yield f"ray://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate()
    subprocess.run(["rm", "-rf", short], check=True)


@RAY
@pytest.mark.slow
def test_joined_cluster_equals_processes(cluster: str, tmp_path: Path) -> None:
    """A cluster that is there does the same, with its workers killed, as many at a time as it has processors for."""
    folder = tmp_path / "work"
    thread = kill_from_outside(folder)
    notes = Notes()
    assert notes.run(hard_tasks(folder), on=cluster, workers=None, shared=[folder])
    thread.join()
    check_hard(notes, folder)
    assert not list(folder.glob(".tenfold*"))


@RAY
@pytest.mark.slow
def test_joined_cluster_that_does_not_fit(cluster: str, tmp_path: Path) -> None:
    """Too many threads for any machine, or a folder that its machines do not see, is refused before a task begins."""
    with pytest.raises(ClusterError, match=r"has the '3' processors .*; the largest has 2. Give --threads 2 or less"):
        Notes().run([task("where")], on=cluster, threads=3)
    with pytest.raises(ClusterError, match="missing/.tenfold-.*' cannot be written: No such file or directory"):
        Notes().run([task("where")], on=cluster, shared=[tmp_path / "missing"])
