"""Small data sets and a mirror on this machine, for the tests of data and downloads."""

import contextlib
import dataclasses
import gzip
import hashlib
import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from caebook import data
from caebook.data import registry

NAMES = [file.name for file in registry.REAL["mnist"].files]
NOBODY = "http://127.0.0.1:9/"  # refuses every connection


def idx(array):
    """Return the bytes of an array's IDX file."""
    header = bytes([0, 0, 8, array.ndim])
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def put(folder, files):
    """Write files, given as names and contents, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def flipped(content):
    """Change one bit of the last byte."""
    return content[:-1] + bytes([content[-1] ^ 1])


def isolate(tmp_path, monkeypatch):
    """An empty cache, no supplied data, no mirror, and small stand-ins."""
    monkeypatch.setenv("CAEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAEBOOK_DATA", raising=False)
    change(monkeypatch, "mnist", mirrors=(NOBODY,))
    change(monkeypatch, "glyph-digits", train=60, test=20)
    change(monkeypatch, "glyph-letters", train=60, test=20)


def change(monkeypatch, name, **fields):
    """Change what the registry says of a data set."""
    entries = registry.REAL if name in registry.REAL else registry.DRAWN
    monkeypatch.setitem(entries, name, dataclasses.replace(entries[name], **fields))


def make_small(monkeypatch, name, train, test):
    """Make a real data set small: return its new arrays, and its files' bytes by name.

    As in the official files, a label is known by its checksum only for MNIST.
    """
    real = registry.REAL[name]
    rng = np.random.default_rng(0)
    arrays, files, raw = [], [], {}
    for file, count in zip(real.files, (train, train, test, test), strict=True):
        if len(file.shape) == 3:
            array = rng.integers(0, 256, (count, 28, 28), np.uint8)
        else:
            labels = np.arange(count) % len(real.classes) + real.first_label
            array = rng.permutation(labels).astype(np.uint8)
        arrays.append(array)
        raw[file.name] = idx(array)
        sha256 = file.sha256 and hashlib.sha256(raw[file.name]).hexdigest()
        files.append(registry.IdxFile(file.name, array.shape, sha256))
    change(monkeypatch, name, files=tuple(files))
    return arrays, raw


@contextlib.contextmanager
def full_disk(limit):
    """Let the system refuse to make any file longer than `limit` bytes.

    The error differs from that of a full disk only in its number.
    """
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, earlier)


def cached():
    """List every file in the cache but the locks."""
    cache = data.cache_folder()
    return sorted(
        str(path.relative_to(cache))
        for path in cache.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )


class Server:
    """A mirror on the loopback interface that can break off its answers."""

    def __init__(self):
        self.files = {}
        self.cut = None  # close each connection after so many bytes of a file
        self.asked = []  # the file of each GET
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.end_headers()

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        serve = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        serve.daemon = True
        serve.start()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.http.shutdown()
        self.http.server_close()

    def serve(self, files):
        """Serve files, given as names and contents, gzipped."""
        for name, content in files.items():
            self.files[f"{name}.gz"] = gzip.compress(content, mtime=0)

    def answer(self, request):
        name = request.path.lstrip("/")
        self.asked.append(name)
        content = self.files.get(name)
        if content is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have closed it
            request.wfile.write(content[: self.cut])
