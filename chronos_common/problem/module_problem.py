"""``ModuleProblem``: the usual supervised case, any ``nn.Module``, in about 20 lines of a user's code."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from chronos_common.errors import ConfigurationError, ProblemError
from chronos_common.problem.base import InnerProblem
from chronos_common.problem.batches import Batch, BatchSource
from chronos_common.problem.context import Context, isolated_rng
from chronos_common.problem.contract import separate
from chronos_common.problem.outer_parameter import OuterParameter, OuterValue, resolve_parameters
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

    Running statistics (batch norm) are carried as buffers; PyTorch treats them as constants, so that no
    hypergradient flows through them.

    Raises:
        ConfigurationError: a hyperparameter names no outer parameter, data are empty or unequal in
            length, or a batch size is below 1.
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
    ) -> None:
        self._module = copy.deepcopy(module)
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
        tensors = {**inner.params, **inner.buffers}
        if ctx.training:  # batch norm writes into its buffers: give it copies
            tensors |= {name: inner.buffers[name].clone() for name in self._buffer_names}
        with isolated_rng(ctx) if self._stochastic and ctx.training else nullcontext():
            outputs = functional_call(self._module, tensors, (inputs,))
        return outputs, {name: tensors[name] for name in self._buffer_names}

    def inner_loss(self, inner: InnerState, outer: Tensors, batch: Batch, ctx: Context) -> tuple[Tensor, Aux]:
        """Weighted mean of the losses, plus the regulariser."""
        outputs, buffers = self.forward(inner, batch.inputs, ctx)
        losses = self._loss(outputs, batch.targets)
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
        outputs, _ = self.forward(inner, batch.inputs, ctx)
        return self._loss(outputs, batch.targets).mean()

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
