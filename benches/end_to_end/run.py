#!/usr/bin/env python3
"""Whole servers on loopback under load, side by side in one run: what a service feels of its limiter.

    benches/end_to_end/run.py              everything: about a quarter of an hour
    benches/end_to_end/run.py --rounds 1   one round of each: a look whether it works

Wants a Linux machine with two cores or more, cargo, wrk, nginx and, for express, npm; what is missing is named and left out. One core serves,
another makes the load. A server and the one that it is compared with take turns, and what is printed is the median of the ratios of
the turns, with the smallest and the largest. Nothing but loopback gets traffic, and every load ends by itself.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
PORTS = iter(range(18300, 18400))
PROXIED = ["-H", "X-Forwarded-For: 203.0.113.7", "-H", "X-Forwarded-Proto: https"]

# Server, what it is compared with, and what the requests carry.
ADMITTED = [
    ("palisade", "bare", []),
    ("tower_governor", "bare", []),
    ("axum-governor", "bare", []),
    ("palisade stack", "bare", PROXIED),
    ("tower_governor smart", "bare", PROXIED),
    ("nginx limit_req in front", "bare", []),
    ("express", "bare", []),
    ("express limited", "bare", []),
    ("express limited", "express", []),
]
REFUSED = [
    ("palisade refusing", "bare", []),
    ("palisade stack refusing", "bare", PROXIED),
    ("tower_governor refusing", "bare", []),
    ("axum-governor refusing", "bare", []),
    ("express limited refusing", "express", []),
]
STEADY = [
    ("palisade", "bare", []),
    ("palisade stack", "bare", PROXIED),
    ("tower_governor", "bare", []),
    ("nginx limit_req in front", "bare", []),
    ("express limited", "bare", []),
]

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  limit_req_zone $binary_remote_addr zone=clients:16m rate=1000000r/s;
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      limit_req zone=clients burst=100000 nodelay;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://api;
    }}
  }}
}}
"""


class Server:
    """A server under its name; `processes` are those whose processor time is its own."""

    def __init__(self, name, folder):
        self.name = name
        self.port = next(PORTS)
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.processes = []
        if name == "nginx limit_req in front":
            upstream = next(PORTS)
            self.start([binary(), "bare", str(upstream)], upstream)
            settings = self.folder / "nginx.conf"
            settings.write_text(NGINX.format(folder=self.folder, upstream=upstream, port=self.port))
            self.start(["nginx", "-e", str(self.folder / "error.log"), "-c", str(settings)], self.port)
        elif name.startswith("express"):
            self.start(["node", str(HERE / "express/server.js"), name, str(self.port)], self.port)
        else:
            self.start([binary(), name, str(self.port)], self.port)

    def start(self, command, port):
        with open(self.folder / "log", "a") as log:
            process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=log, stderr=log, env=os.environ | {"NODE_ENV": "production"})
        self.processes.append(process)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"]).returncode == 0:
                return
            time.sleep(0.05)
        self.stop()
        sys.exit(f"{self.name} did not start: {(self.folder / 'log').read_text()}")

    def cpu(self):
        """Returns the processor time so far, in seconds."""
        ticks = 0
        for process in self.processes:
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def load(self, seconds, headers, script=None):
        """Sends requests for some seconds and returns requests per second, processor microseconds per request and the p99 in microseconds."""
        before = self.cpu()
        command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", *headers]
        if script:
            command += ["-s", str(script)]
        printed = subprocess.run([*command, f"http://127.0.0.1:{self.port}/"], capture_output=True, text=True, check=True).stdout
        used = self.cpu() - before
        requests = int(re.search(r"(\d+) requests in", printed).group(1))
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", printed).group(1))
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed).groups()
        if "Socket errors" in printed:
            sys.exit(f"{self.name}: {printed}")
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
        refused = int(refused.group(1)) if refused else 0
        # Less than that refused, or any of the others, and the table would compare something else.
        if self.name.endswith("refusing") and refused < 0.99 * requests:
            sys.exit(f"{self.name}: only {refused} of {requests} refused")
        if not self.name.endswith("refusing") and refused:
            sys.exit(f"{self.name}: {refused} of {requests} refused")
        return rate, used * 1e6 / requests, float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


def binary():
    return str(HERE / "target/release/palisade-bench-end-to-end")


def ratios(values):
    return f"{statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(title, pairs, rounds, seconds, folder, without, script=None):
    print(f"\n## {title}\n")
    print("| server | beside | requests/s | CPU per request | p99 | CPU us per request |")
    print("|---|---|---|---|---|---|")
    for name, other, headers in pairs:
        if any(name.startswith(it) or other.startswith(it) for it in without):
            continue
        servers = Server(name, folder), Server(other, folder)
        try:
            for server in servers:
                server.load(1, headers, script)
            found = []
            for number in range(rounds):
                # Each goes first in every other round.
                turn = servers if number % 2 == 0 else servers[::-1]
                measured = {server: server.load(seconds, headers, script) for server in turn}
                found.append([measured[servers[0]], measured[servers[1]]])
        finally:
            for server in servers:
                server.stop()
        columns = [[ours[i] / theirs[i] for ours, theirs in found] for i in range(3)]
        absolute = statistics.median(ours[1] for ours, _ in found)
        print(f"| {name} | {other} | " + " | ".join(ratios(column) for column in columns) + f" | {absolute:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("one core would serve and make the load: this wants two")
    for needed in ("wrk", "curl", "taskset", "cargo"):
        if not shutil.which(needed):
            sys.exit(f"{needed} is missing")
    without = []
    if not shutil.which("nginx"):
        without.append("nginx")
    if shutil.which("npm"):
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"], cwd=HERE / "express", check=True)
    else:
        without.append("express")
    for name in without:
        print(f"left out, for it is missing: {name}")
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=HERE, check=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        steady = folder / "steady.lua"
        # 32 connections that wait ten milliseconds after each answer: some 3,000 requests a second.
        steady.write_text("function delay() return 10 end\n")
        run = options.rounds, options.seconds, folder, without
        compare("Admitted, as fast as it goes", ADMITTED, *run)
        compare("At least 99 % refused, as fast as it goes", REFUSED, *run)
        compare("About 3,000 requests a second", STEADY, *run, script=steady)


main()
