"""The folder of figures: its files are whole."""

from xml.etree import ElementTree

from PIL import Image


def test_figures_are_whole_files(page):
    for path in (page.parent / "figures").iterdir():
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            with Image.open(path) as picture:
                picture.load()
