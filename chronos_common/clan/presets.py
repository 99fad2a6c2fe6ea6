"""Algorithms by name, so that users compare them in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from chronos_common.clan.ancestry import TopN
from chronos_common.clan.breeding import Breeding
from chronos_common.clan.config import ClanConfig, FanOutConfig, ScheduleConfig, SelectionConfig
from chronos_common.clan.mutation import Gaussian, Perturb
from chronos_common.errors import ConfigurationError


def clan_plus(**settings: Any) -> ClanConfig:
    """Clan+: fan-out, shared gradients, averaged fitness, soup, mutated clones, warm-up–stable–decay."""
    return ClanConfig(**settings)


def published(**settings: Any) -> ClanConfig:
    """Clan training as ClanTune describes it: shared gradients, then competition, then selection; nothing more."""
    plain: dict[str, Any] = {
        "compete": "always",
        "least_competitive_steps": 1,
        "averaging": 0.0,
        "fan_out": FanOutConfig(enabled=False),
        "schedule": ScheduleConfig(kind="constant"),
        "selection": SelectionConfig(soup=False),
        "breeding": Breeding(mutation=Gaussian(chance=1.0)),
    }
    return ClanConfig(**{**plain, **settings})


def pbt(**settings: Any) -> ClanConfig:
    """Population-based training by the rules of Ray Tune: quantile 0.25, resampling 0.25, ×1.2 or ×0.8."""
    plain: dict[str, Any] = {
        "share_gradients": False,
        "compete": "never",
        "averaging": 0.0,
        "fan_out": FanOutConfig(enabled=False),
        "schedule": ScheduleConfig(kind="constant"),
        "selection": SelectionConfig(soup=False),
        "breeding": Breeding(ancestry=TopN(share=0.25), mutation=Perturb()),
    }
    return ClanConfig(**{**plain, **settings})


def data_parallel_cosine(**settings: Any) -> ClanConfig:
    """A probe for the rate (the fan-out), then plain data-parallel training with a cosine schedule."""
    plain: dict[str, Any] = {
        "compete": "never",
        "averaging": 0.0,
        "schedule": ScheduleConfig(kind="cosine", floor=0.0),
        "selection": SelectionConfig(replaced=0.0, mutants="none", soup=False),
    }
    return ClanConfig(**{**plain, **settings})


PRESETS: Mapping[str, Callable[..., ClanConfig]] = MappingProxyType(
    {"clan_plus": clan_plus, "data_parallel_cosine": data_parallel_cosine, "pbt": pbt, "published": published}
)


def preset(name: str, **settings: Any) -> ClanConfig:
    """The algorithm of this name with some settings of :class:`ClanConfig` replaced.

    Raises:
        ConfigurationError: no such algorithm; the message lists those that exist.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name](**settings)
