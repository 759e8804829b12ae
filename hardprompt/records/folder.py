"""The folder of a study: its request in a YAML file, one JSON object per result in an append-only file, and vectors.

    FOLDER/study.yaml      the request; written once
    FOLDER/points.jsonl    one line per result; each line is flushed to the disk before the next result is computed
    FOLDER/points.torn     incomplete last lines, set aside when a study that was killed while writing is resumed
    FOLDER/soft/           vectors of soft prompts, one safetensors file each
    FOLDER/.lock           exists while a process writes to the folder
    FOLDER/stop            a user creates it to stop the study

The file names differ between the kinds of study, and each kind has a subclass. All files but the JSON lines are written
atomically. So a study that ends for any reason leaves a complete record, except for an incomplete last line.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ValidationError
from torch import Tensor

from hardprompt.errors import StudyError
from hardprompt.field_problems import field_problems
from hardprompt.records.atomic import remove_temporary_files, replacing, write_error
from hardprompt.records.lock import LOCK_FILE, STOP_FILE, locked

SOFT = "soft"
"""The folder for the vectors of soft prompts, inside the folder of a study."""

Line = dict[str, Any]


class RecordFolder:
    """The folder of an existing study; `writing` creates a new one.

    A subclass sets the class attributes. One whose files have several forms overrides `check_study` or `check_line`.

    Args:
        folder: the folder, which holds the file `request_file`.

    Attributes:
        request_file: the name of the YAML file with the request.
        lines_file: the name of the JSONL file with the results.
        kind: the name of such a study in messages.
        request_key: the key of the request in the YAML file; None if the request is the whole file.
        study_form: the form of the YAML file.
        line_form: the form of a line.
        study: the contents of the YAML file.
        lines_path: the path of the JSONL file.
        torn: the incomplete last line that `writing` has set aside; empty if there was none.

    Raises:
        StudyError: if the folder does not hold a study of this kind, or its YAML file cannot be read.
    """

    request_file: ClassVar[str]
    lines_file: ClassVar[str]
    kind: ClassVar[str]
    request_key: ClassVar[str | None] = "request"
    study_form: ClassVar[type[BaseModel]]
    line_form: ClassVar[type[BaseModel]]

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.lines_path = self.folder / self.lines_file
        self.torn = ""
        self.study: dict[str, Any] = self._read_study()

    def check_study(self, study: object, what: str) -> None:
        """Raise a StudyError that begins with `what` if the YAML file holds something else than a study of this kind."""
        check_form(self.study_form, study, what)

    def check_line(self, line: object, what: str) -> None:
        """Raise a StudyError that begins with `what` if a line is not a result of a study of this kind."""
        check_form(self.line_form, line, what)

    @classmethod
    @contextmanager
    def writing(cls, folder: str | Path, study: Mapping[str, Any]) -> Iterator[Self]:
        """Lock a folder, and create the study in it or resume the one that has the same request.

        Args:
            folder: the folder, which is created if it does not exist.
            study: the contents of the YAML file. The request in it, and `data` where it has that key, must equal the
                recorded ones.

        Raises:
            StudyError: if the folder holds another study or other files (it is left unchanged), or if another process
                writes to it.
            RecordError: if the folder cannot be written to.
        """
        folder = Path(folder)
        cls.refuse_foreign(folder)
        with locked(folder):
            if (folder / cls.request_file).is_file():
                record = cls(folder)
                record.refuse_other(study)
            else:
                with replacing(folder / cls.request_file) as temporary:
                    temporary.write_text(yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True), encoding="utf-8")
                record = cls(folder)
            record.torn = record.clean_up()
            yield record

    @classmethod
    def refuse_foreign(cls, folder: Path) -> None:
        """Refuse a folder that is neither a study of this kind nor empty.

        Files of a process that was killed before it wrote the request are ignored.

        Raises:
            StudyError: if the folder holds other files, or is a file.
        """
        if (folder / cls.request_file).is_file() or not folder.exists():
            return
        if not folder.is_dir() or any(not cls._is_left_over(file.name) for file in folder.iterdir()):
            raise StudyError(f"{folder} is not empty and holds no {cls.kind}; choose another --out")

    def lines(self, *, complete: bool = False) -> list[Line]:
        """The recorded results, in the order of the file.

        Args:
            complete: leave out an incomplete last line, which a process that was killed while writing has left.

        Raises:
            StudyError: if a line is not valid, with its number.
        """
        if not self.lines_path.is_file():
            return []
        lines = []
        texts = self.lines_path.read_bytes().split(b"\n")
        for number, text in enumerate(texts[:-1] if complete else texts, 1):
            if not text.strip():
                continue
            where = f"{self.lines_path}:{number}"
            try:
                line = json.loads(text.decode())
            except UnicodeDecodeError as error:
                raise StudyError(f"{where}: not UTF-8 ({error}); repair or remove the line") from error
            except (ValueError, RecursionError) as error:
                raise StudyError(f"{where}: not JSON ({error}); repair or remove the line") from error
            self.check_line(line, f"{where}: not a result of a {self.kind}; repair or remove the line")
            lines.append(line)
        return lines

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a result and flush it to the disk.

        Raises:
            RecordError: if it cannot be written; the file is as it was before.
        """
        rest = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            with self.lines_path.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise write_error(self.lines_path, error) from error

    def save_vectors(self, name: Iterable[object], vectors: bytes) -> str:
        """Save the vectors of a soft prompt.

        Args:
            name: the parts of the file name; characters that are not safe in a file name are percent-encoded.
            vectors: the contents of a safetensors file, as `as_safetensors` returns them.

        Returns:
            The path of the file, relative to the folder of the study.

        Raises:
            RecordError: if they cannot be written.
        """
        file = self.folder / SOFT / f"{','.join(quote(str(part), safe='') for part in name)}.safetensors"
        with replacing(file) as temporary:
            file.parent.mkdir(exist_ok=True)
            temporary.write_bytes(vectors)
        return file.relative_to(self.folder).as_posix()

    def load_vectors(self, file: str) -> Tensor:
        """The vectors (L, d) of a soft prompt.

        Args:
            file: the path of the file as a line has it, relative to the folder of the study.

        Raises:
            StudyError: if the file does not exist or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not (self.folder / file).resolve().is_relative_to(self.folder.resolve()):
            raise StudyError(f"the soft prompt {file} is outside of the folder of the study, {self.folder}")
        try:
            return load((self.folder / file).read_bytes())["embeds"]
        except (OSError, SafetensorError, KeyError) as error:
            raise StudyError(f"cannot read the soft prompt {self.folder / file}: {' '.join(str(error).split())}") from error

    def clean_up(self) -> str:
        """Remove what a killed process left: temporary files, and an incomplete last line, which moves to a `.torn` file.

        The caller must hold the lock of the folder.

        Returns:
            The incomplete line; empty if there was none.

        Raises:
            RecordError: if a file cannot be written; nothing is lost then.
        """
        for folder in (self.folder, self.folder / SOFT):
            remove_temporary_files(folder)
        if not self.lines_path.is_file():
            return ""
        complete, newline, torn = self.lines_path.read_bytes().rpartition(b"\n")
        if torn:
            torn_path = self.lines_path.with_suffix(".torn")
            before = torn_path.read_bytes() if torn_path.is_file() else b""
            with replacing(torn_path) as temporary:
                temporary.write_bytes(before + torn + b"\n")
            with replacing(self.lines_path) as temporary:
                temporary.write_bytes(complete + newline)
        return torn.decode(errors="replace")

    def _read_study(self) -> dict[str, Any]:
        file = self.folder / self.request_file
        if not file.is_file():
            raise StudyError(f"{self.folder} holds no {self.kind}: it has no {self.request_file}")
        try:
            study = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            raise StudyError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
        self.check_study(study, f"{file} does not describe a {self.kind}")
        return study

    @classmethod
    def request_defaults(cls) -> Mapping[str, Any]:
        """Values of the request's fields that an earlier version did not record."""
        return {}

    def refuse_other(self, study: Mapping[str, Any]) -> None:
        """Raise StudyError if the folder holds another study than one with these contents of the YAML file."""
        recorded, requested = ((each[self.request_key] if self.request_key else each) for each in (self.study, study))
        recorded = {**self.request_defaults(), **recorded}
        if other := [field for field in requested if recorded.get(field) != requested[field]]:
            raise StudyError(f"{self.folder} holds another study (other {', '.join(other)}); choose another --out")
        if self.study.get("data") != study.get("data"):
            raise StudyError(f"the task data have changed since {self.folder} was created; choose another --out")
        if self.study.get("prompts") != study.get("prompts"):
            raise StudyError(f"the given prompts have changed since {self.folder} was created; choose another --out")

    @classmethod
    def _is_left_over(cls, name: str) -> bool:
        return name in (LOCK_FILE, STOP_FILE) or (name.startswith(f".{Path(cls.request_file).stem}.") and ".tmp" in name)


def as_safetensors(embeds: Tensor) -> bytes:
    """The contents of a safetensors file with the vectors (L, d) of a soft prompt."""
    from safetensors.torch import save

    return save({"embeds": embeds.detach().cpu().contiguous()})


def check_form(form: type[BaseModel], value: object, what: str) -> None:
    """Raise a StudyError that begins with `what` and names the first problem, if a value does not have a form."""
    try:
        form.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"{what} ({field_problems(error, form)[0].message})") from error
