"""``ModuleProblem``: the usual supervised case, any ``nn.Module``, in about 20 lines of a user's code."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.problem.base import InnerProblem
from chronos_common.problem.batches import Batch, BatchSource
from chronos_common.problem.context import Context, isolated_rng
from chronos_common.problem.contract import separate
from chronos_common.problem.micro_batches import per_sample
from chronos_common.problem.outer_parameter import OuterParameter, OuterValue, resolve_parameters
from chronos_common.problem.precision import Precision
from chronos_common.problem.state import Aux, InnerState, Tensors

Hyperparameter = float | str
"""A number, or the name of the outer parameter that holds it."""


class ModuleProblem(InnerProblem):
    """Train a module on one data set so that its loss on another one is small.

    Args:
        module: any ``nn.Module``; its present parameters and buffers are where every cold inner loop
            starts. It is copied and never written to. Parameters with ``requires_grad=False`` stay fixed.
        train, validation: ``(inputs, targets)`` tensors, or map-style datasets of such pairs.
        outer: the outer parameters, name to :class:`OuterParameter`, float or tensor.
        loss: ``loss(outputs, targets)`` giving one number or one per sample; if it has a ``reduction``
            argument (as all of ``torch.nn.functional`` do) it is called with ``reduction="none"``.
            Losses of several numbers per sample are averaged within the sample.
        sample_weights: ``(outer, positions) -> (n,)``, weights of the training samples at ``positions``.
            The inner loss is ``mean(weight * loss)``: it is not divided by the sum of the weights.
        regulariser: ``(params, outer) -> 0-d tensor``, added to the inner loss.
        initialise: ``(params, outer) -> params``: a start that depends on λ (a meta-initialisation).
        learning_rate, momentum: numbers, or names of 0-d outer parameters. The update is heavy-ball SGD,
            v <- momentum * v + g, θ <- θ - learning_rate * v.
        batch_size, validation_batch_size: None takes all data at every step.
        shard_train, shard_validation: let each worker of a distributed run see only its part.
        test: data for :meth:`evaluate`, beside the validation data.
        stochastic: whether the module draws random numbers while training. None looks for dropout
            layers; say True when ``forward`` itself calls ``F.dropout`` or ``torch.rand``.
        precision: "bfloat16" or "float16" runs the module under autocast in both losses; θ, its gradients, the losses,
            all sums and all linear solves stay in float32. See :class:`~chronos_common.problem.precision.Precision`.
        micro_batch_size: gradient accumulation: every batch of both losses goes through the module in pieces of so
            many samples, whose intermediate results are made again when a derivative is taken, so that one
            piece's are alive at a time. The loss, its gradient and its Hessian products are those of the whole batch;
            only dropout draws other masks. Costs one more forward pass for each derivative. (The graph of a
            retained *gradient*, which Hessian products go through, is that of the whole batch.)
        running_statistics: "update" lets batch norm use its batch's statistics and average them into its buffers,
            at each inner step once; "freeze" keeps its layers in evaluation mode, with the module's own statistics.

    Randomness is that of the step: a step that is run again has the same dropout masks. ``outer_loss`` and ``evaluate``
    are in evaluation mode. A layer that is in evaluation mode in a module that is not stays there.

    Buffers are carried from step to step and are no inner parameters; steps that estimators run again begin from the
    buffers of the time, and what they make of them is dropped. PyTorch treats running statistics as constants, so that
    no hypergradient flows through them.

    Raises:
        ConfigurationError: a hyperparameter names no outer parameter, data are empty or unequal in
            length, a batch size is below 1, or settings that do not go together.
    """

    def __init__(
        self,
        module: nn.Module,
        train: Any,
        validation: Any,
        *,
        outer: Mapping[str, OuterParameter | OuterValue],
        loss: Callable[..., Tensor] = functional.cross_entropy,
        sample_weights: Callable[[Tensors, Tensor], Tensor] | None = None,
        regulariser: Callable[[Tensors, Tensors], Tensor] | None = None,
        initialise: Callable[[Tensors, Tensors], Tensors] | None = None,
        learning_rate: Hyperparameter = 0.1,
        momentum: Hyperparameter = 0.0,
        batch_size: int | None = None,
        validation_batch_size: int | None = None,
        shard_train: bool = False,
        shard_validation: bool = True,
        test: Any = None,
        stochastic: bool | None = None,
        precision: str | None = None,
        micro_batch_size: int | None = None,
        running_statistics: str = "update",
    ) -> None:
        self._module = copy.deepcopy(module)
        self._precision = Precision(precision)
        self._precision.require_effect(module)
        self._resting = _resting(self._module, freeze=_freezes(running_statistics))
        self._micro_batch_size = micro_batch_size
        _require_pieces(self._module, self._resting, micro_batch_size)
        self._buffer_names = [name for name, _ in module.named_buffers()]
        self._outer = resolve_parameters(outer)
        self._train = BatchSource(train, batch_size, shard_train)
        self._validation = BatchSource(validation, validation_batch_size, shard_validation)
        self._evaluation = {"validation": BatchSource(validation)}
        if test is not None:
            self._evaluation["test"] = BatchSource(test)
        self._loss = _per_sample(loss)
        self._sample_weights = sample_weights
        self._regulariser = regulariser
        self._initialise = initialise
        self._learning_rate = self._checked("learning_rate", learning_rate)
        self._momentum = self._checked("momentum", momentum)
        self._stochastic = draws_random_numbers(module) if stochastic is None else stochastic

    def _checked(self, what: str, value: Hyperparameter) -> Hyperparameter:
        if isinstance(value, str) and value not in self._outer:
            raise ConfigurationError(
                f"{what}='{value}' names no outer parameter; there are {sorted(self._outer)}"
            )
        return value

    def outer_parameters(self) -> dict[str, OuterParameter]:
        """Those given as ``outer``."""
        return dict(self._outer)

    def init_inner(self, outer: Tensors, ctx: Context) -> InnerState:
        """Copies of the module's tensors, through ``initialise``."""
        weights = {k: v.detach().to(ctx.device, copy=True) for k, v in self._module.named_parameters()}
        buffers = {k: v.detach().to(ctx.device, copy=True) for k, v in self._module.named_buffers()}
        frozen = {k for k, v in self._module.named_parameters() if not v.requires_grad}
        buffers |= {k: weights.pop(k) for k in frozen}
        params: Tensors = weights
        if self._initialise is not None:
            params = dict(self._initialise(params, outer))
        velocity = {} if self._momentum == 0.0 else {k: torch.zeros_like(v) for k, v in params.items()}
        return InnerState(params, buffers, velocity)

    def inner_batch(self, step: int, ctx: Context) -> Batch:
        """The training batch of ``step``."""
        return self._train.at(step, ctx)

    def outer_batch(self, step: int, ctx: Context) -> Batch:
        """The validation batch after ``step`` inner steps."""
        return self._validation.at(step, ctx)

    def forward(self, inner: InnerState, inputs: Any, ctx: Context) -> tuple[Tensor, Tensors]:
        """The module's outputs at ``inner``, and its buffers after the call (``inner`` is not changed)."""
        if self._module.training != ctx.training:
            self._module.train(ctx.training)
        for layer in self._resting:
            layer.eval()
        tensors = {**inner.params, **inner.buffers}
        if ctx.training:  # batch norm writes into its buffers: give it copies
            tensors |= {name: inner.buffers[name].clone() for name in self._buffer_names}
        rng = isolated_rng(ctx) if self._stochastic and ctx.training else nullcontext()
        with rng, self._precision.autocast(ctx.device):
            outputs = functional_call(self._module, tensors, (inputs,))
        return self._precision.leaving(outputs), {name: tensors[name] for name in self._buffer_names}

    def _losses(self, inner: InnerState, batch: Batch, ctx: Context) -> tuple[Tensor, Tensors]:
        """Of every sample, and the buffers after the batch."""

        def piece(part: Batch, buffers: Tensors, number: int) -> tuple[Tensor, Tensors]:
            here = ctx.at(stream=f"{ctx.stream}/{number}") if number else ctx
            state = InnerState(inner.params, {**inner.buffers, **buffers})
            outputs, after = self.forward(state, part.inputs, here)
            losses = self._loss(outputs, part.targets)
            if pieces and losses.shape != part.positions.shape:
                raise ProblemError(
                    f"micro_batch_size needs a loss of one number per sample, and this one gives shape "
                    f"{tuple(losses.shape)} for {len(part.positions)} samples; leave out its reduction"
                )
            return losses, after

        pieces = self._micro_batch_size is not None
        return per_sample(batch, self._micro_batch_size, inner.buffers, piece)

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> tuple[Tensor, Aux]:
        """Weighted mean of the losses, plus the regulariser."""
        losses, buffers = self._losses(inner, batch, ctx)
        if self._sample_weights is not None:
            weights = self._sample_weights(outer, batch.positions)
            if losses.shape != weights.shape:
                raise ProblemError(
                    f"sample_weights gave shape {tuple(weights.shape)} for per-sample losses of shape "
                    f"{tuple(losses.shape)}; they need one number per sample"
                )
            losses = weights * losses
        loss = losses.mean()
        if self._regulariser is not None:
            loss = loss + self._regulariser(inner.params, outer)
        return loss, Aux(buffers=buffers)

    def outer_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> Tensor:
        """Mean of the losses."""
        return self._losses(inner, batch, ctx)[0].mean()

    @separate
    def inner_update(self, inner: InnerState, grads: Tensors, outer: Tensors, ctx: Context) -> InnerState:
        """One step of heavy-ball SGD."""
        rate, momentum = _value(self._learning_rate, outer), _value(self._momentum, outer)
        velocity = {k: momentum * v + grads[k] for k, v in inner.opt_state.items()}
        direction = velocity or grads
        params = {k: v - rate * direction[k] for k, v in inner.params.items()}
        return InnerState(params, inner.buffers, velocity)

    def evaluate(self, inner: InnerState | None, outer: Tensors, ctx: Context) -> dict[str, float]:
        """``<set>_loss`` on all validation and test data, and ``<set>_accuracy`` if targets are classes."""
        if inner is None:
            raise ProblemError("ModuleProblem.evaluate needs a solved inner state; call solve() first")
        figures: dict[str, float] = {}
        ctx = ctx.at(training=False)
        with torch.no_grad():
            for name, source in self._evaluation.items():
                batch = source.at(0, ctx)
                outputs, _ = self.forward(inner, batch.inputs, ctx)
                figures[f"{name}_loss"] = float(self._loss(outputs, batch.targets).mean())
                if not batch.targets.is_floating_point() and outputs.dim() == batch.targets.dim() + 1:
                    correct = outputs.argmax(dim=1) == batch.targets
                    figures[f"{name}_accuracy"] = float(correct.double().mean())
        return figures


