"""The page of protocols, controls, step rules and studies."""

from __future__ import annotations

import inspect

from site_pages.markdown import bullets, prose, table
from ttt_bench.config.request import Request
from ttt_bench.designs.declared_studies import STUDIES, declared
from ttt_bench.protocols import PROTOCOLS, Protocol
from ttt_bench.stats.step_rules.registry import STEP_RULES

_TEXT = """\
# Protocols, step rules and studies

## Protocols

`--protocol` names the protocol of a run. Rows and manifests store it.

{protocols}

## Controls

{controls}

## Step rules

A step rule chooses the step whose scores a table shows. [Step rules](../step-rules.md) describes
them and how to add one.

{rules}

## Studies

`ttt-bench study NAME` runs the cells of a study. [Studies](../studies.md) describes their files.

{studies}
"""


def page() -> str:
    """Return the page in Markdown."""
    rules = [STEP_RULES.load(name) for name in STEP_RULES.names()]
    rule_rows = [
        {
            "name": rule.name,
            "chooses": rule.detail,
            "needs": rule.needs or "nothing",
            "labels": "yes" if rule.uses_labels else "no",
        }
        for rule in rules
    ]
    studies = [{"name": name, "title": declared(name).title} for name in STUDIES]
    return _TEXT.format(
        protocols="\n".join(map(_protocol, PROTOCOLS.values())),
        controls=prose(str(Request.model_fields["control"].description)),
        rules=table(rule_rows, ("name", "chooses", "needs", "labels"), code="name"),
        studies=table(studies, ("name", "title"), code="name"),
    )


def _protocol(protocol: Protocol) -> str:
    facts = (
        protocol.step_zero,
        "the images of a batch depend on each other"
        if protocol.batches_depend
        else "images are scored independently",
        "several processes can share the batches of a cell (`--shards`)"
        if protocol.independent_batches
        else "one process computes a cell",
    )
    return f"### `{protocol.name}`\n\n{prose(inspect.getdoc(type(protocol)) or '')}\n\n" + bullets(
        facts
    )
