"""A file's bytes -> its pages, one at a time: a picture's one, all of a multi-page TIFF, a PDF's as they are printed.

What a page takes is bounded as `imaging.decode` bounds a picture, however many there are.
"""

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, MissingExtraError
from tenfold.imaging.decode import decode, decode_frame, decoding
from tenfold.progress import track

MAX_FILE = 256 << 20  # bytes of a TIFF or PDF
MAX_FRAMES, MAX_PDF_PAGES = 1000, 500
DOTS, MAX_SIDE = 200, 3000  # an inch of a PDF, and pixels of a page's longer side
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUBFILE, REDUCED_OR_MASK = 254, 5  # TIFF's tag for what a frame is, and the bits of what is no page of its own
WRONG_PASSWORD = 4  # PDFium's FPDF_ERR_PASSWORD
_pdfium = threading.Lock()  # which is not to be called from two threads at once


def pages(data: bytes, name: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each page's number, from 1, and its pixels upright: (H, W) or (H, W, 3) uint8.

    DataError, with `name`, where the file or a page is damaged, locked, or too large, or there are too many pages;
    MissingExtraError for a PDF without pypdfium2.
    """
    if len(data) > MAX_FILE:
        raise DataError(f"'{name}' has '{len(data)}' bytes. Give at most {MAX_FILE}: split it.")
    if b"%PDF-" in data[:1024]:
        yield from _pdf(data, name)
    elif data[:4] in TIFF_STARTS:
        yield from _tiff(data, name)
    else:
        yield 1, decode(data, name)


def _tiff(data: bytes, name: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the pages of a TIFF, without the small copies and masks that some cameras and scanners put among them."""
    from PIL import Image

    with decoding(name):
        image: Any = Image.open(io.BytesIO(data), formats=["TIFF"])
        count = 0
        with contextlib.suppress(EOFError):
            for count in range(1, MAX_FRAMES + 1):  # one by one, or Pillow counts wrong
                image.seek(count)
            raise _too_many(name, f"over {MAX_FRAMES}", MAX_FRAMES)
    number = 0
    for frame in track(range(count)):
        with decoding(name):
            image.seek(frame)
            if frame and int(image.tag_v2.get(SUBFILE, 0)) & REDUCED_OR_MASK:
                continue
            page = decode_frame(image, data, name)
        number += 1
        yield number, page


def _pdf(data: bytes, name: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    try:
        import pypdfium2
    except ModuleNotFoundError:
        raise MissingExtraError(f"pypdfium2, which reads the PDF '{name}',", "pdf") from None
    try:
        with _pdfium:
            document = pypdfium2.PdfDocument(data)
            count = len(document)
            if not count:
                raise pypdfium2.PdfiumError("no page")
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == WRONG_PASSWORD:
            raise DataError(f"'{name}' is protected by a password. Save it without one.") from None
        raise DataError(f"'{name}' is a damaged PDF. Save or export it again.") from None
    try:
        if count > MAX_PDF_PAGES:
            raise _too_many(name, str(count), MAX_PDF_PAGES)
        for index in track(range(count)):
            try:
                with _pdfium, contextlib.closing(document[index]) as page:
                    scale = min(DOTS / 72, MAX_SIDE / max(1.0, *page.get_size()))
                    with contextlib.closing(page.render(scale=scale, rev_byteorder=True)) as bitmap:
                        pixels = bitmap.to_numpy()[..., :3].copy()
            except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
                said = f"Page '{index + 1}' of '{name}' cannot be drawn ({error})."
                raise DataError(f"{said} Save or export the PDF again.") from None
            yield index + 1, pixels
    finally:
        with _pdfium:
            document.close()


def _too_many(name: str, count: str, most: int) -> DataError:
    return DataError(f"'{name}' has '{count}' pages. Give at most {most} in a file: split it.")
