"""The local S3 server: started, filled, set to a model of latency and bandwidth, asked for its counters."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import CpuTime, cpu_time

BUCKET = "bench"
GIB = 1 << 30
MIB = 1 << 20

MODELS: dict[str, dict[str, int]] = {
    "instant": {},
    "s3-like": {"first_byte_ms": 15, "list_ms": 15, "bandwidth": 90_000_000},
    "10ms": {"first_byte_ms": 10, "list_ms": 10},
    "30ms": {"first_byte_ms": 30, "list_ms": 30},
}
"""Store models by name: what the server adds to a request. S3 takes about 15 ms to the first byte
and sends about 90 MB/s on one connection; a page of 1,000 names takes it 30 ms and more."""

HUGE = "huge.bin"
HUGE_BYTES = 100 * GIB
LARGE = "large.bin"
LARGE_BYTES = 4 * GIB
MIDDLE = "middle.bin"
MIDDLE_BYTES = GIB
SMALL_FILES = 200
SMALL_FILE_BYTES = 5 * MIB
STREAMS = 64
STREAM_BYTES = 4 * GIB
SHARDS = 16
SHARD_BYTES = 256 * MIB
NAMES = 20_000
NAMES_IN_DIRECTORY = 1_000
FLAT = 100_000
WIDE = 100
TINY_FILES = 2_000
TINY_FILE_BYTES = 100 << 10
MILLION_BUCKET = "million"
MILLION = 1_000_000
MILLION_IN_DIRECTORY = 1_000
MILLION_FILE_BYTES = 100 << 10
CLASSES = 100
IMAGES = 20_000


def million_key(number: int) -> str:
    """A key in the bucket of a million objects."""
    return f"d{number // MILLION_IN_DIRECTORY:03}/{number:07}"


def image_key(number: int) -> str:
    """A key of the images, a directory for each class."""
    return f"images/{number // (IMAGES // CLASSES):03}/{number:05}.jpg"


@dataclass
class Counters:
    """What clients asked of the server since the last reset."""

    requests: dict[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0
    connections: int = 0


class Store:
    """A bucket of S3 itself, which `ec2/prepare.sh` has filled: it has one model, and no counters."""

    keeps_uploads = True
    """Whether what a case has written has to be deleted after it."""

    def __init__(self, bucket: str, region: str) -> None:
        self.bucket = bucket
        self.region = region
        self.environment: dict[str, str] = {}
        self.ca_bundle: Path | None = None

    def endpoint(self, tls: bool) -> str | None:
        """Where to send requests, if not to S3's own endpoint."""
        del tls
        return None

    def set_model(self, name: str) -> None:
        """Puts a model of `MODELS` in force."""

    def reset(self) -> None:
        """Sets the counters to 0."""

    def counters(self) -> Counters:
        """The counters since the last reset."""
        return Counters()

    def cpu(self) -> CpuTime:
        """CPU time of the server's process."""
        return CpuTime()

    def index(self, program: str) -> Path:
        """An index of the bucket of a million objects, which `program` makes when it is first asked for."""
        raise NotImplementedError(f"no bucket of a million objects beside {self.bucket}")

    def close(self) -> None:
        """Ends the server."""


class LocalServer(Store):
    """The test server, running, with the data set of every case. End it with `close`."""

    keeps_uploads = False

    def __init__(self, program: Path, work: Path) -> None:
        super().__init__(BUCKET, "us-east-1")
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        certificates = work / "tls"
        certificates.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [str(program), "--bucket", BUCKET, "--anonymous", "--watch-stdin"]
            + ["--tls-cert-dir", str(certificates), "--threads", "2"]
            # What is written must not fill the memory; of the bucket, only appends and renames see the kind.
            + ["--discard-uploads", "--fast-etag", "--directory"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{program} did not start")
        facts = json.loads(line)
        self._plain = f"http://{facts['addr']}"
        self._tls = f"https://localhost:{facts['tls_addr'].rpartition(':')[2]}"
        self.ca_bundle = Path(facts["ca"])
        self._control = f"http://{facts['control']}"
        self._index = work / "million.idx"
        self._plant()

    def endpoint(self, tls: bool) -> str | None:
        return self._tls if tls else self._plain

    def set_model(self, name: str) -> None:
        self._call("PUT", "/model", MODELS[name])

    def reset(self) -> None:
        self._call("POST", "/stats/reset")

    def counters(self) -> Counters:
        stats = self._call("GET", "/stats")
        operations = stats["operations"]
        return Counters(
            requests={name: one["count"] for name, one in sorted(operations.items())},
            bytes_sent=sum(one["body_bytes_sent"] for one in operations.values()),
            bytes_received=stats["bytes_received"],
            connections=stats["connections_total"],
        )

    def cpu(self) -> CpuTime:
        return cpu_time(self._process.pid)

    def index(self, program: str) -> Path:
        if not self._index.exists():
            for first in range(0, MILLION, MILLION_IN_DIRECTORY):
                key = million_key(first).replace(f"{first:07}", "{i:07}")
                self._plant_many(key, MILLION_IN_DIRECTORY, MILLION_FILE_BYTES, first, MILLION_BUCKET)
            line = [program, "index", f"s3://{MILLION_BUCKET}/", "-o", str(self._index)]
            line += ["--endpoint-url", self._plain, "--force-path-style", "--region", self.region]
            subprocess.run(line, check=True, capture_output=True, env=os.environ | self.environment)
        return self._index

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def _plant(self) -> None:
        objects = [(HUGE, HUGE_BYTES), (LARGE, LARGE_BYTES), (MIDDLE, MIDDLE_BYTES)]
        for seed, (key, size) in enumerate(objects, 1):
            spec = {"bucket": BUCKET, "key": key, "size": size, "seed": seed}
            self._call("PUT", "/object", spec)
        self._plant_many("small/{i:04}.bin", SMALL_FILES, SMALL_FILE_BYTES)
        self._plant_many("streams/{i:02}.bin", STREAMS, STREAM_BYTES)
        self._plant_many("shards/{i:02}.bin", SHARDS, SHARD_BYTES)
        self._plant_many("tiny/{i:04}.bin", TINY_FILES, TINY_FILE_BYTES)
        each = IMAGES // CLASSES
        for number in range(CLASSES):
            self._plant_many(f"images/{number:03}/{{i:05}}.jpg", each, TINY_FILE_BYTES, number * each)
        for first in range(0, NAMES, NAMES_IN_DIRECTORY):
            key = f"names/d{first // NAMES_IN_DIRECTORY:02}/{{i:05}}"
            self._plant_many(key, NAMES_IN_DIRECTORY, 10, first)
        self._plant_many("flat/{i:06}", FLAT, 10)
        for directory in range(WIDE):
            self._plant_many(f"wide/d{directory:02}/{{i:05}}", NAMES_IN_DIRECTORY, 10)

    def _plant_many(self, key: str, count: int, size: int, first: int = 0, bucket: str = BUCKET) -> None:
        spec = {"bucket": bucket, "key": key, "count": count, "size": size}
        self._call("PUT", "/objects", spec | {"first": first, "seed": 1000 + first})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._control + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
