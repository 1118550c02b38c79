"""A slider over a figure, with a still picture for readers who have no running kernel."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from yaie.plots.svg import Figure, filmstrip, require

_numbers = itertools.count(1)


def slider(
    make_figure: Callable[[Any], Figure],
    values: Sequence[Any],
    label: str,
    *,
    still: Sequence[Any] | None = None,
    start: Any = None,
) -> "Slider":
    """A slider that redraws `make_figure(value)`; shows a filmstrip where no widget can be shown.

    values: what the slider steps through. label: the name of what changes, such as "temperature".
    still: the values that the filmstrip shows (up to six, spread over `values`, if None).
    start: where the slider begins (at the first of `values` if None).
    """
    return Slider(make_figure, values, label, still=still, start=start)


class Slider:
    """Shown as a widget where JupyterLab has a running kernel and trusts the notebook, as a filmstrip elsewhere.

    Both are in the output at once, in different formats, and the front end picks. The filmstrip depends on nothing but
    the figures, so a stored output does not change from run to run.
    """

    def __init__(
        self,
        make_figure: Callable[[Any], Figure],
        values: Sequence[Any],
        label: str,
        *,
        still: Sequence[Any] | None = None,
        start: Any = None,
    ):
        self.make_figure, self.values, self.label = make_figure, list(values), label
        require(len(self.values) > 0, "slider: values is empty; expected at least one value")
        self.start = self.values[0] if start is None else start
        require(self.start in self.values, f"slider: start is {start!r}; expected one of values {self.values}")
        chosen = _spread(self.values, 6) if still is None else list(still)
        self.still = filmstrip([make_figure(v) for v in chosen], [f"{label} = {v}" for v in chosen])
        self._number = next(_numbers)
        self._widget: Any = None

    def __str__(self) -> str:
        return self.still.alt

    @property
    def widget(self) -> Any:
        """The ipywidgets box with the slider (`children[0]`) and the figure (`children[1]`); made once.

        Raises ImportError, naming the extra to install, where ipywidgets is missing.
        """
        if self._widget is None:
            self._widget = self._build(_ipywidgets())
        return self._widget

    def _build(self, widgets: Any) -> Any:
        # Ids that count up instead of random ones keep a stored output the same from run to run.
        picture = widgets.HTML(value=self.make_figure(self.start).html())
        control = widgets.SelectionSlider(
            options=[(str(value), value) for value in self.values],
            value=self.start,
            description=self.label,
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        control.observe(lambda change: setattr(picture, "value", self.make_figure(change["new"]).html()), names="value")
        return widgets.VBox([control, picture], model_id=f"yaie-slider-{self._number}")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = self.still._repr_mimebundle_()
        try:
            view = self.widget
        except ImportError as error:
            bundle["text/html"] += f"<p>{error}</p>"
            return bundle
        bundle["application/vnd.jupyter.widget-view+json"] = view._repr_mimebundle_()[
            "application/vnd.jupyter.widget-view+json"
        ]
        return bundle


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("The slider needs ipywidgets: pip install 'yaie[lab]'") from error
    return ipywidgets


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the values, evenly spread, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // (count - 1)] for i in range(count)]
