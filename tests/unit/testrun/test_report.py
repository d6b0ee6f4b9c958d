from __future__ import annotations

from pathlib import Path

import pytest

from testrun.report import Counts, Result, Verdict, closing_line, read_junit, succeeded, table, total

XML = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="x"/></testcase>
<testcase classname="a" name="broken"><error message="x"/></testcase>
<testcase classname="a" name="later"><skipped type="pytest.skip" message="no root"/></testcase>
<testcase classname="a" name="known"><skipped type="pytest.xfail" message="x"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_are_read_from_pytests_own_xml(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(XML)
    counts, skips = read_junit(file)
    assert counts == Counts(failed=1, passed=2, skipped=1, errors=1)
    assert skips == ["a::later: no root"]


def test_missing_xml_counts_nothing(tmp_path: Path) -> None:
    assert read_junit(tmp_path / "none") == (Counts(), [])


PASSED = Result("unit", Verdict.PASSED, 1.0, Counts(passed=3))
SKIPPED = Result("e2e", Verdict.SKIPPED, 0.0, remark="no Docker")
FAILED = Result("unit", Verdict.FAILED, 1.0, Counts(failed=1, passed=2))
EMPTY = Result("faults", Verdict.EMPTY, 0.0)


@pytest.mark.parametrize(
    ("results", "strict", "green"),
    [
        pytest.param([PASSED, EMPTY], False, True, id="all passed"),
        pytest.param([PASSED, FAILED], False, False, id="one failed"),
        pytest.param([PASSED, SKIPPED], False, True, id="a skipped layer on a person's machine"),
        pytest.param([PASSED, SKIPPED], True, False, id="a skipped layer in CI"),
        pytest.param([Result("unit", Verdict.PASSED, 1, Counts(passed=1, skipped=1))], True, False, id="a skip in CI"),
        pytest.param([PASSED, EMPTY], True, True, id="an empty layer in CI"),
    ],
)
def test_when_a_run_is_green(results: list[Result], strict: bool, green: bool) -> None:
    assert succeeded(results, strict=strict) is green


def test_closing_line_reads_like_pytests() -> None:
    assert closing_line([PASSED, SKIPPED], 75.2).strip("= ") == "3 passed, 1 skipped in 75.20s (0:01:15)"
    assert closing_line([FAILED], 3).strip("= ") == "1 failed, 2 passed in 3.00s"
    assert closing_line([EMPTY], 0).strip("= ") == "no tests ran in 0.00s"


def test_table_names_each_layer_its_time_and_why_it_was_skipped() -> None:
    assert table([PASSED, SKIPPED]).splitlines() == [
        "unit         passed              1.0 s  3 passed",
        "e2e          SKIPPED             0.0 s    (no Docker)",
    ]


def test_total_adds_up() -> None:
    assert total([PASSED, FAILED, SKIPPED]) == Counts(failed=1, passed=5, skipped=1)
