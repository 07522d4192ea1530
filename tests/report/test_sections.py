"""The sections: their pictures are in the page itself."""

import base64
import io

from PIL import Image

from tests.metrics.square_nuclei import SIZE
from tests.report.documents import Document


def test_pictures_in_the_page_can_be_read(html):
    sources = Document(html).values("src")
    assert len(sources) == 3 * (2 + 5) + 3
    for source in sources:
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert picture.size == (4 * SIZE, 4 * SIZE)
