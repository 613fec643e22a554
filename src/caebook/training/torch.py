"""Training and exporting PyTorch networks: float32 (N, 1, 28, 28), channels first."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from caebook.environment import release_memory
from caebook.images import check_images, in_batches, slices, to_float
from caebook.training.bias import mean_pixel_bias
from caebook.training.boundary import BOUNDARY, PROBE_IMAGES, Exported
from caebook.training.checkpoint import Checkpoint
from caebook.training.checks import check_classes, check_shape, check_training, explain
from caebook.training.history import History
from caebook.training.noise import training_noise, validation_noise
from caebook.training.onnx import tidy
from caebook.training.order import batches, epoch_seed
from caebook.training.recipes import Recipe
from caebook.training.schedule import learning_rate, steps_per_epoch
from caebook.training.shift import training_shift

# Once most pixels are reconstructed well, gradients fall below the smallest normal
# float, where a CPU is several times slower. TensorFlow rounds them to zero by itself.
torch.set_flush_denormal(True)

# Recipes say float32; on a GPU PyTorch would round a convolution's inputs to 10 bits.
torch.backends.cudnn.allow_tf32 = False

LOSSES = {
    "bce": nn.functional.binary_cross_entropy,
    "mse": nn.functional.mse_loss,
    "crossentropy": nn.functional.cross_entropy,  # expects logits
    "bce on logits": nn.functional.binary_cross_entropy_with_logits,
}


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, 28, 28) → float32 (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(to_float(images)[:, None])


def count_parameters(model: nn.Module) -> int:
    """Number of trainable weights and biases."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def predict(model: nn.Module, images: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """The model's float32 output for uint8 (N, 28, 28), computed batch by batch."""
    check_images(images)
    model.eval()
    return in_batches(
        lambda batch: model(to_tensor(batch).to(_device(model))).cpu().numpy(),
        images,
        batch_size,
    )


