"""Files of records: one JSON object a line, checked by a schema, only ever appended to."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tenfold.errors import DataError
from tenfold.runs import ledger


class Record(BaseModel):
    """What all records and their parts share: they cannot be changed, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=BaseModel)


def append(file: Path, record: BaseModel) -> None:
    """Append one record as one line; earlier lines are never touched."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ledger.append_line(file, record.model_dump(mode="json"))


def read(file: Path, kind: type[R]) -> list[R]:
    """Return the records of a file, in its order, none where there is no file. DataError names a line that is none."""
    if not file.exists():
        return []
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise DataError(
                f"'{file}' line {number} is no {kind.__name__} ({place}: {first['msg']}). Mend that line."
            ) from None
    return records
