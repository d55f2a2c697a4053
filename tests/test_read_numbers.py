"""Numbers in pictures for users: every file once, whatever else is among them, and whatever stops it on the way."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.errors import DataError, MissingExtraError, RunError, TenfoldError, UsageError
from tenfold.files import claimed
from tenfold.read import Numbers, read
from tenfold.runtime.numbers import Digit, Number, Page
from tenfold.runtime.reader import Reader
from tenfold.runtime.streams import Journal

HERE = Path(__file__).parent
RAY = pytest.mark.skipif(not (find_spec("ray") and find_spec("grpc")), reason="ray[client] is not installed")


def fake_load(path: Any = None, **settings: Any) -> Reader:
    """Return a reader without networks; "none" is no model."""
    if path == "none":
        raise RunError("There is no run at 'none'.")
    reader = object.__new__(Reader)
    reader.threshold = 0.9 if settings.get("min_confidence") is None else settings["min_confidence"]
    reader.sha256, reader.name = f"{path}", "fake"
    return reader


def fake_read(self: Reader, picture: Any, *, line: bool = False, rotate: str = "none") -> Page:
    """Return the grey of the first pixel as a number, in the first of two rows; on white none; in the second row 007.

    Where it is 66 and MARK names a file that is not there, make that file and kill the process.
    """
    grey, (height, width) = int(picture[0, 0].mean()), picture.shape[:2]
    if grey == 66 and (mark := os.environ.get("MARK")) and not Path(mark).exists():
        Path(mark).write_text("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if grey == 255:
        return Page([], [], (width, height))
    text, sure = str(grey), grey / 100
    digits = [Digit(int(each), 0.9, (n, 2, 3, 4)) for n, each in enumerate(text)]
    unsure = sure < self.threshold
    found = Number(text, sure, (1, 2, 3, 4), digits, unsure, f"unsure: {text} or 7" if unsure else None)
    if line:
        return Page([found], [1], (width, height))
    return Page([found, Number("007", 0.95, (5, 6, 7, 8))], [1, 1], (width, height), 90 if rotate == "auto" else 0)


@pytest.fixture(autouse=True)
def fake_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Read with the fake reader, in worker processes too."""
    (tmp_path / "site").mkdir()
    code = f"import sys; sys.path.insert(0, {str(HERE)!r})\nimport test_read_numbers as fake\nfake.install()\n"
    (tmp_path / "site" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)]))
    monkeypatch.setattr(Reader, "load", staticmethod(fake_load), raising=False)
    monkeypatch.setattr(Reader, "read", fake_read)
    monkeypatch.chdir(tmp_path)
    yield


def install() -> None:
    """Put the fake reader in the place of the true one, in a worker process."""
    Reader.load, Reader.read = staticmethod(fake_load), fake_read  # type: ignore[assignment,method-assign]


def draw(path: str | Path, *greys: int) -> str:
    """Write a picture, or several pages as TIFF, of one grey each."""
    first, *others = [Image.new("L", (40, 20), grey) for grey in greys]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    first.save(path, **({"save_all": True, "append_images": others} if others else {}))
    return str(path)


