"""The command line: one command a verb, made of the verb's own signature when it is asked for.

Nothing heavy is imported here, and of the verbs only the one that is called: `tenfold --help` answers at once.
"""

import importlib
import io
import json
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from tenfold import __version__
from tenfold.cli.command import DEBUG, Command, command_of
from tenfold.cli.reporting import answer


class Verb(NamedTuple):
    """What the list of commands says of a verb, and an example of its use."""

    summary: str
    example: str


VERBS = {
    "quickstart": Verb("Take the whole road once: data, training, score, report.", "tenfold quickstart"),
    "explore": Verb(
        "Show what is in the data: counts, sheets, duplicates, leaks.", "tenfold explore --data digit-recognizer.zip"
    ),
    "train": Verb("Train a recipe on labelled data and write a run.", "tenfold train fast --data mnist"),
    "tune": Verb(
        "Search for better values of a recipe, judged on held-out images.",
        "tenfold tune instant --data mnist --max-seconds 600",
    ),
    "ensemble": Verb(
        "Train many networks and choose those that complement each other.",
        "tenfold ensemble fast --models 10 --data mnist --out runs/ten",
    ),
    "ablate": Verb("Answer a question by recipes that differ in one thing.", "tenfold ablate kernel --data mnist"),
    "evaluate": Verb("Score a run or a model on labelled data.", "tenfold evaluate runs/first --data mnist:test"),
    "compare": Verb("Test systems pairwise on the same images.", "tenfold compare runs/first runs/second"),
    "reproduce": Verb(
        "Train and score the published systems side by side.", "tenfold reproduce --recipes svm,fast --protocol mnist"
    ),
    "audit": Verb("Find labels that are probably wrong, and decide what to do.", "tenfold audit runs/ten"),
    "submit": Verb(
        "Write the answers to unlabelled data as Kaggle takes them.",
        "tenfold submit runs/first --data kaggle:test --out submission.csv",
    ),
    "export": Verb(
        "Write a run as one ONNX file, or C header, proven to answer alike.",
        "tenfold export runs/first --out model.onnx",
    ),
    "read": Verb("Read the numbers in pictures and PDFs, any number of them.", "tenfold read sheet.jpg scan.pdf"),
}
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
        verb = VERBS[cmd_name]
        alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        command = command_of(importlib.import_module(f"tenfold.{cmd_name}"), cmd_name)
        example = f"Example: {verb.example}"
        alone.command(cmd_name, cls=Command, help=verb.summary, epilog=example, context_settings=CONTEXT)(command)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each verb without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


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
        from tenfold.cli.facts import facts

        answer(json.dumps(facts()))
    elif version:
        answer(f"tenfold {__version__}")
    elif context.invoked_subcommand is None:
        raise typer.BadParameter("Give a command, or --help.")
    if version:
        raise typer.Exit


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
