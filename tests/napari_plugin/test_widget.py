"""The widget, with Qt, and in napari's window where there is a display with OpenGL (`xvfb-run`)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nucseg_jax import Segmenter, sample
from tests.untrained import write_run

_MISSING = "the extra `napari` is not installed: make napari"
napari = pytest.importorskip("napari", reason=_MISSING)
npe2 = pytest.importorskip("npe2", reason=_MISSING)
pytest.importorskip("pytestqt", reason="pytest-qt is not installed: make napari")
widget = pytest.importorskip("nucseg_jax.napari_plugin.widget")

MPP = 0.5


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    """What napari tells its user from here on: how grave it is, and the text."""
    from napari.utils.notifications import notification_manager

    told: list[tuple[str, str]] = []

    def tell(event: Any) -> None:
        told.append((str(event.severity), event.message))

    notification_manager.notification_ready.connect(tell)
    yield told
    notification_manager.notification_ready.disconnect(tell)


@pytest.fixture
def viewer() -> Any:
    """A viewer's layers, without a window."""
    return napari.components.ViewerModel()


def test_the_manifest_is_valid_and_names_the_widget(npe2pm: Any) -> None:
    manifest = npe2.PluginManifest.from_distribution("nucseg_jax")
    manifest.validate_imports()
    (there,) = manifest.contributions.widgets
    with npe2pm.tmp_plugin(manifest=manifest):
        assert there.get_callable() is widget.NucleiWidget


def test_a_layer_of_nuclei_is_added_each_time(qtbot: Any, viewer: Any, said: list[tuple[str, str]]) -> None:
    image = viewer.add_image(
        sample(MPP), name="skin", scale=(MPP, MPP), units="um", translate=(10, 20), rotate=10
    )
    shown = _shown(qtbot, viewer)
    assert shown.model.choices == ("he", "he-fast", widget.OWN_RUN)
    shown.model.value = "he-fast"
    _find(qtbot, shown)
    _find(qtbot, shown)
    assert said == []
    assert [layer.name for layer in viewer.layers] == ["skin", "skin nuclei", "skin nuclei [1]"]
    assert viewer.layers.selection.active is image
    expected = Segmenter.from_pretrained("he-fast")(sample(MPP), MPP)
    for labels in viewer.layers[1:]:
        assert isinstance(labels, napari.layers.Labels)
        np.testing.assert_array_equal(labels.data, expected)
        np.testing.assert_array_equal(labels.scale, image.scale)
        np.testing.assert_array_equal(labels.translate, image.translate)
        assert labels.units == image.units
        np.testing.assert_allclose(labels.data_to_world((100, 200)), image.data_to_world((100, 200)))
        assert len(labels.features) == expected.max() and {"area_um2", "probability"} <= set(labels.features)
        made_with = labels.metadata["nucseg_jax"]
        assert (made_with["mpp"], made_with["mpp_source"]) == (MPP, "the layer's scale")
    assert shown.status.value.split("\n") == [
        f"skin: {expected.max()} nuclei",
        "by he-fast, 0.5 µm a pixel",
        "(the layer's scale)",
    ]


def test_a_number_goes_before_the_layers_scale(qtbot: Any, viewer: Any) -> None:
    image = sample(MPP)[:256, :256]
    viewer.add_image(image, name="skin", scale=(0.3, 0.3), units="um")
    shown = _shown(qtbot, viewer)
    shown.show()
    assert not shown.mpp.visible
    shown.model.value, shown.resolution.value, shown.mpp.value = "he-fast", "typed in", 0.4
    assert shown.mpp.visible
    _find(qtbot, shown)
    np.testing.assert_array_equal(viewer.layers[1].data, Segmenter.from_pretrained("he-fast")(image, mpp=0.4))
    np.testing.assert_array_equal(viewer.layers[1].scale, (0.3, 0.3))
    assert "0.4 µm a pixel\n(typed in)" in shown.status.value


