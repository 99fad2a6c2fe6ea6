"""Builds the models that the catalogue names, and counts them: ``python -m chronos_common.prediction.torch.zoo FILE``.

The catalogue that is shipped is this command's output; a test compares some of its entries with a fresh count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from chronos_common.prediction.catalogue import key
from chronos_common.prediction.counts import Counts
from chronos_common.prediction.names import DATASETS, FAMILIES
from chronos_common.prediction.torch import convolutions, mixers
from chronos_common.prediction.torch.counting import count
from chronos_common.prediction.torch.transformers import TextEncoder, VisionTransformer

WIDTHS = (128, 256)
CONVOLUTIONAL: Mapping[str, Callable[[int], nn.Module]] = {
    "resnet50": convolutions.resnet50,
    "vgg16": convolutions.vgg16,
    "mobilenetv2": convolutions.mobilenetv2,
    "densenet121": convolutions.densenet121,
}
MIXING: Mapping[str, Callable[..., nn.Module]] = {
    "mixer": mixers.mixer,
    "resmlp": mixers.resmlp,
    "asmlp": mixers.asmlp,
}


def build(
    model: str, dataset: str, width: int | None = None
) -> tuple[nn.Module, tuple[int, ...], torch.dtype]:
    """A model of the catalogue, the shape of one of its inputs, and their dtype."""
    about = DATASETS[dataset]
    if model in MIXING:
        wide = width or WIDTHS[0]
        depth = 12 if model != "mixer" else 8 if dataset == "STL10" else 10
        module = MIXING[model](about.side, about.classes, width=wide, depth=depth, hidden=4 * wide)
        return module, (3, about.side, about.side), torch.float32
    if model in CONVOLUTIONAL:
        return CONVOLUTIONAL[model](about.classes), (3, about.side, about.side), torch.float32
    if model == "DistilBERT":
        return TextEncoder(about.classes, vocabulary=about.vocabulary), (128,), torch.int64
    sizes = {"width": 768, "heads": 12} if model == "ViT" else {"width": 192, "heads": 3}
    return VisionTransformer(about.classes, depth=12, **sizes), (3, 224, 224), torch.float32


def entries() -> Iterator[tuple[str, str, int | None]]:
    """What the catalogue holds: model, data set, width."""
    for model in FAMILIES:
        for dataset, about in DATASETS.items():
            if (model == "DistilBERT") == bool(about.vocabulary):
                yield from ((model, dataset, width) for width in (WIDTHS if model in MIXING else (None,)))


def count_entry(model: str, dataset: str, width: int | None) -> Counts:
    """Counts one entry anew."""
    with torch.device("meta"):
        module, shape, dtype = build(model, dataset, width)
    return count(module, shape, dtype=dtype)


def main(path: str) -> None:
    """Writes the catalogue."""
    lines = [
        f"{json.dumps(key(*entry))}: {json.dumps(count_entry(*entry).to_json(), separators=(',', ':'))}"
        for entry in entries()
    ]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
