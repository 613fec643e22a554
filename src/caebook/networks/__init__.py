"""The networks of the chapters, one generated module a framework.

A function ``keras_shallow`` or ``torch_shallow`` returns a freshly initialised network
in two halves: in Keras a ``keras.Sequential`` of encoder and decoder, in PyTorch an
`Autoencoder` with ``encoder`` and ``decoder``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import torch


def build(
    system: str, framework: str, seed: int = 0, **arguments: object
) -> keras.Model | torch.nn.Module:
    """A network with the initial weights of a seed.

    Parameters
    ----------
    system : e.g. "shallow" or "wide-kernel"
    framework : "keras" or "torch"
    seed : of all of the framework's random numbers
    arguments : of the function that the chapter defines, e.g. ``maps=32``

    Raises
    ------
    ValueError
        If no chapter defines that network in that framework.
    """
    if framework == "keras":
        import keras

        from caebook.networks import keras as module

        keras.utils.set_random_seed(seed)
    elif framework == "torch":
        import torch

        from caebook.networks import torch as module

        torch.manual_seed(seed)
    else:
        raise ValueError(f"framework {framework!r} is not 'keras' or 'torch'")
    name = f"{framework}_{system.replace('-', '_')}"
    if not hasattr(module, name):
        raise ValueError(f"no chapter defines a network {name}")
    return getattr(module, name)(**arguments)
