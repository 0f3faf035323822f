"""What is told of raw rows: tables, sentences, the picture; and that the pages say what the rows that are kept say."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import pages
from benchmarks.basics import telling as basics
from benchmarks.proxies import telling
from benchmarks.proxies.chart import chart, shown
from benchmarks.proxies.figures import CHP, NGINX, OURS
from benchmarks.rows import RESULTS, Measured, read

ABOUT = {
    "at": "2026-01-02T03:04:05+00:00",
    "cpus": 2,
    "model": "A <fast> CPU",
    "memory_gib": 4.0,
    "system": "Linux",
    "load": 0.1,
    "versions": {"nginx": "1.22.1"},
    "options": {"seconds": 4},
}
REQUEST = {"rate": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0, "memory_mib": 50.0, "errors": 0}


def measured(**more: float) -> Measured:
    """Two rounds: ours takes twice what nginx takes and a quarter of what configurable-http-proxy does."""
    rows: list[dict[str, Any]] = []
    for number in range(2):
        for system, cpu in (("direct", 0.0), (NGINX, 20.0), (CHP, 160.0), (OURS, 40.0)):
            rows.append({"round": number, "load": "get32", "system": system, "cpu_us": cpu, **REQUEST})
        rows.append({"round": number, "load": "idle", "system": OURS, "mib": 11.0, "errors": 0})
        rows.append({"round": number, "load": "get32", "system": f"{OURS}, access log", "cpu_us": 80.0, **REQUEST})
    rows[0] |= more
    return Measured(ABOUT, tuple(rows))


def test_the_whole_table_has_a_row_for_each_figure_and_no_cost_without_a_proxy() -> None:
    lines = telling.table(measured()).splitlines()
    assert lines[0] == f"|  | direct | {NGINX} | {CHP} | {OURS} |"
    assert "| GET over 32 connections: us of CPU each |  | 20 | 160 | 40 |" in lines
    assert "| GET over 32 connections: a second | 1,000 | 1,000 | 1,000 | 1,000 |" in lines
    assert "| 1,000 idle Websockets: MiB |  |  |  | 11 |" in lines


def test_it_is_said_who_is_slower_than_whom() -> None:
    told = telling.short(measured())
    assert f"**{NGINX}**, dearer: GET over 32 connections 2.00." in told
    assert f"**{CHP}**, cheaper: GET over 32 connections 0.25." in told


def test_every_row_in_which_we_are_slower_is_named() -> None:
    """p99, memory and what went through as well as what it costs; only against whom, and not where we are not."""
    found = measured()
    for row in found.rows:
        if row["system"] == OURS and row["load"] == "get32":
            row.update(p99_ms=24.0, rate=800.0, memory_mib=100.0)  # type: ignore[attr-defined]
    lines = telling.slower(found).splitlines()
    assert lines[0].endswith(f"| {NGINX} | {CHP} |")
    assert lines[2:] == [
        "| GET over 32 connections: a second | 1.25 | 1.25 |",
        "| GET over 32 connections: us of CPU each | 2.00 |  |",
        "| GET over 32 connections: ms p99 | 12.00 | 12.00 |",
        "| GET over 32 connections: MiB of memory | 2.00 | 2.00 |",
    ]
    told = "slower at p99: GET over 32 connections 12.00; more memory: GET over 32 connections 2.00"
    assert f"**{CHP}**, {told}; cheaper: GET over 32 connections 0.25." in telling.short(found)
    assert "100 MiB" in telling.short_table(found)


def test_a_load_that_older_rows_have_not_is_no_row() -> None:
    assert "POST" not in telling.whole(measured()) + telling.short(measured()) + telling.slower(measured())


def test_goals_that_do_not_hold_are_named_in_both_pages() -> None:
    told = telling.short(measured()).partition("Those that do not: ")[2]
    assert f"; GET over 32 connections: us of CPU each beside {NGINX} is 2, to be <= 1.25." in told
    whole = telling.whole(measured())
    assert f"us of CPU each beside {NGINX} | <= 1.25 | 2 | 2 to 2 | **no** |" in whole
    assert "| 1,000 idle Websockets: MiB | <= 12 | 11 | 11 to 11 | yes |" in whole
    assert "not measured" in whole


def test_errors_are_in_both_pages() -> None:
    for text in (telling.short(measured()), telling.whole(measured())):
        assert "No request failed." in text
    for text in (telling.short(measured(errors=7)), telling.whole(measured(errors=7))):
        assert "Failed: direct, GET over 32 connections: 7 errors in 2 rounds." in text


def test_the_price_of_what_is_used_is_beside_that_of_nobody_using_it() -> None:
    whole = telling.whole(measured())
    assert f"| {OURS}, access log | 80 | 1,000 | 2.00 |" in whole
    assert "activity" not in whole, "what older rows have not is no row"


def test_the_machine_and_the_versions_are_said() -> None:
    whole = telling.whole(measured())
    assert "2026-01-02, 2 CPUs (A <fast> CPU)" in whole
    assert "nginx 1.22.1" in whole


def test_a_run_of_few_rounds_says_so() -> None:
    few = measured()
    many = Measured(few.about, tuple({**row, "round": number} for number in range(5) for row in few.rows))
    assert "Too few rounds" in telling.short(few)
    assert "Too few rounds" in telling.whole(few)
    assert "Too few rounds" not in telling.short(many) + telling.whole(many)


def test_the_picture_is_xml_with_a_bar_for_each_proxy() -> None:
    drawn = ElementTree.fromstring(chart(measured()))
    _, *rectangles = drawn.iter("{http://www.w3.org/2000/svg}rect")
    bars = [float(each.attrib["width"]) for each in rectangles]
    assert len(bars) == 3
    assert bars[1] == max(bars)
    assert bars[2] == pytest.approx(bars[1] / 4, abs=1)
    words = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert words[:3] == ["GET over 32 connections: us of CPU each", NGINX, "20"]


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.1234, "0.123"), (12.34, "12.3"), (99.96, "100"), (1234.0, "1,230"), (56789, "56,800"), (0, "0")],
)
def test_figures_have_three_digits(value: float, told: str) -> None:
    assert shown(value) == told


def test_only_what_is_between_the_marks_changes() -> None:
    page = "above\n<!-- it begins -->\n\nold\n\n<!-- it ends -->\nbelow\n"
    assert pages.filled(page, "it", "new") == page.replace("old", "new")
    assert pages.filled(pages.filled(page, "it", "new"), "it", "old") == page


@pytest.mark.parametrize(
    "page", ["nothing", "<!-- it begins -->", "<!-- it begins --><!-- it begins --><!-- it ends -->"]
)
def test_a_page_without_its_marks_is_not_written(page: str) -> None:
    with pytest.raises(ValueError, match="it begins"):
        pages.filled(page, "it", "new")


def test_the_pages_say_what_the_rows_in_the_repository_say() -> None:
    """Figures that were edited by hand, or rows that were committed without their pages."""
    proxies, figures = read(RESULTS / "proxies.jsonl"), read(RESULTS / "basics.jsonl")
    readme, performance = pages.README.read_text("utf-8"), pages.PERFORMANCE.read_text("utf-8")
    assert pages.between(readme, telling.MARK) == telling.short(proxies)
    assert pages.between(performance, telling.MARK) == telling.whole(proxies)
    assert pages.between(performance, telling.SLOWER_MARK) == telling.slower(proxies)
    assert pages.between(readme, basics.MARK) == basics.short(figures)
    assert pages.between(performance, basics.MARK) == basics.whole(figures)
    assert telling.IMAGE.read_text("utf-8") == chart(proxies)
