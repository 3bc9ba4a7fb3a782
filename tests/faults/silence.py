"""What accepts connections and never answers: a socket, and a proxy that can fall silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 where the system accepts connections and nobody reads them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


class Proxy:
    """Passes everything on to a port of 127.0.0.1; while `silent` it takes what comes and passes on nothing.

    A connection that was there in a silence stays silent after it, as one through a router that forgot it.
    """

    def __init__(self, port: int) -> None:
        self.silent = False
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        mute = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                mute = mute or self.silent
                if not mute:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
