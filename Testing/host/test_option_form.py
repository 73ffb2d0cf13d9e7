"""The form of a method's options: any method, exact values, words for what is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import qt
from PySide6.QtTest import QTest

from crgloco import methods
from crgloco.errors import OptionError
from crgloco.options import describe, from_mapping, option
from CRGLoCoSegmentLib.option_fields import LARGEST_INT, DecimalField, NumberTextField, WholeField
from CRGLoCoSegmentLib.option_form import OptionForm
from sixth_method import NAME, engine_with_sixth_method, run_engine

METHODS = {name: methods.card(name).to_json() for name in methods.available()}


@dataclasses.dataclass(frozen=True)
class StrangeOptions:
    """Options of a method that nobody has written yet."""

    rate: float = option(3e-5, label="Rate", help="How fast.", minimum=1e-7, maximum=1.0)
    open_end: float = option(0.25, label="Open", help="No bounds.")
    third: float = option(0.1, label="Share", help="Of all.", minimum=0.0, maximum=1.0, unit="%")
    signed: float = option(-2.5, label="Shift", help="Either way.", minimum=-10.0, maximum=10.0, unit="mm")
    huge: int = option(5_000_000_000, label="Huge", help="Beyond 32 bits.", minimum=0)
    count: int = option(3, label="Count", help="Of anything.", unit="voxels")
    fixed: int = option(0, label="Fixed", help="Only one value.", minimum=0, maximum=0)
    name: str = option("", label="Size", help="Any text.", unit="mm")
    kind: str = option("b", label="Kind", help="One of three.", choices=("a", "b", "c"))
    chosen: float = option(-1.0, label="Chosen", help="By itself.", minimum=0.0, maximum=2.0, automatic=True)
    chosen_count: int = option(0, label="So many", help="Of it.", minimum=1, maximum=9, automatic=True)
    chosen_rate: float = option(0.0, label="Speed", help="Is it.", minimum=1e-7, maximum=1.0, automatic=True)
    chosen_size: str = option("", label="So large", help="It is.", automatic=True)
    flag: bool = option(True, label="Flag", help="Yes or no.", advanced=True)


STRANGE = describe(StrangeOptions)
FORMS = {**{name: method["options"] for name, method in METHODS.items()}, "strange": STRANGE}


def defaults(options: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one["default"] for one in options}


def otherValues(one: dict[str, Any]) -> list[Any]:
    """Allowed values of an option that are not its default, among them its bounds."""
    if one["type"] == "bool":
        return [not one["default"]]
    if one["type"] == "str":
        return list(one.get("choices") or ["12,16,16", "2.5, 2, 2"])
    low, high = one.get("minimum"), one.get("maximum")
    low = one["default"] - 7 if low is None else low
    high = one["default"] + 7 if high is None else high
    return [low, high, (low + high) // 2] if one["type"] == "int" else [low, high, 0.3 * low + 0.7 * high]


@pytest.mark.parametrize("name", FORMS)
def test_a_new_form_says_the_defaults_and_nothing_has_changed(name: str):
    form = OptionForm(FORMS[name])
    assert form.values() == defaults(FORMS[name])
    assert form.changed() == {}
    assert form.problems() == []


@pytest.mark.parametrize("name", METHODS)
def test_every_named_configuration_is_shown_as_it_is(name: str):
    form = OptionForm(METHODS[name]["options"])
    for configuration in METHODS[name]["configurations"].values():
        form.setStart(configuration)
        assert form.values() == defaults(METHODS[name]["options"]) | configuration
        assert form.changed() == {}


@pytest.mark.parametrize(("name", "number"), [(n, k) for n, form in FORMS.items() for k in range(len(form))])
def test_every_option_takes_every_allowed_value_and_gives_it_back_exactly(name: str, number: int):
    one = FORMS[name][number]
    form = OptionForm(FORMS[name])
    for value in otherValues(one):
        form.show({one["name"]: value})
        expected = value if one["type"] != "str" else value.strip()
        assert form.values() == defaults(FORMS[name]) | {one["name"]: expected}
        assert form.changed() == ({one["name"]: expected} if expected != one["default"] else {})
    form.reset()
    assert form.changed() == {}


@pytest.mark.parametrize("name", METHODS)
def test_the_engine_accepts_whatever_a_form_gives(name: str):
    form, config = OptionForm(METHODS[name]["options"]), methods.card(name).config
    for one in METHODS[name]["options"]:
        form.show({one["name"]: otherValues(one)[-1]})
    assert dataclasses.asdict(from_mapping(config, form.changed())) == form.values()


def test_only_what_differs_from_the_configuration_becomes_part_of_the_job():
    form = OptionForm(METHODS["cr_gloco"]["options"])
    form.setStart({"iterations": 20000, "learning_rate": 0.01})
    form.show({"iterations": 4000, "learning_rate": 0.01})
    assert form.changed() == {"iterations": 4000}


def test_a_range_over_many_powers_of_ten_is_a_text_and_a_narrow_one_has_arrows():
    form = OptionForm(STRANGE)
    kinds = {name: type(field) for name, field in form.fields.items()}
    assert kinds["rate"] is kinds["open_end"] is kinds["huge"] is NumberTextField
    assert kinds["third"] is kinds["signed"] is DecimalField
    assert kinds["count"] is kinds["fixed"] is WholeField
    assert form.fields["rate"].widget.text == "3e-05"
    assert form.fields["count"].widget.maximum == LARGEST_INT


def test_arrows_go_in_steps_that_suit_the_range():
    steps = {name: OptionForm(STRANGE).fields[name].widget.singleStep for name in ("third", "signed")}
    assert steps == {"third": 0.05, "signed": 1.0}
    context = OptionForm(METHODS["cr_gloco"]["options"]).fields["threshold"].widget
    assert (context.singleStep, context.decimals) == (0.02, 3)


CHOSEN = {"chosen": -1.0, "chosen_count": 0, "chosen_rate": 0.0, "chosen_size": ""}


def test_what_a_method_chooses_by_itself_is_shown_as_a_word():
    fields = OptionForm(STRANGE).fields
    assert {name: fields[name].value() for name in CHOSEN} == CHOSEN
    assert fields["chosen"].widget.text == fields["chosen_count"].widget.text == "Automatic"
    for name in ("chosen_rate", "chosen_size"):
        assert (fields[name].widget.text, fields[name].widget.placeholderText) == ("", "Automatic")
    assert fields["chosen"].widget.toolTip == "By itself.\nAllowed: from 0 to 2.\nDefault: Automatic."


def test_the_word_is_one_step_below_the_range_and_can_be_chosen_again():
    form = OptionForm(STRANGE)
    for name, lowest in (("chosen", 0.0), ("chosen_count", 1)):
        field = form.fields[name]
        field.widget.stepBy(1)
        assert form.changed() == {name: lowest}
        field.widget.stepBy(-1)
        assert form.changed() == {}
        assert field.widget.text == "Automatic"


def test_a_number_below_the_range_becomes_the_word():
    form = OptionForm(STRANGE)
    widget = form.fields["chosen"].widget
    widget.value = -0.03
    assert form.changed() == {}
    QTest.keyClick(widget.qtObject_, qt.Qt.Key_Return)
    assert widget.text == "Automatic"


def test_a_text_that_is_no_number_is_still_refused_where_none_would_do():
    form = OptionForm(STRANGE)
    form.fields["chosen_rate"].widget.text = "fast"
    (problem,) = form.problems()
    assert problem == "Speed: 'fast' cannot be used. Give a number from 1e-07 to 1, for example 1e-07."


def test_units_stand_behind_the_number_or_behind_the_label():
    form = OptionForm(STRANGE)
    assert form.fields["third"].widget.suffix == " %"
    assert form.fields["count"].widget.suffix == " voxels"
    labels = [label.text for label in form.widget.findChildren("QLabel")]
    assert "Size (mm)" in labels
    assert "Count" in labels
    real = OptionForm(METHODS["supervised"]["options"])
    labels = [label.text for label in real.widget.findChildren("QLabel")]
    assert {"Voxel size (mm)", "Local window (voxels)", "Global window (voxels)"} <= set(labels)


def test_a_screen_reader_finds_the_label_of_every_option():
    form = OptionForm(STRANGE)
    labels = {label.buddy().objectName: label.text for label in form.widget.findChildren("QLabel")}
    assert labels.keys() == {f"option_{name}" for name in form.fields}
    assert labels["option_flag"] == "Flag"


@pytest.mark.parametrize("text", ["", "fast", "0", "2", "1e-9", "nan", "0.1.2"])
def test_what_cannot_be_used_is_said_in_words_and_never_given_to_the_engine(text: str):
    form = OptionForm(STRANGE)
    form.fields["rate"].widget.text = text
    (problem,) = form.problems()
    assert problem.startswith(f"Rate: '{text}' cannot be used. Give a number from 1e-07 to 1")
    with pytest.raises(OptionError, match="Rate"):
        form.changed()


def test_a_decimal_comma_is_understood():
    form = OptionForm(STRANGE)
    form.fields["rate"].widget.text = " 2,5e-3 "
    assert form.changed() == {"rate": 0.0025}


def test_every_option_explains_itself_and_says_what_is_allowed():
    form = OptionForm(STRANGE)
    assert form.fields["rate"].widget.toolTip == "How fast.\nAllowed: from 1e-07 to 1.\nDefault: 3e-05."
    assert form.fields["open_end"].widget.toolTip == "No bounds.\nDefault: 0.25."
    assert form.fields["huge"].widget.toolTip == "Beyond 32 bits.\nAllowed: from 0 on.\nDefault: 5000000000."
    assert all(field.widget.toolTip for field in form.fields.values())


def test_rarely_used_options_are_folded_away():
    form = OptionForm(STRANGE)
    assert form.advancedBox.collapsed
    assert [box.objectName for box in form.advancedBox.findChildren("QCheckBox")] == ["option_flag"]
    assert [box.objectName for box in form.advancedBox.findChildren("QLineEdit", "option_rate")] == []


def test_options_can_be_asked_for_elsewhere_or_be_fixed_with_a_reason():
    form = OptionForm(STRANGE, without=("rate",))
    assert "rate" not in form.values()
    form.setStart({"rate": 0.5, "count": 9})  # a configuration may well speak of it
    assert form.values()["count"] == 9
    form.setFixed(("count",), "The start model says so.")
    assert not form.fields["count"].widget.enabled
    assert form.fields["count"].widget.toolTip == "The start model says so."
    form.setFixed((), "")
    assert form.fields["count"].widget.enabled
    assert form.fields["count"].widget.toolTip.startswith("Of anything.")


def test_what_was_changed_stays_while_the_configuration_is_the_same():
    form = OptionForm(STRANGE)
    form.setStart({"count": 9})
    form.show({"rate": 0.25})
    form.setStart({"count": 9})
    assert form.changed() == {"rate": 0.25}
    form.setStart({"count": 8})
    assert form.changed() == {}


def test_the_reset_button_is_there_when_something_was_changed_and_takes_it_back():
    form = OptionForm(STRANGE)
    assert not form.resetButton.enabled
    form.fields["count"].widget.value = 12
    assert form.resetButton.enabled
    form.resetButton.click()
    assert form.changed() == {}
    assert not form.resetButton.enabled


def test_a_method_that_is_one_new_file_has_its_form(tmp_path: Path):
    engine = engine_with_sixth_method(tmp_path)
    (card,) = run_engine(engine, "methods", NAME)
    form = OptionForm(card["options"])
    assert form.values() == defaults(card["options"])
    assert "certainty" in form.values()
