"""`hardprompt download`, with a small packaged model in a folder that pip uses as its package index."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from hardprompt import load_lm
from hardprompt.errors import LMError
from hardprompt.lm import packaged
from hardprompt.lm.download import download
from hardprompt.lm.packaged import ENCODERS, PACKAGED, PackagedModel
from hardprompt.records.request import same_model
from tests.helpers import Ask
from tests.helpers.gguf_files import TEMPLATE, tiny_llama, write_gguf

WHEEL = "tiny_model-1.0-py3-none-any.whl"


def write_wheel(folder: Path, gguf: Path | None) -> None:
    info = "tiny_model-1.0.dist-info"
    with ZipFile(folder / WHEEL, "w") as archive:
        if gguf:
            archive.write(gguf, "tiny_model/tiny.gguf")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-there\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(f"{info}/licenses/LICENSE", "The licence.\n")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that pip fetches from, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    gguf = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), "Q8_0")
    write_wheel(folder, gguf)
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    entry = PackagedModel("tiny", "tiny-model", "1.0", "tiny_model/tiny.gguf", digest, "MIT", "someone/tiny", 10**6, 10**6)
    monkeypatch.setitem(PACKAGED, "tiny", entry)
    monkeypatch.setattr("hardprompt.lm.sources.NAMES", ("tiny",))
    monkeypatch.setattr("hardprompt.lm.loading.NAMES", ("tiny",))
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    yield folder


def left_over(index: Path) -> list[str]:
    """What a failed download left in the cache."""
    models = index.parent / "cache" / "models"
    return sorted(file.name for file in models.glob("*") if file.suffix != ".lock") if models.is_dir() else []


def test_a_model_is_there_after_the_download(index: Path, ask: Ask) -> None:
    status, output, errors = ask(["inspect", "--lm", "tiny", "--text", "of the"])
    assert (status, output, errors) == (2, "", "hardprompt: tiny is not downloaded; run: hardprompt download tiny\n")
    [before] = [entry for entry in json.loads(ask(["ls", "lms", "--json"])[1]) if entry["name"] == "tiny"]
    status, output, errors = ask(["download", "tiny"])
    folder = index.parent / "cache" / "models" / "tiny"
    assert (status, output) == (0, f"tiny is now in {folder}; use it with --lm tiny\n")
    steps = ["downloading tiny-model 1.0 (1 MB) from the package index", "checking and converting the model, once"]
    assert errors.splitlines() == [f"hardprompt: {step}" for step in steps]
    [after] = [entry for entry in json.loads(ask(["download", "--json"])[1]) if entry["name"] == "tiny"]
    assert (before["state"], after["state"], after["licence"]) == ("not downloaded", "there", "MIT")
    assert left_over(index) == ["tiny"] and (folder / "LICENSE").read_text() == "The licence.\n"
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    status, output, errors = ask(["download", "tiny", "--json"])
    assert (status, errors, json.loads(output)["downloaded"]) == (0, "", False)


def test_the_converted_model_is_that_of_the_file(index: Path) -> None:
    assert download("tiny")
    lm, of_file = load_lm("tiny", device="cpu"), load_lm(str(index.parent / "tiny.gguf"), device="cpu")
    assert (lm.name, lm.tokenizer.chat_template, lm.encode("of the 12")) == ("tiny", TEMPLATE, of_file.encode("of the 12"))
    assert (lm.vocab_embeds - of_file.vocab_embeds).abs().max() < 1e-3
    assert lm.origin["quantization"] == "Q8_0, dequantized to float16" and lm.origin["package"] == "tiny-model 1.0"
    assert same_model("tiny", str(index.parent / "cache" / "models" / "tiny"))


def test_a_model_of_an_earlier_version_is_replaced(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download("tiny") and not download("tiny")
    origin = PACKAGED["tiny"].folder / packaged.ORIGIN_FILE
    origin.write_text(origin.read_text().replace(PACKAGED["tiny"].sha256, "0" * 64))
    assert not PACKAGED["tiny"].origin
    assert download("tiny") and PACKAGED["tiny"].origin


def test_a_sentence_encoder_is_unpacked_by_the_names_of_its_files(
    index: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, info = index.parent / "model.zip", "tiny_encoder-1.0.dist-info"
    with ZipFile(packed, "w") as archive:
        for name in ("config.json", "other.py", "../outside.json"):
            archive.writestr(name, "{}")
    with ZipFile(index / "tiny_encoder-1.0-py3-none-any.whl", "w") as archive:
        archive.write(packed, "tiny_encoder/model.zip")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    entry = PackagedModel(
        "small", "tiny-encoder", "1.0", "tiny_encoder/model.zip", digest, "MIT", "x/small", 10**6, 10**6, ("config.json",)
    )
    monkeypatch.setitem(ENCODERS, "small", entry)
    status, output, errors = ask(["download", "small"])
    use = 'hardprompt.policies.sentence_similarity.EncoderContent("small")'
    assert (status, output) == (0, f"small is now in {entry.folder}; use it with {use}\n")
    assert errors.splitlines()[-1] == "hardprompt: checking and unpacking the model, once"
    assert sorted(file.name for file in entry.folder.iterdir()) == ["LICENSE", "config.json", "origin.json"]
    assert left_over(index) == ["small"] and entry.origin["licence"] == "MIT"
    monkeypatch.setitem(ENCODERS, "small", replace(entry, contents=("config.json", "missing.json"), sha256=digest))
    shutil.rmtree(entry.folder)
    status, output, errors = ask(["download", "small"])
    assert status == 2 and errors.splitlines()[-1] == (
        "hardprompt: tiny_encoder/model.zip in tiny-encoder 1.0 does not hold missing.json; "
        "the package index has another package of this name"
    )
    assert left_over(index) == []


def test_a_sentence_encoder_is_no_language_model(ask: Ask) -> None:
    status, _, errors = ask(["inspect", "--lm", "minilm", "--text", "of the"])
    assert status == 2 and errors.startswith("hardprompt: minilm is a sentence encoder, which predicts no tokens; use one of: ")


def refused(index: Path) -> str:
    """The one line of a download that fails and leaves nothing."""
    with pytest.raises(LMError) as error:
        download("tiny")
    assert left_over(index) == [] and "\n" not in str(error.value)
    return str(error.value)


def test_a_wrong_digest(index: Path) -> None:
    write_wheel(index, write_gguf(index.parent / "other.gguf", tiny_llama(1)))
    assert refused(index).startswith("tiny_model/tiny.gguf in tiny-model 1.0 has the digest ")


def test_a_wheel_without_the_file(index: Path) -> None:
    write_wheel(index, None)
    assert refused(index).startswith("tiny-model 1.0 does not hold tiny_model/tiny.gguf; ")


def test_a_damaged_wheel(index: Path) -> None:
    content = (index / WHEEL).read_bytes()
    (index / WHEEL).write_bytes(content[: len(content) // 2])
    assert "tiny-model" in refused(index) and "Traceback" not in refused(index)


def test_a_hostile_wheel_writes_nothing_outside_of_the_cache(index: Path) -> None:
    """Names that lead out of the folder, absolute names and links: of a wheel, only the model and the licence are read."""
    outside = index.parent / "outside"
    link = ZipInfo("tiny_model/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(index / WHEEL, "a") as archive:
        for name in (
            "../../../../outside",
            str(outside),
            "tiny_model/../../../outside",
            "tiny_model-1.0.dist-info/../../LICENSE",
        ):
            archive.writestr(name, "hostile")
        archive.writestr(link, str(outside))
    before = {file for file in index.parent.rglob("*") if (index.parent / "cache") not in file.parents}
    assert download("tiny")
    assert {file for file in index.parent.rglob("*") if (index.parent / "cache") not in file.parents} == {
        *before,
        index.parent / "cache",
    }
    assert left_over(index) == ["tiny"] and not any(file.is_symlink() for file in (index.parent / "cache").rglob("*"))


@pytest.mark.slow
def test_a_link_in_the_place_of_the_model(index: Path) -> None:
    """The text of the link is taken for the file, and does not have its digest."""
    (index / WHEEL).unlink()
    write_wheel(index, None)
    link = ZipInfo("tiny_model/tiny.gguf")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(index / WHEEL, "a") as archive:
        archive.writestr(link, str(index.parent / "tiny.gguf"))
    assert refused(index).startswith("tiny_model/tiny.gguf in tiny-model 1.0 has the digest ")


def test_a_version_that_the_index_lacks(index: Path) -> None:
    (index / WHEEL).unlink()
    reason = "Could not find a version that satisfies the requirement tiny-model==1.0 (from versions: none)"
    assert refused(index) == f"pip cannot download tiny-model 1.0: {reason}"


def test_no_network(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert refused(index).startswith("pip cannot download tiny-model 1.0: the package index cannot be reached (")


def test_no_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardprompt.lm.download.find_spec", lambda name: None)
    assert refused(index).startswith("this environment has no pip, which downloads tiny; ")


def test_no_space(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 10**6))
    assert refused(index).startswith("tiny needs 3 MB for a while, and ") and "has 1 MB free" in refused(index)


def test_a_cache_that_cannot_be_written(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (index.parent / "file").touch()
    monkeypatch.setenv("HARDPROMPT_CACHE", str(index.parent / "file"))
    assert refused(index).endswith(": Not a directory; HARDPROMPT_CACHE names another folder")


@pytest.mark.parametrize("step", ["_fetched", "_taken_out", "_convert"])
def test_an_interrupted_download_leaves_nothing(index: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"hardprompt.lm.download.{step}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download("tiny")
    assert left_over(index) == []
    assert download("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_pip_too(index: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """A slow pip is a module of this name in the environment."""
    pip = index.parent / "path" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    noted = index.parent / "pid"
    lines = ["import os, pathlib, time", f"pathlib.Path({str(noted)!r}).write_text(str(os.getpid()))", "time.sleep(60)"]
    (pip / "__main__.py").write_text("\n".join(lines))
    environment = os.environ | {"PYTHONPATH": str(pip.parent)}
    command = [sys.executable, "-c", "from hardprompt.cli import main; main()", "download", "smollm2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not (noted.is_file() and noted.read_text()):
            time.sleep(0.05)
        running.send_signal(number)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130 and errors.splitlines()[-1].startswith("hardprompt: interrupted")
    assert left_over(index) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)


def test_two_downloads_at_once(index: Path) -> None:
    results: list[bool] = []
    heard: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(download("tiny", heard.append))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True] and "another process downloads tiny; waiting for it" in heard


def test_names_that_cannot_be_downloaded(index: Path, ask: Ask) -> None:
    status, _, errors = ask(["download", "smolm2"])
    assert status == 2 and errors.startswith("hardprompt: no model to download 'smolm2'; did you mean 'smollm2'?")
    status, _, errors = ask(["download", "microworld"])
    assert (status, errors) == (2, "hardprompt: microworld is a part of hardprompt and needs no download\n")


@pytest.mark.slow
def test_pip_decides_where_a_download_comes_from(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration file of pip names the index; hardprompt adds none of its own."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    settings = index.parent / "pip.conf"
    settings.write_text(f"[global]\nno-index = true\nfind-links = {index}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert download("tiny")
