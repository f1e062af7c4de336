"""The runs there are, newest first: sort, filter, and choose those to compare, with the mouse or by keys alone."""

from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets
import traitlets

from lib import ROOT, runs
from lib.markup import Html, tag
from lib.models import FAMILIES
from lib.runs import listing
from lib.runs.listing import Row
from lib.text import value_or_error
from lib.viewer.controls import STYLE, bar, button, choice, message, tell
from lib.viewer.html_box import HtmlBox
from lib.viewer.labels import status


class Column(NamedTuple):
    """A column of the table.

    Parameters
    ----------
    title : its name
    width : in shares
    key : what it is sorted by; None and "" come last
    text : what it shows
    falling : whether the first click sorts from the largest
    """

    title: str
    width: float
    key: Callable[[Row], Any]
    text: Callable[[Row], str]
    falling: bool = False


def _score(metric: str) -> Column:
    title = listing.METRICS[metric]
    return Column(title, 0.82, lambda r: r.scores.get(metric), lambda r: listing.number(r.scores.get(metric)), True)


COLUMNS = [
    Column("run", 0, lambda r: r.task, lambda r: r.task),
    Column("network", 1.2, lambda r: r.network, lambda r: r.network or "–"),
    Column("time", 1.5, lambda r: r.started, lambda r: listing.moment(r.started), True),
    Column("status", 1.1, lambda r: r.status, lambda r: listing.state(r.status)),
    Column("duration", 1.1, lambda r: r.seconds, lambda r: listing.duration(r.seconds), True),
    *map(_score, listing.METRICS),
    Column("measured on", 1.5, lambda r: r.of, lambda r: r.of),
]
TIME_COLUMN, FIRST_SCORE_COLUMN = 2, 5
EXAMPLE_NOTEBOOK = FAMILIES["kspace"].notebook
OUTER_GRID = "minmax(200px, 2.1fr) minmax(0, 9fr)"
INNER_GRID = " ".join(f"minmax(0, {column.width}fr)" for column in COLUMNS[1:])
CSS = Html("""<style>
.run-picker .run-line { min-width: 920px; border-bottom: 1px solid var(--jp-border-color2, #ccc); align-items: center; overflow: hidden; }
.run-picker .run-line:focus-within, .run-picker .run-chosen { background: var(--jp-layout-color2, rgba(128,128,128,.12)); }
.run-picker .run-cells { display: grid; column-gap: 8px; line-height: 1.35; padding: 6px 0; overflow-wrap: anywhere;
  align-items: center; font-variant-numeric: tabular-nums; color: var(--jp-ui-font-color1, inherit); }
.run-picker .run-number { text-align: right; overflow-wrap: normal; }
.run-picker .run-cells > div:last-child, .run-picker .run-head button:last-child { padding-left: 12px; }
.run-picker .run-line .widget-html-content { line-height: 1.35; }
.run-picker .run-line .widget-checkbox { height: auto; padding: 6px 0 6px 2px; }
.run-picker .run-line .widget-checkbox label { display: flex; align-items: center; height: auto;
  line-height: 1.35; white-space: normal; overflow-wrap: anywhere; color: var(--jp-ui-font-color1, inherit); }
.run-picker .run-line input { margin: 0 8px 0 0; flex: none; }
.run-picker .run-head button { background: transparent; color: var(--jp-ui-font-color1, inherit); font-weight: 600;
  text-align: left; padding: 0; margin: 0; white-space: nowrap; }
.run-picker .run-head button.run-number { text-align: right; }
.run-picker .run-head button:hover { box-shadow: none; text-decoration: underline; }
.run-picker button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
</style>""")


