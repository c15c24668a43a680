"""A server of trial lists on this machine, so that no test needs a network."""

import contextlib
import http.server
import threading

from ssps_plugin.evaluation import trial_lookup


class ListServer(http.server.ThreadingHTTPServer):
    """Answer `/name` with `lists[name]`, and keep what was asked for.

    `redirects[name]` is an address to send the client to; a list in `slow` is
    sent byte by byte, without end.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lists = {}
        self.asked = []
        self.redirects = {}
        self.slow = set()
        self.stopping = threading.Event()
        self.announced_too_many = 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.partition("?")[0].lstrip("/")
        self.server.asked.append(name)
        if name in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[name])
            self.end_headers()
            return
        if name in self.server.slow:
            self.send_response(200)
            self.end_headers()
            while not self.server.stopping.wait(0.02):
                self.wfile.write(b"1")
            return
        if name not in self.server.lists:
            self.send_error(404)
            return
        content = self.server.lists[name].encode()
        length = len(content) + self.server.announced_too_many
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving_official_lists(monkeypatch):
    """Run a server in place of VoxCeleb's until the block ends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        monkeypatch.setattr(trial_lookup, "OFFICIAL_ADDRESS", server.address)
        yield server


@contextlib.contextmanager
def serving():
    """Run a server until the block ends."""
    with ListServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