def rows(path: str | Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def folder(count: int = 30) -> str:
    """Return a folder with pictures of the greys 60 to 99, one of a broken file and one of no pages among them."""
    for number in range(count):
        draw(f"in/{number // 10}/{number}.png", 60 + number)
    Path("in/0/broken.png").write_bytes(b"nothing")
    return "in"


def test_lines() -> None:
    """A line a number: file and page, text, confidence, box, and why it is not to be used."""
    Path("b.png").write_bytes(b"nothing")
    words = ["read", draw("a.png", 97), draw("c.tif", 50, 255), draw("d\x1b.png", 255), "b.png"]
    result = CliRunner().invoke(app, words)
    assert result.stdout.splitlines() == [
        "a.png 97 0.970 1,2,3,4",
        "a.png 007 0.950 5,6,7,8",
        "c.tif:1 - 0.500 1,2,3,4 unsure: 50 or 7",
        "c.tif:1 007 0.950 5,6,7,8",
        "c.tif:2 - 0.000 - no number",
        "d\\x1b.png - 0.000 - no number",
        "b.png - 0.000 - unreadable: 'b.png' is not a picture. Give a PNG, JPEG, WebP, BMP, GIF or TIFF.",
    ]
    assert result.stderr == "Error: '1' of 4 files could not be read: b.png. It stands above why.\n"
    assert result.exit_code == 1


def test_json() -> None:
    """`--json` prints a list, last on stdout, of a page each with its numbers and their digits."""
    Path("b.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["read", "b.png", draw("c.tif", 95, 50), "--line", "--json"])
    found = json.loads(result.stdout)
    assert [(each["file"], each["page"]) for each in found] == [("b.png", None), ("c.tif", 1), ("c.tif", 2)]
    assert found[0]["numbers"] == []
    assert "empty" in found[0]["error"]
    assert found[1] == {
        "file": "c.tif",
        "page": 1,
        "numbers": [
            {
                "text": "95",
                "confidence": 0.95,
                "box": [1, 2, 3, 4],
                "abstained": False,
                "reason": None,
                "digits": [
                    {"digit": 9, "confidence": 0.9, "box": [0, 2, 3, 4]},
                    {"digit": 5, "confidence": 0.9, "box": [1, 2, 3, 4]},
                ],
            }
        ],
        "rows": [1],
        "size": [40, 20],
        "turned": 0,
    }
    assert (found[2]["numbers"][0]["abstained"], found[2]["numbers"][0]["reason"]) == (True, "unsure: 50 or 7")


def test_csv_and_json_files() -> None:
    """The CSV has a row a number, leading zeros and all, and one for a page without; the JSON is what --json prints."""
    Path("b.png").write_bytes(b"nothing")
    pictures = [draw("=1+1.png", 97), draw("c.tif", 50, 255), "b.png"]
    result = read(pictures=pictures, out="new/out.csv", quiet=True)
    assert isinstance(result, Numbers)
    assert (result.files, result.pages, result.numbers, result.abstained, list(result.unreadable), result.found) == (
        *(3, 3, 4, 1, ["b.png"], None),
    )
    assert Path("new/out.csv").read_text().splitlines() == [
        "file,page,row,number,text,confidence,abstained,reason,left,top,width,height",
        '"\'=1+1.png",1,1,1,"97",0.97,0,"",1,2,3,4',
        '"\'=1+1.png",1,2,1,"007",0.95,0,"",5,6,7,8',
        '"c.tif",1,1,1,"50",0.5,1,"unsure: 50 or 7",1,2,3,4',
        '"c.tif",1,2,1,"007",0.95,0,"",5,6,7,8',
        '"c.tif",2,"","","",0.0,1,"no number","","","",""',
        '"b.png","","","","",0.0,1,"unreadable: \'b.png\' is not a picture. Give a PNG, JPEG, WebP, BMP, GIF or TIFF.",'
        '"","","",""',
    ]
    read(pictures=pictures, out="out.json", quiet=True)
    found = read(pictures=pictures, quiet=True)
    assert isinstance(found, Numbers)
    assert json.loads(Path("out.json").read_text()) == json.loads(json.dumps(found.json))
    assert {path.name for path in Path().iterdir() if path.is_file()} == {"=1+1.png", "c.tif", "b.png", "out.json"}


@pytest.mark.parametrize("name", ["=a", "+a", "-a", "@a", "\ta", "\ra", "%a", "|a"])
def test_no_cell_is_a_formula(name: str) -> None:
    """A cell that a spreadsheet would run begins with an apostrophe."""
    read(pictures=[draw(f"{name}.png", 97)], out="out.csv", quiet=True)
    shown = ascii(name)[1:-1] if name == "\ra" else f"'{name}"  # control characters are written in escapes
    assert [row["file"] for row in rows("out.csv")] == [f"{shown}.png"] * 2


def test_settings() -> None:
    """Model, confidence and turning reach the reader; the result says which threshold counted."""
    result = read(pictures=[draw("a.png", 97)], threshold=0.98, rotate="auto", quiet=True)
    assert isinstance(result, Numbers)
    assert result.found is not None
    assert (result.threshold, result.abstained, result.found[0]["turned"]) == (0.98, 1, 90)
    done = CliRunner().invoke(app, ["read", "a.png", "--min-confidence", "0.5", "--line"])
    assert done.stdout == "a.png 97 0.970 1,2,3,4\n"
    with pytest.raises(RunError, match="no run at 'none'"):
        read(pictures=["a.png"], model="none", quiet=True)


def test_folders_and_zips(caplog: pytest.LogCaptureFixture) -> None:
    """Folders are searched for pictures and PDFs, zips too; what is neither is left out, and said."""
    draw("in/b/1.png", 91)
    draw("in/a.jpg", 92)
    Path("in/notes.txt").write_text("notes")
    Path("in/c.heic").write_bytes(b"\0\0\0\0ftypheic")
    with zipfile.ZipFile("in/z.zip", "w") as archive:
        archive.write("in/a.jpg", "deep/er.jpg")
    Path("in/broken.zip").write_bytes(b"PK\3\4 and no more")
    result = read(pictures=["in/", "in/z.zip", "in/a.jpg"], quiet=True)
    assert isinstance(result, Numbers)
    assert result.found is not None
    found = [(each["file"], each["numbers"][0]["text"] if each["numbers"] else None) for each in result.found]
    assert found == [
        *(("in/a.jpg", "92"), ("in/b/1.png", "91"), ("in/broken.zip", None), ("in/c.heic", None)),
        *(("in/z.zip/deep/er.jpg", "92"), ("in/z.zip/deep/er.jpg", "92"), ("in/a.jpg", "92")),
    ]
    assert "Give a PNG, JPEG" in result.unreadable["in/c.heic"]
    assert "'in/': left out 1 files that are no pictures." in caplog.messages


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("stop_at", [0, 1, 17])
def test_resumes(kind: str, stop_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is killed anywhere, within a line too, resumes and gives the bytes of one that was not."""
    source = folder()
    read(pictures=[source], out=f"whole.{kind}", workers=1, quiet=True)
    add = Journal.add

    def die(journal: Journal, number: int, answers: Any) -> None:
        if len(journal.read) == stop_at:
            journal._file.write(b'{"number": 3, "pag')  # on the disk, but not whole
            raise KeyboardInterrupt
        add(journal, number, answers)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", die)
        with pytest.raises(KeyboardInterrupt):
            read(pictures=[source], out=f"out.{kind}", workers=1, quiet=True)
    assert not Path(f"out.{kind}").exists()
    result = read(pictures=[source], out=f"out.{kind}", workers=1, quiet=True)
    assert isinstance(result, Numbers)
    assert (result.resumed_at, result.files) == (stop_at, 31)
    assert Path(f"out.{kind}").read_bytes() == Path(f"whole.{kind}").read_bytes()
    assert {path.name for path in Path().iterdir() if path.is_file()} == {f"out.{kind}", f"whole.{kind}"}


def test_starts_again_for_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun with another threshold, or on a file that is another now, is begun again."""
    source = folder(12)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "finish", lambda *_: None)
        read(pictures=[source], out="out.csv", workers=1, quiet=True)
        assert read(pictures=[source], out="out.csv", workers=1, quiet=True).resumed_at == 13  # type: ignore[union-attr]
        read(pictures=[source], out="out.csv", workers=1, threshold=0.5, quiet=True)
    draw("in/0/3.png", 99)
    result = read(pictures=[source], out="out.csv", workers=1, threshold=0.5, quiet=True)
    assert isinstance(result, Numbers)
    assert result.resumed_at == 0
    assert {row["text"] for row in rows("out.csv") if row["file"] == "in/0/3.png"} == {"99", "007"}


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, one of them killed on the way, give the bytes of one; copies and the page are there too."""
    source = folder()
    read(pictures=[source], out="one.csv", workers=1, annotated="seen-one", quiet=True)
    monkeypatch.setenv("MARK", str(Path("mark").absolute()))
    result = read(pictures=[source], out="two.csv", workers=2, annotated="seen", page="page.html", quiet=True)
    assert Path("mark").read_text() == "killed"
    assert isinstance(result, Numbers)
    assert (result.files, result.numbers, list(result.unreadable)) == (31, 60, ["in/0/broken.png"])
    assert Path("two.csv").read_bytes() == Path("one.csv").read_bytes()
    seen, one = (sorted(path.relative_to(top) for path in Path(top).rglob("*.jpg")) for top in ("seen", "seen-one"))
    assert seen == one == sorted(Path(f"{number // 10}/{number}.png.1.jpg") for number in range(30))
    assert all((Path("seen") / path).read_bytes() == (Path("seen-one") / path).read_bytes() for path in seen)
    assert Path("page.html").read_text().count("data:image/jpeg") == 60


def test_a_file_that_kills_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on which processes die again and again is one that cannot be read; the rest is read."""
    source = folder(12)
    monkeypatch.setenv("MARK", str(Path("nowhere/mark").absolute()))  # which cannot be made: it dies every time
    Path("nowhere").write_bytes(b"")
    result = read(pictures=[source], out="out.csv", workers=2, quiet=True)
    assert isinstance(result, Numbers)
    assert set(result.unreadable) == {"in/0/6.png", "in/0/broken.png"}


@RAY
@pytest.mark.slow
def test_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of this machine's own, a worker of which is killed, gives the bytes of one process."""
    source = folder()
    read(pictures=[source], out="one.csv", workers=1, quiet=True)
    mark = Path("mark").absolute()
    words = ["read", "in", "--out", "ray.csv", "--on", "ray", "--workers", "3", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", *words],
        env=os.environ | {"MARK": str(mark)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr  # of the broken file
    assert mark.read_text() == "killed"
    assert json.loads(done.stdout.splitlines()[-1])["numbers"] == 60
    assert Path("ray.csv").read_bytes() == Path("one.csv").read_bytes()


def test_copies_of_one_name() -> None:
    """Copies of pictures of one name in two folders don't replace each other; pages have copies of their own."""
    read(pictures=[draw("a/x.tif", 91, 92), draw("b/x.tif", 93)], annotated="seen", quiet=True)
    assert sorted(path.name for path in Path("seen").iterdir()) == ["1-x.tif.1.jpg", "1-x.tif.2.jpg", "2-x.tif.1.jpg"]


def test_bad_places(tmp_path: Path) -> None:
    """What is written is of a known kind and stands neither among the pictures nor in place of a folder."""
    draw("in/a.png", 97)
    Path("folder.csv").mkdir()
    Path("file").write_bytes(b"")
    for options, message in (
        ({"out": "out.npz"}, "'out.npz' ends in '.npz'. Give --out a file that ends in .csv or .json."),
        ({"out": "folder.csv"}, "'folder.csv' is a folder. Give --out a file in it"),
        ({"out": "in/out.csv"}, "'in/out.csv' is among the images that are to be read. Give --out another place."),
        ({"out": "file/out.csv"}, "'file/out.csv' cannot be written: .* Give --out another place."),
        ({"page": "page.txt"}, "Give --page a file that ends in .html."),
        ({"page": "in/page.html"}, "is among the images"),
        ({"annotated": "in/seen"}, "'in/seen' is among the images .* Give --annotated another place."),
        ({"annotated": "file"}, "'file' cannot be written"),
    ):
        with pytest.raises(TenfoldError, match=message):
            read(pictures=["in"], quiet=True, **options)  # type: ignore[arg-type]
    with pytest.raises(TenfoldError, match="among the images"):
        read(pictures=["in/a.png", "out.csv"], out="out.csv", quiet=True)
    with claimed(Path("out.csv")), pytest.raises(TenfoldError, match="is being written by another process"):
        read(pictures=["in"], out="out.csv", quiet=True)


def test_bad_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with no picture, and one without permission, are errors; a file that is not there is one unreadable."""
    Path("empty").mkdir()
    with pytest.raises(DataError, match="'empty' holds no pictures and no PDF files. Give a folder with some."):
        read(pictures=["empty"], quiet=True)
    result = read(pictures=["none.png", draw("a.png", 97)], quiet=True)
    assert isinstance(result, Numbers)
    assert "cannot be read: No such file" in result.unreadable["none.png"]

    def refuse(path: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="'empty' cannot be read: Permission denied. Check the path and"):
        read(pictures=["empty"], quiet=True)


def test_usage() -> None:
    """What doesn't go together is wrong usage, by name and with what to do."""
    for words, message in (
        (["a.png", "--rotate", "left"], "'--rotate left' is no way to turn. Give auto or none."),
        (["a.png", "--max-error", "0.1", "--min-confidence", "0.5"], "Both '--max-error 0.1' and"),
        (["a.png", "--probabilities"], "'--probabilities' is of no use with numbers. Omit it."),
        (["--digits", "a.png", "--line"], "'--line' is of no use with digits. Omit it."),
        (["--frame", "in", "--annotated", "seen"], "'--annotated' is of no use with digits. Omit it."),
        (["a.png", "--frame", "in"], "are given. Give either."),
    ):
        result = CliRunner().invoke(app, ["read", *words])
        assert result.exit_code == 2
        assert message in result.stderr
    assert CliRunner().invoke(app, ["read", "a.png", "--on", "mars"]).exit_code == 1


@pytest.mark.parametrize("what", ["copy", "journal", "file", "page"])
def test_a_full_disk(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full the error says so, nothing half written stands there, and the same call goes on."""
    source, error = folder(3), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(*_: Any) -> None:
        raise error

    options: dict[str, Any] = {"out": "out.csv", "annotated": "seen", "page": "page.html", "quiet": True}
    place = {"copy": "runtime.annotated", "file": "runtime.streams", "page": "pages.page"}.get(what)
    with monkeypatch.context() as patched:
        if place is None:
            add = Journal.add

            def fill(journal: Journal, *answers: Any) -> None:
                journal._file.flush = full  # type: ignore[method-assign]
                add(journal, *answers)

            patched.setattr(Journal, "add", fill)
        else:
            patched.setattr(f"tenfold.{place}.write_atomically", full)
        with pytest.raises(TenfoldError, match="No space left on device. Free some space there, and run"):
            read(pictures=[source], **options)
    assert not Path("out.csv").exists()
    result = read(pictures=[source], **options)
    assert isinstance(result, Numbers)
    assert result.resumed_at == (0 if what in ("copy", "journal") else 4)
    assert len(rows("out.csv")) == 7


def test_a_pdf_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pypdfium2 a PDF is a file that cannot be read, which says what to install; pictures are read."""
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    Path("a.pdf").write_bytes(b"%PDF-1.4")
    result = read(pictures=["a.pdf", draw("a.png", 97)], quiet=True)
    assert isinstance(result, Numbers)
    assert result.unreadable == {"a.pdf": str(MissingExtraError("pypdfium2, which reads the PDF 'a.pdf',", "pdf"))}
    assert result.numbers == 2


def test_nothing_of_training_is_loaded() -> None:
    """Reading works on the core install: neither torch nor scikit-learn is loaded."""
    draw("a.png", 97)
    code = (
        "import sys; from tenfold.read import read\n"
        "read(pictures=['a.png'], annotated='seen', page='p.html', quiet=True)\n"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'onnx', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_usage_error_class() -> None:
    """From Python the same mistakes are UsageErrors."""
    with pytest.raises(UsageError):
        read(quiet=True)
    np.testing.assert_equal(read(pictures=[draw("a.png", 97)], line=True, quiet=True).json[0]["rows"], [1])  # type: ignore[union-attr]
