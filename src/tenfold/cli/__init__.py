"""The command line: one command a verb, made of the verb's own signature when it is asked for.

Nothing heavy is imported here, and of the verbs only the one that is called: `tenfold --help` answers at once.
"""

import importlib
import importlib.util
import io
import json
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tenfold import __version__
from tenfold.cli.command import DEBUG, Command, command_of
from tenfold.cli.reporting import answer

# What the list of commands says of each verb, and what follows its name in an example of its use.
VERBS = {
    "quickstart": ("Take the whole road once: data, training, score, report.", ""),
    "explore": ("Show what is in the data: counts, sheets, duplicates, leaks.", "--data digit-recognizer.zip"),
    "train": ("Train a recipe on labelled data and write a run.", "fast --data mnist"),
    "tune": (
        "Search for better values of a recipe, judged on held-out images.",
        "instant --data mnist --max-seconds 600",
    ),
    "ensemble": (
        "Train many networks and choose those that complement each other.",
        "fast --models 10 --data mnist --out runs/ten",
    ),
    "ablate": ("Answer a question by recipes that differ in one thing.", "kernel --data mnist"),
    "evaluate": ("Score a run or a model on labelled data.", "runs/first --data mnist:test"),
    "compare": ("Test systems pairwise on the same images.", "runs/first runs/second"),
    "reproduce": ("Train and score the published systems side by side.", "--recipes svm,fast --protocol mnist"),
    "audit": ("Find labels that are probably wrong, and decide what to do.", "runs/ten"),
    "submit": (
        "Write the answers to unlabelled data as Kaggle takes them.",
        "runs/first --data kaggle:test --out submission.csv",
    ),
    "export": ("Write a run as one ONNX file, or C header, proven to answer alike.", "runs/first --out model.onnx"),
    "read": ("Read the numbers in pictures and PDFs, any number of them.", "sheet.jpg scan.pdf"),
}
LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "pydantic", "torch", "scikit-learn", "xgboost")
# A module that each extra brings.
EXTRAS = {"train": "torch", "pdf": "pypdfium2", "audit": "cleanlab", "cluster": "ray", "track": "mlflow",
          "docs": "mkdocs", "dev": "pytest"}  # fmt: skip
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")  # that Typer completes in
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Verbs(TyperGroup):
    """The commands, each imported when it is called for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order that people meet them."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb's command, None for an unknown one."""
        if cmd_name not in VERBS:
            return None
        summary, arguments = VERBS[cmd_name]
        alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        command = command_of(importlib.import_module(f"tenfold.{cmd_name}"), cmd_name)
        example = f"Example: tenfold {cmd_name} {arguments}".rstrip()
        alone.command(cmd_name, cls=Command, help=summary, epilog=example, context_settings=CONTEXT)(command)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each verb without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (summary, _) in VERBS.items()])


app = typer.Typer(
    name="tenfold",
    cls=Verbs,
    rich_markup_mode=None,  # Rich's boxes cost another 0.08 s
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
    epilog="Every command takes --json. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted.",
)


@app.callback(invoke_without_command=True)
def tenfold(
    context: typer.Context,
    debug: DEBUG = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: all that a bug report needs.")] = False,
) -> None:
    """Handwritten digits: see the data, train in minutes, trust the score, submit."""
    context.obj = debug
    if version and as_json:
        answer(json.dumps(facts()))
    elif version:
        answer(f"tenfold {__version__}")
    elif context.invoked_subcommand is None:
        raise typer.BadParameter("Give a command, or --help.")
    if version:
        raise typer.Exit


def facts() -> dict[str, Any]:
    """Return what a bug report needs, by name; nothing is downloaded, and paths are those of data and cache."""
    import importlib.metadata
    import platform

    from tenfold import settings
    from tenfold.data import names

    precision = {}
    if importlib.util.find_spec("torch") is not None:
        from tenfold.training import device as devices

        device = devices.choose("auto")
        how = devices.precision_of("auto", device)
        why = f"{device.type} {'computes' if how == 'bf16' else 'does not compute'} in bf16"
        precision = {"processor": devices.processor(), "device": device.type, "precision": how, "precision_why": why}
    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    data = {name: names.find(name, "train") for name in ("mnist", "kaggle")}
    return {
        "tenfold": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads": settings.threads(),
        **precision,
        "libraries": {name: installed[name] for name in LIBRARIES if name in installed},
        "extras": [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is not None],
        "data": {name: place and str(place) for name, place in data.items()},
        "cache": str(settings.cache_folder()),
        "offline": settings.offline(),
    }


def _check_shell() -> None:
    """Say in one line where there is no completion for this shell, which Typer would say without a way on."""
    import shellingham

    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = "unknown"
    if shell not in SHELLS:
        print(f"Error: The shell '{shell}' has no completion. Run this in {', '.join(SHELLS)}.", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Run the command line; what the `tenfold` command calls."""
    if {"--install-completion", "--show-completion"} & set(sys.argv[1:]):
        _check_shell()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where the caller put something else
            stream.reconfigure(errors="backslashreplace")  # whatever a terminal cannot show is shown in escapes
    try:
        app()
    finally:
        try:
            answer()
        except typer.Exit:
            sys.exit(1)
