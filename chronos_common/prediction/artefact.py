"""The trained predictor as a file: named arrays (npz) and one JSON text, no pickle, readable by numpy alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from chronos_common.errors import ArtefactError

REVISION = 2
ABOUT = "about"


@dataclass(frozen=True, kw_only=True, eq=False)
class Artefact:
    """What training wrote.

    Attributes:
        about: everything that is not an array: names of features, chosen recipes, scores.
        arrays: by name.
    """

    about: dict[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the file."""
        text = json.dumps({"revision": REVISION, **self.about}, sort_keys=True).encode()
        with path.open("wb") as file:
            everything: dict[str, Any] = {ABOUT: np.frombuffer(text, np.uint8), **self.arrays}
            np.savez_compressed(file, **everything)


def read(file: Path | IO[bytes]) -> Artefact:
    """Reads a file.

    Raises:
        ArtefactError: it is missing, damaged, or of another revision.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        about = json.loads(arrays.pop(ABOUT).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtefactError(
            f"{file} is no trained predictor ({error}); train one from a data folder"
        ) from error
    if about.get("revision") != REVISION:
        raise ArtefactError(
            f"{file} has revision {about.get('revision')}, this release reads {REVISION}; train the predictor anew"
        )
    return Artefact(about=about, arrays=arrays)


@cache
def shipped() -> Artefact:
    """The artefact of this release."""
    with files("chronos_common.prediction").joinpath("predictor.npz").open("rb") as file:
        return read(file)
