"""A verb's own signature as a command: its annotations are the options, and its result is what --json prints."""

import inspect
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from tenfold.cli.reporting import reporting

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object, last on stdout.")]
DEBUG = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


# What an option is about, where that is not what the verb does.
GROUPS = {
    "Where and how fast": ("--device", "--precision", "--threads", "--workers", "--on", "--max-seconds"),
    "What is written": (
        *("--out", "--annotated", "--page", "--decisions", "--markdown", "--record", "--force", "--track"),
    ),
    "What is said": ("--quiet", "--json", "--debug", "--list", "--help"),
}
NUMBER = r"[\d.]*(<=?)?x[<>=]+[\d.]+"  # a range, which an error names where it matters
UNREAD = re.compile(rf"  \[{NUMBER}\]|; {NUMBER}(?=\])| <[\w\[\]]+>")


class Command(TyperCommand):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", "Options", *GROUPS)}
        for each in self.get_params(ctx):
            if (record := each.get_help_record(ctx)) is not None:
                known = (name for name, options in GROUPS.items() if set(options) & set(each.opts))
                section = "Arguments" if each.param_type_name == "argument" else next(known, "Options")
                sections[section].append((UNREAD.sub("", record[0]), UNREAD.sub("", record[1])))
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def command_of(module: ModuleType, name: str) -> Callable[..., None]:
    """Return the function that Typer makes a command of: `module.name` with the switches that every command has.

    A module with a function `listing`, which gives pairs of a name and a line, has the switch --list too.
    """
    verb = getattr(module, name)
    hints = get_type_hints(verb, include_extras=True)

    def command(context: typer.Context, **values: Any) -> None:
        as_json, debug, _ = values.pop("json"), values.pop("debug"), values.pop("list", None)
        logging.getLogger("tenfold").setLevel(logging.ERROR if values.get("quiet") else logging.NOTSET)
        with reporting(as_json, debug or context.obj) as finish:
            finish(verb(**values))

    parameters = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=list(each.default) if isinstance(each.default, tuple) else each.default,
            annotation=plain(hints[each.name]),
        )
        for each in inspect.signature(verb).parameters.values()
        if get_origin(hints[each.name]) is Annotated  # others are for Python alone
    ]
    switches = {"json": JSON, "debug": DEBUG}
    if (listing := getattr(module, "listing", None)) is not None:
        switches = {"list": _list_switch(listing), **switches}
    parameters += [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hint)
        for key, hint in switches.items()
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (context, *parameters)}
    return command


def plain(hint: Any) -> Any:
    """Return a verb's annotation as Typer takes it: of names and paths the string, of a sequence the list."""
    base, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    choices = get_args(base) if get_origin(base) is not Sequence else ()
    if any(get_origin(each) is Sequence for each in (base, *choices)):
        base = list[str] | None if NoneType in choices else list[str]
    elif Path in choices:
        base = str | None if NoneType in choices else str
    return Annotated[(base, *metadata)] if metadata else base


def _list_switch(listing: Callable[[], Sequence[tuple[str, str]]]) -> Any:
    def show(asked: bool) -> None:
        """Print a line each and stop."""
        if asked:
            lines = listing()
            width = max(len(name) for name, _ in lines)
            for name, words in lines:
                print(f"{name:{width}}  {words}")
            raise typer.Exit

    return Annotated[bool, typer.Option("--list", callback=show, is_eager=True, help="List what is shipped.")]
