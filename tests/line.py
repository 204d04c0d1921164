"""A line to a MongoDB server on which answers can be cut or altered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

# More than any answer without documents.
ANSWER_BYTES = 2_000


class Line:
    """Passes the connections of a client on to the server of `uri`; its own `uri` is what the client is given.

    Args:
        uri: The server.
        alter: Makes another message, of the same length, of each one that the server sends.
    """

    def __init__(self, uri: str, alter: Callable[[bytes], bytes] = bytes) -> None:
        host, port = uri.split("/")[2].split("@")[-1].split(":")
        self._target = (host, int(port))
        self._alter = alter
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._cutting = False
        self.uri = uri.replace(f"{host}:{port}", f"127.0.0.1:{self._listener.getsockname()[1]}")
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection in the middle of the next answer that holds documents; new ones are accepted."""
        self._cutting = True

    def close(self) -> None:
        """End the line."""
        self._listener.close()
        self._end()

    def _end(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            for source, sink, alter in ((client, server, bytes), (server, client, self._answer)):
                threading.Thread(target=self._pump, args=(source, sink, alter), daemon=True).start()

    def _answer(self, message: bytes) -> bytes:
        if self._cutting and len(message) > ANSWER_BYTES:
            self._cutting = False
            return message[: ANSWER_BYTES // 2]
        return self._alter(message)

    def _pump(self, source: socket.socket, sink: socket.socket, alter: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            # Every message of the wire protocol begins with its own length.
            while header := source.recv(4, socket.MSG_WAITALL):
                message = header + source.recv(int.from_bytes(header, "little") - 4, socket.MSG_WAITALL)
                sent = alter(message)
                sink.sendall(sent)
                if len(sent) < len(message):
                    self._end()
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