def _freezes(running_statistics: str) -> bool:
    if running_statistics not in ("update", "freeze"):
        raise ConfigurationError(
            f"running_statistics is {running_statistics!r}; it must be 'update' or 'freeze'"
        )
    return running_statistics == "freeze"


def _resting(module: nn.Module, *, freeze: bool) -> list[nn.Module]:
    """Layers that are in evaluation mode while the others train."""
    return [
        layer
        for layer in module.modules()
        if (module.training and not layer.training) or (freeze and isinstance(layer, _BatchNorm))
    ]


def _require_pieces(module: nn.Module, resting: Sequence[nn.Module], size: int | None) -> None:
    if size is None:
        return
    if size < 1:
        raise ConfigurationError(f"micro_batch_size must be at least 1 or None, not {size}")
    for name, layer in module.named_modules():
        mixes = isinstance(layer, _BatchNorm) and (layer not in resting or layer.running_mean is None)
        if mixes:
            raise ConfigurationError(
                f"layer '{name}' normalises over the batch, so that its micro-batches do not add up to it; set "
                "running_statistics='freeze', use group norm, or leave micro_batch_size out"
            )


def draws_random_numbers(module: nn.Module) -> bool:
    """Whether a layer of ``module`` is known to use the global generators while training."""
    for layer in module.modules():
        if isinstance(layer, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
            return True
        # Dropout layers have `p`; recurrent and attention layers have `dropout` as a number.
        rate = getattr(layer, "p" if isinstance(layer, nn.modules.dropout._DropoutNd) else "dropout", 0.0)
        if isinstance(rate, int | float) and rate > 0:
            return True
    return False


def _value(hyperparameter: Hyperparameter, outer: Tensors) -> float | Tensor:
    return outer[hyperparameter] if isinstance(hyperparameter, str) else hyperparameter


def _per_sample(loss: Callable[..., Tensor]) -> Callable[[Any, Any], Tensor]:
    reducible = "reduction" in inspect.signature(loss).parameters

    def losses(outputs: Any, targets: Any) -> Tensor:
        value = loss(outputs, targets, reduction="none") if reducible else loss(outputs, targets)
        return value.flatten(1).mean(dim=1) if value.dim() > 1 else value

    return losses
