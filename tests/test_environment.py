"""What is set before NumPy and the frameworks are imported: threads and Keras."""

import json
import os
import subprocess
import sys

import pytest

from caebook import environment

CPU_V1 = "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("process", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        # the smallest of all groups above
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        # in a container, its own group is mounted: the host's path is not there
        ("0::/host/path\n", {"cpu.max": "300000 100000"}, 3),
        (CPU_V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (CPU_V1, {"cpu/cpu.cfs_quota_us": "150000",
                  "cpu/cpu.cfs_period_us": "50000"}, 3),
        (CPU_V1, {"cpu/docker/abc/cpu.cfs_quota_us": "400000",
                  "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 4),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        (None, {}, 8),
    ],
)  # fmt: skip
def test_cores_are_those_of_affinity_and_quota(
    tmp_path, monkeypatch, process, files, cores
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if process is not None:
        (tmp_path / "process").write_text(process)
    for name, content in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    found = environment.available_cores(tmp_path / "process", tmp_path / "mount")
    assert found == cores


def test_pools_have_a_default_and_the_users_own_sizes_stay(monkeypatch):
    for name in (*environment.POOLS, *environment.KERAS, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(environment, "available_cores", lambda: 5)
    environment.prepare()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "5"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "5"
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


TRAIN_AND_RELEASE = """
from caebook import environment
import keras, numpy as np

def resident():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

images = np.zeros((100, 28, 28, 1), np.float32)
model = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Conv2D(100, 3)])
model.predict_on_batch(images[:1])  # what is allocated once
environment.release_memory()
before = resident()
model.predict_on_batch(images)  # 23 MB of maps
environment.release_memory()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_tensorflow_returns_its_memory(tmp_path):
    result = run(TRAIN_AND_RELEASE, tmp_path)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 10


def run(code: str, home, **variables: str) -> subprocess.CompletedProcess:
    """Run Python code with a home in which Keras is set up in another way."""
    (home / ".keras").mkdir()
    (home / ".keras" / "keras.json").write_text(
        json.dumps(
            {
                "backend": "torch",
                "floatx": "float16",
                "epsilon": 0.1,
                "image_data_format": "channels_first",
            }
        )
    )
    environment = {**os.environ, "HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


CHAPTER = """
import numpy as np
import caebook, keras  # a network is often built before the training is imported
from keras import layers

def network():
    code = layers.Conv2D(2, 3, strides=4, padding="same")
    pixels = layers.Conv2DTranspose(1, 4, strides=4, activation="sigmoid")
    return (keras.Sequential([keras.Input((28, 28, 1)), code]),
            keras.Sequential([keras.Input((7, 7, 2)), pixels]))

encoder, decoder = network()
from caebook.training import Recipe, keras as keras_training
images = np.zeros((8, 28, 28), np.uint8)
keras_training.fit(keras.Sequential([encoder, decoder]), images,
                   Recipe(epochs=1, batch_size=4, train_images=8), validation=images)
exported = keras_training.export(encoder, decoder, images)
config = keras.config
print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon(),
      config.dtype_policy().name, exported.outputs["encoder"].shape)
"""


def test_chapter_has_its_keras_whatever_the_users_settings_say(tmp_path):
    variables = {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"}
    result = run(CHAPTER, tmp_path, **variables)
    assert result.returncode == 0, result.stderr[-3000:]
    settings = "tensorflow channels_last float32 1e-07 float32 (8, 7, 7, 2)"
    assert result.stdout.splitlines()[-1] == settings


def test_keras_that_was_imported_before_with_another_backend_is_named(tmp_path):
    code = "import keras, caebook.training.keras"
    home = {"KERAS_HOME": str(tmp_path / ".keras"), "KERAS_BACKEND": "torch"}
    result = run(code, tmp_path, **home)
    message = result.stderr.splitlines()[-1]
    assert "with the backend torch" in message and "restart the kernel" in message


def test_a_home_that_cannot_be_written_is_replaced(tmp_path, monkeypatch):
    assert environment.writable_home(tmp_path / "instead") == {}
    assert not (tmp_path / "instead").exists()
    monkeypatch.setenv("HOME", "/proc/nothing")
    assert environment.writable_home(tmp_path / "instead") == {
        "HOME": str(tmp_path / "instead")
    }
    assert (tmp_path / "instead").is_dir()
