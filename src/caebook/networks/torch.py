import math

from torch import nn


class Autoencoder(nn.Module):
    """A network in two halves: images → code → images."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images):
        return self.encoder(images)

    def decode(self, code):
        return self.decoder(code)

    def forward(self, images):
        return self.decode(self.encode(images))


def torch_shallow(maps=64):
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, maps, 3, padding=1),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Conv2d(maps, 64, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Sigmoid(),
    )
    return Autoencoder(encoder, decoder)


def torch_deep():
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Conv2d(128, 128, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Sigmoid(),
    )
    return Autoencoder(encoder, decoder)


def torch_ladder(code, poolings=1, extra=0):
    """A trunk of `poolings` stages and `extra` convolutions; a dense code."""

    def conv(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]

    stages = poolings + extra
    sides = [28]
    for _ in range(poolings):
        sides.append(math.ceil(sides[-1] / 2))  # 28, 14, 7, 4
    maps = 784 // sides[-1] ** 2

    encoder, width = [], 1
    for stage in range(stages):
        encoder += conv(width, 16 * 2**stage)
        width = 16 * 2**stage
        if stage < poolings:
            encoder.append(nn.MaxPool2d(2, ceil_mode=True))
    encoder += [*conv(width, maps), nn.Flatten()]
    encoder += [nn.Linear(784, code), nn.Unflatten(1, (code, 1, 1))]

    decoder = [nn.Flatten(), nn.Linear(code, 784), nn.ReLU()]
    decoder += [nn.Unflatten(1, (maps, sides[-1], sides[-1]))]
    width = maps
    for stage in reversed(range(stages)):
        decoder += conv(width, 32 * 2**stage)
        width = 32 * 2**stage
        if stage < poolings:
            decoder.append(nn.Upsample(scale_factor=2))
        if stage == 2 and poolings == 3:
            decoder.append(nn.ZeroPad2d((0, -1, 0, -1)))  # crops 8 to 7
    decoder += [*conv(width, 16), nn.Conv2d(16, 1, 3, padding=1), nn.Sigmoid()]
    return Autoencoder(nn.Sequential(*encoder), nn.Sequential(*decoder))


def torch_dcnn():
    encoder = nn.Sequential(
        nn.Conv2d(1, 100, 3, padding=1),
        nn.LeakyReLU(0.3, inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(100, 20, 3, padding=1),
        nn.LeakyReLU(0.3, inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 4, 3, padding=1),
        nn.LeakyReLU(0.3, inplace=True),
    )
    decoder = nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 20, 3, padding=1),
        nn.LeakyReLU(0.3, inplace=True),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(20, 100, 3, padding=1),
        nn.LeakyReLU(0.3, inplace=True),
        nn.ZeroPad2d((0, 1, 0, 1)),  # what "same" means for a kernel of 2 × 2
        nn.Conv2d(100, 1, 2),
        nn.LeakyReLU(0.3, inplace=True),
    )
    return Autoencoder(encoder, decoder)


def torch_transposed(enlarge="transposed2", maps=16):
    """`enlarge`: how the decoder doubles a side; `maps`: how many maps it then has."""

    def double(inputs, outputs):
        if enlarge == "subpixel":
            conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
            return [conv, nn.PixelShuffle(2)]
        if enlarge in ("nearest", "bilinear"):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            return [nn.Upsample(scale_factor=2, mode=enlarge), conv]
        options = {
            "transposed2": dict(kernel_size=2),
            "transposed3": dict(kernel_size=3, padding=1, output_padding=1),
            "transposed4": dict(kernel_size=4, padding=1),
        }[enlarge]
        return [nn.ConvTranspose2d(inputs, outputs, stride=2, **options)]

    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    decoder = nn.Sequential(*double(4, maps), nn.ReLU(), *double(maps, 1), nn.Sigmoid())
    return Autoencoder(encoder, decoder)
