"""What the chapters of *Convolutional Autoencoders, Measured* share."""

import os

# Before anything imports TensorFlow: without this, a page of start-up notices is
# printed into the first cell that does.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
