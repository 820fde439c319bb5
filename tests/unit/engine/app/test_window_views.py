"""What readers learn of declared windows, and which question has which table and figures."""

from __future__ import annotations

import pytest

from agents.app import app as built_in
from streams import App, Count, Distinct, First, Last, Min, Quantiles, Record, Sum, TopK
from streams.connect.sinks.moved_rows import BY_SERIES
from streams.connect.sinks.window_views.aggregated_view import AggregatedView
from streams.connect.sinks.window_views.series_view import series_view
from streams.connect.sinks.window_views.view import Question, view_named
from streams.core.errors import UsageError
from streams.core.rows.window_figures import Grain
from streams.core.settings import Settings
from streams.engine.app.window_views import window_views


class Order(Record):
    tenant_id: str
    account: str
    lane: int
    amount: float
    ts: int


class Bid(Record):
    account: str
    ts: int
    amount: float | None = None


def shop() -> App:
    app = App("shop")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    fold = {
        "n": Count(),
        "total": Sum("amount"),
        "q": Quantiles("amount", at=(0.5, 0.99)),
        "people": Distinct("account"),
        "t": Last("account"),
        "top": TopK("account", k=1),
    }
    app.windows(
        "sales", of=orders, by=("account", "tenant_id"), size="10s", roll_ups=("1m",), fold=fold
    )
    app.windows("moving", of=orders, by=("account", "lane"), size="10s", step="5s", fold=fold)
    app.windows("visits", of=orders, by=("account",), gap="30m", fold={"n": Count()})
    return app


@pytest.fixture
def views():
    return window_views(shop(), Settings())


def test_a_roll_up_is_a_table_of_its_windows_and_no_windows_of_its_own(views):
    """A user declares one thing, and finds one thing."""
    assert [*views] == ["sales", "moving", "visits"]
    assert [(one.table, one.width_ms) for one in views["sales"].grains] == [
        ("sales", 10_000),
        ("sales_1m", 60_000),
    ]


def test_the_tenant_comes_first_and_is_not_chosen(views):
    """The authorizer decides it, wherever the key has it."""
    sales = views["sales"]
    assert [one.name for one in sales.dimensions] == ["tenant", "account"]
    assert [one.name for one in sales.chosen] == ["account"]
    assert not views["moving"].tenant


def test_figures_are_the_columns_of_every_aggregator(views):
    """Also of those that cannot be drawn. A name that answers use for something else says where it is from."""
    sales = views["sales"]
    names = ["n", "total", "q_50", "q_99", "people", "fold.t", "top", "top_n"]
    assert [one.name for one in sales.figures] == names
    charts = {one.name: (one.form, one.figures, one.note) for one in sales.charts}
    assert charts["n"] == ("bars", ("n",), "")
    assert charts["q"] == ("lines", ("q_50", "q_99"), "within 1 %")
    assert not {"t", "top"} & charts.keys()


def test_a_step_longer_than_its_windows_has_only_figures_that_merge(views):
    """A percentile of percentiles would be a wrong number; the roll-up has the right one."""
    sales = views["sales"]
    minute = sales.grain_for(0, 3600, 60_000, 0)
    assert (minute.table, len(sales.figures_in(minute, 60_000))) == ("sales_1m", 8)
    half = sales.grain_for(0, 3600, 30_000, 0)
    assert half.table == "sales"
    assert [one.name for one in sales.figures_in(half, 30_000)] == ["n", "total", "fold.t"]
    with pytest.raises(UsageError, match="q_50 of several windows cannot be made"):
        sales.figures_in(half, 30_000, frozenset({"q_50"}))


@pytest.mark.parametrize("name", ["moving", "visits"])
def test_windows_that_overlap_or_end_at_any_time_have_no_longer_step(views, name):
    """Each record of a hopping window would count twice."""
    view = views[name]
    grain = view.grains[0]
    assert view.figures_in(grain, grain.width_ms) == view.figures
    with pytest.raises(UsageError, match="count twice"):
        view.figures_in(grain, 2 * grain.width_ms)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tenant": "a"}, "account is missing"),
        ({"tenant": "a", "account": "b", "x": "c"}, "x is not one of them"),
    ],
)
def test_an_incomplete_key_is_refused_by_name(views, given, said):
    """Without one field the answer would be of other windows."""
    with pytest.raises(UsageError, match=said):
        views["sales"].key_of(given)


@pytest.mark.parametrize("text", ["", "1.5", "٣", "9" * 19, "--1"])
def test_a_key_of_another_type_is_refused(views, text):
    """The server would refuse it with an error of its own, or read another key."""
    with pytest.raises(UsageError, match="lane is a whole number"):
        views["moving"].key_of({"account": "a", "lane": text})
    assert views["moving"].key_of({"account": "a", "lane": "-7"}) == ("a", -7)


def test_a_question_goes_to_the_shard_of_its_key_with_values_as_parameters(views):
    """The shard is found by the key as the engine writes it, in the order of `by`; no text of a user is
    part of the statement."""
    sales, asked = views["sales"], []

    class Maps:
        moves = ()

        @staticmethod
        def shards_of_key(key):
            asked.append(key)
            return [1]

    question = Question(("acme'", "o'x"), sales.grains[0], 0, 60, 10_000)
    [(shard, (sql, given))] = sales.reading(question, sales.figures).asked(Maps())
    assert (shard, asked) == (1, ["o'x\0acme'"])
    assert given == {"d0": "acme'", "d1": "o'x", "start": 0, "stop": 60_000}
    assert "acme" not in sql
    assert "`tenant_id` = {d0:String} AND `account` = {d1:String}" in sql


