"""The pages that the commands write, made of the UCI digits, looked at in Chromium: pictures, and whether all fits.

    python benchmarks/page_pictures.py --out docs      # makes the pages, checks them, takes their pictures
    python benchmarks/page_pictures.py --check runs/first/report.html explore.html

A page fits when, 390 and 1,280 pixels wide, nothing sticks out or is cut off but where a shadow shows that it scrolls,
no cell is squeezed into a tall column, and no lettering in a chart is tiny, huge, overprinted or struck through. The
last line on stdout is JSON: pages (each at each width), unfit, and findings.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tenfold.errors import DataError
from tenfold.files import write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)
SCREEN = (1280, 1000)  # what a picture shows of a page, pixels
NARROWEST = 600  # a window may be no narrower; a phone's page stands in a frame of its width
SYSTEMS = ("instant", "dense-128", "knn", "logistic")
PUBLISHED = "logistic,knn,dense-128"
SHOWN = {
    "report": "runs/instant/report.html",
    "explore": "explore.html",
    "compare": "compare.html",
    "reproduce": "reproduce.html",
    "ensemble": "runs/four/ensemble.html",
    "audit": "runs/folds/audit.html",
    "tune": "runs/tuned/tune.html",
}
MEASURE = """
const found = [], px = size => parseFloat(size) || 0;
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, view = frame.contentWindow, width = frame.clientWidth, all = new Set();
  const note = (what, element) => all.add(
    what + ": " + (element.className.baseVal ?? element.className ?? "") + " " + element.tagName.toLowerCase() +
    " '" + element.textContent.trim().replace(/\\s+/g, " ").slice(0, 40) + "'");
  if (page.documentElement.scrollWidth > width) note("wider than the window", page.querySelector("h1"));
  for (const one of page.body.querySelectorAll("*")) {
    const style = view.getComputedStyle(one);
    if (one.closest("svg, .hidden") || !one.getClientRects().length) continue;
    if (px(style.fontSize) < 11 && one.textContent.trim()) note("tiny", one);
    if (/^T[DH]$/.test(one.tagName) && one.clientHeight > 6 * px(style.fontSize) * 1.6) note("squeezed", one);
    if (one.scrollWidth > one.clientWidth + 1 && !/inline|contents/.test(style.display)) {
      const scrolls = /auto|scroll/.test(style.overflowX);
      if (!scrolls) note("cut off", one);
      else if (!style.backgroundAttachment.includes("local")) note("scrolls without a hint", one);
      else if (one.scrollWidth - one.clientWidth < 20) note("scrolls by too little for its shadow", one);
    }
  }
  for (const chart of page.querySelectorAll("svg")) {
    const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width, boxes = [];
    for (const text of chart.querySelectorAll("text")) {
      const box = text.getBoundingClientRect(), size = scale * px(view.getComputedStyle(text).fontSize);
      if (size < 9) note("tiny", text);
      if (size > 16.1) note("huge", text);
      if (box.left < 0 || box.right > width) note("cut off", text);
      const top = box.top + box.height / 8, bottom = box.bottom - box.height / 8;  // of the letters
      const crosses = one => box.left < one.right && one.left < box.right && top < one.bottom && one.top < bottom;
      if (boxes.some(crosses)) note("overprinted", text);
      boxes.push({left: box.left, right: box.right, top, bottom});
      const level = one => one.getAttribute("y1") === one.getAttribute("y2") && crosses(one.getBoundingClientRect());
      if ([...chart.querySelectorAll(".ideal")].some(level)) note("struck through", text);
    }
  }
  found.push({page: frame.title, width, findings: [...all]});
}
document.getElementById("found").textContent = JSON.stringify(found);
"""


def browser() -> str | None:
    """Return the path of Chromium or its like, None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def unfit(pages: Sequence[Path], widths: Sequence[int] = WIDTHS) -> list[dict[str, object]]:
    """Return what does not fit: for each page at each width its `page`, `width` and `findings`, in words."""
    frames = "".join(
        f'<iframe title="{place}" src="{path.resolve().as_uri()}" style="width:{width}px;border:0"></iframe>'
        for place, path in enumerate(pages)
        for width in widths
    )
    script = f'<pre id="found"></pre><script>addEventListener("load", () => {{{MEASURE}}})</script>'
    answer = _look(frames + script, ["--dump-dom"])
    found = re.search(r'<pre id="found">(.+?)</pre>', answer, re.DOTALL)
    if found is None:
        raise RuntimeError("Chromium measured nothing. Run it by hand on a page to see why.")
    lines = json.loads(unescape(found[1]))
    return [line | {"page": str(pages[int(line["page"])])} for line in lines]


