"""What has to be measured: for each promise the tests that hold it, and figures without which it was not tried.

Belongs here: which rows there are, whether figures of a run reach them. Does not: how anything is measured, and how
figures are written down (figures.py). benchmarks/reliability.py shows them, and fails the gate when one is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

ROOM, SLACK_SECONDS = 3.0, 1.0
"""A promised time may be so many times as long in the gate, and this more: machines are busy. Counts are exact."""
NEVER_ASSERTED = ("%", "ms", "MB/s")
"""Units of what other work on the machine changes: ratios, latencies, throughput. The gate writes them down only."""
Figure = Mapping[str, Any]
CGROUPS = ("auto", "off")
"""Jobs with groups of their own, and without."""
STANDS = ("router", "agent", "job", "guardian")
"""Who is stopped and goes on."""
DAEMONS = ("router", "agent")
AUTOBAHNS_KINDS = ("1", "2", "3", "4", "5", "6", "7", "9", "10", "12", "13")
"""Of cases, by the first number of each."""


def _each(name: str, words: Sequence[str]) -> list[str]:
    """The name with each of the words in its place."""
    return [name.format(word) for word in words]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise."""

    title: str
    tests: Mapping[str, float]
    """Files of this directory, and about how many minutes the long form of each takes on two processors."""
    needed: Sequence[str] = ("*",)
    """Names, or patterns of names, each of which some figure must have."""
    alone: bool = False
    """Whether the long form measures what other tests at the same time would change."""


