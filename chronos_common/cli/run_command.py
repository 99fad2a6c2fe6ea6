"""`chronos run`: optimise a problem, on a coordinator that runs somewhere or on one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chronos_common.cli.compress_settings import COMPRESS_SETTINGS, CompressionRequest
from chronos_common.cli.options import (
    HERE,
    AsJson,
    ProblemPath,
    configured_coordinator,
    keyword_arguments,
)
from chronos_common.cli.outer_settings import OUTER_SETTINGS, outer_config
from chronos_common.compression import DEFAULT_DOWN, DEFAULT_UP, DEFAULT_UP_SMALL, SMALL_ELEMENTS
from chronos_common.errors import ConfigurationError
from chronos_common.outer import OPTIMIZERS, OuterConfig
from chronos_common.outer.memory import MemoryConfig
from chronos_common.versions import RoundConfig

if TYPE_CHECKING:
    from chronos_common.cli.running import RunRequest

DEFAULT_WORKERS = 2
KEY_VALUE = "KEY=VALUE"
DRY = "nowhere"
"""In place of an address: nothing is started."""
ROUND_SETTINGS = tuple(
    field.name for field in fields(RoundConfig) if field.name not in ("max_staleness", "quorum")
)


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


Problem = Annotated[str, typer.Argument(metavar="PROBLEM", help="The problem, as package.module:ClassName.")]
Config = Annotated[
    str, _option("Problem", "Arguments of the problem, a JSON object.", "--config", metavar="JSON")
]
Setting = Annotated[
    list[str] | None,
    _option("Problem", "One argument of the problem; may be repeated.", "--set", metavar=KEY_VALUE),
]
Estimator = Annotated[
    str, _option("Problem", "Hypergradient estimator: auto, implicit, unrolled, gmres, saba, ...")
]
EstimatorSetting = Annotated[
    list[str] | None,
    _option(
        "Problem",
        "One setting of the estimator, such as damping=0.1; may be repeated.",
        "--estimator-set",
        metavar=KEY_VALUE,
    ),
]
InnerSteps = Annotated[int, _option("Problem", "Inner steps for each update.", min=1)]
Seed = Annotated[int, _option("Problem", "Seed of all randomness of the run.", min=0)]
EvaluateEvery = Annotated[int, _option("Problem", "Evaluate at every so many versions; 0 is never.", min=0)]
ColdStart = Annotated[
    bool,
    _option(
        "Problem",
        "Start every inner loop from the problem's init_inner, not from the last one's end; for starting "
        "points that are outer parameters (MAML).",
        "--cold-start",
    ),
]

Versions = Annotated[
    int, _option("Outer optimiser", "Finish at this version; 0 goes on until stopped.", min=0)
]
OuterFile = Annotated[
    Path | None,
    _option(
        "Outer optimiser",
        "TOML file of the outer optimiser: name, settings, and levels as [[levels]]; the options below go first.",
        "--outer",
        metavar="FILE",
        show_default=False,
    ),
]
OuterOptimizer = Annotated[
    str | None,
    _option("Outer optimiser", f"{', '.join(OPTIMIZERS)}.", show_default=OuterConfig.name),
]
LearningRate = Annotated[
    float | None,
    _option(
        "Outer optimiser",
        "Its learning rate, in stored coordinates (log λ on a log scale).",
        show_default=str(OuterConfig.learning_rate),
    ),
]
Momentum = Annotated[
    float | None,
    _option("Outer optimiser", "Momentum of sgd and delta_momentum, in [0, 1).", show_default="0"),
]
OuterSetting = Annotated[
    list[str] | None,
    _option(
        "Outer optimiser",
        f"Another setting of it, such as beta1=0.8; may be repeated. All: {', '.join(OUTER_SETTINGS)}.",
        "--outer-set",
        metavar=KEY_VALUE,
    ),
]
Level = Annotated[
    list[str] | None,
    _option(
        "Outer optimiser",
        "Parameters that step more seldom: a name, patterns of parameters, and settings, such as 'slow body.* "
        "period=100 optimizer=sgd learning_rate=0.01'; may be repeated, the first that matches counts. All other "
        "parameters step at every version.",
        "--level",
        metavar="LEVEL",
    ),
]

CompressUp = Annotated[
    str | None,
    _option(
        "Compression",
        "Pipeline of commits: identity, int8, topk10, topk10+int8 or any other percentage. What is not sent goes "
        "with a later commit; small arrays are sent as they are. Under momentum or Adam that delay asks for a lower "
        "learning rate.",
        metavar="PIPELINE",
        show_default=f"{DEFAULT_UP}; {DEFAULT_UP_SMALL} below {SMALL_ELEMENTS:,} outer parameters",
    ),
]
CompressDown = Annotated[
    str | None,
    _option(
        "Compression",
        "Pipeline of published versions, likewise.",
        metavar="PIPELINE",
        show_default=DEFAULT_DOWN,
    ),
]
CompressSetting = Annotated[
    list[str] | None,
    _option(
        "Compression",
        "Another setting of the compression, such as down.index_encoding=block16, guard.limit=3 or, to hold "
        f"back small updates, significance.minimum=0.2 and significance.maximum=2; may be repeated. All: "
        f"{', '.join(COMPRESS_SETTINGS)}.",
        "--compress-set",
        metavar=KEY_VALUE,
    ),
]

MaxStaleness = Annotated[
    int, _option("Rounds", "Refuse commits that are further behind, in versions.", min=0)
]
Quorum = Annotated[
    int | None,
    _option("Rounds", "Distinct workers for each version.", min=1, show_default="half of the live ones"),
]

RoundSetting = Annotated[
    list[str] | None,
    _option(
        "Rounds",
        f"Another rule of the rounds, such as merge=median (of three workers or more; below, the mean), "
        f"staleness_rule=polynomial, grace_seconds=0.5 or weighting=inverse_participation; may be repeated. "
        f"All: {', '.join(ROUND_SETTINGS)}.",
        "--round-set",
        metavar=KEY_VALUE,
    ),
]

WarmStart = Annotated[
    str,
    _option(
        "Memory",
        "Begin where this run ended, if that is better here than the problem's own start; auto tries the most "
        "similar finished ones. Each costs one update on this machine.",
        "--warm-start",
        metavar="RUN|auto",
        show_default="the problem's own start",
    ),
]
WarmStartOptimizer = Annotated[
    bool,
    _option("Memory", "With --warm-start: go on with its optimiser's state too.", "--warm-start-optimizer"),
]
WithMemory = Annotated[
    bool, _option("Memory", "Remember what was measured where; `chronos memory` asks for it.", "--memory")
]
MemorySetting = Annotated[
    list[str] | None,
    _option(
        "Memory",
        f"A setting of the memory, such as max_entries=200, which turns it on; may be repeated. All: "
        f"{', '.join(field.name for field in fields(MemoryConfig))}.",
        "--memory-set",
        metavar=KEY_VALUE,
    ),
]

NewRunId = Annotated[
    str,
    _option(
        "Where",
        "Id of the run; the id of a run with the same definition goes on with it.",
        show_default="made up",
    ),
]
SomeCoordinator = Annotated[
    str | None,
    _option(
        "Where",
        "Use this coordinator and its workers. (environment: CHRONOS_CLI__COORDINATOR)",
        "--coordinator",
        metavar="HOST:PORT",
        show_default=False,
    ),
]
Local = Annotated[
    int | None,
    _option(
        "Where",
        "Start a coordinator and so many workers for this command, on this machine.",
        "--local",
        metavar="WORKERS",
        min=1,
        show_default="2, when no coordinator is given",
    ),
]
Data = Annotated[Path, _option("Where", "Directory of store and logs of a coordinator started here.")]
Report = Annotated[
    Path | None,
    _option(
        "Where",
        "At the end, write report.json and report.png here: losses, staleness, time, predicted against actual.",
        "--report",
        metavar="DIR",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    _option("Where", "Say what it would take in time, money and memory, and start nothing.", "--dry-run"),
]
Detach = Annotated[bool, _option("Where", "Create the run and return at once.", "--detach")]


def run(
    problem: Problem,
    config: Config = "",
    setting: Setting = None,
    path: ProblemPath = HERE,
    estimator: Estimator = "implicit",
    estimator_setting: EstimatorSetting = None,
    inner_steps: InnerSteps = 100,
    seed: Seed = 0,
    evaluate_every: EvaluateEvery = 1,
    cold_start: ColdStart = False,
    versions: Versions = 100,
    outer_file: OuterFile = None,
    outer_optimizer: OuterOptimizer = None,
    learning_rate: LearningRate = None,
    momentum: Momentum = None,
    outer_setting: OuterSetting = None,
    level: Level = None,
    compress_up: CompressUp = None,
    compress_down: CompressDown = None,
    compress_setting: CompressSetting = None,
    max_staleness: MaxStaleness = 2,
    quorum: Quorum = None,
    round_setting: RoundSetting = None,
    warm_start: WarmStart = "",
    warm_start_optimizer: WarmStartOptimizer = False,
    with_memory: WithMemory = False,
    memory_setting: MemorySetting = None,
    run_id: NewRunId = "",
    coordinator: SomeCoordinator = None,
    local: Local = None,
    data: Data = Path("chronos-data"),
    detach: Detach = False,
    dry_run: DryRun = False,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """Optimise the outer parameters of a problem.

    Without a coordinator, one is started here for as long as the command runs, with two workers which may
    import this problem and nothing else; runs stay in --data, and the same command with the same --run-id
    goes on with an interrupted one. Examples:

        chronos run mylab.problems:Cleaning --set noise=0.4 --versions 200
        chronos run weight_decay:WeightDecay --path examples --local 4
        chronos run mylab.problems:Cleaning --coordinator 10.0.0.1:50551
        chronos run mylab.problems:Net --outer-optimizer sgd --level 'slow body.* period=100'
    """
    address, workers = _where(local, coordinator, detach, quorum, dry_run)
    request = _request(
        problem=problem,
        config=keyword_arguments(config, setting or [], "problem"),
        paths=tuple(path),
        estimator=estimator,
        estimator_config=keyword_arguments("", estimator_setting or [], "estimator"),
        inner_steps=inner_steps,
        seed=seed,
        evaluate_every=evaluate_every,
        cold_start=cold_start,
        versions=versions,
        outer=_outer(outer_file, outer_optimizer, learning_rate, momentum, outer_setting, level),
        compression=CompressionRequest(up=compress_up, down=compress_down, settings=compress_setting or ()),
        rounds=_rounds(max_staleness, quorum, round_setting or []),
        run_id=run_id,
        warm_start=warm_start,
        warm_start_optimizer=warm_start_optimizer,
        memory=_memory(with_memory, memory_setting or []),
        report=report,
    )
    _carry_out(request, address, workers=workers, data=data, detach=detach, as_json=as_json)


def _request(**asked: Any) -> RunRequest:
    from chronos_common.cli.running import RunRequest

    return RunRequest(**asked)


def _carry_out(
    request: RunRequest, address: str | None, *, workers: int, data: Path, detach: bool, as_json: bool
) -> None:
    from chronos_common.cli.running import run_dry, run_local, run_remote

    if request.report is not None and (detach or address == DRY):
        raise ConfigurationError(
            "--report is of a run that is followed to its end: leave --detach and --dry-run"
        )
    if address == DRY:
        run_dry(request, workers=workers, as_json=as_json)
    elif address is None:
        run_local(request, workers=workers, data=data, as_json=as_json)
    else:
        run_remote(request, address, detach=detach, as_json=as_json)


def _where(
    local: int | None, coordinator: str | None, detach: bool, quorum: int | None, dry_run: bool
) -> tuple[str | None, int]:
    """Address of the coordinator, ``None`` for one of its own, and how many workers that starts."""
    address = None if local is not None and coordinator is None else configured_coordinator(coordinator)
    if local is not None and address is not None:
        raise ConfigurationError("--local starts a coordinator, --coordinator names one: give one of them")
    if detach and address is None:
        raise ConfigurationError("--detach needs --coordinator: one started here ends with the command")
    workers = local or DEFAULT_WORKERS
    _require_reachable(quorum, workers if address is None else None)
    return DRY if dry_run else address, workers


def _outer(
    file: Path | None,
    name: str | None,
    learning_rate: float | None,
    momentum: float | None,
    settings: Sequence[str] | None,
    levels: Sequence[str] | None,
) -> OuterConfig:
    chosen = {"name": name, "learning_rate": learning_rate, "momentum": momentum}
    return outer_config(file, chosen, settings or (), levels or ())


def _memory(wanted: bool, settings: Sequence[str]) -> MemoryConfig | None:
    given = keyword_arguments("", settings, "memory")
    unknown = given.keys() - {field.name for field in fields(MemoryConfig)}
    if unknown:
        raise ConfigurationError(f"--memory-set {min(unknown)}: there is no such setting of a memory")
    return MemoryConfig(**given) if wanted or given else None


def _require_reachable(quorum: int | None, workers: int | None) -> None:
    if workers is not None and quorum is not None and quorum > workers:
        raise ConfigurationError(
            f"--quorum is {quorum}, and {workers} workers are started here (--local): no version could ever have it"
        )


def _rounds(max_staleness: int, quorum: int | None, settings: Sequence[str]) -> RoundConfig:
    given = keyword_arguments("", settings, "rounds")
    unknown = given.keys() - set(ROUND_SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"--round-set {min(unknown)}: there is no such rule; there are {', '.join(ROUND_SETTINGS)}"
        )
    room = {"max_in_flight": max(RoundConfig.max_in_flight, max_staleness + 1)}
    return RoundConfig(max_staleness=max_staleness, quorum=quorum, **{**room, **given})
