"""What a clan does in a round: every part of the algorithm with its switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from chronos_common.clan.breeding import Breeding, breeding_from_json
from chronos_common.clan.ranges import require_between
from chronos_common.errors import ConfigurationError
from chronos_common.runtime import require_kinds

SCHEDULES: Final = ("constant", "cosine", "wsd")
COMPETITIONS: Final = ("always", "never", "specialised")
MUTANTS: Final = ("all", "clones", "none")

MAX_MEMBERS: Final = 4096


@dataclass(frozen=True, kw_only=True)
class FanOutConfig:
    """Round 0: independent members with rates lr·10^linspace(−decades, decades, P); all clone the winner.

    Attributes:
        enabled: whether it takes place.
        share: its length as a share of ``total_steps``; where that is open, it lasts one round.
        decades: half of the range.
        repeats: how often it may take place again, around the winner, when the winner stands at an end of the range.
        restart: a repetition begins with the weights that the first began with, else with the winner's.
    """

    enabled: bool = True
    share: float = 0.05
    decades: float = 1.5
    repeats: int = 1
    restart: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("fan_out.share", self.share, 1e-6, 1.0)
        require_between("fan_out.decades", self.decades, 1e-3, 10.0)
        require_between("fan_out.repeats", self.repeats, 0, 10)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The factor s(t) that all members' rates share; t counts from the end of the fan-out.

    Attributes:
        kind: ``wsd``: warm-up, stable, linear decay; ``cosine``: warm-up, half a cosine; ``constant``: 1.
        warm_up: share of the steps in which the factor rises linearly to 1.
        decay: share of the steps, the last, in which ``wsd`` falls. Without ``total_steps`` it falls with the inverse
            square root of the time from the beginning, unless this is 0.
        floor: the factor at the end.
    """

    kind: Literal["constant", "cosine", "wsd"] = "wsd"
    warm_up: float = 0.02
    decay: float = 0.35
    floor: float = 0.02

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.kind not in SCHEDULES:
            raise ConfigurationError(
                f"schedule.kind is {self.kind!r}; it must be one of {', '.join(SCHEDULES)}"
            )
        require_between("schedule.warm_up", self.warm_up, 0.0, 1.0)
        require_between("schedule.decay", self.decay, 0.0, 1.0)
        require_between("schedule.floor", self.floor, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What happens between rounds.

    Attributes:
        replaced: share of the living, the worst, in whose place children of the population stand.
        mutants: whose genes mutate: the ``clones``' that took a place, ``all`` members', or ``none``.
        soup: whether all take the mean of the best members' weights.
        soup_share: share of the living that the mean is of, at least one.
    """

    replaced: float = 0.25
    mutants: Literal["all", "clones", "none"] = "clones"
    soup: bool = True
    soup_share: float = 0.5

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("selection.replaced", self.replaced, 0.0, 1.0)
        require_between("selection.soup_share", self.soup_share, 0.0, 1.0)
        if self.mutants not in MUTANTS:
            raise ConfigurationError(
                f"selection.mutants is {self.mutants!r}; it must be one of {', '.join(MUTANTS)}"
            )


@dataclass(frozen=True, kw_only=True)
class ClanConfig:
    """A clan's algorithm; the defaults are Clan+.

    Attributes:
        population_size: members.
        round_length: steps of a round, the competitive ones included.
        total_steps: of the training; ``None`` leaves the end open.
        share_gradients: members step with the mean gradient of the living; else each with its own (and the
            genes are expressed all the time).
        average_every: 1: cooperating members step with their mean gradient. More: each steps with its own, and after
            so many steps, and at the end of the phase, all take the mean of their weights. That exchanges less, and
            the noise of small batches helps where training labels are wrong.
        duty_cycle: share of a round, its end, in which members compete: common data, no sharing, all genes expressed.
        compete: ``specialised``: only when a specialised gene is declared; ``always``; ``never``.
        least_competitive_steps: a competition that takes place has at least so many steps (bounded by the round).
        averaging: decay of the moving average of a member's weights that its fitness is measured on; 0 measures
            the weights themselves.
        rate_gene: the gene that the fan-out spreads and the schedule multiplies.
    """

    population_size: int = 8
    round_length: int = 1000
    total_steps: int | None = None
    share_gradients: bool = True
    average_every: int = 1
    duty_cycle: float = 0.15
    compete: Literal["always", "never", "specialised"] = "specialised"
    least_competitive_steps: int = 20
    averaging: float = 0.98
    rate_gene: str = "lr"
    fan_out: FanOutConfig = field(default_factory=FanOutConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    breeding: Breeding = field(default_factory=Breeding)

    def __post_init__(self) -> None:
        require_kinds(self)
        require_between("population_size", self.population_size, 1, MAX_MEMBERS)
        require_between("round_length", self.round_length, 1, 2**40)
        require_between("average_every", self.average_every, 1, 2**40)
        require_between("duty_cycle", self.duty_cycle, 0.0, 1.0)
        require_between("averaging", self.averaging, 0.0, 0.999999)
        require_between("least_competitive_steps", self.least_competitive_steps, 0, 2**40)
        if self.total_steps is not None:
            require_between("total_steps", self.total_steps, 1, 2**48)
        if self.compete not in COMPETITIONS:
            raise ConfigurationError(
                f"compete is {self.compete!r}; it must be one of {', '.join(COMPETITIONS)}"
            )
        if self.schedule.kind == "cosine" and self.total_steps is None:
            raise ConfigurationError(
                "a cosine schedule needs to know its end: set total_steps, or choose 'wsd'"
            )
        if self.selection.replaced > 0.0 or self.selection.mutants == "all":
            self.breeding.require_population(self.population_size)

    @property
    def fan_out_steps(self) -> int:
        """Steps of one fan-out."""
        if self.total_steps is None:
            return self.round_length
        return max(1, round(self.fan_out.share * self.total_steps))

    def to_json(self) -> dict[str, Any]:
        """Plain values for :func:`config_from_json`."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("fan_out", "schedule", "selection"):
            parts[name] = asdict(parts[name])
        return {**parts, "breeding": self.breeding.to_json()}


def config_from_json(parts: Mapping[str, Any]) -> ClanConfig:
    """Inverse of :meth:`ClanConfig.to_json`."""
    return ClanConfig(
        **{
            **parts,
            "fan_out": FanOutConfig(**parts["fan_out"]),
            "schedule": ScheduleConfig(**parts["schedule"]),
            "selection": SelectionConfig(**parts["selection"]),
            "breeding": breeding_from_json(parts["breeding"]),
        }
    )
