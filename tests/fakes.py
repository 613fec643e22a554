"""Made-up files and a made-up server, for the tests of data and downloads."""

import contextlib
import gzip
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


class Server:
    """A mirror on the loopback interface that can be told to misbehave."""

    def __init__(self):
        self.files = {}
        self.ranges = True  # honour Range
        self.cut = None  # close each connection after so many bytes of a body
        self.declare = True  # send Content-Length
        self.asked = []  # (file, Range) of each GET
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
        for name, content in files.items():
            self.files[f"{name}.gz"] = gzip.compress(content, mtime=0)

    def answer(self, request):
        name, wanted = request.path.lstrip("/"), request.headers.get("Range")
        self.asked.append((name, wanted))
        content, start = self.files.get(name), 0
        if content is None:
            request.send_error(404)
            return
        if wanted and self.ranges:
            start = int(re.match(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                request.send_error(416)
                return
            request.send_response(206)
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            request.send_header("Content-Range", span)
        else:
            request.send_response(200)
        body = content[start:]
        if self.declare:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # the other side may have enough
            request.wfile.write(body if self.cut is None else body[: self.cut])
