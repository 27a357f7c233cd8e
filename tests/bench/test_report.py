"""Figures in, tables out."""

import pytest

from tests.bench import report
from tests.bench.load import LoadError, parse_line
from tests.bench.machine import cpu_model
from tests.bench.measurements import MEASUREMENTS, figures, idle_sessions
from tests.bench.report import Goal
from tests.bench.servers import denied

RATIO = Goal("echoes/s", "echo", "per_second", "ours", ("one", "two"), 1.1)
COST = RATIO._replace(column="cpu_us", bound=1.0, least=False)


def test_the_line_of_the_generator_is_read() -> None:
    assert parse_line("per_second=12.5 failed=0\n") == {"per_second": 12.5, "failed": 0.0}


@pytest.mark.parametrize("text", ["per_second", "per_second=", "the proxy refused"])
def test_another_line_is_an_error(text: str) -> None:
    with pytest.raises(LoadError, match="said"):
        parse_line(text)


LINE = {
    "per_second": 100.0,
    "mb_per_second": 50.0,
    "p50_ms": 1.0,
    "p99_ms": 2.0,
    "count": 200.0,
    "mb": 500.0,
    "failed": 0.0,
    "cpu": 0.5,
}


def test_cost_is_of_all_that_was_done() -> None:
    found = figures(LINE, server=1.0, target=0.7, seconds=2.0)
    assert found["cpu_us"] == pytest.approx(5000)
    assert found["cpu_per_gb"] == pytest.approx(2)
    assert found["cores"] == pytest.approx(0.5)
    assert found["load_cores"] == pytest.approx(0.6)


def test_straight_there_is_no_cost() -> None:
    found = figures(LINE, server=0.0, target=0.7, seconds=2.0)
    assert not {"cpu_us", "cpu_per_gb"} & set(found)


def test_a_median_is_of_the_rounds_that_have_the_figure() -> None:
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0, "b": 7.0}]
    assert report.medians(rounds) == {"a": 2.0, "b": 6.0}
    assert report.medians([]) == {}


def test_a_ratio_is_to_the_best_peer() -> None:
    found = {
        "ours": {"per_second": 30.0, "cpu_us": 3.0},
        "one": {"per_second": 10.0, "cpu_us": 6.0},
        "two": {"per_second": 20.0, "cpu_us": 4.0},
    }
    assert report.judged(RATIO, found) == (1.5, "two")
    assert report.judged(COST, found) == (0.75, "two")
    assert report.judged(RATIO._replace(peers=()), found) == (30.0, "")


def test_a_peer_without_the_figure_does_not_count() -> None:
    found = {"ours": {"per_second": 30.0}, "one": {"per_second": 10.0}, "two": {}}
    assert report.judged(RATIO, found) == (3.0, "one")


def test_without_figures_there_is_no_ratio() -> None:
    assert report.judged(RATIO, {"ours": {"per_second": 30.0}}) is None
    assert report.judged(RATIO, {"one": {"per_second": 30.0}}) is None


def test_a_bound_that_is_met_is_reached() -> None:
    assert [report.reached(RATIO, value) for value in (1.0, 1.1, 1.2)] == [False, True, True]
    assert [report.reached(COST, value) for value in (0.9, 1.0, 1.1)] == [True, True, False]


def test_a_table_has_its_columns_below_each_other() -> None:
    assert report.text_table(["", "MB/s"], [["dante", "1"], ["ours", "20,000"]]) == (
        "         MB/s\n-----  ------\ndante       1\nours   20,000\n"
    )


def test_a_figure_that_is_not_there_is_a_hyphen() -> None:
    assert report.written(None, 1) == "-"
    assert report.written(float("inf"), 1) == "-"
    assert report.written(12345.67, 1) == "12,345.7"


def test_the_table_of_a_measurement_has_every_server() -> None:
    results = {("udp", "dante"): [{"per_second": 10.0}, {"per_second": 30.0}]}
    text = report.measurement_table(MEASUREMENTS["udp"], results, ["dante", "microsocks"])
    assert [line.split()[:3] for line in text.splitlines()[-2:]] == [
        ["dante", "20", "-"],
        ["microsocks", "-", "-"],
    ]


def test_goals_tell_the_spread_of_the_rounds() -> None:
    results = {
        ("connect", "socks5d"): [{"per_second": value} for value in (10.0, 30.0, 20.0)],
        ("connect", "microsocks"): [{"per_second": 10.0}] * 3,
    }
    lines = report.goal_table(results).splitlines()
    found = next(line for line in lines if line.startswith("connections/s "))
    assert found.split()[3:] == ["2.00", "1.00..3.00", ">=", "1.1", "reached"]


def test_goals_without_figures_say_so() -> None:
    assert "reached" not in report.goal_table({})
    assert "missed" not in report.goal_table({})


def test_every_goal_and_every_column_of_the_readme_is_measured() -> None:
    wanted = [(goal.measurement, goal.column) for goal in report.GOALS]
    wanted += [(name, key) for _, name, key in report.ROW]
    for name, key in wanted:
        assert key in {column.key for column in MEASUREMENTS[name].columns}


def test_the_readme_gets_a_row_for_each_server() -> None:
    text = report.rst_rows({("idle", "dante"): [{"kib": 352.0}]}, ["dante", "socks5d"])
    rows = text.split("   * - ")
    assert [row.splitlines()[0] for row in rows[1:]] == ["Server", "dante", "socks5d"]
    assert {row.count("     - ") for row in rows[1:]} == {len(report.ROW)}
    assert "     - 352.00\n" in rows[2]


def test_idle_sessions_need_two_descriptors_each() -> None:
    assert idle_sessions(10_000, 1 << 20) == 10_000
    assert idle_sessions(10_000, 20_000) == 9_872
    assert idle_sessions(10_000, 100) == 1


def test_rules_are_as_many_as_asked_for_and_different() -> None:
    assert len(set(denied(1000))) == 1000
    assert denied(0) == []


def test_a_processor_may_have_no_name() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert cpu_model("processor\t: 0\n")