def _device(model: nn.Module) -> torch.device:
    """The device of the model's weights; the CPU for a network without weights."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _on_cpu(*models: nn.Module) -> tuple[str | None, *tuple[nn.Module, ...]]:
    """Name of the GPU, or None; and the models, copied to the CPU if they are on it."""
    if (device := _device(models[0])).type != "cuda":
        return None, *models
    name = torch.cuda.get_device_name(device)
    return name, *(copy.deepcopy(model).cpu() for model in models)


def fit(
    model: nn.Module,
    images: np.ndarray,
    recipe: Recipe,
    *,
    validation: np.ndarray,
    labels: np.ndarray | None = None,
    validation_labels: np.ndarray | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> History:
    """Train `model` by `recipe`; the target is the image itself, or its label.

    If the recipe names a noise, the network sees the images with it, in training and in
    validation, and the target is the clean image. Training takes place on the device
    that holds the model.

    Parameters
    ----------
    model : maps float32 (N, 1, 28, 28) to the same shape, or to logits (N, classes)
    images, validation : uint8 (N, 28, 28)
        As many images as the recipe says.
    labels, validation_labels : class indices (N,); None for an autoencoder
    seed : fixes the order of the batches and any dropout; 0 or above
    checkpoint : file to save after every epoch and to resume from

    Returns
    -------
    History
        Losses per epoch, as means over images: the training loss during the epoch, the
        validation loss at its end. The seconds exclude validation.

    Raises
    ------
    TypeError, ValueError
        If images, labels, recipe and network do not match; nothing is trained.
    CheckpointError
        If the checkpoint is damaged.
    WriteError
        If the checkpoint cannot be written.

    Notes
    -----
    Seeds PyTorch's global generator at each epoch; leaves the model in `eval` mode, its
    kernels in channels-last order in memory.
    """
    check_training(recipe, images, labels, validation, validation_labels)
    device = _device(model)
    first = to_tensor(images[:1]).to(device)
    with explain("the network cannot be trained on these images"), torch.no_grad():
        output = model.eval()(first)
        if recipe.loss == "rate":
            model.loss(first, recipe.distortion_weight)  # the network must have it
        if labels is None:
            check_shape(output, first.shape, "an autoencoder's output")
        else:
            classes = check_shape(output, (1, None), "a classifier's output")[1]
            check_classes(classes, labels, validation_labels)
    if recipe.logits:
        _check_logits(model, first, output)
    if recipe.initial_bias is not None:
        _start_at_mean_pixel(model, images)
    # As in TensorFlow, a pixel's channels lie side by side: a CPU runs that faster.
    model.to(memory_format=torch.channels_last)
    loss_function = LOSSES.get("bce on logits" if recipe.logits else recipe.loss)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    saved = Checkpoint(
        checkpoint,
        *("torch", torch.__version__),
        *(recipe, seed, str(model), *_state(model, optimizer).values()),
        *(images, labels, validation, validation_labels),
    )
    history = _restore(saved, model, optimizer)
    steps = steps_per_epoch(recipe)

    def loss_of(
        pixels: np.ndarray, classes: np.ndarray | None, noisy: Callable
    ) -> torch.Tensor:
        batch = to_tensor(noisy(pixels)).to(device)
        if recipe.loss == "rate":
            return model.loss(batch, recipe.distortion_weight)
        if classes is None:
            return loss_function(forward(batch), to_tensor(pixels).to(device))
        target = torch.from_numpy(classes).long().to(device)
        return loss_function(forward(batch), target)

    with _forward(model, recipe.logits) as forward:
        for epoch in range(len(history.loss), recipe.epochs):
            start, total = time.perf_counter(), 0.0
            torch.manual_seed(epoch_seed(seed, epoch))
            model.train()
            parts = batches(len(images), recipe.batch_size, seed, epoch)
            shifted = training_shift(recipe.shifted, seed, epoch)
            noisy = training_noise(recipe.noise, seed, epoch)
            for step, index in enumerate(parts, epoch * steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, step)
                optimizer.zero_grad()
                classes = None if labels is None else labels[index]
                loss = loss_of(shifted(images[index]), classes, noisy)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(index)
            seconds = time.perf_counter() - start
            noisy = validation_noise(recipe.noise, seed)
            val_loss = _evaluate(model, loss_of, validation, validation_labels, noisy)
            history.add(recipe.epochs, total / len(images), val_loss, seconds)
            saved.save(history, _state(model, optimizer))
    model.eval()
    model.zero_grad(set_to_none=True)
    release_memory()
    return history


def _last_layer(model: nn.Module, parameters: bool = False) -> nn.Module | None:
    """The last layer that was added to `model`; with parameters of its own, if asked.

    Of an autoencoder, that of its decoder. Layers are taken in the order in which they
    were added, not in which they are used.
    """
    last = getattr(model, "decoder", model)
    layers = [module for module in last.modules() if not any(module.children())]
    if parameters:
        layers = [layer for layer in layers if any(True for _ in layer.parameters())]
    return layers[-1] if layers else None


@contextlib.contextmanager
def _forward(
    model: nn.Module, logits: bool
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """The function from a batch to the model's output, or to its last sigmoid's input.

    It stops working, and the model is as before, when the context ends.
    """
    if not logits:
        yield model
        return
    seen: list[torch.Tensor] = []
    hook = _last_layer(model).register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[0])
    )

    def forward(batch: torch.Tensor) -> torch.Tensor:
        seen.clear()
        model(batch)
        return seen[-1]

    try:
        yield forward
    finally:
        hook.remove()


def _check_logits(model: nn.Module, images: torch.Tensor, output: torch.Tensor) -> None:
    """Raise ValueError unless `output`, for `images`, is that of a last sigmoid."""
    found = isinstance(_last_layer(model), nn.Sigmoid)
    if found:
        with _forward(model, logits=True) as forward, torch.no_grad():
            again = torch.sigmoid(forward(images))
        found = torch.allclose(again, output, rtol=0, atol=1e-6)
    if not found:
        raise ValueError(
            "the recipe computes the loss on logits, so the network must end in "
            "nn.Sigmoid(), added last"
        )


def _start_at_mean_pixel(model: nn.Module, images: np.ndarray) -> None:
    """Set the last bias so that an untrained output is about the images' mean pixel."""
    bias = getattr(_last_layer(model, parameters=True), "bias", None)
    if bias is None:
        raise ValueError(
            "the recipe starts the last bias at the mean pixel, but the network's last "
            "layer with weights has no bias"
        )
    sigmoid = isinstance(_last_layer(model), nn.Sigmoid)
    nn.init.constant_(bias, mean_pixel_bias(images, sigmoid))


