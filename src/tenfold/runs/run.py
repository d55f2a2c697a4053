"""A run: the folder that holds one trained system, readable and resumable after a crash at any moment.

    recipe.toml          the recipe, resolved: every default and override written out
    run.json             the manifest: data, seed, machine, versions, status, and the headline numbers
    metrics.jsonl        one line an evaluation during training
    weights.safetensors  what answers: a network's weights; or a classical model's
    model.onnx           graph for onnxruntime, and
    features.safetensors what its features learned of the images
    state.safetensors    what training resumes from
    labels.csv           decisions on labels of the data, where there were any
    data.npz             a hash of every image trained on, and which images were held out
    validation.npz       the answers on the held-out images
    evaluations.jsonl    one line a look at labelled data, added by `evaluate`
    report.html

The folder appears under its name only when it is complete enough to resume; each file is replaced in one rename.
"""

import hashlib
import importlib
import json
import platform
import re
import secrets
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold import __version__
from tenfold.data import decisions
from tenfold.errors import RunError, unwritten
from tenfold.files import MOST_BYTES, MOST_TEXT, npz, open_regular, read_bytes, read_npz, refuse_odd, write_atomically
from tenfold.runs import schema
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, STATE, MANIFEST, RECIPE = "weights.safetensors", "state.safetensors", "run.json", "recipe.toml"
METRICS, DATA, VALIDATION, LOOKS = "metrics.jsonl", "data.npz", "validation.npz", "evaluations.jsonl"
LABELS = "labels.csv"
ANSWERS = re.compile(r"evaluations/[0-9]{1,9}\.npz")  # what a line of it may name
# What computes, by the model's kind; every other classical model is scikit-learn's.
LIBRARIES = {"xgboost": ("xgboost", "sklearn")}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where it has another name than the module


