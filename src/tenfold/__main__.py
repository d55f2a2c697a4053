"""The command line, as `tenfold` and as `python -m tenfold`; Ctrl-C ends it in one line while libraries load, too."""

import atexit
import gc
import os
import signal
import sys
from types import FrameType


def stop(number: int, frame: FrameType | None) -> None:
    """Interrupt as usual, but end the process at once where a library is being loaded.

    An exception in the middle of that is what libraries turn into an ImportError, or abort at.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, b"Interrupted.\n")
            if "--json" in sys.argv:
                os.write(1, b'{"error": "Interrupted."}\n')
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started this wants it ignored
        signal.signal(signal.SIGINT, stop)
    gc.set_threshold(100_000)  # what libraries make while they are loaded is hardly ever garbage
    atexit.register(gc.freeze)  # nor need the rest be searched at the end: a fifth of a second with torch
    from tenfold import cli

    cli.main()


if __name__ == "__main__":
    main()
