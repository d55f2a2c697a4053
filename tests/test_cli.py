"""The command line: what it prints where, and how it ends."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tenfold import __version__
from tenfold.cli import app, main
from tenfold.cli.reporting import explain
from tenfold.data.digits import Digits
from tenfold.errors import DataError

VERBS = [
    *("quickstart", "explore", "train", "tune", "ensemble", "ablate", "evaluate", "compare", "reproduce", "audit"),
    *("submit", "export", "read"),
]


@dataclass(frozen=True)
class Score:
    """What a verb returns."""

    accuracy: float = 0.5
    n: int = 2


@dataclass(frozen=True)
class Doubtful(Score):
    """What a verb returns that did not do all that was asked."""

    problem = "'1' of 2 could not be read. Look at it."


@dataclass(frozen=True)
class Halted(Score):
    """What a verb returns that Ctrl-C ended."""

    status: str = "interrupted"


def run(*words: object) -> Result:
    """Return what the command line did with these words."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Return a function that puts another, with the same signature, in the place of what `tenfold evaluate` calls."""
    import tenfold.evaluate as module

    verb = module.evaluate

    def put(call: Callable[[], Any]) -> None:
        @functools.wraps(verb)
        def instead(*_: object, **__: object) -> Any:
            return call()

        monkeypatch.setattr(module, "evaluate", instead)

    return put


