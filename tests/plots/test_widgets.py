"""The slider: what is stored, what moves, and what stays where there are no widgets."""

import sys

import pytest

from yaie import plots

VIEW = "application/vnd.jupyter.widget-view+json"


def _slider(**more) -> plots.Slider:
    return plots.slider(lambda t: plots.bars({"value": t}), [1, 2, 3], "temperature", **more)


def test_moving_the_slider_redraws_the_figure():
    """Would catch: a slider that changes nothing."""
    control, picture = _slider().widget.children
    assert picture.value == plots.bars({"value": 1}).html()
    control.value = 3
    assert picture.value == plots.bars({"value": 3}).html()


def test_stored_output_does_not_depend_on_the_run():
    """Would catch: random widget ids in a stored notebook, and text that nbval cannot compare."""
    first, second = _slider(), _slider()
    a, b = first._repr_mimebundle_(), second._repr_mimebundle_()
    assert a["text/html"] == b["text/html"] == first.still.html()
    assert a["text/plain"] == b["text/plain"] == str(first)
    assert a[VIEW]["model_id"].startswith("yaie-slider-")
    assert a[VIEW]["model_id"] != b[VIEW]["model_id"]
    assert first._repr_mimebundle_() == a


def test_without_widgets_the_filmstrip_stays_and_the_remedy_is_named(monkeypatch):
    """Would catch: an empty output, or a missing package that is not named."""
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = _slider()._repr_mimebundle_()
    assert VIEW not in bundle
    assert "pip install 'yaie[lab]'" in bundle["text/html"]
    assert "1. temperature = 1: 1 bar. value: 1." in bundle["text/plain"]
    with pytest.raises(ImportError, match=r"yaie\[lab\]"):
        _ = _slider().widget


def test_filmstrip_shows_a_spread_of_values():
    slider = plots.slider(lambda t: plots.bars({"value": t}), range(100), "n")
    assert [f"n = {v}:" in slider.still.alt for v in (0, 19, 39, 59, 79, 99)] == [True] * 6
    assert "2 pictures" in _slider(still=[1, 3]).still.alt


@pytest.mark.parametrize(
    ("more", "values", "message"),
    [({}, [], "values is empty"), ({"start": 9}, [1], "start is 9; expected one of values")],
)
def test_bad_input_is_named(more, values, message):
    with pytest.raises(ValueError, match=message):
        plots.slider(lambda t: plots.bars({"value": t}), values, "n", **more)
