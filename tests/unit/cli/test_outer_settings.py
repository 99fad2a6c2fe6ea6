"""The outer optimiser from options and a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_common.cli.outer_settings import outer_config, parse_level
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OuterConfig, TimescaleConfig

TOML = """
name = "adamw"
weight_decay = 0.01
learning_rate = 0.3

[[levels]]
name = "slow"
parameters = ["body.*", "embed"]

[[levels]]
name = "often"
parameters = "head"
period = 2
optimizer = {name = "sgd", momentum = 0.9}
"""


def test_nothing_is_the_default() -> None:
    assert outer_config() == OuterConfig()


def test_a_file_says_everything_and_options_go_first(tmp_path: Path) -> None:
    file = tmp_path / "outer.toml"
    file.write_text(TOML)
    slow = TimescaleConfig(name="slow", parameters=("body.*", "embed"), period=100)
    often = TimescaleConfig(
        name="often", parameters=("head",), period=2, optimizer=OuterConfig(name="sgd", momentum=0.9)
    )
    written = OuterConfig(name="adamw", weight_decay=0.01, learning_rate=0.3, levels=(slow, often))
    assert outer_config(file) == written
    found = outer_config(file, {"learning_rate": 0.5, "name": None}, ["beta1=0.5"], ["all *"])
    assert found == OuterConfig(
        name="adamw",
        weight_decay=0.01,
        learning_rate=0.5,
        beta1=0.5,
        levels=(TimescaleConfig(name="all", parameters=("*",)),),
    )


def test_a_level_in_one_line() -> None:
    assert parse_level("slow body.* 'a b' period=7") == TimescaleConfig(
        name="slow", parameters=("body.*", "a b"), period=7
    )
    assert parse_level("x * optimizer=m3 slow_period=4 target_change=0.1 reduction=mean") == TimescaleConfig(
        name="x",
        parameters=("*",),
        optimizer=OuterConfig(name="m3", slow_period=4),
        target_change=0.1,
        reduction="mean",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slow", "must be a name, patterns"),
        ("slow period=3", "must be a name, patterns"),
        ("slow 'a", "cannot be read"),
        ("slow * pereod=3", "'pereod'"),
        ("slow * period=x", "period is 'x'"),
        ("base *", "'base'"),
    ],
)
def test_a_level_that_cannot_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        outer_config(levels=[text])


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--outer-set beta4.*beta3"):
        outer_config(settings=["beta4=1"])


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ("name = ", "is not TOML"), ("nam = 1", "'nam'")]
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "outer.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        outer_config(file)