ROWS: Mapping[str, Row] = {
    "R1": Row(
        "a link that is cut again and again",
        {"test_a_lost_link_loses_no_job": 35},
        (
            "cuts",
            "calls that hung*",
            "jobs lost*",
            "events lost, doubled or out of order",
            "slowest call that promises*",
            "until a call * after a cut",
        ),
    ),
    "R2": Row(
        "a partition without a word",
        {"test_who_is_cut_off_is_known_in_time": 15, "test_a_bad_line_fails_no_call": 11},
        tuple(
            f"{way}: {what}"
            for way in ("both ways", "to the agent", "back", "unplugged", "30 s apart as shipped")
            for what in ("until both ends know", "the longest call", "well after it healed")
        ),
    ),
    "R3": Row(
        "an agent that comes from elsewhere",
        {"test_a_newer_link_takes_over": 0.6, "test_who_is_cut_off_is_known_in_time": 15},
        (
            "takeovers",
            "takeover, slowest",
            "mixed messages",
            "an agent with another address: from its new dial until it is registered",
        ),
    ),
    "R4": Row(
        "a router that is killed and started again",
        {"test_a_router_that_dies_loses_nothing": 2},
        ("agents", "all agents are back", "jobs that were lost or changed", "lag of the router's loop*"),
        alone=True,
    ),
    "R5": Row(
        "an agent that is killed",
        {
            "test_jobs_outlive_their_agent": 6,
            "test_guardians_outlive_more_than_their_agent": 1,
            "test_an_upgrade_loses_no_job": 1,
            "test_ports_of_adopted_jobs_are_theirs": 0.2,
            "test_what_is_over_ends_nothing_later": 0.5,
            "test_ports_outlive_their_agent": 0.3,
        },
        (
            "jobs that were not adopted, of *",
            "jobs that were not adopted by an upgraded agent",
            "jobs of the previous version's guardians adopted",
            *_each("jobs that went on whoever died beside them (cgroups {})", CGROUPS),
            "jobs adopted whose last run's guardian was slow to go",
            "ports of adopted jobs that others were given",
            "runs after a stop that failed that the next agent left alone",
            "a killed agent's trees are gone after",
            "a killed agent is away after",
            "sandboxes of unfinished jobs after the restart",
        ),
    ),
    "R6": Row(
        "the end of a tree of processes",
        {
            "test_trees_end_in_time": 12,
            "test_no_storm_outlives_who_held_it": 3,
            "test_a_kill_amid_a_start_leaves_nothing": 1,
            "test_guardians_and_keepers_may_die": 1,
            "test_no_end_is_told_too_early": 0.5,
        },
        (
            *_each(
                "a tree of 50 is gone, {}",
                (
                    "removed",
                    "stopped",
                    "main_killed",
                    "timed_out",
                    "agent_killed",
                    "agent_terminated",
                    "agent_interrupted",
                ),
            ),
            "trees that were ended",
            "processes that were left",
            *(
                name
                for who in (
                    "agent and guardian killed at once",
                    "agent and keeper killed at once",
                    "agent and keeper and guardian killed at once",
                    "guardian killed after its agent",
                    "guardian of the second keeper killed",
                    "two guardians killed at once",
                )
                for name in _each(f"{who}: until the tree was gone (cgroups {{}})", CGROUPS)
            ),
            "agent killed amid a start: longest until the tree was gone",
            *_each("guardian, or keeper too, killed amid a start: longest until the tree was gone ({})", CGROUPS),
            *(
                name
                for who in ("guardian", "keeper and guardian", "agent and guardian")
                for name in _each(f"storm of forks, {who} killed: until it was gone (cgroups {{}})", CGROUPS)
            ),
            *_each("processes of jobs that were told to have ended, guardians hanging (cgroups {})", CGROUPS),
        ),
    ),
    "R7": Row(
        "who stands still",
        {
            "test_all_goes_on_after_a_stop": 10,
            "test_who_stands_still_keeps_nobody_waiting": 1,
            "test_frozen_trees_end_in_time": 3,
        },
        (
            *_each("well after the {} stood", STANDS),
            *_each("the router grew while the {} stood", STANDS),
            *_each("the agent grew while the {} stood", STANDS),
            *_each("p99 of others while {} stands", ("the agent", "the job", "the guardian", "a client")),
            "the longest call to an agent that stands still",
            *_each("{}: until a stop or a removal is done", ("all stopped", "group frozen")),
            "a tree that nobody can end: until that is told",
        ),
    ),
    "R8": Row(
        "streams that stall",
        {"test_a_stalled_stream_holds_no_other_up": 10, "test_a_bulk_transfer_starves_nobody": 2},
        (
            "p99 of * when none stalls*, 1% stalled",
            "p99 of * when none stalls*, 10% stalled",
            "throughput of that when none stalls, *1% stalled",
            "throughput of that when none stalls, *10% stalled",
        ),
        alone=True,
    ),
    "R9": Row(
        "memory under slow readers",
        {"test_a_slow_reader_fills_no_memory": 10, "test_nothing_is_left_over": 10, "../proxy/test_large_bodies": 3},
        (
            "size of such a transfer",
            *_each("{}: a transfer to a reader of 1 MiB/s that then stalls", DAEMONS),
            *_each("{}: a transfer to a job that reads late", DAEMONS),
            *_each("{}: kept after as many requests again", DAEMONS),
            *(f"{daemon}: * stalled {way}" for daemon in DAEMONS for way in ("down", "up")),
        ),
        alone=True,
    ),
    "R10": Row(
        "bytes over a bad line",
        {"test_bytes_arrive_whole_or_not_at_all": 120},
        (
            "bytes lost, doubled or spoiled in streams over a lossy line",
            "bytes of these streams",
            "cuts of all links while streams were under way",
            "short or spoiled streams that were taken for whole",
            "clean ends of answers whose job died",
        ),
    ),
    "R11": Row(
        "Websockets that say nothing",
        {"test_websockets_that_say_nothing": 12},
        ("idle Websockets", "idle for", "idle Websockets dropped", "memory of *", "CPU of *"),
        alone=True,
    ),
    "R12": Row(
        "a router that leaves",
        {"test_a_router_leaves_in_order": 3, "test_two_routers_are_as_one": 11},
        ("requests begun before that failed", "jobs that noticed", "requests that failed while routers*"),
    ),
    "R13": Row(
        "files that are cut off amid an upload",
        {
            "test_files_are_whole_whatever_breaks": 2,
            "test_a_full_disk_loses_no_job": 0.3,
            "test_a_failing_disk_loses_no_job": 0.3,
            "test_a_router_with_a_full_disk_lives": 0.3,
            "test_a_router_sets_torn_files_aside": 0.2,
        },
        (
            "uploads that were cut",
            "files that were neither old nor new",
            "kept files that were neither old nor new",
            "temporary files that were left",
            "until an upload is told that there is no room",
            *_each("until 507 on a disk that is {}", ("filled", "without_names")),
            *_each("uploads that EIO of {} left half", ("write", "fsync")),
        ),
    ),
    "R14": Row(
        "more connections than descriptors",
        {"test_more_connections_than_descriptors": 2.5, "test_an_agent_without_descriptors_says_so": 0.2},
        (
            *(
                f"{what}, {loop}"
                for loop in ("uvloop", "asyncio")
                for what in (
                    "log lines a second with too many clients",
                    "router's CPU with too many clients",
                    "most descriptors of the router",
                    "until all was well again",
                )
            ),
            "requests that an agent without descriptors answered 503",
            "requests to an agent without descriptors that may be repeated",
        ),
    ),
    "R15": Row(
        "a tenth of a processor",
        {"test_a_starved_daemon_raises_no_false_alarm": 11},
        ("links lost*", "longest silence*"),
        alone=True,
    ),
    "R16": Row(
        "clocks that jump",
        {"test_clocks_that_jump_change_nothing": 1},
        (
            "disconnects while clocks jump",
            "latest end of a timeout",
            "latest end of a job whose agent does not come back",
            "an idle job is stopped late by",
            "a finished job goes late by",
        ),
    ),
    "R17": Row(
        "spoiled input",
        {"test_spoiled_input_hurts_nobody_else": 120, "../rpc/test_fuzz": 12},
        (
            *(
                f"{what} {whose}"
                for what in ("spoiled", "growth under")
                for whose in (
                    *_each("frames of a known {}", DAEMONS),
                    *_each("frames of an unknown {}", DAEMONS),
                    "messages of peers at a link's machine",
                    "messages of strangers at a link's machine",
                )
            ),
            "longest turn of the loop under *",
            *_each("spoiled {}", ("requests", "bind lines", "answers on pipes")),
        ),
    ),
    "R18": Row(
        "sizes of messages",
        {"test_sizes_do_not_matter": 5},
        (
            "sizes around an original's limit that hit one stream",
            "sizes of Websocket messages that passed over pipes",
            "sizes of chunks that passed, both ways",
        ),
    ),
    "R19": Row(
        "work on files",
        {"test_work_on_files_holds_nobody_up": 3, "test_a_hung_disk_under_one_job": 0.5},
        (
            *_each("p99 of others {}", ("alone", "beside special files", "beside a frozen disk")),
            "p99 of others beside archives of very many entries",
            "entries of such an archive",
            "another job's life beside a hung disk",
            "until it is told that a job on a hung disk can not be ended",
        ),
        alone=True,
    ),
    "R20": Row(
        "a soak",
        {"test_a_soak_leaves_nothing_behind": 62},
        (
            "counts that are not as before a soak",
            "processes that nobody waited for",
            *_each("{}: growth of its memory in the second half", ("router", "agent", "killed agent")),
            *_each("{}: slope of its memory in the second half", ("router", "agent", "killed agent")),
            "faults",
            "kinds of faults",
        ),
    ),
    "R21": Row(
        "Websockets as Autobahn wants them",
        {"../proxy/test_autobahn": 6},
        ("cases with the same verdict", *_each("cases with the same verdict, {}: *", AUTOBAHNS_KINDS)),
        alone=True,
    ),
    "R22": Row(
        "every history explained",
        {
            "test_history_is_explained": 60,
            "test_an_agent_may_die_at_any_write": 6,
            "test_survivors_live_on_at_any_write": 8,
            "../proved/test_nothing_is_lost_in_any_order": 17,
            "../proved/test_anything_may_break_at_any_moment": 3,
            "../proved/test_the_model_finds_mistakes": 0.3,
        },
        (
            "promises broken",
            "calls acknowledged",
            "faults",
            "boundaries at which an agent died*",
            "boundaries that were missed",
            "boundaries of a surviving job that were missed",
            *_each("boundaries of an exit record that were missed, agent {}", ("there", "away")),
            *(
                f"{what} in the model, jobs that {jobs}"
                for jobs in ("end with their agent", "outlive their agent")
                for what in ("histories", "steps", "promises broken")
            ),
            "mistakes that the model finds",
            "histories without a mistake that the model blames",
        ),
    ),
    "S12": Row(
        "clients that are slow",
        {"test_slow_clients_are_let_go": 2},
        (
            "slow heads closed by the deadline",
            "until the last slow head was closed",
            "p99 of others beside slow heads",
            "until a silent client is closed",
            "until a kept connection that says nothing is closed",
        ),
        alone=True,
    ),
}


def missed(figures: Iterable[Figure], form: str, rows: Iterable[str] = ROWS) -> list[str]:
    """A line for each figure that has to be there and is not, or that does not hold; none where all is well.

    Of the short form a time has room, and what no test may assert is not looked at.
    """
    measured = [figure for figure in figures if figure["form"] == form]
    lines = []
    for name in rows:
        mine = [figure for figure in measured if figure["row"] == name]
        lines += [
            f"{name}, {ROWS[name].title}: no figure {pattern!r} in the {form} form"
            for pattern in ROWS[name].needed
            if not any(fnmatchcase(figure["name"], pattern) for figure in mine)
        ]
        lines += [
            f"{name}, {figure['name']}: {figure['value']:g} {figure['unit']}".rstrip() + f", to be {figure['goal']}"
            for figure in mine
            if not holds(figure)
        ]
    return lines


def holds(figure: Figure) -> bool:
    """With the room that its form and unit have."""
    if figure["holds"] is not False:
        return True
    if figure["form"] == "long":
        return False
    if figure["unit"] == "s" and isinstance(figure["goal"], int | float):
        return bool(figure["value"] <= figure["goal"] * ROOM + SLACK_SECONDS)
    return figure["unit"] in NEVER_ASSERTED
