"""docs/deploy.md speaks of files, objects, commands and options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from chronos_common.cli.main import app
from tests.support.manifests import K8S, ROOT, TARGETS, VARIABLES, render, validate

pytestmark = pytest.mark.deploy

GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Every command line, continuation lines joined, comments and redirections left out."""
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(
                line.partition(" > ")[0].partition(" | ")[0].partition(" && ")[0], comments=True
            )
            if words:
                yield words


def test_paths_exist() -> None:
    named = set(re.findall(r"deploy/k8s[\w./-]*", GUIDE))
    assert len(named) >= 8
    for path in named:
        assert (ROOT / path.rstrip("./")).exists(), path
    for path in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert path.startswith("https://") or (ROOT / "docs" / path).exists(), path


def test_every_overlay_and_component_is_told_of() -> None:
    table = GUIDE[: GUIDE.index("## 1.")]
    for folder in (*(K8S / "components").iterdir(), *(K8S / "overlays").iterdir()):
        assert re.search(rf"\b{folder.name}`", table), folder.name


def test_what_is_applied_can_be_rendered() -> None:
    applied = [words[words.index("-k") + 1] for words in commands() if "-k" in words]
    applied += [words[2] for words in commands() if words[:2] == ["kubectl", "kustomize"]]
    assert len(applied) >= 4
    assert {path.removeprefix("deploy/k8s/") for path in applied} <= set(TARGETS)


def test_objects_exist() -> None:
    kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service"}
    example = render("overlays/example")
    named = [
        match for words in commands() for word in words for match in re.findall(r"^(\w+)/([\w-]+)$", word)
    ]
    assert len(named) >= 12
    claims = [
        f"{claim['metadata']['name']}-{owner['metadata']['name']}-0"
        for owner in example.all("StatefulSet")
        for claim in owner["spec"]["volumeClaimTemplates"]
    ]
    for kind, name in named:
        if kind in kinds:
            assert example.get(kinds[kind], name)
        elif kind == "pvc":
            assert name in claims
        elif kind == "pod":
            assert name.removesuffix("-0") in [
                owner["metadata"]["name"] for owner in example.all("StatefulSet")
            ]


def test_our_own_commands_parse() -> None:
    group: Any = typer.main.get_command(app)
    inside = [words[words.index("--") + 1 :] for words in commands() if "--" in words]
    spoken = [words[1:] for words in inside if words[0] == "chronos"]
    assert {words[0] for words in spoken} >= {"run", "watch", "show", "verify", "export"}
    for name, *arguments in spoken:
        group.commands[name].make_context(name, arguments)


def test_manifests_in_the_text_fit_kubernetes(tmp_path: Path) -> None:
    objects = [found for block in blocks("yaml") for found in yaml.safe_load_all(block)]
    kinds = [found["kind"] for found in objects]
    assert kinds == ["NetworkPolicy", "VolumeSnapshot", "PersistentVolumeClaim"]
    known = [found for found in objects if found["kind"] != "VolumeSnapshot"]
    (tmp_path / "guide.yaml").write_text(yaml.safe_dump_all(known))
    done = validate("1.34", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    restored, snapshot = objects[2], objects[1]
    assert restored["spec"]["dataSource"]["name"] == snapshot["metadata"]["name"]
    (owner,) = render("base").all("StatefulSet")
    (claim,) = owner["spec"]["volumeClaimTemplates"]
    assert restored["spec"]["resources"] == claim["spec"]["resources"]
    assert restored["metadata"]["name"] == snapshot["spec"]["source"]["persistentVolumeClaimName"]


def test_settings_in_the_text_exist() -> None:
    assert set(re.findall(r"\bCHRONOS_[A-Z]+__[A-Z_]+\b", GUIDE)) - {"CHRONOS_SECTION__FIELD"} <= VARIABLES
