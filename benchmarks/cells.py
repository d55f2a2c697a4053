"""Results -> the cells of a document's table: a system's mean over its seeds, its interval, its errors."""

from tenfold.pages.page import MISSING
from tenfold.runs.results import Result


def score(result: Result) -> str:
    """Return the mean accuracy in per cent, and the standard deviation between seeds where there are several."""
    mean, deviation = result.accuracy()
    return f"{100 * mean:.3f}" + ("" if deviation is None else f" ± {100 * deviation:.3f}")


def interval(result: Result) -> str:
    """Return the 95% interval of the mean, in per cent."""
    low, high = result.interval()
    return f"{100 * low:.2f} to {100 * high:.2f}"


def errors(result: Result) -> str:
    """Return the mean number of errors: "27.2 of 10,000", or with one seed "27 of 10,000"."""
    n, (mean, deviation) = result.test_data.n, result.accuracy()
    return f"{(1 - mean) * n:,.{int(deviation is not None)}f} of {n:,}"


def label(result: Result) -> str:
    """Return the recipe's name, and the note."""
    return f"`{result.recipe}`" + (f" ({result.note})" if result.note else "")


def parameters(result: Result) -> str:
    """Return how many there are, or a dash."""
    return MISSING if result.parameters is None else f"{result.parameters:,}"


def processor(result: Result) -> str:
    """Return what a result was measured on, for a heading: the processor and its threads, or the accelerator."""
    machine = result.machine
    name, device = str(machine.get("cpu") or "unknown processor"), str(machine.get("device", "cpu"))
    if device == "cpu":
        threads = machine.get("threads")
        return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}" if threads else name
    return f"{name}, {device}" if device == "mps" else device  # else the GPU's name