class RunPicker(ipywidgets.VBox):
    """A table of all runs; `value` holds the paths chosen, in the order of choosing.

    A click on a column's name sorts by it, another one turns it round. A folder in which nothing can be read is a row
    that says so. `read_at` counts how often the folders were read; `search`, `status`, `heads`, `lines` and `refresh`
    are the controls.

    Parameters
    ----------
    value : run folders, or tasks (their newest good run), chosen at first; what isn't there is told in a line
    size : rows per page
    """

    value = traitlets.Tuple()
    read_at = traitlets.Int()

    def __init__(self, value: Iterable[PathLike | str] = (), size: int = 10):
        self.sorting, self.falling, self.page, self.rows = TIME_COLUMN, True, 0, []
        self.search = ipywidgets.Text(
            description="find", placeholder="task, network, …", continuous_update=True, style=STYLE
        )
        self.status = choice("status", ["all"], "all")
        self.views = ipywidgets.Checkbox(description="views too", indent=False, layout={"width": "auto"})
        self.views.tooltip = "Also the runs of notebooks that only look at others"
        self.refresh = button("Refresh", lambda _: self.read(), "Read the run folders again")
        self.heads = [self._head(i, column) for i, column in enumerate(COLUMNS)]
        self.lines = [_Line(partial(self._tick, i)) for i in range(size)]
        self.earlier = button("‹ Page before", lambda _: self._turn(-1), "Newer runs, unless sorted otherwise")
        self.later = button("Next page ›", lambda _: self._turn(1), "Older runs, unless sorted otherwise")
        self.clear = button("Clear choice", lambda _: self.set_trait("value", ()), "Choose none")
        self.count, self.chosen, self.message = HtmlBox(), message(), message()
        head = _grid(self.heads[0], ipywidgets.GridBox(self.heads[1:], layout=_layout(INNER_GRID)))
        head.add_class("run-head")
        super().__init__([
            HtmlBox(CSS, layout={"display": "none"}),
            self.message, bar([self.search, self.status, self.views, self.refresh]),
            ipywidgets.VBox([head, *(line.box for line in self.lines)], layout={"overflow": "auto hidden"}),
            bar([self.earlier, self.count, self.later, self.clear, self.chosen]),
        ])  # fmt: skip
        self.add_class("run-picker")
        given = [value] if isinstance(value, str | PathLike) else dict.fromkeys(value)
        chosen = [value_or_error(_run_folder, one) for one in given]
        self.value = tuple(dict.fromkeys(str(path) for path, _ in chosen if path))
        tell(self.message, " · ".join(why for _, why in chosen if why))
        for control in (self.search, self.status):
            control.observe(lambda _: self._show(page=0), "value")
        self.views.observe(lambda _: self.read(), "value")
        self.observe(lambda _: self._show(), "value")
        self.read()

    def read(self) -> None:
        """Reads all run folders anew; what was chosen and is gone is no longer chosen, what lies elsewhere is listed too."""
        self.rows = listing.rows(views=self.views.value)
        known = {str(row.path) for row in self.rows}
        self.rows += listing.rows(path for path in self.value if path not in known and Path(path).is_dir())
        names = {row.status for row in self.rows}
        kept = self.status.value if self.status.value in names else "all"
        self.status.options, self.status.value = ["all", *sorted(names)], kept
        listed = {str(r.path) for r in self.rows}
        self.value = tuple(path for path in self.value if path in listed)
        self.read_at += 1
        self._show(page=0)

    def shown(self) -> list[Row]:
        """The rows that the filters let through, sorted."""
        words, status = self.search.value.lower().split(), self.status.value
        key = COLUMNS[self.sorting].key

        def fits(row: Row) -> bool:
            text = " ".join(
                (row.task, row.network, row.notebook, row.status, row.of, row.message, row.path.name)
            ).lower()
            return status in ("all", row.status) and all(w in text for w in words)

        fitting = [row for row in self.rows if fits(row)]
        known = [row for row in fitting if key(row) not in (None, "")]
        unknown = [row for row in fitting if key(row) in (None, "")]
        return sorted(known, key=key, reverse=self.falling) + unknown

    def _head(self, number: int, column: Column) -> ipywidgets.Button:
        head = button(column.title, lambda _: self._sort(number), f"Sort by {column.title}")
        if number in range(FIRST_SCORE_COLUMN, len(COLUMNS) - 1):
            head.add_class("run-number")
        return head

    def _sort(self, number: int) -> None:
        self.falling = not self.falling if number == self.sorting else COLUMNS[number].falling
        self.sorting = number
        self._show(page=0)

    def _turn(self, pages: int) -> None:
        self._show(page=self.page + pages)

    def _tick(self, number: int, ticked: bool) -> None:
        path = str(self.lines[number].row.path)
        others = [other for other in self.value if other != path]
        self.value = (*others, path) if ticked else tuple(others)

    def _show(self, page: int | None = None) -> None:
        rows, size = self.shown(), len(self.lines)
        last = max(0, -(-len(rows) // size) - 1)
        self.page = min(max(self.page if page is None else page, 0), last)
        first = self.page * size
        for i, line in enumerate(self.lines):
            row = rows[first + i] if first + i < len(rows) else None
            line.show(row, row is not None and str(row.path) in self.value)
        for i, (head, column) in enumerate(zip(self.heads, COLUMNS, strict=True)):
            head.description = f"{column.title} {'▼' if self.falling else '▲'}" if i == self.sorting else column.title
        self.earlier.disabled, self.later.disabled = self.page == 0, self.page == last
        for turn in (self.earlier, self.later):
            turn.layout.display = None if last else "none"
        self.clear.disabled = not self.value
        self.count.value = self._counted(len(rows), first, min(first + size, len(rows)))
        self.chosen.value = self._chosen()

    def _counted(self, fitting: int, first: int, end: int) -> Html:
        if not self.rows:
            return status(
                f"No runs yet: run a notebook, such as {EXAMPLE_NOTEBOOK}, or `make demo`, then press Refresh."
            )
        if not fitting:
            return status(f"None of the {len(self.rows)} runs fits: change find or status.")
        return status(f"{first + 1}–{end} of {fitting} runs")

    def _chosen(self) -> Html:
        tasks = {str(row.path): f"{row.task} ({listing.moment(row.started)})" for row in self.rows}
        names = [tasks.get(path, path) for path in self.value]
        return status(f"chosen: {', '.join(names)}" if names else "Choose two or more runs to compare them.")


def _run_folder(given: PathLike | str) -> Path:
    """A run folder as it is, however it ended, or a task's newest good run."""
    path = (ROOT / given).resolve()
    return path if listing.is_run(path) else runs.find(given)


class _Line:
    """A row of the table: a box to tick, and the other columns as one text."""

    def __init__(self, ticked: Callable[[bool], None]):
        self.row: Row | None = None
        self.busy = False
        self.tick = ipywidgets.Checkbox(indent=False, layout={"width": "auto", "margin": "0"})
        self.cells = HtmlBox(layout={"margin": "0"})
        self.box = _grid(self.tick, self.cells)
        self.tick.observe(lambda change: None if self.busy else ticked(change.new), "value")

    def show(self, row: Row | None, chosen: bool) -> None:
        self.row, self.busy = row, True
        self.box.layout.display = None if row else "none"
        if row:
            self.tick.description, self.tick.value = row.task, chosen
            self.tick.tooltip = f"{row.task}, {listing.moment(row.started)}, {row.status}"
            self.cells.value = _cells(row)
            (self.box.add_class if chosen else self.box.remove_class)("run-chosen")
        self.busy = False


def _cells(row: Row) -> Html:
    """All columns but the first; what is wrong with a run stands where its metrics would."""
    texts = [tag("div", column.text(row)) for column in COLUMNS[1:FIRST_SCORE_COLUMN]]
    if row.message and not row.scores:
        texts.append(tag("div", row.message, style=f"grid-column:{FIRST_SCORE_COLUMN} / -1"))
    else:
        scores = COLUMNS[FIRST_SCORE_COLUMN:-1]
        texts += (tag("div", column.text(row), class_="run-number") for column in scores)
        texts.append(tag("div", " · ".join(filter(None, (COLUMNS[-1].text(row), row.message)))))
    return tag("div", *texts, class_="run-cells", style=f"grid-template-columns:{INNER_GRID}")


def _grid(first: ipywidgets.Widget, rest: ipywidgets.Widget) -> ipywidgets.GridBox:
    grid = ipywidgets.GridBox([first, rest], layout=_layout(OUTER_GRID))
    grid.add_class("run-line")
    return grid


def _layout(columns: str) -> dict[str, str]:
    return {"grid_template_columns": columns, "grid_gap": "0 8px", "width": "100%"}
