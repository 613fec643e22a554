"""What the chapters of *Convolutional Autoencoders, Measured* share."""

import os

from caebook import environment

environment.prepare()  # before anything imports NumPy or a framework

# A build shows the progress of its chapters: each logs it into a file that the build
# names here. Nothing else may show it too, or it would be on the page twice.
if _log := os.environ.get("CAEBOOK_LOG"):
    import logging

    logging.getLogger("caebook").addHandler(logging.FileHandler(_log, encoding="utf-8"))
    logging.getLogger("caebook").setLevel(logging.INFO)
    logging.getLogger("caebook").propagate = False
