"""What the chapters of *Convolutional Autoencoders, Measured* share."""
