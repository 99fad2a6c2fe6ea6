"""The golden vectors in protos/testdata: what this release reads and writes is what every client relies on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from chronos_common.codec import decode, encode
from chronos_common.codec.indices import encode_gaps
from chronos_common.compression import apply_delta
from chronos_common.errors import PayloadError
from chronos_common.outer import OuterSpec, clip
from chronos_common.pb.chronos.v1 import coordinator_pb2
from chronos_common.tensors import Array, TensorSpec, data_view, digest
from tools.vectors.__main__ import TESTDATA, differences, main
from tools.vectors.plain import arrays_from_plain

ROOT = TESTDATA.parents[1]
MANIFEST: dict[str, Any] = json.loads((TESTDATA / "manifest.json").read_text(encoding="utf-8"))


def named(kind: str) -> Any:
    return pytest.mark.parametrize("vector", MANIFEST[kind], ids=lambda vector: vector.get("name"))


def same_bits(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and data_view(left[name]) == data_view(right[name])
        for name in left
    )


@named("payloads")
def test_a_payload_holds_the_arrays_of_the_manifest(vector: dict[str, Any]) -> None:
    payload, arrays = (TESTDATA / vector["file"]).read_bytes(), arrays_from_plain(vector["arrays"])
    assert same_bits(decode(payload), arrays)
    assert digest(arrays) == vector["digest"]
    if vector["codec"] == 1:
        assert encode("identity", arrays) == payload


@named("malformed")
def test_a_malformed_payload_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    specs = vector.get("specs")
    expected = specs and [TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in specs]
    with pytest.raises(PayloadError) as refused:
        decode(bytes.fromhex(vector["hex"]), specs=expected, max_bytes=vector.get("max_bytes"))
    assert refused.value.reason == vector["reason"]


@named("deltas")
def test_a_delta_leads_to_the_next_value(vector: dict[str, Any]) -> None:
    held, after = arrays_from_plain(vector["held"]), arrays_from_plain(vector["after"])
    dtype = held["u"].dtype.name
    spec = OuterSpec(name="u", shape=(600,), dtype=dtype, lower=vector["lower"], upper=vector["upper"])  # type: ignore[arg-type]
    found = apply_delta(held, bytes.fromhex(vector["payload"]), lambda arrays: clip(arrays, [spec]))
    assert same_bits(found, after)
    assert digest(found) == vector["digest"]


@pytest.mark.parametrize("vector", MANIFEST["messages"], ids=lambda vector: vector["type"])
def test_a_message_is_read_back_as_it_was_written(vector: dict[str, Any]) -> None:
    message = getattr(coordinator_pb2, vector["type"].rpartition(".")[2])()
    message.ParseFromString(bytes.fromhex(vector["hex"]))
    assert message.SerializeToString(deterministic=True).hex() == vector["hex"]


def test_the_generator_writes_just_these_files() -> None:
    assert differences() == []
    assert main(["--check"]) == 0


def test_the_generator_names_files_that_differ(tmp_path: Path) -> None:
    for path in TESTDATA.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / "identity-vector.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x01")
    (tmp_path / "left-over.bin").touch()
    (tmp_path / "manifest.json").unlink()
    assert differences(tmp_path) == ["identity-vector.bin", "left-over.bin", "manifest.json"]


@pytest.mark.parametrize("kind", ["vector", "digest"])
def test_the_page_on_the_wire_format_shows_a_vector_byte_for_byte(kind: str) -> None:
    page = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {kind}: (\S+) -->\n```\n(.*?)```", page, re.DOTALL)
    assert block is not None
    shown = bytes.fromhex("".join(re.split(r" {2,}", line)[0] for line in block[2].splitlines()))
    (vector,) = (row for row in MANIFEST["payloads"] if row["name"] == block[1])
    if kind == "vector":
        assert shown == (TESTDATA / vector["file"]).read_bytes()
    else:
        assert hashlib.sha256(shown).hexdigest() == vector["digest"]
        assert vector["digest"] in page


def test_the_example_of_gap_bytes_is_what_is_written() -> None:
    positions = np.array([0, 1, 257, 513])
    raw = zstandard.decompress(encode_gaps(positions)[8:])
    assert raw.hex(" ") == "00 00 ff 00 ff 00"
    assert f"`{raw.hex(' ')}`" in (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