def _evaluate(
    model: nn.Module,
    loss_of: Callable[[np.ndarray, np.ndarray | None, Callable], torch.Tensor],
    images: np.ndarray,
    labels: np.ndarray | None,
    noisy: Callable[[np.ndarray], np.ndarray],
) -> float:
    model.eval()
    total = 0.0
    with torch.no_grad():
        for part in slices(len(images)):
            classes = None if labels is None else labels[part]
            loss = loss_of(images[part], classes, noisy)
            total += loss.item() * len(images[part])
    return total / len(images)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    state = {f"model/{k}": v.cpu().numpy() for k, v in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            state[f"optimizer/{index}/{name}"] = value.cpu().numpy()
    return state


def _restore(saved: Checkpoint, model: nn.Module, optimizer) -> History:
    loaded = saved.load()
    if loaded is None:
        return History()
    history, state = loaded
    moments: dict[int, dict[str, torch.Tensor]] = {}
    weights = {}
    for key, value in state.items():
        kind, _, name = key.partition("/")
        if kind == "model":
            weights[name] = torch.from_numpy(value)
        else:
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = torch.from_numpy(value)
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return history


class _Encoder(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.encoder(images[:, None]).permute(0, 2, 3, 1)


class _Decoder(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.decoder(code.permute(0, 3, 1, 2))[:, 0]


class _Classifier(nn.Module):
    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.classifier(images[:, None]), dim=1)


def export(encoder: nn.Module, decoder: nn.Module, images: np.ndarray) -> Exported:
    """Export an autoencoder to the ONNX boundary, channels last.

    Parameters
    ----------
    encoder : maps float32 (N, 1, 28, 28) to (N, c, h, w)
    decoder : maps float32 (N, c, h, w) to (N, 1, 28, 28)
    images : uint8 (N, 28, 28); the first few become the probe

    Raises
    ------
    ValueError
        If encoder, decoder and images do not fit together.
    """
    check_images(images)
    gpu, encoder, decoder = _on_cpu(encoder, decoder)
    probe = images[:PROBE_IMAGES]
    pixels, count = torch.from_numpy(to_float(probe)), len(probe)
    encode, decode = _Encoder(encoder).eval(), _Decoder(decoder).eval()
    with torch.no_grad():
        with explain("the encoder cannot be exported"):
            check_shape(encoder(pixels[:, None]), (count, None, None, None), "the code")
            code = encode(pixels)
        with explain("the decoder cannot be exported"):
            output = decoder(code.permute(0, 3, 1, 2))
            check_shape(output, (count, 1, 28, 28), "the decoder's output")
            decoded = decode(code)
    parts = {"encoder": count_parameters(encoder), "decoder": count_parameters(decoder)}
    return Exported(
        "torch",
        {
            "encoder": _to_onnx(encode, pixels, "encoder"),
            "decoder": _to_onnx(decode, code, "decoder"),
        },
        probe,
        {"encoder": code.numpy(), "decoder": decoded.numpy()},
        {"total": sum(parts.values()), **parts},
        gpu,
    )


def export_classifier(model: nn.Module, images: np.ndarray) -> Exported:
    """Export a classifier that ends in logits (N, classes) to the ONNX boundary.

    Raises
    ------
    ValueError
        If `model` does not turn each image into one row of logits.
    """
    check_images(images)
    gpu, model = _on_cpu(model)
    probe = images[:PROBE_IMAGES]
    pixels = torch.from_numpy(to_float(probe))
    classify = _Classifier(model).eval()
    with explain("the classifier cannot be exported"), torch.no_grad():
        check_shape(model(pixels[:, None]), (len(probe), None), "the logits")
        probabilities = classify(pixels).numpy()
    return Exported(
        "torch",
        {"classifier": _to_onnx(classify, pixels, "classifier")},
        probe,
        {"classifier": probabilities},
        {"total": count_parameters(model), "encoder": None, "decoder": None},
        gpu,
    )


def _to_onnx(module: nn.Module, example: torch.Tensor, name: str) -> bytes:
    # The exporter logs its own steps, which say nothing about our networks.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            # With a batch of one PyTorch makes the batch size constant, so we give two.
            (example[:1].repeat(2, *[1] * (example.ndim - 1)),),
            input_names=[BOUNDARY[name][0]],
            output_names=[BOUNDARY[name][1]],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            verbose=False,
        )
    buffer = io.BytesIO()
    program.save(buffer, external_data=False)
    return tidy(buffer.getvalue(), name)
