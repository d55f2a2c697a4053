"""The device, and the precision that follows from it alone."""

import pytest
import torch

from tenfold.errors import TrainingError
from tenfold.training import device as devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True}, "fp32"),
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"architecture": "aarch64", "sve_bf16": True}, "bf16"),
    ],
)
def test_precision_follows_from_the_processor(
    able: dict[str, bool | str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor that computes in bf16 does so; one that would emulate it does not."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert devices.precision_of("auto", CPU) == expected


def test_precision_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe's own precision counts, whatever the processor is."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert devices.precision_of("fp32", CPU) == "fp32"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert devices.precision_of("bf16", CPU) == "bf16"


def test_no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The precision is chosen without looking at a clock: a busy machine chooses what a quiet one does."""

    def read() -> float:
        raise AssertionError("A clock was read.")

    for clock in ("perf_counter", "monotonic", "time", "process_time"):
        monkeypatch.setattr(f"time.{clock}", read)
    assert devices.precision_of("auto", CPU) in ("fp32", "bf16")


def test_unknown_device() -> None:
    """A device that is not here is an error that names those that are."""
    with pytest.raises(TrainingError, match="Device 'tpu' is not available here. Give auto or one of: .*cpu"):
        devices.choose("tpu")