def test_a_run_and_its_own_resolution(
    qtbot: Any, viewer: Any, tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    run = write_run(tmp_path / "run")
    image = sample(MPP)[100:228, 100:228]
    viewer.add_image(image, name="skin")
    shown = _shown(qtbot, viewer)
    shown.model.value, shown.run.value, shown.resolution.value = widget.OWN_RUN, run, "the model's own"
    _find(qtbot, shown)
    ((severity, note),) = said
    assert severity == "warning" and note.startswith(f"{run}: taken to be trained at 0.25 µm a pixel")
    with pytest.warns(UserWarning, match="taken to be trained at 0.25"):
        segmenter = Segmenter.load(run)
    expected = segmenter(image, mpp=0.25)
    assert expected.any()
    np.testing.assert_array_equal(viewer.layers[1].data, expected)
    assert viewer.layers[1].metadata["nucseg_jax"]["model"] == str(run)
    assert "0.25 µm a pixel\n(the model's own)" in shown.status.value


def test_what_a_user_can_mend_is_one_line_and_adds_nothing(
    qtbot: Any, viewer: Any, tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    shown = _shown(qtbot, viewer)
    _find(qtbot, shown)  # there is no layer
    viewer.add_image(sample(MPP)[:64, :64], name="skin")
    _find(qtbot, shown)  # it does not say its resolution
    shown.model.value, shown.resolution.value = widget.OWN_RUN, "the model's own"
    _find(qtbot, shown)  # no run is chosen
    shown.run.value = tmp_path / "none"
    _find(qtbot, shown)  # there is no such run: found out in the thread
    assert [severity for severity, _ in said] == ["error"] * 4
    for (_, message), expected in zip(
        said,
        (
            "no layer is chosen",
            "skin: does not say its µm a pixel",
            "no run is chosen: give its folder",
            f"no checkpoint in {tmp_path / 'none'}",
        ),
        strict=True,
    ):
        assert message.startswith(expected) and "\n" not in message
    assert len(viewer.layers) == 1 and shown.start.enabled


def test_what_a_user_should_know_is_a_warning(qtbot: Any, viewer: Any, said: list[tuple[str, str]]) -> None:
    pen = np.full((64, 64, 3), (60, 160, 60), np.uint8)
    viewer.add_image(pen, name="skin", scale=(MPP, MPP), units="um")
    shown = _shown(qtbot, viewer)
    shown.model.value = "he-fast"
    for _ in range(2):  # each time
        _find(qtbot, shown)
    assert not viewer.layers[2].data.any() and shown.status.value.startswith("skin: 0 nuclei\n")
    assert [severity for severity, _ in said] == ["warning", "warning"]
    assert all(text.startswith("skin: masked as no tissue, by colour: pen 100.00%") for _, text in said)


def test_work_can_be_cancelled(qtbot: Any, viewer: Any, said: list[tuple[str, str]]) -> None:
    viewer.add_image(sample(MPP), name="skin", scale=(MPP, MPP), units="um")
    shown = _shown(qtbot, viewer)
    shown.model.value = "he-fast"
    shown.start.native.click()
    assert shown.cancel.enabled and not shown.start.enabled
    shown.cancel.native.click()
    qtbot.waitUntil(lambda: shown.start.enabled, timeout=60_000)
    assert len(viewer.layers) == 1 and said == []
    assert shown.status.value == "cancelled" and not shown.cancel.enabled


def test_it_may_be_closed_while_it_works(qtbot: Any, viewer: Any, said: list[tuple[str, str]]) -> None:
    """Nothing is shown in what is gone (pytest-qt fails a test with an exception), and nothing is added."""
    from qtpy.QtCore import QThreadPool

    viewer.add_image(sample(MPP), name="skin", scale=(MPP, MPP), units="um")
    shown = widget.NucleiWidget(viewer)
    shown.model.value = "he-fast"
    shown.start.native.click()
    with qtbot.waitSignal(shown.native.destroyed):
        shown.native.deleteLater()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=60_000)
    qtbot.wait(50)
    assert len(viewer.layers) == 1 and said == []


@pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="needs a display with OpenGL, such as xvfb-run's"
)
def test_in_the_window(qtbot: Any, npe2pm: Any, make_napari_viewer: Any) -> None:
    """As a user opens it: by napari's menu of plugins, beside a canvas that draws."""
    with npe2pm.tmp_plugin(package="nucseg_jax"):
        viewer = make_napari_viewer(show=True)
        viewer.add_image(sample(MPP), name="skin", scale=(MPP, MPP), units="um")
        _, shown = viewer.window.add_plugin_dock_widget("nucseg_jax", "Nuclei of H&E")
        shown.model.value = "he-fast"
        _find(qtbot, shown)
        assert [layer.name for layer in viewer.layers] == ["skin", "skin nuclei"]
        assert viewer.layers.selection.active.name == "skin"
        with_nuclei = viewer.screenshot(flash=False)
        viewer.layers["skin nuclei"].visible = False
        assert (viewer.screenshot(flash=False) != with_nuclei).any(axis=2).sum() > 100


def _shown(qtbot: Any, viewer: Any) -> Any:
    """The widget of a viewer; Qt's part of it ends with the test."""
    shown = widget.NucleiWidget(viewer)
    qtbot.addWidget(shown.native)
    return shown


def _find(qtbot: Any, shown: Any) -> None:
    """Press the button, and wait until the work has ended."""
    shown.start.native.click()
    qtbot.waitUntil(lambda: shown.start.enabled, timeout=120_000)
