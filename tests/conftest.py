"""What several tests share."""

from pathlib import Path

import pytest

from hardprompt.lm import FrozenLM, load_lm

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def microworld() -> FrozenLM:
    """The embedded model, loaded once."""
    return load_lm("microworld", device="cpu")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, models and reference values beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with reference values and real data is not here")
    return SHARED
