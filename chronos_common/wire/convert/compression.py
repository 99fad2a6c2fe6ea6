"""A run's compression: ``CompressionConfig`` and its parts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from chronos_common.compression import GuardConfig, PipelineConfig, SignificanceConfig
from chronos_common.engine.compression import CompressionConfig
from chronos_common.pb.chronos.v1 import run_pb2


def compression_to_pb(config: CompressionConfig) -> run_pb2.Compression:
    """Compression as a message.

    Raises:
        ValueError: a number beyond the range of its field.
    """
    return run_pb2.Compression(
        up=config.up.name,
        down=config.down.name,
        up_options=_options_to_pb(config.up),
        down_options=_options_to_pb(config.down),
        guard=run_pb2.DensityGuard(**asdict(config.guard)),
        significance=run_pb2.Significance(**asdict(config.significance)),
        keep_versions=config.keep_versions,
    )


def compression_from_pb(message: run_pb2.Compression) -> CompressionConfig:
    """The compression in a message; what is absent takes its default.

    Raises:
        ConfigurationError: values that cannot work.
    """
    kept: dict[str, Any] = {}
    if message.HasField("keep_versions"):
        kept["keep_versions"] = message.keep_versions
    return CompressionConfig(
        up=_pipeline_from_pb(message.up, message.up_options),
        down=_pipeline_from_pb(message.down, message.down_options),
        guard=GuardConfig(**_given(message.guard)),
        significance=SignificanceConfig(**_given(message.significance)),
        **kept,
    )


def _options_to_pb(config: PipelineConfig) -> run_pb2.PipelineOptions:
    return run_pb2.PipelineOptions(
        dense_below_elements=config.dense_below_elements, index_encoding=config.index_encoding
    )


def _pipeline_from_pb(name: str, options: run_pb2.PipelineOptions) -> PipelineConfig:
    return PipelineConfig(name=name or PipelineConfig.name, **_given(options))


def _given(message: Message) -> dict[str, Any]:
    """The fields that are present; their names are those of the configuration."""
    return {field.name: value for field, value in message.ListFields()}
