"""Does anything but an answer or a clear error come out of a damaged picture? Mutates pictures of every format.

Each file is made from (seed, number) alone, so that any of them can be made again: `--only NUMBER` decodes one and
shows what happens. The files are decoded in a process of its own, with limits on its memory and time; one that dies
is counted, and the next goes on behind the file that killed it. The last line is JSON; "other" is to be 0.
"""

import argparse
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

from tenfold.errors import DataError
from tenfold.imaging.decode import decode

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
ROOM = 1 << 30  # bytes of address space besides what the process has when it begins
FILE_SECONDS = 5  # of processor time; then the process is killed by its own alarm
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SHOWN = 10  # deaths and odd endings that are named


def pictures() -> list[bytes]:
    """Return pictures of every format in its several modes and compressions, the same at every call."""
    random = np.random.default_rng(7)
    grey = Image.fromarray(random.integers(0, 256, (24, 31)).astype(np.uint8))
    smooth = Image.linear_gradient("L").resize((48, 40))
    colour = Image.merge("RGB", [smooth, smooth.rotate(90).resize((48, 40)), smooth])
    clear = colour.copy()
    clear.putalpha(smooth)
    deep = Image.fromarray(random.integers(0, 65536, (20, 20)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": [colour.rotate(20), colour.rotate(70)]}
    saves: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *[(image, "PNG", {}) for image in (grey, colour, clear, deep, colour.quantize(16), smooth.convert("1"))],
        (colour, "PNG", {"exif": exif}),
        (colour, "PNG", several),
        *[(image, "JPEG", {}) for image in (grey, colour, colour.convert("CMYK"))],
        (colour, "JPEG", {"progressive": True, "exif": exif}),
        (colour, "WEBP", {}),
        (clear, "WEBP", {"lossless": True, "exif": exif}),
        (colour, "WEBP", several),
        *[(image, "BMP", {}) for image in (grey, colour, smooth.convert("1"), colour.quantize(16))],
        *[(image, "GIF", {}) for image in (grey, colour.quantize(16))],
        (colour, "GIF", several),
        *[(image, "TIFF", {}) for image in (grey, clear, deep, colour.convert("CMYK"), grey.convert("F"))],
        *[(colour, "TIFF", {"compression": each}) for each in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")],
        (smooth.convert("1"), "TIFF", {"compression": "group4"}),
        (colour, "TIFF", several),
    ]
    files = []
    for image, kind, options in saves:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def mutated(files: list[bytes], seed: int, number: int) -> bytes:
    """Return file `number`: one of the pictures after one to four changes of random kinds."""
    random = np.random.default_rng([seed, number])
    data = bytearray(files[number % len(files)])
    for _ in range(int(random.integers(1, 5))):
        size = len(data)
        match int(random.integers(6)):
            case 0:  # a few bits
                for place in random.integers(0, size, int(random.integers(1, 9))):
                    data[place] ^= 1 << int(random.integers(8))
            case 1:  # the end is missing
                data = data[: max(1, int(random.integers(size)))]
            case 2:  # a piece of another picture
                other = files[int(random.integers(len(files)))]
                start = int(random.integers(len(other)))
                piece = other[start : start + int(random.integers(1, 200))]
                place = int(random.integers(size))
                data[place : place + int(random.choice([0, len(piece)]))] = piece
            case 3 | 4:  # an extreme number in the header, where sizes and offsets are
                place, width = int(random.integers(min(size, 96))), int(random.choice([1, 2, 4]))
                value = int(random.choice(EXTREMES)) & ((1 << 8 * width) - 1)
                data[place : place + width] = value.to_bytes(width, str(random.choice(["big", "little"])))  # type: ignore[arg-type]
            case _:  # a piece of itself again, or gone
                start = int(random.integers(size))
                piece = bytes(data[start : start + int(random.integers(1, 100))])
                data[start:start] = piece * int(random.integers(1, 4)) if random.integers(2) else b""
        data = data or bytearray(b"\0")
    return with_checksums(bytes(data)) if random.integers(2) else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks' checksums are right again, so that what is behind them is reached."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def ending(data: bytes) -> str:
    """Return how decoding ends: "answer", "error", "memory" (an error for want of memory), or what it was instead."""
    try:
        pixels = decode(data, "fuzz")
    except DataError as error:
        if "MemoryError" in str(error):
            return "memory"
        return "error" if "\n" not in str(error) else "an error of several lines"
    except BaseException as error:
        return type(error).__name__
    good = pixels.dtype == np.uint8 and pixels.size and (pixels.ndim == 2 or pixels.shape[2:] == (3,))
    return "answer" if good else f"an array of shape {pixels.shape} and dtype {pixels.dtype}"


def work(seed: int, first: int, last: int) -> None:
    """Decode files `first` to `last`; print of each, as JSON: number, ending, processor seconds, peak memory."""
    import resource

    files = pictures()
    ending(files[0])
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        data = mutated(files, seed, number)
        signal.setitimer(signal.ITIMER_PROF, FILE_SECONDS)
        start = time.process_time()
        how = ending(data)
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        print(json.dumps([number, how, round(seconds, 5), grown]), flush=True)


def fuzz(seed: int, count: int) -> dict[str, Any]:
    """Return counts of endings over files 0 to `count`, the slowest and where memory peaked, and what died."""
    endings: Counter[str] = Counter()
    odd: list[list[Any]] = []
    slowest, largest, number = (0.0, -1), (0, -1), 0
    all_seconds: list[float] = []
    while number < count:
        command = [sys.executable, __file__, "--work", str(seed), str(number), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                number, how, seconds, grown = json.loads(line)
                number += 1
                endings[how] += 1
                all_seconds.append(seconds)
                slowest = max(slowest, (seconds, number - 1))
                largest = max(largest, (grown, -number + 1))
                if how not in ("answer", "error"):
                    odd.append([number - 1, how])
                if number % 10_000 == 0:
                    print(f"{number:,} of {count:,}: {dict(endings)}", file=sys.stderr, flush=True)
        if process.returncode:
            odd.append([number, f"died with {process.returncode}"])
            endings["died"] += 1
            number += 1
    known = ("answer", "error", "memory")
    return {
        "files": count,
        "seed": seed,
        "answers": endings["answer"],
        "errors": endings["error"],
        "memory_errors": endings["memory"],
        "other": sum(times for how, times in endings.items() if how not in known),
        "named": odd[:SHOWN],
        "slowest": {"seconds": slowest[0], "file": slowest[1]},
        "seconds_p999": float(np.quantile(all_seconds, 0.999)) if all_seconds else None,
        "peak": {"bytes": largest[0], "file": -largest[1]},
    }


def main() -> None:
    """Fuzz, print the counts; exit with 1 where something else than an answer or an error came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="decode this file alone, here, and show its ending")
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    if options.only is not None:
        data = mutated(pictures(), options.seed, options.only)
        print(data[:64], file=sys.stderr)
        print(json.dumps({"file": options.only, "bytes": len(data), "ending": ending(data)}))
        return
    result = fuzz(options.seed, options.files)
    print(f"{result['answers']:,} answers, {result['errors']:,} clear errors, {result['other']:,} other endings")
    print(json.dumps(result))
    sys.exit(result["other"] > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
