"""What a Grafana query asks for: metrics, labels and label values, read by a PromQL parser (the Rust crate promql-parser)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import REPO

_VENV = Path(os.environ.get("BYPASSD_VENV", REPO / "target" / "venv"))
# Behind the system's own packages; it is not packaged in Debian.
sys.path.extend(str(place) for place in _VENV.glob("lib/python3*/site-packages"))

import promql_parser  # noqa: E402

# What Grafana puts in before it sends a query; a variable that may be "All" becomes a regular expression.
_GRAFANA = {"$__rate_interval": "1m", "$__range": "1h", "$__interval": "15s", "$instance": ".*", "$worker": ".*"}
_LABEL_VALUES = re.compile(r"label_values\((\w+)(\{.*\})?, *(\w+)\)")


@dataclass
class Use:
    """One metric of a query: the labels that are asked of it, and what must match."""

    metric: str
    matchers: list[tuple[str, str, str]]
    labels: set[str] = field(default_factory=set)

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether a sample with these labels is asked for."""
        return all(_matches(op, value, labels.get(name, "")) for name, op, value in self.matchers)


def _matches(op: str, wanted: str, found: str) -> bool:
    return {
        "Equal": found == wanted,
        "NotEqual": found != wanted,
        "Re": re.fullmatch(wanted, found) is not None,
        "NotRe": re.fullmatch(wanted, found) is None,
    }[op]


def parse(query: str) -> Any:
    """The query's tree; `ValueError` when it is no PromQL."""
    for variable, value in _GRAFANA.items():
        query = query.replace(variable, value)
    if "$" in query:
        raise ValueError(f"unknown variable in {query}")
    return promql_parser.parse(query)


def uses(query: str) -> list[Use]:
    """Every metric of a query; `ValueError` when it is no PromQL."""
    if values := _LABEL_VALUES.fullmatch(query):
        metric, matchers, label = values.groups()
        (use,) = uses(metric + (matchers or ""))
        return [Use(use.metric, use.matchers, use.labels | {label})]
    return list(_walk(parse(query), set()))


def output_labels(query: str) -> set[str] | None:
    """The labels that the result has; None when they are all those of the metric."""
    tree = parse(query)
    while isinstance(tree, promql_parser.ParenExpr | promql_parser.BinaryExpr | promql_parser.Call):
        if isinstance(tree, promql_parser.Call):
            vectors = [arg for arg in tree.args if not isinstance(arg, promql_parser.NumberLiteral)]
            tree = vectors[0]
        else:
            tree = tree.lhs if isinstance(tree, promql_parser.BinaryExpr) else tree.expr
    if not isinstance(tree, promql_parser.AggregateExpr):
        return None
    return set(tree.modifier.labels) if tree.modifier else set()


def _walk(node: Any, labels: set[str]) -> Iterator[Use]:
    if isinstance(node, promql_parser.VectorSelector):
        matchers = [(m.name, str(m.op).removeprefix("MatchOp."), m.value) for m in node.matchers.matchers]
        yield Use(node.name, matchers, labels | {name for name, _, _ in matchers})
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _walk(node.vector_selector, labels)
    elif isinstance(node, promql_parser.AggregateExpr):
        yield from _walk(node.expr, labels | set(node.modifier.labels if node.modifier else ()))
    elif isinstance(node, promql_parser.BinaryExpr):
        matching = node.modifier.matching if node.modifier else None
        both = labels | set(matching.labels if matching else ())
        yield from _walk(node.lhs, both)
        yield from _walk(node.rhs, both)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from _walk(argument, labels)
    elif hasattr(node, "expr"):
        yield from _walk(node.expr, labels)
