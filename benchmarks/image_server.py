"""An HTTP server of images that costs next to nothing, for benchmarks of what fetches them.

    python -m benchmarks.image_server FOLDER [CERTIFICATE]

Prints its port, the same on 127.0.0.1 and 15 further addresses of loopback. With a certificate
(PEM, its key in the same file) it speaks TLS. `/N.jpg` is image N of the folder's JPEGs, counted
round; there is nothing else. Whole answers lie in memory, and a thread a connection sends them:
0.04 ms of CPU a request of 64 KB, most of it the kernel's, where asyncio's streams take 0.12 ms.
"""

import socket
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path

HOSTS = [f"127.0.0.{n}" for n in range(1, 17)]
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def answers(folder: Path) -> list[bytes]:
    """A whole HTTP answer for each JPEG of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.jpg")):
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


def serve(client: socket.socket, known: list[bytes], tls: ssl.SSLContext | None) -> None:
    """Answer the requests of one connection, one after another, until the client ends it."""
    request = b""
    with suppress(ConnectionError, ssl.SSLError):
        if tls:
            client = tls.wrap_socket(client, server_side=True)
    with client, suppress(ConnectionError, ssl.SSLError):
        while received := client.recv(2**16):
            request += received
            if request.endswith(b"\r\n\r\n"):
                name = request[5 : request.index(b" ", 5)]
                number = name.removesuffix(b".jpg")
                client.sendall(known[int(number) % len(known)] if number.isdigit() else MISSING)
                request = b""


def main() -> None:
    """Serve until the process is ended."""
    known, tls = answers(Path(sys.argv[1])), None
    if len(sys.argv) > 2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2])

    def listen(server: socket.socket) -> None:
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client, known, tls), daemon=True).start()

    first = socket.create_server((HOSTS[0], 0), backlog=512)
    port = first.getsockname()[1]
    for host in HOSTS[1:]:
        with suppress(OSError):  # systems where loopback is one address
            other = socket.create_server((host, port), backlog=512)
            threading.Thread(target=listen, args=(other,), daemon=True).start()
    print(port, flush=True)
    listen(first)


if __name__ == "__main__":
    main()