def test_a_figure_that_several_rows_have_is_unknown_where_it_does_not_merge(views):
    """Of one window in two partitions: the sum is known, and the 99th percentile is not."""
    sales = views["sales"]
    question = Question(("a", "b"), sales.grains[0], 0, 60, 10_000)
    one = [0, 1, 1, True, 3, 4.5, 1.0, 2.0, 2, "b", ["b"], [3]]
    two = [10_500, 2, 1, False, 3, 4.5, 1.0, 2.0, 2, "b", ["b"], [3]]
    points = sales.reading(question, sales.figures).points([[one, two]])
    found = points.columns
    assert (found["t"], found["closed"], found["n"]) == ([0, 10.5], [True, False], [3, 3])
    assert (found["q_99"], found["fold.t"], found["top"]) == (
        [2.0, None],
        ["b", None],
        [["b"], None],
    )


def test_answers_of_several_shards_join_to_one(views):
    """Two partitions may take a map from different days; of a window on two shards no figure is first."""
    sales = views["sales"]
    question = Question(("a", "b"), sales.grains[0], 0, 60, 10_000)
    early = [0, 2, [0, 10], True, 3, 4.5, 1.0, 2.0, 2, "early", ["b"], [3]]
    late = [0, 1, [20], False, 4, 1.5, 1.0, 2.0, 2, "late", ["b"], [3]]
    alone = [60_000, 1, [60_000], True, 1, 0.5, 7.0, 8.0, 1, "alone", ["c"], [1]]
    same = [0, 1, [10], True, 4, 1.5, 1.0, 2.0, 2, "same", ["b"], [3]]
    reading = sales.reading(question, sales.figures)
    found = reading.points([[late, alone], [early], []]).columns
    assert (found["t"], found["closed"]) == ([0, 60], [False, True])
    assert (found["n"], found["total"], found["fold.t"]) == ([7, 1], [6.0, 0.5], ["late", "alone"])
    assert found["q_99"] == [None, 8.0]
    found = reading.points([[same], [early]]).columns
    assert (found["n"], found["closed"], found["fold.t"]) == ([7], [True], [None])


def test_windows_without_a_value_join_as_in_sql():
    """Of a field that may be absent. They ended the console's answer and the command."""
    app = App("shop")
    bids = app.topic("bids", value_type=Bid, key_field="account", time_field="ts")
    fold = {"s": Sum("amount"), "lo": Min("amount"), "f": First("amount"), "l": Last("amount")}
    app.windows("bids", of=bids, by=("account",), size="10s", fold=fold)
    view = window_views(app, Settings())["bids"]
    reading = view.reading(Question(("a",), view.grains[0], 0, 60, 60_000), view.figures)
    empty, valued = [0, 1, [0], True, *[None] * 4], [0, 1, [10_000], True, *[5.0] * 4]
    around = [0, 2, [5_000, 20_000], True, 1.0, 1.0, 1.0, 1.0]

    def joined(*parts):
        columns = reading.points([[part] for part in parts]).columns
        return [columns[name] for name in fold]

    assert joined(empty, valued) == [[5.0]] * 4
    assert joined(empty, [0, 1, [10_000], True, *[None] * 4]) == [[None]] * 4
    assert joined(around, valued) == [[6.0], [1.0], [None], [None]], "whose value is first?"


def test_the_built_in_minutes_are_one_such_declaration():
    """One way to read any windows: of m1 every step has every figure, as its rows hold states."""
    views = window_views(built_in, Settings())
    m1 = view_named(views, "")
    assert [*views] == ["m1"]
    assert [one.name for one in m1.dimensions] == ["tenant", "model", "metric"]
    assert [one.table for one in m1.grains] == ["m1", "h1", "d1"]
    assert m1.figures_in(m1.grains[0], 600_000) == m1.figures
    with pytest.raises(UsageError, match="Declared are: m1"):
        view_named(views, "m2")
    with pytest.raises(UsageError, match="declares no windows"):
        view_named({}, "")


@pytest.mark.parametrize(
    ("view", "day_ago", "table"),
    [("m1", 1, "m1"), ("m1", 60, "h1"), ("m1", 500, "d1"), ("sales", 1, "sales"), ("sales", 60, "sales_1h")],
)  # fmt: skip
def test_a_range_is_read_from_a_table_that_still_has_it(view, day_ago, table):
    """A chart or ranking of one day two months ago was empty: minutes of it are gone, hours are there."""
    now_s = 1_760_000_000
    sales = AggregatedView(
        name="sales", description="", dimensions=(), tenant=False, figures=(), charts=(), columns={}, key=(), placement=BY_SERIES,
        grains=(Grain("sales", 60_000, 86_400, 7 * 86_400), Grain("sales_1h", 3_600_000, 86_400)),
    )  # fmt: skip
    views = {"m1": series_view(30), "sales": sales}
    start_s = now_s - day_ago * 86_400
    assert views[view].grain_of(start_s, start_s + 86_400, now_s).table == table
