"""LSTMs as the fused kernels that machines run: one for each layer and direction, forward and backward.

On meta tensors torch takes an LSTM apart into small operations, dozens for each time step. A CPU hands a layer to
oneDNN instead, a GPU to cuDNN. :class:`Fused` calls oneDNN's operator in their place; it has no meta kernels that tell
what it keeps, so they are here. Its workspace follows oneDNN's layout of a training LSTM (checked against the sizes
that it returns). GRUs and plain RNNs are left apart, as a CPU runs them; a GPU fuses them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten

FORWARD: Final = aten.mkldnn_rnn_layer
BACKWARD: Final = aten.mkldnn_rnn_layer_backward
GATES: Final = 4
LSTM: Final = 2
"""torch's number of this kind of recurrent layer."""
LINE: Final = 16
"""Floats in a cache line; oneDNN rounds rows up to it."""
ALIAS: Final = 256
"""Rows of a multiple of this many floats are a line longer, lest they fall on the same places of the cache."""
PAGE: Final = 4096


class Fused(TorchFunctionMode):
    """Runs ``torch.lstm`` on meta tensors as the operators of a fused kernel; anything else as it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Takes the place of one function."""
        given = kwargs or {}
        if func is not torch._VF.lstm or given or not _fusable(args):
            return func(*args, **given)
        return _lstm(*args)


def workspace_bytes(steps: int, batch: int, inputs: int, hidden: int) -> int:
    """What one layer and direction keeps for its backward: gates, cells and states of every step."""
    rows, states = steps * batch, 2 * (steps + 1) * batch
    parts = [rows * _row(GATES * hidden), rows * _row(hidden)]
    parts += [states * _row(max(inputs, hidden))] * 3 + [states * hidden] * 2
    return sum(-(-4 * part // PAGE) * PAGE for part in parts)


def forward(args: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """The results of :data:`FORWARD` on meta tensors: output, last state and cell, workspace."""
    inputs, state, cell, hidden = args[0], args[5], args[6], args[10]
    steps, batch = inputs.shape[:2]
    kept = workspace_bytes(steps, batch, inputs.shape[2], hidden)
    return (
        inputs.new_empty(steps, batch, hidden),
        torch.empty_like(state),
        torch.empty_like(cell),
        inputs.new_empty(kept, dtype=torch.uint8),
    )


def backward(args: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """The results of :data:`BACKWARD` on meta tensors: gradients of inputs, four weights, state and cell."""
    inputs, of_inputs, of_state = args[0], args[1], args[2]
    state, cell = args[5], args[6]
    bias = inputs.new_empty(of_inputs.shape[0])
    grown = (inputs, of_inputs, of_state)
    return (
        *(torch.empty_like(each) for each in grown),
        bias,
        bias,
        torch.empty_like(state),
        torch.empty_like(cell),
    )


def flops(inputs: torch.Tensor, hidden: int) -> float:
    """Of one pass forward; backward takes twice as many."""
    steps, batch, width = inputs.shape
    return 2.0 * steps * batch * (width + hidden) * GATES * hidden


def temporary_bytes(inputs: torch.Tensor, hidden: int, *, backward: bool) -> int:
    """What a kernel holds while it runs: weights in its own layout (twice with their gradients), gates of all steps."""
    steps, batch, width = inputs.shape
    weights = GATES * hidden * (width + hidden)
    return 4 * (weights * (2 if backward else 1) + steps * batch * GATES * hidden)


def _row(floats: int) -> int:
    rounded = -(-floats // LINE) * LINE
    return rounded + LINE if rounded % ALIAS == 0 else rounded


def _fusable(args: Sequence[Any]) -> bool:
    """Whether it is ``(input, states, weights, biases, layers, ...)``, dense, float32 on meta, without projection."""
    if len(args) != 9 or not isinstance(args[0], torch.Tensor) or args[0].dim() != 3:
        return False
    inputs, states, weights = args[0], args[1], args[2]
    each = (len(states) == 2) and states[0].shape[2] == states[1].shape[2]
    return bool(
        each and inputs.is_meta and inputs.dtype is torch.float32 and weights[0].dtype is torch.float32
    )


def _lstm(
    inputs: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    biased: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    directions, each = 1 + bidirectional, 4 if biased else 2
    hidden = states[0].shape[2]
    found = inputs.transpose(0, 1) if batch_first else inputs
    last: list[torch.Tensor] = []
    cells: list[torch.Tensor] = []
    for layer in range(layers):
        found = found.contiguous()
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            own = list(weights[place * each : (place + 1) * each])
            if not biased:
                own += [inputs.new_zeros(GATES * hidden)] * 2
            output, state, cell, _ = FORWARD(
                found, *own, states[0][place], states[1][place], direction == 1, [], LSTM, hidden, layers, True,
                bidirectional, False, train,
            )  # fmt: skip
            outputs.append(output)
            last.append(state)
            cells.append(cell)
        found = outputs[0] if directions == 1 else torch.cat(outputs, 2)
        if dropout and train and layer < layers - 1:
            found = torch.dropout(found, dropout, train)
    return found.transpose(0, 1) if batch_first else found, torch.stack(last), torch.stack(cells)
