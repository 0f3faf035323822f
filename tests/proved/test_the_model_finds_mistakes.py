"""R22: what the model would find. Each mistake that is put into the real code makes its scenario end badly, which ends
well without: so a promise that is taken out of the code does not go unnoticed.

All of it is deterministic. What the random order of test_nothing_is_lost_in_any_order.py finds as well is said in
docs/reliability.md.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import staged
from figures import Figures
from mistakes import MISTAKES
from staged import LINE, Scenario

FOUND_BY: dict[str, Scenario] = {
    "same_boot ignored at reconcile": Scenario(staged.an_agent_comes_back_with_less_than_it_had_told),
    "every link counts as another boot": Scenario(staged.a_job_is_removed_by_the_other_router_while_a_link_is_down),
    "reconcile keeps jobs that the agent no longer names": Scenario(
        staged.a_job_is_removed_by_the_other_router_while_a_link_is_down
    ),
    "what another router removed counts as lost": Scenario(
        staged.a_job_is_removed_by_the_other_router_before_its_agent_dies, survive=True
    ),
    "older news replace newer ones": Scenario(staged.a_start_is_repeated_when_its_job_has_ended),
    "removals are not remembered": Scenario(staged.a_start_is_repeated_while_its_job_is_removed),
    "a wait ends with any change of its job": Scenario(staged.a_job_is_waited_for_from_before_its_start),
    "a wait ends with its agent's link": Scenario(staged.a_link_is_lost_while_a_job_is_waited_for),
    "an old link's end takes the new one away": Scenario(staged.an_agent_forgets_its_link),
    "link numbers ignored": Scenario(staged.an_older_link_comes_up_late, addresses=LINE),
    "messages of an old link count": Scenario(staged.news_of_an_earlier_boot_come_late),
    "the agent keeps an old link beside a new one": Scenario(
        staged.an_agent_hears_of_its_router_by_another_address, addresses=LINE
    ),
    "jobs end with their links": Scenario(staged.all_links_are_cut_for_a_moment),
    "a start ends with its caller": Scenario(staged.a_link_is_cut_amid_a_start),
    "a repeated create chooses an agent anew": Scenario(staged.a_create_is_repeated_while_its_agent_is_away),
    "who was asked to make a job is forgotten": Scenario(staged.a_create_is_repeated_whose_answer_was_lost),
    "a router's next run expects nobody": Scenario(staged.a_create_is_repeated_at_the_next_run_of_its_router),
    "Idempotency-Keys stand for nothing": Scenario(staged.a_restart_is_repeated),
    "Idempotency-Keys are not on disk": Scenario(staged.a_restart_is_repeated_to_the_next_agent),
    "a start is not on disk": Scenario(staged.an_agent_dies_and_its_jobs_go_on, survive=True),
    "a stop is not on disk": Scenario(staged.an_agent_dies_amid_a_stop, survive=True),
    "no guardian is adopted": Scenario(staged.an_agent_dies_and_its_jobs_go_on, survive=True),
    "how a job ended without its agent is not read": Scenario(staged.an_agent_dies_and_its_jobs_go_on, survive=True),
    "a dead guardian is not noticed": Scenario(staged.a_guardian_dies),
    "half an upload counts": Scenario(staged.a_pipe_is_cut_amid_an_upload),
}


@pytest.mark.timeout(300)
def test_each_mistake_is_found(figures: Figures, tmp_path: Path) -> None:
    assert FOUND_BY.keys() == MISTAKES.keys()
    found, blamed = [], []
    for number, (mistake, scenario) in enumerate(FOUND_BY.items()):
        if broken := tried(scenario, tmp_path / f"{number} without"):
            blamed += [f"without any mistake, {scenario.happens.__name__}:", *broken]
        with MISTAKES[mistake]():
            if tried(scenario, tmp_path / f"{number} with"):
                found.append(mistake)
    figures.record(
        "R22", "mistakes that the model finds", len(found), goal=len(MISTAKES), holds=len(found) == len(MISTAKES)
    )
    figures.record("R22", "histories without a mistake that the model blames", len(blamed), goal=0)
    assert not blamed, "\n".join(blamed)
    assert not MISTAKES.keys() - set(found), f"nobody notices: {MISTAKES.keys() - set(found)}"


def tried(scenario: Scenario, disk: Path) -> list[str]:
    """The same each time: what dials again does so after a random pause."""
    random.seed(1)
    disk.mkdir()
    return scenario.broken(disk)


def test_what_nobody_comes_for_ends(tmp_path: Path) -> None:
    assert tried(Scenario(staged.nobody_comes_for_what_an_agent_left, survive=True), tmp_path / "disk") == []
