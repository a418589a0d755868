"""Every rule that a QDQ graph must keep for TensorRT, checked without TensorRT."""

from itertools import groupby

import onnx

from edgekd.backends.tensorrt import layer_rules, quantizer_rules
from edgekd.backends.tensorrt.finding import Finding
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph

RULES = (*quantizer_rules.RULES, *layer_rules.RULES)
NAMED = 4


def lint(model: onnx.ModelProto) -> list[Finding]:
    """All findings in a graph, rule by rule; an empty list is a graph that TensorRT runs in int8 throughout."""
    graph = Graph(model)
    return [finding for rule in RULES for finding in rule(graph)]


def notes_or_raise(findings: list[Finding]) -> tuple[str, ...]:
    """The tolerable findings as notes; raise BadInputError naming the nodes of every fatal one."""
    fatal = [finding for finding in findings if finding.fatal]
    if fatal:
        rules = (_summary(rule, list(group)) for rule, group in groupby(fatal, lambda finding: finding.rule))
        raise BadInputError(f"not a graph for TensorRT: {'; '.join(rules)}")
    return tuple(f"{finding.node}: {finding.message}" for finding in findings)


def _summary(rule: str, findings: list[Finding]) -> str:
    names = ", ".join(finding.node for finding in findings[:NAMED])
    more = f" and {len(findings) - NAMED} more" if len(findings) > NAMED else ""
    return f"{rule} at {names}{more} ({findings[0].message})"
