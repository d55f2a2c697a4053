"""Records of how fast deployed models answer, and their table."""

from pathlib import Path

from latency import FILE, Latency, block
from records import NOTHING

from tenfold.runs import results


def latency(name: str, one_image: float, cpu: str = "some processor") -> Latency:
    """Return a record of a model of 300 kB on two cores."""
    return Latency(
        name=name,
        recipe=name,
        precision="int8",
        model_sha256="0" * 64,
        model_bytes=300_400,
        commit=None,
        machine={"cpu": cpu, "cores": 2},
        versions={"tenfold": "0.1.0"},
        one_image=one_image,
        one_image_p99=2 * one_image,
        model_alone=one_image - 15,
        images_per_second={"1": 25_000, "2": 50_000},
        first=0.31,
    )


def test_newest_of_each_model_on_each_processor(tmp_path: Path) -> None:
    """A table a processor, a row a model; an older record of the same model there is left out."""
    assert block(tmp_path) == NOTHING
    for each in (latency("world", 99), latency("world", 72.4), latency("tiny", 200), latency("world", 50, "another")):
        results.append(tmp_path / FILE, each)
    lines = block(tmp_path).splitlines()
    assert [line for line in lines if line.startswith("**")] == ["**On another**", "**On some processor**"]
    assert [line for line in lines if line.startswith("| `")] == [
        "| `world` | int8 | 300 | 50 | 100 | 35 | 25,000 | 50,000 | 0.31 |",
        "| `world` | int8 | 300 | 72 | 145 | 57 | 25,000 | 50,000 | 0.31 |",
        "| `tiny` | int8 | 300 | 200 | 400 | 185 | 25,000 | 50,000 | 0.31 |",
    ]
    assert "images/s, 1 thread |" in lines[2]
