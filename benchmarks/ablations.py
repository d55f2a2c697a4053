"""What is each part of a network good for? The documents' tables of `tenfold ablate`.

tenfold ablate kernel --record results/ablations.jsonl
python benchmarks/tables.py --write docs/results.md
"""

from collections.abc import Mapping
from pathlib import Path

from records import NOTHING  # beside this file
from systems import SystemResult, processor, read

from tenfold.pages.ablation import study_table
from tenfold.runs import ablation as ablations

FILE = "ablations.jsonl"  # in the folder of results


def block(folder: Path) -> str:
    """Return the Markdown of all studies, by name: the question, its answer, and the newest record of each variant."""
    studies: dict[str, dict[str, SystemResult]] = {}
    for result in read(folder / FILE):
        if result.protocol == "ablation":
            studies.setdefault(result.study, {})[result.variant] = result
    shipped = ablations.available()
    shown = {name: newest for name, newest in sorted(studies.items()) if name in shipped}
    if not shown:
        return NOTHING
    return "\n\n".join([_measured_on(shown), *(_study(name, newest) for name, newest in shown.items())])


BLOCKS = {"ablations": block}


def _measured_on(studies: Mapping[str, Mapping[str, SystemResult]]) -> str:
    """Return the line that says on which images and where all of it was measured."""
    every = [result for newest in studies.values() for result in newest.values()]
    images = sorted({f"{result.test_data.n:,} images ({result.test_data.spec})" for result in every})
    return f"Judged on {' or '.join(images)}; trained on {' or '.join(sorted({processor(each) for each in every}))}."


def _study(name: str, newest: Mapping[str, SystemResult]) -> str:
    """Return one ablation's heading, answer and table; its variants in the order of its file."""
    study = ablations.load(name)
    measured = [newest[variant.label] for variant in study.variants if variant.label in newest]
    if not measured:
        return f"### {study.question}\n\nIts variants have changed since they were measured."
    answer = f"{study.answer}\n\n" if study.answer else ""
    return f"### {study.question}\n\n{answer}{study_table(measured, study.baseline)}"
