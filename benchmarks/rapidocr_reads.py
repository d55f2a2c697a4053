"""What RapidOCR reads in pictures, run by the Python that has it: a JSON list of [path, is one line] on stdin.

    PYTHON benchmarks/rapidocr_reads.py 1 < files.json

The number is that of its threads. A line of JSON a picture comes out: text, confidence of the least sure part, seconds,
seconds of the processor; the first line says which version. Nothing but RapidOCR is imported.
"""

import importlib.metadata
import json
import sys
import time
from typing import Any


def answer(engine: Any, path: str, line: bool) -> dict[str, Any]:
    """Return what is read of a picture; of one line it is asked to recognise it without looking for text first."""
    began, used = time.perf_counter(), time.process_time()
    # Neither angle nor place is looked for in a line; each call names both, since the engine keeps what it was told.
    found = engine(path, use_det=not line, use_cls=not line, use_rec=True)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    texts, scores = found.txts or (), found.scores or ()
    least = min(map(float, scores), default=0.0)
    return {"text": " ".join(texts), "confidence": least, "seconds": seconds, "cpu_seconds": cpu_seconds}


def main() -> None:
    """Read every picture that stdin names."""
    from rapidocr import RapidOCR

    threads = int(sys.argv[1])
    settings = {
        "Global.log_level": "critical",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    engine = RapidOCR(params=settings)
    print(json.dumps({"version": importlib.metadata.version("rapidocr")}), flush=True)
    files = json.load(sys.stdin)
    for number, (path, line) in enumerate(files):
        if number == 0:
            answer(engine, path, line)  # opens the networks
        print(json.dumps(answer(engine, path, line)), flush=True)


if __name__ == "__main__":
    main()
