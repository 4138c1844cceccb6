"""The script that attacks a gateway measures, and marks the attacks that exceed a limit."""

import json

import pytest
from graphql import parse, validate

from benchmarks import attacks
from benchmarks.attacks import ATTACKS, Outcome
from schema import schema
from tests.databases import Server


def test_documents_are_valid() -> None:
    """An attack with an invalid document would measure only its validation."""
    bodies = [attack.request("").partition(b"\r\n\r\n")[2] for attack in ATTACKS.values()]
    documents = [json.loads(body)["query"] for body in bodies if body.startswith(b'{"query"')]
    without_document = {"connect", "endless-head", "half-open", "long-ids", "slow-bodies", "trailers"}
    assert len(documents) == len(ATTACKS.keys() - without_document)
    assert [validate(schema._schema, parse(document)) for document in documents] == [[]] * len(documents)


def test_attack_runs_against_a_real_gateway() -> None:
    outcome = attacks.measure("trailers", 1)
    assert outcome.megabytes > 50
    assert len(outcome.delays) >= 5
    assert outcome.failures == 0
    assert outcome.answers[200] > 0


@pytest.fixture(scope="module")
def undisturbed(server: Server, postgres_template: str) -> Outcome:
    """What a viewer sees while the attacker only connects."""
    return attacks.measure_on(server, postgres_template, "half-open", 4)


@pytest.mark.alone
@pytest.mark.parametrize("name", ["search", "leaderboard", "sign-in"])
def test_another_viewer_is_served_during_an_attack(
    server: Server, postgres_template: str, undisturbed: Outcome, name: str
) -> None:
    """The viewer waits at most ten times as long as while the attacker only connects, by the median of one run each.

    Gateway, attacker and database are processes that share the machine, so limits in milliseconds are checked by
    `python -m benchmarks.attacks` only. On a busy machine the attacker may get no response at first.
    """
    for seconds in (4, 8, 16):
        outcome = attacks.measure_on(server, postgres_template, name, seconds)
        assert outcome.failures == 0
        if sum(outcome.answers.values()) > 0:
            break
    assert sum(outcome.answers.values()) > 0
    assert outcome.p50 < 10 * undisturbed.p50


def test_outcome_beyond_a_limit_is_marked() -> None:
    outcomes = [
        Outcome("good", 249.0, [1.0, 2.0, 3.0], 0),
        Outcome("memory", 251.0, [1.0], 0),
        Outcome("slow", 100.0, [1001.0], 0),
        Outcome("failing", 100.0, [1.0], 1),
    ]
    assert [line.endswith("exceeds a limit") for line in attacks.table(outcomes)] == [False, False, True, True, True]
