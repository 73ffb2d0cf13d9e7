"""The options that fix networks and windows, read by forms without torch."""

from dataclasses import replace

import pytest

from crgloco.errors import OptionError
from crgloco.methods.base import settled, windows_of
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.plan import Windows
from crgloco.options import describe, from_mapping
from tiny_training import make_method, make_task


def test_every_option_says_its_name_and_what_it_does():
    for entry in describe(DualResolutionOptions):
        assert entry["label"]
        assert entry["help"].endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [("levels", 2), ("width", 3), ("learning_rate", 0.0), ("stem", "dilated"), ("labelled_batch", 0)],
)
def test_values_that_no_network_can_be_built_from_are_refused(name, value):
    with pytest.raises(OptionError, match=name):
        from_mapping(DualResolutionOptions, {name: value})


def test_windows_come_from_the_options_and_otherwise_from_the_scans():
    told = from_mapping(DualResolutionOptions, {"local_window": "8,16,16", "global_window": "16,24,24"})
    assert windows_of(told, make_task()) == Windows((8, 16, 16), (16, 24, 24))
    planned = windows_of(DualResolutionOptions(), make_task())
    assert all(small <= large for small, large in zip(planned.local, planned.global_, strict=True))


def test_a_global_window_smaller_than_the_local_one_is_refused_in_words():
    config = from_mapping(DualResolutionOptions, {"local_window": "16,16,16", "global_window": "16,8,24"})
    with pytest.raises(OptionError, match="at least as large as the local window"):
        windows_of(config, make_task())


@pytest.mark.parametrize("text", ["16", "16,16", "a,b,c", "16,-1,16", "16,0,16", "16,inf,16", "16,nan,16"])
def test_a_window_that_is_no_three_numbers_is_refused(text):
    with pytest.raises(OptionError, match="local_window"):
        windows_of(from_mapping(DualResolutionOptions, {"local_window": text}), make_task())


@pytest.mark.parametrize("name", ["local_window", "global_window"])
@pytest.mark.parametrize("text", ["1,1,1", "1.9,1,1", "0.5,16,16"])
def test_a_window_on_which_no_network_can_be_trained_is_refused_with_the_options(name, text):
    with pytest.raises(OptionError, match=f"'{name}' needs at least one voxel along .*found '{text}'.*empty"):
        from_mapping(DualResolutionOptions, {name: text})


@pytest.mark.parametrize("window", ["8,32,32", "16,16,16"])
def test_the_published_network_refuses_windows_that_its_four_halvings_would_use_up(window):
    with pytest.raises(OptionError, match="halves its window four times"):
        make_method("supervised", network="published", local_window=window, global_window="32,32,32")


@pytest.mark.parametrize("stem", ["strided", "space_to_depth", "full"])
@pytest.mark.parametrize("head", ["linear", "depth_to_space", "perceptron"])
def test_every_stem_goes_with_every_head(stem, head):
    method = make_method("supervised", stem=stem, head=head)
    assert method.networks.local_head.unfolds == (head == "depth_to_space" and stem != "full")


@pytest.mark.parametrize(("window", "stride"), [("32,32,64", (1, 1, 1)), ("32,64,64", (2, 2, 2))])
def test_small_windows_stay_at_full_resolution_and_the_model_keeps_what_was_chosen(window, stride) -> None:
    method = make_method("supervised", stem="auto", local_window=window, global_window="64,64,64")
    assert method.networks.local_body.stride == stride
    kept = settled(method.config, method.task)
    assert kept.stem == ("full" if stride == (1, 1, 1) else "strided")
    assert replace(kept, stem="auto") == method.config
