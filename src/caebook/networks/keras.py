import math

import keras
from keras import layers


def keras_shallow(maps=64):
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(maps, 3, padding="same", activation="relu"),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((14, 14, maps)),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    return keras.Sequential([encoder, decoder])


def keras_deep():
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 7, 128)),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    return keras.Sequential([encoder, decoder])


def keras_ladder(code, poolings=1, extra=0):
    """A trunk of `poolings` stages and `extra` convolutions; a dense code."""

    def conv(filters):
        return layers.Conv2D(filters, 3, padding="same", activation="relu")

    stages = poolings + extra
    sides = [28]
    for _ in range(poolings):
        sides.append(math.ceil(sides[-1] / 2))  # 28, 14, 7, 4
    maps = 784 // sides[-1] ** 2

    encoder = [keras.Input((28, 28, 1))]
    for stage in range(stages):
        encoder.append(conv(16 * 2**stage))
        if stage < poolings:
            encoder.append(layers.MaxPooling2D(padding="same"))
    encoder += [conv(maps), layers.Flatten()]
    encoder += [layers.Dense(code), layers.Reshape((1, 1, code))]

    decoder = [keras.Input((1, 1, code)), layers.Flatten()]
    decoder += [layers.Dense(784, activation="relu")]
    decoder += [layers.Reshape((sides[-1], sides[-1], maps))]
    for stage in reversed(range(stages)):
        decoder.append(conv(32 * 2**stage))
        if stage < poolings:
            decoder.append(layers.UpSampling2D())
        if stage == 2 and poolings == 3:
            decoder.append(layers.Cropping2D(((0, 1), (0, 1))))  # 8 to 7
    decoder += [conv(16), layers.Conv2D(1, 3, padding="same", activation="sigmoid")]
    return keras.Sequential([keras.Sequential(encoder), keras.Sequential(decoder)])


def keras_dcnn():
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(100, 3, padding="same"),
            layers.LeakyReLU(0.3),
            layers.MaxPooling2D(),
            layers.Conv2D(20, 3, padding="same"),
            layers.LeakyReLU(0.3),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, padding="same"),
            layers.LeakyReLU(0.3),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 7, 4)),
            layers.UpSampling2D(),
            layers.Conv2D(20, 3, padding="same"),
            layers.LeakyReLU(0.3),
            layers.UpSampling2D(),
            layers.Conv2D(100, 3, padding="same"),
            layers.LeakyReLU(0.3),
            layers.Conv2D(1, 2, padding="same"),
            layers.LeakyReLU(0.3),
        ]
    )
    return keras.Sequential([encoder, decoder])


class DepthToSpace(layers.Layer):
    """(N, h, w, 4 m) → (N, 2 h, 2 w, m): channels become pixels of 2 × 2 squares."""

    def call(self, maps):
        return keras.ops.depth_to_space(maps, 2)


def keras_transposed(enlarge="transposed2", maps=16):
    """`enlarge`: how the decoder doubles a side; `maps`: how many maps it then has."""

    def double(outputs):
        if enlarge == "subpixel":
            conv = layers.Conv2D(4 * outputs, 3, padding="same")
            return [conv, DepthToSpace()]
        if enlarge in ("nearest", "bilinear"):
            conv = layers.Conv2D(outputs, 3, padding="same")
            return [layers.UpSampling2D(interpolation=enlarge), conv]
        kernel = {"transposed2": 2, "transposed3": 3, "transposed4": 4}[enlarge]
        return [layers.Conv2DTranspose(outputs, kernel, strides=2, padding="same")]

    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((7, 7, 4)),
            *double(maps),
            layers.ReLU(),
            *double(1),
            layers.Activation("sigmoid"),
        ]
    )
    return keras.Sequential([encoder, decoder])