def picture(page: Path, size: tuple[int, int], *, dark: bool = False) -> bytes:
    """Return the top of a page as a browser whose view has that width and height shows it, a PNG of 256 colours."""
    width, height = size
    frame = f'<iframe src="{page.resolve().as_uri()}" style="width:{width}px;height:{height}px;border:0"></iframe>'
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        window = f"--window-size={max(width, NARROWEST)},{height}"
        _look(frame, [f"--screenshot={shot}", window, f"--blink-settings=preferredColorScheme={0 if dark else 1}"])
        with Image.open(shot) as whole:
            colours = whole.convert("RGB").crop((0, 0, width, height)).quantize(dither=Image.Dither.NONE)
    file = BytesIO()
    colours.save(file, "PNG", optimize=True)
    return file.getvalue()


def _look(body: str, options: Sequence[str]) -> str:
    """Return what Chromium prints when it opens a page of that body, frames of which it may look into."""
    program = browser()
    if program is None:
        raise SystemExit(f"Error: none of '{', '.join(BROWSERS)}' is installed. Install Chromium.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "frames.html"
        page.write_text(f'<!doctype html><body style="margin:0">{body}</body>', "utf-8")
        command = [
            *(program, "--headless", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"),
            *(f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000", *options, page.as_uri()),
        ]
        if os.geteuid() == 0:  # for whom Chromium has no sandbox
            command.insert(1, "--no-sandbox")
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def make(folder: Path) -> list[Path]:
    """Return the pages, one of each kind and a report more, made in `folder` of the UCI digits with quick recipes.

    The page of published systems needs MNIST, which their scores are on, and is left out where it is not at hand.
    """
    from tenfold.audit import audit
    from tenfold.compare import compare
    from tenfold.data import load
    from tenfold.ensemble import ensemble
    from tenfold.evaluate import evaluate
    from tenfold.explore import explore
    from tenfold.reproduce import reproduce
    from tenfold.train import train
    from tenfold.tune import tune

    digits, runs, whole = load("uci"), folder / "runs", folder / "all.npz"
    np.savez(whole, X=digits.images, y=np.asarray(digits.labels))
    labels = np.array(digits.labels)
    labels[::150] = (labels[::150] + 3) % 10  # twelve, to be found
    mislabelled = folder / "uci-with-twelve-mistakes.npz"
    np.savez(mislabelled, X=digits.images, y=labels)
    explore("uci", folder / "explore.html", quiet=True)
    for name in SYSTEMS:
        train(name, "uci", runs / name, quiet=True)
        evaluate(runs / name, "uci", quiet=True)
    train("dense-128", "uci", runs / "overlapping", quiet=True)
    evaluate(runs / "overlapping", str(whole), quiet=True)  # four images in five are trained on: the page has to say so
    compare([runs / name for name in SYSTEMS], "uci", page=folder / "compare.html", quiet=True)
    ensemble("dense-128", "uci", runs / "four", models=4, quiet=True)
    ensemble("instant", str(mislabelled), runs / "folds", models=5, folds=5, quiet=True)
    audit(runs / "folds", auto=0.95, quiet=True)
    tune("instant", "uci", runs / "tuned", trials=4, quiet=True)
    try:
        reproduce(PUBLISHED, "mnist", out=runs / "published", page=folder / "reproduce.html", quiet=True)
    except DataError as error:
        print(f"Left out: the page of published systems. {error}")
    return [path for page in (*SHOWN.values(), "runs/overlapping/report.html") if (path := folder / page).exists()]


def main(arguments: list[str] | None = None) -> int:
    """Check pages, or make them, check them and take their pictures; 1 where something does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="+", type=Path, metavar="PAGE", help="check these pages, and make none")
    parser.add_argument("--pages", type=Path, help="keep the pages in this folder [default: none is kept]")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the pictures' folder [default: docs]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.pages or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = unfit(options.check or make(folder))
        for name, page in () if options.check else SHOWN.items():
            if (folder / page).exists():
                shot = picture(folder / page, SCREEN)
                write_atomically(options.out / f"pages-{name}.png", shot)
    findings = [each for each in found if each["findings"]]
    print(json.dumps({"pages": len(found), "unfit": len(findings), "findings": findings}, ensure_ascii=False))
    return int(bool(findings))


if __name__ == "__main__":
    raise SystemExit(main())
