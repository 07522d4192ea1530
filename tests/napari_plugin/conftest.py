"""Qt without a display, where there is none; napari's settings as they come, and not this user's."""

import os
import sys

# Before anything imports napari or Qt: these are read once.
os.environ.setdefault("NAPARI_CONFIG", "")  # no file
if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
