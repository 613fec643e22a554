"""Where chapters break a rule of CONTRIBUTING.md today; these lists may only shrink.

The tests in ``test_book.py`` fail for any new exception, and for one that is not needed
any more.
"""

# For each chapter its cells of more than 25 lines, with the most that each may have.
LONG_CELLS = {
    # Networks stand whole, one layer a line.
    "04_deep": {"keras-deep": 27, "torch-deep": 29},
    "05_bottleneck": {
        "keras-dcnn": 28,
        "torch-dcnn": 26,
        "keras-ladder": 31,
        "torch-ladder": 33,
    },
}

# For each chapter the decimal numbers typed into its prose, with the reason.
TYPED_NUMBERS = {
    "04_deep": {
        "8.12": "error that the source of `deep` reports",
        "8.03e-05": "error that its notebook stores",
        "3.96e-04": "error that its notebook stores",
        "0.0586": "validation loss that the source of `deep` reports",
        "0.0601": "validation loss that the source of `deep` reports",
    },
    "08_sixteen": {
        "98.0": "compression ratio that the source of `code16` reports",
        "0.1421": "validation loss on letters that the source of `code16` reports",
        "0.1153": "training loss on letters that the source of `code16` reports",
    },
    "09_uqi": {
        "79.28": "UQI, in per cent, that the source of `code16` reports",
    },
    "10_compression": {
        "98.0": "compression ratio that the source of `code16` reports",
    },
}
