"""`check` of 1,000 hosts, against as many bare handshakes of `ssl` by the same number of threads.

usage: python -m benchmarks.check_fleet [HOSTS [JOBS]]

One nginx on loopback listens on a port for each host, with a certificate for each. What counts is the median of the
ratios of two runs, one after the other, since a machine is slower at times; the limit is 1.3. Beside it stands the
ratio of the best times.
"""

from __future__ import annotations

import contextlib
import io
import queue
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority, generate_key

ROUNDS = 15
LIMIT = 1.3
FIRST_PORT = 20_000

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  ssl_certificate_key key.pem;
  {servers}
}}
"""


def bare(ports: list[int], jobs: int, bundle: str) -> None:
    """Make a handshake with each port."""
    context = ssl.create_default_context(cafile=bundle)
    waiting = queue.SimpleQueue[int]()
    for port in ports:
        waiting.put(port)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                port = waiting.get_nowait()
                with (
                    socket.create_connection(("localhost", port)) as plain,
                    context.wrap_socket(plain, server_hostname="localhost"),
                ):
                    pass

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for(port: int) -> None:
    """Wait until nginx has read all certificates, and listens."""
    for _ in range(600):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("localhost", port)):
            return
        time.sleep(0.1)
    raise TimeoutError("nginx does not listen")


def check(policy: str, jobs: int, bundle: str) -> None:
    """Check all hosts of the policy, as the command does."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main(["check", policy, "--ca-bundle", bundle, "--jobs", str(jobs)])
    if code != 0:
        raise RuntimeError(printed.getvalue()[-1000:])


def run(hosts: int, jobs: int) -> float:
    """Return the time of `check` over that of bare handshakes, taken in turns: the median of the rounds."""
    root = Authority.create("Fleet CA")
    issuer, key = root.intermediate("Fleet Issuing CA"), generate_key()
    ports = list(range(FIRST_PORT, FIRST_PORT + hosts))
    pins = [Pin.from_public_key(key.public_key()), Pin("spki", bytes(32))]
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "check": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = []
        for port in ports:  # each host has a certificate of its own, as it has in life
            credential = issuer.issue("localhost", key=key)
            (folder / f"{port}.pem").write_bytes(credential.served_pem)
            servers.append(f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {port}.pem; }}")
        (folder / "key.pem").write_bytes(credential.key_pem)
        bundle = folder / "ca.pem"
        bundle.write_bytes(root.certificate_pem)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(servers="\n".join(servers)))
        policy = folder / "pins.json"
        policy.write_text(PinPolicy({f"localhost:{port}": pins for port in ports}).to_json())
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [nginx, "-p", name, "-c", "nginx.conf", "-e", "error.log"]
        with subprocess.Popen(command) as process:  # noqa: S603  built above
            try:
                wait_for(ports[-1])
                for _ in range(ROUNDS + 1):
                    for kind, taken in times.items():
                        start, used = time.perf_counter(), time.process_time()
                        if kind == "bare":
                            bare(ports, jobs, str(bundle))
                        else:
                            check(str(policy), jobs, str(bundle))
                        taken.append((time.perf_counter() - start, time.process_time() - used))
            finally:
                process.terminate()
    warm = {kind: taken[1:] for kind, taken in times.items()}
    best = {kind: (min(wall for wall, _ in taken), min(used for _, used in taken)) for kind, taken in warm.items()}
    for kind, (wall, used) in best.items():
        print(f"{kind:6} {wall:6.2f} s, {1000 * wall / hosts:5.2f} ms a host; processor {used:6.2f} s")
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in zip(warm["check"], warm["bare"], strict=True))
    print(f"ratio  {ratio:6.2f} (limit {LIMIT}); of the best times {best['check'][0] / best['bare'][0]:6.2f}")
    return ratio


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(run(*(given or [1000]), *([] if len(given) > 1 else [32])) > LIMIT)
