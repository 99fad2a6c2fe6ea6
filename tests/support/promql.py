"""Which labels a PromQL expression can have, worked out from the declared series.

Every selector must name a series that exists, with labels that it has; every ``by``, ``on`` and the like, labels that
its operand has; and the two sides of an operator must be able to match at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import promql_parser as promql

from chronos_common.metrics import COORDINATOR_SERIES, PROCESS_SERIES, WORKER_SERIES

Labels = frozenset[str]
Series = Mapping[str, Labels]

TARGET: Final = frozenset({"job", "instance"})
"""What Prometheus adds to all that it scrapes."""

_FROM_PROMETHEUS: Final = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}
_GROUPED: Final = (promql.VectorMatchCardinality.ManyToOne, promql.VectorMatchCardinality.OneToMany)
_SETS: Final = ("and", "or", "unless")


class UnknownNameError(AssertionError):
    """A query names what nobody exports."""


def declared() -> dict[str, Labels]:
    """Every series that a scrape of the services can bring, by the name that Prometheus stores, with its labels."""
    found: dict[str, Labels] = dict(_FROM_PROMETHEUS)
    for series in (*COORDINATOR_SERIES, *WORKER_SERIES, *PROCESS_SERIES):
        labels = frozenset(series.labels) | TARGET
        if series.kind == "histogram":
            found |= {f"{series.name}_{suffix}": labels for suffix in ("sum", "count")}
            found[f"{series.name}_bucket"] = labels | {"le"}
        else:
            found[series.name] = labels
    return found


def parse(text: str) -> promql.Expr:
    """The expression; Grafana's variables stand for what they will be.

    Raises:
        ValueError: it is no PromQL.
    """
    return promql.parse(text.replace("$__rate_interval", "1m").replace("$__range", "1h"))


def selected(expression: promql.Expr) -> list[promql.VectorSelector]:
    """Every selector in an expression."""
    match expression:
        case promql.VectorSelector():
            return [expression]
        case promql.MatrixSelector():
            return [expression.vector_selector]
        case promql.BinaryExpr():
            return selected(expression.lhs) + selected(expression.rhs)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return selected(expression.expr)
        case promql.Call():
            return [selector for argument in expression.args for selector in selected(argument)]
        case _:
            return []


def labels_of(expression: promql.Expr, known: Series) -> Labels | None:
    """Labels that the result may have; ``None`` for a scalar or a text.

    Raises:
        UnknownNameError: a series or a label does not exist, or two sides can never match.
    """
    match expression:
        case promql.VectorSelector():
            return _of_selector(expression, known)
        case promql.MatrixSelector():
            return _of_selector(expression.vector_selector, known)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels_of(expression.expr, known)
        case promql.AggregateExpr():
            return _of_aggregate(expression, known)
        case promql.Call():
            return _of_call(expression, known)
        case promql.BinaryExpr():
            return _of_operator(expression, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
    raise UnknownNameError(f"an expression of a kind that nobody checks: {expression.prettify()}")


def _of_selector(selector: promql.VectorSelector, known: Series) -> Labels:
    if selector.name is None or selector.name not in known:
        raise UnknownNameError(f"nobody exports or records {selector.name}")
    labels = known[selector.name]
    _require({matcher.name for matcher in selector.matchers.matchers}, labels, selector)
    return labels


def _of_aggregate(aggregate: promql.AggregateExpr, known: Series) -> Labels:
    inner = labels_of(aggregate.expr, known) or frozenset()
    if aggregate.modifier is None:
        return frozenset()
    named = frozenset(aggregate.modifier.labels)
    _require(named, inner, aggregate)
    return named if aggregate.modifier.type == promql.AggModifierType.By else inner - named


def _of_call(call: promql.Call, known: Series) -> Labels | None:
    found = [labels_of(argument, known) for argument in call.args]
    labels = next((labels for labels in found if labels is not None), None)
    if call.func.name == "histogram_quantile":
        _require({"le"}, labels or frozenset(), call)
        return (labels or frozenset()) - {"le"}
    if call.func.name == "absent":
        inner = call.args[0]
        equal = inner.matchers.matchers if isinstance(inner, promql.VectorSelector) else []
        return frozenset(m.name for m in equal if m.op == promql.MatchOp.Equal)
    return frozenset() if call.func.name == "vector" else labels


def _of_operator(operator: promql.BinaryExpr, known: Series) -> Labels | None:
    left, right = labels_of(operator.lhs, known), labels_of(operator.rhs, known)
    if left is None or right is None:
        return right if left is None else left
    modifier = operator.modifier
    matching = None if modifier is None else modifier.matching
    named = frozenset(matching.labels) if matching is not None else frozenset()
    if matching is not None:
        _require(named, left, operator)
        _require(named, right, operator)
    if str(operator.op).strip() == "or":
        return left | right
    on = matching is not None and matching.type == promql.LabelModifierType.Include
    card = None if modifier is None else modifier.card
    grouped = card in _GROUPED
    if not on and not grouped and left - named != right - named:
        sides = f"{sorted(left - named)} and {sorted(right - named)}"
        raise UnknownNameError(f"labels {sides} never match: {operator.prettify()}")
    if card == promql.VectorMatchCardinality.OneToMany:
        return right
    return named if on and not grouped and str(operator.op).strip() not in _SETS else left


def _require(named: set[str] | Labels, labels: Labels, where: promql.Expr) -> None:
    unknown = named - labels
    if unknown:
        raise UnknownNameError(f"there is no label {sorted(unknown)} in {where.prettify()}: {sorted(labels)}")
