"""What a fitted classical model leaves behind: the bytes of a file that answers, and no code that could run.

model.onnx   a graph, for onnxruntime          model.json   trees, for XGBoost
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError

PARAMETERS = "tenfold.parameters"  # the count, kept in the file

Floats = NDArray[np.float32]


class Fitted:
    """A fitted model: the content of its file, how many numbers were fitted, and answers.

    ValueError, or an error of onnxruntime's, for content that is broken or of another kind.
    """

    parameters: int

    def __init__(self, content: bytes, threads: int) -> None:
        self.content, self.threads = content, threads

    def answer(self, rows: Floats) -> Floats:
        """Return probabilities, (N, 10) float32, of rows (N, D) float32."""
        raise NotImplementedError

    def __reduce__(self) -> "tuple[type[Fitted], tuple[bytes, int]]":
        """Return how a copy is made, as scikit-learn does for its own processes: from the bytes."""
        return type(self), (self.content, self.threads)


class Graph(Fitted):
    """An ONNX graph with an output `probabilities`."""

    def __init__(self, content: bytes, threads: int) -> None:
        import onnxruntime

        super().__init__(content, threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what goes wrong is raised, and need not be printed too
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.parameters = int(self.session.get_modelmeta().custom_metadata_map.get(PARAMETERS, 0))

    def answer(self, rows: Floats) -> Floats:
        """Return the graph's answers."""
        return np.asarray(self.session.run(["probabilities"], {self.input: rows})[0], np.float32)


class Trees(Fitted):
    """XGBoost's trees, as its own JSON."""

    def __init__(self, content: bytes, threads: int) -> None:
        import xgboost

        super().__init__(content, threads)
        self.booster = xgboost.Booster({"nthread": threads}, model_file=bytearray(content))
        self.parameters = int(self.booster.attr(PARAMETERS) or 0)

    def answer(self, rows: Floats) -> Floats:
        """Return the trees' answers."""
        return np.asarray(self.booster.inplace_predict(rows), np.float32)


def open_fitted(path: Path, width: int, threads: int) -> Fitted:
    """Return the model in the file; RunError where that is broken, or does not take rows of `width` values."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"'{path}' cannot be read: {error.strerror}. Train the run again.") from None
    if path.suffix == ".json" and not content.lstrip().startswith(b"{"):  # XGBoost would guess another format
        raise RunError(f"'{path}' is no model in JSON. Train the run again.")
    try:
        fitted: Fitted = (Trees if path.suffix == ".json" else Graph)(content, threads)
        answer = fitted.answer(np.zeros((2, width), np.float32))
    except _errors() as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(
            f"'{path}' cannot be read as this run's model: {reason[0][:200]}. Train the run again."
        ) from None
    if answer.shape != (2, 10) or not np.allclose(answer.sum(1), 1, atol=1e-3):
        raise RunError(
            f"'{path}' answers with shape '{answer.shape}', not with ten probabilities. Train the run again."
        )
    return fitted


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime and XGBoost (a ValueError) raise for a file that is broken or of another kind."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    kinds = (kind for kind in vars(runtime).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*kinds, ValueError)
