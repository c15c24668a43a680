"""What tests of the documentation share."""

import pathlib
import sys

DOCS = pathlib.Path(__file__).parents[2] / "docs"
if str(DOCS / "_extensions") not in sys.path:
    sys.path.append(str(DOCS / "_extensions"))
