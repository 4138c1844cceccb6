"""The script that attacks a gateway measures, and marks the attacks that exceed a limit."""

import json

from graphql import parse, validate

from benchmarks import attacks
from benchmarks.attacks import ATTACKS, Outcome
from schema import schema


def test_documents_are_valid() -> None:
    """An attack with an invalid document would measure only its validation."""
    bodies = [attack.request("").partition(b"\r\n\r\n")[2] for attack in ATTACKS.values()]
    documents = [json.loads(body)["query"] for body in bodies if len(body) > 1]
    assert len(documents) == len(ATTACKS) - 2
    assert [validate(schema._schema, parse(document)) for document in documents] == [[]] * len(documents)


def test_attack_runs_against_a_real_gateway() -> None:
    outcome = attacks.measure("large-responses", 1)
    assert outcome.megabytes > 50
    assert len(outcome.delays) >= 5
    assert outcome.failures == 0


def test_outcome_beyond_a_limit_is_marked() -> None:
    outcomes = [
        Outcome("good", 249.0, [1.0, 2.0, 3.0], 0),
        Outcome("memory", 251.0, [1.0], 0),
        Outcome("slow", 100.0, [1001.0], 0),
        Outcome("failing", 100.0, [1.0], 1),
    ]
    assert [line.endswith("exceeds a limit") for line in attacks.table(outcomes)] == [False, False, True, True, True]
