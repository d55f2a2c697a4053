"""What an export tells of the file that it wrote, and of how that was proven."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """What is written, and how it was proven.

    images: compared. largest_difference: of any probability. ties: images, counted from 1, whose two best digits are
    tied, and of which the file names the other one.
    """

    run: str
    out: str
    bytes: int
    sha256: str
    parameters: int
    precision: str
    data: str
    images: int
    largest_difference: float
    ties: list[int]


@dataclass(frozen=True)
class ExportedHeader(Exported):
    """A C header. weight_bytes: of its whole numbers. buffer_bytes: of memory that its code computes in."""

    weight_bytes: int
    buffer_bytes: int


@dataclass(frozen=True)
class EightBits:
    """A graph in 8 bits beside the same in fp32.

    accuracy, fp32_accuracy: on the n held-out images. agreement: share of the images compared to which both give the
    same digit. images_per_second, fp32_images_per_second: by batch size, on one thread.
    """

    accuracy: float
    fp32_accuracy: float
    n: int
    agreement: float
    images_per_second: dict[str, float]
    fp32_images_per_second: dict[str, float]


@dataclass(frozen=True)
class ExportedGraph(Exported):
    """An ONNX file.

    opset: of ONNX's own operators. threshold: the confidence from which it answers. seconds: for all images, in fp32
    on one thread, by batch size, as images_per_second. int8: what 8 bits cost; None without them.
    """

    opset: int
    threshold: float
    seconds: dict[str, float]
    images_per_second: dict[str, float]
    int8: EightBits | None