def raising(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises this error."""

    def call() -> Any:
        raise error

    return call


def test_help_names_every_verb() -> None:
    """`tenfold`, `--help` and `-h` show a line for each verb."""
    for words in (["--help"], ["-h"]):
        result = run(*words)
        assert result.exit_code == 0
        assert [verb for verb in VERBS if f"\n  {verb} " not in result.stdout] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_json_debug_and_quiet(verb: str) -> None:
    """Each verb has the same three switches."""
    shown = run(verb, "--help").stdout
    assert all(f"  {switch} " in shown for switch in ("--json", "--debug", "--quiet"))


def test_version() -> None:
    """`--version` prints the package's version and nothing else."""
    assert run("--version").stdout == f"tenfold {__version__}\n"


def test_recipes_are_listed() -> None:
    """`train --list` prints a line for each shipped recipe, its name first, and needs no data."""
    from tenfold.training.recipe import available

    result = run("train", "--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == available()


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["train"],
        ["train", "fast", "--data"],
        ["train", "--data", "uci", "--seed", "-1"],
        ["train", "--data", "uci", "--subset", "0"],
        ["train", "--data", "uci", "--max-seconds", "0"],
        ["evaluate", "runs/first"],
        ["submit", "runs/first", "--data", "uci"],
        ["explore"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    """Words that make no command end with 2, a line that begins with Error, and no traceback."""
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_json_is_the_last_line(evaluate: Callable[..., None]) -> None:
    """With --json the last line on stdout is one JSON object; without it stdout is empty."""
    evaluate(Score)
    assert json.loads(run("evaluate", "r", "--data", "uci", "--json").stdout.splitlines()[-1]) == asdict(Score())
    assert run("evaluate", "r", "--data", "uci").stdout == ""


def test_no_nan_in_json(evaluate: Callable[..., None]) -> None:
    """A result that JSON cannot hold is an error, not a `NaN` that other readers stumble over."""
    evaluate(lambda: Score(accuracy=float("nan")))
    result = run("evaluate", "r", "--data", "uci", "--json")
    assert result.exit_code == 1
    assert list(json.loads(result.stdout)) == ["error"]


def test_error_is_one_line(evaluate: Callable[..., None]) -> None:
    """An error that the user caused is one line on stderr and exit code 1; with --json stdout has it too."""
    evaluate(raising(DataError("'x' holds\n'0' images. Give one.")))
    result = run("evaluate", "r", "--data", "uci")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: 'x' holds '0' images. Give one.\n"
    result = run("evaluate", "r", "--data", "uci", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"error": "'x' holds '0' images. Give one."})


@pytest.mark.parametrize("words", [["--debug", "evaluate"], ["evaluate", "--debug"]])
def test_debug_shows_the_traceback(evaluate: Callable[..., None], words: list[str]) -> None:
    """With --debug, before or after the verb, the error itself comes through."""
    error = DataError("wrong")
    evaluate(raising(error))
    result = run(*words, "r", "--data", "uci")
    assert result.exit_code == 1
    assert result.exception is error


def test_ctrl_c_exits_with_130(evaluate: Callable[..., None]) -> None:
    """Ctrl-C ends a command with one line and the exit code that shells expect."""
    evaluate(raising(KeyboardInterrupt()))
    result = run("evaluate", "r", "--data", "uci")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_interrupted_training_exits_with_130(evaluate: Callable[..., None]) -> None:
    """A verb that Ctrl-C ended has a result to show, and still ends with 130, so that `&&` does not go on."""
    evaluate(Halted)
    result = run("evaluate", "r", "--data", "uci", "--json")
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (130, "interrupted")


def test_a_problem_exits_with_1(evaluate: Callable[..., None]) -> None:
    """A result with a problem is printed whole, then the problem is told as an error is."""
    evaluate(Doubtful)
    result = run("evaluate", "r", "--data", "uci", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, asdict(Score()))
    assert result.stderr == "Error: '1' of 2 could not be read. Look at it.\n"


def test_unexpected_error_says_what_to_do(evaluate: Callable[..., None]) -> None:
    """An error that nobody foresaw is one line too, with its type and the advice to add --debug."""
    evaluate(raising(ZeroDivisionError("division by zero")))
    result = run("evaluate", "r", "--data", "uci")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ZeroDivisionError: division by zero. ")
    assert "--debug" in result.stderr
    assert result.stderr.count("\n") == 1


def test_missing_extra_is_named(evaluate: Callable[..., None]) -> None:
    """Where torch is not installed the error says how to install it."""
    evaluate(raising(ModuleNotFoundError("No module named 'torch'", name="torch")))
    result = run("evaluate", "r", "--data", "uci")
    assert result.exit_code == 1
    assert "pip install 'tenfold[train]'" in result.stderr


def test_operating_system_error_names_the_file(evaluate: Callable[..., None], tmp_path: Path) -> None:
    """A file that cannot be written is named in the error."""
    evaluate(lambda: (tmp_path / "not" / "there").write_text(""))
    result = run("evaluate", "r", "--data", "uci")
    assert result.exit_code == 1
    assert f"'{tmp_path / 'not' / 'there'}'" in result.stderr


def test_closed_pipe_is_quiet() -> None:
    """A reader that goes away, as `head` does, draws no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tenfold", "train", "--list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        (["train", "instnt", "--data", "uci"], "Did you mean 'instant'?"),
        (["train", "instant", "--data", "uci", "--set", "optimiser.lrr=1"], "Did you mean 'lr'?"),
        (["train", "instant", "--data", "uci", "--device", "tpu"], "'tpu'"),
        (["train", "instant", "--data", "not-there.csv"], "'not-there.csv'"),
        (["train", "instant", "--data", "uci", "--out", "file/run"], "file"),
        (["train", "instant", "--data", "uci", "--out", "full"], "'full'"),
        (["train", "--resume", "not-there"], "'not-there'"),
        (["evaluate", "not-there", "--data", "uci"], "'not-there'"),
        (["submit", "empty", "--data", "uci", "--out", "s.csv"], "'empty'"),
        (["explore", "--data", "file"], "'file'"),
    ],
)
def test_bad_input(words: list[str], quoted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with the words, the error is one foreseen line that quotes it, and no file is changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not digits")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert quoted in result.stderr
    assert "unexpected" not in result.stderr
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "not digits"


@pytest.mark.parametrize("words", [(), ("--quiet",)])
def test_what_is_assumed_is_said(
    words: tuple[str, ...], digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is assumed of the data is a line on stderr of any verb, and none with --quiet."""
    np.savez(tmp_path / "two.npz", X=digits.images > 127, y=digits.labels)
    result = run("explore", "--data", str(tmp_path / "two.npz"), "--out", str(tmp_path / "page.html"), *words)
    assert result.exit_code == 0, result.output
    said = [record.getMessage() for record in caplog.records if record.name.startswith("tenfold")]
    line = f"'{tmp_path / 'two.npz'}': the values are 0 and 1: taken as 0 and 255."
    assert said == ([] if words else [line])


@pytest.mark.slow
def test_the_road(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, evaluate and submit run after each other on a file of digits, each with the JSON that others read."""
    monkeypatch.chdir(tmp_path)
    np.savez("digits.npz", X=digits.images, y=digits.labels)
    np.savez("new.npz", X=digits.images[:50])

    def answer(*words: str) -> dict[str, Any]:
        result = run(*words, "--json")
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout.splitlines()[-1]))

    trained = answer("train", "instant", "--data", "digits.npz", "--quiet", "--seed", "3")
    assert {"run", "seconds", "validation_accuracy", "epochs", "images_per_second"} <= set(trained)
    assert trained["run"] == str(Path("runs", "instant-1"))
    score = answer("evaluate", trained["run"], "--data", "digits.npz")
    assert {"accuracy", "errors", "n", "ci95", "nll", "ece", "overlap"} <= set(score)
    assert score["n"] == 200
    assert score["overlap"]["exact"] > 0
    assert answer("submit", trained["run"], "--data", "new.npz", "--out", "s.csv")["rows"] == 50
    assert Path("s.csv").read_bytes().splitlines()[0] == b"ImageId,Label"
    again = run("train", "instant", "--data", "digits.npz", "--out", trained["run"])
    assert again.exit_code == 1, "a finished run is not overwritten"


@pytest.mark.parametrize("library", ["typer", "onnxruntime"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_while_a_library_loads(library: str, options: list[str], tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and one line also where a library that is being loaded makes another error of it."""
    (tmp_path / f"{library}.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    raise ImportError('half of it failed to import') from None\n"
    )
    # As in a terminal, though whoever started the tests may ignore Ctrl-C.
    begin = "import signal, tenfold.__main__ as t; signal.signal(signal.SIGINT, signal.default_int_handler); t.main()"
    command = [sys.executable, "-c", begin, "read", "none.png", "--model", "tiny", *options]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert done.stdout == ('{"error": "Interrupted."}\n' if options else "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "There is too little memory: 'MemoryError: '"),
        (MemoryError("Unable to allocate 42.6 MiB for an array"), "There is too little memory: "),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] can't allocate memory: you tried"), "There is too little"),
        (RuntimeError("std::bad_alloc"), "There is too little memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "There is too little memory"),
        (OSError(12, "Cannot allocate memory"), "There is too little memory"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "No folder takes temporary files"),
    ],
)
def test_what_a_machine_lacks_is_said(error: Exception, message: str) -> None:
    """Too little memory, by whatever library, and no folder for temporary files have words of their own."""
    assert explain(error).startswith(message)


def test_what_a_bug_report_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--version --json` prints versions, machine, precision with its reason, and where data lie, as one object."""
    monkeypatch.delenv("TENFOLD_DATA", raising=False)
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    found = json.loads(run("--version", "--json").stdout)
    assert found["tenfold"] == __version__
    assert found["precision"] in ("fp32", "bf16")
    assert found["device"] in found["precision_why"]
    assert {"numpy", "onnxruntime", "torch"} <= set(found["libraries"])
    assert "train" in found["extras"]
    assert found["data"] == {"mnist": None, "kaggle": None}
    assert found["cache"] == str(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_groups_and_an_example(verb: str) -> None:
    """Options stand in groups, without ranges and types that nobody reads, and an example ends each help."""
    shown = run(verb, "--help").stdout
    assert "\nWhat is said:\n" in shown
    assert "Example: tenfold" in shown
    assert "x>=" not in shown
    assert "<str>" not in shown


def test_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell completes commands and their options."""

    def completed(words: str, place: int) -> list[str]:
        monkeypatch.setenv("_TENFOLD_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(place))
        command = [sys.executable, "-c", "import sys; sys.argv[0] = 'tenfold'; from tenfold.cli import main; main()"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()

    assert completed("tenfold tr", 1) == ["train"]
    assert "--deduplicate" in completed("tenfold train --de", 2)


def test_a_shell_without_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Completion for a shell that has none is one line that says which have."""
    import shellingham

    monkeypatch.setattr(sys, "argv", ["tenfold", "--install-completion"])
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("tcsh", "/bin/tcsh"))
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == (
        "Error: The shell 'tcsh' has no completion. Run this in bash, zsh, fish, powershell, pwsh.\n"
    )