def refuse_taken(path: Path, otherwise: str) -> None:
    """Raise RunError where something stands at a path that a new folder is to have."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"'{path}' exists already. Give another --out, or {otherwise}.")


class Run:
    """One run's folder; reading never changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Return the run at `path`; RunError where there is none, or what no run has: links, pipes, devices."""
        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"There is no run at '{path}'. Give the folder that `tenfold train` wrote.")
        if not (folder / MANIFEST).is_file() or not (folder / RECIPE).is_file():
            raise RunError(f"'{path}' is not a run: it has no {MANIFEST}. Give the folder that `tenfold train` wrote.")
        refuse_odd(folder)
        return cls(folder)

    @classmethod
    def create(
        cls,
        path: Path,
        recipe: Recipe,
        manifest: dict[str, Any],
        hashes: NDArray[np.uint64],
        held_out: NDArray[np.int64],
        labels: Path | None = None,
    ) -> "Run":
        """Make a new run's folder, in one rename, and return it; RunError where something stands there already."""
        refuse_taken(path, f"--resume '{path}' to continue a run there")
        draft = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            draft.mkdir(parents=True)
            with cls.rewrite(draft, recipe, manifest, hashes, held_out, labels):
                pass
            draft.replace(path)
        except OSError as error:
            raise RunError(f"The run {unwritten(path, error, 'Give another --out.')}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls(path)

    @classmethod
    @contextmanager
    def rewrite(
        cls,
        path: Path,
        recipe: Recipe,
        manifest: dict[str, Any],
        hashes: NDArray[np.uint64],
        held_out: NDArray[np.int64],
        labels: Path | None = None,
    ) -> "Iterator[Run]":
        """Give a run in a folder that is there, to write weights and answers into; other files stay.

        It is a run when all is written, not before: whatever run was there ends with the beginning.
        """
        (path / MANIFEST).unlink(missing_ok=True)
        run = cls(path)
        run._write(RECIPE, recipe.to_toml().encode())
        run._write(DATA, npz({"hashes": hashes, "held_out": held_out}))
        if labels is not None:
            run._write(LABELS, decisions.read(labels))
        yield run
        run.manifest = dict(manifest)
        run.update_manifest({})

    @property
    def finished(self) -> bool:
        """True where training has come to its end."""
        return bool(self.manifest.get("status") == "finished")

    def check_digits(self) -> None:
        """Raise RunError where the run reads numbers in pictures, and answers no images of a digit."""
        if self.recipe.reads:
            what = f"'{self.path}' reads numbers in pictures, not images of a digit."
            raise RunError(f"{what} Give another run, or read with it: tenfold read PICTURE --model '{self.path}'.")

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        path = self.path / RECIPE
        try:
            return recipes.parse(tomllib.loads(read_bytes(path, MOST_TEXT).decode()), str(path))
        except (OSError, ValueError, RecursionError) as error:
            raise schema.unreadable(path, error) from None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What run.json holds; a key that it lacks is a RunError."""
        return schema.read(self.path / MANIFEST, schema.Manifest)

    def update_manifest(self, changes: dict[str, Any]) -> None:
        """Merge `changes` into run.json."""
        self.manifest.update(changes)
        self._write(MANIFEST, (json.dumps(self.manifest, indent=2, allow_nan=False) + "\n").encode())

    def metrics(self) -> list[dict[str, Any]]:
        """Return one dictionary an evaluation during training, oldest first."""
        return schema.read_lines(self.path / METRICS, schema.Evaluated)

    def looks(self) -> list[dict[str, Any]]:
        """Return the evaluations on labelled data, oldest first."""
        return schema.read_lines(self.path / LOOKS, schema.KeptLook)

    def answers_of(self, look: Mapping[str, Any]) -> Path | None:
        """Return the file with the answers of a look, None where it names none in this folder."""
        name = look.get("file")
        return self.path / name if isinstance(name, str) and ANSWERS.fullmatch(name) else None

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl."""
        self._write(METRICS, "".join(json.dumps(line) + "\n" for line in history).encode())

    def training_hashes(self) -> NDArray[np.uint64]:
        """Return `image_hashes` of every image that the weights were fitted to, (N,) uint64."""
        return np.delete(self.hashes(), self.held_out())

    def hashes(self) -> NDArray[np.uint64]:
        """Return `image_hashes` of every image of the training data, held out or not, (N,) uint64."""
        return self._data["hashes"]

    def held_out(self) -> NDArray[np.int64]:
        """Return the indices of the validation images in the training data, sorted."""
        return self._data["held_out"]

    @cached_property
    def _data(self) -> dict[str, NDArray[Any]]:
        path = self.path / DATA
        try:
            arrays = read_npz(path, schema.DATA)
        except (OSError, ValueError) as error:
            raise schema.unreadable(path, error) from None
        indices = arrays["held_out"]
        if (indices < 0).any() or (indices >= len(arrays["hashes"])).any():
            raise schema.unreadable(path, ValueError("its 'held_out' point outside"))
        return arrays

    @property
    def labels(self) -> Path | None:
        """The file with the decisions on labels that the data were begun with; None without any."""
        return self.path / LABELS if self.manifest["data"].get("labels") else None

    def validation(self) -> dict[str, NDArray[Any]] | None:
        """Return the answers to the held-out images; None where there are none.

        indices, labels (N,) and probabilities (N, 10); mistake_indices and mistake_images; and digit_probability (N,),
        of being a digit at all, where the network knows what is none.
        """
        path = self.path / VALIDATION
        try:
            return schema.read_answers(path, schema.VALIDATION) if path.exists() else None
        except (OSError, ValueError) as error:
            raise schema.unreadable(path, error) from None

    def write_validation(self, **arrays: NDArray[Any]) -> None:
        """Replace validation.npz."""
        self._write(VALIDATION, npz(arrays))

    def write_weights(self, tensors: "dict[str, Tensor]") -> None:
        """Replace the weights: the same weights give the same bytes."""
        save_tensors(self.path / WEIGHTS, tensors)

    def weights(self) -> "dict[str, Tensor]":
        """Return the weights by name; RunError where training has not come so far, or the file is broken."""
        if not (self.path / WEIGHTS).exists():
            raise RunError(f"The run '{self.path}' has no weights yet. Resume it: tenfold train --resume {self.path}")
        return load_tensors(self.path / WEIGHTS)[0]

    def fill(self, module: "nn.Module") -> None:
        """Put the weights into a network; RunError where they do not fit it, or are no numbers."""
        tensors = self.weights()
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            message = f"The weights of '{self.path}' do not fit its recipe: {reason}"
            raise RunError(f"{message.rstrip('.')}. Train the run again.") from None
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise RunError(f"The weights of '{self.path}' are not all finite: 'NaN' or infinite. Train the run again.")

    def weights_sha256(self) -> str:
        """Return the SHA-256 (hex) of what answers, network or classical; RunError where it cannot be read."""
        names, digest = [WEIGHTS], hashlib.sha256()
        if self.recipe.classical:
            from tenfold.models.classical import FEATURES
            from tenfold.models.fitted import NAME

            names = [NAME, *([FEATURES] if (self.path / FEATURES).exists() else [])]
        for name in names:
            try:
                digest.update(read_bytes(self.path / name))
            except OSError as error:
                what = f"Cannot read the weights '{self.path / name}' ({error.strerror})."
                raise RunError(f"{what} Train the run again.") from error
        return digest.hexdigest()

    def write_state(self, tensors: "dict[str, Tensor]", rest: dict[str, Any]) -> None:
        """Replace the state that training resumes from."""
        save_tensors(self.path / STATE, tensors, rest)

    def state(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """Return what `write_state` was given last, or None where training was cut off before the first."""
        path = self.path / STATE
        if not path.exists():
            return None
        tensors, rest = load_tensors(path)
        try:
            return tensors, schema.parsed(json.dumps(rest), schema.Resumable)
        except ValueError as error:
            raise schema.unreadable(path, error, "Begin a new run.") from None

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_atomically(self.path / name, content)
        except OSError as error:
            raise RunError(unwritten(self.path / name, error, "Give another --out.")) from None


def save_tensors(path: Path, tensors: "dict[str, Tensor]", meta: dict[str, Any] | None = None) -> None:
    """Write tensors, and `meta` as JSON, to a safetensors file; the same input gives the same bytes."""
    from safetensors.torch import save

    metadata = None if meta is None else {"tenfold": json.dumps(meta, sort_keys=True, allow_nan=False)}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(ready, metadata)
    if len(content) > MOST_BYTES:
        raise RunError(f"'{path}' would have '{len(content)}' bytes, more than {MOST_BYTES}. Take a smaller network.")
    write_atomically(path, content)


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Return a safetensors file's tensors and its `meta`; RunError where it is missing or broken."""
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            meta = json.loads((file.metadata() or {}).get("tenfold", "{}"))
    except FileNotFoundError:
        raise RunError(f"'{path}' is missing. Train the run again, or resume it with --resume.") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise schema.unreadable(path, error) from None
    return tensors, meta


def versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of Tenfold, Python, and the libraries that fit this recipe's model, by name."""
    libraries = LIBRARIES.get(recipe.model.kind, ("sklearn",)) if recipe.classical else ("torch",)
    found = {DISTRIBUTIONS.get(name, name): importlib.import_module(name).__version__ for name in (*libraries, "numpy")}
    return {"tenfold": __version__, "python": platform.python_version(), **found}


def commit() -> str | None:
    """Return the commit of the checkout that this code lies in, or None for an installed package."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def training_specs(manifest: dict[str, Any]) -> list[str]:
    """Return the names and paths of all data behind a run's weights: its own, then those of the runs it began from."""
    spec = manifest["data"]["spec"]
    own = [spec] if isinstance(spec, str) else spec
    return list(dict.fromkeys([*own, *manifest.get("from", {}).get("data", [])]))
