"""The widget: choose a model and a resolution, press Find nuclei, get a labels layer."""

from collections.abc import Generator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, Container, FileEdit, FloatSpinBox, Label, ProgressBar, PushButton
from napari.layers import Image
from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.notifications import show_error, show_warning
from napari.viewer import Viewer

from nucseg_jax import pretrained
from nucseg_jax.errors import UserError, shown
from nucseg_jax.napari_plugin import layers
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides.resolution import COARSEST_MPP, FINEST_MPP

if TYPE_CHECKING:
    from nucseg_jax.napari_plugin.finding import Found

OWN_RUN = "a run of your own"

OF_LAYER, TYPED, OF_MODEL = "the layer's scale", "typed in", "the model's own"
"""Where the µm a pixel are from."""


class Job(NamedTuple):
    """What is looked for, and where.

    Attributes:
      layer: holds the image.
      model: the name of an installed one, or a run's folder.
      mpp: µm a pixel; None: the model's own.
      mpp_source: how that is known.
    """

    layer: Image
    model: str | Path
    mpp: float | None
    mpp_source: str


class NucleiWidget(Container):
    """Finds the nuclei of the active image layer, and adds them as a labels layer.

    The work is done in a thread. What a user can mend is napari's notification of an error, of one line; what
    a user should know of an image is a warning. Nothing is overwritten: each time adds a layer.

    Args:
      viewer: its layers are used.

    Attributes:
      model: one of the installed models, or OWN_RUN.
      run: the run's folder.
      resolution: where the µm a pixel are from.
      mpp: the number, where it is typed in.
      start: the button that starts.
      cancel: the button that ends the work; it does so when the block of the image that is at work ends.
      status: what was found, by which model, at which µm a pixel.
    """

    def __init__(self, viewer: Viewer):
        self._viewer = viewer
        self._worker: GeneratorWorker | None = None
        self._cancelled = Event()
        self.model = ComboBox(label="model", choices=[*pretrained.names(), OWN_RUN], tooltip=_about_models())
        self.run = FileEdit(mode=FileDialogMode.EXISTING_DIRECTORY, nullable=True, label="its folder")
        self.resolution = ComboBox(label="µm a pixel", choices=[OF_LAYER, TYPED, OF_MODEL])
        self.mpp = FloatSpinBox(value=TYPICAL_MPP, min=FINEST_MPP, max=COARSEST_MPP, step=0.001, label="")
        self.start = PushButton(text="Find nuclei")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(label="", min=0, max=100)
        self.status = Label(label="")
        super().__init__(
            widgets=[
                *(self.model, self.run, self.resolution, self.mpp),
                *(self.start, self.cancel, self.progress, self.status),
            ]
        )
        self.run.visible = self.mpp.visible = self.progress.visible = False
        self.model.changed.connect(lambda name: setattr(self.run, "visible", name == OWN_RUN))
        self.resolution.changed.connect(lambda source: setattr(self.mpp, "visible", source == TYPED))
        self.start.changed.connect(self._begin)
        self.cancel.changed.connect(self._stop)
        self.native.destroyed.connect(self._abandon)

    def _begin(self) -> None:
        try:
            job = self._job()
        except UserError as error:
            show_error(str(error))
            return
        self._cancelled = Event()
        worker = create_worker(_found, job, self._cancelled)
        worker.yielded.connect(self._show_part)
        worker.returned.connect(lambda found: self._add(job, found))
        worker.finished.connect(self._end)
        self._worker = worker
        self._show_work(True)
        worker.start()

    def _stop(self) -> None:
        self._cancelled.set()
        self.status.value = "stops as soon as it can …"

    def _abandon(self) -> None:
        """The window has closed: the work ends, and there is nothing left to show it."""
        self._cancelled.set()
        if self._worker is not None:
            for signal in (self._worker.yielded, self._worker.returned, self._worker.finished):
                signal.disconnect()

    def _end(self) -> None:
        self._worker = None
        if self._cancelled.is_set():
            self.status.value = "cancelled"
        self._show_work(False)

    def _job(self) -> Job:
        layer = layers.image_layer(self._viewer.layers.selection.active)
        model = self.model.value
        if model == OWN_RUN:
            model = self.run.value
            if model is None:
                raise UserError("no run is chosen: give its folder, or choose a model that is installed")
        mpp = None
        if self.resolution.value == OF_LAYER:
            mpp = layers.microns_a_pixel(layer)
        elif self.resolution.value == TYPED:
            mpp = self.mpp.value
        return Job(layer, model, mpp, self.resolution.value)

    def _add(self, job: Job, found: "Found | None") -> None:
        if found is None or self._cancelled.is_set():
            return
        name = job.layer.name
        self._viewer.add_labels(
            found.label_map,
            name=f"{name} nuclei",
            features=found.features,
            metadata={"nucseg_jax": found.made_with},
            **layers.placement(job.layer),
        )
        if job.layer in self._viewer.layers:
            self._viewer.layers.selection.active = job.layer  # not the labels: it may be looked at again
        made = found.made_with
        self.status.value = (
            f"{shown(name)}: {len(found.features.get('index', ())):,} nuclei\nby {shown(made['model'])}, "
            f"{made['mpp']:.4g} µm a pixel\n({made['mpp_source']})"
        )
        for note in found.notes:
            show_warning(shown(note))

    def _show_part(self, part: float) -> None:
        self.progress.max = 100 if part else 0  # 0: it moves, and says no number
        self.progress.value = round(100 * part)

    def _show_work(self, works: bool) -> None:
        """What can be pressed while a worker works, and while none does."""
        self.start.enabled = not works
        self.cancel.enabled = self.progress.visible = works
        if works:
            self.status.value = ""
            self._show_part(0.0)


def _found(job: Job, cancelled: Event) -> Generator[float, None, "Found | None"]:
    """In the worker's thread; None where it was cancelled, or a user's error was shown."""
    from nucseg_jax.napari_plugin.finding import find  # JAX takes a second to import

    try:
        image = layers.pixels(job.layer)
        name = job.layer.name
        return (yield from find(job.model, image, job.mpp, job.mpp_source, name, cancelled.is_set))
    except UserError as error:
        show_error(str(error))
        return None


def _about_models() -> str:
    """The models and the licences of their weights."""
    cards = {name: pretrained.card(name) for name in pretrained.names()}
    return "\n".join(f"{name}: {card.title}. Weights: {card.licence}" for name, card in cards.items())
